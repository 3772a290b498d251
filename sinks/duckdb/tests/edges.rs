//! Values at the edges of every type, through any sink and back.

use futures::TryStreamExt;
use tidegate_core::{Commit, CommitOutcome, Epoch, RowIdentity, Sink, ZSet};
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header};

/// Per type, values as SQL; NULL comes to each of them.
pub const EDGES: &[(&str, &[&str])] = &[
    ("BOOLEAN", &["true", "false"]),
    ("TINYINT", &["-128", "0", "127"]),
    ("SMALLINT", &["-32768", "32767"]),
    ("INTEGER", &["-2147483648", "2147483647"]),
    ("BIGINT", &["-9223372036854775808", "9007199254740993", "9223372036854775807"]),
    ("HUGEINT", &["-99999999999999999999999999999999999999", "0", "99999999999999999999999999999999999999"]),
    ("UTINYINT", &["0", "255"]),
    ("USMALLINT", &["65535"]),
    ("UINTEGER", &["4294967295"]),
    ("UBIGINT", &["18446744073709551615"]),
    ("FLOAT", &["'nan'", "'inf'", "'-inf'", "'-0.0'", "0.0", "1.17549435e-38", "1e-45", "3.4028235e38"]),
    (
        "DOUBLE",
        &["'nan'", "'inf'", "'-inf'", "'-0.0'", "0.0", "5e-324", "1.7976931348623157e308", "0.1", "9007199254740993"],
    ),
    ("DECIMAL(1,0)", &["-9", "9"]),
    ("DECIMAL(4,4)", &["-0.9999", "0.0001"]),
    ("DECIMAL(18,2)", &["'-9999999999999999.99'", "0.01"]),
    ("DECIMAL(19,19)", &["'0.9999999999999999999'"]),
    ("DECIMAL(38,0)", &["-99999999999999999999999999999999999999", "99999999999999999999999999999999999999"]),
    ("DECIMAL(38,38)", &["'-0.99999999999999999999999999999999999999'", "'0.00000000000000000000000000000000000001'"]),
    (
        "VARCHAR",
        &[
            "''",
            "' '",
            "'NULL'",
            "'🦆🏳️‍🌈'",
            "'e\u{301}'",
            "'é'",
            "chr(10) || chr(13) || chr(9)",
            "repeat('long ', 4000)",
            "chr(0) || 'x'",
        ],
    ),
    (
        "UUID",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'80000000-0000-0000-0000-000000000001'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    ("JSON", &["'{}'", "'[1,  2.50, \"\\u0041\"]'", "'\"🦆\"'", "'null'", "'12345678901234567890123'"]),
    ("BLOB", &["''", "'\\x00'", "'\\x00\\xFF\\x7F'"]),
    ("DATE", &["'0001-01-01'", "'1582-10-10'", "'1969-12-31'", "'9999-12-31'"]),
    ("TIME", &["'00:00:00'", "'12:34:56.000001'", "'23:59:59.999999'"]),
    ("TIMESTAMP", &["'0001-01-01 00:00:00'", "'1969-12-31 23:59:59.999999'", "'9999-12-31 23:59:59.999999'"]),
    (
        "TIMESTAMP WITH TIME ZONE",
        &["'1969-12-31 23:59:59.999999+00'", "'2024-03-31 02:30:00+01'", "'9999-12-31 23:59:59+00'"],
    ),
    ("TIMESTAMP_S", &["'1969-12-31 23:59:59'", "'9999-12-31 23:59:59'"]),
    ("TIMESTAMP_MS", &["'1969-12-31 23:59:59.999'", "'9999-12-31 23:59:59.999'"]),
    ("TIMESTAMP_NS", &["'1677-09-22 00:00:00'", "'1969-12-31 23:59:59.999999999'", "'2262-04-11 23:47:16.854775806'"]),
    (
        "INTERVAL",
        &[
            "INTERVAL 0 DAY",
            "INTERVAL 1 MONTH",
            "INTERVAL 30 DAY",
            "INTERVAL 720 HOUR",
            "INTERVAL '-1 month 1 day -1 microsecond'",
        ],
    ),
    ("INTEGER[]", &["[]", "[NULL]", "[NULL, 1, NULL]", "range(3000)"]),
    ("VARCHAR[][]", &["[]", "[[]]", "[NULL]", "[[NULL], [''], []]"]),
    ("DOUBLE[]", &["['-0.0']", "[0.0]", "['nan', NULL]"]),
    ("INTERVAL[]", &["[INTERVAL 1 MONTH, NULL]", "[INTERVAL 30 DAY]"]),
    ("INTEGER[3]", &["[NULL, NULL, NULL]", "[1, NULL, 3]"]),
    ("STRUCT(a INTEGER, \"b c\" VARCHAR)", &["{'a': NULL, 'b c': NULL}", "{'a': 0, 'b c': ''}"]),
    (
        "STRUCT(a STRUCT(b TIMESTAMP_NS[]), c HUGEINT)",
        &[
            "{'a': NULL, 'c': 1}",
            "{'a': {'b': NULL}, 'c': NULL}",
            "{'a': {'b': [NULL, '1970-01-01 00:00:00.000000001']}, 'c': -1}",
        ],
    ),
    ("STRUCT(a INTEGER)[]", &["[]", "[NULL]", "[{'a': NULL}, NULL, {'a': 1}]"]),
    ("MAP(VARCHAR, INTEGER)", &["MAP {}", "MAP {'': NULL}", "MAP {'b': 1, 'a': 2}"]),
    ("MAP(INTEGER, VARCHAR[])", &["MAP {1: NULL}", "MAP {1: [], 2: [NULL, '🦆']}"]),
];

/// A view a type: a number, and a value or NULL.
fn views() -> Vec<ViewModel> {
    let names = (0..).map(|index| format!("edges_{index}"));
    names
        .zip(EDGES)
        .map(|(name, (duckdb_type, _))| {
            ViewModel::new(&name, &[("n", "INTEGER"), ("x", duckdb_type)], RowIdentity::WholeRow)
        })
        .collect()
}

/// The rows of a view, each with one of its values; `shift` says which.
fn rows(duckdb_type: &str, values: &[&str], shift: usize) -> String {
    let all: Vec<_> = values.iter().copied().chain(["NULL"]).collect();
    let row = |n: usize| format!("({n}, CAST({} AS {duckdb_type}))", all[(n + shift) % all.len()]);
    (0..all.len()).map(row).collect::<Vec<_>>().join(", ")
}

async fn check(sink: &mut dyn Sink, views: &[ViewModel], what: &str) {
    for (view, (duckdb_type, _)) in views.iter().zip(EDGES) {
        let read = sink.read(view.info()).await.unwrap().try_collect::<Vec<ZSet>>().await.unwrap();
        Multiset::of_zsets(&read).assert_equals(&view.multiset(), &format!("{duckdb_type}, {what}"));
    }
}

/// Brings all values into a sink by changes, moves each to the next by further changes, and writes
/// them all anew as a whole content; reads them back each time.
///
/// # Panics
/// When a value is not what it was.
pub async fn every_value_returns(sink: &mut dyn Sink) {
    let mut views = views();
    let infos: Vec<_> = views.iter().map(|view| view.info().clone()).collect();
    sink.open(&infos).await.unwrap();
    for epoch in 1..=2 {
        let parts = views.iter_mut().zip(EDGES).map(|(view, (duckdb_type, values))| {
            let delta = view.change_to(&rows(duckdb_type, values, epoch as usize));
            view.changes([(header(epoch), delta)])
        });
        let commit = Commit { after: Epoch(epoch - 1), header: header(epoch), views: parts.collect() };
        assert!(matches!(sink.commit(commit).await.unwrap(), CommitOutcome::Committed { .. }));
        check(sink, &views, &format!("epoch {epoch}")).await;
    }
    let parts = views.iter().map(|view| view.replacement(header(3))).collect();
    let commit = Commit { after: Epoch(2), header: header(3), views: parts };
    assert!(matches!(sink.commit(commit).await.unwrap(), CommitOutcome::Committed { .. }));
    check(sink, &views, "written anew").await;
}
