//! What is asked of a file: the table's columns, how they are found in it, and which rows.

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use super::{ROW_ID, SNAPSHOT_ID};

/// A column as the lake knows it at the snapshot that is read.
#[derive(Debug, Clone)]
pub(crate) struct LakeColumn {
    /// Its id in the catalog, which is the Parquet field id in the lake's own files.
    pub(crate) id: u64,
    /// Its name, for messages.
    pub(crate) name: String,
    /// The canonical field, with the DuckDB type in its metadata.
    pub(crate) field: FieldRef,
    /// The fields of a STRUCT in order, the one of a LIST, key and value of a MAP.
    pub(crate) children: Vec<LakeColumn>,
    /// The value where a file lacks the column: one row of the canonical type; `None` is NULL.
    pub(crate) default: Option<ArrayRef>,
}

impl LakeColumn {
    /// Whether it is one of DuckLake's own, which every file has by field id that has it at all.
    pub(super) fn is_virtual(&self) -> bool {
        self.id == u64::from(SNAPSHOT_ID.unsigned_abs()) || self.id == u64::from(ROW_ID.unsigned_abs())
    }
}

/// How the columns of a file are found.
#[derive(Debug, Clone)]
pub(crate) enum Matching {
    /// By field id: the lake's own files.
    FieldIds,
    /// By name: files that were added from elsewhere.
    Names(Vec<NameMapping>),
}

/// Which column of an added file is which of the lake.
#[derive(Debug, Clone)]
pub(crate) struct NameMapping {
    /// The lake's column.
    pub(crate) target_id: u64,
    /// Its name in the file, or in the file's path.
    pub(crate) source_name: String,
    /// Whether the value is in the path: `/name=value/`.
    pub(crate) is_partition: bool,
    /// The level below.
    pub(crate) children: Vec<NameMapping>,
}

/// Which rows of a file are wanted.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// Every row.
    All,
    /// The rows at these positions.
    Positions(Vec<u64>),
    /// The rows whose own snapshot is in (after, to].
    Snapshots {
        /// Exclusive.
        after: u64,
        /// Inclusive.
        to: u64,
    },
}
