//! `+ - * / // %` and the sign, with DuckDB's overloads, its overflow errors, and NULL for a
//! division by zero that is not one of floats.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, Datum, PrimitiveArray, Scalar};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;

use super::bound::{Bound, Literal, integer_value};
use super::call::{Answer, Arguments, Kernel, call};
use super::coercion::{HUGEINT, decimal_of, integer_bits, is_numeric, mixed};
use super::date;
use crate::error::Refusal;
use crate::explain::type_name;

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    IntegerDivide,
    Modulo,
}

impl Operation {
    fn symbol(self) -> &'static str {
        match self {
            Operation::Add => "+",
            Operation::Subtract => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
            Operation::IntegerDivide => "//",
            Operation::Modulo => "%",
        }
    }

    fn kernel(self) -> (&'static str, Kernel) {
        match self {
            Operation::Add => ("add", |args| arrow_kernel(args, numeric::add, i128::checked_add, "+")),
            Operation::Subtract => ("subtract", |args| arrow_kernel(args, numeric::sub, i128::checked_sub, "-")),
            Operation::Multiply => ("multiply", |args| arrow_kernel(args, numeric::mul, i128::checked_mul, "*")),
            Operation::Divide => ("divide", |args| arrow_kernel(args, numeric::div, |_, _| None, "/")),
            Operation::IntegerDivide => ("integer_divide", |args| quotient(args, Operation::IntegerDivide)),
            Operation::Modulo => ("modulo", |args| quotient(args, Operation::Modulo)),
        }
    }
}

/// Binds an operator.
pub(super) fn bind(op: Operation, left: Bound, right: Bound) -> Result<Bound, Refusal> {
    if let Some(bound) = date::arithmetic(op, &left, &right)? {
        return Ok(bound);
    }
    let (a, b) = operand_types(op, &left, &right)?;
    let (target_a, target_b, result) = overload(op, &a, &b).ok_or_else(|| {
        Refusal::new(format!("{} {} {} is not supported: cast the operands", type_name(&a), op.symbol(), type_name(&b)))
    })?;
    let (name, kernel) = op.kernel();
    Ok(call(name, kernel, vec![left.to(&target_a)?, right.to(&target_b)?], result))
}

/// The operands' types once literals have met the other side.
fn operand_types(op: Operation, left: &Bound, right: &Bound) -> Result<(DataType, DataType), Refusal> {
    let adapt = |value: &Bound, other: &Bound| match &value.literal {
        Some(Literal::Null) if other.is_null() => DataType::Int32,
        Some(Literal::Null) => other.data_type.clone(),
        Some(Literal::Integer(i)) if other.literal.is_none() && integer_value(*i, &other.data_type).is_some() => {
            other.data_type.clone()
        }
        _ => value.data_type.clone(),
    };
    let (a, b) = (adapt(left, right), adapt(right, left));
    if !is_numeric(&a) || !is_numeric(&b) {
        return Err(match op {
            Operation::Add | Operation::Subtract if is_numeric(&a) == is_numeric(&b) => Refusal::new(format!(
                "{} {} {} is not supported: cast the operands to numbers",
                type_name(&a),
                op.symbol(),
                type_name(&b)
            )),
            _ => mixed(&a, &b),
        });
    }
    Ok((a, b))
}

/// The types to cast the operands to, and the type of the result.
fn overload(op: Operation, a: &DataType, b: &DataType) -> Option<(DataType, DataType, DataType)> {
    use DataType::{Decimal128, Float32, Float64};
    let same = |t: DataType| Some((t.clone(), t.clone(), t));
    let float = match (a, b) {
        (Float64, _) | (_, Float64) => Some(Float64),
        (Float32, _) | (_, Float32) => Some(Float32),
        _ => None,
    };
    let whole = |t: &DataType| integer_bits(t).is_some() || *t == HUGEINT;
    match op {
        Operation::Divide => return same(float.unwrap_or(Float64)),
        Operation::IntegerDivide if float.is_some() || !whole(a) || !whole(b) => return None,
        _ => {}
    }
    if let Some(float) = float {
        return same(float);
    }
    if whole(a) && whole(b) {
        return same(integer_overload(a, b));
    }
    let ((pa, sa), (pb, sb)) = (decimal_of(a)?, decimal_of(b)?);
    let cap = |digits: u8| match digits {
        19.. if pa <= 18 && pb <= 18 => 18,
        _ => digits.min(38),
    };
    let scale = sa.max(sb);
    let digits = (pa - sa as u8).max(pb - sb as u8) + scale as u8;
    match op {
        Operation::Add | Operation::Subtract => same(Decimal128(cap(digits + 1), scale)),
        Operation::Modulo if digits <= 38 => same(Decimal128(digits, scale)),
        Operation::Multiply if sa + sb <= 38 => {
            Some((Decimal128(pa, sa), Decimal128(pb, sb), Decimal128(cap(pa + pb), sa + sb)))
        }
        _ => None,
    }
}

/// The integer type an operator computes in.
fn integer_overload(a: &DataType, b: &DataType) -> DataType {
    let (Some((bits_a, signed_a)), Some((bits_b, signed_b))) = (integer_bits(a), integer_bits(b)) else {
        return HUGEINT;
    };
    if signed_a == signed_b {
        return if bits_a >= bits_b { a.clone() } else { b.clone() };
    }
    let (signed_type, signed, unsigned) = if signed_a { (a, bits_a, bits_b) } else { (b, bits_b, bits_a) };
    match unsigned {
        64 => HUGEINT,
        _ if signed > unsigned => signed_type.clone(),
        _ => DataType::Int64,
    }
}

/// Binds the sign. A literal stays a literal.
pub(super) fn negate(value: Bound) -> Result<Bound, Refusal> {
    match &value.literal {
        Some(Literal::Null) => return Ok(value),
        Some(Literal::Integer(i)) => return Ok(Bound::integer(-i)),
        _ => {}
    }
    let data_type = value.data_type.clone();
    let signed = integer_bits(&data_type).is_some_and(|(_, signed)| signed);
    if !signed && !matches!(data_type, DataType::Decimal128(..) | DataType::Float32 | DataType::Float64) {
        return Err(Refusal::new(format!(
            "the sign of a value of type {} is not supported: cast it to a signed number",
            type_name(&data_type)
        )));
    }
    Ok(call("negate", negate_kernel, vec![value.expr], data_type))
}

fn negate_kernel(args: &Arguments) -> Answer {
    let (array, _) = args.array(0);
    let negated = numeric::neg(array.as_ref()).map_err(|e| arrow_error(&e, "-"))?;
    if args.rows == negated.len() { Ok(negated) } else { Err("the sign of a constant was not computed".into()) }
}

pub(super) fn overflow(symbol: &str, data_type: &DataType) -> String {
    format!(
        "the result of {symbol} does not fit into {}: cast the operands to a larger type in the view",
        type_name(data_type)
    )
}

/// Arrow's own messages hold the operands.
fn arrow_error(error: &ArrowError, symbol: &str) -> String {
    match error {
        ArrowError::ArithmeticOverflow(_) => {
            format!("a number overflowed in {symbol}: cast the operands to a larger type in the view")
        }
        ArrowError::DivideByZero => format!("division by zero in {symbol}"),
        _ => format!("{symbol} failed"),
    }
}

fn arrow_kernel(
    args: &Arguments,
    kernel: fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError>,
    decimal: fn(i128, i128) -> Option<i128>,
    symbol: &str,
) -> Answer {
    if let DataType::Decimal128(precision, _) = args.return_type {
        return decimals(args, *precision, |a, b| decimal(a, b).map(Some), symbol);
    }
    let ((a, a_constant), (b, b_constant)) = (args.array(0), args.array(1));
    let scalar = |array: &ArrayRef, constant: bool| constant.then(|| Scalar::new(Arc::clone(array)));
    let (scalar_a, scalar_b) = (scalar(a, a_constant && args.rows > 1), scalar(b, b_constant && args.rows > 1));
    let left: &dyn Datum = scalar_a.as_ref().map_or(a as &dyn Datum, |scalar| scalar);
    let right: &dyn Datum = scalar_b.as_ref().map_or(b as &dyn Datum, |scalar| scalar);
    kernel(left, right).map_err(|e| match e {
        ArrowError::ArithmeticOverflow(_) => overflow(symbol, args.return_type),
        e => arrow_error(&e, symbol),
    })
}

/// Exact arithmetic on decimals; `None` is an overflow, `Some(None)` NULL.
fn decimals(
    args: &Arguments,
    precision: u8,
    operation: impl Fn(i128, i128) -> Option<Option<i128>>,
    symbol: &str,
) -> Answer {
    let (a, b) = (args.primitive::<Decimal128Type>(0), args.primitive::<Decimal128Type>(1));
    let limit = 10i128.pow(u32::from(precision));
    let mut values = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        values.push(match (a.get(row), b.get(row)) {
            (Some(a), Some(b)) => match operation(a, b) {
                Some(Some(v)) if v > -limit && v < limit => Some(v),
                Some(None) => None,
                _ => return Err(overflow(symbol, args.return_type)),
            },
            _ => None,
        });
    }
    let array: PrimitiveArray<Decimal128Type> = values.into_iter().collect();
    Ok(Arc::new(array.with_data_type(args.return_type.clone())))
}

fn quotient(args: &Arguments, op: Operation) -> Answer {
    match args.return_type {
        DataType::Int8 => integers::<Int8Type>(args, op),
        DataType::Int16 => integers::<Int16Type>(args, op),
        DataType::Int32 => integers::<Int32Type>(args, op),
        DataType::Int64 => integers::<Int64Type>(args, op),
        DataType::UInt8 => integers::<UInt8Type>(args, op),
        DataType::UInt16 => integers::<UInt16Type>(args, op),
        DataType::UInt32 => integers::<UInt32Type>(args, op),
        DataType::UInt64 => integers::<UInt64Type>(args, op),
        DataType::Float32 => floats::<Float32Type>(args, |a, b| a % b),
        DataType::Float64 => floats::<Float64Type>(args, |a, b| a % b),
        DataType::Decimal128(precision, _) => {
            let divide = move |a: i128, b: i128| match (b, op) {
                (0, _) => Some(None),
                (_, Operation::IntegerDivide) => a.checked_div(b).map(Some),
                _ => a.checked_rem(b).map(Some),
            };
            decimals(args, *precision, divide, op.symbol())
        }
        other => Err(format!("{} of {}", op.symbol(), type_name(other))),
    }
}

/// Integer quotients and remainders: NULL by zero, truncated towards zero.
fn integers<T: ArrowPrimitiveType>(args: &Arguments, op: Operation) -> Answer {
    let (a, b) = (args.primitive::<T>(0), args.primitive::<T>(1));
    let mut values = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        values.push(match (a.get(row), b.get(row)) {
            (Some(_), Some(b)) if b.is_zero() => None,
            (Some(a), Some(b)) if op == Operation::IntegerDivide => {
                Some(a.div_checked(b).map_err(|_| overflow(op.symbol(), args.return_type))?)
            }
            (Some(a), Some(b)) => Some(a.mod_checked(b).map_err(|_| overflow(op.symbol(), args.return_type))?),
            _ => None,
        });
    }
    Ok(Arc::new(values.into_iter().collect::<PrimitiveArray<T>>()))
}

fn floats<T: ArrowPrimitiveType>(args: &Arguments, operation: fn(T::Native, T::Native) -> T::Native) -> Answer {
    let (a, b) = (args.primitive::<T>(0), args.primitive::<T>(1));
    let value = |row| Some(operation(a.get(row)?, b.get(row)?));
    Ok(Arc::new((0..args.rows).map(value).collect::<PrimitiveArray<T>>()))
}
