//! Columns that `*` leaves out. What is written here of names, types and refusals is what DuckDB 1.5.5 says over a lake; that the values
//! are right is compared by the tests of the source and of the program.

use std::collections::BTreeMap;

use tidegate_core::schema::{columns, duckdb_type};
use tidegate_core::{Integral, RowIdentity, TableName, TableSchema, ViewName, VirtualColumn};
use tidegate_duck::DuckBinder;
use tidegate_engine_sql::{PlanError, Program, ViewDef, with_virtual_columns};

const PLACE: &str = "it is a place; leave it out";

fn tables() -> Vec<TableSchema> {
    let table = |source: &str, schema: &str, table: &str, incarnation, of: &[(&str, &str, bool)]| TableSchema {
        name: TableName::new(source, schema, table),
        incarnation,
        columns: columns(of.iter().copied()).unwrap(),
        identity: RowIdentity::WholeRow,
        integral: Integral::Source,
    };
    vec![
        table("lake", "main", "t", 1, &[("a", "INTEGER", true), ("b", "VARCHAR", true)]),
        table("lake", "main", "u", 2, &[("a", "INTEGER", true), ("RowId", "VARCHAR", true)]),
        table("app", "public", "p", 3, &[("a", "INTEGER", true), ("x", "INTEGER", true)]),
    ]
}

fn offered() -> BTreeMap<String, Vec<VirtualColumn>> {
    let column = |name, duckdb_type, refused| VirtualColumn { name, duckdb_type, refused };
    let of_lake = vec![
        column("rowid", "BIGINT", None),
        column("snapshot_id", "BIGINT", None),
        column("filename", "VARCHAR", Some(PLACE)),
    ];
    BTreeMap::from([("lake".to_owned(), of_lake)])
}

fn plan_all(views: &[(&str, &str)]) -> Result<Program, Vec<PlanError>> {
    let view = |(name, sql): &(&str, &str)| ViewDef { name: ViewName::from(*name), sql: (*sql).to_owned(), key: None };
    let views: Vec<ViewDef> = views.iter().map(view).collect();
    let tables = with_virtual_columns(tables(), &offered(), &views).unwrap();
    Program::plan(tables, views, &DuckBinder)
}

/// The columns of a view, and the virtual columns that it makes its tables have.
fn planned(sql: &str) -> (String, String) {
    let program = match plan_all(&[("v", sql)]) {
        Ok(program) => program,
        Err(errors) => return (errors[0].to_string(), String::new()),
    };
    let again = Program::from_definition(program.definition().clone()).unwrap();
    assert_eq!(again.views()[0].plan_id, program.views()[0].plan_id, "{sql}");
    let columns = program.views()[0].info.schema.fields().iter();
    let columns: Vec<_> = columns.map(|f| format!("{} {}", f.name(), duckdb_type(f).unwrap())).collect();
    let wanted = program
        .tables()
        .iter()
        .flat_map(|table| table.virtual_columns().iter().map(|field| format!("{}.{}", table.name.table, field.name())));
    (columns.join(", "), wanted.collect::<Vec<_>>().join(", "))
}

const VIEWS: &[(&str, &str, &str)] = &[
    (
        "SELECT rowid, snapshot_id, * FROM lake.t",
        "rowid BIGINT, snapshot_id BIGINT, a INTEGER, b VARCHAR",
        "t.rowid, t.snapshot_id",
    ),
    ("SELECT ROWID FROM lake.t", "ROWID BIGINT", "t.rowid"),
    ("SELECT \"RowID\" FROM lake.t", "RowID BIGINT", "t.rowid"),
    ("SELECT Snapshot_ID FROM lake.t", "Snapshot_ID BIGINT", "t.snapshot_id"),
    ("SELECT * FROM lake.t", "a INTEGER, b VARCHAR", ""),
    ("SELECT * FROM lake.t WHERE rowid > 2", "a INTEGER, b VARCHAR", "t.rowid"),
    ("SELECT * FROM lake.t WHERE snapshot_id = 2", "a INTEGER, b VARCHAR", "t.snapshot_id"),
    ("SELECT t.*, t.rowid FROM lake.t", "a INTEGER, b VARCHAR, rowid BIGINT", "t.rowid"),
    ("SELECT * EXCLUDE (a), rowid FROM lake.t", "b VARCHAR, rowid BIGINT", "t.rowid"),
    ("SELECT * REPLACE (rowid AS a) FROM lake.t", "a BIGINT, b VARCHAR", "t.rowid"),
    ("SELECT COLUMNS(*), rowid FROM lake.t", "a INTEGER, b VARCHAR, rowid BIGINT", "t.rowid"),
    ("SELECT COLUMNS('.*'), rowid FROM lake.t", "a INTEGER, b VARCHAR, rowid BIGINT", "t.rowid"),
    ("SELECT x.rowid FROM lake.t x", "rowid BIGINT", "t.rowid"),
    ("SELECT lake.t.rowid FROM lake.t", "rowid BIGINT", "t.rowid"),
    ("SELECT lake.main.t.rowid FROM lake.t", "rowid BIGINT", "t.rowid"),
    (
        "SELECT x.rowid AS r1, y.rowid AS r2 FROM lake.t x LEFT JOIN lake.t y ON x.a = y.rowid - 1",
        "r1 BIGINT, r2 BIGINT",
        "t.rowid",
    ),
    ("SELECT rowid FROM lake.u", "RowId VARCHAR", ""),
    ("SELECT u.rowid, u.snapshot_id FROM lake.u", "RowId VARCHAR, snapshot_id BIGINT", "u.snapshot_id"),
    ("SELECT rowid FROM lake.t AS x(p)", "rowid BIGINT", "t.rowid"),
    ("SELECT p, b, rowid FROM lake.t AS x(p)", "p INTEGER, b VARCHAR, rowid BIGINT", "t.rowid"),
    ("SELECT * FROM lake.t AS x(p) WHERE rowid = 1", "p INTEGER, b VARCHAR", "t.rowid"),
    ("SELECT rowid FROM lake.t AS x(rowid)", "rowid INTEGER", ""),
    ("SELECT * FROM lake.t AS x(rowid)", "rowid INTEGER, b VARCHAR", ""),
    ("SELECT x.snapshot_id FROM lake.t AS x(rowid, b)", "snapshot_id BIGINT", "t.snapshot_id"),
    ("SELECT rowid FROM (SELECT rowid, a FROM lake.t)", "rowid BIGINT", "t.rowid"),
    ("SELECT * FROM (SELECT rowid, a FROM lake.t)", "rowid BIGINT, a INTEGER", "t.rowid"),
    ("WITH c AS (SELECT rowid AS r, * FROM lake.t) SELECT * FROM c", "r BIGINT, a INTEGER, b VARCHAR", "t.rowid"),
    ("SELECT x.b, y.b AS b2 FROM lake.t x JOIN lake.t y USING (rowid)", "b VARCHAR, b2 VARCHAR", "t.rowid"),
    ("SELECT rowid FROM lake.t x LEFT JOIN lake.t y USING (rowid)", "rowid BIGINT", "t.rowid"),
    ("SELECT * FROM lake.t x NATURAL JOIN lake.t y WHERE x.rowid <> y.rowid", "a INTEGER, b VARCHAR", "t.rowid"),
    ("SELECT rowid, x FROM lake.t JOIN (SELECT * FROM app.p) USING (a)", "rowid BIGINT, x INTEGER", "t.rowid"),
    ("SELECT snapshot_id, x FROM lake.t JOIN app.p USING (a)", "snapshot_id BIGINT, x INTEGER", "t.snapshot_id"),
    (
        "SELECT count(rowid), max(snapshot_id) FROM lake.t",
        "count(rowid) BIGINT, max(snapshot_id) BIGINT",
        "t.rowid, t.snapshot_id",
    ),
    ("SELECT sum(rowid) FROM lake.t", "sum(rowid) HUGEINT", "t.rowid"),
    ("SELECT rowid + 1, rowid::VARCHAR FROM lake.t", "(rowid + 1) BIGINT, CAST(rowid AS VARCHAR) VARCHAR", "t.rowid"),
    (
        "SELECT snapshot_id, count(*) FROM lake.t GROUP BY ALL",
        "snapshot_id BIGINT, count_star() BIGINT",
        "t.snapshot_id",
    ),
    ("SELECT a + 10 AS rowid, rowid + 1 AS z FROM lake.t", "rowid INTEGER, z BIGINT", "t.rowid"),
    ("SELECT a + 10 AS rowid FROM lake.t WHERE rowid > 2", "rowid INTEGER", "t.rowid"),
    ("SELECT a AS rowid, b AS snapshot_id FROM lake.t", "rowid INTEGER, snapshot_id VARCHAR", ""),
    ("SELECT b AS filename FROM lake.t", "filename VARCHAR", ""),
    ("WITH c AS (SELECT b AS filename FROM lake.t) SELECT filename FROM c", "filename VARCHAR", ""),
    ("SELECT a FROM lake.t x WHERE EXISTS (SELECT 1 FROM lake.u WHERE u.a = x.rowid)", "a INTEGER", "t.rowid"),
    ("SELECT a FROM lake.t WHERE EXISTS (SELECT 1 FROM app.p WHERE x = rowid)", "a INTEGER", "t.rowid"),
    ("SELECT rowid FROM lake.t UNION ALL SELECT a FROM lake.t", "rowid BIGINT", "t.rowid"),
    ("SELECT b, row_number() OVER (ORDER BY rowid) AS n FROM lake.t", "b VARCHAR, n BIGINT", "t.rowid"),
    ("SELECT a FROM lake.t ORDER BY rowid DESC LIMIT 1", "a INTEGER", "t.rowid"),
    (
        "SELECT * FROM lake.t QUALIFY row_number() OVER (PARTITION BY a ORDER BY rowid) = 1",
        "a INTEGER, b VARCHAR",
        "t.rowid",
    ),
    (
        "SELECT a, b AS filename FROM lake.t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1",
        "a INTEGER, filename VARCHAR",
        "",
    ),
    (
        "SELECT DISTINCT ON (a) a, b AS last_snapshot_id FROM lake.t ORDER BY b",
        "a INTEGER, last_snapshot_id VARCHAR",
        "",
    ),
    ("SELECT DISTINCT * FROM lake.t WHERE snapshot_id > 1", "a INTEGER, b VARCHAR", "t.snapshot_id"),
    (
        "SELECT * FROM lake.t UNION ALL BY NAME SELECT rowid AS r FROM lake.t",
        "a INTEGER, b VARCHAR, r BIGINT",
        "t.rowid",
    ),
];

#[test]
fn views_may_name_what_a_star_leaves_out() {
    let mut faults = Vec::new();
    for (sql, columns, wanted) in VIEWS {
        let found = planned(sql);
        if found != ((*columns).to_owned(), (*wanted).to_owned()) {
            faults.push(format!("{sql}\n    {found:?}\n    {:?}", (columns, wanted)));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), VIEWS.len(), faults.join("\n"));
}

const REFUSED: &[(&str, &[&str])] = &[
    ("SELECT a,\n filename FROM lake.t", &["line 2, column 2", "filename cannot be read", PLACE]),
    ("SELECT x.filename FROM lake.t x", &["filename cannot be read"]),
    ("SELECT a FROM lake.t WHERE filename = 'x'", &["line 1, column 28", "filename cannot be read"]),
    ("SELECT file_row_number FROM lake.t", &["no column file_row_number"]),
    ("SELECT rowid FROM app.p", &["no column rowid"]),
    ("SELECT rowid FROM lake.t, lake.t x", &["rowid"]),
    ("SELECT t.rowid FROM lake.t x", &["t"]),
    ("SELECT rowid FROM lake.t JOIN lake.u USING (a)", &["rowid"]),
    ("SELECT rowid FROM (SELECT * FROM lake.t)", &["no column rowid"]),
    ("WITH x AS (SELECT * FROM lake.t) SELECT snapshot_id FROM x", &["no column snapshot_id"]),
    ("SELECT COLUMNS('rowid') FROM lake.t", &["no column has such a name"]),
    ("SELECT COLUMNS(['rowid']) FROM lake.t", &["no column rowid"]),
    ("SELECT * EXCLUDE (rowid) FROM lake.t", &["no column rowid for EXCLUDE"]),
    ("SELECT * REPLACE (1 AS rowid) FROM lake.t", &["no column rowid for REPLACE"]),
    ("SELECT * LIKE 'row%' FROM lake.t", &["no column has such a name"]),
    ("SELECT x.rowid.foo FROM lake.t x", &["nested value"]),
    (
        "SELECT * FROM lake.t x JOIN lake.u y USING (rowid)",
        &["* over tables whose columns are not known here", "name the columns"],
    ),
];

#[test]
fn other_names_are_refused() {
    for (sql, words) in REFUSED {
        let error = match plan_all(&[("v", sql)]) {
            Ok(_) => panic!("{sql} is planned"),
            Err(errors) => errors[0].to_string(),
        };
        assert!(words.iter().all(|word| error.contains(word)), "{sql}: {error}");
    }
}

#[test]
fn a_table_has_what_all_its_views_read_and_views_show_nothing_else() {
    let views = [
        ("first", "SELECT * FROM lake.t"),
        ("second", "SELECT snapshot_id AS s, * FROM first, (SELECT snapshot_id FROM lake.t)"),
        ("third", "SELECT rowid, a FROM lake.u"),
        ("fourth", "SELECT * FROM app.p"),
    ];
    let program = plan_all(&views).unwrap();
    let tables: Vec<_> = program.tables().iter().map(|t| (t.name.table.as_str(), t.virtual_columns().len())).collect();
    assert_eq!(tables, [("p", 0), ("t", 1), ("u", 0)]);
    let text = serde_json::to_string(program.definition()).unwrap();
    assert_eq!(text.matches("\"virtual\":true").count(), 1, "{text}");
    let errors = plan_all(&[("first", "SELECT * FROM lake.t"), ("second", "SELECT rowid FROM first")]).unwrap_err();
    assert!(errors[0].to_string().contains("no column rowid"), "{}", errors[0]);
}

/// What is stored notices when the columns that are wanted are others.
#[test]
fn another_set_of_columns_is_another_plan() {
    let id = |views: &[(&str, &str)]| plan_all(views).unwrap().views()[0].plan_id;
    let plain = ("v", "SELECT a FROM lake.t");
    let alone = id(&[plain]);
    assert_ne!(alone, id(&[plain, ("w", "SELECT rowid FROM lake.t")]));
    assert_eq!(alone, id(&[plain, ("w", "SELECT snapshot_id, a FROM lake.u")]));
}
