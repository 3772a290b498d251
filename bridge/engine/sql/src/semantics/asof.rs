//! ASOF joins: the node that the circuit reads.

use std::fmt;
use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, DFSchemaRef, JoinType};
use datafusion_expr::logical_plan::{Extension, Filter, build_join_schema};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// Each row of the left side with the nearest row of the right side that has equal keys. The columns are those of
/// the left side and then those of the right side. Of several nearest rows the last one in the order of all
/// columns is taken. A NULL, in the keys or in what is ordered, is near nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsOf {
    /// The side whose rows are answered.
    pub left: LogicalPlan,
    /// The side in which the nearest row is sought.
    pub right: LogicalPlan,
    /// Pairs of keys, over the left side and over the right side, of equal types; none where all rows are looked at.
    pub on: Vec<(Expr, Expr)>,
    /// What is ordered, over the left side and over the right side, of one type.
    pub order: (Expr, Expr),
    /// Where the row of the right side lies.
    pub nearest: Nearest,
    /// What becomes of left rows that meet none.
    pub unmet: Unmet,
    /// Left rows meet a row only if all of these are true.
    pub conditions: Vec<Expr>,
    schema: DFSchemaRef,
}

/// Where a row of the right side lies, seen from the left one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nearest {
    /// `left >= right`.
    AtOrBefore,
    /// `left > right`.
    Before,
    /// `left <= right`.
    AtOrAfter,
    /// `left < right`.
    After,
}

/// What becomes of rows that meet none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unmet {
    /// They are left out.
    Dropped,
    /// They stay, with NULLs for the columns of the right side.
    Kept,
}

impl Nearest {
    /// The comparison of the left side with the right one.
    pub fn symbol(self) -> &'static str {
        match self {
            Nearest::AtOrBefore => ">=",
            Nearest::Before => ">",
            Nearest::AtOrAfter => "<=",
            Nearest::After => "<",
        }
    }
}

impl Unmet {
    fn join_type(self) -> JoinType {
        match self {
            Unmet::Dropped => JoinType::Inner,
            Unmet::Kept => JoinType::Left,
        }
    }
}

/// What both sides are compared by.
pub(super) struct Keys {
    pub on: Vec<(Expr, Expr)>,
    pub order: (Expr, Expr),
    pub nearest: Nearest,
    pub conditions: Vec<Expr>,
}

impl AsOf {
    /// Reads an extension node of this crate's plans.
    pub fn of(node: &Extension) -> Option<&AsOf> {
        node.node.as_any().downcast_ref()
    }

    /// The columns of the join.
    pub fn columns(&self) -> &DFSchema {
        &self.schema
    }

    pub(super) fn plan(
        left: LogicalPlan,
        right: LogicalPlan,
        keys: Keys,
        unmet: Unmet,
    ) -> datafusion_common::Result<LogicalPlan> {
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &unmet.join_type())?);
        let Keys { on, order, nearest, conditions } = keys;
        let node = AsOf { left, right, on, order, nearest, unmet, conditions, schema };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn with_left(&self, left: LogicalPlan) -> datafusion_common::Result<LogicalPlan> {
        let keys = Keys {
            on: self.on.clone(),
            order: self.order.clone(),
            nearest: self.nearest,
            conditions: self.conditions.clone(),
        };
        AsOf::plan(left, self.right.clone(), keys, self.unmet)
    }
}

/// A filter over an ASOF join, with the conditions on the left side alone below it: rows of that side neither come
/// nor go by joining, and which row they meet depends on themselves. `None` where the filter is over anything else.
pub(crate) fn push_down(plan: &LogicalPlan) -> Option<datafusion_common::Result<Transformed<LogicalPlan>>> {
    let LogicalPlan::Filter(filter) = plan else { return None };
    let LogicalPlan::Extension(extension) = filter.input.as_ref() else { return None };
    let node = AsOf::of(extension)?;
    let left = node.left.schema();
    let (below, above): (Vec<Expr>, Vec<Expr>) =
        split_conjunction_owned(filter.predicate.clone()).into_iter().partition(|condition| {
            let columns = condition.column_refs();
            !columns.is_empty() && columns.iter().all(|column| left.has_column(column))
        });
    let Some(below) = below.into_iter().reduce(Expr::and) else {
        return Some(Ok(Transformed::no(plan.clone())));
    };
    let filtered = || {
        let left = LogicalPlan::Filter(Filter::try_new(below, Arc::new(node.left.clone()))?);
        let joined = node.with_left(left)?;
        Ok(Transformed::yes(match above.into_iter().reduce(Expr::and) {
            Some(above) => LogicalPlan::Filter(Filter::try_new(above, Arc::new(joined))?),
            None => joined,
        }))
    };
    Some(filtered())
}

impl PartialOrd for AsOf {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for AsOf {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// The left keys, the right ones, what is ordered on the left and on the right, and the conditions.
    fn expressions(&self) -> Vec<Expr> {
        let lefts = self.on.iter().map(|(left, _)| left);
        let rights = self.on.iter().map(|(_, right)| right);
        lefts.chain(rights).chain([&self.order.0, &self.order.1]).chain(&self.conditions).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsofJoin")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> datafusion_common::Result<Self> {
        let mut exprs = exprs.into_iter();
        let lefts: Vec<Expr> = exprs.by_ref().take(self.on.len()).collect();
        let rights: Vec<Expr> = exprs.by_ref().take(self.on.len()).collect();
        let (Some(before), Some(after)) = (exprs.next(), exprs.next()) else {
            return datafusion_common::internal_err!("an ASOF join orders both of its sides");
        };
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return datafusion_common::internal_err!("an ASOF join has two sides");
        };
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &self.unmet.join_type())?);
        Ok(AsOf {
            left,
            right,
            on: lefts.into_iter().zip(rights).collect(),
            order: (before, after),
            nearest: self.nearest,
            unmet: self.unmet,
            conditions: exprs.collect(),
            schema,
        })
    }

    /// Which of several nearest rows is met depends on all columns of the right side.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let left = output_columns.iter().copied().filter(|column| *column < width).collect();
        Some(vec![left, (0..self.right.schema().fields().len()).collect()])
    }
}
