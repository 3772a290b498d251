//! The schema of a file as it is decoded. Two types lose information by default: INTERVAL its months, INT96 the years
//! that do not fit nanoseconds. Both are decoded otherwise.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{ConvertedType, Type as Physical};
use parquet::errors::Result;
use parquet::file::metadata::{FileMetaData, ParquetMetaData};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

/// Prepares a footer for decoding. What a program wrote of its own Arrow types is left unread: DuckDB does not read it
/// either.
pub(super) fn prepare(footer: ParquetMetaData) -> Result<ArrowReaderMetadata> {
    let footer = Arc::new(match bare(&footer.file_metadata().schema_descr().root_schema_ptr())? {
        None => footer,
        Some(root) => with_schema(&footer, root),
    });
    let options = || ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let plain = ArrowReaderMetadata::try_new(footer.clone(), options())?;
    let columns = footer.file_metadata().schema_descr().columns();
    if columns.iter().all(|column| column.physical_type() != Physical::INT96) {
        return Ok(plain);
    }
    let mut leaf = 0;
    let mut is_int96 = || {
        leaf += 1;
        columns.get(leaf - 1).is_some_and(|column| column.physical_type() == Physical::INT96)
    };
    let fields: Fields = plain.schema().fields().iter().map(|field| in_micros(field, &mut is_int96)).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, plain.schema().metadata().clone()));
    ArrowReaderMetadata::try_new(footer, options().with_schema(schema))
}

/// The number of leaves, which is that of Parquet's columns.
pub(super) fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(field) | DataType::Map(field, _) => leaves(field.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        _ => 1,
    }
}

/// The type with INTERVALs as bare bytes; `None` where there are none.
fn bare(node: &TypePtr) -> Result<Option<TypePtr>> {
    let info = node.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if let Type::PrimitiveType { physical_type, type_length, .. } = node.as_ref() {
        if info.converted_type() != ConvertedType::INTERVAL {
            return Ok(None);
        }
        let plain = Type::primitive_type_builder(node.name(), *physical_type).with_length(*type_length);
        return Ok(Some(Arc::new(plain.with_repetition(info.repetition()).with_id(id).build()?)));
    }
    let fields = node.get_fields().iter().map(bare).collect::<Result<Vec<_>>>()?;
    if fields.iter().all(Option::is_none) {
        return Ok(None);
    }
    let fields = fields.into_iter().zip(node.get_fields()).map(|(bare, field)| bare.unwrap_or_else(|| field.clone()));
    let mut group = Type::group_type_builder(node.name())
        .with_fields(fields.collect())
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_id(id);
    if info.has_repetition() {
        group = group.with_repetition(info.repetition());
    }
    Ok(Some(Arc::new(group.build()?)))
}

fn with_schema(footer: &ParquetMetaData, root: TypePtr) -> ParquetMetaData {
    let file = footer.file_metadata();
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        None,
        Arc::new(SchemaDescriptor::new(root)),
        file.column_orders().cloned(),
    );
    ParquetMetaData::new(file, footer.row_groups().to_vec())
}

fn in_micros(field: &FieldRef, is_int96: &mut dyn FnMut() -> bool) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(in_micros(item, is_int96)),
        DataType::Map(entries, sorted) => DataType::Map(in_micros(entries, is_int96), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| in_micros(field, is_int96)).collect()),
        other if is_int96() => match other {
            DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => other.clone(),
        },
        other => other.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}
