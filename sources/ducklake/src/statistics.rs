//! How large tables are and how they change, by the catalog alone: no data file is opened.
//!
//! `ducklake_table_stats` counts every row that was ever inserted, so rows are counted by the files and deletes that are valid now.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::statistics::per_day;
use tidegate_core::{ColumnStatistics, Micros, Statistics, TableSchema, TableStatistics};

use crate::catalog::{Catalog, SnapshotRow};
use crate::error::LakeError;
use crate::timestamp::days;

/// How far back changes are counted, in days before the newest snapshot.
const WINDOW_DAYS: i64 = 7;

const DAY: i64 = 86_400_000_000;

/// Text of which nothing but the least and greatest value is known is taken for as long as these on the average; a catalog
/// may cut them off.
const BOUND_MAX: usize = 256;

/// What the catalog knows of tables.
pub fn statistics(catalog: &dyn Catalog, tables: &[TableSchema]) -> Result<Statistics, LakeError> {
    let head = catalog.head()?;
    let newest = catalog.snapshot(head)?;
    let mut found = Statistics::default();
    let mut commits: (BTreeSet<u64>, f64) = (BTreeSet::new(), 0.0);
    let snapshots = recent(catalog, &newest)?;
    for table in tables {
        let id = table.incarnation;
        let books = Books::read(catalog, id)?;
        let rate = books.rate(id, &snapshots, newest.time);
        if let Some((_, days, changing)) = &rate {
            commits.0.extend(changing);
            commits.1 = commits.1.max(*days);
        }
        found.tables.push(TableStatistics {
            rows: Some(books.rows()),
            changes_per_day: rate.and_then(|(changes, days, _)| per_day(changes, days)),
            columns: columns(catalog, id, head)?,
        });
    }
    found.commits_per_day = per_day(commits.0.len() as f64, commits.1);
    Ok(found)
}

/// The snapshots of the last days, in order.
fn recent(catalog: &dyn Catalog, newest: &SnapshotRow) -> Result<Vec<SnapshotRow>, LakeError> {
    let (time, snapshots) = (catalog.micros("s.snapshot_time"), catalog.catalog("snapshot"));
    let from = newest.time.0.saturating_sub(WINDOW_DAYS * DAY);
    let first = catalog.number(&format!("SELECT min(s.snapshot_id) FROM {snapshots} s WHERE {time} >= {from}"))?;
    // Where snapshots before it have expired, their files say nothing of when they came.
    catalog.snapshots(first.max(catalog.oldest()?), i64::MAX.unsigned_abs())
}

/// What the catalog has written down of one table: rows that came and went, by the snapshot that wrote them down.
#[derive(Default)]
struct Books {
    /// Rows of files and of the catalog.
    came: BTreeMap<u64, i64>,
    /// Rows deleted from them.
    went: BTreeMap<u64, i64>,
}

impl Books {
    fn read(catalog: &dyn Catalog, table: u64) -> Result<Books, LakeError> {
        let mut books = Books::default();
        for (file, count) in [("data_file", "record_count"), ("delete_file", "delete_count")] {
            for (column, sign) in [("begin_snapshot", 1), ("end_snapshot", -1)] {
                let name = catalog.catalog(file);
                let sql = format!(
                    "SELECT {column}, CAST(sum({count}) AS BIGINT) FROM {name} WHERE table_id = {table} GROUP BY {column}"
                );
                for row in catalog.ask(&sql)? {
                    let Some(snapshot) = row.optional_u64(0)? else { continue };
                    // A file that is replaced has its rows in the next one, and a delete file its deletes.
                    let rows = sign * row.i64(1)?;
                    if file == "data_file" { books.come(snapshot, rows) } else { books.go(snapshot, rows) }
                }
            }
        }
        let counted = |name: &str, column: &str| {
            catalog.ask(&format!("SELECT {column}, CAST(count(*) AS BIGINT) FROM {name} GROUP BY {column}"))
        };
        if let Some(deletes) = catalog.inlined_deletes(table)? {
            for row in counted(&deletes, "begin_snapshot")? {
                books.go(row.u64(0)?, row.i64(1)?);
            }
        }
        let inlined = catalog.catalog("inlined_data_tables");
        for row in catalog.ask(&format!("SELECT table_name FROM {inlined} WHERE table_id = {table}"))? {
            let name = catalog.beside(row.text(0)?);
            for row in counted(&name, "begin_snapshot")? {
                books.come(row.u64(0)?, row.i64(1)?);
            }
            for row in counted(&name, "end_snapshot")? {
                if let Some(snapshot) = row.optional_u64(0)? {
                    books.go(snapshot, row.i64(1)?);
                }
            }
        }
        Ok(books)
    }

    fn come(&mut self, snapshot: u64, rows: i64) {
        *self.came.entry(snapshot).or_default() += rows;
    }

    fn go(&mut self, snapshot: u64, rows: i64) {
        *self.went.entry(snapshot).or_default() += rows;
    }

    /// Rows that are there.
    fn rows(&self) -> u64 {
        u64::try_from(self.came.values().sum::<i64>() - self.went.values().sum::<i64>()).unwrap_or(0)
    }

    /// Rows that came or went after the first of the snapshots that is known to be after the table's first rows, the days since,
    /// and the snapshots that did it. The table's first rows are its load, not a change; maintenance is none either.
    fn rate(&self, table: u64, snapshots: &[SnapshotRow], newest: Micros) -> Option<(f64, f64, Vec<u64>)> {
        let loaded = self.came.iter().find(|(_, rows)| **rows > 0).map(|(snapshot, _)| *snapshot)?;
        let since = snapshots.iter().find(|snapshot| snapshot.id >= loaded)?;
        let changing: Vec<u64> = snapshots
            .iter()
            .filter(|row| row.id > since.id && row.tokens.name(table))
            .filter(|row| !row.tokens.merge(table) && !row.tokens.rewrites(table) && !row.tokens.flush(table))
            .map(|row| row.id)
            .collect();
        let rows = |of: &BTreeMap<u64, i64>, snapshot| of.get(snapshot).copied().unwrap_or(0).unsigned_abs() as f64;
        let changes = changing.iter().map(|snapshot| rows(&self.came, snapshot) + rows(&self.went, snapshot)).sum();
        let days = (newest.0 - since.time.0) as f64 / DAY as f64;
        Some((changes, days, changing))
    }
}

/// What the least and the greatest values tell of a table's own columns.
fn columns(catalog: &dyn Catalog, table: u64, snapshot: u64) -> Result<Vec<ColumnStatistics>, LakeError> {
    let sql = format!(
        "SELECT column_id, min_value, max_value FROM {} WHERE table_id = {table} AND min_value IS NOT NULL \
         AND max_value IS NOT NULL",
        catalog.catalog("table_column_stats")
    );
    let known = catalog.columns_at(&[table], snapshot)?;
    let mut found = Vec::new();
    for row in catalog.ask(&sql)? {
        let (id, least, greatest) = (row.u64(0)?, row.text(1)?, row.text(2)?);
        let column = known.values().flatten().find(|column| column.id == id && column.parent.is_none());
        if let Some(column) = column {
            let (bytes, distinct) = told(&column.column_type, least, greatest);
            found.push(ColumnStatistics { name: column.name.clone(), bytes, distinct });
        }
    }
    Ok(found)
}

/// Bytes and different values of a column with these bounds.
fn told(column_type: &str, least: &str, greatest: &str) -> (Option<f64>, Option<f64>) {
    let text = ["varchar", "json", "blob"].contains(&column_type);
    let one = (least == greatest).then_some(1.0);
    if text {
        let length = |bound: &str| bound.len().min(BOUND_MAX) as f64;
        return (Some((length(least) + length(greatest)) / 2.0), one);
    }
    let scale = column_type.strip_prefix("decimal(").and_then(|rest| rest.trim_end_matches(')').split(',').nth(1));
    let scale: Option<i32> = scale.and_then(|digits| digits.trim().parse().ok());
    let numbers = least.parse::<f64>().ok().zip(greatest.parse::<f64>().ok());
    let values = match (scale, numbers) {
        (Some(scale), Some((least, greatest))) => Some((greatest - least) * 10f64.powi(scale) + 1.0),
        (None, Some((least, greatest))) if column_type.contains("int") || column_type == "boolean" => {
            Some(greatest - least + 1.0)
        }
        _ if column_type == "date" => days(greatest).zip(days(least)).map(|(last, first)| (last - first) as f64 + 1.0),
        _ => None,
    };
    (None, values.or(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_tell_how_many_values_there_may_be() {
        assert_eq!(told("int64", "5", "14"), (None, Some(10.0)));
        assert_eq!(told("decimal(12,2)", "0.00", "9.99"), (None, Some(1000.0)));
        assert_eq!(told("date", "2020-02-28", "2020-03-01"), (None, Some(3.0)));
        assert_eq!(told("boolean", "0", "1"), (None, Some(2.0)));
        assert_eq!(told("varchar", "ab", "abcd"), (Some(3.0), None));
        assert_eq!(told("float64", "0.5", "7.5"), (None, None));
        assert_eq!(told("float64", "0.5", "0.5"), (None, Some(1.0)));
    }
}
