//! Keeping the tables in good order: rows that the catalog keeps go into files, files of which much was
//! removed are written anew, small files become larger ones, and, where the pipeline file says so, old snapshots and the files that nobody needs any more
//! go. None of it changes a row, now or, but for expired snapshots, in time travel.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_core::{Micros, ViewName};
use tidegate_duck::history::TIMES;
use tidegate_duck::lake::LakeCatalog;
use tidegate_duck::{Access, quote_literal};

use crate::config::{MaintenanceConfig, Place};
use crate::epochs::{EPOCHS, Epochs};
use crate::error::DucklakeSinkError;
use crate::history::names::{HISTORIES, Names};
use crate::lake::{Inserts, Lake, Relation};
use crate::stage::Stage;

/// Snapshots that are expired at once.
const EXPIRED_AT_ONCE: usize = 1_000;

/// When what is done, and what was done.
#[derive(Debug)]
pub(crate) struct Upkeep {
    config: MaintenanceConfig,
    /// The number of files that a table was left with, by the table's number.
    files_left: BTreeMap<u64, u64>,
}

impl Upkeep {
    pub(crate) fn new(config: MaintenanceConfig) -> Self {
        Upkeep { config, files_left: BTreeMap::new() }
    }

    /// Does what is due for the tables of some views and the table of epochs.
    pub(crate) fn run(
        &mut self,
        place: &Place,
        stage: &Stage,
        views: &[ViewName],
        now: Micros,
    ) -> Result<(), DucklakeSinkError> {
        // Where there is no lake, there is nothing to do, and none is made.
        if Lake::attach(&stage.duck, place, Access::ReadOnly, Inserts::AsUsual)?.is_none() {
            return Ok(());
        }
        let Some(lake) = Lake::attach(&stage.duck, place, Access::ReadWrite, Inserts::AsUsual)? else {
            return Ok(());
        };
        let survey = lake.survey()?;
        let epochs = Epochs::read(&lake, &survey)?;
        let ours: Vec<&ViewName> = views.iter().filter(|view| epochs.knows(view)).collect();
        let kept = ours.iter().map(|view| Names::of(view)).flat_map(|names| names.tables().map(str::to_owned));
        let shown = ours.iter().map(|view| view.as_str().to_owned());
        for name in shown.chain(kept).chain([EPOCHS, HISTORIES, TIMES].map(str::to_owned)) {
            if let Some(Relation { name, table: Some(table), .. }) = survey.relation(&name) {
                if self.config.flush_rows > 0 && inlined_rows(&lake, *table)? >= self.config.flush_rows {
                    flush(&lake, name)?;
                }
                self.rewrite(&lake, name, *table)?;
                self.merge(&lake, name, *table)?;
            }
        }
        self.config.expire_snapshots_after.map_or(Ok(()), |age| expire_snapshots(&lake, now, age))?;
        self.config.remove_files_after.map_or(Ok(()), |age| remove_files(&lake, now, age))
    }

    /// Writes files anew of which much was removed. What the catalog keeps goes into files first: removals
    /// that are flushed after the file they belong to was rewritten damage the lake's history.
    fn rewrite(&self, lake: &Lake<'_>, name: &str, table: u64) -> Result<(), DucklakeSinkError> {
        let [data, delete] = ["data_file", "delete_file"].map(|table| lake.catalog(table));
        let worn = format!(
            "SELECT count(*) FROM {data} f JOIN {delete} d ON d.data_file_id = f.data_file_id \
             WHERE f.table_id = {table} AND f.end_snapshot IS NULL AND d.end_snapshot IS NULL \
             AND d.delete_count * 100 > f.record_count * {}",
            self.config.rewrite_percent
        );
        if self.config.rewrite_percent == 100 || lake.count(&worn)? == 0 {
            return Ok(());
        }
        if inlined_rows(lake, table)? > 0 {
            flush(lake, name)?;
        }
        let (schema, table, part) =
            (quote_literal(&lake.place.schema), quote_literal(name), f64::from(self.config.rewrite_percent) / 100.0);
        let rewrite = format!(
            "ducklake_rewrite_data_files({}, {table}, schema => {schema}, delete_threshold => {part:?})",
            lake.literal()
        );
        in_a_snapshot(lake, &format!("rewrite of {name}"), &rewrite)
    }

    fn merge(&mut self, lake: &Lake<'_>, name: &str, table: u64) -> Result<(), DucklakeSinkError> {
        let count = || {
            let files = lake.catalog("data_file");
            lake.count(&format!("SELECT count(*) FROM {files} WHERE table_id = {table} AND end_snapshot IS NULL"))
        };
        let left = self.files_left.get(&table).copied().unwrap_or(0);
        if self.config.merge_files == 0 || count()? < left + self.config.merge_files {
            return Ok(());
        }
        let (schema, name_literal) = (quote_literal(&lake.place.schema), quote_literal(name));
        let merge = format!("ducklake_merge_adjacent_files({}, {name_literal}, schema => {schema})", lake.literal());
        in_a_snapshot(lake, &format!("merge of {name}"), &merge)?;
        self.files_left.insert(table, count()?);
        Ok(())
    }
}

fn flush(lake: &Lake<'_>, name: &str) -> Result<(), DucklakeSinkError> {
    let (schema, table) = (quote_literal(&lake.place.schema), quote_literal(name));
    let flush =
        format!("ducklake_flush_inlined_data({}, schema_name => {schema}, table_name => {table})", lake.literal());
    in_a_snapshot(lake, &format!("flush of {name}"), &flush)
}

/// A call as a snapshot that says what it is.
fn in_a_snapshot(lake: &Lake<'_>, message: &str, call: &str) -> Result<(), DucklakeSinkError> {
    lake.execute("BEGIN")?;
    lake.call("set_commit_message", &format!("'tidegate', {}", quote_literal(message)))?;
    lake.execute(&format!("CALL {call}"))?;
    lake.execute("COMMIT")?;
    tracing::debug!(lake = lake.place.shown, "{message}");
    Ok(())
}

/// The rows of a table that the catalog keeps, removed ones and removals included.
fn inlined_rows(lake: &Lake<'_>, table: u64) -> Result<u64, DucklakeSinkError> {
    let kept = format!("SELECT table_name FROM {} WHERE table_id = {table}", lake.catalog("inlined_data_tables"));
    let mut kept: Vec<String> = lake.rows(&kept, [], |row| row.get(0))?;
    let removals = format!("ducklake_inlined_delete_{table}");
    let listed = "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND table_name = ?";
    kept.extend(lake.rows(listed, [lake.catalog_database().as_str(), &removals], |row| row.get::<_, String>(0))?);
    kept.iter()
        .try_fold(0, |rows, name| Ok(rows + lake.count(&format!("SELECT count(*) FROM {}", lake.catalog_table(name)))?))
}

/// Expires the snapshots that are older than that, but the newest. They are named one by one: the
/// extension's own `older_than` expires all of them where the catalog is in SQLite.
fn expire_snapshots(lake: &Lake<'_>, now: Micros, age: Duration) -> Result<(), DucklakeSinkError> {
    let snapshots = lake.catalog("snapshot");
    let sql = format!(
        "SELECT CAST(snapshot_id AS UBIGINT) FROM {snapshots} \
         WHERE epoch_us(CAST(snapshot_time AS TIMESTAMPTZ)) < {} AND snapshot_id < (SELECT max(snapshot_id) FROM {snapshots}) \
         ORDER BY ALL",
        now.before(age).0
    );
    let expired: Vec<u64> = lake.rows(&sql, [], |row| row.get(0))?;
    for part in expired.chunks(EXPIRED_AT_ONCE) {
        let versions = part.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        lake.execute(&format!("CALL ducklake_expire_snapshots({}, versions => [{versions}])", lake.literal()))?;
    }
    Ok(())
}

/// Removes the files that no snapshot has needed for so long. In SQLite, where the extension does not
/// look at their age, only when that is true of all of them.
fn remove_files(lake: &Lake<'_>, now: Micros, age: Duration) -> Result<(), DucklakeSinkError> {
    let before = now.before(age).0;
    let waiting = lake.catalog("files_scheduled_for_deletion");
    let since = "epoch_us(CAST(schedule_start AS TIMESTAMPTZ))";
    let due = lake.count(&format!("SELECT count(*) FROM {waiting} WHERE {since} < {before}"))?;
    let all = lake.count(&format!("SELECT count(*) FROM {waiting}"))?;
    let which = match lake.place.catalog {
        _ if due == 0 => return Ok(()),
        _ if due == all => "cleanup_all => true".to_owned(),
        LakeCatalog::Sqlite(_) => return Ok(()),
        LakeCatalog::DuckDb(_) | LakeCatalog::Postgres(_) => {
            format!("older_than => make_timestamp({before})::TIMESTAMPTZ")
        }
    };
    lake.execute(&format!("CALL ducklake_cleanup_old_files({}, {which})", lake.literal()))
}
