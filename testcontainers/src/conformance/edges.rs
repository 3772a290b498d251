//! Values at the edges of every type, through any sink and back.

use std::path::Path;

use tidegate_core::{RowIdentity, Sink};

use super::block_on;
use super::model::{ViewModel, header};
use super::sink::Target;

/// Per type, values as SQL; NULL comes to each of them.
const EDGES: &[(&str, &[&str])] = &[
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

/// Runs every value through a sink: brings all of them in by changes, moves each to the place of the
/// next one by further changes, and writes them all anew as a whole content; reads them back each
/// time, in the end by another sink. `make` is that of [`sink`](super::sink()); values in `refused`,
/// which the target cannot have, are left out.
///
/// # Panics
/// When a value is not what it was, and when one of `refused` is none of the values.
pub fn values_at_the_edges(make: impl Fn(&Path) -> Box<dyn Sink>, refused: &[&str]) {
    for value in refused {
        assert!(EDGES.iter().any(|(_, values)| values.contains(value)), "{value} is none of the values");
    }
    let takes = |value: &&str| !refused.contains(value);
    let types = EDGES.iter().enumerate().map(|(index, (duckdb_type, values))| {
        let name = format!("edges_{index}");
        let view = ViewModel::new(&name, &[("n", "INTEGER"), ("x", duckdb_type)], RowIdentity::WholeRow);
        let values: Vec<&str> = values.iter().copied().filter(takes).chain(["NULL"]).collect();
        (view, (*duckdb_type, values))
    });
    let (mut views, values): (Vec<_>, Vec<_>) = types.unzip();
    block_on(async {
        let target = Target::new(&make);
        let mut sink = target.open(&views.iter().collect::<Vec<_>>(), None).await;
        for epoch in 1..=2 {
            let parts = views.iter_mut().zip(&values).map(|(view, (duckdb_type, values))| {
                let delta = view.change_to(&rows(duckdb_type, values, epoch as usize));
                view.changes([(header(epoch), delta)])
            });
            let parts = parts.collect();
            sink.commit(epoch - 1, &header(epoch), parts).await;
            sink.check_each(&views).await;
        }
        let parts = views.iter().map(|view| view.replacement(header(3))).collect();
        sink.commit(2, &header(3), parts).await;
        let mut sink = target.open(&views.iter().collect::<Vec<_>>(), Some(&header(3))).await;
        sink.check_each(&views).await;
    });
}

/// The rows of a view, each with one of its values; `shift` says which.
fn rows(duckdb_type: &str, values: &[&str], shift: usize) -> String {
    let row = |n: usize| format!("({n}, CAST({} AS {duckdb_type}))", values[(n + shift) % values.len()]);
    (0..values.len()).map(row).collect::<Vec<_>>().join(", ")
}
