//! Timestamps in other units.

use crate::ColumnError;

/// DuckDB's infinities, which are no number of seconds.
pub fn is_infinite(value: i64) -> bool {
    value == i64::MAX || value == -i64::MAX
}

/// A timestamp in a unit of which one of its own has `factor`; infinities stay what they are.
pub fn scaled(value: i64, factor: i64, beyond: &'static str) -> Result<i64, ColumnError> {
    if is_infinite(value) {
        return Ok(value);
    }
    value.checked_mul(factor).ok_or(ColumnError(beyond))
}
