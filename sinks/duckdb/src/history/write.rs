//! The statements that open and close versions.

use std::collections::BTreeMap;

use tidegate_core::{Epoch, RowIdentity};
use tidegate_duck::quote_ident;

use super::names::COLUMNS;
use super::{Moments, Past};
use crate::error::DuckdbSinkError;
use crate::stage::{Epochs, Staged, column};

/// Versions that ended lately at which they are put in order.
const RECENT_MAX: u64 = 500_000;
/// Epochs written by one statement.
const CHUNK: usize = 1_000;

const FROM: &str = COLUMNS[0];
const TO: &str = COLUMNS[1];
const FROM_EPOCH: &str = COLUMNS[2];
const TO_EPOCH: &str = COLUMNS[3];

impl Past<'_> {
    fn execute(&self, sql: &str) -> Result<(), DuckdbSinkError> {
        self.target.mart.execute(sql)
    }

    fn open(&self) -> String {
        self.target.mart.table(&self.names.open)
    }

    /// Where versions go that end: those without a key have no order to be brought into.
    fn ended(&self) -> String {
        let is_keyed = matches!(self.target.view.identity, RowIdentity::Key(_));
        self.target.mart.table(if is_keyed { &self.names.recent } else { &self.names.past })
    }

    fn past(&self) -> String {
        self.target.mart.table(&self.names.past)
    }

    /// The view's columns, each after `prefix`.
    fn named(&self, prefix: &str) -> String {
        let fields = self.target.view.schema.fields().iter();
        fields.map(|field| format!("{prefix}{}", quote_ident(field.name()))).collect::<Vec<_>>().join(", ")
    }

    /// The same under the stage's names.
    fn as_staged(&self, prefix: &str) -> String {
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
    fn same(&self, left: &str, right: &str) -> String {
        let columns = (0..self.target.view.schema.fields().len()).map(column);
        let same: Vec<_> = columns.map(|name| format!("{left}.{name} IS NOT DISTINCT FROM {right}.{name}")).collect();
        if same.is_empty() { "TRUE".to_owned() } else { same.join(" AND ") }
    }

    fn held_bits(&self, prefix: &str) -> String {
        let fields = self.target.view.schema.fields();
        self.target.bits(prefix, |index| quote_ident(fields[index].name()))
    }

    /// The time of the epoch that is committed.
    pub(super) fn now(&self) -> String {
        format!("make_timestamp({}::BIGINT)::TIMESTAMP WITH TIME ZONE", self.target.header.time.0)
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
        let RowIdentity::Key(key) = &self.target.view.identity else {
            return self
                .execute(&format!("INSERT INTO {} SELECT {columns}, {now}, {epoch} FROM {table} t", self.open()));
        };
        let fields = self.target.view.schema.fields();
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

    /// Changes under a key. Those of a key follow one another, a removal and then what takes its place: a row lives from
    /// its entry to the key's next one. A removal without an entry before it in the range ends an open version.
    pub(super) fn follow_key(&self, key: &[usize], staged: &Staged) -> Result<(), DuckdbSinkError> {
        let (target, stage, open, ended) = (self.target, self.target.stage(), self.open(), self.ended());
        let (columns, order) = (target.columns("s."), target.order(key));
        let (entries, expected) = match staged.epochs {
            Epochs::One => {
                let none = "CAST(NULL AS BIGINT)";
                let entries = format!("(SELECT *, rowid AS entry, {none} AS began, {none} AS ends FROM {stage})");
                (entries, staged.removals)
            }
            Epochs::Several => {
                let names: Vec<_> = key.iter().map(|index| column(*index)).collect();
                let by_key =
                    if names.is_empty() { String::new() } else { format!("PARTITION BY {} ", names.join(", ")) };
                self.execute(&format!(
                    "CREATE OR REPLACE TEMP TABLE entries AS SELECT *, rowid AS entry, \
                     lag(epoch) OVER w AS began, lead(epoch) OVER w AS ends FROM {stage} \
                     WINDOW w AS ({by_key}ORDER BY epoch, weight)"
                ))?;
                let sql = "SELECT count(*) FROM entries WHERE weight < 0 AND began IS NULL";
                ("entries".to_owned(), target.mart.counts(sql, 1)?[0])
            }
        };
        if expected > 0 {
            let agree = target.agree(key.iter().map(|index| (*index, staged.nulls[*index])));
            self.execute(&format!(
                "CREATE OR REPLACE TEMP TABLE ending AS SELECT t.rowid AS row, s.entry, t.{FROM}, t.{FROM_EPOCH} \
                 FROM {open} t JOIN (SELECT * FROM {entries} WHERE weight < 0 AND began IS NULL) s ON {agree}"
            ))?;
            let found = target.mart.change(&format!("DELETE FROM {open} WHERE rowid IN (SELECT row FROM ending)"))?;
            self.all_open(found, expected)?;
            self.execute(&format!(
                "INSERT INTO {ended} SELECT {columns}, e.{FROM}, x.time, e.{FROM_EPOCH}, s.epoch \
                 FROM ending e JOIN {entries} s ON s.entry = e.entry JOIN range_epochs x ON x.epoch = s.epoch{order}"
            ))?;
        }
        if staged.epochs == Epochs::Several {
            self.execute(&format!(
                "INSERT INTO {ended} SELECT {columns}, b.time, x.time, s.epoch, s.ends FROM {entries} s \
                 JOIN range_epochs b ON b.epoch = s.epoch JOIN range_epochs x ON x.epoch = s.ends WHERE s.weight > 0"
            ))?;
        }
        self.execute(&format!(
            "INSERT INTO {open} SELECT {columns}, b.time, s.epoch FROM {entries} s \
             JOIN range_epochs b ON b.epoch = s.epoch WHERE s.weight > 0 AND s.ends IS NULL{order}"
        ))
    }

    /// Changes of rows with copies, epoch by epoch. Of equal versions those end first that are the same as the removed
    /// row, and of these the newest. What is open and equal to some removed row is read once.
    pub(super) fn follow_rows(&self, staged: &Staged) -> Result<(), DuckdbSinkError> {
        let (target, stage, open, past) = (self.target, self.target.stage(), self.open(), self.past());
        let columns = target.columns("");
        let came = target.columns("s.");
        if staged.removals == 0 {
            return self.execute(&format!(
                "INSERT INTO {open} SELECT {came}, b.time, s.epoch FROM {stage} s \
                 JOIN range_epochs b ON b.epoch = s.epoch, range(s.weight)"
            ));
        }
        let bits = target.bits("s.", column);
        let same = self.same("s", "k");
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE going AS SELECT row_number() OVER () AS id, {columns} \
             FROM {stage} WHERE weight < 0 GROUP BY {columns}; \
             CREATE OR REPLACE TEMP TABLE moves AS SELECT s.*, {bits} AS bits, b.time, k.id \
             FROM {stage} s JOIN range_epochs b ON b.epoch = s.epoch LEFT JOIN going k ON {same}"
        ))?;
        let width = target.view.schema.fields().len();
        let nulls: Vec<_> = (0..width).map(|index| format!("count(*) - count({})", column(index))).collect();
        let nulls = target.mart.counts(&format!("SELECT {} FROM going", nulls.join(", ")), width)?;
        let agree = target.agree(nulls.into_iter().enumerate());
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE live AS SELECT t.rowid AS row, {held}, {bits} AS bits, t.{FROM}, t.{FROM_EPOCH}, \
             s.id, CAST(NULL AS BIGINT) AS ends FROM {open} t JOIN going s ON {agree}",
            held = self.as_staged("t."),
            bits = self.held_bits("t."),
        ))?;
        for epoch in staged.moments.keys() {
            self.follow_rows_of(*epoch, &columns)?;
        }
        self.execute(&format!(
            "DELETE FROM {open} WHERE rowid IN (SELECT row FROM live WHERE ends IS NOT NULL AND row IS NOT NULL); \
             INSERT INTO {past} SELECT {came}, s.{FROM}, x.time, s.{FROM_EPOCH}, s.ends \
             FROM live s JOIN range_epochs x ON x.epoch = s.ends; \
             INSERT INTO {open} SELECT {came}, s.{FROM}, s.{FROM_EPOCH} FROM live s WHERE ends IS NULL AND row IS NULL; \
             INSERT INTO {open} SELECT {came}, s.time, s.epoch FROM moves s, range(s.weight) WHERE s.id IS NULL"
        ))
    }

    /// The changes of one epoch, among the rows that lose copies in some epoch of the range.
    fn follow_rows_of(&self, epoch: Epoch, columns: &str) -> Result<(), DuckdbSinkError> {
        let mart = self.target.mart;
        let sql = format!("SELECT coalesce(sum(-weight), 0)::UBIGINT FROM moves WHERE epoch = {epoch} AND weight < 0");
        let expected = mart.counts(&sql, 1)?[0];
        if expected > 0 {
            let newest = format!("{FROM_EPOCH} DESC, entry DESC");
            let found = mart.change(&format!(
                "UPDATE live SET ends = {epoch} WHERE rowid IN ( \
                 WITH wanted AS (SELECT id, sum(copies)::BIGINT AS total, map(list(bits), list(copies)) AS wanted \
                   FROM (SELECT id, bits, -sum(weight)::BIGINT AS copies FROM moves \
                     WHERE epoch = {epoch} AND weight < 0 GROUP BY id, bits) GROUP BY id), \
                 ranked AS (SELECT l.rowid AS entry, l.id, l.{FROM_EPOCH}, w.total, \
                   row_number() OVER (PARTITION BY l.id, l.bits ORDER BY l.{FROM_EPOCH} DESC, l.rowid DESC) \
                   <= coalesce(w.wanted[l.bits], 0) AS same \
                   FROM live l JOIN wanted w ON w.id = l.id WHERE l.ends IS NULL) \
                 SELECT entry FROM ranked \
                 QUALIFY row_number() OVER (PARTITION BY id ORDER BY same DESC, {newest}) <= total)"
            ))?;
            self.all_open(found, expected)?;
        }
        self.execute(&format!(
            "INSERT INTO live SELECT NULL, {columns}, bits, time, epoch, id, NULL FROM moves, range(weight) \
             WHERE epoch = {epoch} AND weight > 0 AND id IS NOT NULL"
        ))
    }

    /// Compares what is open with the view's table: versions without a row end, rows without a version open one. Of
    /// equal versions the newest end.
    pub(super) fn compare(&self) -> Result<(), DuckdbSinkError> {
        let (open, table) = (self.open(), self.target.table());
        let copies = |order: &str| match &self.target.view.identity {
            RowIdentity::Key(_) => "1".to_owned(),
            RowIdentity::Rowid | RowIdentity::WholeRow => {
                format!("row_number() OVER (PARTITION BY {}, bits{order})", self.target.columns(""))
            }
        };
        let columns = self.target.columns("");
        let same = format!("{} AND n.bits = o.bits AND n.copy = o.copy", self.same("n", "o"));
        let side = |table: &str, more: &str, order: &str| {
            format!(
                "(SELECT *, {} AS copy FROM (SELECT t.rowid AS row, {}, {} AS bits{more} FROM {table} t))",
                copies(order),
                self.as_staged("t."),
                self.held_bits("t.")
            )
        };
        let held = side(&open, &format!(", t.{FROM_EPOCH}"), &format!(" ORDER BY {FROM_EPOCH}, row"));
        let present = side(&table, "", "");
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE ending AS SELECT o.row FROM {held} o ANTI JOIN {present} n ON {same}; \
             CREATE OR REPLACE TEMP TABLE beginning AS SELECT {columns} FROM {present} n ANTI JOIN {held} o ON {same}"
        ))?;
        let (named, now, epoch) = (self.named(""), self.now(), self.target.header.epoch);
        let order = match &self.target.view.identity {
            RowIdentity::Key(key) => self.target.order(key),
            RowIdentity::Rowid | RowIdentity::WholeRow => String::new(),
        };
        self.execute(&format!(
            "INSERT INTO {ended} SELECT {named}, {FROM}, {now}, {FROM_EPOCH}, {epoch} FROM {open} \
             WHERE rowid IN (SELECT row FROM ending); \
             DELETE FROM {open} WHERE rowid IN (SELECT row FROM ending); \
             INSERT INTO {open} SELECT {columns}, {now}, {epoch} FROM beginning{order}",
            ended = self.ended()
        ))?;
        self.settle()
    }

    /// Puts the versions that ended lately in the order of their keys, when they have become many.
    pub(super) fn settle(&self) -> Result<(), DuckdbSinkError> {
        if !matches!(self.target.view.identity, RowIdentity::Key(_)) {
            return Ok(());
        }
        let recent = self.target.mart.table(&self.names.recent);
        if self.target.mart.counts(&format!("SELECT count(*) FROM {recent}"), 1)?[0] < RECENT_MAX {
            return Ok(());
        }
        let (past, order) = (self.past(), self.order());
        self.execute(&format!("INSERT INTO {past} FROM {recent}{order}; DELETE FROM {recent}"))
    }

    /// Removes versions that ended longer ago than they are to be kept. The history answers from the last of their ends on:
    /// what was there then, and later, is all still there.
    pub(crate) fn prune(&self) -> Result<(), DuckdbSinkError> {
        let (mart, view) = (self.target.mart, self.target.view);
        let Some(kept) = view.history.and_then(|history| history.retention) else { return Ok(()) };
        let horizon = self.target.header.time.before(kept);
        let is_old = format!("{TO} <= make_timestamp({}::BIGINT)::TIMESTAMP WITH TIME ZONE", horizon.0);
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

    fn all_open(&self, found: u64, expected: u64) -> Result<(), DuckdbSinkError> {
        if found == expected {
            return Ok(());
        }
        let epoch = self.target.header.epoch;
        Err(self.altered(format!("{found} of {expected} versions that epoch {epoch} ends are open")))
    }
}
