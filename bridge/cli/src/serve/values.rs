//! Rows as JSON for people: every value as text.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Value, json};
use tidegate_core::schema::duckdb_type;

/// Characters of a value that are shown.
const VALUE_CHARS: usize = 1_000;

/// Names and DuckDB types of columns.
pub fn columns(schema: &Schema) -> Value {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| json!({ "name": field.name(), "type": duckdb_type(field).unwrap_or("?") });
    schema.fields().iter().map(column).collect()
}

/// The values of each row; NULL is null, and long ones are cut.
pub fn rows(batch: &RecordBatch) -> Result<Vec<Value>, ArrowError> {
    let options = FormatOptions::default();
    let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let formatters = formatters.collect::<Result<Vec<_>, _>>()?;
    let value = |row: usize| {
        let cells = batch.columns().iter().zip(&formatters).map(|(column, formatter)| {
            if column.is_null(row) {
                return Value::Null;
            }
            let text = formatter.value(row).to_string();
            match text.char_indices().nth(VALUE_CHARS) {
                Some((end, _)) => json!(format!("{}…", &text[..end])),
                None => json!(text),
            }
        });
        Value::Array(cells.collect())
    };
    Ok((0..batch.num_rows()).map(value).collect())
}
