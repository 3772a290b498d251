//! The optimiser: a few rules that move filters down, find join keys and drop columns. Nothing
//! that rewrites scalar expressions runs, so that their values stay those of
//! [`semantics`](crate::semantics); constants have been folded there.

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule};

use crate::error::Refusal;
use crate::semantics::push_into_asof;

/// Optimises a bound plan. Its schema stays.
pub(crate) fn optimise(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    let plan = run(plan, vec![Arc::new(EliminateCrossJoin::new()), Arc::new(PushDown(PushDownFilter::new()))], 4)?;
    // Keys are extracted once, when all conditions have arrived at their joins: a join whose keys
    // are IS NOT DISTINCT FROM must not get keys that are = later.
    let plan = run(plan, vec![Arc::new(ExtractEquijoinPredicate::new())], 1)?;
    run(plan, vec![Arc::new(OptimizeProjections::new())], 4)
}

/// Pushes filters down, but never below an aggregate that answers a row for no input. Of such an aggregate no
/// column is known below it, and the rule within takes conditions that read no column for ones that may
/// go there: `HAVING 1 = 2` would leave the row that it takes away.
#[derive(Debug)]
struct PushDown(PushDownFilter);

impl OptimizerRule for PushDown {
    fn name(&self) -> &str {
        "push_down"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> datafusion_common::Result<Transformed<LogicalPlan>> {
        if let Some(pushed) = push_into_asof(&plan) {
            return pushed;
        }
        let stays = matches!(&plan, LogicalPlan::Filter(filter) if ends_in_total(&filter.input));
        if stays { Ok(Transformed::no(plan)) } else { self.0.rewrite(plan, config) }
    }
}

/// Whether there are only filters above an aggregate that answers a row for no input. Any grouping sets count as
/// such: the empty one may be among them.
fn ends_in_total(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => ends_in_total(&filter.input),
        LogicalPlan::Aggregate(node) => matches!(node.group_expr.as_slice(), [] | [Expr::GroupingSet(_)]),
        _ => false,
    }
}

fn run(
    plan: LogicalPlan,
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
    passes: u8,
) -> Result<LogicalPlan, Refusal> {
    let context = OptimizerContext::new().with_skip_failing_rules(false).with_max_passes(passes);
    Ok(Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})?)
}
