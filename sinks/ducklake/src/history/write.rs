//! The statements that open and close versions. A lake's row numbers are not safe to address rows by: versions are
//! addressed by their values, and where some of several equal ones end, all of them are written anew.

use std::collections::BTreeMap;

use tidegate_core::{Epoch, History, RowIdentity};
use tidegate_duck::history::{end_copies, moment};

use super::{Moments, Past, altered, standing};
use crate::error::DucklakeSinkError;
use crate::stage::column;

/// Epochs written by one statement.
const CHUNK: usize = 1_000;

const FROM: &str = History::COLUMNS[0];
const TO: &str = History::COLUMNS[1];
const FROM_EPOCH: &str = History::COLUMNS[2];
const TO_EPOCH: &str = History::COLUMNS[3];

impl Past<'_> {
    fn execute(&self, sql: &str) -> Result<(), DucklakeSinkError> {
        self.target.lake.execute(sql)
    }

    fn count(&self, sql: &str) -> Result<u64, DucklakeSinkError> {
        self.target.lake.count(sql)
    }

    fn open(&self) -> String {
        self.target.lake.table(&self.names.open)
    }

    fn past(&self) -> String {
        self.target.lake.table(&self.names.past)
    }

    /// The view's values of a row `t` of a table, under the stage's names.
    fn as_staged(&self) -> String {
        let columns = self.target.columns.iter().enumerate().map(|(i, c)| format!("{} AS {}", c.read("t"), column(i)));
        columns.collect::<Vec<_>>().join(", ")
    }

    fn held_bits(&self) -> String {
        self.target.bits(|index| self.target.columns[index].read("t"))
    }

    /// That two rows agree in all columns under the stage's names.
    fn same(&self, left: &str, right: &str) -> String {
        let columns = (0..self.target.columns.len()).map(column);
        columns
            .map(|name| format!("{left}.{name} IS NOT DISTINCT FROM {right}.{name}"))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    fn all(&self) -> Vec<usize> {
        (0..self.target.columns.len()).collect()
    }

    /// The time of the epoch that is committed.
    pub(super) fn now(&self) -> String {
        moment(self.target.header.time)
    }

    /// The first moment after everything that the history holds: not later than the next epoch.
    pub(super) fn after_all(&self) -> Result<String, DucklakeSinkError> {
        let greatest = |column: &str, table: &str| format!("(SELECT max(epoch_us({column})) FROM {table})");
        let micros = self.count(&format!(
            "SELECT (coalesce(greatest({}, {}), 0) + 1)::UBIGINT",
            greatest(FROM, &self.open()),
            greatest(TO, &self.past())
        ))?;
        Ok(format!("make_timestamp({micros}::BIGINT)::TIMESTAMP WITH TIME ZONE"))
    }

    /// Opens a version for each row of the view's table.
    pub(super) fn open_all(&self) -> Result<(), DucklakeSinkError> {
        let columns: Vec<_> = self.target.columns.iter().map(|column| format!("t.{}", column.name)).collect();
        self.execute(&format!(
            "INSERT INTO {} SELECT {}, {}, {} FROM {} t",
            self.open(),
            columns.join(", "),
            self.now(),
            self.target.header.epoch,
            self.target.table()
        ))
    }

    /// Ends every open version. Its columns may be others than the view's are now.
    pub(super) fn close_all(&self, moment: &str, epoch: Epoch) -> Result<(), DucklakeSinkError> {
        self.execute(&format!(
            "INSERT INTO {} SELECT * EXCLUDE ({FROM}, {FROM_EPOCH}), {FROM}, {moment}, {FROM_EPOCH}, {epoch}::BIGINT \
             FROM {open}; DELETE FROM {open}",
            self.past(),
            open = self.open()
        ))
    }

    /// The times of epochs, as the table `range_epochs`.
    pub(super) fn epochs(&self, moments: &BTreeMap<Epoch, Moments>) -> Result<(), DucklakeSinkError> {
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
    pub(super) fn follow_key(&self, key: &[usize]) -> Result<(), DucklakeSinkError> {
        let (target, open, past) = (self.target, self.open(), self.past());
        let names: Vec<_> = key.iter().map(|index| column(*index)).collect();
        let by_key = if names.is_empty() { String::new() } else { format!("PARTITION BY {} ", names.join(", ")) };
        let keys: String = names.iter().map(|name| format!(", {name}")).collect();
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE entries AS SELECT *, rowid AS entry, \
             lag(epoch) OVER w AS began, lead(epoch) OVER w AS ends FROM {} \
             WINDOW w AS ({by_key}ORDER BY epoch, weight); \
             CREATE OR REPLACE TEMP TABLE gone AS SELECT entry{keys} FROM entries WHERE weight < 0 AND began IS NULL; \
             CREATE OR REPLACE TEMP TABLE ending (entry BIGINT, {FROM} TIMESTAMP WITH TIME ZONE, {FROM_EPOCH} BIGINT)",
            target.stage()
        ))?;
        let expected = self.count("SELECT count(*) FROM gone")?;
        if expected > 0 {
            let agree = target.agree(key)?;
            self.execute(&format!(
                "INSERT INTO ending SELECT s.entry, t.{FROM}, t.{FROM_EPOCH} FROM {open} t JOIN gone s ON {agree}"
            ))?;
            self.all_open(self.count("SELECT count(*) FROM ending")?, expected)?;
            let went = target.lake.change(&format!("DELETE FROM {open} t USING gone s WHERE {agree}"), [])?;
            self.all_open(went, expected)?;
        }
        let written = target.written();
        let passed = self.count("SELECT count(*) FROM entries WHERE weight > 0 AND ends IS NOT NULL")?;
        if expected + passed > 0 {
            self.execute(&format!(
                "INSERT INTO {past} SELECT {written}, e.{FROM}, x.time, e.{FROM_EPOCH}, s.epoch \
                 FROM ending e JOIN entries s ON s.entry = e.entry JOIN range_epochs x ON x.epoch = s.epoch \
                 UNION ALL SELECT {written}, b.time, x.time, s.epoch, s.ends FROM entries s \
                 JOIN range_epochs b ON b.epoch = s.epoch JOIN range_epochs x ON x.epoch = s.ends WHERE s.weight > 0"
            ))?;
        }
        if self.count("SELECT count(*) FROM entries WHERE weight > 0 AND ends IS NULL")? == 0 {
            return Ok(());
        }
        self.execute(&format!(
            "INSERT INTO {open} SELECT {written}, b.time, s.epoch FROM entries s \
             JOIN range_epochs b ON b.epoch = s.epoch WHERE s.weight > 0 AND s.ends IS NULL"
        ))
    }

    /// Changes of rows with copies, epoch by epoch. Of equal versions those end first that are the same as the removed
    /// row, and of these the newest. What is open and equal to some removed row is read once.
    pub(super) fn follow_rows(&self, moments: &BTreeMap<Epoch, Moments>) -> Result<(), DucklakeSinkError> {
        let (target, stage, open) = (self.target, self.target.stage(), self.open());
        let (columns, written) = (target.staged(""), target.written());
        let bits = target.bits(|index| format!("s.{}", column(index)));
        let same = self.same("s", "k");
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE gone AS SELECT row_number() OVER () AS id, {columns} \
             FROM {stage} WHERE weight < 0 GROUP BY {columns}; \
             CREATE OR REPLACE TEMP TABLE moves AS SELECT s.*, {bits} AS bits, b.time, k.id \
             FROM {stage} s JOIN range_epochs b ON b.epoch = s.epoch LEFT JOIN gone k ON {same}"
        ))?;
        if self.count("SELECT count(*) FROM gone")? == 0 {
            return self.execute(&format!(
                "INSERT INTO {open} SELECT {written}, s.time, s.epoch FROM moves s, range(s.weight)"
            ));
        }
        let agree = target.agree(&self.all())?;
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE live AS SELECT {held}, {bits} AS bits, t.{FROM}, t.{FROM_EPOCH}, s.id, \
             CAST(NULL AS BIGINT) AS ends FROM {open} t JOIN gone s ON {agree}",
            held = self.as_staged(),
            bits = self.held_bits(),
        ))?;
        let found = self.count("SELECT count(*) FROM live")?;
        for epoch in moments.keys() {
            self.follow_rows_of(*epoch, &columns)?;
        }
        if found > 0 {
            let went = target.lake.change(&format!("DELETE FROM {open} t USING gone s WHERE {agree}"), [])?;
            self.all_open(went, found)?;
        }
        self.execute(&format!(
            "INSERT INTO {past} SELECT {written}, s.{FROM}, x.time, s.{FROM_EPOCH}, s.ends \
             FROM live s JOIN range_epochs x ON x.epoch = s.ends",
            past = self.past()
        ))?;
        self.execute(&format!(
            "INSERT INTO {open} SELECT {written}, s.{FROM}, s.{FROM_EPOCH} FROM live s WHERE s.ends IS NULL \
             UNION ALL SELECT {written}, s.time, s.epoch FROM moves s, range(s.weight) WHERE s.id IS NULL"
        ))
    }

    /// The changes of one epoch, among the rows that lose copies in some epoch of the range.
    fn follow_rows_of(&self, epoch: Epoch, columns: &str) -> Result<(), DucklakeSinkError> {
        let expected = self.count(&format!(
            "SELECT coalesce(sum(-weight), 0)::UBIGINT FROM moves WHERE epoch = {epoch} AND weight < 0"
        ))?;
        if expected > 0 {
            self.all_open(self.target.lake.change(&end_copies(epoch), [])?, expected)?;
        }
        self.execute(&format!(
            "INSERT INTO live SELECT {columns}, bits, time, epoch, id, NULL FROM moves, range(weight) \
             WHERE epoch = {epoch} AND weight > 0 AND id IS NOT NULL"
        ))
    }

    /// Compares what is open with the view's table: versions without a row end, rows without a version open one. Of
    /// equal versions the newest end.
    pub(super) fn compare(&self) -> Result<(), DucklakeSinkError> {
        let (target, open) = (self.target, self.open());
        let columns = target.staged("");
        let copies = |order: &str| match &target.view.identity {
            RowIdentity::Key(_) => "1".to_owned(),
            RowIdentity::Rowid | RowIdentity::WholeRow => {
                format!("row_number() OVER (PARTITION BY {columns}, bits{order})")
            }
        };
        let side = |name: &str, table: &str, more: &str, order: &str| {
            format!(
                "CREATE OR REPLACE TEMP TABLE {name} AS SELECT *, row_number() OVER () AS entry, {} AS copy \
                 FROM (SELECT {}, {} AS bits{more} FROM {table} t); ",
                copies(order),
                self.as_staged(),
                self.held_bits()
            )
        };
        let same = format!("{} AND n.bits = o.bits AND n.copy = o.copy", self.same("n", "o"));
        self.execute(&format!(
            "{}{}CREATE OR REPLACE TEMP TABLE ending AS SELECT o.entry FROM held o ANTI JOIN present n ON {same}; \
             CREATE OR REPLACE TEMP TABLE beginning AS SELECT n.* FROM present n ANTI JOIN held o ON {same}; \
             CREATE OR REPLACE TEMP TABLE gone AS SELECT {columns} FROM held WHERE entry IN (FROM ending) GROUP BY {columns}",
            side("held", &open, &format!(", t.{FROM}, t.{FROM_EPOCH}"), &format!(" ORDER BY {FROM_EPOCH}")),
            side("present", &target.table(), "", ""),
        ))?;
        let (written, now, epoch) = (target.written(), self.now(), target.header.epoch);
        if self.count("SELECT count(*) FROM ending")? > 0 {
            self.execute(&format!(
                "INSERT INTO {} SELECT {written}, s.{FROM}, {now}, s.{FROM_EPOCH}, {epoch}::BIGINT \
                 FROM held s WHERE s.entry IN (FROM ending)",
                self.past()
            ))?;
            let agree = target.agree(&self.all())?;
            target.lake.change(&format!("DELETE FROM {open} t USING gone s WHERE {agree}"), [])?;
        }
        self.execute(&format!(
            "INSERT INTO {open} SELECT {written}, s.{FROM}, s.{FROM_EPOCH} FROM held s SEMI JOIN gone k ON {} \
             WHERE s.entry NOT IN (FROM ending) \
             UNION ALL SELECT {written}, {now}, {epoch}::BIGINT FROM beginning s",
            self.same("s", "k")
        ))
    }

    /// Removes versions that ended longer ago than they are to be kept. The history answers from the last of their ends on:
    /// what was there then, and later, is all still there.
    pub(crate) fn prune(&self) -> Result<(), DucklakeSinkError> {
        let (lake, view) = (self.target.lake, self.target.view);
        let Some(kept) = view.history.and_then(|history| history.retention) else { return Ok(()) };
        let horizon = self.target.header.time.before(kept);
        let is_old = format!("{TO} <= {}", moment(horizon));
        let past = self.past();
        let sql = format!("SELECT max({TO_EPOCH}), max(epoch_us({TO})) FROM {past} WHERE {is_old}");
        let ends: Vec<(Option<i64>, Option<i64>)> = lake.rows(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((Some(epoch), Some(micros))) = ends.first().copied() else { return Ok(()) };
        self.execute(&format!("DELETE FROM {past} WHERE {is_old}"))?;
        standing::raise_since(lake, &view.name, epoch as u64, micros)
    }

    fn all_open(&self, found: u64, expected: u64) -> Result<(), DucklakeSinkError> {
        if found == expected {
            return Ok(());
        }
        let epoch = self.target.header.epoch;
        let fact = format!("{found} of {expected} versions that epoch {epoch} ends are open");
        Err(altered(self.target.lake, &self.target.view.name, fact))
    }
}
