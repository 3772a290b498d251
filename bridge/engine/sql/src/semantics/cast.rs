//! Casts: which there are, and their values. A value that does not fit is an error, as in
//! DuckDB, and never NULL.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, Float32Array, Float64Array, PrimitiveArray, StringArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use datafusion_expr::Expr;

use super::bound::{Bound, Kind, Literal, integer_value};
use super::call::{Answer, Arguments, Kernel, call, fold};
use super::coercion::is_numeric;
use super::{lent, text_parse, text_print};
use crate::error::Refusal;
use crate::explain::type_name;

pub(super) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// A cast written in SQL, or one that DuckDB would add.
pub(super) fn cast(value: Bound, target: &DataType) -> Result<Bound, Refusal> {
    match &value.literal {
        Some(Literal::Null) => {
            return Ok(Bound::constant(datafusion_common::ScalarValue::try_from(target)?));
        }
        Some(Literal::Integer(i)) => {
            if let Some(constant) = integer_value(*i, target) {
                return Ok(Bound::constant(constant));
            }
        }
        _ => {}
    }
    if !value.is_null() && value.data_type != *target && (is_zoned(&value.data_type) || is_zoned(target)) {
        return lent::zoned_cast(value, target);
    }
    let value = value.settled()?;
    if value.data_type == *target {
        return Ok(Bound { kind: Kind::Plain, duckdb_type: None, ..value });
    }
    if value.kind != Kind::Plain {
        return Err(refuse(&value.data_type, target));
    }
    let (name, kernel) = kernel(&value.data_type, target).ok_or_else(|| refuse(&value.data_type, target))?;
    let args = vec![value.expr];
    if let Some(Err(message)) = fold(name, kernel, &args, target) {
        return Err(Refusal::new(message));
    }
    Ok(call(name, kernel, args, target.clone()))
}

/// The cast of a column, for the conversion of a view's output; `None` where there is none.
pub(crate) fn cast_expr(expr: Expr, from: &DataType, target: &DataType) -> Option<Expr> {
    cast(Bound::new(expr, from.clone()), target).ok().map(|bound| bound.expr)
}

fn refuse(from: &DataType, target: &DataType) -> Refusal {
    let way_out = "keep the value as it is, or cast it when you query the view";
    Refusal::new(format!("a cast from {} to {} is not supported: {way_out}", type_name(from), type_name(target)))
}

fn is_zoned(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

fn kernel(from: &DataType, target: &DataType) -> Option<(&'static str, Kernel)> {
    use DataType::{Boolean, Date32, Decimal128, Timestamp, Utf8};
    let float = |t: &DataType| matches!(t, DataType::Float32 | DataType::Float64);
    Some(match (from, target) {
        (a, Boolean) if is_numeric(a) => ("cast_number_boolean", number_boolean),
        (Boolean, b) if b.is_integer() => ("cast_boolean_integer", boolean_integer),
        (a, b) if a.is_integer() && b.is_integer() => ("cast_integer", integer_integer),
        (a, Decimal128(..)) if a.is_integer() => ("cast_integer_decimal", integer_decimal),
        (a, b) if a.is_integer() && float(b) => ("cast_integer_float", integer_float),
        (Decimal128(..), b) if b.is_integer() => ("cast_decimal_integer", decimal_integer),
        (Decimal128(..), Decimal128(..)) => ("cast_decimal", decimal_decimal),
        (Decimal128(..), b) if float(b) => ("cast_decimal_float", decimal_float),
        (a, b) if float(a) && b.is_integer() => ("cast_float_integer", float_integer),
        (a, Decimal128(..)) if float(a) => ("cast_float_decimal", float_decimal),
        (a, b) if float(a) && float(b) => ("cast_float", float_float),
        (Date32, Timestamp(TimeUnit::Microsecond, None)) => ("cast_date_timestamp", date_timestamp),
        (Timestamp(TimeUnit::Microsecond, None), Date32) => ("cast_timestamp_date", timestamp_date),
        (Timestamp(TimeUnit::Second | TimeUnit::Millisecond, None), Timestamp(TimeUnit::Microsecond, None)) => {
            ("cast_timestamp", timestamp_timestamp)
        }
        (Utf8, b) if text_parse::parses(b) => ("cast_text", text_parse::kernel),
        (a, Utf8) if text_print::prints(a) => ("cast_to_text", text_print::kernel),
        _ => return None,
    })
}

fn out_of_range(args: &Arguments) -> String {
    format!(
        "a value does not fit into {}: cast to a larger type in the view, or filter such rows",
        type_name(args.return_type)
    )
}

/// The integers of argument 0, whatever their width.
pub(super) fn integers(args: &Arguments) -> Vec<Option<i128>> {
    fn widen<T: ArrowPrimitiveType>(args: &Arguments) -> Vec<Option<i128>>
    where
        T::Native: Into<i128>,
    {
        let values = args.primitive::<T>(0);
        (0..args.rows).map(|row| values.get(row).map(Into::into)).collect()
    }
    match args.array(0).0.data_type() {
        DataType::Int8 => widen::<Int8Type>(args),
        DataType::Int16 => widen::<Int16Type>(args),
        DataType::Int32 => widen::<Int32Type>(args),
        DataType::Int64 => widen::<Int64Type>(args),
        DataType::UInt8 => widen::<UInt8Type>(args),
        DataType::UInt16 => widen::<UInt16Type>(args),
        DataType::UInt32 => widen::<UInt32Type>(args),
        DataType::UInt64 => widen::<UInt64Type>(args),
        _ => widen::<Decimal128Type>(args),
    }
}

fn scale_of(data_type: &DataType) -> u32 {
    match data_type {
        DataType::Decimal128(_, scale) => scale.unsigned_abs().into(),
        _ => 0,
    }
}

fn source_scale(args: &Arguments) -> u32 {
    scale_of(args.array(0).0.data_type())
}

/// The floats of argument 0 as doubles, which hold every FLOAT.
fn floats(args: &Arguments) -> Vec<Option<f64>> {
    match args.array(0).0.data_type() {
        DataType::Float32 => {
            let values = args.primitive::<Float32Type>(0);
            (0..args.rows).map(|row| values.get(row).map(f64::from)).collect()
        }
        _ => {
            let values = args.primitive::<Float64Type>(0);
            (0..args.rows).map(|row| values.get(row)).collect()
        }
    }
}

/// Integers of the type to answer, if all fit.
pub(super) fn narrow(args: &Arguments, values: Vec<Option<i128>>) -> Answer {
    fn into<T: ArrowPrimitiveType>(args: &Arguments, values: Vec<Option<i128>>) -> Answer
    where
        T::Native: TryFrom<i128>,
    {
        let narrow = |v: i128| T::Native::try_from(v).map_err(|_| out_of_range(args));
        let values = values.into_iter().map(|v| v.map(narrow).transpose());
        Ok(Arc::new(values.collect::<Result<PrimitiveArray<T>, String>>()?))
    }
    match args.return_type {
        DataType::Int8 => into::<Int8Type>(args, values),
        DataType::Int16 => into::<Int16Type>(args, values),
        DataType::Int32 => into::<Int32Type>(args, values),
        DataType::Int64 => into::<Int64Type>(args, values),
        DataType::UInt8 => into::<UInt8Type>(args, values),
        DataType::UInt16 => into::<UInt16Type>(args, values),
        DataType::UInt32 => into::<UInt32Type>(args, values),
        DataType::UInt64 => into::<UInt64Type>(args, values),
        other => Err(format!("{} is not an integer type", type_name(other))),
    }
}

/// Decimals of the type to answer, if all fit into its digits.
pub(super) fn decimals(args: &Arguments, values: impl Iterator<Item = Option<Option<i128>>>) -> Answer {
    let DataType::Decimal128(precision, _) = args.return_type else {
        return Err(format!("{} is not a decimal type", type_name(args.return_type)));
    };
    let limit = 10i128.pow(u32::from(*precision));
    let mut fitting = Vec::with_capacity(args.rows);
    for value in values {
        match value {
            Some(None) => return Err(out_of_range(args)),
            Some(Some(v)) if v >= limit || v <= -limit => return Err(out_of_range(args)),
            Some(Some(v)) => fitting.push(Some(v)),
            None => fitting.push(None),
        }
    }
    let array: PrimitiveArray<Decimal128Type> = fitting.into_iter().collect();
    Ok(Arc::new(array.with_data_type(args.return_type.clone())))
}

/// Quotient rounded half away from zero.
pub(super) fn divide_rounded(value: i128, divisor: i128) -> i128 {
    let (quotient, remainder) = (value / divisor, value % divisor);
    if remainder.unsigned_abs() * 2 >= divisor.unsigned_abs() { quotient + value.signum() } else { quotient }
}

fn float_answer(args: &Arguments, values: impl Iterator<Item = Option<f64>>) -> Answer {
    Ok(match args.return_type {
        DataType::Float32 => Arc::new(values.map(|v| v.map(|v| v as f32)).collect::<Float32Array>()),
        _ => Arc::new(values.collect::<Float64Array>()),
    })
}

fn number_boolean(args: &Arguments) -> Answer {
    let answer: BooleanArray = match args.array(0).0.data_type() {
        DataType::Float32 | DataType::Float64 => floats(args).into_iter().map(|v| v.map(|v| v != 0.0)).collect(),
        _ => integers(args).into_iter().map(|v| v.map(|v| v != 0)).collect(),
    };
    Ok(Arc::new(answer))
}

fn boolean_integer(args: &Arguments) -> Answer {
    let values = args.boolean(0);
    narrow(args, (0..args.rows).map(|row| values.get(row).map(i128::from)).collect())
}

fn integer_integer(args: &Arguments) -> Answer {
    narrow(args, integers(args))
}

fn integer_decimal(args: &Arguments) -> Answer {
    let factor = 10i128.pow(scale_of(args.return_type));
    decimals(args, integers(args).into_iter().map(|v| v.map(|v| v.checked_mul(factor))))
}

fn integer_float(args: &Arguments) -> Answer {
    // Straight to FLOAT: by way of DOUBLE it would be rounded twice.
    if *args.return_type == DataType::Float32 {
        return Ok(Arc::new(integers(args).into_iter().map(|v| v.map(|v| v as f32)).collect::<Float32Array>()));
    }
    float_answer(args, integers(args).into_iter().map(|v| v.map(|v| v as f64)))
}

fn decimal_integer(args: &Arguments) -> Answer {
    let divisor = 10i128.pow(source_scale(args));
    narrow(args, integers(args).into_iter().map(|v| v.map(|v| divide_rounded(v, divisor))).collect())
}

fn decimal_decimal(args: &Arguments) -> Answer {
    let (from, to) = (source_scale(args), scale_of(args.return_type));
    let rescale = |v: i128| match to.checked_sub(from) {
        Some(up) => v.checked_mul(10i128.pow(up)),
        None => Some(divide_rounded(v, 10i128.pow(from - to))),
    };
    decimals(args, integers(args).into_iter().map(|v| v.map(rescale)))
}

/// DuckDB divides small numbers as a whole and large ones in two parts.
fn decimal_float(args: &Arguments) -> Answer {
    let scale = source_scale(args);
    let power = 10i128.pow(scale);
    let is_wide = matches!(args.array(0).0.data_type(), DataType::Decimal128(precision, _) if *precision > 18);
    let double = |v: i128| if is_wide { hugeint_double(v) } else { v as f64 };
    if *args.return_type == DataType::Float32 {
        let single = |v: i128| if is_wide { hugeint_double(v) as f32 } else { v as f32 };
        let convert = |v: i128| {
            if v.unsigned_abs() <= 1 << 24 || scale == 0 {
                single(v) / power as f64 as f32
            } else {
                single(v / power) + single(v % power) / power as f64 as f32
            }
        };
        return Ok(Arc::new(integers(args).into_iter().map(|v| v.map(convert)).collect::<Float32Array>()));
    }
    let convert = |v: i128| {
        if v.unsigned_abs() <= 1 << 53 || scale == 0 {
            double(v) / power as f64
        } else {
            double(v / power) + double(v % power) / power as f64
        }
    };
    float_answer(args, integers(args).into_iter().map(|v| v.map(convert)))
}

/// DuckDB rounds each half of a HUGEINT, which is also what holds a DECIMAL of more than 18 digits.
fn hugeint_double(value: i128) -> f64 {
    let (high, low) = ((value >> 64) as i64, value as u64);
    if high == -1 { -((u64::MAX - low) as f64) - 1.0 } else { low as f64 + high as f64 * 18_446_744_073_709_551_616.0 }
}

fn float_integer(args: &Arguments) -> Answer {
    let round = |v: f64| {
        let rounded = v.round_ties_even();
        if rounded.abs() < 1e30 { Ok(rounded as i128) } else { Err(out_of_range(args)) }
    };
    let values = floats(args).into_iter().map(|v| v.map(round).transpose()).collect::<Result<Vec<_>, _>>()?;
    narrow(args, values)
}

fn float_decimal(args: &Arguments) -> Answer {
    let power = 10i128.pow(scale_of(args.return_type)) as f64;
    let single = *args.array(0).0.data_type() == DataType::Float32;
    let convert = |v: f64| {
        let scaled = if single { f64::from(v as f32 * power as f32) } else { v * power };
        let rounded = scaled.round();
        (rounded.abs() < 1e38).then_some(rounded as i128)
    };
    decimals(args, floats(args).into_iter().map(|v| v.map(convert)))
}

fn float_float(args: &Arguments) -> Answer {
    if *args.return_type == DataType::Float32 {
        let values = floats(args);
        if values.iter().flatten().any(|v| v.is_finite() && (*v as f32).is_infinite()) {
            return Err(out_of_range(args));
        }
    }
    float_answer(args, floats(args).into_iter())
}

const DAY: i64 = 86_400_000_000;

/// Infinite dates become infinite timestamps, and back.
fn date_timestamp(args: &Arguments) -> Answer {
    let values = args.primitive::<Date32Type>(0);
    let convert = |days: i32| match days {
        i32::MAX => Ok(i64::MAX),
        days if days == -i32::MAX => Ok(-i64::MAX),
        days => i64::from(days).checked_mul(DAY).ok_or_else(|| out_of_range(args)),
    };
    let values = (0..args.rows).map(|row| values.get(row).map(convert).transpose());
    Ok(Arc::new(values.collect::<Result<PrimitiveArray<TimestampMicrosecondType>, _>>()?))
}

fn timestamp_date(args: &Arguments) -> Answer {
    let values = args.primitive::<TimestampMicrosecondType>(0);
    let convert = |micros: i64| match micros {
        i64::MAX => Ok(i32::MAX),
        micros if micros == -i64::MAX => Ok(-i32::MAX),
        micros => i32::try_from(micros.div_euclid(DAY)).map_err(|_| out_of_range(args)),
    };
    let values = (0..args.rows).map(|row| values.get(row).map(convert).transpose());
    Ok(Arc::new(values.collect::<Result<PrimitiveArray<Date32Type>, _>>()?))
}

fn timestamp_timestamp(args: &Arguments) -> Answer {
    let (values, factor): (Vec<Option<i64>>, i64) = match args.array(0).0.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            let values = args.primitive::<TimestampSecondType>(0);
            ((0..args.rows).map(|row| values.get(row)).collect(), 1_000_000)
        }
        _ => {
            let values = args.primitive::<TimestampMillisecondType>(0);
            ((0..args.rows).map(|row| values.get(row)).collect(), 1_000)
        }
    };
    let convert = |v: i64| v.checked_mul(factor).ok_or_else(|| out_of_range(args));
    let values = values.into_iter().map(|v| v.map(convert).transpose());
    Ok(Arc::new(values.collect::<Result<PrimitiveArray<TimestampMicrosecondType>, _>>()?))
}

/// Texts of the rows of an iterator.
pub(super) fn texts(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}
