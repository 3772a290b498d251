//! Recomputed aggregates bound: their names, their overloads and their DuckDB types.

use arrow::datatypes::DataType;
use datafusion_common::DFSchema;
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::{Expr, SortExpr};

use super::aggregate::{self, AggregateKind};
use super::bind::{bind, bind_condition, bind_settled};
use super::bound::{Bound, Kind};
use super::cast::cast;
use super::coercion::is_numeric;
use super::quantile::{check_quantile, quantile};
use super::recomputed::{ArgExtreme, Bits, Recomputed, Regression, Spread};
use super::recomputed_udf::Function;
use crate::error::Refusal;
use crate::explain::type_name;

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
    let args = params.args.iter().map(|arg| bind(arg, schema)).collect::<Result<Vec<_>, _>>()?;
    let filter = params.filter.as_ref().map(|f| bind_condition(f, schema)).transpose()?;
    bind_bound(name, args, params.distinct, filter, &params.order_by, schema)
}

/// The same over bound arguments and a bound filter; the order is not bound yet.
pub(super) fn bind_bound(
    name: &'static str,
    mut args: Vec<Bound>,
    distinct: bool,
    filter: Option<Expr>,
    order: &[SortExpr],
    schema: &DFSchema,
) -> Result<Bound, Refusal> {
    let as_kind = |kind, argument: Bound, filter| {
        let expr = aggregate::bind(kind, vec![argument], distinct, filter)?;
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
        check_quantile(name, order, distinct, written.as_ref().zip(computed))?;
    }
    let mut order_by = Vec::with_capacity(order.len());
    for sort in order {
        let key = compared(name, bind_settled(&sort.expr, schema)?)?;
        if distinct && !args.iter().any(|arg| arg.expr == key.expr) {
            return Err(Refusal::new(format!(
                "{name}(DISTINCT …) is ordered by an expression that is not its argument: order by the argument"
            )));
        }
        order_by.push(SortExpr::new(key.expr, sort.asc, sort.nulls_first));
    }
    if distinct {
        args = args.into_iter().map(|arg| compared("DISTINCT in an aggregate", arg)).collect::<Result<_, _>>()?;
    }
    let args = args.into_iter().map(|arg| arg.expr).collect();
    let function = Function::new(function, name, return_type.clone(), duckdb_type);
    Ok(Bound::new(function.call(args, distinct, filter, order_by), return_type))
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
pub(super) fn compared(place: &str, value: Bound) -> Result<Bound, Refusal> {
    if value.kind == Kind::Json || value.data_type.is_nested() || matches!(value.data_type, DataType::Interval(_)) {
        return Err(refuse_type(place, &value.data_type));
    }
    Ok(value)
}

/// DuckDB tells every NaN from every other in these.
fn no_float(name: &str, data_type: &DataType) -> Result<(), Refusal> {
    if data_type.is_floating() { Err(refuse_type(name, data_type)) } else { Ok(()) }
}

pub(super) fn refuse_type(name: &str, data_type: &DataType) -> Refusal {
    Refusal::new(format!(
        "{} of {} cannot be maintained: cast the argument",
        name.trim_start_matches('#'),
        type_name(data_type)
    ))
}
