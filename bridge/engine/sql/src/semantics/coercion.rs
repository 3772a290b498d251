//! Which type values of different types meet in, as DuckDB decides it.

use arrow::datatypes::{DataType, TimeUnit};

use super::bound::{Bound, Kind, Literal, integer_value};
use crate::error::Refusal;
use crate::explain::type_name;

/// Integers, decimals and floats.
pub(super) fn is_numeric(t: &DataType) -> bool {
    t.is_integer() || matches!(t, DataType::Decimal128(..) | DataType::Float32 | DataType::Float64)
}

/// Digits and scale of the decimal that holds every value of an exact type.
pub(super) fn decimal_of(t: &DataType) -> Option<(u8, i8)> {
    Some(match t {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal128(p, s) => (*p, *s),
        _ => return None,
    })
}

/// HUGEINT, as far as its Arrow type tells.
pub(super) const HUGEINT: DataType = DataType::Decimal128(38, 0);

/// Bits of an integer type, and whether it is signed.
pub(super) fn integer_bits(t: &DataType) -> Option<(u32, bool)> {
    Some(match t {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

/// The type in which two types meet in comparisons, CASE, IN, UNION …
pub(super) fn common_type(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Date32, Decimal128, Float32, Float64, Int16, Int32, Int64, Timestamp};
    if a == b {
        return Some(a.clone());
    }
    if let (Some((bits_a, signed_a)), Some((bits_b, signed_b))) = (integer_bits(a), integer_bits(b)) {
        if signed_a == signed_b {
            return Some(if bits_a > bits_b { a.clone() } else { b.clone() });
        }
        let (signed, unsigned) = if signed_a { (bits_a, bits_b) } else { (bits_b, bits_a) };
        return Some(match signed.max(unsigned * 2) {
            16 => Int16,
            32 => Int32,
            64 => Int64,
            _ => HUGEINT,
        });
    }
    match (a, b) {
        (Float64, other) | (other, Float64) if is_numeric(other) => Some(Float64),
        (Float32, other) | (other, Float32) if is_numeric(other) => Some(Float32),
        (Date32, Timestamp(unit, None)) | (Timestamp(unit, None), Date32) if *unit == TimeUnit::Microsecond => {
            Some(Timestamp(*unit, None))
        }
        // A value without a zone is in UTC.
        (Date32 | Timestamp(TimeUnit::Microsecond, None), zoned @ Timestamp(_, Some(_)))
        | (zoned @ Timestamp(_, Some(_)), Date32 | Timestamp(TimeUnit::Microsecond, None)) => Some(zoned.clone()),
        _ => {
            let ((pa, sa), (pb, sb)) = (decimal_of(a)?, decimal_of(b)?);
            let scale = sa.max(sb);
            let whole = (i16::from(pa) - i16::from(sa)).max(i16::from(pb) - i16::from(sb));
            Some(Decimal128((whole + i16::from(scale)).min(38) as u8, scale))
        }
    }
}

/// The type in which several expressions meet; literals adapt to the others.
pub(super) fn common(values: &[&Bound]) -> Result<DataType, Refusal> {
    if values.iter().any(|v| v.kind != Kind::Plain) && values.iter().any(|v| v.kind != values[0].kind) {
        return Err(Refusal::new(
            "UUID and JSON values do not mix with values of other types here: cast them to VARCHAR",
        ));
    }
    let mut met: Option<DataType> = None;
    for value in values.iter().filter(|v| v.literal.is_none()) {
        met = Some(match met {
            None => value.data_type.clone(),
            Some(met) => common_type(&met, &value.data_type).ok_or_else(|| mixed(&met, &value.data_type))?,
        });
    }
    for value in values {
        if let Some(Literal::Integer(i)) = &value.literal {
            met = Some(match met {
                None => value.data_type.clone(),
                Some(met) if met != HUGEINT && integer_value(*i, &met).is_some() => met,
                Some(met) => common_type(&met, &value.data_type).ok_or_else(|| mixed(&met, &value.data_type))?,
            });
        }
    }
    let text = values.iter().any(|v| v.as_text().is_some());
    Ok(met.unwrap_or(if text { DataType::Utf8 } else { DataType::Int32 }))
}

/// The refusal of types that do not meet.
pub(super) fn mixed(a: &DataType, b: &DataType) -> Refusal {
    Refusal::new(format!("{} and {} do not go together here: cast one of them explicitly", type_name(a), type_name(b)))
}

/// Brings several expressions to the type in which they meet.
pub(super) fn unify(values: Vec<Bound>) -> Result<(Vec<datafusion_expr::Expr>, DataType), Refusal> {
    let target = common(&values.iter().collect::<Vec<_>>())?;
    let exprs = values.into_iter().map(|v| v.to(&target)).collect::<Result<Vec<_>, _>>()?;
    Ok((exprs, target))
}
