//! What the lake's catalog tables say, whoever asks them.
//!
//! A catalog row is *valid* at snapshot `n` when `begin_snapshot <= n` and it has no `end_snapshot`
//! or one greater than `n` (DuckLake specification 1.0, "Queries").

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::Micros;

use crate::error::LakeError;
use crate::row::Row;
use crate::tokens::Tokens;

/// The version of the catalog specification that this program reads.
pub const SPEC_VERSION: &str = "1.0";

/// A snapshot and what it says it did.
#[derive(Debug, Clone)]
pub struct SnapshotRow {
    /// Its id.
    pub id: u64,
    /// When it was committed, by the writer's clock.
    pub time: Micros,
    /// What it did.
    pub tokens: Tokens,
    /// The id that the next file after it gets.
    pub next_file: u64,
}

/// A table as the catalog knows it at some snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    /// Its id, which a rename keeps and a recreation changes.
    pub id: u64,
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub name: String,
}

/// Everything about a column that its readers depend on; defaults are not in it. Nested columns
/// are rows of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ColumnRow {
    /// Its id, which a drop and re-addition under the same name changes.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The catalog's name of its type.
    pub column_type: String,
    /// Whether it may hold NULL.
    pub nullable: bool,
    /// Its place among the others.
    pub order: i64,
    /// The column it is nested in.
    pub parent: Option<u64>,
}

/// The columns of some tables, by table id.
pub type Columns = BTreeMap<u64, BTreeSet<ColumnRow>>;

/// A lake's catalog tables and what is asked of them. SQL is in the subset that DuckDB, SQLite and
/// PostgreSQL share; numbers are written into it, texts never.
pub trait Catalog {
    /// The source's name, for errors.
    fn lake(&self) -> &str;

    /// The name in SQL of the catalog table `ducklake_<table>`.
    fn catalog(&self, table: &str) -> String;

    /// The name in SQL of a table beside the catalog's.
    fn beside(&self, table: &str) -> String;

    /// Whether there is a catalog table `ducklake_<table>`.
    fn has_table(&self, table: &str) -> Result<bool, LakeError>;

    /// A TIMESTAMPTZ as microseconds since 1970, in SQL.
    fn micros(&self, expression: &str) -> String;

    /// Whether deletion vectors are read, and not refused.
    fn reads_deletion_vectors(&self) -> bool {
        false
    }

    /// Whether moments are kept as texts. DuckLake compares them as such when snapshots expire by age: a day counts as a whole.
    fn keeps_times_as_texts(&self) -> bool;

    /// The rows of a query.
    fn ask(&self, sql: &str) -> Result<Vec<Row>, LakeError>;

    /// The newest snapshot. Snapshot ids are given out in commit order, so everything up to it is
    /// committed and visible.
    fn head(&self) -> Result<u64, LakeError> {
        let sql = format!("SELECT max(snapshot_id) FROM {}", self.catalog("snapshot"));
        self.optional_number(&sql)?.ok_or_else(|| LakeError::Config {
            lake: self.lake().to_owned(),
            message: "the catalog has no snapshot".into(),
        })
    }

    /// The snapshots from `first` on, in order, at most `count`.
    fn snapshots(&self, first: u64, count: u64) -> Result<Vec<SnapshotRow>, LakeError> {
        let sql = format!(
            "SELECT s.snapshot_id, {}, c.changes_made, s.next_file_id FROM {} s \
             LEFT JOIN {} c ON c.snapshot_id = s.snapshot_id AND c.snapshot_id >= {first} \
             WHERE s.snapshot_id >= {first} ORDER BY s.snapshot_id LIMIT {count}",
            self.micros("s.snapshot_time"),
            self.catalog("snapshot"),
            self.catalog("snapshot_changes"),
        );
        let snapshot = |row: &Row| {
            let tokens = Tokens::parse(row.optional_text(2)?);
            Ok(SnapshotRow { id: row.u64(0)?, time: Micros(row.micros(1)?), tokens, next_file: row.u64(3)? })
        };
        self.ask(&sql)?.iter().map(snapshot).collect()
    }

    /// The snapshots after one that flushed, merged or deleted something, with what they did.
    fn telling(&self, after: u64) -> Result<Vec<(u64, Tokens)>, LakeError> {
        let sql = format!(
            "SELECT snapshot_id, changes_made FROM {} WHERE snapshot_id > {after} \
             AND (changes_made LIKE '%flush%' OR changes_made LIKE '%merge_adjacent%' \
                  OR changes_made LIKE '%delete%') ORDER BY snapshot_id",
            self.catalog("snapshot_changes")
        );
        self.ask(&sql)?.iter().map(|row| Ok((row.u64(0)?, Tokens::parse(row.optional_text(1)?)))).collect()
    }

    /// The snapshot with this id.
    fn snapshot(&self, id: u64) -> Result<SnapshotRow, LakeError> {
        let found = self.snapshots(id, 1)?.into_iter().find(|row| row.id == id);
        found.ok_or_else(|| LakeError::NoSnapshot { lake: self.lake().to_owned(), snapshot: id })
    }

    /// The snapshot `at`, checked to be there; `None` is the newest.
    fn resolve(&self, at: Option<u64>) -> Result<u64, LakeError> {
        match at {
            None => self.head(),
            Some(id) => Ok(self.snapshot(id)?.id),
        }
    }

    /// The oldest snapshot that no later one than it is missing after.
    fn oldest(&self) -> Result<u64, LakeError> {
        let snapshots = self.catalog("snapshot");
        self.number(&format!(
            "SELECT max(s.snapshot_id) FROM {snapshots} s \
             WHERE NOT EXISTS (SELECT 1 FROM {snapshots} b WHERE b.snapshot_id = s.snapshot_id - 1)"
        ))
    }

    /// The snapshots whose ids fulfil a condition (`>= 7`), in order, and when they were committed.
    fn commit_times(&self, condition: &str) -> Result<Vec<(u64, Micros)>, LakeError> {
        let (time, snapshots) = (self.micros("s.snapshot_time"), self.catalog("snapshot"));
        let sql = format!(
            "SELECT s.snapshot_id, {time} FROM {snapshots} s WHERE s.snapshot_id {condition} ORDER BY s.snapshot_id"
        );
        self.ask(&sql)?.iter().map(|row| Ok((row.u64(0)?, Micros(row.micros(1)?)))).collect()
    }

    /// How old snapshots are that `ducklake_expire_snapshots` removes when it is not told: an interval, as DuckDB writes it.
    fn expire_older_than(&self) -> Result<Option<String>, LakeError> {
        let metadata = self.catalog("metadata");
        let sql =
            format!("SELECT m.\"value\" FROM {metadata} m WHERE m.\"key\" = 'expire_older_than' AND m.scope IS NULL");
        let rows = self.ask(&sql)?;
        let value = rows.first().map(|row| row.optional_text(0)).transpose()?.flatten();
        Ok(value.filter(|value| !value.is_empty()).map(str::to_owned))
    }

    /// How many snapshots there are from `first` to `last`, both included.
    fn count_snapshots(&self, first: u64, last: u64) -> Result<u64, LakeError> {
        let snapshots = self.catalog("snapshot");
        self.number(&format!("SELECT count(*) FROM {snapshots} WHERE snapshot_id BETWEEN {first} AND {last}"))
    }

    /// The id that the first file written after a snapshot gets, where the snapshot is there.
    fn next_file(&self, snapshot: u64) -> Result<Option<u64>, LakeError> {
        let snapshots = self.catalog("snapshot");
        self.optional_number(&format!("SELECT next_file_id FROM {snapshots} WHERE snapshot_id = {snapshot}"))
    }

    /// The name in SQL of the table of deletes from a table's files that the catalog keeps, if there is one.
    fn inlined_deletes(&self, table: u64) -> Result<Option<String>, LakeError> {
        let name = format!("inlined_delete_{table}");
        Ok(if self.has_table(&name)? { Some(self.catalog(&name)) } else { None })
    }

    /// The first value of a query; `None` where it is NULL, or there is no row.
    fn optional_number(&self, sql: &str) -> Result<Option<u64>, LakeError> {
        Ok(self.ask(sql)?.first().map(|row| row.optional_u64(0)).transpose()?.flatten())
    }

    /// The first value of a query.
    fn number(&self, sql: &str) -> Result<u64, LakeError> {
        self.ask(sql)?.first().map_or(Ok(0), |row| row.u64(0))
    }

    /// The tables that exist at a snapshot, by name.
    fn tables_at(&self, snapshot: u64) -> Result<Vec<TableRow>, LakeError> {
        let sql = format!(
            "SELECT t.table_id, s.schema_name, t.table_name FROM {} t JOIN {} s ON s.schema_id = t.schema_id \
             WHERE {} AND {}",
            self.catalog("table"),
            self.catalog("schema"),
            valid_at("t", snapshot),
            valid_at("s", snapshot),
        );
        let table = |row: &Row| {
            Ok(TableRow { id: row.u64(0)?, schema: row.text(1)?.to_owned(), name: row.text(2)?.to_owned() })
        };
        let mut tables = self.ask(&sql)?.iter().map(table).collect::<Result<Vec<_>, LakeError>>()?;
        tables.sort_by(|a, b| (&a.schema, &a.name, a.id).cmp(&(&b.schema, &b.name, b.id)));
        Ok(tables)
    }

    /// The columns of some tables at a snapshot.
    fn columns_at(&self, tables: &[u64], snapshot: u64) -> Result<Columns, LakeError> {
        let sql = format!(
            "SELECT table_id, column_id, column_name, column_type, nulls_allowed, column_order, parent_column \
             FROM {} c WHERE c.table_id IN ({}) AND {}",
            self.catalog("column"),
            id_list(tables),
            valid_at("c", snapshot),
        );
        let mut columns: Columns = tables.iter().map(|id| (*id, BTreeSet::new())).collect();
        for row in self.ask(&sql)? {
            let column = ColumnRow {
                id: row.u64(1)?,
                name: row.text(2)?.to_owned(),
                column_type: row.text(3)?.to_owned(),
                nullable: row.bool(4)?,
                order: row.i64(5)?,
                parent: row.optional_u64(6)?,
            };
            columns.entry(row.u64(0)?).or_default().insert(column);
        }
        Ok(columns)
    }

    /// What the columns of a table at a snapshot hold for rows that are older than the column, as text, by column
    /// id; NULL is left out.
    fn initial_defaults(&self, table: u64, snapshot: u64) -> Result<BTreeMap<u64, String>, LakeError> {
        let sql = format!(
            "SELECT column_id, initial_default FROM {} c \
             WHERE c.table_id = {table} AND c.initial_default IS NOT NULL AND {}",
            self.catalog("column"),
            valid_at("c", snapshot),
        );
        self.ask(&sql)?.iter().map(|row| Ok((row.u64(0)?, row.text(1)?.to_owned()))).collect()
    }

    /// Those of some tables that have deletion vectors.
    fn with_deletion_vectors(&self, tables: &[u64]) -> Result<Vec<u64>, LakeError> {
        let sql = format!(
            "SELECT DISTINCT table_id FROM {} WHERE table_id IN ({}) AND format <> 'parquet'",
            self.catalog("delete_file"),
            id_list(tables),
        );
        self.ask(&sql)?.iter().map(|row| row.u64(0)).collect()
    }

    /// Roughly how many rows some tables have now; for progress bars.
    fn rows_estimate(&self, tables: &[u64]) -> Result<Option<u64>, LakeError> {
        let (stats, ids) = (self.catalog("table_stats"), id_list(tables));
        let sql = format!("SELECT CAST(sum(record_count) AS BIGINT) FROM {stats} WHERE table_id IN ({ids})");
        self.optional_number(&sql)
    }
}

/// The condition that a catalog row is valid at a snapshot.
pub fn valid_at(alias: &str, snapshot: u64) -> String {
    format!(
        "{alias}.begin_snapshot <= {snapshot} AND ({alias}.end_snapshot IS NULL OR {alias}.end_snapshot > {snapshot})"
    )
}

/// Ids for an IN list; no table has the id −1.
pub fn id_list<'a>(ids: impl IntoIterator<Item = &'a u64>) -> String {
    let ids = ids.into_iter().map(u64::to_string).collect::<Vec<_>>();
    if ids.is_empty() { "-1".to_owned() } else { ids.join(", ") }
}
