//! When a sink commits: so often, or at the moments of a schedule as cron has them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use tidegate_core::Micros;

/// When a sink commits.
#[derive(Debug, Clone)]
pub enum Commits {
    /// As long after the commit before at least.
    Every(Duration),
    /// At these moments, and at the end of a run that ends by itself.
    At(Box<Schedule>),
}

/// The moments that a pattern matches: minute, hour, day of the month, month and day of the week, as in `crontab(5)`, with
/// seconds before them where there are six fields. A day matches by either of its fields where both are restricted.
///
/// Where clocks are set forward, a moment that there is not is the one after the gap; where they are set back, a moment that
/// there is twice is the first one.
#[derive(Debug, Clone)]
pub struct Schedule {
    pattern: croner::Cron,
    zone: Tz,
}

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It is not a pattern.
    #[error(
        "`{pattern}` is no schedule: {reason}; write minute, hour, day of the month, month and day of the week, for example \"0 6 * * mon-fri\""
    )]
    Pattern {
        /// As written.
        pattern: String,
        /// What does not fit.
        reason: String,
    },
    /// It matches no moment.
    #[error("the schedule `{pattern}` has no moment, ever")]
    Never {
        /// As written.
        pattern: String,
    },
    /// There is no such time zone.
    #[error(
        "the time zone `{zone}` is not known: write a name of the IANA database, for example \"Europe/Berlin\" or \"UTC\""
    )]
    Zone {
        /// As written.
        zone: String,
    },
}

impl Schedule {
    /// A schedule by the clocks of a time zone, which is named as in the IANA database.
    ///
    /// # Errors
    ///
    /// What cannot be read, and what never comes.
    pub fn parse(pattern: &str, zone: &str) -> Result<Schedule, ScheduleError> {
        let zone = zone.parse().map_err(|_| ScheduleError::Zone { zone: zone.to_owned() })?;
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let parsed = parser.parse(pattern).map_err(|error| ScheduleError::Pattern {
            pattern: pattern.to_owned(),
            reason: error.to_string().trim_end_matches('.').to_owned(),
        })?;
        let schedule = Schedule { pattern: parsed, zone };
        // Patterns come again after four years at most, but for 29 February around a year like 2100.
        match schedule.next_after(Micros(0)) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never { pattern: pattern.to_owned() }),
        }
    }

    /// The first moment after another one; `None` beyond the years that clocks count.
    pub fn next_after(&self, moment: Micros) -> Option<Micros> {
        let moment = DateTime::<Utc>::from_timestamp_micros(moment.0)?.with_timezone(&self.zone);
        let next = self.pattern.find_next_occurrence(&moment, false).ok()?;
        Some(Micros(next.timestamp_micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Micros {
        Micros(DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros())
    }

    #[track_caller]
    fn comes(pattern: &str, zone: &str, after: &str, next: &[&str]) {
        let schedule = Schedule::parse(pattern, zone).unwrap();
        let mut at = micros(after);
        for next in next {
            at = schedule.next_after(at).unwrap();
            assert_eq!(at, micros(next), "{pattern} in {zone}");
        }
    }

    #[test]
    fn moments_are_those_of_crontab() {
        let after = "2026-11-23T23:05:00Z";
        comes("0 6 * * *", "UTC", after, &["2026-11-24T06:00:00Z", "2026-11-25T06:00:00Z"]);
        comes("*/15 * * * *", "UTC", after, &["2026-11-23T23:15:00Z", "2026-11-23T23:30:00Z"]);
        comes("30 7 * * mon-fri", "UTC", "2026-11-27T07:30:00Z", &["2026-11-30T07:30:00Z"]);
        comes("0 0 1 * *", "UTC", after, &["2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"]);
        comes("*/20 * * * * *", "UTC", after, &["2026-11-23T23:05:20Z", "2026-11-23T23:05:40Z"]);
        comes("@daily", "UTC", after, &["2026-11-24T00:00:00Z"]);
        // Either of the days, as in crontab(5).
        comes("0 0 13 * fri", "UTC", after, &["2026-11-27T00:00:00Z", "2026-12-04T00:00:00Z"]);
        comes("0 0 29 2 *", "UTC", after, &["2028-02-29T00:00:00Z"]);
    }

    #[test]
    fn clocks_that_are_set_lose_no_moment_and_repeat_none() {
        // Forward at 2 on 29 March 2026: there is no half past two.
        comes("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        // Back at 3 on 25 October 2026: there are two of it.
        comes("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        comes("0 6 * * *", "America/New_York", "2026-11-24T00:00:00Z", &["2026-11-24T11:00:00Z"]);
    }

    #[test]
    fn what_is_no_schedule_is_said() {
        for pattern in ["", "often", "0 25 * * *", "* * * *", "0 0 6 * * * 2027"] {
            let error = Schedule::parse(pattern, "UTC").unwrap_err();
            assert!(matches!(error, ScheduleError::Pattern { .. }), "{pattern}: {error}");
        }
        assert!(matches!(Schedule::parse("0 0 30 2 *", "UTC"), Err(ScheduleError::Never { .. })));
        assert!(matches!(Schedule::parse("0 6 * * *", "Berlin"), Err(ScheduleError::Zone { .. })));
    }
}
