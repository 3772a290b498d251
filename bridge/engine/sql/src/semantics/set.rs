//! EXCEPT and INTERSECT: the distinct rows of the left side that have no equal row on the right, or
//! have one. NULLs are equal here.

use std::sync::Arc;

use datafusion_common::{Column, JoinConstraint, NullEquality};
use datafusion_expr::logical_plan::{Distinct, Join, Projection, SubqueryAlias};
use datafusion_expr::{Expr, LogicalPlan};

use super::bound::Bound;
use super::coercion::common;
use super::compare::canonical;
use super::plan::{named, part};
use crate::error::Refusal;

/// Binds a set operation. Columns meet in one type each, as those of a UNION do.
pub(super) fn operation(node: Join) -> Result<LogicalPlan, Refusal> {
    let LogicalPlan::Distinct(Distinct::All(left)) = Arc::unwrap_or_clone(node.left) else {
        return Err(Refusal::new(
            "EXCEPT ALL and INTERSECT ALL cannot be maintained incrementally: write EXCEPT or INTERSECT",
        ));
    };
    let (left, left_columns) = part(Arc::unwrap_or_clone(left))?;
    let (right, right_columns) = part(Arc::unwrap_or_clone(node.right))?;
    let types = left_columns.iter().zip(&right_columns).map(|(l, r)| common(&[l, r]));
    let types = types.collect::<Result<Vec<_>, _>>()?;
    let side = |input: LogicalPlan, columns: Vec<Bound>, alias: &str| {
        let exprs = columns
            .into_iter()
            .zip(&types)
            .enumerate()
            .map(|(i, (column, data_type))| Ok(canonical(column.to(data_type)?, data_type).alias(format!("c{i}"))));
        let exprs = exprs.collect::<Result<Vec<_>, Refusal>>()?;
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
        Ok::<_, Refusal>(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), alias)?))
    };
    let left = LogicalPlan::Distinct(Distinct::All(Arc::new(side(left, left_columns, "#left")?)));
    let right = side(right, right_columns, "#right")?;
    let on = left.schema().columns().into_iter().zip(right.schema().columns());
    let on = on.map(|(l, r)| (Expr::Column(l), Expr::Column(r))).collect();
    let joined = LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        node.join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?);
    let columns = node.schema.iter().enumerate().map(|(i, (qualifier, field))| {
        named(Expr::Column(Column::from(joined.schema().qualified_field(i))), qualifier, field.name())
    });
    let columns = columns.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(joined))?))
}
