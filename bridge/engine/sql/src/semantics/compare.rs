//! Comparisons, IN and BETWEEN. They stay expressions of the planner, so that joins find their
//! keys in them; Arrow compares as DuckDB does once the types are equal, but for −0.0 and the
//! many NaNs, which [`canonical`] makes one.

use std::sync::Arc;

use arrow::array::{Float32Array, Float64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion_common::ScalarValue;
use datafusion_expr::expr::InList;
use datafusion_expr::{Expr, Operator, binary_expr};

use super::bound::{Bound, Kind};
use super::call::{Answer, Arguments, call};
use super::coercion::unify;
use super::lent;
use crate::error::Refusal;
use crate::explain::type_name;

/// `left op right` for a comparison operator.
pub(super) fn compare(op: Operator, left: Bound, right: Bound) -> Result<Bound, Refusal> {
    if is_lent(&left) || is_lent(&right) {
        return lent::comparison(op, left, right);
    }
    let (exprs, _) = comparable(vec![left, right])?;
    let [left, right]: [Expr; 2] = exprs.try_into().map_err(|_| Refusal::new("a comparison has two sides"))?;
    Ok(Bound::new(binary_expr(left, op, right), DataType::Boolean))
}

/// `value BETWEEN low AND high`.
pub(super) fn between(values: Vec<Bound>) -> Result<Bound, Refusal> {
    if values.iter().any(is_lent) {
        let [value, low, high]: [Bound; 3] = values.try_into().map_err(|_| Refusal::new("BETWEEN has two bounds"))?;
        let above = compare(Operator::GtEq, value.clone(), low)?;
        return Ok(Bound::new(above.expr.and(compare(Operator::LtEq, value, high)?.expr), DataType::Boolean));
    }
    let (exprs, _) = comparable(values)?;
    let [value, low, high]: [Expr; 3] = exprs.try_into().map_err(|_| Refusal::new("BETWEEN has two bounds"))?;
    let above = binary_expr(value.clone(), Operator::GtEq, low);
    Ok(Bound::new(above.and(binary_expr(value, Operator::LtEq, high)), DataType::Boolean))
}

/// `value IN (list)`, the value first.
pub(super) fn is_in(values: Vec<Bound>) -> Result<Bound, Refusal> {
    if values.iter().any(is_lent) {
        let Some((value, items)) = values.split_first() else { return Err(Refusal::new("IN has no value")) };
        let equals =
            items.iter().map(|item| compare(Operator::Eq, value.clone(), item.clone()).map(|equal| equal.expr));
        let equals = equals.collect::<Result<Vec<_>, _>>()?.into_iter().reduce(Expr::or);
        let equals = equals.ok_or_else(|| Refusal::new("IN has an empty list"))?;
        return Ok(Bound::new(equals, DataType::Boolean));
    }
    let (mut exprs, data_type) = comparable(values)?;
    let value = exprs.remove(0);
    let constant = exprs.iter().all(|e| matches!(e, Expr::Literal(..)));
    let nested = matches!(data_type, DataType::Float32 | DataType::Float64) || !constant;
    let expr = if nested {
        let equals = exprs.into_iter().map(|item| binary_expr(value.clone(), Operator::Eq, item));
        equals.reduce(Expr::or).ok_or_else(|| Refusal::new("IN has an empty list"))?
    } else {
        Expr::InList(InList::new(Box::new(value), exprs, false))
    };
    Ok(Bound::new(expr, DataType::Boolean))
}

/// Whether DuckDB compares values of this type: nested ones, and intervals, of which 30 days are a month.
fn is_lent(value: &Bound) -> bool {
    value.data_type.is_nested() || matches!(value.data_type, DataType::Interval(_))
}

/// Brings values to a type in which they can be compared.
fn comparable(values: Vec<Bound>) -> Result<(Vec<Expr>, DataType), Refusal> {
    let values = if values.iter().any(|v| v.kind == Kind::Uuid) {
        values.into_iter().map(uuid).collect::<Result<Vec<_>, _>>()?
    } else {
        values
    };
    if values.iter().any(|v| v.kind == Kind::Json) {
        return Err(Refusal::new("JSON values cannot be compared here: cast them to VARCHAR"));
    }
    let (exprs, data_type) = unify(values)?;
    if data_type.is_nested() {
        return Err(Refusal::new(format!(
            "values of type {} cannot be compared here: compare their parts",
            type_name(&data_type)
        )));
    }
    Ok((exprs.into_iter().map(|e| canonical(e, &data_type)).collect(), data_type))
}

/// A text that is compared with a UUID is one.
fn uuid(value: Bound) -> Result<Bound, Refusal> {
    let Some(text) = value.as_text() else { return Ok(value) };
    let plain = text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    if !plain {
        return Err(Refusal::new(format!("'{text}' is not a UUID: write 32 hexadecimal digits with four hyphens")));
    }
    let constant = Bound::constant(ScalarValue::Utf8(Some(text.to_ascii_lowercase())));
    Ok(Bound { kind: Kind::Uuid, ..constant })
}

/// The expression with one zero and one NaN, where it is a float.
pub(super) fn canonical(expr: Expr, data_type: &DataType) -> Expr {
    match data_type {
        DataType::Float32 | DataType::Float64 => {
            call("canonical", canonical_kernel, vec![expr], data_type.clone()).expr
        }
        _ => expr,
    }
}

fn canonical_kernel(args: &Arguments) -> Answer {
    Ok(match args.return_type {
        DataType::Float32 => {
            let values = args.primitive::<Float32Type>(0);
            let one = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            Arc::new((0..args.rows).map(|row| values.get(row).map(one)).collect::<Float32Array>())
        }
        _ => {
            let values = args.primitive::<Float64Type>(0);
            let one = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            Arc::new((0..args.rows).map(|row| values.get(row).map(one)).collect::<Float64Array>())
        }
    })
}
