//! How long the lake keeps what a pipeline still has to read: from which snapshot on everything is there, in times as
//! well, and what can be expired without harm.

use std::time::Duration;

use tidegate_core::units::duration_text;
use tidegate_core::{Finding, Horizon, Micros, Severity};
use tidegate_duck::{Duck, quote_literal};

use crate::catalog::Catalog;
use crate::error::LakeError;
use crate::position::position_of;

/// A lake that keeps less than this before what was read last is worth a word.
const CLOSE: Duration = Duration::from_secs(86_400);

/// In microseconds.
const DAY: i64 = 86_400_000_000;

/// From where on everything is kept, when `read` was read.
pub fn horizon(catalog: &dyn Catalog, read: u64) -> Result<Horizon, LakeError> {
    let oldest = catalog.oldest()?;
    let times = catalog.commit_times(&format!("IN ({oldest}, {read})"))?;
    let (oldest_at, read_at) = (committed_at(&times, oldest), committed_at(&times, read));
    Ok(Horizon { oldest: position_of(oldest), oldest_at, read_at })
}

fn committed_at(times: &[(u64, Micros)], snapshot: u64) -> Option<Micros> {
    times.iter().find(|(id, _)| *id == snapshot).map(|(_, time)| *time)
}

/// The same for people.
pub fn retention(catalog: &dyn Catalog, read: u64) -> Result<Vec<Finding>, LakeError> {
    let oldest = catalog.oldest()?;
    let kept = catalog.commit_times(&format!(">= {}", read.min(oldest)))?;
    let newest = kept.last().map_or(oldest, |(id, _)| *id);
    if read > newest {
        return Ok(vec![behind(read, newest)]);
    }
    let (Some(read_at), Some(oldest_at)) = (committed_at(&kept, read), committed_at(&kept, oldest)) else {
        return Ok(vec![gone(read, oldest)]);
    };
    if oldest > read {
        return Ok(vec![gone(read, oldest)]);
    }
    // What expires is chosen by each snapshot's own time, and clocks may have gone backwards.
    let needed = || kept.iter().filter(|(id, _)| *id >= read);
    let spared = needed().map(|(_, time)| *time).min().unwrap_or(read_at);
    let spared = if catalog.keeps_times_as_texts() { day_before(spared) } else { spared };
    let newest = kept.last().copied().unwrap_or((read, read_at));
    // A single snapshot that is kept says nothing of how long others were.
    let close = oldest > 0 && oldest < newest.0 && read_at.since(oldest_at).is_none_or(|time| time < CLOSE);
    let mut findings = vec![near(catalog, (read, read_at), (oldest, oldest_at), spared, close)];
    if let Some(option) = catalog.expire_older_than()? {
        // DuckLake never removes the newest.
        let first = needed().filter(|(id, _)| *id != newest.0).map(|(_, time)| *time).min();
        findings.extend(by_option(catalog, read, &option, newest.1, first)?);
    }
    Ok(findings)
}

/// Before what a text can say of the day of a moment, wherever its writer was: midnight a day earlier, and no later.
fn day_before(time: Micros) -> Micros {
    Micros((time.0.div_euclid(DAY) - 1) * DAY - 1)
}

fn behind(read: u64, newest: u64) -> Finding {
    let (read, newest) = (position_of(read), position_of(newest));
    Finding {
        severity: Severity::Fault,
        fact: format!("the lake stands at {newest}, behind {read} that was read from it: it was restored or replaced"),
        fix: Some("bring the lake to where it was, or begin with a new state folder".to_owned()),
    }
}

fn gone(read: u64, oldest: u64) -> Finding {
    let (read, oldest) = (position_of(read), position_of(oldest));
    Finding {
        severity: Severity::Warning,
        fact: format!("{read} was read last, and what came next is gone: the source keeps everything from {oldest} on"),
        fix: Some(
            "have the source keep more than happens in the pipeline's longest pause; the next run does what \
             `on_expired_snapshot` says"
                .to_owned(),
        ),
    }
}

/// How far the oldest snapshot is behind what was read. Where nothing has expired, that is only how old the lake is. Snapshots from
/// the moment `spared` on are needed.
fn near(catalog: &dyn Catalog, read: (u64, Micros), oldest: (u64, Micros), spared: Micros, close: bool) -> Finding {
    let before = match read.1.since(oldest.1) {
        Some(time) if oldest.0 < read.0 => format!(", committed {} before", duration_text(time)),
        _ => String::new(),
    };
    let (read_snapshot, oldest) = (position_of(read.0), position_of(oldest.0));
    let fact = format!(
        "{read_snapshot} was read last, committed at {}; everything from {oldest} on is kept{before}, and what is before \
         {read_snapshot} may go",
        read.1
    );
    let lake = quote_literal(catalog.lake());
    let call = format!(
        "this pipeline needs {read_snapshot} and all after it: CALL ducklake_expire_snapshots({lake}, older_than => \
         TIMESTAMPTZ '{spared}') spares them, and `versions` must name none from {} on",
        read.0
    );
    if close {
        let longer = format!("have snapshots kept for longer than the pipeline may be away; {call}");
        return Finding { severity: Severity::Warning, fact, fix: Some(longer) };
    }
    Finding { severity: Severity::Good, fact, fix: Some(call) }
}

/// What the lake's option `expire_older_than` does to a pipeline, as far as that is a matter for it: now, or at the time of the newest
/// snapshot, should its clock be ahead of ours. `first` is the earliest commit that is needed and can expire.
fn by_option(
    catalog: &dyn Catalog,
    read: u64,
    option: &str,
    newest: Micros,
    first: Option<Micros>,
) -> Result<Option<Finding>, LakeError> {
    let failed =
        |source| LakeError::Duck { lake: catalog.lake().to_owned(), doing: "reading expire_older_than", source };
    let duck = Duck::open_in_memory().map_err(failed)?;
    let sql = "SELECT epoch_us(t), epoch_us(t - CAST(? AS INTERVAL)) FROM (SELECT make_timestamp(greatest(?, epoch_us(now()))) AS t)";
    let params = tidegate_duck::duckdb::params![option, newest.0];
    let times = duck.connection().query_row(sql, params, |row| Ok((Micros(row.get(0)?), Micros(row.get(1)?))));
    let (now, removed) = times.map_err(|error| failed(duck.error(&error)))?;
    // Of a day that counts as a whole, all goes.
    let day_after = Micros((removed.0.div_euclid(DAY) + 1) * DAY);
    let removed_before = if catalog.keeps_times_as_texts() { day_after } else { removed };
    let lake = quote_literal(catalog.lake());
    let fix = format!(
        "run the pipeline first, and have snapshots kept for longer than it may be away: CALL {}.set_option(\
         'expire_older_than', '7 days')",
        tidegate_duck::quote_ident(catalog.lake())
    );
    let finding = |fact| Some(Finding { severity: Severity::Warning, fact, fix: Some(fix) });
    if first.is_some_and(|first| first < removed_before) {
        let read = position_of(read);
        return Ok(finding(format!(
            "the lake's option expire_older_than is '{option}': CALL ducklake_expire_snapshots({lake}) would remove what this \
             pipeline needs: {read} and all after it"
        )));
    }
    if now.since(removed).is_some_and(|time| time < CLOSE) {
        return Ok(finding(format!(
            "the lake's option expire_older_than is '{option}': a pipeline that is away for longer misses what expires \
             meanwhile"
        )));
    }
    Ok(None)
}
