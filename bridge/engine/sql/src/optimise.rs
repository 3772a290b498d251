//! The optimiser: a few rules that move filters down, find join keys and drop columns. Nothing
//! that rewrites scalar expressions runs, so that their values stay those of
//! [`semantics`](crate::semantics); constants have been folded there.

use std::sync::Arc;

use datafusion_expr::LogicalPlan;
use datafusion_optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::{Optimizer, OptimizerContext, OptimizerRule};

use crate::error::Refusal;

/// Optimises a bound plan. Its schema stays.
pub(crate) fn optimise(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    let plan = run(plan, vec![Arc::new(EliminateCrossJoin::new()), Arc::new(PushDownFilter::new())], 4)?;
    // Keys are extracted once, when all conditions have arrived at their joins: a join whose keys
    // are IS NOT DISTINCT FROM must not get keys that are = later.
    let plan = run(plan, vec![Arc::new(ExtractEquijoinPredicate::new())], 1)?;
    run(plan, vec![Arc::new(OptimizeProjections::new())], 4)
}

fn run(
    plan: LogicalPlan,
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
    passes: u8,
) -> Result<LogicalPlan, Refusal> {
    let context = OptimizerContext::new().with_skip_failing_rules(false).with_max_passes(passes);
    Ok(Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})?)
}
