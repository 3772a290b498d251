//! The client against real lakes, on every kind of catalog.

mod connections;
mod inlined;
mod states;

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use tidegate_core::schema::duckdb_type;
use tidegate_testkit::multiset::exact_row_of;
use tidegate_testkit::{Catalog, Lake, Multiset, Postgres};
use tokio::runtime::{Builder, Runtime};

use super::{Client, Inlined, InlinedColumn, Reading};
use crate::config::{Attachment, Config};
use crate::error::LakeError;

/// What the blocking calls wait on; the test's thread is none of its own.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The section of a pipeline file with this catalog.
pub fn attachment(uri: &str) -> Attachment {
    let config: Config = serde_json::from_value(serde_json::json!({ "catalog": uri })).unwrap();
    config.resolve("lake", Path::new("/nowhere")).unwrap()
}

pub fn client(uri: &str) -> Client {
    Client::open("lake", &attachment(uri)).unwrap()
}

/// Runs a test on a fresh lake for each kind of catalog, within a runtime.
pub fn on_every_catalog(test: impl Fn(&Lake, &Postgres)) {
    let (server, runtime) = (Postgres::start(), runtime());
    let _within = runtime.enter();
    let catalogs: [&dyn Fn(&Path) -> Catalog; 3] =
        [&Catalog::duckdb, &Catalog::sqlite, &|_| Catalog::postgres(&server)];
    for catalog in catalogs {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::create(dir.path(), catalog(dir.path()));
        println!("catalog: {}", lake.uri());
        test(&lake, &server);
    }
}

/// The database of a lake whose catalog is in PostgreSQL.
pub fn database(lake: &Lake) -> &str {
    let Catalog::Postgres(connection) = lake.catalog() else { panic!("{} is not in PostgreSQL", lake.uri()) };
    connection.split_whitespace().find_map(|word| word.strip_prefix("dbname=")).unwrap()
}

pub fn table_id(reading: &mut Reading<'_>, table: &str) -> u64 {
    let sql = format!("SELECT table_id FROM {} WHERE table_name = $1 AND end_snapshot IS NULL", reading.name("table"));
    reading.rows_where(&sql, table).unwrap()[0].u64(0).unwrap()
}

/// A column that is stored as it is wanted.
pub fn as_stored(field: &Field) -> InlinedColumn {
    InlinedColumn {
        stored: Some(field.name().clone()),
        stored_type: duckdb_type(field).unwrap().to_owned(),
        rearranged: None,
        field: Arc::new(field.clone()),
        default: None,
    }
}

/// What the extension reads.
pub fn extension_reads(lake: &Lake, sql: &str) -> (SchemaRef, Multiset) {
    let (schema, batches) = lake.attached(|duck| duck.query(sql)).unwrap();
    (schema, exact(&batches))
}

/// Rows told apart by everything that tells values apart: −0.0 is not 0.0.
pub fn exact(batches: &[RecordBatch]) -> Multiset {
    let mut rows = Multiset::new();
    for batch in batches {
        (0..batch.num_rows()).for_each(|row| rows.add(exact_row_of(batch.columns(), row), 1));
    }
    rows
}

/// The rows of the only table of inlined rows that a table has.
pub fn inlined(
    reading: &mut Reading<'_>,
    table: &str,
    columns: &[InlinedColumn],
    condition: &str,
) -> Result<Inlined, LakeError> {
    let id = table_id(reading, table);
    let tables = reading.inlined_tables(id)?;
    assert_eq!(tables.len(), 1, "{table} has these tables of inlined rows: {tables:?}");
    reading.inlined(&tables[0], columns, condition)
}
