//! Aggregates whose value is computed from all rows of a group, each time one of them changes.
//!
//! Their DuckDB types are decided here; what they compute is the circuit's. DuckDB's answer often
//! depends on the order in which it happens to read the rows: `first(x)`, `list(x)`, ties of
//! `arg_min` and `mode`, the last bits of a standard deviation. A view has one answer. It is the one that
//! DuckDB gives when the rows of the group come in the order of the arguments of all such calls of the
//! same SELECT: one order for all of them, so that `first(a)` and `first(b)` are of one row.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::DFSchema;
use datafusion_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion_expr::{Expr, SortExpr};

use super::aggregate::{self, AggregateKind};
use super::bind::{bind, bind_condition, bind_settled};
use super::bound::{Bound, Kind};
use super::cast::{TIMESTAMP, cast};
use super::coercion::is_numeric;
use super::recomputed_udf::Function;
use crate::error::Refusal;
use crate::explain::type_name;

/// What is computed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recomputed {
    /// Texts with a separator between them; without one NULL.
    StringAgg(Option<String>),
    /// All values, NULLs among them.
    List,
    /// The value of the first row.
    First,
    /// The value of the last row.
    Last,
    /// The first value that is not NULL.
    AnyValue,
    /// The first argument where the second is least or greatest.
    ArgExtreme(ArgExtreme),
    /// The most frequent value, of several the one that comes first.
    Mode,
    /// How often each value occurs, in the order of the values.
    Histogram,
    /// A quantile, or a list of them.
    Quantile(Quantile),
    /// The product of the values.
    Product,
    /// Bits that are set in all, some, or an odd number of the values.
    Bits(Bits),
    /// The bits that are needed to tell one of the values.
    Entropy,
    /// A number of statistics over one DOUBLE.
    Spread(Spread),
    /// A number of statistics over two DOUBLEs, the dependent one first.
    Regression(Regression),
}

/// Which rows `arg_min` and its kin look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArgExtreme {
    /// The greatest instead of the least.
    pub greatest: bool,
    /// Rows whose first argument is NULL count.
    pub nulls: bool,
}

/// Quantiles of the values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quantile {
    /// Whether values are interpolated.
    pub continuous: bool,
    /// Which.
    pub points: Vec<Point>,
    /// Whether the answer is a list.
    pub listed: bool,
}

/// A point between 0 and 1: `units / 10^scale`, or the bits of a double.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// As a decimal is written.
    Exact {
        /// The unscaled number.
        units: i128,
        /// Digits after the point.
        scale: u8,
    },
    /// The bits of a DOUBLE.
    Double(u64),
}

/// Bitwise connectives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Bits {
    And,
    Or,
    Xor,
}

/// Statistics of one variable, as DuckDB names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Spread {
    StddevSamp,
    StddevPop,
    VarSamp,
    VarPop,
    Sem,
    Skewness,
    Kurtosis,
    KurtosisPop,
}

/// Statistics of two variables, as DuckDB names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Regression {
    CovarPop,
    CovarSamp,
    Corr,
    AvgX,
    AvgY,
    Count,
    Slope,
    Intercept,
    R2,
    Sxx,
    Syy,
    Sxy,
}

/// One call of an `Aggregate` node whose value is recomputed.
#[derive(Debug, Clone, PartialEq)]
pub struct RecomputedCall<'a> {
    /// What is computed.
    pub function: &'a Recomputed,
    /// Its name in SQL.
    pub name: &'a str,
    /// Over the columns of the node's input, in the types that the function computes with.
    pub arguments: &'a [Expr],
    /// Whether equal arguments count once.
    pub distinct: bool,
    /// Only rows for which this is true are seen.
    pub filter: Option<&'a Expr>,
    /// The order in which they are seen, before that of the arguments.
    pub order_by: &'a [SortExpr],
    /// The type of the answer.
    pub return_type: &'a DataType,
}

/// Reads an expression of `Aggregate::aggr_expr`, with or without an alias around it.
pub fn recomputed_call(expr: &Expr) -> Option<RecomputedCall<'_>> {
    match expr {
        Expr::Alias(alias) => recomputed_call(&alias.expr),
        Expr::AggregateFunction(call) => {
            let function: &Function = call.func.inner().as_any().downcast_ref()?;
            Some(RecomputedCall {
                function: &function.function,
                name: function.name,
                arguments: &call.params.args,
                distinct: call.params.distinct,
                filter: call.params.filter.as_deref(),
                order_by: &call.params.order_by,
                return_type: &function.return_type,
            })
        }
        _ => None,
    }
}

/// Every aggregate that is not an [`AggregateKind`], under all its names.
pub(super) const NAMES: &[&str] = &[
    "#quantile_cont",
    "#quantile_disc",
    "any_value",
    "arbitrary",
    "arg_max",
    "arg_max_null",
    "arg_min",
    "arg_min_null",
    "argmax",
    "argmin",
    "array_agg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count_if",
    "countif",
    "covar_pop",
    "covar_samp",
    "entropy",
    "favg",
    "first",
    "fsum",
    "group_concat",
    "histogram",
    "kahan_sum",
    "kurtosis",
    "kurtosis_pop",
    "last",
    "list",
    "listagg",
    "max_by",
    "median",
    "min_by",
    "mode",
    "product",
    "quantile",
    "quantile_cont",
    "quantile_disc",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "sem",
    "skewness",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sumkahan",
    "var_pop",
    "var_samp",
    "variance",
];

/// The name as one that lives as long as the program, if an aggregate of this kind has it.
pub(super) fn known(name: &str) -> Option<&'static str> {
    NAMES.iter().copied().find(|known| *known == name)
}

/// A call, typed as DuckDB types it. Some are other words for aggregates that are kept as sums or
/// extremes.
pub(super) fn bind_call(call: &AggregateFunction, schema: &DFSchema) -> Result<Bound, Refusal> {
    let written = call.func.name();
    let name = known(written).ok_or_else(|| super::unknown_function(written))?;
    let params = &call.params;
    let mut args = params.args.iter().map(|arg| bind(arg, schema)).collect::<Result<Vec<_>, _>>()?;
    let filter = params.filter.as_ref().map(|f| bind_condition(f, schema)).transpose()?;
    let as_kind = |kind, argument: Bound, filter| {
        let expr = aggregate::bind(kind, vec![argument], params.distinct, filter)?;
        let data_type = aggregate::aggregate_call(&expr).map(|call| call.return_type.clone());
        Ok(Bound::new(expr, data_type.unwrap_or(DataType::Null)))
    };
    match name {
        "count_if" | "countif" => {
            let condition = boolean(name, one(name, args)?)?;
            return as_kind(AggregateKind::Sum, cast(condition, &DataType::Int8)?, filter);
        }
        "bool_and" => return as_kind(AggregateKind::Min, boolean(name, one(name, args)?)?, filter),
        "bool_or" => return as_kind(AggregateKind::Max, boolean(name, one(name, args)?)?, filter),
        "fsum" | "kahan_sum" | "sumkahan" => {
            return as_kind(AggregateKind::Sum, double(name, one(name, args)?)?, filter);
        }
        "favg" => return as_kind(AggregateKind::Avg, double(name, one(name, args)?)?, filter),
        _ => {}
    }
    let written = args.first().map(|arg| arg.data_type.clone());
    let (function, return_type, duckdb_type) = overload(name, &mut args)?;
    if matches!(function, Recomputed::Quantile(_)) {
        let computed = args.first().map(|arg| &arg.data_type);
        check_quantile(name, params, written.as_ref().zip(computed))?;
    }
    let mut order_by = Vec::with_capacity(params.order_by.len());
    for sort in &params.order_by {
        let key = compared(name, bind_settled(&sort.expr, schema)?)?;
        if params.distinct && !args.iter().any(|arg| arg.expr == key.expr) {
            return Err(Refusal::new(format!(
                "{name}(DISTINCT …) is ordered by an expression that is not its argument: order by the argument"
            )));
        }
        order_by.push(SortExpr::new(key.expr, sort.asc, sort.nulls_first));
    }
    if params.distinct {
        args = args.into_iter().map(|arg| compared("DISTINCT in an aggregate", arg)).collect::<Result<_, _>>()?;
    }
    let args = args.into_iter().map(|arg| arg.expr).collect();
    let function = Function::new(function, name, return_type.clone(), duckdb_type);
    Ok(Bound::new(function.call(args, params.distinct, filter, order_by), return_type))
}

/// The function, its type, and DuckDB's name of that where the type alone does not tell. What is
/// left in `args` are the columns it needs.
fn overload(name: &'static str, args: &mut Vec<Bound>) -> Result<(Recomputed, DataType, Option<String>), Refusal> {
    let double_type = |function| (function, DataType::Float64, None);
    Ok(match name {
        "string_agg" | "group_concat" | "listagg" => {
            let mut given = std::mem::take(args).into_iter();
            let (Some(text), separator, None) = (given.next(), given.next(), given.next()) else {
                return Err(Refusal::new(format!("{name} takes a text and a separator")));
            };
            let separator = match separator {
                None => Some(",".to_owned()),
                Some(separator) if separator.is_null() => None,
                Some(separator) => Some(separator.as_text().map(str::to_owned).ok_or_else(|| {
                    Refusal::new(format!("the separator of {name} is a constant: write it as a text"))
                })?),
            };
            let text = text.settled()?;
            let text = if text.data_type == DataType::Utf8 { text } else { cast(text, &DataType::Utf8)? };
            args.push(text);
            (Recomputed::StringAgg(separator), DataType::Utf8, None)
        }
        "list" | "array_agg" => {
            let value = taken(name, args)?;
            let item = arrow::datatypes::Field::new_list_field(value.data_type.clone(), true);
            (Recomputed::List, DataType::List(item.into()), value.duckdb_type.map(|t| format!("{t}[]")))
        }
        "first" | "arbitrary" | "last" | "any_value" => {
            let value = taken(name, args)?;
            let function = match name {
                "last" => Recomputed::Last,
                "any_value" => Recomputed::AnyValue,
                _ => Recomputed::First,
            };
            (function, value.data_type, value.duckdb_type)
        }
        "arg_min" | "argmin" | "min_by" | "arg_max" | "argmax" | "max_by" | "arg_min_null" | "arg_max_null" => {
            let [value, by]: [Bound; 2] = std::mem::take(args).try_into().map_err(|_| {
                Refusal::new(format!("{name} takes a value and what to compare: write {name}(value, by)"))
            })?;
            let (value, by) = (value.settled()?, compared(name, by.settled()?)?);
            let extreme = ArgExtreme { greatest: name.contains("max"), nulls: name.ends_with("null") };
            let types = (value.data_type.clone(), value.duckdb_type.clone());
            args.extend([value, by]);
            (Recomputed::ArgExtreme(extreme), types.0, types.1)
        }
        "mode" => {
            let value = compared(name, taken(name, args)?)?;
            no_float(name, &value.data_type)?;
            (Recomputed::Mode, value.data_type, value.duckdb_type)
        }
        "histogram" => {
            let value = compared(name, taken(name, args)?)?;
            no_float(name, &value.data_type)?;
            let key_type = value.duckdb_type.clone().unwrap_or_else(|| type_name(&value.data_type));
            let duckdb_type = format!("MAP({key_type}, UBIGINT)");
            let field = tidegate_core::duckdb_type::field(name, &duckdb_type, true);
            let field = field.map_err(|error| Refusal::new(error.to_string()))?;
            (Recomputed::Histogram, field.data_type().clone(), Some(duckdb_type))
        }
        "median" | "quantile" | "quantile_disc" | "quantile_cont" | "#quantile_disc" | "#quantile_cont" => {
            quantile(name, args)?
        }
        "product" => {
            *args = vec![double(name, one(name, std::mem::take(args))?)?];
            double_type(Recomputed::Product)
        }
        "bit_and" | "bit_or" | "bit_xor" => {
            let value = taken(name, args)?;
            // HUGEINT beyond 38 digits is no DECIMAL(38,0), and NOT of one can be.
            if !value.data_type.is_integer() {
                return Err(refuse_type(name, &value.data_type));
            }
            let bits = match name {
                "bit_and" => Bits::And,
                "bit_or" => Bits::Or,
                _ => Bits::Xor,
            };
            (Recomputed::Bits(bits), value.data_type, None)
        }
        "entropy" => {
            let value = compared(name, taken(name, args)?)?;
            no_float(name, &value.data_type)?;
            double_type(Recomputed::Entropy)
        }
        _ => match (spread(name), regression(name)) {
            (Some(spread), _) => {
                *args = vec![double(name, one(name, std::mem::take(args))?)?];
                double_type(Recomputed::Spread(spread))
            }
            (None, Some(regression)) => {
                let [y, x]: [Bound; 2] = std::mem::take(args)
                    .try_into()
                    .map_err(|_| Refusal::new(format!("{name} takes two numbers: write {name}(y, x)")))?;
                args.extend([double(name, y)?, double(name, x)?]);
                let counts = regression == Regression::Count;
                let return_type = if counts { DataType::UInt32 } else { DataType::Float64 };
                (Recomputed::Regression(regression), return_type, None)
            }
            (None, None) => return Err(super::unknown_function(name)),
        },
    })
}

fn spread(name: &str) -> Option<Spread> {
    Some(match name {
        "stddev" | "stddev_samp" => Spread::StddevSamp,
        "stddev_pop" => Spread::StddevPop,
        "variance" | "var_samp" => Spread::VarSamp,
        "var_pop" => Spread::VarPop,
        "sem" => Spread::Sem,
        "skewness" => Spread::Skewness,
        "kurtosis" => Spread::Kurtosis,
        "kurtosis_pop" => Spread::KurtosisPop,
        _ => return None,
    })
}

fn regression(name: &str) -> Option<Regression> {
    Some(match name {
        "covar_pop" => Regression::CovarPop,
        "covar_samp" => Regression::CovarSamp,
        "corr" => Regression::Corr,
        "regr_avgx" => Regression::AvgX,
        "regr_avgy" => Regression::AvgY,
        "regr_count" => Regression::Count,
        "regr_slope" => Regression::Slope,
        "regr_intercept" => Regression::Intercept,
        "regr_r2" => Regression::R2,
        "regr_sxx" => Regression::Sxx,
        "regr_syy" => Regression::Syy,
        "regr_sxy" => Regression::Sxy,
        _ => return None,
    })
}

/// Medians and quantiles. Integers are interpolated as DOUBLE, dates as TIMESTAMP; what cannot be
/// interpolated has a median even so.
fn quantile(name: &'static str, args: &mut Vec<Bound>) -> Result<(Recomputed, DataType, Option<String>), Refusal> {
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
        let list = DataType::List(arrow::datatypes::Field::new_list_field(item, true).into());
        (function, list, item_type.map(|t| format!("{t}[]")))
    } else {
        (function, item, item_type)
    })
}

/// What DuckDB does to a quantile that its values do not tell: one ORDER BY key with DESC turns the point
/// around, whatever the key is, and DISTINCT tells integers apart before they become DOUBLE.
/// `types` are those of the argument, as it is written and as it is computed with.
fn check_quantile(
    name: &str,
    params: &AggregateFunctionParams,
    types: Option<(&DataType, &DataType)>,
) -> Result<(), Refusal> {
    let shown = name.trim_start_matches('#');
    if matches!(params.order_by.as_slice(), [sort] if !sort.asc) && !matches!(name, "median" | "quantile") {
        return Err(Refusal::new(format!(
            "{shown} with ORDER BY … DESC cannot be maintained: leave the order out, which counts the point from \
             the least value"
        )));
    }
    match types {
        Some((written @ (DataType::Int64 | DataType::UInt64 | DataType::Decimal128(38, 0)), DataType::Float64))
            if params.distinct =>
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
        (None, Expr::Literal(datafusion_common::ScalarValue::Decimal128(Some(units), _, scale), _)) => {
            let scale = u8::try_from(*scale).map_err(|_| outside())?;
            let one = 10i128.checked_pow(u32::from(scale)).ok_or_else(outside)?;
            (Point::Exact { units: *units, scale }, (0..=one).contains(units))
        }
        (None, Expr::Literal(datafusion_common::ScalarValue::Float64(Some(double)), _)) => {
            (Point::Double(double.to_bits()), (0.0..=1.0).contains(double))
        }
        _ => return Err(outside()),
    };
    if inside { Ok(point) } else { Err(outside()) }
}

fn one(name: &str, args: Vec<Bound>) -> Result<Bound, Refusal> {
    let [argument]: [Bound; 1] =
        args.try_into().map_err(|_| Refusal::new(format!("{name} takes one argument: write one {name} for each")))?;
    argument.settled()
}

/// The only argument, settled, which stays in `args`.
fn taken(name: &str, args: &mut Vec<Bound>) -> Result<Bound, Refusal> {
    let argument = one(name, std::mem::take(args))?;
    args.push(argument.clone());
    Ok(argument)
}

fn boolean(name: &str, argument: Bound) -> Result<Bound, Refusal> {
    if argument.data_type == DataType::Boolean { Ok(argument) } else { Err(refuse_type(name, &argument.data_type)) }
}

fn double(name: &str, argument: Bound) -> Result<Bound, Refusal> {
    let argument = argument.settled()?;
    if !is_numeric(&argument.data_type) {
        return Err(refuse_type(name, &argument.data_type));
    }
    cast(argument, &DataType::Float64)
}

/// A value that is compared with others.
fn compared(place: &str, value: Bound) -> Result<Bound, Refusal> {
    if value.kind == Kind::Json || value.data_type.is_nested() || matches!(value.data_type, DataType::Interval(_)) {
        return Err(refuse_type(place, &value.data_type));
    }
    Ok(value)
}

/// DuckDB tells every NaN from every other in these.
fn no_float(name: &str, data_type: &DataType) -> Result<(), Refusal> {
    if data_type.is_floating() { Err(refuse_type(name, data_type)) } else { Ok(()) }
}

fn refuse_type(name: &str, data_type: &DataType) -> Refusal {
    Refusal::new(format!(
        "{} of {} cannot be maintained: cast the argument",
        name.trim_start_matches('#'),
        type_name(data_type)
    ))
}
