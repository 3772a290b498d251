//! Histories that a lake does not tell, or tells wrongly. Each was found in DuckLake's source and tried; the tests
//! `cases` and `races` have them by name. Where what happened cannot be known, the caller reads the present state instead.

use std::collections::BTreeSet;

use tidegate_core::TableSchema;

use crate::catalog::Catalog;
use crate::commits::Commits;
use crate::error::LakeError;
use crate::poll::Request;
use crate::row::Row;

/// Why what happened after the request's snapshot and up to another cannot be told, in words. Snapshots up to `traced` are known to
/// have kept the deletes that they name, or will be asked about.
pub fn forgotten(catalog: &dyn Catalog, request: &Request, end: u64, traced: u64) -> Result<Option<String>, LakeError> {
    let lake = catalog.lake();
    let telling = catalog.telling(request.from)?;
    for table in &request.tables {
        let id = table.incarnation;
        // Rows that were only in the catalog are not moved into a file once they are deleted, and then
        // no snapshot has them any more.
        if let Some((snapshot, _)) = telling.iter().find(|(_, tokens)| tokens.forget(id)) {
            return Ok(Some(format!(
                "snapshot {snapshot} of {lake} deleted rows of {} and flushed the table in one transaction: the lake has \
                 forgotten which rows they were",
                table.name
            )));
        }
        let deletes = telling.iter().filter(|(snapshot, _)| *snapshot > traced);
        let deletes = deletes.filter(|(_, tokens)| tokens.says_inlined_deletes(id)).map(|(snapshot, _)| *snapshot);
        if let Some(reason) = untraced(catalog, table, &deletes.collect::<Vec<_>>())? {
            return Ok(Some(reason));
        }
        let merges = telling.iter().filter(|(_, tokens)| tokens.merge(id)).map(|(snapshot, _)| *snapshot);
        if let Some(last) = merges.max()
            && let Some(deleted) = homeless_delete(catalog, id, end.min(last - 1))?
        {
            return Ok(Some(format!(
                "snapshot {deleted} of {lake} deleted rows of {} while their file was merged, which brought them back: from when \
                 on, the lake does not tell; ducklake_flush_inlined_data settles it",
                table.name
            )));
        }
    }
    Ok(None)
}

/// The first snapshot, up to one, with a delete from a file that is not there any more. Merging removes files, and does not notice who
/// deletes rows of them at the same time.
fn homeless_delete(catalog: &dyn Catalog, table: u64, to: u64) -> Result<Option<u64>, LakeError> {
    let Some(deletes) = catalog.inlined_deletes(table)? else { return Ok(None) };
    catalog.optional_number(&format!(
        "SELECT min(d.begin_snapshot) FROM {deletes} d WHERE d.begin_snapshot <= {to} \
         AND NOT EXISTS (SELECT 1 FROM {} f WHERE f.data_file_id = d.file_id)",
        catalog.catalog("data_file"),
    ))
}

/// Whether rows may live again since a snapshot wrote files of a table anew: rewriting does not notice who deletes rows at the
/// same time, by an entry in the catalog. Then the new files have more rows than were left of the old ones.
pub fn raced(catalog: &dyn Catalog, table: u64, snapshot: u64) -> Result<bool, LakeError> {
    let ids = (catalog.next_file(snapshot.saturating_sub(1))?, catalog.next_file(snapshot)?);
    let (Some(first), Some(next)) = ids else { return Ok(true) };
    let (data, delete) = (catalog.catalog("data_file"), catalog.catalog("delete_file"));
    let ended = format!("SELECT data_file_id FROM {data} WHERE table_id = {table} AND end_snapshot = {snapshot}");
    let by_entries = match catalog.inlined_deletes(table)? {
        Some(entries) => catalog.number(&format!(
            "SELECT count(*) FROM {entries} WHERE begin_snapshot < {snapshot} AND file_id IN ({ended})"
        ))?,
        None => 0,
    };
    // Entries that were flushed since. Of the deletes that came later nobody knows how many there are.
    let flushed = format!("FROM {delete} WHERE delete_file_id >= {first} AND data_file_id IN ({ended})");
    let last = "coalesce(partial_max, begin_snapshot)";
    if catalog.number(&format!("SELECT count(*) {flushed} AND {last} >= {snapshot}"))? > 0 {
        return Ok(true);
    }
    if by_entries == 0 && catalog.number(&format!("SELECT count(*) {flushed}"))? == 0 {
        return Ok(false);
    }
    let sum = |sql: String| -> Result<u64, LakeError> { Ok(catalog.optional_number(&sql)?.unwrap_or(0)) };
    let rows = sum(format!(
        "SELECT CAST(sum(record_count) AS BIGINT) FROM {data} WHERE table_id = {table} AND end_snapshot = {snapshot}"
    ))?;
    // A delete file repeats what earlier ones deleted; one that a flush writes for a file that has ended begins anew.
    let deleted = |which: &str| {
        sum(format!(
            "SELECT CAST(sum(deleted) AS BIGINT) FROM (SELECT max(delete_count) AS deleted FROM {delete} \
             WHERE delete_file_id {which} {first} AND data_file_id IN ({ended}) GROUP BY data_file_id) d"
        ))
    };
    let by_files = deleted("<")? + deleted(">=")?;
    let written = sum(format!(
        "SELECT CAST(sum(record_count) AS BIGINT) FROM {data} WHERE table_id = {table} AND begin_snapshot = {snapshot} \
         AND data_file_id >= {first} AND data_file_id < {next}"
    ))?;
    Ok(Some(written) != rows.checked_sub(by_files + by_entries))
}

/// Whether the lake keeps nothing of the deletes that one of these snapshots says it made in the catalog, in words. A transaction
/// that deletes all rows that are only in the catalog, and flushes, does not say that it flushed.
pub fn untraced(catalog: &dyn Catalog, table: &TableSchema, snapshots: &[u64]) -> Result<Option<String>, LakeError> {
    let (Some(first), id) = (snapshots.iter().min(), table.incarnation) else { return Ok(None) };
    let mut seen = BTreeSet::new();
    let mut see = |name: &str, column: &str| -> Result<(), LakeError> {
        for row in catalog.ask(&format!("SELECT DISTINCT {column} FROM {name} WHERE {column} >= {first}"))? {
            seen.insert(row.u64(0)?);
        }
        Ok(())
    };
    if let Some(deletes) = catalog.inlined_deletes(id)? {
        see(&deletes, "begin_snapshot")?;
    }
    let tables = format!("SELECT table_name FROM {} WHERE table_id = {id}", catalog.catalog("inlined_data_tables"));
    for row in catalog.ask(&tables)? {
        see(&catalog.beside(row.text(0)?), "end_snapshot")?;
    }
    let Some(snapshot) = snapshots.iter().filter(|snapshot| !seen.contains(snapshot)).max() else { return Ok(None) };
    // A later flush moves deletes into files.
    if catalog.telling(*snapshot)?.iter().any(|(_, tokens)| tokens.may_flush(id)) {
        return Ok(None);
    }
    Ok(Some(format!(
        "snapshot {snapshot} of {} deleted rows of which the lake has kept nothing, of table {}",
        catalog.lake(),
        table.name
    )))
}

/// A snapshot that deleted rows whose delete file has an earlier one for them, in words: who asks DuckLake for its changes misses
/// them. (`native::stamps` says how that comes.)
pub fn early(catalog: &dyn Catalog, tables: &[TableSchema], from: u64) -> Result<Option<String>, LakeError> {
    // Where it has expired, the walk says so.
    let Some(first) = catalog.next_file(from)? else { return Ok(None) };
    let mut commits = None;
    for table in tables {
        let id = table.incarnation;
        let sql = format!(
            "SELECT delete_file_id, partial_max FROM {} WHERE table_id = {id} AND delete_file_id >= {first} \
             AND partial_max IS NOT NULL",
            catalog.catalog("delete_file"),
        );
        let row = |row: &Row| Ok((row.u64(0)?, row.u64(1)?));
        let files = catalog.ask(&sql)?.iter().map(row).collect::<Result<BTreeSet<_>, LakeError>>()?;
        if files.is_empty() {
            continue;
        }
        let commits = match &commits {
            Some(commits) => commits,
            None => &*commits.insert(Commits::around(catalog, from)?),
        };
        for (file, max) in files {
            // Where the snapshot deleted rows of the table, it may have been a flush, which is right.
            let is_silent = commits.get(max).is_some_and(|commit| !commit.tokens.delete(id));
            let writer = commits.writer(file).filter(|commit| max < commit.snapshot && is_silent);
            if let Some(commit) = writer {
                return Ok(Some(format!(
                    "snapshot {} of {} deleted rows of {}, and the lake says snapshot {max}: set reader = \"native\", which \
                     reads that as it was",
                    commit.snapshot,
                    catalog.lake(),
                    table.name
                )));
            }
        }
    }
    Ok(None)
}
