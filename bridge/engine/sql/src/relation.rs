//! Lists in FROM, for the planner below us, which would ask for their types too early.

use datafusion_common::{DFSchema, Result};
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_sql::sqlparser::ast::{TableAlias, TableFactor};

use crate::semantics::Unnest;

/// Plans UNNEST as [`syntax`](crate::syntax) has prepared it: with an alias that names all its columns.
#[derive(Debug)]
pub(crate) struct Lists;

impl RelationPlanner for Lists {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::UNNEST { alias: Some(alias), array_exprs, .. } = relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let lists = array_exprs.into_iter().map(|list| context.sql_to_expr(list, &DFSchema::empty()));
        let lists = lists.collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = alias.columns.into_iter().map(|column| column.name.value).collect();
        let plan = Unnest::unbound(lists, &names)?;
        let alias = TableAlias { columns: Vec::new(), ..alias };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, Some(alias)))))
    }
}
