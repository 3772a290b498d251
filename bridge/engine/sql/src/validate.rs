//! The last check before the circuit: only nodes that can be maintained, keys only of types that
//! have one encoding a value.

use arrow::datatypes::DataType;
use datafusion_common::JoinType;
use datafusion_expr::expr::Sort;
use datafusion_expr::logical_plan::Distinct;
use datafusion_expr::{ExprSchemable, LogicalPlan};

use crate::error::Refusal;
use crate::explain::type_name;
use crate::names::Relation;
use crate::semantics::{
    AsOf, Recursion, RecursiveUnion, RoundTable, TopRows, Unnest, aggregate_call, item_type, recomputed_call,
    window_call,
};
use crate::threshold::Threshold;

/// Refuses a plan that the circuit could not maintain.
pub(crate) fn validate(plan: &LogicalPlan) -> Result<(), Refusal> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let is_known =
                Relation::of(scan.source.as_ref()).is_some() || RoundTable::of(scan.source.as_ref()).is_some();
            if !is_known || !scan.filters.is_empty() || scan.fetch.is_some() {
                return Err(Refusal::new(format!("the table {} cannot be read this way", scan.table_name)));
            }
        }
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Union(_) => {
        }
        LogicalPlan::EmptyRelation(node) if node.produce_one_row => {}
        LogicalPlan::Distinct(Distinct::All(input)) => {
            for field in input.schema().fields() {
                key_type("DISTINCT", field.data_type())?;
            }
        }
        LogicalPlan::Aggregate(node) => {
            for expr in &node.group_expr {
                key_type("GROUP BY", &expr.get_type(node.input.schema())?)?;
            }
            for expr in &node.aggr_expr {
                if recomputed_call(expr).is_some() {
                    continue;
                }
                let call = aggregate_call(expr).ok_or_else(|| {
                    Refusal::new(format!(
                        "the aggregate {expr} cannot be maintained incrementally: use count, sum, avg, min or max"
                    ))
                })?;
                if let (true, Some(argument)) = (call.distinct, call.argument) {
                    key_type("DISTINCT in an aggregate", &argument.get_type(node.input.schema())?)?;
                }
            }
        }
        LogicalPlan::Join(node) => {
            if matches!(node.join_type, JoinType::LeftMark | JoinType::RightMark) || node.null_aware {
                return Err(Refusal::new(format!(
                    "{} JOIN cannot be maintained incrementally: write another join",
                    node.join_type
                )));
            }
            for (left, _) in &node.on {
                key_type("a join key", &left.get_type(node.left.schema())?)?;
            }
        }
        LogicalPlan::Window(node) => {
            for expr in &node.window_expr {
                let call = window_call(expr).ok_or_else(|| {
                    Refusal::new(format!("the window function {expr} cannot be maintained: write the view without it"))
                })?;
                for key in call.partition_by {
                    key_type("PARTITION BY", &key.get_type(node.input.schema())?)?;
                }
                order_types(call.order_by, &node.input)?;
                if let (true, Some(argument)) = (call.distinct, call.argument) {
                    key_type("DISTINCT in an aggregate", &argument.get_type(node.input.schema())?)?;
                }
            }
        }
        LogicalPlan::Extension(node) if TopRows::of(node).is_some() => {
            if let Some(top) = TopRows::of(node) {
                for key in &top.partition_by {
                    key_type("PARTITION BY", &key.get_type(top.input.schema())?)?;
                }
                order_types(&top.order_by, &top.input)?;
            }
        }
        LogicalPlan::Extension(node) if AsOf::of(node).is_some() => {
            if let Some(asof) = AsOf::of(node) {
                for (key, _) in &asof.on {
                    key_type("a join key", &key.get_type(asof.left.schema())?)?;
                }
                key_type("the inequality of an ASOF JOIN", &asof.order.0.get_type(asof.left.schema())?)?;
            }
        }
        LogicalPlan::Extension(node) if Recursion::of(node).is_some() => {
            if let Some(recursion) = Recursion::of(node) {
                recursion.check()?;
                let keys = recursion.columns.fields().iter().filter(|_| recursion.union == RecursiveUnion::Distinct);
                for field in keys {
                    key_type("UNION", field.data_type())?;
                }
            }
        }
        LogicalPlan::Extension(node) if Threshold::of(node).is_some() => {}
        LogicalPlan::Extension(node) if Unnest::of(node).is_some() => {
            for list in Unnest::of(node).into_iter().flat_map(Unnest::lists) {
                let input = plan.inputs().into_iter().next().map_or(plan.schema(), LogicalPlan::schema);
                let list = list.get_type(input)?;
                if item_type(&list).is_none() {
                    return Err(Refusal::new(format!("UNNEST takes a list, and this is {}", type_name(&list))));
                }
            }
        }
        other => {
            let name = other.display().to_string();
            let name = name.split([':', ' ']).next().unwrap_or_default().to_owned();
            return Err(Refusal::new(format!(
                "the operator {name} cannot be maintained incrementally: write the view without it"
            )));
        }
    }
    plan.inputs().into_iter().try_for_each(validate)
}

fn order_types(keys: &[Sort], input: &LogicalPlan) -> Result<(), Refusal> {
    keys.iter().try_for_each(|key| {
        let data_type = key.expr.get_type(input.schema())?;
        // Zeros of both signs are equal, which the order of a nested value does not say.
        if data_type.is_nested() && holds(&data_type, &DataType::is_floating) {
            return Err(refused("ORDER BY", &data_type));
        }
        key_type("ORDER BY", &data_type)
    })
}

/// Intervals that are equal (1 month and 30 days) are not the same, and a group shows one of them.
fn key_type(place: &str, data_type: &DataType) -> Result<(), Refusal> {
    if holds(data_type, &|part| matches!(part, DataType::Interval(_))) {
        return Err(refused(place, data_type));
    }
    Ok(())
}

fn refused(place: &str, data_type: &DataType) -> Refusal {
    Refusal::new(format!(
        "{place} by a value of type {} cannot be maintained: use its parts or leave it out",
        type_name(data_type)
    ))
}

/// Whether a type, or one of the types in it, is such.
fn holds(data_type: &DataType, is: &dyn Fn(&DataType) -> bool) -> bool {
    match data_type {
        DataType::List(item) | DataType::FixedSizeList(item, _) | DataType::Map(item, _) => holds(item.data_type(), is),
        DataType::Struct(fields) => fields.iter().any(|field| holds(field.data_type(), is)),
        plain => is(plain),
    }
}
