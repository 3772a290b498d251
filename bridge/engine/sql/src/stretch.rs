//! Stateless stretches: filters, projections and lists spread out into rows, compiled to vectorised expressions and
//! applied to Z-sets. Weights follow the rows; nothing is kept.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{ColumnarValue, Expr, LogicalPlan};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use tidegate_core::ZSet;

use crate::expand::{Spread, expand};
use crate::explain::type_name;
use crate::fingerprint::by_position;
use crate::names::Relation;
use crate::semantics::{Item, Itemless, RoundTable, Unnest};

/// A stretch that cannot be compiled or applied.
#[derive(Debug, thiserror::Error)]
pub enum StretchError {
    /// The rows are not those the stretch was compiled for: a bug of the caller.
    #[error("column {column} of the input is {found} where {expected} was planned")]
    Input {
        /// The column.
        column: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A value could not be computed: an overflow, a text that is no number. The message says
    /// which operation and holds no values.
    #[error("{0}")]
    Evaluate(String),
    /// The expressions cannot be compiled: a bug, since the planner made them.
    #[error("an expression cannot be compiled: {0}")]
    Compile(String),
}

/// Filters, projections and the like in the order in which they apply.
#[derive(Debug, Clone)]
pub struct Stretch {
    input: SchemaRef,
    output: SchemaRef,
    steps: Vec<Step>,
}

/// An expression, and what it says where columns have no names.
#[derive(Debug, Clone)]
struct Computed {
    expr: Arc<dyn PhysicalExpr>,
    text: String,
}

impl PartialEq for Computed {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// One condition after the other, each on the rows that passed those before it, so that a
    /// condition may guard the next one against values it cannot take.
    Filter(Vec<Computed>),
    Project(Vec<Computed>, SchemaRef),
    /// Columns by position, which costs nothing.
    Pick(Vec<usize>, SchemaRef),
    /// Each row once for each item of its lists, `None` being the items' numbers.
    Unnest {
        lists: Vec<Option<Computed>>,
        itemless: Itemless,
        kept: Vec<usize>,
        schema: SchemaRef,
    },
}

impl Step {
    /// Whether both do the same, whatever their columns are called.
    fn does_as(&self, other: &Step) -> bool {
        match (self, other) {
            (Step::Filter(one), Step::Filter(two)) => one == two,
            (Step::Project(one, _), Step::Project(two, _)) => one == two,
            (Step::Pick(one, _), Step::Pick(two, _)) => one == two,
            (
                Step::Unnest { lists, itemless, kept, .. },
                Step::Unnest { lists: of_other, itemless: itemless_of_other, kept: kept_of_other, .. },
            ) => lists == of_other && itemless == itemless_of_other && kept == kept_of_other,
            (Step::Filter(_) | Step::Project(..) | Step::Pick(..) | Step::Unnest { .. }, _) => false,
        }
    }
}

impl Stretch {
    /// Compiles the stateless nodes at the top of a plan (projections, filters, aliases and unnests) and
    /// answers the first node below them that is none.
    ///
    /// The stretch reads that node's output; when it is a scan, it reads all columns of the table
    /// or view as declared, and the scan's own projection is part of the stretch.
    pub fn compile(plan: &LogicalPlan) -> Result<(Stretch, &LogicalPlan), StretchError> {
        match plan {
            LogicalPlan::Projection(node) => {
                let (stretch, below) = Stretch::compile(&node.input)?;
                Ok((stretch.then_project(&node.expr, node.input.schema(), node.schema.as_arrow())?, below))
            }
            LogicalPlan::Filter(node) => {
                let (stretch, below) = Stretch::compile(&node.input)?;
                Ok((stretch.then_filter(&node.predicate, node.input.schema())?, below))
            }
            LogicalPlan::SubqueryAlias(node) => Stretch::compile(&node.input),
            LogicalPlan::Extension(node) if Unnest::of(node).is_some() => match Unnest::of(node) {
                Some(node) => {
                    let (stretch, below) = Stretch::compile(&node.input)?;
                    Ok((stretch.then_unnest(node)?, below))
                }
                None => Err(StretchError::Compile("a node is none".to_owned())),
            },
            LogicalPlan::TableScan(scan) => {
                let relation = Relation::of(scan.source.as_ref()).map(|relation| &relation.declared);
                let columns = relation.or_else(|| RoundTable::of(scan.source.as_ref()).map(|rows| &rows.columns));
                let columns = columns
                    .ok_or_else(|| StretchError::Compile(format!("{} is not a known table", scan.table_name)))?;
                let stretch = Stretch::nothing(columns);
                Ok((
                    match &scan.projection {
                        Some(columns) => stretch.then_pick(columns),
                        None => stretch,
                    },
                    plan,
                ))
            }
            other => Ok((Stretch::nothing(other.schema().as_arrow()), other)),
        }
    }

    /// A stretch that leaves rows with these columns as they are.
    pub fn nothing(input: &Schema) -> Stretch {
        let schema = nullable(input.fields().iter().map(|f| f.as_ref().clone()));
        Stretch { input: Arc::clone(&schema), output: schema, steps: Vec::new() }
    }

    /// Keeps the rows for which `predicate` is true, over rows with the columns of `input`.
    pub fn predicate(predicate: &Expr, input: &DFSchema) -> Result<Stretch, StretchError> {
        Stretch::nothing(input.as_arrow()).then_filter(predicate, input)
    }

    /// Computes `exprs` over rows with the columns of `input`. The columns are called by position.
    pub fn projection(exprs: &[Expr], input: &DFSchema) -> Result<Stretch, StretchError> {
        use datafusion_expr::ExprSchemable;
        let fields = exprs.iter().enumerate().map(|(i, expr)| {
            let data_type = expr.get_type(input).map_err(compile_error)?;
            Ok(Field::new(i.to_string(), data_type, true))
        });
        let output = Schema::new(fields.collect::<Result<Vec<_>, StretchError>>()?);
        Stretch::nothing(input.as_arrow()).then_project(exprs, input, &output)
    }

    /// The columns it reads; only positions and types matter, names may differ.
    pub fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// The columns it answers, all nullable.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// Whether rows pass unchanged.
    pub fn is_nothing(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether both make the same rows of the same rows, whatever columns are called; rows that differ in more than names have
    /// other types.
    pub fn does_as(&self, other: &Stretch) -> bool {
        let types =
            |schema: &SchemaRef| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
        types(&self.input) == types(&other.input)
            && self.steps.len() == other.steps.len()
            && self.steps.iter().zip(&other.steps).all(|(one, two)| one.does_as(two))
    }

    /// Where each answered column stands among those read, if choosing columns is all that happens.
    pub fn positions(&self) -> Option<Vec<usize>> {
        let all = (0..self.input.fields().len()).collect();
        self.steps.iter().try_fold(all, |positions: Vec<usize>, step| match step {
            Step::Pick(picked, _) => Some(picked.iter().map(|index| positions[*index]).collect()),
            Step::Filter(_) | Step::Project(..) | Step::Unnest { .. } => None,
        })
    }

    /// Adds a filter over rows with the columns of `schema`, which are those answered so far.
    pub fn then_filter(mut self, predicate: &Expr, schema: &DFSchema) -> Result<Stretch, StretchError> {
        let conditions = split_conjunction(predicate).into_iter().map(|e| physical(e, schema));
        self.steps.push(Step::Filter(conditions.collect::<Result<Vec<_>, _>>()?));
        Ok(self)
    }

    /// Adds a projection over rows with the columns of `schema`; `output` names its columns.
    pub fn then_project(mut self, exprs: &[Expr], schema: &DFSchema, output: &Schema) -> Result<Stretch, StretchError> {
        let output = nullable(output.fields().iter().map(|f| f.as_ref().clone()));
        let positions: Option<Vec<usize>> = exprs.iter().map(|e| position(e, schema)).collect();
        let Some(positions) = positions else {
            let exprs = exprs.iter().map(|e| physical(e, schema)).collect::<Result<Vec<_>, _>>()?;
            self.steps.push(Step::Project(exprs, Arc::clone(&output)));
            self.output = output;
            return Ok(self);
        };
        self.pick(positions, output);
        Ok(self)
    }

    /// Adds a choice of columns. It becomes one with a choice before it, and with a projection of which it takes no column
    /// twice.
    fn pick(&mut self, positions: Vec<usize>, output: SchemaRef) {
        let is_once = positions.iter().enumerate().all(|(index, position)| !positions[..index].contains(position));
        let step = match self.steps.pop() {
            Some(Step::Pick(before, _)) => {
                let positions = positions.into_iter().map(|position| before[position]).collect();
                Step::Pick(positions, Arc::clone(&output))
            }
            Some(Step::Project(exprs, _)) if is_once => {
                let exprs = positions.into_iter().map(|position| exprs[position].clone()).collect();
                Step::Project(exprs, Arc::clone(&output))
            }
            before => {
                self.steps.extend(before);
                Step::Pick(positions, Arc::clone(&output))
            }
        };
        self.steps.push(step);
        self.output = output;
    }

    fn then_unnest(mut self, node: &Unnest) -> Result<Stretch, StretchError> {
        use datafusion_expr::UserDefinedLogicalNodeCore;
        let lists = node.items.iter().map(|item| match item {
            Item::Of(list) => physical(list, node.input.schema()).map(Some),
            Item::Number => Ok(None),
        });
        let lists = lists.collect::<Result<_, _>>()?;
        let schema = nullable(node.schema().fields().iter().map(|f| f.as_ref().clone()));
        let (itemless, kept) = (node.itemless, node.kept.clone());
        self.steps.push(Step::Unnest { lists, itemless, kept, schema: Arc::clone(&schema) });
        self.output = schema;
        Ok(self)
    }

    /// Adds a choice of columns by position.
    #[must_use]
    pub fn then_pick(mut self, columns: &[usize]) -> Stretch {
        let output = nullable(columns.iter().map(|i| self.output.field(*i).clone()));
        self.pick(columns.to_vec(), output);
        self
    }

    /// Filters, projects and spreads out a Z-set. A condition that is NULL is not true.
    pub fn apply(&self, zset: &ZSet) -> Result<ZSet, StretchError> {
        let (mut rows, mut weights) = (self.relabel(zset.rows())?, zset.weights().clone());
        for step in &self.steps {
            match step {
                Step::Filter(conditions) => {
                    for condition in conditions {
                        let Some(mask) = mask(condition, &rows)? else { continue };
                        rows = filter_record_batch(&rows, &mask).map_err(arrow_error)?;
                        weights = filter(&weights, &mask).map_err(arrow_error)?.as_primitive().clone();
                    }
                }
                Step::Project(exprs, schema) => {
                    let columns = exprs.iter().map(|e| evaluate(e, &rows)).collect::<Result<Vec<_>, _>>()?;
                    rows = batch(schema, columns, rows.num_rows())?;
                }
                Step::Pick(positions, schema) => {
                    let columns = positions.iter().map(|i| Arc::clone(rows.column(*i))).collect();
                    rows = batch(schema, columns, rows.num_rows())?;
                }
                Step::Unnest { lists, itemless, kept, schema } => {
                    let evaluated = lists.iter().map(|list| match list {
                        Some(list) => evaluate(list, &rows).map(Spread::Items),
                        None => Ok(Spread::Numbers),
                    });
                    let lists = evaluated.collect::<Result<Vec<_>, _>>()?;
                    let columns;
                    (columns, weights) = expand(&rows, &weights, &lists, *itemless, kept).map_err(arrow_error)?;
                    rows = batch(schema, columns, weights.len())?;
                }
            }
        }
        Ok(ZSet::new(rows, weights))
    }

    /// The same for rows that all have one weight.
    pub fn apply_rows(&self, rows: &RecordBatch) -> Result<RecordBatch, StretchError> {
        Ok(self.apply(&ZSet::uniform(rows.clone(), 1))?.into_parts().0)
    }

    /// The rows under the planned schema, if the types are the planned ones.
    fn relabel(&self, rows: &RecordBatch) -> Result<RecordBatch, StretchError> {
        let found = rows.schema();
        if found.fields().len() != self.input.fields().len() {
            return Err(StretchError::Input {
                column: "*".to_owned(),
                found: format!("{} columns", found.fields().len()),
                expected: format!("{} columns", self.input.fields().len()),
            });
        }
        for (found, expected) in found.fields().iter().zip(self.input.fields()) {
            if found.data_type() != expected.data_type() {
                return Err(StretchError::Input {
                    column: expected.name().clone(),
                    found: type_name(found.data_type()),
                    expected: type_name(expected.data_type()),
                });
            }
        }
        batch(&self.input, rows.columns().to_vec(), rows.num_rows())
    }
}

fn nullable(fields: impl Iterator<Item = Field>) -> SchemaRef {
    Arc::new(Schema::new(fields.map(|f| f.with_nullable(true)).collect::<Vec<_>>()))
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, StretchError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(arrow_error)
}

fn position(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of_column(column).ok(),
        Expr::Alias(alias) => position(&alias.expr, schema),
        _ => None,
    }
}

fn physical(expr: &Expr, schema: &DFSchema) -> Result<Computed, StretchError> {
    let compiled = create_physical_expr(expr, schema, &ExecutionProps::new()).map_err(compile_error)?;
    Ok(Computed { expr: compiled, text: by_position(expr, &[schema]) })
}

/// The rows to keep; `None` when all of them are.
fn mask(condition: &Computed, rows: &RecordBatch) -> Result<Option<BooleanArray>, StretchError> {
    let answer = evaluate(condition, rows)?;
    let mask = answer.as_boolean_opt().ok_or_else(|| StretchError::Compile("a condition is not BOOLEAN".to_owned()))?;
    let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
    Ok(if mask.true_count() == rows.num_rows() { None } else { Some(mask) })
}

fn evaluate(computed: &Computed, rows: &RecordBatch) -> Result<ArrayRef, StretchError> {
    match computed.expr.evaluate(rows).map_err(evaluate_error)? {
        ColumnarValue::Array(array) => Ok(array),
        ColumnarValue::Scalar(value) => value.to_array_of_size(rows.num_rows()).map_err(evaluate_error),
    }
}

fn compile_error(error: DataFusionError) -> StretchError {
    StretchError::Compile(error.strip_backtrace())
}

/// Our kernels' messages hold no values; what others say is not passed on.
fn evaluate_error(error: DataFusionError) -> StretchError {
    fn own(error: &DataFusionError) -> Option<&str> {
        match error {
            DataFusionError::Execution(message) => Some(message),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => own(inner),
            _ => None,
        }
    }
    StretchError::Evaluate(own(&error).unwrap_or("an expression could not be evaluated").to_owned())
}

fn arrow_error(error: arrow::error::ArrowError) -> StretchError {
    StretchError::Compile(match error {
        arrow::error::ArrowError::InvalidArgumentError(message) => message,
        _ => "an Arrow operation failed".to_owned(),
    })
}
