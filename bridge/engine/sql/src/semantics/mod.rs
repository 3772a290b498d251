//! What SQL means: DuckDB's types and values, not those of the planner below us.
//!
//! The planner hands over a plan whose operators and functions are placeholders without types
//! ([`placeholder`]). [`plan`] walks it bottom-up and binds every expression ([`bind`]) the way
//! DuckDB's binder would: it picks the overload, adds the casts, and puts a [`call`] with a
//! kernel of ours in the place of everything whose values the planner's own functions would
//! compute differently. What is not on the list is refused. Nothing coerces types after this.

mod aggregate;
mod arithmetic;
mod bind;
mod bound;
mod call;
mod cast;
mod coercion;
mod compare;
mod date;
mod function;
mod letter_case;
mod number;
mod placeholder;
mod plan;
mod text;
mod text_parse;
mod text_print;

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr, visit_expressions};

pub use aggregate::{AggregateCall, AggregateKind, aggregate_call};
pub(crate) use cast::cast_expr;
pub(crate) use placeholder::{aggregate as aggregate_placeholder, scalar as scalar_placeholder};
pub(crate) use plan::bind_plan;

use crate::error::Refusal;
use crate::names::did_you_mean;

/// Functions that are known to be refused, with the reason.
const VOLATILE: &[&str] = &[
    "random",
    "uuid",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "setseed",
    "now",
    "current_timestamp",
    "get_current_timestamp",
    "transaction_timestamp",
    "current_date",
    "today",
    "current_time",
    "get_current_time",
    "localtime",
    "localtimestamp",
    "current_localtime",
    "current_localtimestamp",
    "current_user",
    "user",
    "session_user",
    "current_setting",
    "getenv",
    "nextval",
    "currval",
    "txid_current",
    "version",
    "age",
];

const AGGREGATES_OF_DUCKDB: &[&str] = &[
    "string_agg",
    "group_concat",
    "listagg",
    "list",
    "array_agg",
    "median",
    "mode",
    "quantile",
    "quantile_cont",
    "quantile_disc",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "variance",
    "var_pop",
    "var_samp",
    "first",
    "last",
    "any_value",
    "arg_max",
    "arg_min",
    "max_by",
    "min_by",
    "bool_and",
    "bool_or",
    "approx_count_distinct",
    "histogram",
    "product",
    "corr",
    "covar_pop",
    "covar_samp",
    "bit_and",
    "bit_or",
    "bit_xor",
    "count_if",
    "countif",
    "fsum",
    "kahan_sum",
    "favg",
    "skewness",
    "kurtosis",
    "entropy",
    "count_star",
];

/// Whether a name is that of a supported aggregate.
pub(crate) fn is_aggregate(name: &str) -> bool {
    AggregateKind::by_name(name).is_some()
}

/// Whether a name is that of a supported scalar function.
pub(crate) fn is_scalar(name: &str) -> bool {
    function::NAMES.contains(&name)
}

/// Whether an expression of the query holds an aggregate.
pub(crate) fn has_aggregate(expr: &Expr) -> bool {
    visit_expressions(expr, |e| match e {
        Expr::Function(f) if is_aggregate(&f.name.to_string().trim_matches('"').to_ascii_lowercase()) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// The refusal of a function that is not supported.
pub(crate) fn unknown_function(name: &str) -> Refusal {
    if VOLATILE.contains(&name) {
        return Refusal::new(format!(
            "{name}() has another value each time it is asked, so a view over it would never be up to date: \
             leave it out and compare with it when you query the view"
        ));
    }
    if AGGREGATES_OF_DUCKDB.contains(&name) {
        return Refusal::new(format!(
            "the aggregate {name} cannot be maintained incrementally: use count, sum, avg, min or max, \
             or compute it when you query the view"
        ));
    }
    let known = function::NAMES.iter().copied().chain(AggregateKind::ALL.iter().map(|k| k.name()));
    let hint = did_you_mean(name, known.filter(|n| !n.starts_with('#')));
    Refusal::new(format!(
        "the function {name} cannot be maintained: it is not one of the functions supported here{}",
        hint.replace(": check its spelling", "")
    ))
}
