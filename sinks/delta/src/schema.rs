//! A view's columns as the columns of a Delta table: the JSON of the log, and the Arrow schema of the files.
//!
//! | DuckDB | Delta | in the files |
//! | --- | --- | --- |
//! | BOOLEAN, TINYINT, SMALLINT, INTEGER, BIGINT | boolean, byte, short, integer, long | the same |
//! | UTINYINT, USMALLINT, UINTEGER | short, integer, long | the next wider signed type |
//! | UBIGINT | decimal(20,0) | |
//! | HUGEINT | decimal(38,0) | |
//! | FLOAT, DOUBLE, DECIMAL | float, double, decimal | the same |
//! | VARCHAR, UUID, JSON | string | the text |
//! | BLOB | binary | the same |
//! | DATE | date | the same |
//! | TIME | string | `23:59:59.999999` |
//! | TIMESTAMP, TIMESTAMP_S, TIMESTAMP_MS | timestamp_ntz | microseconds |
//! | TIMESTAMP WITH TIME ZONE | timestamp | microseconds, UTC |
//! | TIMESTAMP_NS | long | nanoseconds since 1970 |
//! | INTERVAL | string | `1 months 2 days 3 microseconds` |
//! | LIST, ARRAY | array | |
//! | STRUCT, MAP | struct, map | |
//!
//! Each column's metadata holds its DuckDB type under `tidegate.type`. Column mapping by name is switched on
//! for tables with names that Parquet files written by others do not admit (blanks, commas, parentheses and so on).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use serde_json::{Map, Value, json};
use tidegate_core::schema::{DUCKDB_TYPE, duckdb_type};

/// Metadata of a mapped column.
const MAPPING_ID: &str = "delta.columnMapping.id";
const MAPPING_NAME: &str = "delta.columnMapping.physicalName";
/// What column names must not contain without column mapping.
const ODD: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// A column that a Delta table cannot have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SchemaError(String);

/// Whether columns have names of their own in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// Columns are called in the files as in the table.
    None,
    /// Every column has an id and a name for the files; the next new column gets the id after this one.
    ByName(i64),
}

/// Whether some name, of a nested field too, needs column mapping.
pub(crate) fn needs_mapping(view: &Schema) -> bool {
    view.fields().iter().any(|field| odd(field))
}

fn odd(field: &Field) -> bool {
    let nested = match field.data_type() {
        DataType::List(item) | DataType::FixedSizeList(item, _) => nested_odd(item.data_type()),
        other => nested_odd(other),
    };
    nested || field.name().contains(ODD)
}

fn nested_odd(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::FixedSizeList(item, _) => nested_odd(item.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            // The names of a map's parts are not the user's.
            DataType::Struct(parts) => parts.iter().any(|part| nested_odd(part.data_type())),
            _ => false,
        },
        DataType::Struct(fields) => fields.iter().any(|field| odd(field)),
        _ => false,
    }
}

/// Whether a timestamp without time zone is in it, which needs a table feature.
pub(crate) fn has_timestamp_ntz(schema: &Value) -> bool {
    match schema {
        Value::String(text) => text == "timestamp_ntz",
        Value::Array(values) => values.iter().any(has_timestamp_ntz),
        Value::Object(object) => object.iter().any(|(key, value)| key != "name" && has_timestamp_ntz(value)),
        _ => false,
    }
}

/// The schema of the log for a view's columns, and the mapping with the ids that it took.
pub(crate) fn delta_schema(view: &Schema, mapping: Mapping) -> Result<(Value, Mapping), SchemaError> {
    let mut mapping = mapping;
    let fields = view.fields().iter().map(|field| {
        let mut delta = delta_field(field, &mut mapping)?;
        let name =
            duckdb_type(field).ok_or_else(|| SchemaError(format!("column {} carries no DuckDB type", field.name())))?;
        delta["metadata"][DUCKDB_TYPE] = json!(name);
        Ok(delta)
    });
    let fields = fields.collect::<Result<Vec<_>, SchemaError>>()?;
    Ok((json!({"type": "struct", "fields": fields}), mapping))
}

fn delta_field(field: &Field, mapping: &mut Mapping) -> Result<Value, SchemaError> {
    let mut metadata = Map::new();
    if let Mapping::ByName(last) = mapping {
        *last += 1;
        metadata.insert(MAPPING_ID.to_owned(), json!(*last));
        metadata.insert(MAPPING_NAME.to_owned(), json!(format!("col-{last}")));
    }
    let data_type = delta_type(field.data_type(), mapping).map_err(|error| match error {
        SchemaError(fact) if fact.starts_with("column ") => SchemaError(fact),
        SchemaError(fact) => SchemaError(format!("column {} {fact}", field.name())),
    })?;
    Ok(json!({"name": field.name(), "type": data_type, "nullable": true, "metadata": metadata}))
}

fn delta_type(data_type: &DataType, mapping: &mut Mapping) -> Result<Value, SchemaError> {
    Ok(match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 => json!("byte"),
        DataType::Int16 | DataType::UInt8 => json!("short"),
        DataType::Int32 | DataType::UInt16 => json!("integer"),
        DataType::Int64 | DataType::UInt32 | DataType::Timestamp(TimeUnit::Nanosecond, None) => json!("long"),
        DataType::UInt64 => json!("decimal(20,0)"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal128(precision, scale) if *scale >= 0 => json!(format!("decimal({precision},{scale})")),
        DataType::Utf8 | DataType::Time64(TimeUnit::Microsecond) | DataType::Interval(IntervalUnit::MonthDayNano) => {
            json!("string")
        }
        DataType::Binary => json!("binary"),
        DataType::Date32 => json!("date"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => json!("timestamp"),
        DataType::Timestamp(_, None) => json!("timestamp_ntz"),
        DataType::List(item) | DataType::FixedSizeList(item, _) => {
            json!({"type": "array", "elementType": delta_type(item.data_type(), mapping)?, "containsNull": true})
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| delta_field(field, mapping)).collect::<Result<Vec<_>, _>>()?;
            json!({"type": "struct", "fields": fields})
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) if parts.len() == 2 => json!({
                "type": "map",
                "keyType": delta_type(parts[0].data_type(), mapping)?,
                "valueType": delta_type(parts[1].data_type(), mapping)?,
                "valueContainsNull": true,
            }),
            _ => return Err(SchemaError("is a map without keys and values".to_owned())),
        },
        other => {
            let fact = format!("has a type that Delta tables have no place for ({other}): cast it in the view");
            return Err(SchemaError(fact));
        }
    })
}

/// The schema of a table's files for a view's columns: names as the log maps them, types as they are stored.
/// `None` when the log's columns are not the view's.
pub(crate) fn stored_schema(view: &Schema, delta: &Value) -> Option<SchemaRef> {
    let fields = stored_fields(view.fields(), &delta["fields"])?;
    Some(Arc::new(Schema::new(fields)))
}

fn stored_fields(fields: &Fields, delta: &Value) -> Option<Fields> {
    let delta = delta.as_array().filter(|delta| delta.len() == fields.len())?;
    fields.iter().zip(delta).map(|(field, delta)| stored_field(field, delta)).collect()
}

fn stored_field(field: &FieldRef, delta: &Value) -> Option<FieldRef> {
    let name = delta["metadata"][MAPPING_NAME].as_str().or_else(|| delta["name"].as_str())?;
    let stored = Field::new(name, stored_type(field.data_type(), &delta["type"])?, true);
    // Readers of mapped tables find columns by name; writers must put the id into the file all the same.
    let id = delta["metadata"][MAPPING_ID].as_i64();
    let id = id.map(|id| (parquet::arrow::PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string()));
    Some(Arc::new(stored.with_metadata(id.into_iter().collect())))
}

fn stored_type(data_type: &DataType, delta: &Value) -> Option<DataType> {
    Some(match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::Timestamp(TimeUnit::Nanosecond, None) => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Time64(_) | DataType::Interval(_) => DataType::Utf8,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::List(item) | DataType::FixedSizeList(item, _) => {
            let item = stored_type(item.data_type(), &delta["elementType"])?;
            DataType::List(Arc::new(Field::new("element", item, true)))
        }
        DataType::Struct(fields) => DataType::Struct(stored_fields(fields, &delta["fields"])?),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(parts) = entries.data_type() else { return None };
            let parts = vec![
                Field::new("key", stored_type(parts.first()?.data_type(), &delta["keyType"])?, false),
                Field::new("value", stored_type(parts.get(1)?.data_type(), &delta["valueType"])?, true),
            ];
            DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(parts.into()), false)), *sorted)
        }
        other => other.clone(),
    })
}

/// How a table's columns differ from a view's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Not at all.
    None,
    /// The view has some more at its end.
    Added(String),
    /// In another way: the first difference.
    Other(String),
}

/// Compares the columns of a table with those of a view, both as the log has them.
pub(crate) fn difference(table: &Value, view: &Value) -> Difference {
    let (table, view) = (unmapped(table), unmapped(view));
    let empty = Vec::new();
    let (held, wanted) = (table["fields"].as_array().unwrap_or(&empty), view["fields"].as_array().unwrap_or(&empty));
    let name = |field: &Value| field["name"].as_str().unwrap_or_default().to_owned();
    for (position, held) in held.iter().enumerate() {
        match wanted.get(position) {
            None => return Difference::Other(format!("column {} is not in the view", name(held))),
            Some(wanted) if name(wanted) != name(held) => {
                return Difference::Other(format!("column {} stands where the view has {}", name(held), name(wanted)));
            }
            Some(wanted) if wanted != held => {
                let types =
                    [held, wanted].map(|field| field["metadata"][DUCKDB_TYPE].as_str().unwrap_or("?").to_owned());
                return Difference::Other(format!(
                    "column {} has type {}, the view has {}",
                    name(held),
                    types[0],
                    types[1]
                ));
            }
            Some(_) => {}
        }
    }
    match wanted.get(held.len()) {
        Some(added) => Difference::Added(format!("column {} is new in the view", name(added))),
        None => Difference::None,
    }
}

/// The schema without ids and names for files, and without what other writers add to a column's metadata.
fn unmapped(schema: &Value) -> Value {
    match schema {
        Value::Array(values) => values.iter().map(unmapped).collect(),
        Value::Object(object) => {
            let part = |(key, value): (&String, &Value)| {
                let value = match (key.as_str(), value) {
                    ("metadata", Value::Object(metadata)) => {
                        let own = metadata.iter().filter(|(key, _)| *key == DUCKDB_TYPE);
                        Value::Object(own.map(|(key, value)| (key.clone(), value.clone())).collect())
                    }
                    _ => unmapped(value),
                };
                (key.clone(), value)
            };
            Value::Object(object.iter().map(part).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::schema::columns;

    use super::*;

    fn schema_of(view: &[(&str, &str)], mapping: Mapping) -> (Value, SchemaRef) {
        let view = columns(view.iter().map(|(name, ty)| (*name, *ty, true))).unwrap();
        let (delta, _) = delta_schema(&view, mapping).unwrap();
        let stored = stored_schema(&view, &delta).unwrap();
        (delta, stored)
    }

    #[test]
    fn types_have_a_place() {
        let (delta, stored) =
            schema_of(&[("a", "UBIGINT"), ("b", "TIMESTAMP_S[]"), ("c", "MAP(VARCHAR, TIME)")], Mapping::None);
        assert_eq!(delta["fields"][0]["type"], "decimal(20,0)");
        assert_eq!(delta["fields"][0]["metadata"][DUCKDB_TYPE], "UBIGINT");
        assert_eq!(delta["fields"][1]["type"]["elementType"], "timestamp_ntz");
        assert_eq!(delta["fields"][2]["type"]["valueType"], "string");
        assert!(has_timestamp_ntz(&delta));
        assert_eq!(stored.field(0).data_type(), &DataType::Decimal128(20, 0));
    }

    #[test]
    fn odd_names_are_mapped() {
        let odd = |ty: &str, name: &str| needs_mapping(&columns([(name, ty, true)]).unwrap());
        assert!(!odd("MAP(VARCHAR, INTEGER[])", "Größe \u{22}"[..6].trim()));
        assert!(odd("INTEGER", "count_star()") && odd("STRUCT(\"b c\" INTEGER)[]", "s"));
        let (delta, stored) = schema_of(&[("a b", "STRUCT(\"c d\" INTEGER)")], Mapping::ByName(4));
        assert_eq!(delta["fields"][0]["name"], "a b");
        assert_eq!(stored.field(0).name(), "col-5");
        let DataType::Struct(fields) = stored.field(0).data_type() else { panic!("a struct") };
        assert_eq!(fields[0].name(), "col-6");
    }

    #[test]
    fn differences_are_named() {
        let schema = |view: &[(&str, &str)], mapping| schema_of(view, mapping).0;
        let table = schema(&[("a", "INTEGER"), ("b", "VARCHAR")], Mapping::ByName(0));
        let same = schema(&[("a", "INTEGER"), ("b", "VARCHAR")], Mapping::None);
        assert_eq!(difference(&table, &same), Difference::None);
        let more = schema(&[("a", "INTEGER"), ("b", "VARCHAR"), ("c", "DATE")], Mapping::None);
        assert_eq!(difference(&table, &more), Difference::Added("column c is new in the view".to_owned()));
        let other = schema(&[("a", "INTEGER"), ("b", "UUID")], Mapping::None);
        let fact = "column b has type VARCHAR, the view has UUID";
        assert_eq!(difference(&table, &other), Difference::Other(fact.to_owned()));
        assert!(matches!(difference(&more, &table), Difference::Other(_)));
    }
}
