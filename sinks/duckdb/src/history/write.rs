//! The statements that open and close versions, by key.

use std::collections::BTreeMap;

use tidegate_core::{Epoch, History, Micros, RowIdentity};
use tidegate_duck::history::moment;
use tidegate_duck::quote_ident;

use super::{Moments, Past};
use crate::error::DuckdbSinkError;
use crate::stage::{Epochs, Staged, column};

/// Versions that ended lately at which they are put in order.
const RECENT_MAX: u64 = 500_000;
/// Epochs written by one statement.
const CHUNK: usize = 1_000;

pub(super) const FROM: &str = History::COLUMNS[0];
const TO: &str = History::COLUMNS[1];
pub(super) const FROM_EPOCH: &str = History::COLUMNS[2];
const TO_EPOCH: &str = History::COLUMNS[3];

impl Past<'_> {
    pub(super) fn execute(&self, sql: &str) -> Result<(), DuckdbSinkError> {
        self.target.mart.execute(sql)
    }

    pub(super) fn open(&self) -> String {
        self.target.mart.table(&self.names.open)
    }

    /// Where versions go that end: those without a key have no order to be brought into.
    pub(super) fn ended(&self) -> String {
        let is_keyed = matches!(self.target.view.identity, RowIdentity::Key(_));
        self.target.mart.table(if is_keyed { &self.names.recent } else { &self.names.past })
    }

    pub(super) fn past(&self) -> String {
        self.target.mart.table(&self.names.past)
    }

    /// The view's columns, each after `prefix`.
    pub(super) fn named(&self, prefix: &str) -> String {
        let fields = self.target.view.schema.fields().iter();
        fields.map(|field| format!("{prefix}{}", quote_ident(field.name()))).collect::<Vec<_>>().join(", ")
    }

    /// The same under the stage's names.
    pub(super) fn as_staged(&self, prefix: &str) -> String {
        let fields = self.target.view.schema.fields().iter().enumerate();
        let columns = fields.map(|(i, field)| format!("{prefix}{} AS {}", quote_ident(field.name()), column(i)));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The order of the key's columns in the file, then that of time.
    fn order(&self) -> String {
        let RowIdentity::Key(key) = &self.target.view.identity else { return String::new() };
        let fields = self.target.view.schema.fields();
        let columns: String = key.iter().map(|index| format!("{}, ", quote_ident(fields[*index].name()))).collect();
        format!(" ORDER BY {columns}{FROM_EPOCH}")
    }

    /// That two rows agree in all columns under the stage's names.
    pub(super) fn same(&self, left: &str, right: &str) -> String {
        let columns = (0..self.target.view.schema.fields().len()).map(column);
        let same: Vec<_> = columns.map(|name| format!("{left}.{name} IS NOT DISTINCT FROM {right}.{name}")).collect();
        if same.is_empty() { "TRUE".to_owned() } else { same.join(" AND ") }
    }

    pub(super) fn held_bits(&self, prefix: &str) -> String {
        let fields = self.target.view.schema.fields();
        self.target.bits(prefix, |index| quote_ident(fields[index].name()))
    }

    /// The time of the epoch that is committed.
    pub(super) fn now(&self) -> String {
        moment(self.target.header.time)
    }

    /// The first moment after everything that the history holds: not later than the next epoch.
    pub(super) fn after_all(&self) -> Result<String, DuckdbSinkError> {
        let greatest = |column: &str, table: &str| format!("(SELECT max(epoch_us({column})) FROM {table})");
        let recent = self.target.mart.table(&self.names.recent);
        let sql = format!(
            "SELECT (coalesce(greatest({}, {}, {}), 0) + 1)::UBIGINT",
            greatest(FROM, &self.open()),
            greatest(TO, &self.past()),
            greatest(TO, &recent)
        );
        let micros = self.target.mart.counts(&sql, 1)?[0];
        Ok(format!("make_timestamp({micros}::BIGINT)::TIMESTAMP WITH TIME ZONE"))
    }

    /// Opens a version for each row of the view's table.
    pub(super) fn open_all(&self) -> Result<(), DuckdbSinkError> {
        let (columns, now, epoch) = (self.named("t."), self.now(), self.target.header.epoch);
        let table = self.target.table();
        let fields = self.target.view.schema.fields();
        let key: &[usize] = if let RowIdentity::Key(key) = &self.target.view.identity { key } else { &[] };
        let order: Vec<_> = key.iter().map(|index| format!("t.{}", quote_ident(fields[*index].name()))).collect();
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
        self.execute(&format!("INSERT INTO {} SELECT {columns}, {now}, {epoch} FROM {table} t{order}", self.open()))
    }

    /// Ends every open version.
    pub(super) fn close_all(&self, moment: &str, epoch: Epoch) -> Result<(), DuckdbSinkError> {
        // Its columns may be others than the view's are now.
        self.execute(&format!(
            "INSERT INTO {} SELECT * EXCLUDE ({FROM}, {FROM_EPOCH}), {FROM}, {moment}, {FROM_EPOCH}, {epoch} \
             FROM {open}; DELETE FROM {open}",
            self.past(),
            open = self.open()
        ))
    }

    /// The times of epochs, as the table `range_epochs`.
    pub(super) fn epochs(&self, moments: &BTreeMap<Epoch, Moments>) -> Result<(), DuckdbSinkError> {
        self.execute("CREATE OR REPLACE TEMP TABLE range_epochs (epoch BIGINT, time TIMESTAMP WITH TIME ZONE)")?;
        for chunk in moments.iter().collect::<Vec<_>>().chunks(CHUNK) {
            let values: Vec<_> = chunk.iter().map(|(epoch, (time, _))| format!("({epoch}, {})", time.0)).collect();
            self.execute(&format!(
                "INSERT INTO range_epochs SELECT epoch, make_timestamp(micros::BIGINT)::TIMESTAMP WITH TIME ZONE \
                 FROM (VALUES {}) v(epoch, micros)",
                values.join(", ")
            ))?;
        }
        Ok(())
    }

    /// Changes under a key. Answers how many versions ended.
    pub(super) fn follow_key(&self, key: &[usize], staged: &Staged) -> Result<u64, DuckdbSinkError> {
        match (staged.epochs, staged.moments.first_key_value()) {
            (Epochs::One, Some((epoch, (time, _)))) => self.follow_epoch(key, staged, *epoch, *time),
            _ => self.follow_epochs(key, staged),
        }
    }

    /// Those of a single epoch: each removal ends an open version, which is looked for once.
    fn follow_epoch(&self, key: &[usize], staged: &Staged, epoch: Epoch, time: Micros) -> Result<u64, DuckdbSinkError> {
        let (target, stage, open) = (self.target, self.target.stage(), self.open());
        let (columns, order, time) = (target.columns("s."), target.order(key), moment(time));
        if staged.removals > 0 {
            self.end(
                key,
                staged,
                &format!("(SELECT rowid AS entry, * FROM {stage} WHERE weight < 0)"),
                staged.removals,
            )?;
            self.execute(&format!(
                "INSERT INTO {ended} SELECT {columns}, e.{FROM}, {time}, e.{FROM_EPOCH}, {epoch} \
                 FROM ending e JOIN {stage} s ON s.rowid = e.entry",
                ended = self.ended()
            ))?;
        }
        if staged.rows > staged.removals {
            self.execute(&format!(
                "INSERT INTO {open} SELECT {columns}, {time}, {epoch} FROM {stage} s WHERE s.weight > 0{order}"
            ))?;
        }
        Ok(staged.removals)
    }

    /// Those of a key follow one another, a removal and then what takes its place: a row lives from its entry to the key's
    /// next one. A removal without an entry before it in the range ends an open version.
    fn follow_epochs(&self, key: &[usize], staged: &Staged) -> Result<u64, DuckdbSinkError> {
        let (target, stage, open, ended) = (self.target, self.target.stage(), self.open(), self.ended());
        let (columns, order) = (target.columns("s."), target.order(key));
        let names: Vec<_> = key.iter().map(|index| column(*index)).collect();
        let by_key = if names.is_empty() { String::new() } else { format!("PARTITION BY {} ", names.join(", ")) };
        self.epochs(&staged.moments)?;
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE entries AS SELECT *, rowid AS entry, \
             lag(epoch) OVER w AS began, lead(epoch) OVER w AS ends FROM {stage} \
             WINDOW w AS ({by_key}ORDER BY epoch, weight)"
        ))?;
        let sql = "SELECT count(*) FROM entries WHERE weight < 0 AND began IS NULL";
        let expected = target.mart.counts(sql, 1)?[0];
        if expected > 0 {
            self.end(key, staged, "(SELECT * FROM entries WHERE weight < 0 AND began IS NULL)", expected)?;
            self.execute(&format!(
                "INSERT INTO {ended} SELECT {columns}, e.{FROM}, x.time, e.{FROM_EPOCH}, s.epoch \
                 FROM ending e JOIN entries s ON s.entry = e.entry JOIN range_epochs x ON x.epoch = s.epoch"
            ))?;
        }
        let passed = target.mart.change(&format!(
            "INSERT INTO {ended} SELECT {columns}, b.time, x.time, s.epoch, s.ends FROM entries s \
             JOIN range_epochs b ON b.epoch = s.epoch JOIN range_epochs x ON x.epoch = s.ends WHERE s.weight > 0"
        ))?;
        self.execute(&format!(
            "INSERT INTO {open} SELECT {columns}, b.time, s.epoch FROM entries s \
             JOIN range_epochs b ON b.epoch = s.epoch WHERE s.weight > 0 AND s.ends IS NULL{order}"
        ))?;
        Ok(expected + passed)
    }

    /// Takes the versions that so many removals end out of the open ones. The table `ending` has their beginnings, under
    /// the numbers of the entries that end them.
    fn end(&self, key: &[usize], staged: &Staged, removals: &str, expected: u64) -> Result<(), DuckdbSinkError> {
        let open = self.open();
        let agree = self.target.agree(key.iter().map(|index| (*index, staged.nulls[*index])));
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE ending AS SELECT t.rowid AS row, s.entry, t.{FROM}, t.{FROM_EPOCH} \
             FROM {open} t JOIN {removals} s ON {agree}"
        ))?;
        let gone = format!("DELETE FROM {open} WHERE rowid IN (SELECT row FROM ending)");
        let found = self.target.mart.change(&gone)?;
        self.all_open(found, expected)
    }

    /// Puts the versions that ended lately in the order of their keys, when they have become many by those that this
    /// commit ended. Answers how many they are, where that is known.
    pub(super) fn settle(&self, ended: u64) -> Result<Option<u64>, DuckdbSinkError> {
        if !matches!(self.target.view.identity, RowIdentity::Key(_)) {
            return Ok(None);
        }
        let (mart, recent) = (self.target.mart, self.target.mart.table(&self.names.recent));
        let count = match mart.known.recent_of(&self.target.view.name) {
            Some(before) => before + ended,
            None if ended == 0 => return Ok(None),
            None => mart.counts(&format!("SELECT count(*) FROM {recent}"), 1)?[0],
        };
        if count < RECENT_MAX {
            return Ok(Some(count));
        }
        let (past, order) = (self.past(), self.order());
        self.execute(&format!("INSERT INTO {past} FROM {recent}{order}; DELETE FROM {recent}"))?;
        Ok(Some(0))
    }

    /// Removes versions that ended longer ago than they are to be kept. The history answers from the last of their ends on:
    /// what was there then, and later, is all still there.
    pub(crate) fn prune(&self) -> Result<(), DuckdbSinkError> {
        let (mart, view) = (self.target.mart, self.target.view);
        let Some(kept) = view.history.and_then(|history| history.retention) else { return Ok(()) };
        let horizon = self.target.header.time.before(kept);
        let is_old = format!("{TO} <= {}", moment(horizon));
        let tables = [self.past(), mart.table(&self.names.recent)];
        let ends: Vec<_> = tables
            .iter()
            .map(|table| format!("SELECT {TO_EPOCH} AS epoch, epoch_us({TO}) AS micros FROM {table} WHERE {is_old}"))
            .collect();
        let sql = format!(
            "SELECT coalesce(max(epoch), 0)::UBIGINT, coalesce(max(micros), 0)::UBIGINT FROM ({})",
            ends.join(" UNION ALL ")
        );
        let found = mart.counts(&sql, 2)?;
        let [epoch, micros] = [found[0], found[1]];
        if epoch == 0 {
            return Ok(());
        }
        for table in tables {
            self.execute(&format!("DELETE FROM {table} WHERE {is_old}"))?;
        }
        mart.raise_since(&view.name, epoch, micros as i64)?;
        mart.prune_times()
    }

    pub(super) fn all_open(&self, found: u64, expected: u64) -> Result<(), DuckdbSinkError> {
        if found == expected {
            return Ok(());
        }
        let epoch = self.target.header.epoch;
        Err(self.altered(format!("{found} of {expected} versions that epoch {epoch} ends are open")))
    }
}
