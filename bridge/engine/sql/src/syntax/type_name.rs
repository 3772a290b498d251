//! Type names in SQL to DuckDB's own spelling of the type.

use datafusion_sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, ExactNumberInfo, StructBracketKind, StructField, TimezoneInfo,
};

use super::written::quoted;
use crate::error::Refusal;

/// The DuckDB type that a cast names. Lengths of character types mean nothing in DuckDB.
pub(super) fn duckdb_type(data_type: &DataType) -> Result<String, Refusal> {
    match data_type {
        DataType::Array(ArrayElemTypeDef::SquareBracket(item, size)) => {
            let size = size.map(|size| size.to_string()).unwrap_or_default();
            return Ok(format!("{}[{size}]", duckdb_type(item)?));
        }
        DataType::Map(key, value) => return Ok(format!("MAP({}, {})", duckdb_type(key)?, duckdb_type(value)?)),
        DataType::Struct(fields, StructBracketKind::Parentheses) => {
            let field = |field: &StructField| {
                let name = field.field_name.as_ref().ok_or_else(|| unsupported(data_type))?;
                Ok(format!("{} {}", quoted(&name.value), duckdb_type(&field.field_type)?))
            };
            return Ok(format!(
                "STRUCT({})",
                fields.iter().map(field).collect::<Result<Vec<_>, Refusal>>()?.join(", ")
            ));
        }
        _ => {}
    }
    let name = match data_type {
        DataType::Boolean | DataType::Bool => "BOOLEAN",
        DataType::TinyInt(_) => "TINYINT",
        DataType::SmallInt(_) | DataType::Int2(_) | DataType::Int16 => "SMALLINT",
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) | DataType::Int32 => "INTEGER",
        DataType::BigInt(_) | DataType::Int8(_) | DataType::Int64 => "BIGINT",
        DataType::HugeInt => "HUGEINT",
        DataType::UTinyInt => "UTINYINT",
        DataType::USmallInt => "USMALLINT",
        DataType::UBigInt => "UBIGINT",
        DataType::Real | DataType::Float4 => "FLOAT",
        DataType::Float(ExactNumberInfo::None) => "FLOAT",
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => "DOUBLE",
        DataType::Decimal(info) | DataType::Dec(info) | DataType::Numeric(info) => {
            return Ok(match info {
                ExactNumberInfo::None => "DECIMAL(18,3)".to_owned(),
                ExactNumberInfo::Precision(p) => format!("DECIMAL({p},0)"),
                ExactNumberInfo::PrecisionAndScale(p, s) => format!("DECIMAL({p},{s})"),
            });
        }
        DataType::Varchar(_)
        | DataType::Text
        | DataType::String(_)
        | DataType::Char(_)
        | DataType::CharVarying(_)
        | DataType::Character(_) => "VARCHAR",
        DataType::Blob(_) | DataType::Bytea => "BLOB",
        DataType::Date => "DATE",
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => "TIME",
        DataType::Timestamp(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) | DataType::Datetime(None) => {
            "TIMESTAMP"
        }
        DataType::Timestamp(None, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "TIMESTAMP WITH TIME ZONE",
        DataType::Uuid => "UUID",
        DataType::Custom(name, modifiers) if modifiers.len() == 2 && name.to_string().eq_ignore_ascii_case("map") => {
            let map = format!("MAP({})", modifiers.join(", ").to_ascii_uppercase());
            return match tidegate_core::duckdb_type::arrow_type(&map) {
                Ok(_) => Ok(map),
                Err(_) => Err(unsupported(data_type)),
            };
        }
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            return match name.to_string().to_ascii_uppercase().as_str() {
                "UINTEGER" => Ok("UINTEGER".to_owned()),
                "LONG" => Ok("BIGINT".to_owned()),
                "SHORT" => Ok("SMALLINT".to_owned()),
                _ => Err(unsupported(data_type)),
            };
        }
        _ => return Err(unsupported(data_type)),
    };
    Ok(name.to_owned())
}

fn unsupported(data_type: &DataType) -> Refusal {
    Refusal::new(format!(
        "a cast to {data_type} cannot be maintained: cast to a number, VARCHAR, DATE or TIMESTAMP, or leave the value as it is"
    ))
}
