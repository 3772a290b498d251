//! Functions of numbers.

use std::sync::Arc;

use arrow::array::{BooleanArray, Float32Array, Float64Array, Int8Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use super::bound::Bound;
use super::call::{Answer, Arguments, Kernel, call};
use super::cast::{decimals, divide_rounded, integers, narrow};
use super::coercion::{HUGEINT, is_numeric};
use super::function::{Tried, exactly, one};
use crate::error::Refusal;
use crate::explain::type_name;

pub(super) fn bind(name: &str, args: Vec<Bound>) -> Tried {
    Ok(Ok(match name {
        "abs" => {
            let value = number(name, one(name, args)?)?;
            let data_type = value.data_type.clone();
            call("abs", abs, vec![value.expr], data_type)
        }
        "ceil" | "ceiling" => whole("ceil", name, args, |args| rounded(args, f64::ceil, f32::ceil, ceil_decimal))?,
        "floor" => whole("floor", name, args, |args| rounded(args, f64::floor, f32::floor, floor_decimal))?,
        "trunc" if args.len() == 1 && args[0].data_type.is_integer() => one(name, args)?.settled()?,
        "trunc" => whole("trunc", name, args, |args| rounded(args, f64::trunc, f32::trunc, |v, p| v / p))?,
        "round" if args.len() == 2 => round_to(args)?,
        "round" => {
            let value = number(name, one(name, args)?)?;
            if value.data_type.is_integer() {
                return Ok(Ok(value));
            }
            whole("round", name, vec![value], |args| rounded(args, f64::round, f32::round, divide_rounded))?
        }
        "sign" => {
            let value = number(name, one(name, args)?)?;
            call("sign", sign, vec![value.expr], DataType::Int8)
        }
        "sqrt" => {
            let value = number(name, one(name, args)?)?;
            call("sqrt", sqrt, vec![value.to(&DataType::Float64)?], DataType::Float64)
        }
        "isnan" => float_test("isnan", args, |args| test(args, f64::is_nan))?,
        "isinf" => float_test("isinf", args, |args| test(args, f64::is_infinite))?,
        "isfinite" => float_test("isfinite", args, |args| test(args, f64::is_finite))?,
        _ => return Ok(Err(args)),
    }))
}

fn number(name: &str, value: Bound) -> Result<Bound, Refusal> {
    let value = value.settled()?;
    if is_numeric(&value.data_type) {
        return Ok(value);
    }
    Err(Refusal::new(format!("{name} of {} is not supported: cast it to a number", type_name(&value.data_type))))
}

/// Rounding to whole numbers: a decimal keeps its digits and loses its scale, an integer becomes
/// DOUBLE as in DuckDB.
fn whole(kernel_name: &'static str, name: &str, args: Vec<Bound>, kernel: Kernel) -> Result<Bound, Refusal> {
    let value = number(name, one(name, args)?)?;
    if name != "round" && name != "trunc" && value.data_type == HUGEINT {
        // HUGEINT becomes DOUBLE in DuckDB, DECIMAL(38,0) does not; they look the same here.
        return Err(Refusal::new(format!(
            "{name} of HUGEINT is not supported: the value is whole already, leave {name} out"
        )));
    }
    let (source, target) = match value.data_type {
        DataType::Decimal128(p, s) => (DataType::Decimal128(p, s), DataType::Decimal128(p, 0)),
        DataType::Float32 => (DataType::Float32, DataType::Float32),
        _ => (DataType::Float64, DataType::Float64),
    };
    Ok(call(kernel_name, kernel, vec![value.to(&source)?], target))
}

fn rounded(
    args: &Arguments,
    double: fn(f64) -> f64,
    single: fn(f32) -> f32,
    decimal: fn(i128, i128) -> i128,
) -> Answer {
    Ok(match args.array(0).0.data_type() {
        DataType::Decimal128(_, scale) => {
            let power = 10i128.pow(scale.unsigned_abs().into());
            return decimals(args, integers(args).into_iter().map(|v| v.map(|v| Some(decimal(v, power)))));
        }
        DataType::Float32 => {
            let values = args.primitive::<Float32Type>(0);
            Arc::new((0..args.rows).map(|row| values.get(row).map(single)).collect::<Float32Array>())
        }
        _ => {
            let values = args.primitive::<Float64Type>(0);
            Arc::new((0..args.rows).map(|row| values.get(row).map(double)).collect::<Float64Array>())
        }
    })
}

fn floor_decimal(value: i128, power: i128) -> i128 {
    value.div_euclid(power)
}

fn ceil_decimal(value: i128, power: i128) -> i128 {
    -(-value).div_euclid(power)
}

/// `round(value, digits)` for a constant number of digits. Where rounding an integer leaves its
/// type, DuckDB wraps around; here it is an error.
fn round_to(args: Vec<Bound>) -> Result<Bound, Refusal> {
    let [value, digits]: [Bound; 2] = exactly("round", args)?;
    let digits = digits.as_integer().and_then(|d| i32::try_from(d).ok()).filter(|d| d.abs() <= 38);
    let Some(digits) = digits else {
        return Err(Refusal::new("round takes a number of digits that is written out: write round(value, 2)"));
    };
    let value = number("round", value)?;
    let count = Bound::constant(datafusion_common::ScalarValue::Int32(Some(digits))).expr;
    match value.data_type.clone() {
        DataType::Decimal128(p, 0) if digits >= 0 => Ok(Bound::new(value.expr, DataType::Decimal128(p, 0))),
        DataType::Decimal128(p, s) if digits >= i32::from(s) => Ok(Bound::new(value.expr, DataType::Decimal128(p, s))),
        DataType::Decimal128(p, _) if digits >= 0 => {
            Ok(call("round_decimal", round_decimal, vec![value.expr, count], DataType::Decimal128(p, digits as i8)))
        }
        DataType::Float64 => Ok(call("round_double", round_double, vec![value.expr, count], DataType::Float64)),
        t if t.is_integer() && digits >= 0 => Ok(value),
        t if t.is_integer() => Ok(call("round_integer", round_integer, vec![value.expr, count], t)),
        t => Err(Refusal::new(format!(
            "round({}, {digits}) is not supported: cast the value to DOUBLE or to a DECIMAL of that scale",
            type_name(&t)
        ))),
    }
}

fn digits(args: &Arguments) -> i32 {
    args.primitive::<arrow::datatypes::Int32Type>(1).get(0).unwrap_or(0)
}

fn round_decimal(args: &Arguments) -> Answer {
    let DataType::Decimal128(_, scale) = args.array(0).0.data_type() else { return Err("round of no decimal".into()) };
    let power = 10i128.pow((i32::from(*scale) - digits(args)).unsigned_abs());
    decimals(args, integers(args).into_iter().map(|v| v.map(|v| Some(divide_rounded(v, power)))))
}

fn round_integer(args: &Arguments) -> Answer {
    let power = 10i128.checked_pow(digits(args).unsigned_abs()).unwrap_or(i128::MAX);
    let round = |v: i128| if power > 10i128.pow(20) { 0 } else { divide_rounded(v, power) * power };
    narrow(args, integers(args).into_iter().map(|v| v.map(round)).collect())
}

fn round_double(args: &Arguments) -> Answer {
    let digits = digits(args);
    let power = 10f64.powi(digits.abs());
    let round = |v: f64| {
        if digits < 0 {
            let rounded = (v / power).round() * power;
            return if rounded.is_finite() { rounded } else { 0.0 };
        }
        let rounded = (v * power).round() / power;
        if rounded.is_finite() { rounded } else { v }
    };
    let values = args.primitive::<Float64Type>(0);
    Ok(Arc::new((0..args.rows).map(|row| values.get(row).map(round)).collect::<Float64Array>()))
}

fn abs(args: &Arguments) -> Answer {
    Ok(match args.return_type {
        DataType::Float32 => {
            let values = args.primitive::<Float32Type>(0);
            Arc::new((0..args.rows).map(|row| values.get(row).map(f32::abs)).collect::<Float32Array>())
        }
        DataType::Float64 => {
            let values = args.primitive::<Float64Type>(0);
            Arc::new((0..args.rows).map(|row| values.get(row).map(f64::abs)).collect::<Float64Array>())
        }
        DataType::Decimal128(..) => {
            return decimals(args, integers(args).into_iter().map(|v| v.map(|v| Some(v.abs()))));
        }
        _ => return narrow(args, integers(args).into_iter().map(|v| v.map(i128::abs)).collect()),
    })
}

fn sign(args: &Arguments) -> Answer {
    let of = |v: f64| {
        if v > 0.0 {
            1
        } else if v < 0.0 {
            -1
        } else {
            0
        }
    };
    Ok(Arc::new(match args.array(0).0.data_type() {
        DataType::Float32 => {
            let values = args.primitive::<Float32Type>(0);
            (0..args.rows).map(|row| values.get(row).map(|v| of(v.into()))).collect::<Int8Array>()
        }
        DataType::Float64 => {
            let values = args.primitive::<Float64Type>(0);
            (0..args.rows).map(|row| values.get(row).map(of)).collect()
        }
        _ => integers(args).into_iter().map(|v| v.map(|v| v.signum() as i8)).collect(),
    }))
}

fn sqrt(args: &Arguments) -> Answer {
    let values = args.primitive::<Float64Type>(0);
    let root = |v: f64| {
        if v < 0.0 { Err("sqrt of a negative number: filter such rows".to_owned()) } else { Ok(v.sqrt()) }
    };
    let roots = (0..args.rows).map(|row| values.get(row).map(root).transpose());
    Ok(Arc::new(roots.collect::<Result<Float64Array, _>>()?))
}

fn float_test(name: &'static str, args: Vec<Bound>, kernel: Kernel) -> Result<Bound, Refusal> {
    let value = number(name, one(name, args)?)?;
    if !matches!(value.data_type, DataType::Float32 | DataType::Float64) {
        return Err(Refusal::new(format!("{name} is a function of FLOAT and DOUBLE: cast the value")));
    }
    Ok(call(name, kernel, vec![value.to(&DataType::Float64)?], DataType::Boolean))
}

fn test(args: &Arguments, test: fn(f64) -> bool) -> Answer {
    let values = args.primitive::<Float64Type>(0);
    Ok(Arc::new((0..args.rows).map(|row| values.get(row).map(test)).collect::<BooleanArray>()))
}
