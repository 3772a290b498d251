//! GROUPING SETS, ROLLUP and CUBE, and GROUPING(…), which tells their rows apart.
//!
//! They stay one node until the plan is optimised, so that its input is optimised once; then each set becomes an
//! aggregate of its own over that input, and their rows are put together. The compiler finds equal
//! inputs and keeps one.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Column, DFSchema, DataFusionError, Result, ScalarValue, internal_err};
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::logical_plan::{Aggregate, Projection, Union};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, ExprSchemable, GroupingSet, LogicalPlan, Signature, Volatility,
};

use super::bind::bind_settled;
use super::bound::{Bound, Kind};
use super::compare::canonical;
use crate::error::Refusal;

/// The most sets of one GROUP BY: each has state of its own.
const SETS_MAX: usize = 64;

/// Whether a name is that of GROUPING.
pub(super) fn is_grouping(name: &str) -> bool {
    matches!(name, "grouping" | "grouping_id")
}

/// `GROUPING(…)`: a BIGINT with a bit for each argument, the first one highest, set where the row is
/// not grouped by it.
pub(super) fn bind_call(call: &AggregateFunction, schema: &DFSchema) -> Result<Bound, Refusal> {
    let params = &call.params;
    if params.args.is_empty() || params.args.len() > 63 || params.distinct || params.filter.is_some() {
        return Err(Refusal::new("GROUPING takes up to 63 expressions of GROUP BY and nothing else"));
    }
    let bound = |arg| {
        let bound = bind_settled(arg, schema)?;
        Ok(canonical(bound.expr, &bound.data_type))
    };
    let args = params.args.iter().map(bound).collect::<Result<Vec<_>, Refusal>>()?;
    let function = Arc::new(AggregateUDF::from(Grouping { signature: Signature::user_defined(Volatility::Immutable) }));
    let call = AggregateFunction::new_udf(function, args, false, None, Vec::new(), None);
    Ok(Bound::new(Expr::AggregateFunction(call), DataType::Int64))
}

/// The sets with every expression bound and under its column's name. `column` binds an expression that
/// is output at that position.
pub(super) fn bind_sets(
    sets: &GroupingSet,
    column: impl Fn(usize, &Expr) -> Result<(Expr, Kind), Refusal>,
) -> Result<Expr, Refusal> {
    let GroupingSet::GroupingSets(sets) = sets else {
        return Err(Refusal::new("ROLLUP and CUBE are grouping sets by now"));
    };
    if sets.len() > SETS_MAX {
        return Err(Refusal::new(format!(
            "{} grouping sets are more than {SETS_MAX}, each of which has state of its own: write fewer",
            sets.len()
        )));
    }
    let written = GroupingSet::GroupingSets(sets.clone());
    let mut columns: Vec<(&Expr, Expr)> = Vec::new();
    for (position, expr) in written.distinct_expr().into_iter().enumerate() {
        let (bound, kind) = column(position, expr)?;
        if kind != Kind::Plain {
            return Err(Refusal::new("a grouping set by a UUID or JSON column: cast it to VARCHAR"));
        }
        columns.push((expr, bound));
    }
    let bound = |expr: &Expr| columns.iter().find(|(written, _)| *written == expr).map(|(_, bound)| bound.clone());
    let sets = sets.iter().map(|set| set.iter().filter_map(bound).collect()).collect();
    Ok(Expr::GroupingSet(GroupingSet::GroupingSets(sets)))
}

/// The plan with aggregates of one set each, and GROUPING told.
pub(crate) fn expand(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    let expanded = plan.transform_up(|plan| match plan {
        LogicalPlan::Aggregate(node)
            if matches!(node.group_expr.as_slice(), [Expr::GroupingSet(_)])
                || node.aggr_expr.iter().any(|expr| grouping_args(expr).is_some()) =>
        {
            let expanded = expand_node(&node).map_err(|refusal| DataFusionError::External(Box::new(refusal)))?;
            Ok(Transformed::yes(expanded))
        }
        plan => Ok(Transformed::no(plan)),
    });
    Ok(expanded.data()?)
}

fn expand_node(node: &Aggregate) -> Result<LogicalPlan, Refusal> {
    let (sets, has_id) = match node.group_expr.as_slice() {
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => (sets.clone(), true),
        plain => (vec![plain.to_vec()], false),
    };
    let columns: Vec<Expr> = match node.group_expr.as_slice() {
        [Expr::GroupingSet(sets)] => sets.distinct_expr().into_iter().cloned().collect(),
        plain => plain.to_vec(),
    };
    let parts = sets.iter().map(|set| part(node, &columns, set, has_id)).collect::<Result<Vec<_>, _>>()?;
    let plan = match <[LogicalPlan; 1]>::try_from(parts) {
        Ok([part]) => part,
        Err(parts) => LogicalPlan::Union(Union::try_new_with_loose_types(parts.into_iter().map(Arc::new).collect())?),
    };
    // The union's columns are counted; here they get the node's names.
    let named = node.schema.iter().enumerate().map(|(position, (qualifier, field))| {
        let column = Expr::Column(Column::from(plan.schema().qualified_field(position)));
        column.alias_qualified(qualifier.cloned(), field.name())
    });
    let named: Vec<Expr> = named.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(named, Arc::new(plan))?))
}

/// The rows of one set, their columns called by their positions.
fn part(node: &Aggregate, columns: &[Expr], set: &[Expr], has_id: bool) -> Result<LogicalPlan, Refusal> {
    let mut groups: Vec<Expr> = Vec::new();
    for expr in set {
        if !groups.contains(expr) {
            groups.push(expr.clone());
        }
    }
    let calls: Vec<Expr> = node.aggr_expr.iter().filter(|expr| grouping_args(expr).is_none()).cloned().collect();
    let mut exprs: Vec<Expr> = Vec::with_capacity(node.schema.fields().len());
    let counted = groups.len();
    // Something must be counted where nothing else is.
    let calls_or_count = if groups.is_empty() && calls.is_empty() { vec![super::aggregate::rows()] } else { calls };
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::clone(&node.input), groups.clone(), calls_or_count)?);
    let column = |position: usize| Expr::Column(Column::from(plan.schema().qualified_field(position)));
    for expr in columns {
        exprs.push(match groups.iter().position(|group| group == expr) {
            Some(position) => column(position),
            None => Expr::Literal(ScalarValue::try_from(&expr.get_type(node.input.schema())?)?, None),
        });
    }
    if has_id {
        let id = node.schema.field(columns.len()).data_type();
        exprs.push(Expr::Literal(ScalarValue::new_zero(id)?, None));
    }
    let mut next = counted;
    for expr in &node.aggr_expr {
        exprs.push(match grouping_args(expr) {
            None => {
                next += 1;
                column(next - 1)
            }
            Some(args) => Expr::Literal(ScalarValue::Int64(Some(bits(args, columns, &groups)?)), None),
        });
    }
    let named = exprs.into_iter().enumerate().map(|(position, expr)| expr.alias(format!("#{position}"))).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(named, Arc::new(plan))?))
}

fn bits(args: &[Expr], columns: &[Expr], groups: &[Expr]) -> Result<i64, Refusal> {
    let same = |column: &Expr, arg: &Expr| plain(column) == plain(arg);
    args.iter().try_fold(0, |bits, arg| {
        if !columns.iter().any(|column| same(column, arg)) {
            return Err(Refusal::new("an argument of GROUPING is not an expression of GROUP BY: name one of these"));
        }
        Ok(bits << 1 | i64::from(!groups.iter().any(|group| same(group, arg))))
    })
}

fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => plain(&alias.expr),
        expr => expr,
    }
}

/// The arguments of a call of GROUPING.
fn grouping_args(expr: &Expr) -> Option<&[Expr]> {
    match plain(expr) {
        Expr::AggregateFunction(call) if call.func.inner().as_any().is::<Grouping>() => Some(&call.params.args),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Grouping {
    signature: Signature,
}

impl AggregateUDFImpl for Grouping {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "grouping"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("GROUPING is told before the circuit")
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        internal_err!("GROUPING is told before the circuit")
    }
}
