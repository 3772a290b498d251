//! What the lake says of the histories in it: up to which epoch each holds, and since when.

use std::collections::BTreeMap;

use tidegate_core::{Committed, Epoch, EpochHash, EpochHeader, Micros, RowIdentity, ViewInfo, ViewName};
use tidegate_duck::duckdb::params;
use tidegate_duck::history::{TIMES, moment_or_null};

use super::Moments;
use super::names::HISTORIES;
use crate::commit::Care;
use crate::error::DucklakeSinkError;
use crate::lake::{Lake, Survey};

/// Epochs written by one statement.
const CHUNK: usize = 1_000;

/// From which epoch on a history answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// As before.
    Kept,
    /// From an epoch and its time on.
    At(Epoch, Micros),
}

/// Up to where the histories hold, by views in lower case.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    rows: BTreeMap<String, Committed>,
}

impl Standings {
    /// Reads the table, where it is.
    pub(crate) fn read(lake: &Lake<'_>, survey: &Survey) -> Result<Standings, DucklakeSinkError> {
        if survey.relation(HISTORIES).is_none() {
            return Ok(Standings::default());
        }
        let sql = format!("SELECT lower(view), epoch, hash FROM {}", lake.table(HISTORIES));
        let rows: Vec<(String, i64, String)> =
            lake.rows(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let parse = |(view, epoch, hash): (String, i64, String)| {
            let committed = u64::try_from(epoch).ok().zip(hash.parse::<EpochHash>().ok());
            let (epoch, hash) = committed.ok_or_else(|| DucklakeSinkError::Altered {
                lake: lake.place.shown.clone(),
                view: ViewName::new(view.clone()),
                difference: format!("its row in {HISTORIES} is not one of ours"),
            })?;
            Ok((view, Committed { epoch: Epoch(epoch), hash }))
        };
        let rows = rows.into_iter().map(parse).collect::<Result<_, DucklakeSinkError>>()?;
        Ok(Standings { rows })
    }

    /// Up to where the history of a view holds; `None` where there is none.
    pub(crate) fn of(&self, view: &ViewName) -> Option<Committed> {
        self.rows.get(&view.as_str().to_lowercase()).copied()
    }
}

/// Notes up to where the history of a view holds.
pub(super) fn note(
    lake: &Lake<'_>,
    view: &ViewInfo,
    header: &EpochHeader,
    since: Since,
) -> Result<(), DucklakeSinkError> {
    let table = lake.table(HISTORIES);
    let (name, epoch, hash) = (view.name.as_str(), header.epoch.0, header.hash.to_string());
    let key = key_list(view);
    let Since::At(first, time) = since else {
        let sql = format!("UPDATE {table} SET key = ?, epoch = ?, hash = ? WHERE lower(view) = lower(?)");
        return lake.change(&sql, params![key, epoch, hash, name]).map(drop);
    };
    lake.change(&format!("DELETE FROM {table} WHERE lower(view) = lower(?)"), [name])?;
    let sql = format!("INSERT INTO {table} VALUES (?, ?, ?, make_timestamp(?)::TIMESTAMP WITH TIME ZONE, ?, ?)");
    lake.change(&sql, params![name, key, first.0, time.0, epoch, hash]).map(drop)
}

/// Raises the epoch from which on a history answers, and forgets epochs that none answers for.
pub(super) fn raise_since(lake: &Lake<'_>, view: &ViewName, epoch: u64, time: i64) -> Result<(), DucklakeSinkError> {
    let table = lake.table(HISTORIES);
    let sql = format!(
        "UPDATE {table} SET since_epoch = ?, since = make_timestamp(?)::TIMESTAMP WITH TIME ZONE \
         WHERE lower(view) = lower(?) AND since_epoch < ?"
    );
    lake.change(&sql, params![epoch, time, view.as_str(), epoch])?;
    lake.execute(&format!("DELETE FROM {} WHERE epoch < (SELECT min(since_epoch) FROM {table})", lake.table(TIMES)))
}

/// Notes the latest source commits of epochs that opened or closed a version.
pub(crate) fn note_times(
    lake: &Lake<'_>,
    epochs: &BTreeMap<Epoch, Moments>,
    care: Care,
) -> Result<(), DucklakeSinkError> {
    let (Some(first), Some(last)) = (epochs.first_key_value(), epochs.last_key_value()) else { return Ok(()) };
    let table = lake.table(TIMES);
    let others = || DucklakeSinkError::OtherTimes { lake: lake.place.shown.clone(), epoch: last.0.0 };
    if care == Care::Thorough {
        // Epochs of one pipeline: the latest commit never goes back.
        let side = |(epoch, (_, latest)): (&Epoch, &Moments), greatest, before, later| {
            format!(
                "coalesce((SELECT {greatest}(latest_commit) FROM {table} WHERE epoch {before} {epoch}) {later} {}, false)",
                moment_or_null(*latest)
            )
        };
        let sql = format!("SELECT ({} OR {})::UBIGINT", side(first, "max", "<", ">"), side(last, "min", ">", "<"));
        if lake.count(&sql)? > 0 {
            return Err(others());
        }
    }
    lake.execute("CREATE OR REPLACE TEMP TABLE range_times (epoch BIGINT, latest_commit TIMESTAMP WITH TIME ZONE)")?;
    for chunk in epochs.iter().collect::<Vec<_>>().chunks(CHUNK) {
        let values = chunk.iter().map(|(epoch, (_, latest))| format!("({epoch}, {})", moment_or_null(*latest)));
        lake.execute(&format!("INSERT INTO range_times VALUES {}", values.collect::<Vec<_>>().join(", ")))?;
    }
    let there = format!("(FROM {table} WHERE epoch BETWEEN {} AND {})", first.0, last.0);
    let differing = format!(
        "SELECT count(*) FROM {there} t JOIN range_times n ON t.epoch = n.epoch \
         WHERE t.latest_commit IS DISTINCT FROM n.latest_commit"
    );
    if lake.count(&differing)? > 0 {
        return Err(others());
    }
    lake.execute(&format!("DELETE FROM range_times WHERE epoch IN (SELECT epoch FROM {there})"))?;
    if lake.count("SELECT count(*) FROM range_times")? == 0 {
        return Ok(());
    }
    lake.execute(&format!("INSERT INTO {table} FROM range_times"))
}

/// The names of a view's key columns as a list in JSON; `None` without a key.
fn key_list(view: &ViewInfo) -> Option<String> {
    let RowIdentity::Key(key) = &view.identity else { return None };
    let names: Vec<_> = key.iter().map(|index| view.schema.field(*index).name().as_str()).collect();
    Some(serde_json::Value::from(names).to_string())
}
