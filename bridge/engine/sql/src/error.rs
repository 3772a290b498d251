//! Why a view cannot be planned: what is refused, where in its SQL, and the way out.

use std::fmt;

use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::tokenizer::{Location, Span};
use serde::Serialize;
use tidegate_core::ViewName;

/// The fault of one view. `Display` names the view, the place, the fact and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("view {view}{}: {message}", Place(*.line, *.column))]
pub struct PlanError {
    /// The view.
    pub view: ViewName,
    /// What is refused and what to do instead.
    pub message: String,
    /// Line in the view's SQL, from 1, where it is known.
    pub line: Option<u64>,
    /// Column in that line, from 1, counted in characters.
    pub column: Option<u64>,
}

impl PlanError {
    pub(crate) fn new(view: &ViewName, refusal: Refusal) -> Self {
        PlanError {
            view: view.clone(),
            message: refusal.message,
            line: refusal.location.map(|l| l.line),
            column: refusal.location.map(|l| l.column),
        }
    }
}

struct Place(Option<u64>, Option<u64>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(line), Some(column)) => write!(f, ", line {line}, column {column}"),
            _ => Ok(()),
        }
    }
}

/// A fault of SQL that does not belong to a view yet: message and place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", Place(.location.map(|l| l.line), .location.map(|l| l.column)))]
pub struct Refusal {
    /// What is refused and what to do instead.
    pub message: String,
    /// Where, if it is known.
    pub location: Option<Location>,
}

impl Refusal {
    /// A refusal whose place is not known.
    pub fn new(message: impl Into<String>) -> Self {
        Refusal { message: message.into(), location: None }
    }

    /// A refusal at the start of a span.
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        let location = (span.start.line > 0).then_some(span.start);
        Refusal { message: message.into(), location }
    }

    /// The refusal with a place, unless it has one.
    #[must_use]
    pub fn or_at(mut self, location: Option<Location>) -> Self {
        self.location = self.location.or(location);
        self
    }
}

/// What the planner below us says, with its place if it gives one. Backtraces and wrappers are
/// taken off.
impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Self {
        let location = error.diagnostic().and_then(|d| d.span).map(|s| Location::new(s.start.line, s.start.column));
        Refusal { message: plain_message(&error), location }
    }
}

fn plain_message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => plain_message(inner),
        DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => message.clone(),
        DataFusionError::External(inner) => match inner.downcast_ref::<Refusal>() {
            Some(refusal) => refusal.message.clone(),
            None => inner.to_string(),
        },
        other => other.strip_backtrace(),
    }
}
