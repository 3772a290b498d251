//! What SQL means: DuckDB's types and values, not those of the planner below us.
//!
//! The planner hands over a plan whose operators and functions are placeholders without types
//! ([`placeholder`]). [`plan`] walks it bottom-up and binds every expression ([`bind`]) the way
//! DuckDB's binder would: it picks the overload, adds the casts, and puts a [`call`] with a
//! kernel of ours in the place of everything whose values the planner's own functions would
//! compute differently. What is not on the list is refused. Nothing coerces types after this.

mod aggregate;
mod arithmetic;
mod asof;
mod asof_bind;
mod attach;
mod bind;
mod bound;
mod branches;
mod call;
mod cast;
mod coercion;
mod compare;
mod correlation;
mod date;
mod duckdb_aggregates;
mod function;
mod grouping;
mod lateral;
mod lent;
mod letter_case;
mod linear;
mod number;
mod only;
mod outer_values;
mod placeholder;
mod plan;
mod quantile;
mod recomputed;
mod recomputed_bind;
mod recomputed_udf;
mod recursion;
mod set;
mod subquery;
mod text;
mod text_parse;
mod text_print;
mod top;
mod unnest;
mod values;
mod volatile;
mod window;
mod window_bind;
mod window_frame;
mod window_udf;

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::Expr;

pub use aggregate::{AggregateCall, AggregateKind, aggregate_call};
pub(crate) use asof::push_down as push_into_asof;
pub use asof::{AsOf, Nearest, Unmet};
pub(crate) use cast::cast_expr;
pub(crate) use duckdb_aggregates::way_out as aggregate_way_out;
pub use duckdb_aggregates::{AGGREGATES_OF_DUCKDB, Standing};
pub(crate) use grouping::expand as expand_grouping_sets;
pub(crate) use lent::{MARK, WRITTEN, lent_text, zone_rules};
pub(crate) use placeholder::{aggregate as aggregate_placeholder, scalar as scalar_placeholder};
pub(crate) use plan::bind_plan;
pub use recomputed::{
    ArgExtreme, Bits, Point, Quantile, Recomputed, RecomputedCall, Regression, Spread, recomputed_call,
};
pub(crate) use recursion::round_name;
pub use recursion::{Recursion, RecursiveUnion, RoundTable};
pub use top::TopRows;
pub(crate) use unnest::{CALL as UNNEST, item_type, narrow as narrow_unnests};
pub use unnest::{Item, Itemless, Unnest};
pub(crate) use volatile::reason as volatile_reason;
pub use window::{Frame, FrameBound, FrameUnits, WindowCall, WindowKind, window_call};
pub(crate) use window::{OVER, is_window, may_ignore_nulls, over_name};

use crate::error::Refusal;
use crate::names::did_you_mean;
use crate::walk;

/// The aggregate that is written as the list of a group's values, of which DuckDB computes the estimate.
pub(crate) const COUNTED_BY_HASHES: &str = "approx_count_distinct";

/// Whether a name is that of a supported aggregate.
pub(crate) fn is_aggregate(name: &str) -> bool {
    name == COUNTED_BY_HASHES
        || AggregateKind::by_name(name).is_some()
        || recomputed_bind::known(name).is_some()
        || grouping::is_grouping(name)
}

/// Whether a name is that of a supported scalar function.
pub(crate) fn is_scalar(name: &str) -> bool {
    function::NAMES.contains(&name) || volatile::reason(name).is_none() && lent::is_lent(name)
}

/// Whether an expression of the query holds an aggregate.
pub(crate) fn has_aggregate(expr: &Expr) -> bool {
    walk::expressions(expr, |e| match e {
        Expr::Function(f) if is_aggregate(&f.name.to_string().trim_matches('"').to_ascii_lowercase()) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// The refusal of a function that is not supported.
pub(crate) fn unknown_function(name: &str) -> Refusal {
    if let Some(reason) = volatile::reason(name) {
        return Refusal::new(reason);
    }
    if let Some(way_out) = duckdb_aggregates::way_out(name) {
        return Refusal::new(format!("the aggregate {name} cannot be maintained incrementally: {way_out}"));
    }
    let known = function::NAMES.iter().copied().chain(AggregateKind::ALL.iter().map(|k| k.name()));
    let known = known.chain(recomputed_bind::NAMES.iter().copied());
    let hint = did_you_mean(name, known.filter(|n| !n.starts_with('#')));
    Refusal::new(format!(
        "the function {name} cannot be maintained: it is not one of the functions supported here{}",
        hint.replace(": check its spelling", "")
    ))
}
