//! Rows written as SQL, for tests: DuckDB casts them to the columns they go into.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use tidegate_core::{TableEvent, ZSet, schema};
use tidegate_duck::{Duck, DuckError, Flow, quote_ident};

/// The rows of a VALUES list, `"(1, 'a'), (2, NULL)"`, in the given columns.
///
/// # Panics
/// When DuckDB refuses them.
pub fn batch(columns: &SchemaRef, values: &str) -> RecordBatch {
    let names: Vec<_> = columns.fields().iter().map(|field| quote_ident(field.name())).collect();
    let declared: Vec<_> = columns
        .fields()
        .iter()
        .zip(&names)
        .map(|(field, name)| {
            let duckdb_type = schema::duckdb_type(field).expect("every column carries its DuckDB type");
            format!("{name} {duckdb_type}")
        })
        .collect();
    let mut batches = Vec::new();
    let mut read = || {
        let duck = Duck::open_in_memory()?;
        // An INSERT casts each value for itself; a bare VALUES list finds a common type first.
        duck.execute(&format!("CREATE TABLE t ({}); INSERT INTO t VALUES {values}", declared.join(", ")))?;
        duck.stream(&names, "t", "", columns, |batch| {
            batches.push(batch);
            Ok::<_, DuckError>(Flow::Continue)
        })
    };
    read().unwrap_or_else(|error| panic!("{values}: {error}"));
    concat_batches(columns, &batches).expect("batches of one query have one schema")
}

/// Rows that come, as an event of a table without a key.
pub fn inserted(columns: &SchemaRef, values: &str) -> TableEvent {
    TableEvent::Rows(ZSet::uniform(batch(columns, values), 1))
}

/// Rows that go, as an event of a table without a key.
pub fn deleted(columns: &SchemaRef, values: &str) -> TableEvent {
    TableEvent::Rows(ZSet::uniform(batch(columns, values), -1))
}
