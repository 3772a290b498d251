//! What deletion vectors have erased.
//!
//! A deletion vector (a Puffin file) names all rows of its data file that were deleted so far, and the snapshot of the last of
//! these deletes alone. The delete file that it takes the place of leaves the catalog, so that DuckLake's own time travel has those rows
//! deleted later than they were. A Parquet delete file that takes the place of a vector goes on with that
//! (`DuckLakeDelete::FlushMergedDeletionVector`).
//!
//! What a table held at a snapshot *s* is known nevertheless where
//!
//! - no data file that was there at *s* has a delete file now with deletes of a later snapshot that wrote a vector, or
//! - no delete file of the table was written up to *s* since the oldest of such data files began, and the deletes that the catalog kept
//!   are still there.
//!
//! Everything else is unknown. The newest snapshot is always known. That is why the caller is told of expiry and not of a change of schema:
//! the latter names a snapshot to go on from, which the next delete would erase in turn.

use std::collections::BTreeSet;

use tidegate_core::TableSchema;

use super::stamps::is_vector;
use crate::catalog::Catalog;
use crate::commits::Commits;
use crate::error::LakeError;
use crate::row::Row;
use crate::tokens::Tokens;

/// Why it is not known what a table held at a snapshot, in words; `None` where it is known.
pub fn erased(catalog: &dyn Catalog, table: &TableSchema, snapshot: u64) -> Result<Option<String>, LakeError> {
    let id = table.incarnation;
    if !has_vectors(catalog, id)? {
        return Ok(None);
    }
    let Some(since) = suspect(catalog, id, snapshot)? else { return Ok(None) };
    if is_whole(catalog, since, snapshot)? && !may_delete(catalog, id, since, snapshot)? {
        return Ok(None);
    }
    Ok(Some(format!(
        "deletion vectors of {} keep no history of deletes: the lake no longer tells which rows the table held at snapshot {snapshot}",
        table.name
    )))
}

/// Whether the table may ever have had deletion vectors. Where a setting of the session alone asked for them, and they were removed
/// since, nothing in the catalog shows it.
fn has_vectors(catalog: &dyn Catalog, table: u64) -> Result<bool, LakeError> {
    if catalog.reads_deletion_vectors() {
        return Ok(true);
    }
    let count = |sql: String| catalog.number(&sql);
    let (options, delete) = (catalog.catalog("metadata"), catalog.catalog("delete_file"));
    let gone = catalog.catalog("files_scheduled_for_deletion");
    Ok(count(format!("SELECT count(*) FROM {options} WHERE key = 'write_deletion_vectors'"))? > 0
        || count(format!("SELECT count(*) FROM {delete} WHERE table_id = {table} AND format = 'puffin'"))? > 0
        || count(format!("SELECT count(*) FROM {gone} WHERE path LIKE '%.puffin'"))? > 0)
}

/// The first snapshot of the oldest data file that was there at a snapshot and some of whose deletes may have a later one than they
/// were made in.
fn suspect(catalog: &dyn Catalog, table: u64, snapshot: u64) -> Result<Option<u64>, LakeError> {
    let sql = format!(
        "SELECT f.begin_snapshot, d.format, d.partial_max FROM {} d JOIN {} f ON f.data_file_id = d.data_file_id \
         WHERE d.table_id = {table} AND coalesce(d.partial_max, d.begin_snapshot) > {snapshot} AND f.begin_snapshot <= {snapshot} \
         AND (f.end_snapshot IS NULL OR f.end_snapshot > {snapshot})",
        catalog.catalog("delete_file"),
        catalog.catalog("data_file"),
    );
    let (mut since, mut vectors) = (None::<u64>, None);
    for row in &catalog.ask(&sql)? {
        let begin = row.u64(0)?;
        let is_suspect = match row.optional_u64(2)? {
            _ if !row.text(1)?.eq_ignore_ascii_case("parquet") => true,
            // The first delete file of its data file.
            None => false,
            Some(last) => {
                let first = match vectors {
                    Some(first) => first,
                    None => *vectors.insert(first_vector(catalog, table, snapshot)?),
                };
                first.is_some_and(|first| first <= last)
            }
        };
        if is_suspect {
            since = Some(since.map_or(begin, |since| since.min(begin)));
        }
    }
    Ok(since)
}

/// The first snapshot after one that may have written a deletion vector which another delete file has replaced.
fn first_vector(catalog: &dyn Catalog, table: u64, snapshot: u64) -> Result<Option<u64>, LakeError> {
    let commits = Commits::around(catalog, snapshot)?;
    let later = commits.within(snapshot + 1..u64::MAX);
    let deleting = later.iter().filter(|commit| commit.tokens.delete_from_files(table));
    let ids = deleting.clone().flat_map(|commit| commit.files.clone());
    let ids = ids.collect::<Vec<_>>();
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(None) };
    let between = |column: &str| format!("{column} BETWEEN {first} AND {last}");
    let kept = |kind: &str| {
        let column = format!("{kind}_id");
        format!("SELECT {column} AS id, '' AS path FROM {} WHERE {}", catalog.catalog(kind), between(&column))
    };
    let gone = format!(
        "SELECT data_file_id AS id, path FROM {} WHERE {}",
        catalog.catalog("files_scheduled_for_deletion"),
        between("data_file_id"),
    );
    let sql = format!("{} UNION ALL {} UNION ALL {gone}", kept("data_file"), kept("delete_file"));
    let row = |row: &Row| Ok((row.u64(0)?, is_vector(row.text(1)?)));
    let known = catalog.ask(&sql)?.iter().map(row).collect::<Result<Vec<_>, LakeError>>()?;
    // What is not known any more may have been one.
    let may_be = |id: u64| known.iter().find(|(known, _)| *known == id).is_none_or(|(_, is_vector)| *is_vector);
    let mut wrote = deleting.filter(|commit| commit.files.clone().any(may_be));
    Ok(wrote.next().map(|commit| commit.snapshot))
}

/// Whether no snapshot from one to another has expired.
fn is_whole(catalog: &dyn Catalog, first: u64, last: u64) -> Result<bool, LakeError> {
    Ok(catalog.count_snapshots(first, last)? == last + 1 - first)
}

/// Whether delete files of the table may have been written in a snapshot from one to another, or deletes that were made there and kept
/// in the catalog may have been moved into files since.
fn may_delete(catalog: &dyn Catalog, table: u64, first: u64, last: u64) -> Result<bool, LakeError> {
    let sql = format!(
        "SELECT changes_made, snapshot_id FROM {} WHERE snapshot_id BETWEEN {first} AND {last} \
         AND (changes_made IS NULL OR changes_made LIKE '%delete%' OR changes_made LIKE '%flush%')",
        catalog.catalog("snapshot_changes"),
    );
    let mut inlined = BTreeSet::new();
    for row in &catalog.ask(&sql)? {
        let tokens = Tokens::parse(row.optional_text(0)?);
        if tokens.may_flush(table) {
            return Ok(true);
        }
        if tokens.delete_inlined(table) {
            inlined.insert(row.u64(1)?);
        }
    }
    // A flush moves all of a table's.
    if let Some(entries) = catalog.inlined_deletes(table)?.filter(|_| !inlined.is_empty()) {
        for row in &catalog.ask(&format!("SELECT DISTINCT begin_snapshot FROM {entries} WHERE begin_snapshot <= {last}"))? {
            inlined.remove(&row.u64(0)?);
        }
    }
    Ok(!inlined.is_empty())
}
