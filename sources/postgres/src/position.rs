//! Positions of a database: everything whose commit record begins before this LSN.

use tidegate_core::{Lsn, Position};

use crate::error::PostgresError;

/// The LSN of a position.
pub(crate) fn lsn_of(position: &Position, source: &str) -> Result<Lsn, PostgresError> {
    match position {
        Position::Lsn(lsn) => Ok(*lsn),
        other => Err(PostgresError::NotAnLsn { database: source.to_owned(), position: *other }),
    }
}
