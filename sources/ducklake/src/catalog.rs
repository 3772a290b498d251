//! What the lake's catalog tables say, asked through the attached lake.
//!
//! A catalog row is *valid* at snapshot `n` when `begin_snapshot <= n` and it has no `end_snapshot`
//! or one greater than `n` (DuckLake specification 1.0, "Queries").

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::Micros;

use crate::connection::Session;
use crate::error::LakeError;
use crate::tokens::Tokens;

const DOING: &str = "reading the catalog";

/// A snapshot and what it says it did.
pub struct SnapshotRow {
    /// Its id.
    pub id: u64,
    /// When it was committed, by the writer's clock.
    pub time: Micros,
    /// What it did.
    pub tokens: Tokens,
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

impl Session<'_> {
    /// The newest snapshot. Snapshot ids are given out in commit order, so everything up to it is
    /// committed and visible.
    pub fn head(&self) -> Result<u64, LakeError> {
        let sql = format!("SELECT CAST(max(snapshot_id) AS UBIGINT) FROM {}", self.catalog("snapshot"));
        let head: Option<u64> = self.values(&sql, [], DOING)?.into_iter().next().flatten();
        head.ok_or_else(|| LakeError::Config {
            lake: self.lake.to_owned(),
            message: "the catalog has no snapshot".into(),
        })
    }

    /// The snapshots from `first` on, in order, at most `count`.
    pub fn snapshots(&self, first: u64, count: u64) -> Result<Vec<SnapshotRow>, LakeError> {
        let sql = format!(
            "SELECT CAST(s.snapshot_id AS UBIGINT), epoch_us(CAST(s.snapshot_time AS TIMESTAMPTZ)), c.changes_made \
             FROM {} s LEFT JOIN {} c ON c.snapshot_id = s.snapshot_id AND c.snapshot_id >= {first} \
             WHERE s.snapshot_id >= {first} ORDER BY s.snapshot_id LIMIT {count}",
            self.catalog("snapshot"),
            self.catalog("snapshot_changes"),
        );
        self.rows(&sql, [], DOING, |row| {
            let changes: Option<String> = row.get(2)?;
            Ok(SnapshotRow { id: row.get(0)?, time: Micros(row.get(1)?), tokens: Tokens::parse(changes.as_deref()) })
        })
    }

    /// The snapshot with this id.
    pub fn snapshot(&self, id: u64) -> Result<SnapshotRow, LakeError> {
        let found = self.snapshots(id, 1)?.into_iter().find(|row| row.id == id);
        found.ok_or_else(|| LakeError::NoSnapshot { lake: self.lake.to_owned(), snapshot: id })
    }

    /// How many snapshots there are from `first` to `last`, both included.
    pub fn count_snapshots(&self, first: u64, last: u64) -> Result<u64, LakeError> {
        let sql = format!(
            "SELECT CAST(count(*) AS UBIGINT) FROM {} WHERE snapshot_id BETWEEN {first} AND {last}",
            self.catalog("snapshot")
        );
        Ok(self.values(&sql, [], DOING)?.into_iter().next().unwrap_or(0))
    }

    /// The tables that exist at a snapshot, by name.
    pub fn tables_at(&self, snapshot: u64) -> Result<Vec<TableRow>, LakeError> {
        let valid = |alias| valid_at(alias, snapshot);
        let sql = format!(
            "SELECT CAST(t.table_id AS UBIGINT), s.schema_name, t.table_name FROM {} t JOIN {} s USING (schema_id) \
             WHERE {} AND {} ORDER BY ALL",
            self.catalog("table"),
            self.catalog("schema"),
            valid("t"),
            valid("s"),
        );
        let mut tables =
            self.rows(&sql, [], DOING, |row| Ok(TableRow { id: row.get(0)?, schema: row.get(1)?, name: row.get(2)? }))?;
        tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        Ok(tables)
    }

    /// The columns of some tables at a snapshot.
    pub fn columns_at(&self, tables: &[u64], snapshot: u64) -> Result<BTreeMap<u64, BTreeSet<ColumnRow>>, LakeError> {
        let sql = format!(
            "SELECT CAST(table_id AS UBIGINT), CAST(column_id AS UBIGINT), column_name, column_type, \
                    CAST(nulls_allowed AS BOOLEAN), CAST(column_order AS BIGINT), CAST(parent_column AS UBIGINT) \
             FROM {} c WHERE c.table_id IN ({}) AND {}",
            self.catalog("column"),
            id_list(tables),
            valid_at("c", snapshot),
        );
        let rows = self.rows(&sql, [], DOING, |row| {
            let column = ColumnRow {
                id: row.get(1)?,
                name: row.get(2)?,
                column_type: row.get(3)?,
                nullable: row.get(4)?,
                order: row.get(5)?,
                parent: row.get(6)?,
            };
            Ok((row.get::<_, u64>(0)?, column))
        })?;
        let mut columns: BTreeMap<u64, BTreeSet<ColumnRow>> = tables.iter().map(|id| (*id, BTreeSet::new())).collect();
        for (table, column) in rows {
            columns.entry(table).or_default().insert(column);
        }
        Ok(columns)
    }

    /// Those of some tables that have deletion vectors.
    pub fn with_deletion_vectors(&self, tables: &[u64]) -> Result<Vec<u64>, LakeError> {
        let sql = format!(
            "SELECT DISTINCT CAST(table_id AS UBIGINT) FROM {} WHERE table_id IN ({}) AND format <> 'parquet'",
            self.catalog("delete_file"),
            id_list(tables),
        );
        self.values(&sql, [], DOING)
    }

    /// Whether the change feed answers wrongly about a table at a snapshot. Two histories do that:
    /// one transaction that deletes some rows of a file and later the rest of them (the first ones are
    /// in the feed twice), and a flush of inlined deletes after the file was rewritten (the file has
    /// two delete files at once, and later snapshots repeat deletes of the first).
    pub fn feed_misleads(&self, table: u64, snapshot: u64) -> Result<bool, LakeError> {
        let (data, delete) = (self.catalog("data_file"), self.catalog("delete_file"));
        let sql = format!(
            "SELECT EXISTS (FROM {data} f JOIN {delete} d ON d.data_file_id = f.data_file_id \
                 WHERE f.table_id = {table} AND f.end_snapshot = {snapshot} AND d.begin_snapshot = {snapshot}) \
             OR EXISTS (FROM {delete} a JOIN {delete} b ON b.data_file_id = a.data_file_id \
                 WHERE a.table_id = {table} AND b.table_id = {table} AND b.begin_snapshot <= {snapshot} \
                 AND a.begin_snapshot < b.begin_snapshot AND coalesce(a.end_snapshot > b.begin_snapshot, true))"
        );
        Ok(self.values(&sql, [], DOING)?.into_iter().next().unwrap_or(false))
    }

    /// Whether the lake can no longer say what a table held at a snapshot: one of its files has two
    /// delete files there, and only one of them is applied.
    pub fn is_damaged(&self, table: u64, snapshot: u64) -> Result<bool, LakeError> {
        let sql = format!(
            "SELECT count(*) > 0 FROM (SELECT d.data_file_id FROM {} d JOIN {} f ON f.data_file_id = d.data_file_id \
             WHERE f.table_id = {table} AND {} AND {} GROUP BY d.data_file_id HAVING count(*) > 1)",
            self.catalog("delete_file"),
            self.catalog("data_file"),
            valid_at("d", snapshot),
            valid_at("f", snapshot),
        );
        Ok(self.values(&sql, [], DOING)?.into_iter().next().unwrap_or(false))
    }

    /// Roughly how many rows some tables have now; for progress bars.
    pub fn rows_estimate(&self, tables: &[u64]) -> Result<Option<u64>, LakeError> {
        let sql = format!(
            "SELECT CAST(sum(record_count) AS UBIGINT) FROM {} WHERE table_id IN ({})",
            self.catalog("table_stats"),
            id_list(tables),
        );
        Ok(self.values(&sql, [], DOING)?.into_iter().next().flatten())
    }

    /// Whether the catalog names a file whose path ends like this.
    pub fn names_file(&self, name: &str) -> Result<bool, LakeError> {
        let of = |table| format!("SELECT path FROM {}", self.catalog(table));
        let sql = format!(
            "SELECT count(*) > 0 FROM ({} UNION ALL {}) WHERE ends_with(path, ?)",
            of("data_file"),
            of("delete_file")
        );
        Ok(self.values(&sql, [name], DOING)?.into_iter().next().unwrap_or(false))
    }
}

fn valid_at(alias: &str, snapshot: u64) -> String {
    format!(
        "{alias}.begin_snapshot <= {snapshot} AND ({alias}.end_snapshot IS NULL OR {alias}.end_snapshot > {snapshot})"
    )
}

/// Ids for an IN list; no table has the id −1.
fn id_list(ids: &[u64]) -> String {
    let ids = ids.iter().map(u64::to_string).collect::<Vec<_>>();
    if ids.is_empty() { "-1".to_owned() } else { ids.join(", ") }
}
