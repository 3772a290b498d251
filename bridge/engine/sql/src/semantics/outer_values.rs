//! The distinct values of outer rows that a subquery reads.
//!
//! Each is compared by a key: plain values are their own, of lists and structs it is their bytes. The values are
//! the keys' columns and then those of the lists and structs, of which there is one for each combination of keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::BinaryArray;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::logical_plan::{Distinct, Projection};
use datafusion_expr::{Expr, LogicalPlan, Operator};

use super::attach::{Attach, Mode};
use super::bound::Bound;
use super::call::{Answer, Arguments, call};
use super::compare::{canonical, compare};
use super::lateral::{called_expr, next_level};
use super::top::TopRows;
use crate::error::Refusal;
use crate::explain::type_name;

/// The values, and which outer columns they are.
pub(super) struct OuterValues {
    plan: LogicalPlan,
    /// The outer columns, with the names of their keys.
    read: Vec<(usize, DataType, Column)>,
    /// The column for each outer column that is read.
    columns: Vec<Option<Column>>,
}

impl OuterValues {
    /// The values of these rows that a plan reads.
    pub(super) fn read_by(plan: &LogicalPlan, rows: &LogicalPlan) -> Result<OuterValues, Refusal> {
        let outer = rows.schema();
        let qualifier = next_level(plan);
        let name = |name: String| Column::new(Some(qualifier.clone()), name);
        let mut columns: Vec<Option<Column>> = vec![None; outer.fields().len()];
        let (mut read, mut keys, mut carried) = (Vec::new(), Vec::new(), Vec::new());
        for column in columns_read(plan, outer)? {
            let data_type = outer.field(column).data_type();
            let value = Expr::Column(Column::from(outer.qualified_field(column)));
            let value_name = name(format!("#o{column}"));
            let key_name = if data_type.is_nested() { name(format!("#k{column}")) } else { value_name.clone() };
            if data_type.is_nested() {
                carried.push(called_expr(value.clone(), &value_name));
            }
            keys.push(called_expr(key(value, data_type), &key_name));
            read.push((column, data_type.clone(), key_name));
            if let Some(place) = columns.get_mut(column) {
                *place = Some(value_name);
            }
        }
        let is_plain = carried.is_empty();
        let exprs = keys.into_iter().chain(carried).collect();
        let input = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rows.clone()))?);
        let plan = if is_plain {
            LogicalPlan::Distinct(Distinct::All(Arc::new(input)))
        } else {
            let partition_by = read.iter().map(|(_, _, key)| Expr::Column(key.clone())).collect();
            TopRows { partition_by, order_by: Vec::new(), skip: 0, fetch: 1, input }.plan()
        };
        Ok(OuterValues { plan, read, columns })
    }

    /// What is compared, as columns of [`attach`](OuterValues::attach)'s answer.
    pub(super) fn keys(&self) -> Vec<Column> {
        self.read.iter().map(|(_, _, key)| key.clone()).collect()
    }

    /// That an outer row has the values; `outer` is a column of it.
    pub(super) fn conditions(&self, outer: impl Fn(usize) -> Expr) -> Result<Vec<Expr>, Refusal> {
        let conditions = self.read.iter().map(|(column, data_type, name)| {
            let key_type = if data_type.is_nested() { DataType::Binary } else { data_type.clone() };
            let bound = |expr: Expr| Bound::new(expr, key_type.clone());
            let (value, key) = (key(outer(*column), data_type), Expr::Column(name.clone()));
            Ok(compare(Operator::IsNotDistinctFrom, bound(value), bound(key))?.expr)
        });
        conditions.collect()
    }

    /// The values, each with the rows of a plan that reads them.
    pub(super) fn attach(self, outer: &DFSchema, plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
        let mode = Mode::Values { keys: self.read.len() };
        Attach { outer, columns: self.columns, mode }.attach(self.plan, plan)
    }
}

/// What a value is compared by.
fn key(value: Expr, data_type: &DataType) -> Expr {
    if data_type.is_nested() {
        call("#key", key_kernel, vec![value], DataType::Binary).expr
    } else {
        canonical(value, data_type)
    }
}

/// The bytes of values: equal for the same value and no other.
fn key_kernel(args: &Arguments) -> Answer {
    let (values, constant) = args.array(0);
    let failed = |_| "the key of a nested value could not be computed".to_owned();
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())]);
    let rows = converter.map_err(failed)?.convert_columns(&[Arc::clone(values)]).map_err(failed)?;
    let row = |row: usize| rows.row(if constant { 0 } else { row });
    Ok(Arc::new((0..args.rows).map(|r| Some(row(r).as_ref().to_vec())).collect::<BinaryArray>()))
}

/// The columns of the outer row that a plan reads. Floats must not be computed with: of two zeros that are equal only
/// one is left.
fn columns_read(plan: &LogicalPlan, outer: &DFSchema) -> Result<BTreeSet<usize>, Refusal> {
    let (mut read, mut computed) = (BTreeSet::new(), BTreeSet::new());
    plan.apply(|node| {
        for expr in node.expressions() {
            expr.apply(|expr| match expr {
                Expr::OuterReferenceColumn(_, column) => {
                    let column = outer.maybe_index_of_column(column);
                    read.extend(column);
                    computed.extend(column);
                    Ok(TreeNodeRecursion::Continue)
                }
                Expr::ScalarFunction(call) if call.func.name() == "canonical" => {
                    if let [Expr::OuterReferenceColumn(_, column)] = call.args.as_slice() {
                        read.extend(outer.maybe_index_of_column(column));
                        return Ok(TreeNodeRecursion::Jump);
                    }
                    Ok(TreeNodeRecursion::Continue)
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    for column in &read {
        let field = outer.field(*column);
        let data_type = field.data_type();
        let name = field.name().trim_start_matches('#');
        let has_key = match data_type {
            DataType::Interval(_) => false,
            nested if nested.is_nested() => RowConverter::supports_fields(&[SortField::new(nested.clone())]),
            _ => true,
        };
        if !has_key {
            return Err(Refusal::new(format!(
                "a subquery that puts rows together for each value of {name}, which is {}, cannot be maintained \
                 incrementally: join its rows first, and aggregate or choose among them outside, by a key",
                type_name(data_type)
            )));
        }
        if data_type.is_floating() && computed.contains(column) {
            return Err(Refusal::new(format!(
                "a subquery that puts rows together and computes with {name}, which is {}, cannot be maintained \
                 incrementally: compare with it only, or cast it to DECIMAL before",
                type_name(data_type)
            )));
        }
    }
    Ok(read)
}
