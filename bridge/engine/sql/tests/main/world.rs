//! Tables with awkward values in a DuckDB in memory, and the same rows as Arrow batches.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use tidegate_core::{RowIdentity, TableName, TableSchema, ViewName};
use tidegate_duck::{Duck, DuckBinder};
use tidegate_engine_sql::{PlanError, Program, ViewDef};

/// NULLs, extremes, zeros of both signs, NaN, infinities, and texts outside ASCII.
const TABLES: &str = r#"
ATTACH ':memory:' AS lake;
ATTACH ':memory:' AS app;
CREATE TABLE lake.main.t (
    id INTEGER NOT NULL, b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INTEGER, i64 BIGINT, u8 UTINYINT, u16 USMALLINT,
    u32 UINTEGER, u64 UBIGINT, h HUGEINT, f FLOAT, d DOUBLE, d2 DOUBLE, dec1 DECIMAL(4,1), dec2 DECIMAL(9,2),
    dec3 DECIMAL(18,3), dec4 DECIMAL(38,10), s VARCHAR, s2 VARCHAR, n VARCHAR, dt DATE, dt2 DATE, ts TIMESTAMP,
    ts2 TIMESTAMP, tz TIMESTAMP WITH TIME ZONE, tm TIME, u UUID, bl BLOB, iv INTERVAL, j JSON, l INTEGER[]);
INSERT INTO lake.main.t VALUES
(0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(1, true, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1.0, 1.00, 1.000, 1, 'a', 'A', '1', '2020-01-31', '2021-03-01',
 '2020-01-31 10:11:12.345678', '2020-02-29 00:00:00', '2020-01-31 10:11:12+00', '10:11:12', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
 'abc', INTERVAL '1 month 2 days', '{"a": 1}', [1, 2]),
(2, false, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1.5, -1.5, 0, -1.5, -1.55, -1.555, -1.5555555555, '', 'a', '-17', '1969-12-31',
 '1970-01-01', '1969-12-31 23:59:59.999999', '1970-01-01 00:00:00', '1969-12-31 23:59:59+00', '00:00:00',
 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '', INTERVAL '-1 day', '[]', []),
(3, true, 127, 32767, 2147483647, 9223372036854775807, 255, 65535, 4294967295, 18446744073709551615,
 99999999999999999999999999999999999999, 3.4e38, 1.7976931348623157e308, -1, 999.9, 9999999.99, 999999999999999.999,
 9999999999999999999999999999.9999999999, 'Straße ÄÖÜ', 'ß', '2147483647', '2024-02-29', '2023-02-28',
 '2024-12-31 23:59:59.5', '2024-01-01 12:00:00', '2024-12-31 23:59:59+00', '23:59:59', NULL, 'z', INTERVAL '10 years', NULL, NULL),
(4, false, -128, -32768, -2147483648, -9223372036854775808, 7, 7, 7, 7, -99999999999999999999999999999999999999, -3.4e38,
 -1.7976931348623157e308, 0.5, -999.9, -9999999.99, -999999999999999.999, -9999999999999999999999999999.9999999999,
 '100%_x\y', '%', ' 42 ', '0001-01-01', '9999-12-31', '0001-01-01 00:00:00', '9999-12-31 23:59:59', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(5, true, 0, 0, 0, 0, 0, 0, 0, 0, 0, '-0.0', '-0.0', '0.0', 0.0, 0.00, 0.000, 0, '  padded  ', 'pad', '0', '2021-01-03',
 '2020-12-31', '2021-01-03 00:00:00', '2020-12-31 23:00:00', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(6, NULL, 10, 300, 70000, 10000000000, 200, 300, 70000, 10000000000, 123456789012345678901234567890, 'nan', 'nan', '-nan',
 0.5, 0.05, 0.005, 0.0000000005, 'a,b,,c', ',', '2.5', '2000-02-29', '1900-02-28', '2000-02-29 12:30:45.000001', '1999-12-31 23:59:59.999999', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(7, false, 3, -7, 13, -1000003, 5, 9, 11, 1234567890123, -7, 'inf', 'inf', '-inf', 2.5, 2.45, 2.445, 2.4444444445, 'Hello World', 'l', '3.14159',
 '2012-07-04', '2012-07-05', '2012-07-04 15:00:00', '2012-07-04 14:59:59', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(8, true, -3, 7, -13, 1000003, 6, 8, 10, 99, 7, 0.1, 0.1, 2.675, -2.5, -2.45, -2.445, -2.4444444445, 'ÉcOLE 日本', 'é', 'true', '1999-12-31',
 '2000-01-01', '1999-12-31 00:00:00.1', '2000-01-01 00:00:00.12', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(9, false, 42, 42, 16777217, 9007199254740993, 42, 42, 42, 42, 170000000000000000000000, 1e-5, 123456789.12345679, 1e16, 12.3, 12345.67, 123456789012345.678,
 1234567890123456789012345678.9012345678, 'xxabcxx', 'x', '2020-02-29', '2020-02-29', '2020-02-29', '2020-02-29 01:02:03.456', '2020-02-29 01:02:03.456', NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE lake.main.edges (
    id INTEGER NOT NULL, dt DATE, ts TIMESTAMP, sec TIMESTAMP_S, n BIGINT, h HUGEINT, whole DECIMAL(38,0), small DECIMAL(18,0),
    large DECIMAL(38,10));
INSERT INTO lake.main.edges VALUES
(0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(1, 'infinity', 'infinity', '2020-01-01', 9007199254740993, -166153499473114484112975884682526720, 27696697053576767530,
 -9318510836549758, -67231247110659596.9318345569),
(2, '-infinity', '-infinity', '2020-01-02', 9007199254740992, -162259286500619920308611407937539,
 -162259286500619920308611407937539, -187865187528730800, 35800557314546002229.9755927049),
(3, '2020-01-31', '2020-01-31 10:00:00', '2020-01-03', 0, -18446744073709551616, -11414668219112478, 999999999999999999,
 0.0000000001);

CREATE TABLE lake.main.zoned (
    id INTEGER NOT NULL, tz TIMESTAMP WITH TIME ZONE, tz2 TIMESTAMP WITH TIME ZONE, ts TIMESTAMP, dt DATE, zone VARCHAR);
INSERT INTO lake.main.zoned VALUES
(0, NULL, NULL, NULL, NULL, NULL),
(1, '2024-03-31 00:59:59.999999+00', '2024-03-31 01:00:00+00', '2024-03-31 02:30:00', '2024-03-31', 'Europe/Berlin'),
(2, '2024-10-27 00:30:00+00', '2024-10-27 01:30:00+00', '2024-10-27 02:30:00', '2024-10-27', 'Europe/Berlin'),
(3, '2024-03-10 06:59:59.5+00', '2024-11-03 06:30:00+00', '2024-03-10 02:30:00', '2024-11-03', 'America/New_York'),
(4, 'infinity', '-infinity', 'infinity', '-infinity', 'UTC'),
(5, '-infinity', '2024-01-01 00:00:00+00', '-infinity', 'infinity', 'Asia/Kathmandu'),
(6, '1969-12-31 23:59:59.999999+00', '1970-01-01 00:00:00+00', '1969-12-31 23:59:59.999999', '1969-12-31', 'Asia/Kathmandu'),
(7, '1582-10-10 12:00:00+00', '1893-03-31 23:30:00+00', '1582-10-04 12:00:00', '1582-10-15', 'Europe/Berlin'),
(8, '0001-01-01 00:00:00+00', '0044-03-15 (BC) 12:00:00+00', '0044-03-15 (BC) 12:00:00', '0044-03-15 (BC)', 'Asia/Tokyo'),
(9, '2024-02-29 23:30:00.000001+00', '2023-01-31 10:11:12+00', '2024-02-29 23:30:00', '2024-01-31', 'Pacific/Apia'),
(10, '9999-12-31 23:59:59+00', '2000-02-29 12:00:00+00', '9999-12-31 23:59:59', '9999-12-31', 'Europe/London'),
(11, '294247-01-10 04:00:54.775805+00', '294247-01-10 00:00:00+00', '294247-01-10 04:00:54.775805',
 '294247-01-09', 'UTC');

CREATE TABLE lake.main.nested (
    id INTEGER NOT NULL, st STRUCT(x INTEGER, "y z" VARCHAR), l INTEGER[], m MAP(VARCHAR, INTEGER), j JSON,
    ls STRUCT(a INTEGER, b INTEGER[])[], x INTEGER, l2 BIGINT[]);
INSERT INTO lake.main.nested VALUES
(1, {'x': 1, 'y z': 'k'}, [1, 2, 3], MAP {'a': 1, 'b': 2}, '{"a": [1, {"b": 2}], "c": "x"}', [{'a': 1, 'b': [1]}], 10, [1]),
(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
(3, {'x': NULL, 'y z': NULL}, [], MAP {}, '[]', [], 3, []),
(4, {'x': 1, 'y z': 'k'}, [NULL, 5], MAP {'b': 7}, '{"a": null}', [NULL, {'a': NULL, 'b': NULL}], -1, [NULL, 5]),
(5, {'x': -5, 'y z': ''}, [3, 2, 1], MAP {'a': NULL}, '7', [{'a': 2, 'b': [2, 3]}], 10, [3, 2, 1]);

CREATE TABLE lake.main.Orders (Id INTEGER NOT NULL, Customer INTEGER, Amount DECIMAL(9,2), Placed DATE, Note VARCHAR);
INSERT INTO lake.main.Orders VALUES (1, 1, 10.50, '2024-01-05', 'x'), (2, 1, 20.25, '2024-01-06', NULL), (3, 2, 5.00, '2024-02-01', 'x'),
 (4, NULL, 7.75, '2024-02-02', 'y'), (5, 3, NULL, NULL, 'y'), (6, 9, 1.00, '2024-03-01', ''), (7, 1, 10.50, '2024-01-05', 'x');
CREATE TABLE app.public_orders AS FROM lake.main.Orders;
CREATE SCHEMA app.public;
CREATE TABLE app.public.customers (id INTEGER NOT NULL, name VARCHAR, region VARCHAR);
INSERT INTO app.public.customers VALUES (1, 'Ann', 'north'), (2, 'Bob', 'south'), (3, 'Cid', NULL), (4, 'Dan', 'north');
CREATE VIEW app.main.customers AS FROM app.public.customers;
"#;

/// The tables in DuckDB and as planned.
pub struct World {
    pub duck: Duck,
    pub tables: Vec<TableSchema>,
    pub rows: BTreeMap<String, RecordBatch>,
}

impl World {
    pub fn new() -> World {
        let duck = Duck::open_in_memory().unwrap();
        duck.execute(TABLES).unwrap();
        let mut tables = Vec::new();
        let mut rows = BTreeMap::new();
        let names = [
            (TableName::new("lake", "main", "t"), RowIdentity::WholeRow),
            (TableName::new("lake", "main", "edges"), RowIdentity::WholeRow),
            (TableName::new("lake", "main", "zoned"), RowIdentity::WholeRow),
            (TableName::new("lake", "main", "nested"), RowIdentity::WholeRow),
            (TableName::new("lake", "main", "Orders"), RowIdentity::WholeRow),
            (TableName::new("app", "public", "customers"), RowIdentity::Key(vec![0])),
        ];
        for (name, identity) in names {
            let from = format!("FROM \"{}\".\"{}\".\"{}\"", name.source, name.schema, name.table);
            let (schema, batches) = duck.query(&from).unwrap();
            // A query's columns are nullable; the first column of each table is not.
            let fields = schema.fields().iter().enumerate();
            let fields: Vec<_> = fields.map(|(i, f)| f.as_ref().clone().with_nullable(i > 0)).collect();
            let columns = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
            rows.insert(name.to_string(), concat_batches(&schema, &batches).unwrap());
            tables.push(TableSchema {
                name,
                incarnation: 1,
                columns,
                identity,
                integral: tidegate_core::Integral::Source,
            });
        }
        World { duck, tables, rows }
    }

    /// Plans one view.
    pub fn plan(&self, sql: &str) -> Result<Program, Vec<PlanError>> {
        self.plan_all(&[("v", sql)])
    }

    /// Plans several views.
    pub fn plan_all(&self, views: &[(&str, &str)]) -> Result<Program, Vec<PlanError>> {
        let views = views.iter().map(|(name, sql)| definition(name, sql)).collect();
        Program::plan(self.tables.clone(), views, &DuckBinder)
    }
}

pub fn definition(name: &str, sql: &str) -> ViewDef {
    ViewDef { name: ViewName::new(name), sql: sql.to_owned(), key: None }
}
