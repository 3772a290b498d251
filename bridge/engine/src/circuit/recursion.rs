//! Recursive queries as plain data.
//!
//! Whatever reads the rows of the recursion becomes an operator of the term, which
//! [`rounds`](super::rounds) builds in a nested circuit; everything else in it, such as the other side of a
//! join, is an operator like any other, and its rows go into the nested circuit.

use std::sync::Arc;

use tidegate_engine_row::KeyMode;
use tidegate_engine_sql::{Recursion, RecursiveUnion};

use super::compile::{Compiler, Origin, nullable, row_decoder};
use super::plan::{Edge, Operator, OperatorKind};
use crate::EngineError;

/// A fixpoint.
pub(crate) struct RecursionPlan {
    /// What the rows start with; flat.
    pub start: Edge,
    /// The operators of the term, after those they read; the first one is [`OperatorKind::Round`]. The others are
    /// joins and matches of rows of the term with those of an edge from outside, and unions.
    pub operators: Vec<Operator>,
    /// How the rows of the next round leave the term; flat.
    pub output: Edge,
    /// Whether equal rows are one.
    pub union: RecursiveUnion,
}

impl RecursionPlan {
    /// The edges that come from outside.
    pub fn inputs(&self) -> Vec<&Edge> {
        let term = self.operators.iter().flat_map(|operator| operator.kind.inputs());
        [&self.start].into_iter().chain(term.filter(|edge| !edge.is_inner())).collect()
    }
}

impl Compiler<'_> {
    /// A recursive query. In a term that is being compiled it is none of its operators, since it does not
    /// read its rows.
    pub fn recursion(&mut self, node: &Recursion) -> Result<Origin, EngineError> {
        let schema = nullable(node.columns.inner());
        let mode = match node.union {
            RecursiveUnion::Distinct => KeyMode::Canonical,
            RecursiveUnion::All => KeyMode::Exact,
        };
        let start = self.relation(&node.start)?;
        let start = self.flat_edge(&start, &schema, mode)?;
        let rows = Operator { kind: OperatorKind::Round, decoder: Arc::new(row_decoder(&schema, mode)?) };
        let around = std::mem::replace(&mut self.inner, vec![rows]);
        let output = match self.relation(&node.term) {
            Ok(term) => self.flat_edge(&term, &schema, mode),
            Err(error) => Err(error),
        };
        let operators = std::mem::replace(&mut self.inner, around);
        let plan = RecursionPlan { start, operators, output: output?, union: node.union };
        Ok(self.operator(OperatorKind::Recursion(plan), row_decoder(&schema, mode)?))
    }
}
