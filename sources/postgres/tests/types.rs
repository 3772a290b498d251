//! Every row of the table of types, through the copy and through the stream, with edge values.
//!
//! One table a server holds all types; its rows are inserted twice, before the copy and after it. What both
//! ways give is compared with each other and with what is written here.

use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::{Date32Type, Decimal128Type, IntervalMonthDayNanoType, TimestampMicrosecondType};
use tidegate_core::schema::duckdb_type;
use tidegate_core::{ErrorKind, Source};

use crate::harness::{Database, End, Follow, PATIENCE, ok, on_both, public};

/// PostgreSQL's type, DuckDB's, values as SQL, and what Arrow shows of each.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    ("bool", "BOOLEAN", &[("true", "true"), ("false", "false")]),
    ("int2", "SMALLINT", &[("-32768", "-32768"), ("32767", "32767")]),
    ("int4", "INTEGER", &[("-2147483648", "-2147483648"), ("2147483647", "2147483647")]),
    (
        "int8",
        "BIGINT",
        &[("-9223372036854775808", "-9223372036854775808"), ("9223372036854775807", "9223372036854775807")],
    ),
    ("oid", "UINTEGER", &[("4294967295", "4294967295")]),
    ("xid8", "UBIGINT", &[("'18446744073709551615'", "18446744073709551615")]),
    ("float4", "FLOAT", &[("'NaN'", "NaN"), ("'-Infinity'", "-inf"), ("1e-45", "1e-45"), ("'-0'", "-0.0")]),
    (
        "float8",
        "DOUBLE",
        &[
            ("'NaN'", "NaN"),
            ("'Infinity'", "inf"),
            ("5e-324", "5e-324"),
            ("0.1::float8 + 0.2::float8", "0.30000000000000004"),
        ],
    ),
    ("numeric(10,2)", "DECIMAL(10,2)", &[("99999999.99", "99999999.99"), ("-0.01", "-0.01")]),
    (
        "numeric(38,38)",
        "DECIMAL(38,38)",
        &[("0.00000000000000000000000000000000000001", "0.00000000000000000000000000000000000001")],
    ),
    (
        "numeric(38,0)",
        "DECIMAL(38,0)",
        &[("-99999999999999999999999999999999999999", "-99999999999999999999999999999999999999")],
    ),
    ("numeric(5,-2)", "DECIMAL(7,0)", &[("1234567", "1234600")]),
    ("numeric(2,4)", "DECIMAL(4,4)", &[("0.0099", "0.0099")]),
    (
        "numeric",
        "VARCHAR",
        &[
            ("'NaN'", "NaN"),
            ("1e50", "100000000000000000000000000000000000000000000000000"),
            ("'-Infinity'", "-Infinity"),
            ("0.10", "0.10"),
        ],
    ),
    ("numeric(50,3)", "VARCHAR", &[("1.5", "1.500")]),
    ("money", "DECIMAL(19,2)", &[("'-92233720368547758.08'", "-92233720368547758.08"), ("1234.5", "1234.50")]),
    ("date", "DATE", &[("'2026-02-28'", "2026-02-28"), ("'0001-01-01'", "0001-01-01")]),
    ("time", "TIME", &[("'00:00:00'", "00:00:00"), ("'23:59:59.999999'", "23:59:59.999999")]),
    ("timetz", "VARCHAR", &[("'12:30:00+05:30'", "12:30:00+05:30")]),
    ("timestamp", "TIMESTAMP", &[("'1969-12-31 23:59:59.999999'", "1969-12-31T23:59:59.999999")]),
    ("timestamptz", "TIMESTAMP WITH TIME ZONE", &[("'2026-03-29 03:00:00+02'", "2026-03-29T01:00:00Z")]),
    ("uuid", "UUID", &[("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]),
    ("json", "JSON", &[(r#"'{"a":  [1, null]}'"#, r#"{"a":  [1, null]}"#)]),
    ("jsonb", "JSON", &[(r#"'{"b":1, "a":"\t"}'"#, r#"{"a": "\t", "b": 1}"#)]),
    (
        "text",
        "VARCHAR",
        &[
            ("''", ""),
            (r"E'tab\t line\n back\\slash \\N'", "tab\t line\n back\\slash \\N"),
            ("'ünï\u{1F600}'", "ünï\u{1F600}"),
        ],
    ),
    ("varchar(5)", "VARCHAR", &[("'abc'", "abc")]),
    ("char(5)", "VARCHAR", &[("'abc'", "abc  ")]),
    ("\"char\"", "VARCHAR", &[("'x'", "x")]),
    ("name", "VARCHAR", &[("'n'", "n")]),
    ("bytea", "BLOB", &[(r"'\x'", ""), (r"'\x00ff5c0a'", "00ff5c0a")]),
    ("int4[]", "INTEGER[]", &[("'{}'", "[]"), ("'{1,NULL,-3}'", "[1, NULL, -3]"), ("'[0:1]={7,8}'", "[7, 8]")]),
    ("int4[][]", "INTEGER[][]", &[("'{{1,2},{3,4}}'", "[[1, 2], [3, 4]]")]),
    ("text[]", "VARCHAR[]", &[(r#"ARRAY['a,b', 'NULL', NULL, '', 'q"\']"#, r#"[a,b, NULL, NULL, , q"\]"#)]),
    ("numeric(6,2)[]", "DECIMAL(6,2)[]", &[("'{1.5,-2}'", "[1.50, -2.00]")]),
    ("mood", "VARCHAR", &[("'so so'", "so so")]),
    ("percent", "DECIMAL(5,2)", &[("99.5", "99.50")]),
    ("matrix", "INTEGER[][]", &[("'{{1},{2}}'", "[[1], [2]]")]),
    (
        "pair",
        "STRUCT(n INTEGER, t VARCHAR, m VARCHAR)",
        &[
            (r#"ROW(1, 'a"b,c)', 'sad')"#, r#"{n: 1, t: a"b,c), m: sad}"#),
            ("ROW(NULL, '', NULL)", "{n: NULL, t: , m: NULL}"),
        ],
    ),
    (
        "pair[]",
        "STRUCT(n INTEGER, t VARCHAR, m VARCHAR)[]",
        &[("ARRAY[ROW(1, 'x', 'sad')::pair]", "[{n: 1, t: x, m: sad}]")],
    ),
    ("int4range", "VARCHAR", &[("'[1,5]'", "[1,6)"), ("'empty'", "empty")]),
    ("int4multirange", "VARCHAR", &[("'{[1,3),[5,7)}'", "{[1,3),[5,7)}")]),
    ("tstzrange", "VARCHAR", &[("'[2026-01-01 00:00+01,)'", "[\"2025-12-31 23:00:00+00\",)")]),
    ("inet", "VARCHAR", &[("'192.168.0.1/24'", "192.168.0.1/24")]),
    ("cidr", "VARCHAR", &[("'10/8'", "10.0.0.0/8")]),
    ("macaddr", "VARCHAR", &[("'08:00:2b:01:02:03'", "08:00:2b:01:02:03")]),
    ("bit(3)", "VARCHAR", &[("B'101'", "101")]),
    ("varbit", "VARCHAR", &[("B''", ""), ("B'1'", "1")]),
    ("hstore", "MAP(VARCHAR, VARCHAR)", &[(r#"'a=>1, "b c"=>NULL'"#, "{a: 1, b c: NULL}")]),
    ("citext", "VARCHAR", &[("'MiXed'", "MiXed")]),
    ("regclass", "VARCHAR", &[("'pg_class'", "pg_class")]),
    ("point", "VARCHAR", &[("'(1,2)'", "(1,2)")]),
    ("tsvector", "VARCHAR", &[("'a b'", "'a' 'b'")]),
    ("xml", "VARCHAR", &[("'<a/>'", "<a/>")]),
    ("pg_lsn", "VARCHAR", &[("'0/16B3748'", "0/16B3748")]),
];

const SETUP: &str = "CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public; CREATE EXTENSION IF NOT EXISTS citext SCHEMA public; \
    CREATE TYPE mood AS ENUM ('sad', 'so so'); CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE <= 100); \
    CREATE DOMAIN matrix AS int4[][]; CREATE TYPE pair AS (n int4, t text, m mood)";

#[test]
fn every_type_comes_through_copy_and_stream() {
    on_both(async |server| {
        let has_xml = server.value("postgres", "SELECT count(*) FROM pg_proc WHERE proname = 'xml_is_well_formed'")
            != "0"
            && server.try_execute("postgres", "SELECT '<a/>'::xml").is_ok();
        let cases: Vec<_> = CASES.iter().filter(|case| case.0 != "xml" || has_xml).collect();
        let columns: Vec<String> = cases.iter().enumerate().map(|(n, case)| format!("c{n} {}", case.0)).collect();
        let database =
            Database::new(server, &format!("{SETUP}; CREATE TABLE t (id int PRIMARY KEY, {})", columns.join(", ")));
        let depth = cases.iter().map(|case| case.2.len()).max().unwrap();
        // One row more than there are values: NULL in every column.
        let insert = |first: usize| {
            for row in 0..=depth {
                let value = |case: &Case| case.2.get(row).map_or("NULL", |(sql, _)| *sql).to_owned();
                let values: Vec<String> = cases.iter().map(|case| value(case)).collect();
                database.sql(&format!("INSERT INTO t VALUES ({}, {})", first + row, values.join(", ")));
            }
        };
        insert(0);
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        insert(100);
        follow.check("both ways").await;
        let fields = follow.tables[0].columns.fields().clone();
        let rows = follow.contents[0].batch();
        let ids = rows.column(0).as_primitive::<arrow::datatypes::Int32Type>();
        for (column, case) in cases.iter().enumerate() {
            assert_eq!(duckdb_type(&fields[column + 1]), Some(case.1), "{}", case.0);
            for row in 0..=depth {
                for id in [row, 100 + row] {
                    let at = ids.values().iter().position(|found| *found == id as i32).unwrap();
                    let array = rows.column(column + 1);
                    let options = arrow::util::display::FormatOptions::default().with_null("NULL");
                    let shown = arrow::util::display::array_value_to_string(array, at);
                    let shown = match arrow::util::display::ArrayFormatter::try_new(array, &options) {
                        Ok(formatter) => formatter.value(at).try_to_string().unwrap_or_default(),
                        Err(_) => shown.unwrap_or_default(),
                    };
                    let expected = case.2.get(row).map_or("NULL", |(_, shown)| *shown);
                    assert_eq!(shown, expected, "{} in row {id}", case.0);
                }
            }
        }
    });
}

/// Values that Arrow's own text forms do not show.
#[test]
fn instants_without_end_and_before_our_era() {
    on_both(async |server| {
        let setup = "CREATE TABLE t (id int PRIMARY KEY, d date, s timestamp, z timestamptz, i interval, k time)";
        let database = Database::new(server, setup);
        let rows = [
            "'infinity', 'infinity', 'infinity', '1 year 2 mons -3 days -04:05:06.000001', '24:00:00'",
            "'-infinity', '-infinity', '-infinity', '-1 mons 178000 days 2562047:00:00', '00:00:00'",
            "'0044-03-15 BC', '4713-01-01 00:00:00 BC', '0001-12-31 23:59:59+00 BC', '0', NULL",
            "'5874897-12-31', '294246-12-31 23:59:59.999999', '100000-01-01 00:00:00+00', '00:00:00.000001', NULL",
        ];
        let insert = |first: usize| {
            rows.iter()
                .enumerate()
                .for_each(|(n, row)| database.sql(&format!("INSERT INTO t VALUES ({}, {row})", first + n)));
        };
        insert(0);
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        insert(100);
        follow.check("both ways").await;
        let batch = follow.contents[0].batch();
        let ids = batch.column(0).as_primitive::<arrow::datatypes::Int32Type>();
        for first in [0, 100] {
            let at = |n: i32| ids.values().iter().position(|id| *id == first + n).unwrap();
            let dates = batch.column(1).as_primitive::<Date32Type>();
            let stamps = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            let zoned = batch.column(3).as_primitive::<TimestampMicrosecondType>();
            let spans = batch.column(4).as_primitive::<IntervalMonthDayNanoType>();
            assert_eq!([dates.value(at(0)), dates.value(at(1))], [i32::MAX, -i32::MAX]);
            // Days from 0044-03-15 BC (proleptic Gregorian, year -43) to 1970-01-01.
            assert_eq!(dates.value(at(2)), -735_160);
            assert_eq!([stamps.value(at(0)), stamps.value(at(1))], [i64::MAX, -i64::MAX]);
            assert_eq!([zoned.value(at(0)), zoned.value(at(1))], [i64::MAX, -i64::MAX]);
            assert_eq!(zoned.value(at(2)), -62_135_596_801_000_000);
            assert_eq!(stamps.value(at(3)), 9_223_371_244_799_999_999);
            let span = spans.value(at(0));
            assert_eq!((span.months, span.days, span.nanoseconds), (14, -3, -14_706_000_001_000));
            assert_eq!(
                batch.column(5).as_primitive::<arrow::datatypes::Time64MicrosecondType>().value(at(0)),
                86_400_000_000
            );
        }
    });
}

/// What no type here holds stops the source, or becomes NULL where that was asked for; it is never NULL by
/// itself.
#[test]
fn what_cannot_be_represented_is_never_dropped_in_silence() {
    on_both(async |server| {
        for (kind, value) in [
            ("numeric(10,2)", "'NaN'"),
            ("timestamp", "'294276-12-31 23:59:59'"),
            ("int4[]", "'{{1,2},{3,4}}'"),
            ("interval", "'3000000 hours'"),
        ] {
            let database = Database::new(server.clone(), &format!("CREATE TABLE t (id int PRIMARY KEY, v {kind})"));
            let mut follow = Follow::begin(database.connect(), &["t"]).await;
            database.sql(&format!("INSERT INTO t VALUES (1, {value})"));
            let error = follow.try_catch_up().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
            let text = error.to_string();
            assert!(text.contains("column v of table app.public.t") && text.contains("on_unrepresentable"), "{text}");
            assert!(!text.contains("294276") && !text.contains("{1,2}"), "values are not told: {text}");
            drop(follow);
            let database = database.with("on_unrepresentable", "null");
            let mut follow = Follow::begin(database.connect(), &["t"]).await;
            assert_eq!(follow.rows(0), ["1|NULL"]);
            database.sql("UPDATE t SET id = 2");
            follow.check("as NULL").await;
        }
        let database =
            Database::new(server, "CREATE TABLE t (id int PRIMARY KEY, v numeric); INSERT INTO t VALUES (1, 1.25)");
        let database = database.with("numeric", "decimal(20,4)");
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        assert_eq!(follow.contents[0].batch().column(1).as_primitive::<Decimal128Type>().value(0), 12_500);
        database.sql("INSERT INTO t VALUES (2, 0.00001)");
        let error = follow.try_catch_up().await.unwrap_err();
        assert!(error.to_string().contains("DECIMAL(20,4)"), "{error}");
    });
}

/// Pseudo types have no values; such columns are named.
#[test]
fn types_without_values_are_refused() {
    on_both(async |server| {
        let database = Database::new(server, "CREATE TABLE plain (id int PRIMARY KEY)");
        let mut source = database.connect();
        let error = source.tables(&[public("nothing")], None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains("app.public.nothing"), "{error}");
        let _ = ok(source.tables(&[public("plain")], None).await);
    });
}

/// An attribute that is added to a composite changes the type of the column, and so the table is copied again.
#[test]
fn a_composite_that_grows_is_noticed() {
    on_both(async |server| {
        let setup = "CREATE TYPE pair AS (a int, b int); CREATE TABLE t (id int PRIMARY KEY, p pair); INSERT INTO t VALUES (1, ROW(1, 2))";
        let database = Database::new(server, setup);
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        database.sql("ALTER TYPE pair ADD ATTRIBUTE c int; INSERT INTO t VALUES (2, ROW(1, 2, 3))");
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "nothing was noticed");
            match follow.step().await {
                Ok(End::Schema(_)) => break,
                Ok(end) => assert!(matches!(end, End::Here), "{end:?}"),
                Err(error) => {
                    // The value does not fit the type as it was; nothing of it was taken.
                    assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
                    follow.reconnect(database.connect());
                }
            }
        }
    });
}
