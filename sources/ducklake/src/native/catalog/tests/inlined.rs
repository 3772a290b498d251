//! Inlined rows are what the extension reads of them.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Date32Type, Int32Type, SchemaRef};
use tidegate_core::ErrorKind;
use tidegate_core::duckdb_type::field;
use tidegate_duck::Duck;
use tidegate_testkit::Catalog;

use super::{as_stored, client, exact, extension_reads, inlined, on_every_catalog, runtime, table_id};
use crate::error::LakeError;
use crate::native::catalog::{InlinedColumn, InlinedTable};

const COLUMNS: &str = "b BOOLEAN, t TINYINT, s SMALLINT, i INTEGER, l BIGINT, h HUGEINT, ut UTINYINT, us USMALLINT, \
    ui UINTEGER, ul UBIGINT, f FLOAT, d DOUBLE, x DECIMAL(9,2), y DECIMAL(38,10), v VARCHAR, bl BLOB, u UUID, \
    j JSON, da DATE, ti TIME, ts TIMESTAMP, tz TIMESTAMPTZ, tss TIMESTAMP_S, tsm TIMESTAMP_MS, tn TIMESTAMP_NS, \
    iv INTERVAL, li INTEGER[], st STRUCT(a INTEGER, b VARCHAR[]), m MAP(VARCHAR, DECIMAL(4,1))";
const ROW: &str = "true, -128, 32767, -2147483648, 9007199254740993, 170141183460469231731687303715884105, 255, 65535, \
    4294967295, 18446744073709551615, '-0.0', 'nan', 1234567.89, 1234567890.0123456789, 'it''s ü', '\\x00\\xFF', \
    'a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d60000', '{\"a\": 1}', '2024-02-29', '23:59:59.999999', \
    '1969-12-31 23:59:59.999999', '2024-02-29 12:00:00+05', '2024-02-29 12:00:01', '2024-02-29 12:00:01.001', \
    '2024-02-29 12:00:01.000000001', INTERVAL '1 month 2 days 3 milliseconds', [1, NULL], \
    {'a': NULL, 'b': ['x', NULL]}, MAP {'k': 1.5}";

/// A type and values of it that are easily got wrong.
const EXTREMES: &[(&str, &str)] = &[
    ("BOOLEAN", "(true), (false), (NULL)"),
    ("TINYINT", "(-128), (127), (NULL)"),
    ("BIGINT", "(9223372036854775807), (-9223372036854775808), (NULL)"),
    ("UBIGINT", "(18446744073709551615), (9223372036854775808), (9223372036854777857), (0)"),
    ("HUGEINT", "(99999999999999999999999999999999999999), (-99999999999999999999999999999999999999), (0), (NULL)"),
    ("DECIMAL(18,3)", "(1.5), (123456789012345.678), (-0.001), (NULL)"),
    ("DECIMAL(38,10)", "(1234567890123456789012345678.0123456789), (-0.0000000001), (0)"),
    ("DECIMAL(4,0)", "(9999), (-9999), (0)"),
    (
        "DOUBLE",
        "('inf'), ('-inf'), ('nan'), (1e308), (5e-324), (0.1), (1e22), (9007199254740993), (0.0), ('-0.0'), (NULL)",
    ),
    ("FLOAT", "('inf'), ('-inf'), ('nan'), (3.4028235e38), (1e-45), (0.1), (16777217), (0.0), ('-0.0'), (NULL)"),
    (
        "VARCHAR",
        "(''), (' '), ('NULL'), ('123'), ('1.0'), ('a''b'), ('\\x41'), ('a\"b\\'), (chr(0) || 'x'), ('ü€😀'), (NULL)",
    ),
    ("BLOB", "(''::BLOB), ('abc'::BLOB), ('\\x00\\xFFa'::BLOB), ('\\x5C\\x78'::BLOB), ('\\x27'::BLOB), (NULL)"),
    ("JSON", "('1'), ('{\"a\": \"b''c\"}'), ('null'), ('\"x\"'), (NULL)"),
    ("UUID", "('00000000-0000-0000-0000-000000000000'), ('ffffffff-ffff-ffff-ffff-ffffffffffff'), (NULL)"),
    (
        "DATE",
        "('infinity'), ('-infinity'), ('0044-03-15 (BC)'), ('0001-01-01'), ('9999-12-31'), ('290000-01-01'), (NULL)",
    ),
    ("TIME", "('00:00:00'), ('24:00:00'), ('12:34:56.7'), ('00:00:00.000001'), (NULL)"),
    (
        "TIMESTAMP",
        "('infinity'), ('-infinity'), ('0044-03-15 (BC) 01:02:03'), ('200000-01-01'), ('1969-12-31 23:59:59.999999')",
    ),
    ("TIMESTAMPTZ", "('infinity'), ('-infinity'), ('0044-03-15 (BC) 01:02:03'), ('2024-07-01 12:00:00+05:30'), (NULL)"),
    ("TIMESTAMP_S", "('infinity'), ('-infinity'), ('1969-12-31 23:59:59'), (NULL)"),
    ("TIMESTAMP_MS", "('infinity'), ('-infinity'), ('1969-12-31 23:59:59.999'), ('0044-03-15 (BC) 01:02:03')"),
    ("TIMESTAMP_NS", "('infinity'), ('-infinity'), ('1969-12-31 23:59:59.999999999'), (NULL)"),
    (
        "INTERVAL",
        "(INTERVAL '0 days'), (INTERVAL '30 days'), (INTERVAL '1 month'), (INTERVAL '-14 months -3 days 5 microseconds'), \
         (INTERVAL '1000000 hours'), (NULL)",
    ),
    ("VARCHAR[]", "(['a', 'it''s \"q\" \\ b', NULL, 'NULL', '', 'a, b', '[x]', ' y ']), ([]), (NULL)"),
    ("INTEGER[][]", "([[1], [], NULL, [NULL, 2]]), ([])"),
    (
        "STRUCT(a VARCHAR, \"b c\" INTEGER)",
        "({'a': 'x', 'b c': 1}), ({'a': NULL, 'b c': NULL}), ({'a': '', 'b c': 2}), (NULL)",
    ),
    ("STRUCT(a VARCHAR)", "({'a': 'it''s'}), ({'a': 'a\"b\\c'}), ({'a': ' x '}), ({'a': 'a, b: c'}), ({'a': '{}'})"),
    ("STRUCT(f DOUBLE, n STRUCT(a INTEGER))", "({'f': 0.1, 'n': {'a': 1}}), ({'f': NULL, 'n': NULL})"),
    ("MAP(VARCHAR, INTEGER)", "(MAP {'k': 1, 'a=b': NULL, '': 3}), (MAP {}), (NULL)"),
    ("MAP(INTEGER, VARCHAR[])", "(MAP {1: ['x', 'it''s'], 2: NULL}), (NULL)"),
];

#[test]
fn every_type_is_what_the_extension_reads() {
    let nulls = vec!["NULL"; 29].join(", ");
    on_every_catalog(|lake, _| {
        lake.execute(&format!(
            "CREATE TABLE lake.types ({COLUMNS}); INSERT INTO lake.types VALUES ({ROW}), ({nulls}); \
             INSERT INTO lake.types VALUES ({ROW})"
        ));
        let (schema, expected) = extension_reads(lake, "FROM lake.types");
        let columns: Vec<_> = schema.fields().iter().map(|field| as_stored(field)).collect();
        let mut client = client(&lake.uri());
        let read = client.reading(|reading| inlined(reading, "types", &columns, "end_snapshot IS NULL")).unwrap();
        assert_eq!(read.batch.schema(), schema);
        exact(&[read.batch]).assert_equals(&expected, "every type");
        assert_eq!(read.end, [None; 3]);
        assert_eq!(read.begin, [2, 2, 3]);
    });
}

#[test]
fn values_that_are_easily_got_wrong() {
    on_every_catalog(|lake, _| {
        let mut sql = String::from("CALL lake.set_option('data_inlining_row_limit', 100);");
        for (at, (duckdb_type, values)) in EXTREMES.iter().enumerate() {
            sql += &format!("CREATE TABLE lake.t{at} (v {duckdb_type}); INSERT INTO lake.t{at} VALUES {values};");
        }
        lake.execute(&sql);
        let all = |duck: &Duck| (0..EXTREMES.len()).map(|at| duck.query(&format!("FROM lake.t{at}"))).collect();
        let expected: Vec<(SchemaRef, Vec<RecordBatch>)> = lake.attached(all).unwrap();
        let mut client = client(&lake.uri());
        for (at, ((duckdb_type, values), (schema, expected))) in EXTREMES.iter().zip(&expected).enumerate() {
            let (table, expected) = (format!("t{at}"), exact(expected));
            let columns = [as_stored(schema.field(0))];
            let read = client.reading(|reading| inlined(reading, &table, &columns, "end_snapshot IS NULL"));
            let read = read.unwrap_or_else(|error| panic!("{duckdb_type} {values}: {error}"));
            assert!(!expected.is_empty() && usize::try_from(expected.len()) == Ok(read.batch.num_rows()));
            exact(&[read.batch]).assert_equals(&expected, &format!("{duckdb_type} {values}"));
        }
    });
}

#[test]
fn columns_of_another_time_are_promoted_renamed_and_filled() {
    on_every_catalog(|lake, _| {
        lake.execute(
            "CREATE TABLE lake.old (gone VARCHAR, a TINYINT, \"F f\" FLOAT, n INTEGER, x DECIMAL(4,1)); \
             INSERT INTO lake.old VALUES ('x', -7, 0.1, 5, 1.5), (NULL, NULL, NULL, NULL, NULL); \
             ALTER TABLE lake.old DROP COLUMN gone; ALTER TABLE lake.old ALTER a TYPE BIGINT; \
             ALTER TABLE lake.old ALTER \"F f\" TYPE DOUBLE; ALTER TABLE lake.old ALTER n TYPE DOUBLE; \
             ALTER TABLE lake.old RENAME COLUMN a TO b; ALTER TABLE lake.old ADD COLUMN w VARCHAR DEFAULT 'it''s'; \
             ALTER TABLE lake.old ADD COLUMN z INTEGER[]",
        );
        let (schema, expected) = extension_reads(lake, "FROM lake.old");
        let stored = [("a", "TINYINT"), ("F f", "FLOAT"), ("n", "INTEGER"), ("x", "DECIMAL(4,1)")];
        let mut columns: Vec<_> = schema.fields().iter().map(|field| as_stored(field)).collect();
        for (column, (name, stored_type)) in columns.iter_mut().zip(stored) {
            (column.stored, column.stored_type) = (Some(name.to_owned()), stored_type.to_owned());
        }
        columns[4].stored = None;
        columns[4].default = Some(Arc::new(StringArray::from(vec!["it's"])));
        columns[5].stored = None;
        let mut client = client(&lake.uri());
        let read = client.reading(|reading| {
            let id = table_id(reading, "old");
            let tables = reading.inlined_tables(id)?;
            reading.inlined(&tables[0], &columns, "end_snapshot IS NULL")
        });
        let read = read.unwrap();
        assert_eq!(read.batch.schema(), schema);
        exact(&[read.batch]).assert_equals(&expected, "columns of another time");
    });
}

#[test]
fn conditions_orders_and_deletes() {
    on_every_catalog(|lake, _| {
        lake.execute(
            "CREATE TABLE lake.t (a INTEGER); INSERT INTO lake.t SELECT * FROM range(30); \
             INSERT INTO lake.t VALUES (100), (101); UPDATE lake.t SET a = 102 WHERE a = 100; \
             CREATE TABLE lake.empty (a INTEGER)",
        );
        let mut client = client(&lake.uri());
        let columns = [as_stored(&field("a", "INTEGER", true).unwrap())];
        let (all, none) = client
            .reading(|reading| {
                let all = inlined(reading, "t", &columns, "begin_snapshot <= 100")?;
                let ended = inlined(reading, "t", &columns, "end_snapshot > 3 AND end_snapshot <= 4")?;
                assert_eq!(ended.end, [Some(4)]);
                assert_eq!(inlined(reading, "t", &[], "row_id >= 0")?.batch.num_rows(), 3);
                for (table, deletes) in [("t", false), ("empty", false)] {
                    let id = table_id(reading, table);
                    assert_eq!(reading.has_table(&format!("inlined_delete_{}", id))?, deletes);
                }
                Ok((all, inlined(reading, "t", &columns, "begin_snapshot > 100")?))
            })
            .unwrap();
        assert_eq!((all.begin, all.end), (vec![3, 4, 3], vec![Some(4), None, None]));
        assert_eq!(all.batch.column(0).as_primitive::<Int32Type>().values(), &[100, 102, 101]);
        assert_eq!((none.batch.num_rows(), none.batch.num_columns()), (0, 1));
        lake.execute("DELETE FROM lake.t WHERE a = 1");
        client
            .reading(|reading| {
                let id = table_id(reading, "t");
                assert!(reading.has_table(&format!("inlined_delete_{}", id))?);
                let sql = format!("SELECT row_id FROM {}", reading.name(&format!("inlined_delete_{id}")));
                assert_eq!(reading.rows(&sql)?[0].u64(0)?, 1);
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn names_with_quotes() {
    on_every_catalog(|lake, _| {
        lake.execute(
            r#"CREATE TABLE lake."t ""q""" ("a ""b"", c" INTEGER, "select" VARCHAR, "É" INTEGER);
               INSERT INTO lake."t ""q""" VALUES (1, 'x', 2)"#,
        );
        let (schema, expected) = extension_reads(lake, r#"FROM lake."t ""q""""#);
        let columns: Vec<_> = schema.fields().iter().map(|field| as_stored(field)).collect();
        let mut client = client(&lake.uri());
        let read = client.reading(|reading| inlined(reading, "t \"q\"", &columns, "row_id = 0")).unwrap();
        exact(&[read.batch]).assert_equals(&expected, "names");
        // A name that is no column is an error, and no text.
        let columns = [as_stored(&field("nothing", "VARCHAR", true).unwrap())];
        let error = client.reading(|reading| inlined(reading, "t \"q\"", &columns, "row_id = 0")).unwrap_err();
        assert!(error.to_string().contains("nothing") || format!("{error:?}").contains("nothing"), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
    });
}

#[test]
fn texts_are_what_duckdb_casts() {
    let runtime = runtime();
    let _within = runtime.enter();
    let mut client = client("ducklake:/nowhere/x.db");
    let dates = Arc::new(field("d", "DATE", true).unwrap());
    let parsed = client.parse_texts(&StringArray::from(vec![Some("1970-01-02"), None]), &dates).unwrap();
    assert_eq!(parsed.as_primitive::<Date32Type>().iter().collect::<Vec<_>>(), [Some(1), None]);
    let lists = Arc::new(field("l", "INTEGER[]", true).unwrap());
    let parsed = client.parse_texts(&StringArray::from(vec!["[1, NULL]"]), &lists).unwrap();
    assert_eq!(parsed.as_list::<i32>().value(0).as_primitive::<Int32Type>(), &Int32Array::from(vec![Some(1), None]));
    let none = client.parse_texts(&StringArray::from(Vec::<&str>::new()), &dates).unwrap();
    assert_eq!((none.len(), none.data_type()), (0, dates.data_type()));
    for text in ["hush", ""] {
        let error = client.parse_texts(&StringArray::from(vec![text]), &dates).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(error.to_string().contains("column d"), "{error}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
    // An error leaves nothing behind.
    assert_eq!(client.parse_texts(&StringArray::from(vec!["1970-01-01"]), &dates).unwrap().len(), 1);
}

#[test]
fn wrong_values_and_wrong_columns_are_named() {
    let runtime = runtime();
    let _within = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let lake = tidegate_testkit::Lake::create(dir.path(), Catalog::sqlite(dir.path()));
    lake.execute("CREATE TABLE lake.t (a INTEGER, d DATE, w DATE); INSERT INTO lake.t VALUES (1, '2024-02-29', NULL)");
    let file = dir.path().join("lake.sqlite");
    let mut client = client(&lake.uri());
    let column = |name: &str, duckdb_type: &str| as_stored(&field(name, duckdb_type, true).unwrap());
    let columns = [column("a", "INTEGER"), column("d", "DATE"), column("w", "DATE")];
    for (set, named) in [("w = 'hush'", "w"), ("a = 'hush', w = NULL", "a"), ("a = x'FF'", "a")] {
        let writer = rusqlite::Connection::open(&file).unwrap();
        writer.execute_batch(&format!("UPDATE ducklake_inlined_data_1_1 SET {set}")).unwrap();
        drop(writer);
        let error = client.reading(|reading| inlined(reading, "t", &columns, "row_id = 0")).unwrap_err();
        assert!(matches!(&error, LakeError::InlinedValue { column, .. } if column == named), "{set}: {error:?}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
    // DuckLake inlines such a struct in a form that it does not read back.
    lake.execute("CREATE TABLE lake.s (s STRUCT(d DATE)); INSERT INTO lake.s VALUES ({'d': '2024-02-29'})");
    assert!(lake.attached(|duck| duck.query("FROM lake.s")).is_err());
    let dated = [column("s", "STRUCT(d DATE)")];
    let error = client.reading(|reading| inlined(reading, "s", &dated, "row_id = 0")).unwrap_err();
    assert!(matches!(&error, LakeError::InlinedValue { column, .. } if column == "s"), "{error:?}");
    let table = InlinedTable { name: "ducklake_inlined_data_1_1".to_owned(), schema_version: 1 };
    let broken = InlinedColumn { stored_type: "DATE) FROM x --".to_owned(), ..columns[1].clone() };
    let error = client.reading(|reading| reading.inlined(&table, &[broken], "row_id = 0")).unwrap_err();
    assert!(matches!(error, LakeError::ColumnType { .. }), "{error:?}");
    let default: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let broken = InlinedColumn { stored: None, default: Some(default), ..columns[0].clone() };
    let error = client.reading(|reading| reading.inlined(&table, &[broken], "row_id = 0")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug, "{error:?}");
}

#[test]
fn ten_rows_cost_little() {
    on_every_catalog(|lake, _| {
        let rows = vec![format!("({ROW})"); 10].join(", ");
        lake.execute(&format!("CREATE TABLE lake.types ({COLUMNS}); INSERT INTO lake.types VALUES {rows}"));
        let schema = extension_reads(lake, "FROM lake.types").0;
        let every: Vec<_> = schema.fields().iter().map(|field| as_stored(field)).collect();
        let simple: Vec<_> = every
            .iter()
            .filter(|column| ["i", "l", "v", "b"].contains(&column.field.name().as_str()))
            .cloned()
            .collect();
        let dated: Vec<_> = every
            .iter()
            .filter(|column| ["i", "v", "x", "ts"].contains(&column.field.name().as_str()))
            .cloned()
            .collect();
        let mut client = client(&lake.uri());
        for (what, columns) in [("none", &[][..]), ("4 simple", &simple), ("4 usual", &dated), ("29", &every)] {
            let mut least = [u128::MAX; 2];
            for _ in 0..20 {
                let begun = Instant::now();
                let read = client.reading(|reading| {
                    let id = table_id(reading, "types");
                    let tables = reading.inlined_tables(id)?;
                    let asked = Instant::now();
                    let read = reading.inlined(&tables[0], columns, "end_snapshot IS NULL")?;
                    least[1] = least[1].min(asked.elapsed().as_micros());
                    Ok(read)
                });
                assert_eq!(read.unwrap().batch.num_rows(), 10);
                least[0] = least[0].min(begun.elapsed().as_micros());
            }
            println!("{what} columns of ten rows: {} µs, with the reading around it {} µs", least[1], least[0]);
        }
    });
}
