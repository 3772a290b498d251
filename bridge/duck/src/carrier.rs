//! How DuckDB values travel as Arrow: each column is cast in SQL to the DuckDB type whose Arrow
//! export is exact (its *carrier*), and the exported array is then brought into the canonical
//! Arrow type of [`tidegate_core::duckdb_type`].

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use tidegate_core::schema::duckdb_type;

use crate::{DuckError, quote_ident};

/// The DuckDB type that DuckDB exports as, and imports from, this Arrow type. Differs from the
/// column's own type where that has no Arrow type: `DECIMAL(38,0)` for HUGEINT, `VARCHAR` for UUID.
///
/// # Panics
/// For Arrow types that [`tidegate_core::duckdb_type::arrow_type`] never gives.
pub fn carrier_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INTEGER".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "UTINYINT".into(),
        DataType::UInt16 => "USMALLINT".into(),
        DataType::UInt32 => "UINTEGER".into(),
        DataType::UInt64 => "UBIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 => "VARCHAR".into(),
        DataType::Binary => "BLOB".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time64(TimeUnit::Microsecond) => "TIME".into(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "TIMESTAMP WITH TIME ZONE".into(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP".into(),
        DataType::Timestamp(TimeUnit::Second, None) => "TIMESTAMP_S".into(),
        DataType::Timestamp(TimeUnit::Millisecond, None) => "TIMESTAMP_MS".into(),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "TIMESTAMP_NS".into(),
        DataType::Interval(IntervalUnit::MonthDayNano) => "INTERVAL".into(),
        DataType::List(item) => format!("{}[]", carrier_type(item.data_type())),
        DataType::FixedSizeList(item, size) => format!("{}[{size}]", carrier_type(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{} {}", quote_ident(f.name()), carrier_type(f.data_type())));
            format!("STRUCT({})", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("MAP({}, {})", carrier_type(fields[0].data_type()), carrier_type(fields[1].data_type()))
            }
            other => panic!("the entries of an Arrow map are a struct of two fields, not {other}"),
        },
        other => panic!("no DuckDB column has the Arrow type {other}"),
    }
}

/// `expression`, an expression of the column's DuckDB type, as it must be selected so that its
/// export is exact.
pub fn carrier_expression(expression: &str, field: &Field) -> String {
    if is_own_carrier(field.data_type()) && duckdb_type(field).is_some_and(|name| carries_itself(name, field)) {
        return expression.to_owned();
    }
    format!("CAST({expression} AS {})", carrier_type(field.data_type()))
}

/// Scalar types whose DuckDB name is compared with the carrier's by text; nested ones are always
/// cast, which costs nothing when the types are equal.
fn is_own_carrier(data_type: &DataType) -> bool {
    !data_type.is_nested()
}

fn carries_itself(duckdb_type: &str, field: &Field) -> bool {
    duckdb_type.eq_ignore_ascii_case(&carrier_type(field.data_type()))
}

/// The same values under the canonical type: names and nullability of nested fields differ in
/// DuckDB's export, the layout does not.
pub(crate) fn canonical(array: &ArrayRef, data_type: &DataType, column: &str) -> Result<ArrayRef, DuckError> {
    if array.data_type() == data_type {
        return Ok(array.clone());
    }
    let data = relabel(array.to_data(), data_type).ok_or_else(|| DuckError::Mismatch {
        message: format!("column {column} came as {} instead of {data_type}", array.data_type()),
    })?;
    Ok(make_array(data))
}

fn relabel(data: ArrayData, target: &DataType) -> Option<ArrayData> {
    if data.data_type() == target {
        return Some(data);
    }
    let children: Vec<&DataType> = match (data.data_type(), target) {
        (DataType::List(_), DataType::List(item)) | (DataType::Map(_, _), DataType::Map(item, _)) => {
            vec![item.data_type()]
        }
        (DataType::FixedSizeList(_, a), DataType::FixedSizeList(item, b)) if a == b => vec![item.data_type()],
        (DataType::Struct(a), DataType::Struct(b)) if a.len() == b.len() => b.iter().map(|f| f.data_type()).collect(),
        _ => return None,
    };
    let children = data
        .child_data()
        .iter()
        .zip(children)
        .map(|(child, target)| relabel(child.clone(), target))
        .collect::<Option<Vec<_>>>()?;
    data.into_builder().data_type(target.clone()).child_data(children).build().ok()
}
