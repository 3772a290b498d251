//! Every aggregate of DuckDB: how it is maintained, or why not and what to write instead. A test holds the
//! list against DuckDB's own.

/// How an aggregate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Kept as sums or counts: a change costs what the change is.
    Summed,
    /// Kept in the order of the values: a change costs what the change is, and a look-up.
    Sorted,
    /// Computed from all rows of a group that has changed.
    Recomputed,
    /// Refused, with the way out.
    Refused(&'static str),
    /// Not an aggregate without OVER.
    Window,
}

use Standing::{Recomputed, Refused, Sorted, Summed, Window};

const BY_VALUE: &str = "first(value ORDER BY by NULLS LAST), with DESC for the greatest";

/// Every function that DuckDB lists as an aggregate, by name.
pub const AGGREGATES_OF_DUCKDB: &[(&str, Standing)] = &[
    ("any_value", Recomputed),
    ("approx_count_distinct", Recomputed),
    ("approx_quantile", Refused("its answer is an estimate: use quantile_cont or quantile_disc")),
    ("approx_top_k", Refused("its answer is an estimate: use histogram, or count(*) by the value")),
    ("arbitrary", Recomputed),
    ("arg_max", Recomputed),
    ("arg_max_null", Recomputed),
    ("arg_max_nulls_last", Refused(BY_VALUE)),
    ("arg_min", Recomputed),
    ("arg_min_null", Recomputed),
    ("arg_min_nulls_last", Refused(BY_VALUE)),
    ("argmax", Recomputed),
    ("argmin", Recomputed),
    ("array_agg", Recomputed),
    ("avg", Summed),
    ("bit_and", Recomputed),
    ("bit_or", Recomputed),
    ("bit_xor", Recomputed),
    ("bitstring_agg", Refused("its type is BIT, which no target takes: use list(DISTINCT x ORDER BY x)")),
    ("bool_and", Sorted),
    ("bool_or", Sorted),
    ("corr", Recomputed),
    ("count", Summed),
    ("count_if", Summed),
    ("count_star", Refused("write count(*)")),
    ("countif", Summed),
    ("covar_pop", Recomputed),
    ("covar_samp", Recomputed),
    ("cume_dist", Window),
    ("dense_rank", Window),
    ("entropy", Recomputed),
    ("favg", Summed),
    ("fill", Refused("it interpolates: use last_value(x IGNORE NULLS) OVER (…), or lead and lag with IGNORE NULLS")),
    ("first", Recomputed),
    ("first_value", Window),
    ("fsum", Summed),
    ("group_concat", Recomputed),
    ("histogram", Recomputed),
    ("histogram_exact", Refused("use histogram and take the bins when you query the view")),
    ("kahan_sum", Summed),
    ("kurtosis", Recomputed),
    ("kurtosis_pop", Recomputed),
    ("lag", Window),
    ("last", Recomputed),
    ("last_value", Window),
    ("lead", Window),
    ("list", Recomputed),
    ("listagg", Recomputed),
    ("mad", Refused("join with a view of the medians and take the median of abs(x - median)")),
    ("max", Sorted),
    ("max_by", Recomputed),
    ("mean", Summed),
    ("median", Recomputed),
    ("min", Sorted),
    ("min_by", Recomputed),
    ("mode", Recomputed),
    ("nth_value", Window),
    ("ntile", Window),
    ("percent_rank", Window),
    ("product", Recomputed),
    ("quantile", Recomputed),
    ("quantile_cont", Recomputed),
    ("quantile_disc", Recomputed),
    ("rank", Window),
    ("rank_dense", Window),
    ("regr_avgx", Recomputed),
    ("regr_avgy", Recomputed),
    ("regr_count", Recomputed),
    ("regr_intercept", Recomputed),
    ("regr_r2", Recomputed),
    ("regr_slope", Recomputed),
    ("regr_sxx", Recomputed),
    ("regr_sxy", Recomputed),
    ("regr_syy", Recomputed),
    ("reservoir_quantile", Refused("its answer depends on chance: use quantile_cont or quantile_disc")),
    ("row_number", Window),
    ("sem", Recomputed),
    ("skewness", Recomputed),
    ("stddev", Recomputed),
    ("stddev_pop", Recomputed),
    ("stddev_samp", Recomputed),
    ("string_agg", Recomputed),
    ("sum", Summed),
    ("sum_no_overflow", Refused("it is DuckDB's own: use sum")),
    ("sumkahan", Summed),
    ("var_pop", Recomputed),
    ("var_samp", Recomputed),
    ("variance", Recomputed),
];

/// What to do instead of an aggregate that is refused.
pub(crate) fn way_out(name: &str) -> Option<&'static str> {
    AGGREGATES_OF_DUCKDB.iter().find(|(known, _)| *known == name).and_then(|(_, standing)| match standing {
        Refused(way_out) => Some(*way_out),
        Window => Some("it is a window function, which needs OVER (…)"),
        Summed | Sorted | Recomputed => None,
    })
}
