//! A subquery that stands for one value, where nothing in it shows that it has one row at most.

use std::sync::Arc;

use datafusion_common::Column;
use datafusion_expr::logical_plan::Aggregate;
use datafusion_expr::{Expr, LogicalPlan};

use super::recomputed::Recomputed;
use super::recomputed_udf::Function;
use crate::error::Refusal;

/// One row with the first column of the plan's only row, or with NULL where it has none. DuckDB fails where it has
/// several, and so does the step in which they come to be.
pub(super) fn only_row(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    let (qualifier, field) = plan.schema().qualified_field(0);
    let duckdb_type = tidegate_core::schema::duckdb_type(field).map(str::to_owned);
    let function = Function::new(Recomputed::Only, "only", field.data_type().clone(), duckdb_type);
    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    let call = function.call(vec![column], false, None, Vec::new()).alias(format!("only({})", field.name()));
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), Vec::new(), vec![call])?))
}
