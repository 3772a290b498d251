//! Values go out to Arrow and back into tables unchanged, whatever their type.

use arrow::datatypes::DataType;
use tidegate_core::schema::duckdb_type;
use tidegate_duck::{Duck, DuckError, Flow};

/// A column type and some of its values; NULL is added to each.
const COLUMNS: &[(&str, &[&str])] = &[
    ("BOOLEAN", &["true", "false"]),
    ("TINYINT", &["-128", "127"]),
    ("SMALLINT", &["-32768", "32767"]),
    ("INTEGER", &["-2147483648", "2147483647"]),
    ("BIGINT", &["-9223372036854775808", "9223372036854775807"]),
    ("HUGEINT", &["-99999999999999999999999999999999999999", "99999999999999999999999999999999999999"]),
    ("UTINYINT", &["0", "255"]),
    ("USMALLINT", &["65535"]),
    ("UINTEGER", &["4294967295"]),
    ("UBIGINT", &["18446744073709551615"]),
    ("FLOAT", &["'-0.0'", "'nan'", "'inf'", "1.5"]),
    ("DOUBLE", &["'-0.0'", "'nan'", "'-inf'", "1e300"]),
    ("DECIMAL(4,1)", &["-999.9", "999.9"]),
    ("DECIMAL(9,2)", &["1234567.89"]),
    ("DECIMAL(15,2)", &["-9999999999999.99"]),
    ("DECIMAL(38,10)", &["1234567890123456789012345678.0123456789"]),
    ("VARCHAR", &["''", "'short'", "'a longer text than is kept inline, with ü and \"quotes\"'"]),
    ("BLOB", &["''", "'\\x00\\xFF\\x80'"]),
    ("UUID", &["'a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d60000'", "'00000000-0000-0000-0000-000000000000'"]),
    ("JSON", &["'{\"a\": [1, null]}'"]),
    ("DATE", &["'0001-01-01'", "'9999-12-31'", "'2024-02-29'"]),
    ("TIME", &["'00:00:00'", "'23:59:59.999999'"]),
    ("TIMESTAMP", &["'1969-12-31 23:59:59.999999'", "'9999-12-31 00:00:00'"]),
    ("TIMESTAMP WITH TIME ZONE", &["'2024-02-29 12:00:00+05'"]),
    ("TIMESTAMP_S", &["'2024-02-29 12:00:01'"]),
    ("TIMESTAMP_MS", &["'2024-02-29 12:00:01.001'"]),
    ("TIMESTAMP_NS", &["'2024-02-29 12:00:01.000000001'"]),
    ("INTERVAL", &["INTERVAL '1 month -2 days 3 microseconds'", "INTERVAL '-13 months'", "INTERVAL '0 days'"]),
    ("INTEGER[]", &["[]", "[1, NULL, 3]"]),
    ("VARCHAR[][]", &["[['a', NULL], NULL, []]"]),
    ("INTEGER[3]", &["[1, NULL, 3]"]),
    ("INTERVAL[]", &["[INTERVAL '1 month', NULL, INTERVAL '2 days']"]),
    (
        "STRUCT(a INTEGER, \"b c\" HUGEINT, d STRUCT(e UUID, f INTERVAL))",
        &[
            "{'a': 1, 'b c': 12345678901234567890, 'd': {'e': NULL, 'f': INTERVAL '5 days'}}",
            "{'a': NULL, 'b c': NULL, 'd': NULL}",
        ],
    ),
    ("MAP(VARCHAR, DECIMAL(10,2))", &["MAP {'a': 1.25, 'b': NULL}", "MAP {}"]),
    ("STRUCT(a INTEGER, b VARCHAR)[]", &["[{'a': 1, 'b': 'x'}, NULL]"]),
    ("UUID[]", &["['a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d60000']"]),
];

#[test]
fn every_type_round_trips() {
    let duck = Duck::open_in_memory().unwrap();
    for (duckdb_name, values) in COLUMNS {
        let values = values.iter().chain(&["NULL"]).map(|v| format!("(CAST({v} AS {duckdb_name}))"));
        let values = values.collect::<Vec<_>>().join(", ");
        // Enough rows for several vectors, so that slices of lists are met.
        let rows = format!("SELECT v FROM (VALUES {values}) t(v), range(3000)");
        duck.execute(&format!(
            "CREATE OR REPLACE TABLE original (v {duckdb_name}); INSERT INTO original {rows}; \
             CREATE OR REPLACE TABLE copy (v {duckdb_name})"
        ))
        .unwrap();
        let (schema, batches) = duck.query("FROM original").unwrap();
        assert_eq!(duckdb_type(schema.field(0)), Some(*duckdb_name));
        let expected = tidegate_core::duckdb_type::arrow_type(duckdb_name).unwrap();
        assert!(batches.iter().all(|b| b.column(0).data_type() == &expected), "{duckdb_name}");
        duck.append(&["copy"], batches).unwrap();
        assert_same(&duck, duckdb_name);
    }
}

fn assert_same(duck: &Duck, duckdb_name: &str) {
    let different: i64 = duck
        .connection()
        .query_row(
            // As text, because -0.0 = 0.0 and 1 month = 30 days.
            "WITH o AS (SELECT v::VARCHAR v, typeof(v) t, count(*) n FROM original GROUP BY ALL), \
                  c AS (SELECT v::VARCHAR v, typeof(v) t, count(*) n FROM copy GROUP BY ALL) \
             SELECT count(*) FROM ((FROM o EXCEPT FROM c) UNION ALL (FROM c EXCEPT FROM o))",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(different, 0, "{duckdb_name}");
}

#[test]
fn sums_of_integers_travel_as_decimals() {
    let duck = Duck::open_in_memory().unwrap();
    let (schema, batches) = duck.query("SELECT sum(i) FROM range(10) t(i)").unwrap();
    assert_eq!(schema.field(0).name(), "sum(i)");
    assert_eq!(duckdb_type(schema.field(0)), Some("HUGEINT"));
    assert_eq!(batches[0].column(0).data_type(), &DataType::Decimal128(38, 0));
}

#[test]
fn huge_integers_beyond_38_digits_are_refused() {
    let duck = Duck::open_in_memory().unwrap();
    let error = duck.query("SELECT 170141183460469231731687303715884105727::HUGEINT AS h").unwrap_err();
    assert!(matches!(error, DuckError::Value { .. }), "{error:?}");
    assert!(!error.to_string().contains("1701411"), "{error}");
}

#[test]
fn types_that_do_not_travel_are_named() {
    let duck = Duck::open_in_memory().unwrap();
    let error = duck.query("SELECT 1 AS fine, '101'::BIT AS flags").unwrap_err();
    assert!(error.to_string().contains("flags") && error.to_string().contains("BIT"), "{error}");
}

#[test]
fn large_results_are_streamed_in_batches() {
    let duck = Duck::open_in_memory().unwrap();
    let schema = duck.describe("SELECT i FROM range(300000) t(i)").unwrap();
    let (mut rows, mut batches) = (0, 0);
    let count = |batch: arrow::array::RecordBatch| {
        rows += batch.num_rows();
        batches += 1;
        Ok::<_, DuckError>(Flow::Continue)
    };
    duck.stream(&["i".to_owned()], "range(300000) t(i)", "", &schema, count).unwrap();
    assert_eq!(rows, 300_000);
    assert!((4..=6).contains(&batches), "{batches}");
}

#[test]
fn errors_in_the_middle_of_a_stream_are_reported() {
    let duck = Duck::open_in_memory().unwrap();
    duck.execute(
        "CREATE TABLE t AS SELECT CASE WHEN i = 250000 THEN 'x' ELSE i::VARCHAR END AS v FROM range(300000) r(i)",
    )
    .unwrap();
    let schema = duck.describe("SELECT 1 AS v").unwrap();
    let all = |_| Ok::<_, DuckError>(Flow::Continue);
    let error = duck.stream(&["v::INTEGER".to_owned()], "t", "", &schema, all).unwrap_err();
    assert!(matches!(error, DuckError::Value { .. }), "{error:?}");
    duck.query("SELECT 1").unwrap();
}

#[test]
fn a_stream_can_be_stopped() {
    let duck = Duck::open_in_memory().unwrap();
    let schema = duck.describe("SELECT i FROM range(1) t(i)").unwrap();
    let mut batches = 0;
    duck.stream(&["i".to_owned()], "range(3000000) t(i)", "", &schema, |_| {
        batches += 1;
        Ok::<_, DuckError>(Flow::Stop)
    })
    .unwrap();
    assert_eq!(batches, 1);
    duck.query("SELECT 1").unwrap();
}
