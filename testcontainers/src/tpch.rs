//! TPC-H as DuckDB's extension has it: the tables, and the 22 queries as views over them (TPC-H specification 3.0.1,
//! <https://duckdb.org/docs/stable/core_extensions/tpch>).

use std::path::Path;

use arrow::array::AsArray;
use tidegate_core::{Integral, RowIdentity, TableEvent, TableName, TableSchema, ZSet};
use tidegate_duck::{Duck, DuckError, Extension, Flow, Options, quote_ident, quote_literal};

/// The tables.
pub const TABLES: [&str; 8] = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

/// The tables in a DuckDB, which is also the model of what happens to them: the catalog `lake`, in use.
pub struct Tpch {
    duck: Duck,
    schemas: Vec<TableSchema>,
}

impl Tpch {
    /// Generates the tables in memory, or in a file: the tables of scale factor 1 have 8.7 million rows.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn generate(scale: f64, file: Option<&Path>) -> Tpch {
        let place = file.map_or_else(|| ":memory:".into(), Path::to_string_lossy);
        Tpch::attached(&place, &format!("CALL dbgen(sf = {scale}); CHECKPOINT lake"))
    }

    /// Opens a file with tables that were [generated](Tpch::generate), or a copy of it.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn open(file: &Path) -> Tpch {
        Tpch::attached(&file.to_string_lossy(), "")
    }

    fn attached(place: &str, script: &str) -> Tpch {
        let duck = Duck::open_in_memory_with(&Options::default()).expect("DuckDB opens");
        duck.load(Extension::Tpch).expect("the extension is there");
        duck.execute(&format!("ATTACH {} AS lake; USE lake; {script}", quote_literal(place)))
            .expect("the tables are there");
        let schemas = TABLES.map(|name| table(&duck, name)).into();
        Tpch { duck, schemas }
    }

    /// The model.
    pub fn duck(&self) -> &Duck {
        &self.duck
    }

    /// The tables as the engine knows them, in the order of [`TABLES`].
    pub fn schemas(&self) -> &[TableSchema] {
        &self.schemas
    }

    /// A table by its name.
    ///
    /// # Panics
    /// When there is none.
    pub fn schema(&self, name: &str) -> &TableSchema {
        self.schemas.iter().find(|schema| schema.name.table == name).expect("TPC-H has the table")
    }

    /// The 22 queries in their order.
    ///
    /// # Panics
    /// When the extension has others.
    pub fn queries(&self) -> Vec<String> {
        let query = "SELECT query FROM tpch_queries() ORDER BY query_nr";
        let (_, batches) = self.duck.query(query).expect("the extension answers");
        let texts = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
        let queries: Vec<String> = texts.map(|text| bare(text).to_owned()).collect();
        assert_eq!(queries.len(), 22);
        queries
    }

    /// Hands out what a table holds, in batches.
    ///
    /// # Panics
    /// When the model does not answer.
    pub fn contents(&self, name: &str, mut each: impl FnMut(&TableName, TableEvent)) {
        let schema = self.schema(name);
        let columns: Vec<_> = schema.columns.fields().iter().map(|field| quote_ident(field.name())).collect();
        let each = |batch| {
            each(&schema.name, TableEvent::Rows(ZSet::uniform(batch, 1)));
            Ok::<_, DuckError>(Flow::Continue)
        };
        self.duck.stream(&columns, name, "", &schema.columns, each).expect("the model answers");
    }
}

/// A table of the catalog in use, as a lake tells of it: without a key.
///
/// # Panics
/// When there is none.
pub fn table(duck: &Duck, name: &str) -> TableSchema {
    let columns = duck.describe_columns(&format!("FROM {}", quote_ident(name))).expect("the table is there");
    let columns = columns.iter().map(|(name, duckdb_type, _)| (name.as_str(), duckdb_type.as_str(), true));
    TableSchema {
        name: TableName::new("lake", "main", name),
        incarnation: 1,
        columns: tidegate_core::schema::columns(columns.collect::<Vec<_>>()).expect("the types travel"),
        identity: RowIdentity::WholeRow,
        integral: Integral::Source,
    }
}

/// The rows of a query as an event of a table with the same columns, if there are any.
///
/// # Panics
/// When the model does not answer, or with other columns.
pub fn rows(duck: &Duck, query: &str, schema: &TableSchema, weight: i64) -> Option<TableEvent> {
    let (_, batches) = duck.query(query).expect("the model answers");
    let batch = arrow::compute::concat_batches(&batches.first()?.schema(), &batches).expect("rows of one query");
    let batch = batch.with_schema(schema.columns.clone()).expect("rows of one table");
    (batch.num_rows() > 0).then(|| TableEvent::Rows(ZSet::uniform(batch, weight)))
}

/// A query as a view over tables of the source `lake`. A view is a multiset, so that an order without a limit is left
/// out. For DuckDB the query itself is the faster form: it keeps in full what a WITH names that is read twice.
pub fn view(query: &str, tables: &[String]) -> String {
    let query = bare(query);
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

/// A query without what ends a statement, so that it can be part of one.
fn bare(query: &str) -> &str {
    query.trim().trim_end_matches(';')
}
