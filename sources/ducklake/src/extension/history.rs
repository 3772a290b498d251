//! What the catalog tells about histories on which the extension's answers are wrong.

use crate::catalog::{Catalog, valid_at};
use crate::error::LakeError;
use crate::extension::connection::Session;

const DOING: &str = "reading the catalog";

impl Session<'_> {
    /// Whether rows of a table's files were deleted in a snapshot: those that a flush wrote may be, in the same
    /// transaction, without a token.
    pub fn deletes_files_at(&self, table: u64, snapshot: u64) -> Result<bool, LakeError> {
        let (data, delete) = (self.catalog("data_file"), self.catalog("delete_file"));
        let sql = format!(
            "SELECT EXISTS (FROM {delete} WHERE table_id = {table} AND begin_snapshot = {snapshot}) \
             OR EXISTS (FROM {data} WHERE table_id = {table} AND end_snapshot = {snapshot})"
        );
        Ok(self.values(&sql, [], DOING)?.into_iter().next().unwrap_or(false))
    }

    /// Whether the change feed answers wrongly about a table at a snapshot. Three histories do that: deletes in the catalog that
    /// come after their file was rewritten, and delete nothing;
    /// one transaction that deletes some rows of a file and later the rest of them (the first ones are
    /// in the feed twice), and a flush of inlined deletes after the file was rewritten (the file has
    /// two delete files at once, and later snapshots repeat deletes of the first).
    pub fn feed_misleads(&self, table: u64, snapshot: u64) -> Result<bool, LakeError> {
        let (data, delete) = (self.catalog("data_file"), self.catalog("delete_file"));
        if let Some(inlined) = self.inlined_deletes(table)? {
            let sql = format!(
                "SELECT EXISTS (FROM {inlined} i JOIN {data} f ON f.data_file_id = i.file_id \
                 WHERE i.begin_snapshot = {snapshot} AND f.end_snapshot <= {snapshot})"
            );
            if self.values(&sql, [], DOING)?.into_iter().next().unwrap_or(false) {
                return Ok(true);
            }
        }
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
