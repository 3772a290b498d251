//! The optimiser: a few rules that move filters down, find join keys and drop columns. Nothing
//! that rewrites scalar expressions runs, so that their values stay those of
//! [`semantics`](crate::semantics); constants have been folded there.

use std::sync::Arc;

use datafusion_expr::LogicalPlan;
use datafusion_optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::{Optimizer, OptimizerContext};

use crate::error::Refusal;

/// Optimises a bound plan. Its schema stays.
pub(crate) fn optimise(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(OptimizeProjections::new()),
    ]);
    let context = OptimizerContext::new().with_skip_failing_rules(false).with_max_passes(4);
    Ok(optimizer.optimize(plan, &context, |_, _| {})?)
}
