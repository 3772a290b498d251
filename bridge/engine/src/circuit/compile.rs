//! From a validated logical plan to a circuit plan.
//!
//! Filters, projections and aliases are collected on the way up; when a stateful operator or the
//! view's output is reached they become one stretch, evaluated at once on Arrow.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion_common::{DFSchemaRef, NullEquality};
use datafusion_expr::logical_plan::Distinct;
use datafusion_expr::{Expr, ExprSchemable, Join, JoinType, LogicalPlan};
use tidegate_core::ViewName;
use tidegate_engine_row::{KeyMode, RowCodec, has_canonical_form};
use tidegate_engine_sql::{
    AsOf, Input, PartId, PlannedView, Recursion, Relation as Source, RoundTable, Stretch, Threshold, TopRows,
};

use super::key::KeyShape;
use super::pipe::{Decoder, Encoder, KeyedEncoder, Pipe, ValueEncoder};
use super::plan::{CircuitPlan, Edge, Leaf, Operator, OperatorKind};
use crate::EngineError;
use crate::options::Shortcuts;

/// Compiles a view.
pub(crate) fn compile(view: &PlannedView, shortcuts: Shortcuts) -> Result<CircuitPlan, EngineError> {
    let mut compiler = Compiler {
        view: view.origin(),
        leaves: Vec::new(),
        operators: Vec::new(),
        inner: Vec::new(),
        known: Vec::new(),
        pipes: Vec::new(),
        shortcuts,
    };
    let relation = compiler.relation(&view.plan)?;
    let output = compiler.flat_edge(&relation, &view.info.schema, KeyMode::Exact)?;
    let Compiler { view, leaves, operators, .. } = compiler;
    Ok(CircuitPlan { view: view.clone(), leaves, operators, output, recomputed: Arc::default() })
}

pub(super) struct Compiler<'a> {
    pub view: &'a ViewName,
    leaves: Vec<Leaf>,
    operators: Vec<Operator>,
    /// The operators of the recursive term that is being compiled.
    pub inner: Vec<Operator>,
    /// Nodes that have an operator: those that compute the same, as the inputs of grouping sets do, have one.
    known: Vec<(PartId, Origin, Option<Stretch>)>,
    /// The pipes out of operators. Consumers that want the same of the same rows share one, and what they keep of it.
    pipes: Vec<(usize, Arc<Pipe>)>,
    shortcuts: Shortcuts,
}

/// A relation on the way up: where its rows come from and what is still to be done to them.
pub(super) struct Relation {
    pub origin: Origin,
    /// What the origin's own rows must pass first: the residual condition of a join.
    pub residual: Option<Stretch>,
    pub stretch: Stretch,
    pub schema: DFSchemaRef,
}

#[derive(Clone)]
pub(super) enum Origin {
    /// Rows of an input; `None` is the one row without columns of a query without FROM.
    Scan(Option<Input>),
    Operator(usize),
    /// Rows of the recursive term that is being compiled, from one of its operators.
    Inner(usize),
}

impl Compiler<'_> {
    pub fn relation(&mut self, plan: &LogicalPlan) -> Result<Relation, EngineError> {
        let (stretch, below) = Stretch::compile(plan)?;
        let (origin, residual) = self.origin(below)?;
        Ok(Relation { origin, residual, stretch, schema: Arc::clone(plan.schema()) })
    }

    fn origin(&mut self, plan: &LogicalPlan) -> Result<(Origin, Option<Stretch>), EngineError> {
        let id = PartId::of(plan);
        if let Some((_, origin, residual)) = self.known.iter().find(|(known, ..)| *known == id) {
            return Ok((origin.clone(), residual.clone()));
        }
        let (origin, residual) = self.new_origin(plan)?;
        if self.shortcuts.shared && matches!(origin, Origin::Operator(_)) {
            self.known.push((id, origin.clone(), residual.clone()));
        }
        Ok((origin, residual))
    }

    fn new_origin(&mut self, plan: &LogicalPlan) -> Result<(Origin, Option<Stretch>), EngineError> {
        let operator = match plan {
            LogicalPlan::TableScan(scan) if RoundTable::of(scan.source.as_ref()).is_some() => {
                return Ok((Origin::Inner(0), None));
            }
            LogicalPlan::TableScan(scan) => {
                let source = Source::of(scan.source.as_ref());
                let source = source.ok_or_else(|| self.unsupported(format!("reading {}", scan.table_name)))?;
                return Ok((Origin::Scan(Some(source.input.clone())), None));
            }
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => return Ok((Origin::Scan(None), None)),
            LogicalPlan::Join(join) if join.join_type != JoinType::Inner => self.outer(join)?,
            LogicalPlan::Join(join) => {
                let residual =
                    join.filter.as_ref().map(|filter| Stretch::predicate(filter, &join.schema)).transpose()?;
                return Ok((self.join(join)?, residual));
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate)?,
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let schema = nullable(input.schema().inner());
                let input = self.relation(input)?;
                let input = self.flat_edge(&input, &schema, KeyMode::Canonical)?;
                self.operator(OperatorKind::Distinct { input }, row_decoder(&schema, KeyMode::Canonical)?)
            }
            LogicalPlan::Union(union) => {
                let schema = nullable(union.schema.inner());
                let mut inputs = Vec::with_capacity(union.inputs.len());
                for input in &union.inputs {
                    let input = self.relation(input)?;
                    inputs.push(self.flat_edge(&input, &schema, KeyMode::Exact)?);
                }
                self.operator(OperatorKind::Union { inputs }, row_decoder(&schema, KeyMode::Exact)?)
            }
            LogicalPlan::Window(window) => self.window(window)?,
            LogicalPlan::Extension(node) if Threshold::of(node).is_some() => match Threshold::of(node) {
                Some(threshold) => self.threshold(threshold)?,
                None => return Err(self.unsupported(node.node.name())),
            },
            LogicalPlan::Extension(node) if TopRows::of(node).is_some() => match TopRows::of(node) {
                Some(top) => self.top(top)?,
                None => return Err(self.unsupported(node.node.name())),
            },
            LogicalPlan::Extension(node) if AsOf::of(node).is_some() => match AsOf::of(node) {
                Some(asof) => self.asof(asof)?,
                None => return Err(self.unsupported(node.node.name())),
            },
            LogicalPlan::Extension(node) => match Recursion::of(node) {
                Some(recursion) => self.recursion(recursion)?,
                None => return Err(self.unsupported(node.node.name())),
            },
            other => return Err(self.unsupported(other.display().to_string())),
        };
        Ok((operator, None))
    }

    pub fn unsupported(&self, construct: impl Into<String>) -> EngineError {
        EngineError::Unsupported { view: self.view.clone(), construct: construct.into() }
    }

    /// An operator belongs to the recursive term if it reads rows of it.
    pub fn operator(&mut self, kind: OperatorKind, decoder: Decoder) -> Origin {
        if kind.inputs().into_iter().any(Edge::is_inner) {
            self.inner.push(Operator { kind, decoder: Arc::new(decoder) });
            return Origin::Inner(self.inner.len() - 1);
        }
        self.operators.push(Operator { kind, decoder: Arc::new(decoder) });
        Origin::Operator(self.operators.len() - 1)
    }

    /// Ends a relation in a pipe with this stretch and encoding; in one that is there, if it is the same.
    pub fn edge(&mut self, relation: &Relation, stretch: Stretch, encoder: Encoder) -> Edge {
        let Shortcuts { direct, shared, .. } = self.shortcuts;
        let residual = relation.residual.as_ref();
        let is_known = |pipe: &Pipe| shared && pipe.does_as(residual, &stretch, &encoder);
        match &relation.origin {
            Origin::Scan(input) => {
                let same = self.leaves.iter().position(|leaf| leaf.input == *input && is_known(&leaf.pipe));
                if let Some(leaf) = same {
                    return Edge::Leaf(leaf);
                }
            }
            Origin::Operator(operator) => {
                let same = self.pipes.iter().find(|(origin, pipe)| origin == operator && is_known(pipe));
                if let Some((operator, pipe)) = same {
                    return Edge::Operator { operator: *operator, pipe: Arc::clone(pipe) };
                }
            }
            Origin::Inner(_) => {}
        }
        let pipe = |origin: Option<&Decoder>| {
            Arc::new(Pipe::new(relation.residual.clone(), stretch, encoder, origin.filter(|_| direct)))
        };
        match &relation.origin {
            Origin::Scan(input) => {
                self.leaves.push(Leaf { input: input.clone(), pipe: pipe(None) });
                Edge::Leaf(self.leaves.len() - 1)
            }
            Origin::Operator(operator) => {
                let pipe = pipe(Some(&self.operators[*operator].decoder));
                self.pipes.push((*operator, Arc::clone(&pipe)));
                Edge::Operator { operator: *operator, pipe }
            }
            Origin::Inner(operator) => {
                Edge::Inner { operator: *operator, pipe: pipe(Some(&self.inner[*operator].decoder)) }
            }
        }
    }

    pub fn flat_edge(&mut self, relation: &Relation, schema: &SchemaRef, mode: KeyMode) -> Result<Edge, EngineError> {
        let codec = RowCodec::new(&fields(schema), mode)?;
        Ok(self.edge(relation, relation.stretch.clone(), Encoder::Flat(codec)))
    }

    /// The relation's stretch with a projection at its end, and the projected columns.
    pub fn project(&self, relation: &Relation, exprs: &[Expr]) -> Result<(Stretch, Vec<FieldRef>), EngineError> {
        let mut projected = Vec::with_capacity(exprs.len());
        for (index, expr) in exprs.iter().enumerate() {
            let data_type = expr.get_type(relation.schema.as_ref());
            let data_type = data_type.map_err(|error| self.unsupported(error.strip_backtrace()))?;
            projected.push(Arc::new(Field::new(index.to_string(), data_type, true)));
        }
        let output = Schema::new(projected.clone());
        Ok((relation.stretch.clone().then_project(exprs, &relation.schema, &output)?, projected))
    }

    fn join(&mut self, join: &Join) -> Result<Origin, EngineError> {
        let left = self.relation(&join.left)?;
        let right = self.relation(&join.right)?;
        let (left, right) = self.join_sides(join, &left, &right)?;
        Ok(self.inner(&left, &right, nullable(join.schema.inner())))
    }

    /// Both sides of a join of any type, by one key.
    pub fn join_sides(
        &mut self,
        join: &Join,
        left: &Relation,
        right: &Relation,
    ) -> Result<(JoinSide, JoinSide), EngineError> {
        let mut on = join.on.clone();
        Ok(if let Some(left) = self.group_as_side(left, &mut on, |(left, _)| left) {
            let keys: Vec<Expr> = on.into_iter().map(|(_, right)| right).collect();
            (left, self.join_side(right, &keys, join.null_equality, true)?)
        } else if let Some(right) = self.group_as_side(right, &mut on, |(_, right)| right) {
            let keys: Vec<Expr> = on.into_iter().map(|(left, _)| left).collect();
            (self.join_side(left, &keys, join.null_equality, true)?, right)
        } else {
            let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = on.into_iter().unzip();
            let left = self.join_side(left, &left_keys, join.null_equality, false)?;
            (left, self.join_side(right, &right_keys, join.null_equality, false)?)
        })
    }

    /// The rows of both sides that meet; their columns are those of `schema`.
    pub fn inner(&mut self, left: &JoinSide, right: &JoinSide, schema: SchemaRef) -> Origin {
        let codec = RowCodec::concat(&[left.key_codec.clone(), left.value_codec.clone(), right.value_codec.clone()]);
        let keys = left.key_codec.fields().count();
        let columns = left.columns(keys).chain(right.columns(keys + left.values)).collect();
        let key = KeyShape::of(&left.key_codec);
        let key_width = left.key_codec.fixed_words().unwrap_or(0);
        let decoder = Decoder { codec, keyed: None, key_width, columns, schema };
        let (left, right) = (left.edge.clone(), right.edge.clone());
        self.operator(OperatorKind::Join { left, right, key }, decoder)
    }

    /// The groups of an aggregate as one side of a join on exactly their keys, if that is what the
    /// side is; `on` is brought into the order of the keys. The join reads the groups' own rows then.
    /// A group may have a NULL key, so that the other side must do without if NULL equals nothing.
    fn group_as_side(
        &self,
        relation: &Relation,
        on: &mut Vec<(Expr, Expr)>,
        side: impl Fn(&(Expr, Expr)) -> &Expr,
    ) -> Option<JoinSide> {
        let Origin::Operator(operator) = relation.origin else { return None };
        if !self.shortcuts.groups_as_sides {
            return None;
        }
        let Operator { kind: OperatorKind::Group(_), decoder } = &self.operators[operator] else { return None };
        let (key_codec, value_codec) = decoder.keyed.clone()?;
        let picked = relation.stretch.positions().filter(|_| relation.residual.is_none())?;
        let keys = key_codec.fields().count();
        let position = |pair: &(Expr, Expr)| match side(pair) {
            Expr::Column(column) => relation.schema.index_of_column(column).ok().map(|index| picked[index]),
            _ => None,
        };
        let mut ordered = Vec::with_capacity(keys);
        for key in 0..keys {
            ordered.push(on.iter().find(|pair| position(pair) == Some(key))?.clone());
        }
        if on.len() != keys {
            return None;
        }
        *on = ordered;
        let place = |column: usize| if column < keys { Place::Key(column) } else { Place::Value(column - keys) };
        let places = picked.into_iter().map(place).collect();
        let values = value_codec.fields().count();
        Some(JoinSide { edge: Edge::Whole(operator), key_codec, value_codec, places, values, left_out: Vec::new() })
    }

    /// One side of a join: keys first, then the columns that cannot be read back from the key. Rows
    /// with a NULL key are left out where they match nothing; `nullable` keys have a place for it
    /// even so.
    pub fn join_side(
        &mut self,
        relation: &Relation,
        keys: &[Expr],
        nulls: NullEquality,
        nullable: bool,
    ) -> Result<JoinSide, EngineError> {
        let schema = &relation.schema;
        let mut places = Vec::with_capacity(schema.fields().len());
        let mut exprs = keys.to_vec();
        for (index, column) in schema.columns().into_iter().enumerate() {
            let in_key = keys.iter().position(|key| matches!(key, Expr::Column(c) if *c == column));
            match in_key.filter(|_| !has_canonical_form(schema.field(index).data_type())) {
                Some(key) => places.push(Place::Key(key)),
                None => {
                    places.push(Place::Value(exprs.len() - keys.len()));
                    exprs.push(Expr::Column(column));
                }
            }
        }
        let (stretch, projected) = self.project(relation, &exprs)?;
        let (key_fields, value_fields) = projected.split_at(keys.len());
        let drop_nulls = nulls == NullEquality::NullEqualsNothing;
        let key_fields = if drop_nulls && !nullable { non_null(key_fields) } else { key_fields.to_vec() };
        let key_codec = RowCodec::new(&key_fields, KeyMode::Canonical)?;
        let value_codec = RowCodec::new(value_fields, KeyMode::Exact)?;
        let encoder = Encoder::Keyed(KeyedEncoder {
            keys: keys.len(),
            key: key_codec.clone(),
            value: ValueEncoder::Row(value_codec.clone()),
            required: if drop_nulls { (0..keys.len()).collect() } else { Vec::new() },
        });
        let edge = self.edge(relation, stretch, encoder);
        let left_out = if drop_nulls { keys.to_vec() } else { Vec::new() };
        Ok(JoinSide { edge, key_codec, value_codec, places, values: value_fields.len(), left_out })
    }
}

pub(super) struct JoinSide {
    pub edge: Edge,
    pub key_codec: RowCodec,
    pub value_codec: RowCodec,
    places: Vec<Place>,
    values: usize,
    /// The keys whose NULLs leave a row out of the edge; none where such rows are there.
    pub left_out: Vec<Expr>,
}

enum Place {
    Key(usize),
    Value(usize),
}

impl JoinSide {
    /// Where this side's columns stand among the joined row's, given where its values begin.
    pub fn columns(&self, values_at: usize) -> impl Iterator<Item = usize> + '_ {
        self.places.iter().map(move |place| match place {
            Place::Key(key) => *key,
            Place::Value(value) => values_at + value,
        })
    }
}

pub(super) fn fields(schema: &SchemaRef) -> Vec<FieldRef> {
    schema.fields().iter().cloned().collect()
}

/// The columns with NULL allowed in each: what is NOT NULL is not tracked between operators.
pub(super) fn nullable(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>()))
}

pub(super) fn row_decoder(schema: &SchemaRef, mode: KeyMode) -> Result<Decoder, EngineError> {
    Ok(Decoder {
        codec: RowCodec::new(&fields(schema), mode)?,
        keyed: None,
        key_width: 0,
        columns: (0..schema.fields().len()).collect(),
        schema: Arc::clone(schema),
    })
}

pub(super) fn non_null(fields: &[FieldRef]) -> Vec<FieldRef> {
    fields.iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(false))).collect()
}
