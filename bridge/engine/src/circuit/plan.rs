//! What a circuit consists of, as plain data: leaves, operators and the pipes between them. The
//! compiler makes it from a logical plan, the builder makes a DBSP circuit from it once a worker.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tidegate_core::ViewName;
use tidegate_engine_sql::{Comparison, Input};

use super::asof::AsOfPlan;
use super::group::{GroupPlan, Part};
use super::key::KeyShape;
use super::pipe::{Decoder, Pipe};
use super::recursion::RecursionPlan;
use super::window::{TopPlan, WindowPlan};

/// The circuit of one view.
pub(crate) struct CircuitPlan {
    /// The view.
    pub view: ViewName,
    /// Where rows enter.
    pub leaves: Vec<Leaf>,
    /// The stateful operators; an operator comes after those it reads.
    pub operators: Vec<Operator>,
    /// How the view's rows leave the last operator (or the only leaf).
    pub output: Edge,
    /// Counts the rows of partitions that were computed anew, and those that an ASOF join looked up or a threshold
    /// passed over.
    pub recomputed: Arc<AtomicU64>,
}

/// A place where rows of a table or an upstream view enter the circuit. The pipe runs outside the
/// circuit, on the Arrow batches as they come: projection and filters before any state.
pub(crate) struct Leaf {
    /// Whose rows, all columns as declared; `None` is the one row without columns of a query
    /// without FROM, which enters at the first step.
    pub input: Option<Input>,
    /// From Arrow to rows.
    pub pipe: Arc<Pipe>,
}

/// Where an operator gets its rows.
#[derive(Clone)]
pub(crate) enum Edge {
    /// Straight from a leaf, whose pipe has encoded them for this operator.
    Leaf(usize),
    /// From another operator, through a pipe inside the circuit.
    Operator {
        /// Index into [`CircuitPlan::operators`].
        operator: usize,
        /// From that operator's rows to this one's.
        pipe: Arc<Pipe>,
    },
    /// From an operator of the recursive term that the consumer is part of, too.
    Inner {
        /// Index into [`RecursionPlan::operators`].
        operator: usize,
        /// From that operator's rows to this one's.
        pipe: Arc<Pipe>,
    },
    /// The own rows of an operator whose stream is keyed, as they are: what the operator keeps is
    /// what the consumer needs, and is kept once.
    Whole(usize),
}

/// A stateful operator, and how its output rows become Arrow again.
pub(crate) struct Operator {
    pub kind: OperatorKind,
    pub decoder: Arc<Decoder>,
}

impl CircuitPlan {
    /// Every pipe out of an operator.
    pub fn pipes_from(&self, operator: usize) -> Vec<&Pipe> {
        let edges = self.operators.iter().flat_map(|operator| operator.kind.inputs()).chain([&self.output]);
        let mut pipes: Vec<&Pipe> = Vec::new();
        for edge in edges {
            match edge {
                // Consumers that share an edge share its pipe.
                Edge::Operator { operator: origin, pipe }
                    if *origin == operator && !pipes.iter().any(|known| std::ptr::eq(*known, &raw const **pipe)) =>
                {
                    pipes.push(pipe);
                }
                Edge::Operator { .. } | Edge::Inner { .. } | Edge::Whole(_) | Edge::Leaf(_) => {}
            }
        }
        pipes
    }
}

impl Edge {
    /// Whether it stays within a recursive term.
    pub fn is_inner(&self) -> bool {
        matches!(self, Edge::Inner { .. })
    }
}

impl OperatorKind {
    pub fn inputs(&self) -> Vec<&Edge> {
        match self {
            OperatorKind::Join { left, right, .. }
            | OperatorKind::Match { left, right, .. }
            | OperatorKind::AsOf { left, right, .. } => vec![left, right],
            OperatorKind::Threshold { input, bound, .. } => vec![input, bound],
            OperatorKind::Group(group) => group.parts.iter().map(Part::input).collect(),
            OperatorKind::Distinct { input } => vec![input],
            OperatorKind::Union { inputs } => inputs.iter().collect(),
            OperatorKind::Window { input, .. } | OperatorKind::Top { input, .. } => vec![input],
            OperatorKind::Recursion(recursion) => recursion.inputs(),
            OperatorKind::Round => Vec::new(),
        }
    }
}

pub(crate) enum OperatorKind {
    /// Inner equi-join of two keyed edges. Its rows are key, left value and right value, in this
    /// order, end to end. State: both sides, by key.
    Join { left: Edge, right: Edge, key: KeyShape },
    /// The rows of the left keyed edge, each with its own weight, whose key is among those of the
    /// right edge, or is not. State: the left side, by key, and the keys of the right side.
    Match { left: Edge, right: Edge, key: KeyShape, keep: Keep },
    /// The rows of the left keyed edge of ordered rows, each with the nearest row of the right one. State: both
    /// sides, by key.
    AsOf { left: Edge, right: Edge, key: KeyShape, asof: Arc<AsOfPlan> },
    /// Grouped aggregates over keyed edges.
    Group(GroupPlan),
    /// The distinct rows of a flat edge. State: a count for each row.
    Distinct { input: Edge },
    /// All rows of several flat edges. No state.
    Union { inputs: Vec<Edge> },
    /// All rows of a keyed edge of ordered rows, each with the results of window functions over the rows of
    /// its key. State: the rows, and the results, by key.
    Window { input: Edge, key: KeyShape, window: Arc<WindowPlan> },
    /// The rows of a keyed edge whose key compares so with the only key of another one. State: the rows and the
    /// bound, by key.
    Threshold { input: Edge, bound: Edge, key: KeyShape, comparison: Comparison },
    /// The first rows of each key of a keyed edge of ordered rows. State: the rows by key, and the first ones.
    Top { input: Edge, key: KeyShape, top: TopPlan },
    /// The fixpoint of a recursive term. State: in the term's operators, by round.
    Recursion(RecursionPlan),
    /// In a recursive term, the rows so far: the first of its operators.
    Round,
}

/// Which rows a match keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Those that meet a row of the other side.
    Met,
    /// Those that meet none.
    Unmet,
}
