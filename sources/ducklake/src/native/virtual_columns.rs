//! DuckLake's `rowid` and `snapshot_id`, as DuckDB shows them. A file has them as columns with field ids of their own; where it has
//! not, a row's id is that of the file's first row and its position, and its snapshot is the file's first. The catalog has them beside
//! the rows that it keeps.
//!
//! A file never changes, so that a row of it has the same two values whenever it is read. Upkeep that puts rows into other
//! files may give them others, even at earlier snapshots: [`moved`] says when.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::FieldRef;
use tidegate_core::TableSchema;
use tidegate_core::schema::{self, VirtualColumn};

use super::catalog::InlinedColumn;
use super::files::DataFileRow;
use super::parquet::{DataFile, LakeColumn, ROW_ID, SNAPSHOT_ID};
use crate::catalog::SnapshotRow;
use crate::error::LakeError;

const ROWID: &str = "rowid";
const SNAPSHOT: &str = "snapshot_id";
const EXTENSION: &str =
    "reader = \"extension\" does not read it; set reader = \"native\" in the section of the source, or leave it out";

/// Those of a table. DuckDB's others (`filename`, `file_row_number`, `file_index`) say where a row is stored, which upkeep changes.
pub fn offered() -> Vec<VirtualColumn> {
    [ROWID, SNAPSHOT].map(|name| VirtualColumn { name, duckdb_type: "BIGINT", refused: None }).into()
}

/// The same where the extension reads.
pub fn refused() -> Vec<VirtualColumn> {
    let refused = |column: VirtualColumn| VirtualColumn { refused: Some(EXTENSION), ..column };
    offered().into_iter().map(refused).collect()
}

/// A virtual column as files have it.
pub fn column(field: &FieldRef) -> Option<LakeColumn> {
    let id = match field.name().as_str() {
        ROWID => ROW_ID,
        SNAPSHOT => SNAPSHOT_ID,
        _ => return None,
    };
    let id = u64::from(id.unsigned_abs());
    Some(LakeColumn { id, name: field.name().clone(), field: field.clone(), children: Vec::new(), default: None })
}

/// A virtual column as the catalog has it beside the rows that it keeps; `None` for any other.
pub fn inlined(column: &LakeColumn) -> Option<InlinedColumn> {
    if !schema::is_virtual(&column.field) {
        return None;
    }
    let stored = if column.name == ROWID { "row_id" } else { "begin_snapshot" };
    Some(InlinedColumn {
        stored: Some(stored.to_owned()),
        stored_type: "BIGINT".to_owned(),
        rearranged: None,
        field: column.field.clone(),
        default: None,
    })
}

/// Rows of a file with the virtual columns that it has not.
pub fn filled(
    lake: &str,
    batch: RecordBatch,
    file: &DataFile,
    row: &DataFileRow,
    positions: &[u64],
) -> Result<RecordBatch, LakeError> {
    let schema = batch.schema();
    if schema.fields().last().is_none_or(|field| !schema::is_virtual(field)) {
        return Ok(batch);
    }
    let unknown = || LakeError::CatalogValue {
        lake: lake.to_owned(),
        table: "ducklake_data_file".to_owned(),
        column: "row_id_start".to_owned(),
        wanted: "a whole number from zero up, because the file has no row ids",
    };
    let mut columns = batch.columns().to_vec();
    for (column, field) in columns.iter_mut().zip(schema.fields()).filter(|(_, field)| schema::is_virtual(field)) {
        let values: Int64Array = match field.name().as_str() {
            ROWID if !file.has_field(ROW_ID) => {
                let first = row.first_row_id.ok_or_else(unknown)?;
                let id = |position: &u64| first.checked_add(*position).and_then(|id| i64::try_from(id).ok());
                positions.iter().map(|position| id(position).map(Some)).collect::<Option<_>>().ok_or_else(unknown)?
            }
            SNAPSHOT if !file.has_field(SNAPSHOT_ID) => {
                let begin = i64::try_from(row.begin).map_err(|_| unknown())?;
                positions.iter().map(|_| Some(begin)).collect()
            }
            _ => continue,
        };
        *column = Arc::new(values) as ArrayRef;
    }
    RecordBatch::try_new(schema, columns).map_err(|_| LakeError::Abandoned { lake: lake.to_owned() })
}

/// The last of some snapshots that may have given rows of wanted tables other row ids or snapshots, and why, in words.
pub fn moved(snapshots: &[SnapshotRow], tables: &[TableSchema]) -> Option<(u64, String)> {
    let wanted: Vec<&TableSchema> = tables.iter().filter(|table| !table.virtual_columns().is_empty()).collect();
    snapshots.iter().rev().find_map(|snapshot| {
        let table = wanted.iter().find(|table| snapshot.tokens.renumber(table.incarnation))?;
        Some((
            snapshot.id,
            format!("table {}: files were merged or rewritten, and rows may have other row ids", table.name),
        ))
    })
}
