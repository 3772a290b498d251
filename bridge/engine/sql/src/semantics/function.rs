//! The functions and operators there are, by name.

use datafusion_expr::{Expr, Operator};

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;

use super::arithmetic::{self, Operation};
use super::bind::{condition, searched_case};
use super::bound::Bound;
use super::{cast, compare, date, lent, number, text, unnest, values};
use crate::error::Refusal;

/// Every function, and the operators as `#…`.
pub(super) const NAMES: &[&str] = &[
    "#add",
    "#subtract",
    "#multiply",
    "#divide",
    "#integer_divide",
    "#modulo",
    "#negate",
    "#plus",
    "#concat",
    "#eq",
    "#not_eq",
    "#lt",
    "#lt_eq",
    "#gt",
    "#gt_eq",
    "#distinct_from",
    "#not_distinct_from",
    "#between",
    "#in",
    "#like",
    "#ilike",
    "#cast",
    "#interval",
    "#condition",
    "#clock_value",
    "#asof",
    "#unnest",
    "#values",
    // conditional
    "coalesce",
    "ifnull",
    "nullif",
    "if",
    "greatest",
    "least",
    // numbers
    "abs",
    "ceil",
    "ceiling",
    "floor",
    "round",
    "trunc",
    "sign",
    "sqrt",
    "mod",
    "isnan",
    "isinf",
    "isfinite",
    // texts
    "length",
    "char_length",
    "character_length",
    "strlen",
    "upper",
    "ucase",
    "lower",
    "lcase",
    "trim",
    "ltrim",
    "rtrim",
    "substring",
    "substr",
    "left",
    "right",
    "replace",
    "concat",
    "concat_ws",
    "strpos",
    "instr",
    "position",
    "contains",
    "starts_with",
    "prefix",
    "ends_with",
    "suffix",
    "repeat",
    "lpad",
    "rpad",
    "split_part",
    // dates
    "year",
    "month",
    "day",
    "dayofmonth",
    "quarter",
    "week",
    "weekofyear",
    "dayofweek",
    "isodow",
    "dayofyear",
    "isoyear",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "epoch",
    "date_part",
    "datepart",
    "date_trunc",
    "datetrunc",
    "date_diff",
    "datediff",
    "last_day",
];

/// Binds a call by name. What our kernels do not compute, DuckDB does.
pub(super) fn bind(name: &str, args: Vec<Bound>) -> Result<Bound, Refusal> {
    if !NAMES.contains(&name) {
        return lent::bind(name, args);
    }
    own(name, args.clone()).or_else(|refusal| lent::bind(name, args).map_err(|_| refusal))
}

/// Binds a call of a kernel of ours.
fn own(name: &str, args: Vec<Bound>) -> Result<Bound, Refusal> {
    match name {
        "#add" => two(name, args).and_then(|(a, b)| arithmetic::bind(Operation::Add, a, b)),
        "#subtract" => two(name, args).and_then(|(a, b)| arithmetic::bind(Operation::Subtract, a, b)),
        "#multiply" => two(name, args).and_then(|(a, b)| arithmetic::bind(Operation::Multiply, a, b)),
        "#divide" => two(name, args).and_then(|(a, b)| arithmetic::bind(Operation::Divide, a, b)),
        "#integer_divide" => two(name, args).and_then(|(a, b)| arithmetic::bind(Operation::IntegerDivide, a, b)),
        "#modulo" | "mod" => two(name, args).and_then(|(a, b)| arithmetic::bind(Operation::Modulo, a, b)),
        "#negate" => one(name, args).and_then(arithmetic::negate),
        "#plus" => one(name, args),
        "#eq" => two(name, args).and_then(|(a, b)| compare::compare(Operator::Eq, a, b)),
        "#not_eq" => two(name, args).and_then(|(a, b)| compare::compare(Operator::NotEq, a, b)),
        "#lt" => two(name, args).and_then(|(a, b)| compare::compare(Operator::Lt, a, b)),
        "#lt_eq" => two(name, args).and_then(|(a, b)| compare::compare(Operator::LtEq, a, b)),
        "#gt" => two(name, args).and_then(|(a, b)| compare::compare(Operator::Gt, a, b)),
        "#gt_eq" => two(name, args).and_then(|(a, b)| compare::compare(Operator::GtEq, a, b)),
        "#distinct_from" => two(name, args).and_then(|(a, b)| compare::compare(Operator::IsDistinctFrom, a, b)),
        "#not_distinct_from" => two(name, args).and_then(|(a, b)| compare::compare(Operator::IsNotDistinctFrom, a, b)),
        "#between" => compare::between(args),
        "#in" => compare::is_in(args),
        "#cast" => {
            let (value, target) = two(name, args)?;
            let target = target.as_text().unwrap_or_default();
            let data_type = tidegate_core::duckdb_type::arrow_type(target).map_err(|e| Refusal::new(e.to_string()))?;
            if target == "UUID" || target == "JSON" {
                return Err(Refusal::new(format!("a cast to {target} is not supported: keep the value as VARCHAR")));
            }
            cast::cast(value, &data_type)
        }
        "#clock_value" => {
            let (time, sql) = two(name, args)?;
            lent::of_clock(time, sql.as_text().unwrap_or_default())
        }
        "#interval" => interval(&args),
        "#unnest" => Err(unnest::refused()),
        "#values" => values::bind(args),
        "#condition" => Ok(Bound::new(condition(one(name, args)?)?, DataType::Boolean)),
        "coalesce" | "ifnull" => coalesce(name, args),
        "nullif" => {
            let (value, other) = two(name, args)?;
            let equal = compare::compare(Operator::Eq, value.clone(), other)?;
            searched_case(vec![equal.expr], vec![Bound::null(), value.settled()?])
        }
        "if" => {
            let [test, yes, no]: [Bound; 3] = exactly(name, args)?;
            searched_case(vec![condition(test)?], vec![yes, no])
        }
        "greatest" => extreme(name, args, Operator::GtEq),
        "least" => extreme(name, args, Operator::LtEq),
        _ => match number::bind(name, args)? {
            Ok(bound) => Ok(bound),
            Err(args) => match text::bind(name, args)? {
                Ok(bound) => Ok(bound),
                Err(args) => date::bind(name, args),
            },
        },
    }
}

/// What a group of functions answers: the bound call, or the arguments back when the name is not
/// one of its own.
pub(super) type Tried = Result<Result<Bound, Vec<Bound>>, Refusal>;

/// Exactly `N` arguments.
pub(super) fn exactly<const N: usize>(name: &str, args: Vec<Bound>) -> Result<[Bound; N], Refusal> {
    let given = args.len();
    args.try_into().map_err(|_| Refusal::new(format!("{name} takes {N} arguments here, not {given}")))
}

pub(super) fn one(name: &str, args: Vec<Bound>) -> Result<Bound, Refusal> {
    exactly::<1>(name, args).map(|[a]| a)
}

pub(super) fn two(name: &str, args: Vec<Bound>) -> Result<(Bound, Bound), Refusal> {
    exactly::<2>(name, args).map(|[a, b]| (a, b))
}

fn coalesce(name: &str, args: Vec<Bound>) -> Result<Bound, Refusal> {
    if args.is_empty() || (name == "ifnull" && args.len() != 2) {
        return Err(Refusal::new(format!("{name} needs more arguments")));
    }
    let tests = args[..args.len() - 1].iter().map(|arg| {
        let value = arg.clone().settled()?;
        Ok(Expr::IsNotNull(Box::new(value.expr)))
    });
    let tests = tests.collect::<Result<Vec<_>, Refusal>>()?;
    searched_case(tests, args)
}

/// The greatest or least of the arguments that are not NULL.
fn extreme(name: &str, args: Vec<Bound>, better: Operator) -> Result<Bound, Refusal> {
    let (exprs, data_type) = super::coercion::unify(args)?;
    let mut exprs = exprs.into_iter().map(|expr| Bound::new(expr, data_type.clone()));
    let mut best = exprs.next().ok_or_else(|| Refusal::new(format!("{name} needs arguments")))?;
    for next in exprs {
        let wins = compare::compare(better, best.clone(), next.clone())?.expr;
        let tests = vec![Expr::IsNull(Box::new(next.expr.clone())), Expr::IsNull(Box::new(best.expr.clone())), wins];
        best = searched_case(tests, vec![best.clone(), next.clone(), best, next])?;
    }
    Ok(best)
}

fn interval(args: &[Bound]) -> Result<Bound, Refusal> {
    let mut numbers = args.iter().map(|arg| arg.as_text().and_then(|t| t.parse::<i64>().ok()));
    let (Some(Some(months)), Some(Some(days)), Some(Some(micros))) = (numbers.next(), numbers.next(), numbers.next())
    else {
        return Err(Refusal::new("an interval has months, days and microseconds"));
    };
    let too_long = || Refusal::new("the interval is too long: write it in days or months");
    let nanos = micros.checked_mul(1000).ok_or_else(too_long)?;
    let (months, days) = (months.try_into().map_err(|_| too_long())?, days.try_into().map_err(|_| too_long())?);
    let value = ScalarValue::new_interval_mdn(months, days, nanos);
    debug_assert!(matches!(value.data_type(), DataType::Interval(_)));
    Ok(Bound::constant(value))
}
