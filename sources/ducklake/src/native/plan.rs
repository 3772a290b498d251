//! What must be read to know what changed in a table, or what it holds: everything that the catalog tells, taken
//! from one state of it, so that files can be read after the catalog is let go.
//!
//! The changes after snapshot `a` up to `b` (both ends are snapshots that exist, and so are all between):
//!
//! - *Inserts* are in files that were written after `a`, and in the catalog. File ids are given out in the order of
//!   commits, so that a file with an id below `a`'s next one has no row of a later snapshot; a file that
//!   upkeep wrote later may have rows of any. A row's snapshot is the one that the file has for it, or else the
//!   file's first. Rows that `rewrite_data_files` wrote anew are not inserted by it.
//! - *Deletes* are in delete files that were written after `a`, in the catalog, or mean a whole file that was removed, unless
//!   the rows were written anew. A row is deleted when the first of all deletes of it says so ([`Kills`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_core::TableSchema;

use super::catalog::{Inlined, InlinedColumn};
use super::files::{DataFileRow, DeleteFileRow, Deletes, TableFiles};
use super::layout::{Layout, name_mappings};
use super::nested::{Within, rearranged};
use super::parquet::NameMapping;
use super::session::Session;
use super::stamps::Stamps;
use super::types::{duckdb_type, top};
use super::virtual_columns;
use crate::catalog::{Catalog, SnapshotRow, id_list};
use crate::error::LakeError;

/// A data file and what is known of its rows without reading it.
#[derive(Debug, Clone)]
pub struct FilePlan {
    /// The file.
    pub file: DataFileRow,
    /// How its columns are found; `None`: by field id.
    pub names: Option<Arc<Vec<NameMapping>>>,
    /// The deletes of its rows.
    pub deletes: Deletes,
}

impl FilePlan {
    /// The same with this delete file alone.
    fn with_delete_file(&self, delete: DeleteFileRow) -> FilePlan {
        let mut plan = self.clone();
        plan.deletes.files = vec![delete];
        plan
    }
}

/// What a table holds at a snapshot.
#[derive(Debug, Clone)]
pub struct Content {
    /// Its columns.
    pub layout: Layout,
    /// The snapshot.
    pub snapshot: u64,
    /// Its files.
    pub files: Vec<FilePlan>,
    /// The rows that the catalog keeps.
    pub inlined: Vec<Inlined>,
    /// What is to be said of the snapshots of deletes.
    pub stamps: Stamps,
    /// Whether some of its files count more than once ([`Planner::doubled`]).
    pub doubled: bool,
}

/// What changed in a table.
#[derive(Debug, Clone)]
pub struct Changes {
    /// Its columns.
    pub layout: Layout,
    /// The files that may have rows of the interval.
    pub inserts: Vec<FilePlan>,
    /// The files some of whose rows may have been deleted in the interval.
    pub deletes: Vec<FilePlan>,
    /// The rows in the catalog that came or went in the interval.
    pub inlined: Vec<Inlined>,
    /// The snapshots in which rows were written anew.
    pub rewrites: BTreeSet<u64>,
    /// What is to be said of the snapshots of deletes.
    pub stamps: Stamps,
    /// Whether some of the files with deletes count more than once ([`Planner::doubled`]).
    pub doubled: bool,
}

impl Changes {
    /// The snapshots with deletes that are kept in the catalog.
    pub fn deleted_inlined(&self) -> BTreeSet<u64> {
        let rows = self.inlined.iter().flat_map(|part| part.end.iter().flatten());
        let entries = self.deletes.iter().flat_map(|plan| &plan.deletes.inlined).map(|(_, snapshot)| snapshot);
        rows.chain(entries).copied().collect()
    }

    /// Adds up about how many rows came and went in each snapshot after one and up to another.
    pub fn count(&self, after: u64, to: u64, counts: &mut BTreeMap<u64, u64>) {
        let mut count = |snapshot: u64, rows: u64| {
            if after < snapshot && snapshot <= to && rows > 0 {
                *counts.entry(snapshot).or_default() += rows;
            }
        };
        for part in &self.inlined {
            part.begin.iter().for_each(|begin| count(*begin, 1));
            part.end.iter().flatten().for_each(|end| count(*end, 1));
        }
        for FilePlan { file, .. } in &self.inserts {
            if !self.rewrites.contains(&file.begin) {
                count(if file.begin > after { file.begin } else { file.partial_max.unwrap_or(to).min(to) }, file.rows);
            }
        }
        for FilePlan { file, deletes, .. } in &self.deletes {
            let mut before = 0;
            for delete in &deletes.files {
                count(delete.begin.max(after + 1), delete.count.saturating_sub(before));
                before = delete.count;
            }
            deletes.inlined.iter().for_each(|(_, snapshot)| count(*snapshot, 1));
            if let Some(end) = file.end.filter(|end| !self.rewrites.contains(end)) {
                count(end, file.rows.saturating_sub(before));
            }
        }
    }
}

/// A table of a lake, as the plans need it.
pub struct Planner<'a, 's, 'r> {
    catalog: &'a Session<'s, 'r>,
    table: &'a TableSchema,
    files: TableFiles<'a>,
}

impl<'a, 's, 'r> Planner<'a, 's, 'r> {
    /// For a table; `data_path` is the lake's.
    pub fn new(catalog: &'a Session<'s, 'r>, table: &'a TableSchema, data_path: &str) -> Result<Self, LakeError> {
        let files = TableFiles::of(catalog, table.incarnation, data_path)?;
        Ok(Planner { catalog, table, files })
    }

    /// What the table holds at a snapshot.
    pub fn content(&self, snapshot: u64) -> Result<Content, LakeError> {
        let layout = Layout::of(self.catalog, self.table, snapshot)?;
        let files = self.files.data_at(snapshot)?;
        let inlined = self.inlined(&layout, &valid_at_inlined(snapshot))?;
        let mut files = self.with_deletes(files, snapshot)?;
        let stamps = self.stamps(snapshot, self.first_file_after(snapshot)?, &mut files)?;
        let mut again = Vec::new();
        for plan in &mut files {
            let mut last = self.doubled(plan)?.into_iter();
            if let Some(first) = last.next() {
                again.extend(last.map(|delete| plan.with_delete_file(delete)));
                *plan = plan.with_delete_file(first);
            }
        }
        let doubled = !again.is_empty();
        files.extend(again);
        Ok(Content { layout, snapshot, files, inlined, stamps, doubled })
    }

    /// What changed in the table after a snapshot and in the ones that follow.
    pub fn changes(&self, after: u64, snapshots: &[SnapshotRow]) -> Result<Changes, LakeError> {
        let to = snapshots.last().map_or(after, |last| last.id);
        let id = self.table.incarnation;
        let layout = Layout::of(self.catalog, self.table, to)?;
        let rewrites = snapshots.iter().filter(|snapshot| snapshot.tokens.rewrites(id));
        let rewrites: BTreeSet<u64> = rewrites.map(|snapshot| snapshot.id).collect();
        let first = self.first_file_after(after)?;
        let inserts = self.files.data(&format!("f.data_file_id >= {first} AND f.begin_snapshot <= {to}"))?;
        let may_insert = |file: &DataFileRow| {
            let last = file.partial_max.unwrap_or(file.begin);
            // Where the catalog does not tell the last one, the file does.
            last > after || file.partial_max.is_none()
        };
        let inserts = inserts.into_iter().filter(may_insert).collect::<Vec<_>>();
        let deleted = self.files.deleted_from(first, after, to)?;
        let condition = format!(
            "(f.data_file_id IN ({}) OR (f.end_snapshot > {after} AND f.end_snapshot <= {to}))",
            id_list(&deleted)
        );
        let mut deletes = self.with_deletes(self.files.data(&condition)?, to)?;
        let stamps = self.stamps(after, first, &mut deletes)?;
        let mut doubled = false;
        for plan in &deletes {
            doubled |= !self.doubled(plan)?.is_empty();
        }
        let condition = format!(
            "(begin_snapshot > {after} AND begin_snapshot <= {to}) OR (end_snapshot > {after} AND end_snapshot <= {to})"
        );
        Ok(Changes {
            inlined: self.inlined(&layout, &condition)?,
            inserts: self.without_deletes(inserts)?,
            deletes,
            layout,
            rewrites,
            stamps,
            doubled,
        })
    }

    /// The delete files of a data file that count at once for as long as it does, where there are several. A transaction that deletes
    /// rows and then flushes deletes of the same file writes two, and DuckLake reads the data file once with each. One that a flush
    /// writes for a file which had ended before does no harm.
    fn doubled(&self, plan: &FilePlan) -> Result<Vec<DeleteFileRow>, LakeError> {
        let end = plan.file.end;
        let is_last = |delete: &&DeleteFileRow| delete.end.is_none_or(|ended| end.is_some_and(|end| ended >= end));
        let mut last: Vec<_> = plan.deletes.files.iter().filter(is_last).collect();
        if let Some(end) = end.filter(|_| last.len() > 1) {
            let next = self.catalog.next_file(end.saturating_sub(1))?;
            last.retain(|delete| next.is_some_and(|next| delete.id < next));
        }
        Ok(if last.len() > 1 { last.into_iter().cloned().collect() } else { Vec::new() })
    }

    fn stamps(&self, base: u64, first: u64, plans: &mut [FilePlan]) -> Result<Stamps, LakeError> {
        Stamps::of(self.catalog, self.table, &self.files, (base, first), plans)
    }

    /// The id that the first file written after a snapshot has.
    fn first_file_after(&self, snapshot: u64) -> Result<u64, LakeError> {
        let found = self.catalog.next_file(snapshot)?;
        found.ok_or_else(|| LakeError::NoSnapshot { lake: self.catalog.lake().to_owned(), snapshot })
    }

    fn without_deletes(&self, files: Vec<DataFileRow>) -> Result<Vec<FilePlan>, LakeError> {
        let mappings = name_mappings(self.catalog, &files.iter().filter_map(|file| file.mapping).collect())?;
        let plan = |file: DataFileRow| FilePlan {
            names: file.mapping.and_then(|mapping| mappings.get(&mapping).cloned()),
            file,
            deletes: Deletes::default(),
        };
        Ok(files.into_iter().map(plan).collect())
    }

    fn with_deletes(&self, files: Vec<DataFileRow>, to: u64) -> Result<Vec<FilePlan>, LakeError> {
        let mut deletes = self.files.deletes(&files.iter().map(|file| file.id).collect(), to)?;
        let mut plans = self.without_deletes(files)?;
        for plan in &mut plans {
            plan.deletes = deletes.remove(&plan.file.id).unwrap_or_default();
        }
        Ok(plans)
    }

    /// The rows kept in the catalog that fulfil a condition, one part for each version of the table's columns.
    fn inlined(&self, layout: &Layout, condition: &str) -> Result<Vec<Inlined>, LakeError> {
        let id = self.table.incarnation;
        let tables = self.catalog.inlined_tables(id)?;
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let begins = self.version_begins()?;
        let mut parts = Vec::with_capacity(tables.len());
        for table in &tables {
            let begin = begins.range(..=table.schema_version).next_back().map(|(_, begin)| *begin);
            let rows = self.catalog.columns_at(&[id], begin.unwrap_or(0))?.remove(&id).unwrap_or_default();
            let top = top(&rows);
            let wanted = |id: u64| layout.rows.iter().find(|row| row.id == id);
            let columns = layout.columns.iter().map(|column| {
                if let Some(inlined) = virtual_columns::inlined(column) {
                    return inlined;
                }
                let stored = top.iter().find(|row| row.id == column.id).copied();
                let (before, now) = (stored.map(|column| Within { column, all: &rows }), wanted(column.id));
                let now = now.map(|column| Within { column, all: &layout.rows });
                InlinedColumn {
                    stored: stored.map(|row| row.name.clone()),
                    stored_type: stored.map(|row| duckdb_type(row, &rows)).unwrap_or_default(),
                    rearranged: before.zip(now).and_then(|(before, now)| rearranged(before, now, &layout.defaults)),
                    field: column.field.clone(),
                    default: column.default.clone(),
                }
            });
            let part = self.catalog.inlined(table, &columns.collect::<Vec<_>>(), condition)?;
            if part.batch.num_rows() > 0 {
                parts.push(part);
            }
        }
        Ok(parts)
    }

    /// The snapshot in which each version of the table's columns began.
    fn version_begins(&self) -> Result<BTreeMap<u64, u64>, LakeError> {
        let sql = format!(
            "SELECT schema_version, begin_snapshot FROM {} WHERE table_id = {}",
            self.catalog.catalog("schema_versions"),
            self.table.incarnation
        );
        self.catalog.ask(&sql)?.iter().map(|row| Ok((row.u64(0)?, row.u64(1)?))).collect()
    }
}

/// The condition that an inlined row is there at a snapshot.
fn valid_at_inlined(snapshot: u64) -> String {
    format!("begin_snapshot <= {snapshot} AND (end_snapshot IS NULL OR end_snapshot > {snapshot})")
}
