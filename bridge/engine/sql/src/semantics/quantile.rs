//! Medians and quantiles: their points, and the types that they are computed with.

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::{Expr, SortExpr};

use super::bound::Bound;
use super::cast::{TIMESTAMP, cast};
use super::coercion::is_numeric;
use super::recomputed::{Point, Quantile, Recomputed};
use super::recomputed_bind::{compared, refuse_type};
use crate::error::Refusal;
use crate::explain::type_name;

/// Medians and quantiles. Integers are interpolated as DOUBLE, dates as TIMESTAMP; what cannot be
/// interpolated has a median even so.
pub(super) fn quantile(
    name: &'static str,
    args: &mut Vec<Bound>,
) -> Result<(Recomputed, DataType, Option<String>), Refusal> {
    let mut given = std::mem::take(args).into_iter();
    let value = given.next().ok_or_else(|| Refusal::new(format!("{name} takes a value")))?;
    let value = compared(name, value.settled()?)?;
    let points = if name == "median" {
        vec![Point::Exact { units: 5, scale: 1 }]
    } else {
        given.by_ref().map(point).collect::<Result<Vec<_>, _>>()?
    };
    let listed = name.starts_with('#');
    if given.next().is_some() || points.is_empty() || !listed && points.len() > 1 {
        return Err(Refusal::new(format!("{name} takes a value and a number between 0 and 1")));
    }
    let temporal = matches!(value.data_type, DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(..));
    let interpolates = is_numeric(&value.data_type) || temporal;
    let continuous = name.ends_with("cont") || name == "median" && interpolates;
    // DuckDB interpolates timestamps in their own unit, and the circuit knows microseconds.
    let other_unit = matches!(&value.data_type, DataType::Timestamp(unit, _) if *unit != TimeUnit::Microsecond);
    if continuous && (!interpolates || other_unit) {
        return Err(refuse_type(name, &value.data_type));
    }
    let value = match &value.data_type {
        _ if !continuous => value,
        DataType::Date32 => cast(value, &TIMESTAMP)?,
        // HUGEINT and DECIMAL(38,0) share this type; a column tells which it is, and a DECIMAL stays one.
        DataType::Decimal128(38, 0) if value.duckdb_type.as_deref() != Some("DECIMAL(38,0)") => {
            cast(value, &DataType::Float64)?
        }
        t if t.is_integer() => cast(value, &DataType::Float64)?,
        _ => value,
    };
    let (item, item_type) = (value.data_type.clone(), value.duckdb_type.clone());
    args.push(value);
    let function = Recomputed::Quantile(Quantile { continuous, points, listed });
    Ok(if listed {
        let list = DataType::List(Field::new_list_field(item, true).into());
        (function, list, item_type.map(|t| format!("{t}[]")))
    } else {
        (function, item, item_type)
    })
}

/// What DuckDB does to a quantile that its values do not tell: one ORDER BY key with DESC turns the point
/// around, whatever the key is, and DISTINCT tells integers apart before they become DOUBLE.
/// `types` are those of the argument, as it is written and as it is computed with.
pub(super) fn check_quantile(
    name: &str,
    order_by: &[SortExpr],
    distinct: bool,
    types: Option<(&DataType, &DataType)>,
) -> Result<(), Refusal> {
    let shown = name.trim_start_matches('#');
    if matches!(order_by, [sort] if !sort.asc) && !matches!(name, "median" | "quantile") {
        return Err(Refusal::new(format!(
            "{shown} with ORDER BY … DESC cannot be maintained: leave the order out, which counts the point from \
             the least value"
        )));
    }
    match types {
        Some((written @ (DataType::Int64 | DataType::UInt64 | DataType::Decimal128(38, 0)), DataType::Float64))
            if distinct =>
        {
            Err(Refusal::new(format!(
                "{shown}(DISTINCT …) of {} cannot be maintained: cast the argument to DOUBLE",
                type_name(written)
            )))
        }
        _ => Ok(()),
    }
}

fn point(written: Bound) -> Result<Point, Refusal> {
    let outside = || Refusal::new("the point of a quantile is a constant between 0 and 1: write it as a number");
    let (point, inside) = match (written.as_integer(), &written.expr) {
        (Some(units), _) => (Point::Double((units as f64).to_bits()), (0..=1).contains(&units)),
        (None, Expr::Literal(ScalarValue::Decimal128(Some(units), _, scale), _)) => {
            let scale = u8::try_from(*scale).map_err(|_| outside())?;
            let one = 10i128.checked_pow(u32::from(scale)).ok_or_else(outside)?;
            (Point::Exact { units: *units, scale }, (0..=one).contains(units))
        }
        (None, Expr::Literal(ScalarValue::Float64(Some(double)), _)) => {
            (Point::Double(double.to_bits()), (0.0..=1.0).contains(double))
        }
        _ => return Err(outside()),
    };
    if inside { Ok(point) } else { Err(outside()) }
}
