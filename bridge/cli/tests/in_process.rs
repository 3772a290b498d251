//! A pipeline in this process, with a sink in memory: what the sink holds of a view, and why the pipeline failed.

use std::sync::Arc;

use arrow::datatypes::Field;
use tidegate_core::ViewName;
use tidegate_core::schema::duckdb_type;
use tidegate_runtime::RuntimeError;
use tidegate_testkit::{MemorySink, ViewRows};

/// What a sink that was told of a view holds of it, as the oracle gives it.
pub fn view_rows(sink: &MemorySink, view: &ViewName) -> ViewRows {
    let info = sink.info(view).unwrap();
    let column = |field: &Arc<Field>| (field.name().clone(), duckdb_type(field).unwrap_or("no type").to_owned());
    let columns = info.schema.fields().iter().map(column).collect();
    ViewRows { columns, rows: sink.contents(view).unwrap() }
}

/// An error with its causes.
pub fn full(error: &RuntimeError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
