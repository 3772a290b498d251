//! Quantiles, by DuckDB's formulas: which of the values, and how two of them are interpolated.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, ListArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat;
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use tidegate_engine_sql::{Point, Quantile};

use super::values::Answer;

/// `rows` are those with a value, in the order of the values.
pub(super) fn quantile(wanted: &Quantile, return_type: &DataType, column: &ArrayRef, rows: &[usize]) -> Answer {
    if rows.is_empty() {
        return Ok(None);
    }
    let value = |point: &Point| {
        if !wanted.continuous {
            return Ok(column.slice(rows[discrete(point, rows.len())], 1));
        }
        let place = (rows.len() - 1) as f64 * double(point);
        let (low, high) = (rows[place.floor() as usize], rows[place.ceil() as usize]);
        // Equal values are interpolated, too, which may cost a last digit as it does in DuckDB.
        let share = place - place.floor();
        if share == 0.0 { Ok(column.slice(low, 1)) } else { interpolated(column, low, high, share) }
    };
    let values = wanted.points.iter().map(value).collect::<Result<Vec<_>, arrow::error::ArrowError>>()?;
    match return_type {
        DataType::List(item) if wanted.listed => {
            let values: Vec<_> = values.iter().map(AsRef::as_ref).collect();
            let lengths = OffsetBuffer::from_lengths([values.len()]);
            Ok(Some(Arc::new(ListArray::try_new(Arc::clone(item), lengths, concat(&values)?, None)?)))
        }
        _ => Ok(values.into_iter().next()),
    }
}

fn double(point: &Point) -> f64 {
    match point {
        Point::Exact { units, scale } => *units as f64 / 10f64.powi(i32::from(*scale)),
        Point::Double(bits) => f64::from_bits(*bits),
    }
}

/// Which of `n` values is the discrete quantile.
fn discrete(point: &Point, n: usize) -> usize {
    let above = match point {
        Point::Exact { units, scale } => {
            let one = 10i128.pow(u32::from(*scale));
            let n = n as i128;
            ((n * one - n * units) / one) as usize
        }
        Point::Double(bits) => (n as f64 - n as f64 * f64::from_bits(*bits)).floor() as usize,
    };
    n.saturating_sub(above).max(1) - 1
}

fn interpolated(column: &ArrayRef, low: usize, high: usize, share: f64) -> Result<ArrayRef, arrow::error::ArrowError> {
    let mixed = |low: f64, high: f64| low * (1.0 - share) + high * share;
    let moment = |low: i64, high: i64| mixed(low as f64, high as f64).round() as i64;
    Ok(match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            let (low, high) = (values.value(low), values.value(high));
            Arc::new(Float32Array::from(vec![(f64::from(low) + f64::from(high - low) * share) as f32]))
        }
        DataType::Decimal128(precision, scale) => {
            let values = column.as_primitive::<Decimal128Type>();
            let (low, high) = (values.value(low), values.value(high));
            let value = if *precision <= 18 {
                low + ((high - low) as f64 * share) as i128
            } else {
                mixed(hugeint_double(low), hugeint_double(high)) as i128
            };
            Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Time64(_) => {
            let values = column.as_primitive::<Time64MicrosecondType>();
            Arc::new(Time64MicrosecondArray::from(vec![moment(values.value(low), values.value(high))]))
        }
        DataType::Timestamp(_, zone) => {
            let values = column.as_primitive::<TimestampMicrosecondType>();
            let value = TimestampMicrosecondArray::from(vec![moment(values.value(low), values.value(high))]);
            Arc::new(value.with_timezone_opt(zone.clone()))
        }
        _ => {
            let values = column.as_primitive::<Float64Type>();
            Arc::new(Float64Array::from(vec![mixed(values.value(low), values.value(high))]))
        }
    })
}

/// The DOUBLE that DuckDB makes of a HUGEINT: both halves are rounded, each for itself.
fn hugeint_double(value: i128) -> f64 {
    let (high, low) = ((value >> 64) as i64, value as u64);
    if high == -1 {
        return -((u64::MAX - low) as f64) - 1.0;
    }
    low as f64 + high as f64 * 18_446_744_073_709_551_616.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DuckDB 1.5.5 answers −39373454015816224; of operands that are rounded once it would be …232.
    #[test]
    fn large_decimals_are_interpolated_as_hugeints() {
        let values: Vec<i128> = vec![-157_493_816_048_118_353, -5_048_850, 1_509_500_116_689, 7_634_061_854_273];
        let column = Decimal128Array::from(values).with_precision_and_scale(19, 0).expect("they have 18 digits");
        let column: ArrayRef = Arc::new(column);
        let found = interpolated(&column, 0, 1, 0.75).expect("decimals are interpolated");
        assert_eq!(found.as_primitive::<Decimal128Type>().value(0), -39_373_454_015_816_224);
        assert_eq!(hugeint_double(-1), -1.0);
        assert_eq!(hugeint_double(-5_048_850), -5_048_850.0);
        assert_eq!(hugeint_double(1 << 64), 18_446_744_073_709_551_616.0);
        assert_eq!(hugeint_double(-(1 << 64)), -18_446_744_073_709_551_616.0);
    }
}
