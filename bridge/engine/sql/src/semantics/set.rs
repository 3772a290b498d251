//! EXCEPT and INTERSECT: the distinct rows of the left side that have no equal row on the right, or
//! have one. NULLs are equal here. With ALL the copies of a row are numbered first, so that each
//! meets the copy with its number.

use std::sync::Arc;

use datafusion_common::{Column, JoinConstraint, NullEquality};
use datafusion_expr::logical_plan::{Distinct, Join, Projection, SubqueryAlias, Window};
use datafusion_expr::{Expr, LogicalPlan};

use super::bound::Bound;
use super::coercion::common;
use super::compare::canonical;
use super::plan::{named, part};
use super::window_bind;
use crate::error::Refusal;

/// Which copies of a row meet which.
#[derive(Clone, Copy)]
enum Copies {
    /// There is one.
    One,
    /// Those with the same number.
    Numbered,
}

/// Binds a set operation. Columns meet in one type each, as those of a UNION do.
pub(super) fn operation(node: Join) -> Result<LogicalPlan, Refusal> {
    let (left, copies) = match Arc::unwrap_or_clone(node.left) {
        // The copies of distinct rows need no numbers, ALL or not.
        LogicalPlan::Distinct(Distinct::All(left)) => (Arc::unwrap_or_clone(left), Copies::One),
        left => (left, Copies::Numbered),
    };
    let (left, left_columns) = part(left)?;
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
        let plan = match copies {
            Copies::One => plan,
            Copies::Numbered => numbered(plan)?,
        };
        Ok::<_, Refusal>(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), alias)?))
    };
    let left = side(left, left_columns, "#left")?;
    let left = match copies {
        Copies::One => LogicalPlan::Distinct(Distinct::All(Arc::new(left))),
        Copies::Numbered => left,
    };
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

/// The rows with the number of each among its equals.
fn numbered(input: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
    let numbers = window_bind::row_numbers(columns)?.alias("#n");
    Ok(LogicalPlan::Window(Window::try_new(vec![numbers], Arc::new(input))?))
}
