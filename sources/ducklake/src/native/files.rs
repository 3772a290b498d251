//! The files of a table as the catalog lists them, and the deletes that it keeps itself.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::moved;
use crate::catalog::{Catalog, id_list, valid_at};
use crate::error::LakeError;
use crate::row::Row;

/// A file in the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The whole path or URL.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// How many of them are the footer.
    pub footer_size: Option<u64>,
    /// The key it is encrypted with, base64.
    pub key: Option<String>,
}

/// A data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFileRow {
    /// Its id.
    pub id: u64,
    /// Where it is.
    pub place: Place,
    /// How many rows it has.
    pub rows: u64,
    /// The snapshot of its rows, or of the first of them.
    pub begin: u64,
    /// The snapshot in which it was removed.
    pub end: Option<u64>,
    /// The snapshot of its last rows, where they have several.
    pub partial_max: Option<u64>,
    /// Which name mapping finds its columns; `None`: field ids.
    pub mapping: Option<u64>,
    /// The row id of its first row, where the file does not have row ids itself.
    pub first_row_id: Option<u64>,
}

/// How a delete file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteFormat {
    /// Parquet: positions, and their snapshots where they have several.
    Parquet,
    /// A deletion vector: positions alone, those of all deletes so far.
    Vector,
}

/// A delete file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteFileRow {
    /// Its id.
    pub id: u64,
    /// The data file whose rows it deletes.
    pub data_file: u64,
    /// Where it is.
    pub place: Place,
    /// How it is written.
    pub format: DeleteFormat,
    /// The snapshot of its deletes, or of the first of them.
    pub begin: u64,
    /// The snapshot from which on another takes its place.
    pub end: Option<u64>,
    /// How many rows it deletes, those of earlier delete files included.
    pub count: u64,
    /// The snapshot of its last deletes, where they have several.
    pub partial_max: Option<u64>,
    /// The snapshot that wrote it, where that was after the one that is consumed and the file has several snapshots.
    pub writer: Option<u64>,
    /// Whether the deletes of `partial_max` are the writer's ([`Stamps`](super::stamps::Stamps)).
    pub is_early: bool,
}

/// Deletes of a data file's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletes {
    /// The delete files, by snapshot.
    pub files: Vec<DeleteFileRow>,
    /// Position in the file and snapshot of the deletes in the catalog.
    pub inlined: Vec<(u64, u64)>,
    /// The snapshots of positions for which the delete files have an earlier one.
    pub corrected: BTreeMap<u64, u64>,
}

/// A table's place in the lake.
pub struct TableFiles<'a> {
    catalog: &'a dyn Catalog,
    table: u64,
    /// The lake's folder, with its separator.
    root: String,
    /// The folder that relative paths are relative to, with its separator.
    folder: String,
    /// The name in SQL of the table of deletes that the catalog keeps, if there is one.
    inlined_deletes: Option<String>,
}

impl<'a> TableFiles<'a> {
    /// Of the table with this id. `data_path` is the lake's.
    pub fn of(catalog: &'a dyn Catalog, table: u64, data_path: &str) -> Result<Self, LakeError> {
        // A table's path and its schema's never change; a rename begins a new row.
        let sql = format!(
            "SELECT s.path, s.path_is_relative, t.path, t.path_is_relative FROM {} t \
             JOIN {} s ON s.schema_id = t.schema_id WHERE t.table_id = {table} ORDER BY t.begin_snapshot DESC, s.begin_snapshot DESC LIMIT 1",
            catalog.catalog("table"),
            catalog.catalog("schema"),
        );
        let root = with_separator(data_path);
        let mut folder = root.clone();
        if let Some(row) = catalog.ask(&sql)?.first() {
            for at in [0, 2] {
                let path = row.optional_text(at)?.unwrap_or_default();
                folder = join(&folder, path, row.bool(at + 1)?);
                if !path.is_empty() {
                    folder = with_separator(&folder);
                }
            }
        }
        Ok(TableFiles { catalog, table, root, folder, inlined_deletes: catalog.inlined_deletes(table)? })
    }

    /// The data files that fulfil a condition on the catalog's columns.
    pub fn data(&self, condition: &str) -> Result<Vec<DataFileRow>, LakeError> {
        let sql = format!(
            "SELECT path, path_is_relative, file_size_bytes, footer_size, encryption_key, data_file_id, record_count, \
             begin_snapshot, end_snapshot, partial_max, mapping_id, file_format, row_id_start FROM {} f \
             WHERE f.table_id = {} AND {condition} ORDER BY data_file_id",
            self.catalog.catalog("data_file"),
            self.table,
        );
        let file = |row: &Row| {
            if !row.text(11)?.eq_ignore_ascii_case("parquet") {
                return Err(LakeError::CatalogValue {
                    lake: self.catalog.lake().to_owned(),
                    table: "ducklake_data_file".to_owned(),
                    column: "file_format".to_owned(),
                    wanted: "parquet",
                });
            }
            Ok(DataFileRow {
                place: self.place(row)?,
                id: row.u64(5)?,
                rows: row.u64(6)?,
                begin: row.u64(7)?,
                end: row.optional_u64(8)?,
                partial_max: row.optional_u64(9)?,
                mapping: row.optional_u64(10)?,
                first_row_id: row.optional_u64(12)?,
            })
        };
        self.catalog.ask(&sql)?.iter().map(file).collect()
    }

    /// The data files that are part of the table at a snapshot.
    pub fn data_at(&self, snapshot: u64) -> Result<Vec<DataFileRow>, LakeError> {
        self.data(&valid_at("f", snapshot))
    }

    /// The data files some of whose rows were deleted by delete files that were written from id `first` on, or by
    /// deletes kept in the catalog, after snapshot `after` up to `to`.
    pub fn deleted_from(&self, first: u64, after: u64, to: u64) -> Result<BTreeSet<u64>, LakeError> {
        let written = format!(
            "SELECT DISTINCT data_file_id FROM {} WHERE table_id = {} AND delete_file_id >= {first} \
             AND begin_snapshot <= {to}",
            self.catalog.catalog("delete_file"),
            self.table,
        );
        let mut files = self.ids(&written)?;
        if let Some(deletes) = &self.inlined_deletes {
            let inlined = format!(
                "SELECT DISTINCT file_id FROM {deletes} WHERE begin_snapshot > {after} AND begin_snapshot <= {to}"
            );
            files.extend(self.ids(&inlined).map_err(moved)?);
        }
        Ok(files)
    }

    /// All deletes up to a snapshot of some data files; those without any are left out.
    pub fn deletes(&self, files: &BTreeSet<u64>, to: u64) -> Result<BTreeMap<u64, Deletes>, LakeError> {
        let mut deletes: BTreeMap<u64, Deletes> = BTreeMap::new();
        if files.is_empty() {
            return Ok(deletes);
        }
        let sql = format!(
            "SELECT path, path_is_relative, file_size_bytes, footer_size, encryption_key, data_file_id, begin_snapshot, \
             delete_count, delete_file_id, partial_max, format, end_snapshot FROM {} WHERE table_id = {} AND data_file_id IN ({}) AND begin_snapshot <= {to} \
             ORDER BY begin_snapshot, delete_file_id",
            self.catalog.catalog("delete_file"),
            self.table,
            id_list(files),
        );
        for row in self.catalog.ask(&sql)? {
            let file = DeleteFileRow {
                place: self.place(&row)?,
                data_file: row.u64(5)?,
                begin: row.u64(6)?,
                count: row.u64(7)?,
                id: row.u64(8)?,
                partial_max: row.optional_u64(9)?,
                format: self.delete_format(row.text(10)?)?,
                end: row.optional_u64(11)?,
                writer: None,
                is_early: false,
            };
            deletes.entry(file.data_file).or_default().files.push(file);
        }
        if let Some(inlined) = &self.inlined_deletes {
            let sql = format!(
                "SELECT file_id, row_id, begin_snapshot FROM {inlined} WHERE file_id IN ({}) AND begin_snapshot <= {to}",
                id_list(files),
            );
            for row in self.catalog.ask(&sql).map_err(moved)? {
                deletes.entry(row.u64(0)?).or_default().inlined.push((row.u64(1)?, row.u64(2)?));
            }
        }
        Ok(deletes)
    }

    /// The ids from one on that files of the lake have.
    pub fn known_from(&self, first: u64) -> Result<BTreeSet<u64>, LakeError> {
        let ids =
            |table: &str| format!("SELECT {table}_id FROM {} WHERE {table}_id >= {first}", self.catalog.catalog(table));
        self.ids(&format!("{} UNION ALL {}", ids("data_file"), ids("delete_file")))
    }

    /// The delete files of the table with ids from one on, each with the snapshot of its last deletes where they have several.
    pub fn delete_files_from(&self, first: u64) -> Result<Vec<(u64, Option<u64>)>, LakeError> {
        let sql = format!(
            "SELECT delete_file_id, partial_max FROM {} WHERE table_id = {} AND delete_file_id >= {first}",
            self.catalog.catalog("delete_file"),
            self.table,
        );
        self.catalog.ask(&sql)?.iter().map(|row| Ok((row.u64(0)?, row.optional_u64(1)?))).collect()
    }

    /// The first snapshot of the deletes from files that the catalog keeps.
    pub fn first_inlined_delete(&self) -> Result<Option<u64>, LakeError> {
        let Some(deletes) = &self.inlined_deletes else { return Ok(None) };
        self.catalog.optional_number(&format!("SELECT min(begin_snapshot) FROM {deletes}")).map_err(moved)
    }

    /// Files of the lake with ids from one on that were replaced and may still be there.
    pub fn replaced_from(&self, first: u64) -> Result<BTreeMap<u64, Place>, LakeError> {
        let sql = format!(
            "SELECT path, path_is_relative, data_file_id FROM {} WHERE data_file_id >= {first}",
            self.catalog.catalog("files_scheduled_for_deletion"),
        );
        let place = |row: &Row| {
            let path = join(&self.root, row.text(0)?, row.bool(1)?);
            Ok((row.u64(2)?, Place { path, size: 0, footer_size: None, key: None }))
        };
        self.catalog.ask(&sql)?.iter().map(place).collect()
    }

    /// Whether a path of the catalog may be one of the table's own delete files, which lie in its folder.
    pub fn may_hold(&self, path: &str) -> bool {
        // A path that is not relative may have been written while the lake was called otherwise.
        let is_relative = !path.contains("://") && !path.starts_with('/');
        !is_relative || join(&self.root, path, true).starts_with(&self.folder)
    }

    fn ids(&self, sql: &str) -> Result<BTreeSet<u64>, LakeError> {
        self.catalog.ask(sql)?.iter().map(|row| row.u64(0)).collect()
    }

    fn delete_format(&self, name: &str) -> Result<DeleteFormat, LakeError> {
        match name.to_ascii_lowercase().as_str() {
            "parquet" => Ok(DeleteFormat::Parquet),
            "puffin" => Ok(DeleteFormat::Vector),
            _ => Err(LakeError::CatalogValue {
                lake: self.catalog.lake().to_owned(),
                table: "ducklake_delete_file".to_owned(),
                column: "format".to_owned(),
                wanted: "parquet or puffin",
            }),
        }
    }

    /// The first five columns of a file's row.
    fn place(&self, row: &Row) -> Result<Place, LakeError> {
        Ok(Place {
            path: join(&self.folder, row.text(0)?, row.bool(1)?),
            size: row.u64(2)?,
            footer_size: row.optional_u64(3)?,
            key: row.optional_text(4)?.map(str::to_owned),
        })
    }
}

/// A path of the catalog below the folder it is relative to.
fn join(folder: &str, path: &str, is_relative: bool) -> String {
    if is_relative { format!("{folder}{path}") } else { path.to_owned() }
}

fn with_separator(folder: &str) -> String {
    if folder.ends_with('/') { folder.to_owned() } else { format!("{folder}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_what_they_are_relative_to() {
        assert_eq!(join("s3://bucket/lake/", "main/", true), "s3://bucket/lake/main/");
        assert_eq!(join("/lake/", "/elsewhere/x.parquet", false), "/elsewhere/x.parquet");
        assert_eq!(with_separator("/lake"), "/lake/");
        assert_eq!(with_separator("/lake/"), "/lake/");
    }
}
