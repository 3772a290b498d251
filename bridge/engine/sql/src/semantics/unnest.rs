//! Rows made of lists: the node that UNNEST, VALUES and `range` in FROM become, and UNNEST in a select list.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, DFSchemaRef, DataFusionError, ScalarValue};
use datafusion_expr::logical_plan::{EmptyRelation, Extension, Filter, Projection};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};
use tidegate_core::schema::{duckdb_type, with_duckdb_type};

use super::bind::{bind, bind_settled, place};
use super::bound::Bound;
use super::plan::{bind_plan, named};
use crate::error::Refusal;
use crate::explain::type_name;

/// The call that stands for UNNEST in an expression until it is bound.
pub(crate) const CALL: &str = "#unnest";

/// What the columns of lists in FROM are qualified by below their alias.
const QUALIFIER: &str = "#list";

/// Each row of the input as often as its longest list has items, with the items as further columns; NULL where a
/// list is shorter. A list that is NULL has no items.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unnest {
    /// Where the rows come from.
    pub input: LogicalPlan,
    /// What becomes a column.
    pub items: Vec<Item>,
    /// What becomes of a row without items.
    pub itemless: Itemless,
    /// The columns of the input that pass; the items' columns come after them.
    pub kept: Vec<usize>,
    schema: DFSchemaRef,
}

/// A column that an [`Unnest`] makes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Item {
    /// The items of a list, an expression over the input.
    Of(Expr),
    /// Their numbers, from 1.
    Number,
}

/// What becomes of a row whose lists are all empty or NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Itemless {
    /// It is left out.
    Dropped,
    /// It stays, with NULL as its items.
    Padded,
}

impl Unnest {
    /// Reads an extension node of this crate's plans.
    pub fn of(node: &Extension) -> Option<&Unnest> {
        node.node.as_any().downcast_ref()
    }

    /// The rows of lists alone, as FROM has them: lists without types yet, and the names of the columns; where
    /// there is one name more than lists it is that of the items' numbers.
    pub(crate) fn unbound(lists: Vec<Expr>, names: &[String]) -> Result<LogicalPlan, DataFusionError> {
        let one_row = EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) };
        let mut items: Vec<Item> = lists.into_iter().map(Item::Of).collect();
        items.resize(names.len(), Item::Number);
        let names = names.iter().map(|name| Column::new(Some(QUALIFIER), name)).collect();
        Ok(Unnest::try_new(LogicalPlan::EmptyRelation(one_row), items, names, Itemless::Dropped)?.plan())
    }

    pub(super) fn try_new(
        input: LogicalPlan,
        items: Vec<Item>,
        names: Vec<Column>,
        itemless: Itemless,
    ) -> Result<Unnest, DataFusionError> {
        let kept = (0..input.schema().fields().len()).collect();
        Unnest::keeping(input, items, names, itemless, kept)
    }

    fn keeping(
        input: LogicalPlan,
        items: Vec<Item>,
        names: Vec<Column>,
        itemless: Itemless,
        kept: Vec<usize>,
    ) -> Result<Unnest, DataFusionError> {
        let below = input.schema();
        let passing = kept.iter().map(|column| {
            let (qualifier, field) = below.qualified_field(*column);
            Ok((qualifier.cloned(), Arc::clone(field)))
        });
        let made = items.iter().zip(names).map(|(item, name)| {
            let field = item.field(&name.name, below)?;
            Ok((name.relation, Arc::new(field)))
        });
        let fields = passing.chain(made).collect::<Result<Vec<_>, DataFusionError>>()?;
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(Unnest { input, items, itemless, kept, schema })
    }

    pub(super) fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The same with a row of NULLs where there are no items.
    pub(super) fn padded(self) -> Unnest {
        Unnest { itemless: Itemless::Padded, ..self }
    }

    /// What its own columns are called.
    pub(super) fn names(&self) -> Vec<Column> {
        self.schema.columns().split_off(self.kept.len())
    }

    /// The lists.
    pub fn lists(&self) -> impl Iterator<Item = &Expr> {
        self.items.iter().filter_map(|item| match item {
            Item::Of(list) => Some(list),
            Item::Number => None,
        })
    }
}

impl Item {
    fn field(&self, name: &str, schema: &DFSchema) -> Result<Field, DataFusionError> {
        let Item::Of(list) = self else { return Ok(Field::new(name, DataType::Int64, true)) };
        let (_, list) = list.to_field(schema)?;
        let item = Field::new(name, item_type(list.data_type()).unwrap_or(list.data_type()).clone(), true);
        // `INTEGER[]` is a list of INTEGER, `INTEGER[3]` one of three.
        let written = duckdb_type(&list).filter(|name| name.ends_with(']')).and_then(|name| name.rsplit_once('['));
        Ok(match written {
            Some((item_type, _)) => with_duckdb_type(item, item_type),
            None => item,
        })
    }
}

/// The type of a list's items.
pub(crate) fn item_type(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

/// Binds the lists of a node.
pub(super) fn bind_unnest(node: &Unnest) -> Result<LogicalPlan, Refusal> {
    let input = bind_plan(node.input.clone())?;
    let item = |item: &Item| match item {
        Item::Of(list) => Ok(Item::Of(bind_list(list, input.schema())?)),
        Item::Number => Ok(Item::Number),
    };
    let items = node.items.iter().map(item).collect::<Result<Vec<_>, Refusal>>()?;
    Ok(Unnest::try_new(input, items, node.names(), node.itemless)?.plan())
}

fn bind_list(list: &Expr, schema: &DFSchema) -> Result<Expr, Refusal> {
    self::list(bind(list, schema)?).map_err(|refusal| refusal.or_at(place(list)))
}

fn list(bound: Bound) -> Result<Expr, Refusal> {
    if bound.is_null() {
        return Ok(Expr::Literal(ScalarValue::try_from(DataType::new_list(DataType::Int32, true))?, None));
    }
    if item_type(&bound.data_type).is_some() {
        return Ok(bound.expr);
    }
    let way_out = match bound.data_type {
        DataType::Struct(_) => "select its fields with struct_extract",
        DataType::Map(..) => "write map_entries, map_keys or map_values of it",
        _ => "leave it as it is",
    };
    Err(Refusal::new(format!("UNNEST takes a list, and this is {}: {way_out}", type_name(&bound.data_type))))
}

/// Whether an expression holds UNNEST.
pub(super) fn is_in(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(argument(expr).is_some())).unwrap_or(false)
}

/// The argument of UNNEST.
fn argument(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == CALL => call.args.first(),
        _ => None,
    }
}

/// The refusal of UNNEST where no rows can be made.
pub(super) fn refused() -> Refusal {
    Refusal::new(
        "UNNEST in this place cannot be maintained incrementally: write it in the select list of a subquery, or in FROM",
    )
}

/// A projection over a bound input, under the names of `schema`. Lists of UNNEST in it are spread out first, all
/// of them side by side.
pub(super) fn project(input: LogicalPlan, exprs: Vec<Expr>, schema: &DFSchema) -> Result<LogicalPlan, Refusal> {
    let (input, exprs) = if exprs.iter().any(is_in) { spread(input, exprs)? } else { (input, exprs) };
    let bound = schema
        .iter()
        .zip(&exprs)
        .map(|((qualifier, field), expr)| Ok(named(bind_settled(expr, input.schema())?.expr, qualifier, field.name())));
    let bound = bound.collect::<Result<Vec<_>, Refusal>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(bound, Arc::new(input))?))
}

fn spread(input: LogicalPlan, exprs: Vec<Expr>) -> Result<(LogicalPlan, Vec<Expr>), Refusal> {
    let mut lists: Vec<Expr> = Vec::new();
    let column = |position: usize| Column::new(Some(QUALIFIER), format!("#i{position}"));
    let exprs = exprs.into_iter().map(|expr| {
        let spread = expr.transform_up(|expr| {
            let Some(list) = argument(&expr) else { return Ok(Transformed::no(expr)) };
            let position = lists.iter().position(|known| known == list).unwrap_or(lists.len());
            if position == lists.len() {
                lists.push(list.clone());
            }
            Ok(Transformed::yes(Expr::Column(column(position))))
        });
        spread.map(|spread| spread.data)
    });
    let exprs = exprs.collect::<Result<Vec<_>, DataFusionError>>()?;
    let is_own = |list: &Expr| list.column_refs().iter().any(|c| c.relation == column(0).relation);
    if lists.iter().any(is_own) {
        return Err(Refusal::new("UNNEST in UNNEST cannot be maintained: write the inner one in a subquery"));
    }
    let names = (0..lists.len()).map(column).collect();
    let lists = lists.iter().map(|list| Ok(Item::Of(bind_list(list, input.schema())?)));
    let items = lists.collect::<Result<Vec<_>, Refusal>>()?;
    Ok((Unnest::try_new(input, items, names, Itemless::Dropped)?.plan(), exprs))
}

/// Leaves out of the rows that are repeated what nobody reads, above all the lists themselves.
pub(crate) fn narrow(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    let narrowed = plan.transform_up(|node| match &node {
        LogicalPlan::Projection(projection) => Ok(match narrowed(projection)? {
            Some(plan) => Transformed::yes(plan),
            None => Transformed::no(node),
        }),
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(narrowed.data)
}

fn narrowed(projection: &Projection) -> Result<Option<LogicalPlan>, DataFusionError> {
    let mut filters: Vec<&Expr> = Vec::new();
    let mut below = projection.input.as_ref();
    while let LogicalPlan::Filter(filter) = below {
        filters.push(&filter.predicate);
        below = &filter.input;
    }
    let LogicalPlan::Extension(node) = below else { return Ok(None) };
    let Some(unnest) = Unnest::of(node) else { return Ok(None) };
    let columns = projection.expr.iter().chain(filters.iter().copied()).flat_map(Expr::column_refs);
    let read: HashSet<usize> = columns.filter_map(|column| unnest.schema.maybe_index_of_column(column)).collect();
    let passing = unnest.kept.iter().enumerate().filter(|(position, _)| read.contains(position));
    let kept: Vec<usize> = passing.map(|(_, column)| *column).collect();
    if kept.len() == unnest.kept.len() {
        return Ok(None);
    }
    let (input, items) = (unnest.input.clone(), unnest.items.clone());
    let mut plan = Unnest::keeping(input, items, unnest.names(), unnest.itemless, kept)?.plan();
    for predicate in filters.into_iter().rev() {
        plan = LogicalPlan::Filter(Filter::try_new(predicate.clone(), Arc::new(plan))?);
    }
    Ok(Some(LogicalPlan::Projection(Projection::try_new(projection.expr.clone(), Arc::new(plan))?)))
}

impl PartialOrd for Unnest {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Unnest {
    fn name(&self) -> &str {
        "Unnest"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.lists().cloned().collect()
    }

    /// What does not read the items may be asked before there are any.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.names().into_iter().map(|column| column.name).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unnest")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> datafusion_common::Result<Self> {
        let mut exprs = exprs.into_iter();
        let items = self.items.iter().map(|item| match item {
            Item::Of(list) => Item::Of(exprs.next().unwrap_or_else(|| list.clone())),
            Item::Number => Item::Number,
        });
        let items = items.collect();
        let input = inputs.pop().unwrap_or_else(|| self.input.clone());
        let is_narrower = input.schema().fields().len() != self.input.schema().fields().len();
        let kept = if is_narrower { (0..input.schema().fields().len()).collect() } else { self.kept.clone() };
        Unnest::keeping(input, items, self.names(), self.itemless, kept)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.iter().filter_map(|column| self.kept.get(*column).copied()).collect()])
    }
}
