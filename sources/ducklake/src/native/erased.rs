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
//! - no delete file that was written up to *s*, since such a data file was, has been replaced, and the deletes that the catalog kept up to *s*
//!   are still there. Ids of files tell: they are given out in the order of commits, a delete file's after its data file's.
//!
//! Everything else is unknown. The newest snapshot is always known. That is why the caller is told of expiry and not of a change of schema:
//! the latter names a snapshot to go on from, which the next delete would erase in turn.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::TableSchema;

use super::files::TableFiles;
use super::session::Session;
use super::stamps::{is_delete_file, is_vector};
use crate::catalog::Catalog;
use crate::commits::{Commit, Commits};
use crate::error::LakeError;
use crate::row::Row;
use crate::tokens::Tokens;

/// The oldest data file whose deletes may have a later snapshot than they were made in.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// Its id.
    file: u64,
    /// Its first snapshot.
    since: u64,
}

/// Why it is not known what a table held at a snapshot, in words; `None` where it is known, as it is where there never
/// [were](had_vectors) deletion vectors. `data_path` is the lake's.
pub fn erased(
    catalog: &Session<'_, '_>,
    table: &TableSchema,
    data_path: &str,
    snapshot: u64,
) -> Result<Option<String>, LakeError> {
    let id = table.incarnation;
    let Some(suspect) = suspect(catalog, id, snapshot)? else { return Ok(None) };
    let files = TableFiles::of(catalog, id, data_path)?;
    if !was_replaced(catalog, &files, suspect, snapshot)? && !was_flushed(catalog, id, suspect, snapshot)? {
        return Ok(None);
    }
    Ok(Some(format!(
        "deletion vectors of {} keep no history of deletes: the lake no longer tells which rows the table held at snapshot {snapshot}",
        table.name
    )))
}

/// Whether there may ever have been deletion vectors in tables that are not refused. Where a setting of the session alone asked for
/// them, and they were removed since, nothing in the catalog shows it.
pub fn had_vectors(catalog: &dyn Catalog) -> Result<bool, LakeError> {
    if catalog.reads_deletion_vectors() {
        return Ok(true);
    }
    let (options, gone) = (catalog.catalog("metadata"), catalog.catalog("files_scheduled_for_deletion"));
    let found = catalog.number(&format!(
        "SELECT count(*) FROM (SELECT 1 FROM {options} WHERE key = 'write_deletion_vectors' \
         UNION ALL SELECT 1 FROM {gone} WHERE path LIKE '%.puffin') found"
    ))?;
    Ok(found > 0)
}

/// The oldest of the data files that were there at a snapshot and some of whose deletes may have a later one than they were made in.
fn suspect(catalog: &dyn Catalog, table: u64, snapshot: u64) -> Result<Option<Suspect>, LakeError> {
    let sql = format!(
        "SELECT f.data_file_id, f.begin_snapshot, d.format, d.partial_max FROM {} d JOIN {} f ON f.data_file_id = d.data_file_id \
         WHERE d.table_id = {table} AND coalesce(d.partial_max, d.begin_snapshot) > {snapshot} AND f.begin_snapshot <= {snapshot} \
         AND (f.end_snapshot IS NULL OR f.end_snapshot > {snapshot})",
        catalog.catalog("delete_file"),
        catalog.catalog("data_file"),
    );
    let (mut oldest, mut vectors) = (None::<Suspect>, None);
    for row in &catalog.ask(&sql)? {
        let (file, since) = (row.u64(0)?, row.u64(1)?);
        let is_suspect = match row.optional_u64(3)? {
            _ if !row.text(2)?.eq_ignore_ascii_case("parquet") => true,
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
            let known = oldest.unwrap_or(Suspect { file, since });
            oldest = Some(Suspect { file: known.file.min(file), since: known.since.min(since) });
        }
    }
    Ok(oldest)
}

/// The first snapshot after one that may have written a deletion vector which another delete file has replaced.
fn first_vector(catalog: &dyn Catalog, table: u64, snapshot: u64) -> Result<Option<u64>, LakeError> {
    let commits = Commits::around(catalog, snapshot)?;
    let later = commits.within(snapshot + 1..u64::MAX);
    let (Some(first), Some(last)) = (later.first(), later.last()) else { return Ok(None) };
    let known = known_files(catalog, first.files.start, last.files.end)?;
    // What is not known any more may have been one. Deletes of a transaction's own rows have no token of their own.
    let may_be = |id: u64| known.get(&id).is_none_or(|replaced| is_vector(replaced));
    let names = |commit: &&Commit| commit.tokens.name(table);
    let mut wrote = later.iter().filter(names).filter(|commit| commit.files.clone().any(may_be));
    Ok(wrote.next().map(|commit| commit.snapshot))
}

/// Whether a delete file that was written for the table up to a snapshot has been replaced since.
fn was_replaced(
    catalog: &dyn Catalog,
    files: &TableFiles<'_>,
    suspect: Suspect,
    snapshot: u64,
) -> Result<bool, LakeError> {
    let Some(end) = catalog.next_file(snapshot)? else { return Ok(true) };
    let known = known_files(catalog, suspect.file, end)?;
    // One of another table lies elsewhere. Of what is not known any more nobody can say what it was.
    let is_of = |path: &str| is_delete_file(path) && files.may_hold(path);
    Ok(known.values().any(|replaced| is_of(replaced)) || (suspect.file..end).any(|id| !known.contains_key(&id)))
}

/// The files of the lake with ids from one on and before another that the catalog knows, by id: their paths as it has them, where they
/// were replaced; empty where they were not.
fn known_files(catalog: &dyn Catalog, first: u64, end: u64) -> Result<BTreeMap<u64, String>, LakeError> {
    let within = |column: &str| format!("{column} >= {first} AND {column} < {end}");
    let kept = |kind: &str| {
        let column = format!("{kind}_id");
        format!("SELECT {column} AS id, '' AS path FROM {} WHERE {}", catalog.catalog(kind), within(&column))
    };
    let sql = format!(
        "{} UNION ALL {} UNION ALL SELECT data_file_id AS id, path FROM {} WHERE {}",
        kept("data_file"),
        kept("delete_file"),
        catalog.catalog("files_scheduled_for_deletion"),
        within("data_file_id"),
    );
    let file = |row: &Row| Ok((row.u64(0)?, row.text(1)?.to_owned()));
    catalog.ask(&sql)?.iter().map(file).collect()
}

/// Whether deletes of the table that the catalog kept at a snapshot may have been moved into files since. A flush moves all of a
/// table's.
fn was_flushed(catalog: &dyn Catalog, table: u64, suspect: Suspect, snapshot: u64) -> Result<bool, LakeError> {
    let Some(entries) = catalog.inlined_deletes(table)? else { return Ok(false) };
    let first = suspect.since;
    if catalog.count_snapshots(first, snapshot)? != snapshot + 1 - first {
        return Ok(true);
    }
    let sql = format!(
        "SELECT changes_made, snapshot_id FROM {} WHERE snapshot_id BETWEEN {first} AND {snapshot} \
         AND (changes_made IS NULL OR changes_made LIKE '%inlined_delete%')",
        catalog.catalog("snapshot_changes"),
    );
    let mut deleting = BTreeSet::new();
    for row in &catalog.ask(&sql)? {
        let tokens = row.optional_text(0)?;
        if tokens.is_none() || Tokens::parse(tokens).delete_inlined(table) {
            deleting.insert(row.u64(1)?);
        }
    }
    if !deleting.is_empty() {
        let kept = format!("SELECT DISTINCT begin_snapshot FROM {entries} WHERE begin_snapshot <= {snapshot}");
        for row in &catalog.ask(&kept)? {
            deleting.remove(&row.u64(0)?);
        }
    }
    Ok(!deleting.is_empty())
}
