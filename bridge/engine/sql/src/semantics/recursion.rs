//! Recursive queries: the node, and how a UNION that reads its own rows becomes one.
//!
//! DuckDB computes such a query in rounds: the first round is what it starts with, and each further round is
//! the recursive term over the rows that the round before has added; with UNION those that were there before
//! are no additions. Where the term is linear, which [`linear`](super::linear) decides, this is a fixpoint of
//! the term over all rows, and that can be maintained.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion_common::{DFSchema, DFSchemaRef, TableReference};
use datafusion_expr::logical_plan::{Extension, Projection, SubqueryAlias, TableScan, Union};
use datafusion_expr::{Expr, LogicalPlan, TableSource, TableType, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::tokenizer::Location;

use super::bound::Bound;
use super::compare::canonical;
use super::linear::linear;
use super::plan::part;
use super::subquery;
use crate::error::Refusal;

/// The rows of `start`, and those of `term` over the rows so far, until there are no more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recursion {
    /// The name that the rows are read by in the term, for people.
    pub name: String,
    /// Whether equal rows are one.
    pub union: RecursiveUnion,
    /// What it starts with; it does not read the rows so far.
    pub start: LogicalPlan,
    /// Reads the rows so far by scans of a [`RoundTable`]; its columns have the types of the start's.
    pub term: LogicalPlan,
    /// The columns, of which all may be NULL.
    pub columns: DFSchemaRef,
}

/// Which rows a recursion adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecursiveUnion {
    /// Those that are not there yet (UNION).
    Distinct,
    /// All (UNION ALL).
    All,
}

impl Recursion {
    /// Reads an extension node of this crate's plans.
    pub fn of(node: &Extension) -> Option<&Recursion> {
        node.node.as_any().downcast_ref()
    }

    /// Refuses a term that has become one that cannot be maintained.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        linear(self.term.clone(), &self.name, self.union).map(drop)
    }
}

/// The rows of a recursion so far, as its term reads them.
#[derive(Debug)]
pub struct RoundTable {
    /// The name of the recursion.
    pub name: String,
    /// Its columns.
    pub columns: SchemaRef,
}

impl RoundTable {
    /// The rows behind a scan, if they are those of a recursion.
    pub fn of(source: &dyn TableSource) -> Option<&RoundTable> {
        source.as_any().downcast_ref()
    }
}

impl TableSource for RoundTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }
}

const ROUND: &str = "#rec ";

/// The name under which the planner below us reads the rows of the round before; `place` is that of the
/// first reading.
pub(crate) fn round_name(place: Location, name: &str) -> String {
    format!("{ROUND}{}:{} {name}", place.line, place.column)
}

/// The place and the name in such a name.
fn of_round_name(round: &str) -> Option<(Location, &str)> {
    let (place, name) = round.strip_prefix(ROUND)?.split_once(' ')?;
    let (line, column) = place.split_once(':')?;
    Some((Location::new(line.parse().ok()?, column.parse().ok()?), name))
}

/// What a recursion starts with, under the name of the rows of the round before, if a union is a recursive one:
/// its first input reads it and does nothing else.
fn round_of(union: &Union) -> Option<&SubqueryAlias> {
    fn of(plan: &LogicalPlan) -> Option<&SubqueryAlias> {
        match plan {
            LogicalPlan::Projection(node) => of(&node.input),
            LogicalPlan::SubqueryAlias(node) => Some(node).filter(|node| node.alias.table().starts_with(ROUND)),
            _ => None,
        }
    }
    of(union.inputs.first()?)
}

/// Whether a plan is a union that reads its own rows.
pub(super) fn is_recursive(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Union(union) if round_of(union).is_some())
}

/// Binds a union that reads its own rows. The start decides on the types: what the term answers is cast to them.
pub(super) fn bind(plan: LogicalPlan, union: RecursiveUnion) -> Result<LogicalPlan, Refusal> {
    let LogicalPlan::Union(node) = plan else { unreachable!("a recursion is a union") };
    let (Some(alias), [_, term]) = (round_of(&node), node.inputs.as_slice()) else {
        unreachable!("a recursion is a union of two, of which the first has such a name")
    };
    let round = alias.alias.table().to_owned();
    let (place, name) = of_round_name(&round).unzip();
    let name = name.unwrap_or_default().to_owned();
    let (start, term) = (alias.input.as_ref().clone(), term.as_ref().clone());

    let names: Vec<String> = node.schema.fields().iter().map(|field| field.name().clone()).collect();
    let (start, start_columns) = columns_of(start)?;
    let start_columns = start_columns.into_iter().map(Bound::settled).collect::<Result<Vec<_>, _>>()?;
    let exprs = start_columns.iter().zip(&names);
    let exprs = exprs.map(|(column, name)| one(column.expr.clone(), column, union).alias(name)).collect();
    let start = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(start))?);
    let fields = start.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let columns = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));

    let table = Arc::new(RoundTable { name: name.clone(), columns: Arc::clone(&columns) });
    let term = term.transform_down_with_subqueries(|node| match &node {
        LogicalPlan::SubqueryAlias(alias) if alias.alias.table() == round => {
            let source = Arc::clone(&table) as Arc<dyn TableSource>;
            // The place is not in the plan, which does not change with the white space around it.
            let scan = TableScan::try_new(TableReference::bare(format!("#{name}")), source, None, Vec::new(), None)?;
            Ok(Transformed::new(LogicalPlan::TableScan(scan), true, TreeNodeRecursion::Jump))
        }
        _ => Ok(Transformed::no(node)),
    })?;
    let at = |refusal: Refusal| refusal.or_at(place);
    let (term, term_columns) = columns_of(term.data).map_err(at)?;
    if term_columns.len() != start_columns.len() {
        return Err(at(Refusal::new(format!(
            "the parts of the UNION of {name} have different numbers of columns: select the same number in each"
        ))));
    }
    let exprs = term_columns.into_iter().zip(&start_columns).zip(&names);
    let exprs = exprs.map(|((column, start), name)| {
        if column.kind != start.kind && !column.is_null() {
            return Err(Refusal::new(format!(
                "column {name} is a UUID or JSON in one part of the UNION: cast it there"
            )));
        }
        Ok(one(column.to(&start.data_type)?, start, union).alias(name))
    });
    let exprs = exprs.collect::<Result<Vec<_>, Refusal>>().map_err(at)?;
    let term = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(term))?);
    let term = linear(term, &name, union).map_err(at)?;
    let columns = Arc::new(DFSchema::from_unqualified_fields(columns.fields().clone(), Default::default())?);
    let node = Recursion { name, union, start, term, columns };
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// One part of the union and its columns. Subqueries in its select list become joins, which they cannot while
/// the list has no types.
fn columns_of(plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Bound>), Refusal> {
    let asks = matches!(&plan, LogicalPlan::Projection(node) if node.expr.iter().any(subquery::is_in));
    if !asks {
        return part(plan);
    }
    let columns = plan.schema().columns().into_iter().map(Expr::Column).collect();
    part(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

/// Equal floats are one row whatever their bits, where equal rows are one.
fn one(expr: Expr, column: &Bound, union: RecursiveUnion) -> Expr {
    match union {
        RecursiveUnion::Distinct => canonical(expr, &column.data_type),
        RecursiveUnion::All => expr,
    }
}

impl PartialOrd for Recursion {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Recursion {
    fn name(&self) -> &str {
        "Recursion"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.start, &self.term]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.columns
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recursion")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> datafusion_common::Result<Self> {
        let mut inputs = inputs.into_iter();
        let mut input = |own: &LogicalPlan| inputs.next().unwrap_or_else(|| own.clone());
        let (start, term) = (input(&self.start), input(&self.term));
        Ok(Recursion { start, term, ..self.clone() })
    }

    /// A column that nobody reads outside may decide inside which rows there are.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        let all: Vec<usize> = (0..self.columns.fields().len()).collect();
        Some(vec![all.clone(), all])
    }
}
