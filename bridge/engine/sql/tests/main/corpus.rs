//! Queries and tables of a benchmark, as one of DuckDB's extensions has them, and pages of the book about them.

use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use tidegate_core::{Integral, RowIdentity, TableName, TableSchema};
use tidegate_duck::{Duck, DuckBinder, Extension};
use tidegate_engine_sql::{PlannedView, Program};

use crate::world::definition;

/// Tables of a lake, and queries as views over them.
pub struct Corpus {
    pub tables: Vec<TableSchema>,
    pub views: Vec<String>,
}

impl Corpus {
    /// What an extension has: `make` makes the tables, and `queries` is a table of queries.
    pub fn of(extension: Extension, make: &str, queries: &str) -> Corpus {
        let duck = Duck::open_in_memory().unwrap();
        duck.load(extension).unwrap();
        duck.execute(make).unwrap();
        let names = texts(&duck, "SELECT table_name FROM duckdb_tables() ORDER BY table_name");
        let table = |name: &String| table(name, duck.describe(&format!("FROM {name}")).unwrap());
        let queries = texts(&duck, &format!("SELECT query FROM {queries} ORDER BY query_nr"));
        Corpus {
            tables: names.iter().map(table).collect(),
            views: queries.iter().map(|query| view(query, &names)).collect(),
        }
    }
}

/// A table of a lake.
pub fn table(name: &str, columns: arrow::datatypes::SchemaRef) -> TableSchema {
    let name = TableName::new("lake", "main", name);
    TableSchema { name, incarnation: 1, columns, identity: RowIdentity::WholeRow, integral: Integral::Source }
}

fn texts(duck: &Duck, query: &str) -> Vec<String> {
    let (_, batches) = duck.query(query).unwrap();
    let texts = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
    texts.map(str::to_owned).collect()
}

/// A query as a view. A view is a multiset: an order without a limit is left out.
fn view(query: &str, tables: &[String]) -> String {
    let query = query.trim().trim_end_matches(';');
    let query = match query.rfind("ORDER BY") {
        Some(at) if !query[at..].contains("LIMIT") => &query[..at],
        _ => query,
    };
    let tables: Vec<String> = tables.iter().map(|name| format!("{name} AS (SELECT * FROM lake.{name})")).collect();
    let tables = tables.join(", ");
    match query.strip_prefix("WITH") {
        Some(rest) => format!("WITH {tables}, {rest}"),
        None => format!("WITH {tables} {query}"),
    }
}

/// What becomes of a view: its plan, or why there is none.
pub fn planned(tables: &[TableSchema], view: &str) -> Result<PlannedView, String> {
    let program = Program::plan(tables.to_vec(), vec![definition("v", view)], &DuckBinder);
    match program {
        Ok(program) => Ok(program.views()[0].clone()),
        Err(errors) => Err(errors[0].message.clone()),
    }
}

/// The two last cells of a row: what an epoch costs, or why the view is refused.
pub fn cells(planned: &Result<PlannedView, String>) -> String {
    match planned {
        Ok(view) => {
            let costs: Vec<String> = view.costs().iter().map(ToString::to_string).collect();
            format!("incremental | {}", costs.join("; "))
        }
        Err(message) => format!("refused | {}", message.replace('|', "\\|").replace('\n', " ")),
    }
}

/// Compares a page's table with the found one; `UPDATE_DOCS=1` writes it anew.
pub fn compare_page(name: &str, marker: &str, table: &str) {
    let path = page(name);
    let page = std::fs::read_to_string(&path).unwrap();
    let (start, end) = (format!("<!-- {marker} -->\n"), format!("<!-- end of {marker} -->"));
    let (before, rest) = page.split_once(&start).unwrap();
    let (known, after) = rest.split_once(&end).unwrap();
    let table = format!("\n{table}\n");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{start}{table}{end}{after}")).unwrap();
        return;
    }
    let differs = |line: &&str| !known.lines().any(|known| known == *line);
    let found: Vec<&str> = table.lines().filter(differs).collect();
    assert_eq!(known, table, "docs/src/{name}: run this test with UPDATE_DOCS=1. Found: {found:#?}");
}

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/src").join(name)
}
