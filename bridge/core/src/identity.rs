//! Row identity: what makes a row of a table or view addressable.

use serde::{Deserialize, Serialize};

/// How a row is told from the others. Sinks use it to address rows, the engine to pair update
/// pre- and postimages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowIdentity {
    /// The columns (by index) are unique together, NULLs counting as equal to each other. An
    /// empty list means that there is at most one row.
    Key(Vec<usize>),
    /// The source's row id, stable within the interval it is used in.
    Rowid,
    /// Nothing less than all columns; equal rows may exist several times.
    WholeRow,
}
