//! Values at the edges of types, and those that PostgreSQL cannot have.

use tidegate_core::{ErrorKind, RowIdentity};
use tidegate_testkit::PostgresVersion;
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::random::read;
use crate::rows::commit;
use crate::suite::{database, shared, sink_to};

#[tokio::test(flavor = "multi_thread")]
async fn edges_come_back_and_count_as_key() {
    let cases = [
        ("DATE", "('infinity'), ('-infinity'), ('4714-11-24 (BC)'), ('5874897-12-31'), (NULL)"),
        ("TIMESTAMP", "('infinity'), ('-infinity'), ('4714-11-24 (BC) 00:00:00'), ('294247-01-10 04:00:54.775806')"),
        ("TIMESTAMP_S", "('infinity'), ('-infinity'), ('1969-12-31 23:59:59'), ('294246-12-31 23:59:59')"),
        ("TIMESTAMP_MS", "('infinity'), ('-infinity'), ('1969-12-31 23:59:59.999')"),
        ("TIMESTAMP_NS", "('infinity'), ('-infinity'), ('1677-09-22 00:00:00.000000001'), (NULL)"),
        ("TIMESTAMP WITH TIME ZONE", "('infinity'), ('-infinity'), ('0001-01-01 00:00:00+00'), (NULL)"),
        ("TIME", "('24:00:00'), ('00:00:00.000001')"),
        ("DOUBLE", "('nan'), ('inf'), ('-inf'), ('-0.0'), (5e-324), (1.7976931348623157e308), (NULL)"),
        ("FLOAT", "('nan'), ('inf'), ('-inf'), (1e-45), (3.4028235e38)"),
        (
            "DECIMAL(38,38)",
            "('0.99999999999999999999999999999999999999'), ('-0.00000000000000000000000000000000000001'), (0)",
        ),
        ("DECIMAL(38,0)", "('99999999999999999999999999999999999999'), (-10000)"),
        ("INTERVAL", "('2147483647 months -2147483648 days 1 microsecond'), ('-1 microsecond'), ('0 days'), (NULL)"),
        ("BLOB", "('\\x00'), (''), ('\\xFF\\xFE')"),
        ("UUID[]", "(['00112233-4455-6677-8899-aabbccddeeff', NULL]), ([]), (NULL)"),
        ("TIMESTAMP[]", "(['infinity', NULL, '2024-01-01']), ([NULL])"),
        ("HUGEINT[2]", "([1, NULL]), ([-99999999999999999999999999999999999999, 0]), (NULL)"),
        ("BOOLEAN[]", "([true, NULL, false])"),
        ("DOUBLE[][]", "([[5e-324, 'nan'], NULL, []]), ([['-0.0', 'inf', 0.1, 1e300]]), ([]), (NULL)"),
        (
            "STRUCT(\"a \"\"b\" FLOAT, c BLOB, d TIMESTAMP_NS)",
            "({'a \"b': 0.1, 'c': '\\x00', 'd': 'infinity'}), (NULL)",
        ),
        ("MAP(BIGINT, STRUCT(i INTERVAL)[])", "(MAP {9223372036854775807: [{'i': '1 month'}, NULL], 1: []}), (MAP {})"),
        ("VARCHAR", "(''), (E'back\\\\slash \\\\N\\ttab\\nline'), ('🦆'), (NULL)"),
        ("JSON", "('{\"b\": 1,  \"a\": 1.0}'), ('null'), (NULL), ('\"\\u0000\"')"),
    ];
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    for (number, (duckdb_type, values)) in cases.into_iter().enumerate() {
        for (identity, table) in [(RowIdentity::Key(vec![0]), "keyed"), (RowIdentity::WholeRow, "whole")] {
            let mut view = ViewModel::new(&format!("{table}_{number}"), &[("c", duckdb_type)], identity);
            let first = view.change_to(values);
            let first = commit(&mut sink, 1, view.changes([(header(1), first)])).await;
            first.unwrap_or_else(|error| panic!("{duckdb_type}: {error}"));
            read(&mut sink, view.info()).await.assert_equals(&view.multiset(), duckdb_type);
            let none = view.change_to("");
            let second = commit(&mut sink, 2, view.changes([(header(2), none)])).await;
            second.unwrap_or_else(|error| panic!("{duckdb_type}: {error}"));
            read(&mut sink, view.info()).await.assert_equals(&view.multiset(), duckdb_type);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_cannot_have_is_refused_by_its_column() {
    let nul = "a text with the character U+0000";
    let cases = [
        ("VARCHAR", "(chr(0) || 'secret')", nul),
        ("VARCHAR[]", "(['a', chr(0) || 'secret'])", nul),
        ("STRUCT(a VARCHAR[])", "({'a': ['\\\\u0000', chr(0) || 'secret']})", nul),
        ("MAP(VARCHAR, INTEGER)", "(MAP {chr(0) || 'secret': 1})", nul),
        ("DATE", "('4714-11-23 (BC)')", "a date that PostgreSQL cannot have"),
        ("DATE[]", "(['5874898-01-01'])", "a date that PostgreSQL cannot have"),
        ("TIMESTAMP", "('4714-11-23 (BC) 23:59:59')", "a timestamp that PostgreSQL cannot have"),
    ];
    let server = shared(PostgresVersion::V15);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    for (duckdb_type, values, fact) in cases {
        let mut view = ViewModel::new("v", &[("bad column", duckdb_type)], RowIdentity::WholeRow);
        let delta = view.change_to(values);
        let error = commit(&mut sink, 1, view.changes([(header(1), delta)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        let expected = format!("sink app: view v cannot be written to PostgreSQL: column bad column holds {fact}");
        assert!(error.to_string().starts_with(&expected) && !error.to_string().contains("secret"), "{error}");
        assert_eq!(server.value(&name, "SELECT count(*) FROM pg_class WHERE relname = 'v'"), "0");
    }
    // What looks like the character and is not.
    let mut view = ViewModel::new("v", &[("c", "STRUCT(a VARCHAR)")], RowIdentity::WholeRow);
    let delta = view.change_to("({'a': '\\u0000'})");
    commit(&mut sink, 1, view.changes([(header(1), delta)])).await.unwrap();
    read(&mut sink, view.info()).await.assert_equals(&view.multiset(), "a backslash");
    // A key that no index holds.
    let mut view = ViewModel::new("long", &[("c", "VARCHAR")], RowIdentity::Key(vec![0]));
    let long = (0..2000).map(|n| format!("{}", n * 7919)).collect::<String>();
    let delta = view.change_to(&format!("('{long}')"));
    let error = commit(&mut sink, 1, view.changes([(header(1), delta)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("md5(column)"), "{error}");
    // Without a key it is no matter.
    let mut view = ViewModel::new("long", &[("c", "VARCHAR")], RowIdentity::WholeRow);
    let delta = view.change_to(&format!("('{long}')"));
    commit(&mut sink, 1, view.changes([(header(1), delta)])).await.unwrap();
    let none = view.change_to("");
    commit(&mut sink, 2, view.changes([(header(2), none)])).await.unwrap();
}
