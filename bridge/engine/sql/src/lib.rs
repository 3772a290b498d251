//! The SQL front end of the engine: DuckDB's SQL to plans that can be maintained incrementally.
//!
//! ```text
//! SQL ─ parse ─► syntax ─ syntax ─► prepared syntax ─ resolve ─► plan without types
//!     ─ semantics ─► bound plan ─ output ─► DuckDB's columns ─ optimise, validate ─► PlannedView
//! ```
//!
//! A [`Program`] is planned from the tables' schemas, the views' SQL and DuckDB's own word on the
//! views' columns ([`tidegate_core::Binder`]). SQL means what DuckDB says it means; what would
//! mean anything else is refused, with its place and a way out ([`PlanError`]).
//!
//! # What a plan holds
//!
//! `PlannedView::plan` is a DataFusion logical plan of these nodes only:
//!
//! - `TableScan` of a table or view ([`Relation::of`] its source says which); `projection` counts
//!   in [`Relation::declared`]. No filters, no limit.
//! - `Projection`, `Filter`, `SubqueryAlias`, `Extension` of [`Unnest`]: stateless; [`Stretch::compile`] takes them.
//! - `Join`: inner, outer, semi or anti, at least one pair in `on`. Keys stay expressions: `on` holds pairs
//!   (expression over the left input, expression over the right input) of equal types, which
//!   [`Stretch::projection`] computes. `filter` is the residual condition over both inputs' columns, left
//!   first. `null_equality` says whether NULL keys meet (`IS NOT DISTINCT FROM`).
//! - `Aggregate`: `group_expr` are any expressions over the input, output first; `aggr_expr` are
//!   read with [`aggregate_call`] or [`recomputed_call`].
//! - `Distinct::All`, `Union` (all; its inputs have equal types).
//! - `Window`: functions over one partitioning and order, read with [`window_call`]; the node's columns are
//!   those of its input and then one for each function.
//! - `Extension` of [`TopRows`]: the first rows of an order; or of [`AsOf`]: an ASOF join.
//! - `Extension` of [`Recursion`]: a recursive query; `TableScan` of a [`RoundTable`] in its term.
//! - `Extension` of [`Threshold`]: rows that compare with one value, which is a plan of its own.
//! - `EmptyRelation` with one row and no columns, for a query without FROM.
//!
//! Types are those of [`tidegate_core::duckdb_type`]; views of text or binary never occur.

mod asof_word;
mod cost;
mod dialect;
mod error;
mod expand;
mod explain;
mod filter_word;
mod fingerprint;
mod identity;
mod join;
mod names;
mod optimise;
mod output;
mod parse;
mod pivot_word;
mod program;
mod relation;
mod resolve;
mod semantics;
mod shared;
mod shorthand;
mod stretch;
mod syntax;
mod text;
mod threshold;
mod validate;
mod virtual_columns;
mod walk;

pub use cost::Cost;
pub use error::{PlanError, Refusal};
pub use fingerprint::{PartId, PlanId};
pub use identity::identity;
pub use names::{Input, Relation};
pub use parse::table_references;
pub use program::{PlannedView, Program, ProgramDefinition, ViewDef};
pub use semantics::{
    AGGREGATES_OF_DUCKDB, AggregateCall, AggregateKind, ArgExtreme, Bits, Point, Quantile, Recomputed, RecomputedCall,
    Regression, Spread, Standing, aggregate_call, recomputed_call,
};
pub use semantics::{AsOf, Nearest, Unmet};
pub use semantics::{Frame, FrameBound, FrameUnits, TopRows, WindowCall, WindowKind, window_call};
pub use semantics::{Item, Itemless, Unnest};
pub use semantics::{Recursion, RecursiveUnion, RoundTable};
pub use stretch::{Stretch, StretchError};
pub use threshold::{Comparison, Threshold};
pub use virtual_columns::with_virtual_columns;
