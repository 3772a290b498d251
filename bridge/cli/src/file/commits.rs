//! `commit_interval`, `commit_schedule` and `commit_timezone` of a sink: when it commits.

use tidegate_runtime::{Commits, Schedule, ScheduleError};

use super::document::Document;
use super::section::Section;

/// When a sink commits: so often, or by a schedule.
pub fn commits(document: &Document, section: &mut Section<'_>) -> Option<Commits> {
    let interval = section.duration("commit_interval");
    let schedule = section.text("commit_schedule");
    let zone = section.text("commit_timezone");
    let Some(schedule) = schedule else {
        if let Some(zone) = zone {
            let way_out = "it is the time zone of `commit_schedule`: write that too, or leave it out";
            document.fault(zone.offset, format!("`commit_timezone` says nothing here: {way_out}"));
        }
        return interval.map(Commits::Every);
    };
    if interval.is_some() {
        let fact = "`commit_schedule` and `commit_interval` exclude each other: leave one of them out";
        document.fault(schedule.offset, fact.to_owned());
    }
    let named = zone.as_ref().map_or("UTC", |zone| &zone.value);
    let fault = |error: ScheduleError| {
        let at = match (&error, &zone) {
            (ScheduleError::Zone { .. }, Some(zone)) => zone.offset,
            _ => schedule.offset,
        };
        document.fault(at, error.to_string());
    };
    Schedule::parse(&schedule.value, named).map_err(fault).ok().map(Box::new).map(Commits::At)
}
