//! What the file says of the histories in it: up to which epoch each holds, and since when.

use std::collections::BTreeMap;

use tidegate_core::{Committed, Epoch, EpochHash, EpochHeader, Micros, RowIdentity, ViewInfo, ViewName};
use tidegate_duck::duckdb::params;
use tidegate_duck::history::{STANDINGS, TIMES, moment_or_null};
use tidegate_duck::quote_literal;

use super::objects::plainly;
use crate::error::DuckdbSinkError;
use crate::mart::{EPOCHS, Mart};

/// The moments of an epoch: its time, and the latest source commit up to it.
pub(crate) type Moments = (Micros, Option<Micros>);

/// Epochs written by one statement.
const CHUNK: usize = 1_000;

/// From which epoch on a history answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// As before, and the key is the same, too.
    Same,
    /// As before.
    Kept,
    /// From an epoch and its time on.
    At(Epoch, Micros),
}

impl Mart<'_> {
    /// Up to where the history of a view holds; `None` where there is none.
    pub(crate) fn history_of(&mut self, view: &ViewName) -> Result<Option<Committed>, DuckdbSinkError> {
        if self.known.histories.is_none() {
            self.known.histories = Some(self.read_histories()?);
        }
        let name = view.as_str().to_lowercase();
        Ok(self.known.histories.as_ref().and_then(|histories| histories.get(&name)).copied())
    }

    fn read_histories(&self) -> Result<BTreeMap<String, Committed>, DuckdbSinkError> {
        if !self.has(STANDINGS) {
            return Ok(BTreeMap::new());
        }
        let sql = format!("SELECT view, epoch, hash FROM {}", self.table(STANDINGS));
        let rows: Vec<(String, i64, String)> = self.with(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        })?;
        let parse = |(view, epoch, hash): (String, i64, String)| {
            let committed = self.parse(&ViewName::new(view.clone()), epoch, &hash, STANDINGS)?;
            Ok((view.to_lowercase(), committed))
        };
        rows.into_iter().map(parse).collect()
    }

    /// What the table of epochs says last of a view, whether its table is there or not.
    pub(crate) fn last_noted(&self, view: &ViewName) -> Result<Option<Committed>, DuckdbSinkError> {
        if let Some(known) = self.known.committed(view) {
            return Ok(Some(known));
        }
        if !self.has(EPOCHS) {
            return Ok(None);
        }
        let sql =
            format!("SELECT max(epoch), arg_max(hash, epoch) FROM {} WHERE lower(view) = lower(?)", self.table(EPOCHS));
        let last: (Option<i64>, Option<String>) =
            self.with(|connection| connection.query_row(&sql, [view.as_str()], |row| Ok((row.get(0)?, row.get(1)?))))?;
        let (Some(epoch), Some(hash)) = last else { return Ok(None) };
        self.parse(view, epoch, &hash, EPOCHS).map(Some)
    }

    /// Makes the tables about histories where they are missing.
    pub(crate) fn create_standings(&self) -> Result<(), DuckdbSinkError> {
        self.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {} ({}); CREATE TABLE IF NOT EXISTS {} ({})",
            self.table(STANDINGS),
            plainly(
                "view VARCHAR, key VARCHAR[], since_epoch BIGINT, since TIMESTAMP WITH TIME ZONE, epoch BIGINT, hash VARCHAR"
            ),
            self.table(TIMES),
            plainly("epoch BIGINT, latest_commit TIMESTAMP WITH TIME ZONE")
        ))
    }

    /// Notes up to where the history of a view holds.
    pub(crate) fn note_history(
        &self,
        view: &ViewInfo,
        header: &EpochHeader,
        since: Since,
    ) -> Result<(), DuckdbSinkError> {
        let table = self.table(STANDINGS);
        let (name, epoch, hash) = (view.name.as_str(), header.epoch.0, header.hash.to_string());
        let key = key_list(view);
        self.with(|connection| {
            let Since::At(first, time) = since else {
                // A list is not changed in place: the whole row would be written.
                let key = if since == Since::Same { String::new() } else { format!("key = {key}, ") };
                let sql = format!("UPDATE {table} SET {key}epoch = ?, hash = ? WHERE lower(view) = lower(?)");
                connection.execute(&sql, params![epoch, hash, name])?;
                return Ok(());
            };
            connection.execute(&format!("DELETE FROM {table} WHERE lower(view) = lower(?)"), [name])?;
            let sql =
                format!("INSERT INTO {table} VALUES (?, {key}, ?, make_timestamp(?)::TIMESTAMP WITH TIME ZONE, ?, ?)");
            connection.execute(&sql, params![name, first.0, time.0, epoch, hash])?;
            Ok(())
        })
    }

    /// Raises the epoch from which on a history answers.
    pub(crate) fn raise_since(&self, view: &ViewName, epoch: u64, time: i64) -> Result<(), DuckdbSinkError> {
        let sql = format!(
            "UPDATE {} SET since_epoch = ?, since = make_timestamp(?)::TIMESTAMP WITH TIME ZONE \
             WHERE lower(view) = lower(?) AND since_epoch < ?",
            self.table(STANDINGS)
        );
        self.with(|connection| connection.execute(&sql, params![epoch, time, view.as_str(), epoch])).map(|_| ())
    }

    /// Notes the latest source commits of epochs that opened or closed a version.
    pub(crate) fn note_times(&mut self, epochs: &BTreeMap<Epoch, Moments>) -> Result<(), DuckdbSinkError> {
        let (Some((first, _)), Some((last, _))) = (epochs.first_key_value(), epochs.last_key_value()) else {
            return Ok(());
        };
        let table = self.table(TIMES);
        let is_last = self.known.last_time.is_some_and(|known| known < *first);
        if !is_last {
            self.check_times(&table, epochs)?;
        }
        for chunk in epochs.iter().collect::<Vec<_>>().chunks(CHUNK) {
            let rows = rows(chunk);
            if !is_last {
                // What is there already must be the same.
                let others = format!(
                    "SELECT count(*) FROM {table} t JOIN {rows} n ON t.epoch = n.epoch \
                     WHERE t.latest_commit IS DISTINCT FROM n.latest_commit"
                );
                if self.counts(&others, 1)?[0] > 0 {
                    return Err(self.other_times(*last));
                }
            }
            let there =
                if is_last { String::new() } else { format!(" WHERE n.epoch NOT IN (SELECT t.epoch FROM {table} t)") };
            self.execute(&format!("INSERT INTO {table} FROM {rows} n{there}"))?;
        }
        self.known.last_time = if is_last {
            Some(*last)
        } else {
            Some(Epoch(self.counts(&format!("SELECT coalesce(max(epoch), 0)::UBIGINT FROM {table}"), 1)?[0]))
        };
        Ok(())
    }

    /// Refuses epochs that cannot be of the same pipeline as those around them: the latest commit never goes back.
    fn check_times(&self, table: &str, epochs: &BTreeMap<Epoch, Moments>) -> Result<(), DuckdbSinkError> {
        let (Some(first), Some(last)) = (epochs.first_key_value(), epochs.last_key_value()) else { return Ok(()) };
        let side = |(epoch, (_, latest)): (&Epoch, &Moments), greatest, before, later| {
            format!(
                "coalesce((SELECT {greatest}(latest_commit) FROM {table} WHERE epoch {before} {epoch}) {later} {}, false)",
                moment_or_null(*latest)
            )
        };
        let sql = format!("SELECT ({} OR {})::UBIGINT", side(first, "max", "<", ">"), side(last, "min", ">", "<"));
        if self.counts(&sql, 1)?[0] > 0 { Err(self.other_times(*last.0)) } else { Ok(()) }
    }

    fn other_times(&self, epoch: Epoch) -> DuckdbSinkError {
        DuckdbSinkError::OtherTimes { file: self.file.display().to_string(), epoch: epoch.0 }
    }

    /// Forgets epochs that no history answers for.
    pub(crate) fn prune_times(&self) -> Result<(), DuckdbSinkError> {
        self.execute(&format!(
            "DELETE FROM {} WHERE epoch < (SELECT min(since_epoch) FROM {})",
            self.table(TIMES),
            self.table(STANDINGS)
        ))
    }

    pub(crate) fn parse(
        &self,
        view: &ViewName,
        epoch: i64,
        hash: &str,
        table: &str,
    ) -> Result<Committed, DuckdbSinkError> {
        let committed = u64::try_from(epoch).ok().zip(hash.parse::<EpochHash>().ok());
        let (epoch, hash) = committed.ok_or_else(|| DuckdbSinkError::Altered {
            file: self.file.display().to_string(),
            view: view.clone(),
            difference: format!("its row in {table} is not one of ours"),
        })?;
        Ok(Committed { epoch: Epoch(epoch), hash })
    }
}

/// Epochs with their latest commits, as a table.
fn rows(epochs: &[(&Epoch, &Moments)]) -> String {
    let values = epochs.iter().map(|(epoch, (_, latest))| {
        format!("({epoch}, {})", latest.map_or_else(|| "NULL".to_owned(), |latest| latest.0.to_string()))
    });
    format!(
        "(SELECT epoch::BIGINT AS epoch, make_timestamp(micros::BIGINT)::TIMESTAMP WITH TIME ZONE AS latest_commit \
         FROM (VALUES {}) v(epoch, micros))",
        values.collect::<Vec<_>>().join(", ")
    )
}

/// The names of a view's key columns as a list, or NULL.
fn key_list(view: &ViewInfo) -> String {
    let RowIdentity::Key(key) = &view.identity else { return "NULL".to_owned() };
    let names: Vec<_> = key.iter().map(|index| quote_literal(view.schema.field(*index).name())).collect();
    format!("[{}]::VARCHAR[]", names.join(", "))
}
