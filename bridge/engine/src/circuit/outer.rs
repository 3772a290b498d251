//! Joins that keep rows without a partner, and joins that only ask whether there is one.
//!
//! An outer join is the inner join and, from each side that it preserves, the rows that meet none,
//! with NULLs for the other side's columns. Which rows meet one is decided
//!
//! - by the join key alone where the join is on nothing else; a row with a NULL key meets none and
//!   is never kept: it passes beside the circuit's state;
//! - by the whole row where there is a residual condition: equal rows meet the same partners, and
//!   those that the inner join answers have met one.
//!
//! A condition on one side alone decides before anything is kept: rows of that side that fail it meet
//! none, as rows with NULL keys do.
//!
//! Either way every row keeps its own weight. Both inputs are compiled once; all parts share them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_common::ScalarValue;
use datafusion_expr::logical_plan::Join;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, ExprSchemable, JoinType, lit, when};
use tidegate_engine_row::{KeyMode, RowCodec};
use tidegate_engine_sql::Stretch;

use super::compile::{Compiler, JoinSide, Origin, Relation, fields, nullable, row_decoder};
use super::key::KeyShape;
use super::pipe::{Decoder, Encoder, KeyedEncoder, ValueEncoder};
use super::plan::{Edge, Keep, OperatorKind};
use crate::EngineError;

/// One input of a join with its part in it.
struct Side {
    /// All its rows.
    relation: Relation,
    /// Those that pass the conditions on this side alone.
    candidates: Relation,
    own: Vec<Expr>,
    keyed: JoinSide,
    /// Where its columns begin among those of both inputs.
    offset: usize,
}

impl Compiler<'_> {
    /// A join of any type but inner.
    pub fn outer(&mut self, join: &Join) -> Result<Origin, EngineError> {
        let (sides, residual) = self.sides(join)?;
        match join.join_type {
            JoinType::Left => self.preserving(join, &sides, residual, &[0]),
            JoinType::Right => self.preserving(join, &sides, residual, &[1]),
            JoinType::Full => self.preserving(join, &sides, residual, &[0, 1]),
            JoinType::LeftSemi | JoinType::RightSemi => {
                let own = usize::from(join.join_type == JoinType::RightSemi);
                let inner = residual.map(|residual| self.pairs(&sides, Some(residual))).transpose()?;
                self.matched(&sides, own, inner.as_ref(), Keep::Met)
            }
            JoinType::LeftAnti | JoinType::RightAnti => {
                let own = usize::from(join.join_type == JoinType::RightAnti);
                let inner = residual.map(|residual| self.pairs(&sides, Some(residual))).transpose()?;
                let relation = &sides[own].relation;
                let schema = nullable(relation.schema.inner());
                let columns: Vec<Expr> = relation.schema.columns().into_iter().map(Expr::Column).collect();
                let inputs = self.unmet(&sides, own, inner.as_ref(), &columns, &schema)?;
                self.union(inputs, &schema)
            }
            other => Err(self.unsupported(format!("{other} join"))),
        }
    }

    /// Both inputs, and the condition over both that is no key.
    fn sides(&mut self, join: &Join) -> Result<([Side; 2], Option<Expr>), EngineError> {
        let left = self.relation(&join.left)?;
        let right = self.relation(&join.right)?;
        let (mut lefts, mut rights, mut both) = (Vec::new(), Vec::new(), Vec::new());
        for condition in join.filter.iter().flat_map(split_conjunction) {
            let columns = condition.column_refs();
            let of = |relation: &Relation| columns.iter().all(|column| relation.schema.has_column(column));
            match condition {
                Expr::Literal(ScalarValue::Boolean(Some(true)), _) => {}
                _ if of(&left) => lefts.push(condition.clone()),
                _ if of(&right) => rights.push(condition.clone()),
                _ => both.push(condition.clone()),
            }
        }
        let offset = left.schema.fields().len();
        let left_candidates = candidates(&left, &lefts)?;
        let right_candidates = candidates(&right, &rights)?;
        let (left_keyed, right_keyed) = self.join_sides(join, &left_candidates, &right_candidates)?;
        let side = |relation, candidates, own, keyed, offset| Side { relation, candidates, own, keyed, offset };
        let sides = [
            side(left, left_candidates, lefts, left_keyed, 0),
            side(right, right_candidates, rights, right_keyed, offset),
        ];
        Ok((sides, both.into_iter().reduce(Expr::and)))
    }

    /// The inner join and the rows of the preserved sides that meet none.
    fn preserving(
        &mut self,
        join: &Join,
        sides: &[Side; 2],
        residual: Option<Expr>,
        preserved: &[usize],
    ) -> Result<Origin, EngineError> {
        let by_row = residual.is_some();
        let inner = self.pairs(sides, residual)?;
        let schema = nullable(join.schema.inner());
        let mut inputs = vec![self.flat_edge(&inner, &schema, KeyMode::Exact)?];
        let residual = by_row.then_some(&inner);
        for own in preserved {
            let padded = self.padded(sides, *own)?;
            inputs.extend(self.unmet(sides, *own, residual, &padded, &schema)?);
        }
        self.union(inputs, &schema)
    }

    /// The rows of both sides that meet, under the residual condition.
    fn pairs(&mut self, sides: &[Side; 2], residual: Option<Expr>) -> Result<Relation, EngineError> {
        let [left, right] = sides;
        let schema = Arc::new(left.relation.schema.join(&right.relation.schema).map_err(|e| self.failed(&e))?);
        let origin = self.inner(&left.keyed, &right.keyed, nullable(schema.inner()));
        let residual = residual.map(|filter| Stretch::predicate(&filter, &schema)).transpose()?;
        Ok(Relation { origin, residual, stretch: Stretch::nothing(schema.as_arrow()), schema })
    }

    /// The columns of a preserved row: its own and NULLs of the other side's types.
    fn padded(&self, sides: &[Side; 2], own: usize) -> Result<Vec<Expr>, EngineError> {
        let mut exprs = Vec::new();
        for (index, side) in sides.iter().enumerate() {
            for (column, field) in side.relation.schema.columns().into_iter().zip(side.relation.schema.fields()) {
                exprs.push(if index == own {
                    Expr::Column(column)
                } else {
                    let null = ScalarValue::try_from(field.data_type()).map_err(|error| self.failed(&error))?;
                    Expr::Literal(null, None)
                });
            }
        }
        Ok(exprs)
    }

    /// The rows of a side that meet none, as `exprs` over its columns.
    fn unmet(
        &mut self,
        sides: &[Side; 2],
        own: usize,
        residual: Option<&Relation>,
        exprs: &[Expr],
        schema: &SchemaRef,
    ) -> Result<Vec<Edge>, EngineError> {
        let relation = &sides[own].relation;
        let origin = self.matched(sides, own, residual, Keep::Unmet)?;
        let nothing = Stretch::nothing(relation.schema.as_arrow());
        let unmet = Relation { origin, residual: None, stretch: nothing, schema: Arc::clone(&relation.schema) };
        let mut edges = vec![self.projected(&unmet, unmet.stretch.clone(), exprs, schema)?];
        // Where whole rows are compared, NULL keys are among them.
        let keys = if residual.is_none() { sides[own].keyed.left_out.as_slice() } else { &[] };
        if let Some(stretch) = self.left_out(relation, &sides[own].own, keys)? {
            edges.push(self.projected(relation, stretch, exprs, schema)?);
        }
        Ok(edges)
    }

    /// The rows that are no candidates: they fail a condition on their side alone, or have a NULL in one of
    /// these keys.
    pub(super) fn left_out(
        &self,
        relation: &Relation,
        conditions: &[Expr],
        keys: &[Expr],
    ) -> Result<Option<Stretch>, EngineError> {
        let schema = relation.schema.as_ref();
        let mut nulls = Vec::new();
        for key in keys {
            if key.nullable(schema).map_err(|error| self.failed(&error))? {
                nulls.push(key.clone().is_null());
            }
        }
        let mut out = nulls.into_iter().reduce(Expr::or);
        // A condition may guard the next one, and the key, against values they cannot take.
        for condition in conditions.iter().rev() {
            let guarded = when(condition.clone(), out.unwrap_or_else(|| lit(false))).otherwise(lit(true));
            out = Some(guarded.map_err(|error| self.failed(&error))?);
        }
        Ok(out.map(|out| relation.stretch.clone().then_filter(&out, schema)).transpose()?)
    }

    pub(super) fn projected(
        &mut self,
        relation: &Relation,
        stretch: Stretch,
        exprs: &[Expr],
        schema: &SchemaRef,
    ) -> Result<Edge, EngineError> {
        let stretch = stretch.then_project(exprs, &relation.schema, schema)?;
        Ok(self.edge(relation, stretch, Encoder::Flat(RowCodec::new(&fields(schema), KeyMode::Exact)?)))
    }

    pub(super) fn union(&mut self, inputs: Vec<Edge>, schema: &SchemaRef) -> Result<Origin, EngineError> {
        let decoder = row_decoder(schema, KeyMode::Exact)?;
        Ok(self.operator(OperatorKind::Union { inputs }, decoder))
    }

    /// The rows of a side that meet one of the other side, or none; with all its columns.
    fn matched(
        &mut self,
        sides: &[Side; 2],
        own: usize,
        residual: Option<&Relation>,
        keep: Keep,
    ) -> Result<Origin, EngineError> {
        let side = &sides[own];
        let schema = nullable(side.relation.schema.inner());
        let Some(pairs) = residual else {
            let keys = side.keyed.key_codec.fields().count();
            let columns = side.keyed.columns(keys).collect();
            let codecs = (side.keyed.key_codec.clone(), side.keyed.value_codec.clone());
            let (left, right) = (side.keyed.edge.clone(), sides[1 - own].keyed.edge.clone());
            return Ok(self.keyed_match(left, right, keep, codecs, columns, schema));
        };
        let width = schema.fields().len();
        let key = RowCodec::new(&fields(&schema), KeyMode::Exact)?;
        let value = RowCodec::new(&[], KeyMode::Exact)?;
        let encoder = || {
            let value = ValueEncoder::Row(value.clone());
            Encoder::Keyed(KeyedEncoder { keys: width, key: key.clone(), value, required: Vec::new() })
        };
        let left = self.edge(&side.candidates, side.candidates.stretch.clone(), encoder());
        let picked: Vec<usize> = (side.offset..side.offset + width).collect();
        let right = self.edge(pairs, pairs.stretch.clone().then_pick(&picked), encoder());
        Ok(self.keyed_match(left, right, keep, (key, value), (0..width).collect(), schema))
    }

    fn keyed_match(
        &mut self,
        left: Edge,
        right: Edge,
        keep: Keep,
        (key, value): (RowCodec, RowCodec),
        columns: Vec<usize>,
        schema: SchemaRef,
    ) -> Origin {
        let decoder = Decoder {
            codec: RowCodec::concat(&[key.clone(), value.clone()]),
            key_width: key.fixed_words().unwrap_or(0),
            columns,
            schema,
            keyed: Some((key.clone(), value)),
        };
        self.operator(OperatorKind::Match { left, right, key: KeyShape::of(&key), keep }, decoder)
    }

    pub(super) fn failed(&self, error: &datafusion_common::DataFusionError) -> EngineError {
        self.unsupported(error.strip_backtrace())
    }
}

/// The rows that pass the conditions.
pub(super) fn candidates(relation: &Relation, conditions: &[Expr]) -> Result<Relation, EngineError> {
    let stretch = relation.stretch.clone();
    let condition = conditions.iter().cloned().reduce(Expr::and);
    Ok(Relation {
        origin: relation.origin.clone(),
        residual: relation.residual.clone(),
        stretch: match condition {
            Some(condition) => stretch.then_filter(&condition, &relation.schema)?,
            None => stretch,
        },
        schema: Arc::clone(&relation.schema),
    })
}
