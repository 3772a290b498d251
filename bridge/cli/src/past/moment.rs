//! Moments as people write them.

use tidegate_core::{Epoch, Micros};
use tidegate_runtime::Moment;

use super::{Opening, instant};
use crate::failure::Failure;

/// A number is an epoch, a JSON object a frontier, and everything else a timestamp as DuckDB reads it; without a zone it is UTC.
pub fn parse(text: &str, duck: &Opening) -> Result<Moment, Failure> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return epoch(text);
    }
    if text.starts_with('{') { frontier(text) } else { timestamp(text, duck) }
}

/// The number of an epoch.
pub fn epoch(text: &str) -> Result<Moment, Failure> {
    let number = text.parse().map_err(|_| Failure::usage(format!("`{text}` is no number of an epoch")))?;
    Ok(Moment::Epoch(Epoch(number)))
}

/// A frontier as JSON.
pub fn frontier(text: &str) -> Result<Moment, Failure> {
    text.parse().map(Moment::Frontier).map_err(|error| {
        let form = r#"{"ducklake:lake": {"snapshot_id": 42}, "postgres:app": {"lsn": "0/16A4F08"}}"#;
        Failure::usage(format!("`{text}` is no frontier such as {form}: {error}"))
    })
}

/// A timestamp.
pub fn timestamp(text: &str, duck: &Opening) -> Result<Moment, Failure> {
    if let Some(micros) = instant::read(text) {
        return Ok(Moment::Timestamp(micros));
    }
    let duck = duck.duck()?;
    let read = "SELECT epoch_us(TRY_CAST(? AS TIMESTAMP WITH TIME ZONE))";
    let micros: Option<i64> =
        duck.connection().query_row(read, [text], |row| row.get(0)).map_err(|error| duck.error(&error))?;
    micros.map(|micros| Moment::Timestamp(Micros(micros))).ok_or_else(|| {
        Failure::usage(format!(
            "`{text}` is no moment: write a timestamp such as 2026-11-22T15:00:00Z (UTC where no zone is given), the number \
             of an epoch, or a frontier as JSON"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_epochs_and_frontiers() {
        let duck = Opening::when_needed();
        let at = |text: &str| parse(text, &duck).map_err(|failure| failure.messages().join("\n"));
        let three = Ok(Moment::Timestamp(Micros(1_795_359_600_000_000)));
        for text in [
            "2026-11-22T15:00:00Z",
            "2026-11-22 15:00",
            "2026-11-22 16:00:00+01",
            "2026-11-22T15:00:00.000000Z",
            " 2026-11-22 10:00:00 America/New_York",
        ] {
            assert_eq!(at(text), three, "{text}");
        }
        assert_eq!(at("2026-11-22"), Ok(Moment::Timestamp(Micros(1_795_305_600_000_000))));
        assert_eq!(at("17"), Ok(Moment::Epoch(Epoch(17))));
        let frontier = r#"{"ducklake:lake":{"snapshot_id":42}}"#;
        assert_eq!(at(frontier), Ok(Moment::Frontier(frontier.parse().unwrap())));
        for text in ["", "tuesday", "infinity", "-3", "2026-13-01"] {
            assert!(at(text).unwrap_err().contains("is no moment"), "{text}");
        }
        assert!(at("{\"lake\": 1}").unwrap_err().contains("is no frontier such as"));
        assert!(at("99999999999999999999").unwrap_err().contains("no number of an epoch"));
    }
}
