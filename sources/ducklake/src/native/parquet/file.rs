//! One file with its footer.

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::{ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescPtr;

use super::place::{Place, Store};
use super::sealed::Key;
use super::{FileError, SNAPSHOT_ID, schema};

/// A file whose footer was read.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) store: Store,
    /// What opens it, where it is encrypted.
    pub(super) key: Option<Key>,
    /// How it is decoded.
    pub(super) reader: ArrowReaderMetadata,
    /// Its types as the file declares them.
    pub(super) declared: SchemaDescPtr,
    groups: Vec<Group>,
    /// The top-level column of the snapshots.
    snapshots: Option<usize>,
}

/// A row group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// Its number.
    pub(super) at: usize,
    /// The position of its first row in the file.
    pub(super) first: u64,
    pub(super) rows: usize,
    /// Bytes before compression.
    pub(super) bytes: u64,
    /// Least and greatest snapshot, where the file says so.
    pub(super) snapshots: Option<(u64, u64)>,
}

impl DataFile {
    /// Reads a footer: everything before the last eight bytes of a file.
    pub(super) fn decode(
        path: &str,
        place: Place,
        store: Store,
        key: Option<Key>,
        footer: &[u8],
    ) -> Result<DataFile, FileError> {
        let contradiction = |fact: String| FileError::Contradiction { file: path.to_owned(), fact };
        let footer = ParquetMetaDataReader::decode_metadata(footer)
            .map_err(|error| contradiction(format!("its footer cannot be read ({error})")))?;
        let declared = footer.file_metadata().schema_descr_ptr();
        let reader = schema::prepare(footer).map_err(|error| FileError::Unsupported {
            file: path.to_owned(),
            fact: format!("its schema has a type that is not known ({error})"),
        })?;
        if declared.root_schema().get_fields().len() != reader.schema().fields().len() {
            return Err(contradiction("it has a column without values".to_owned()));
        }
        let snapshots = snapshot_column(reader.schema().fields()).map_err(contradiction)?;
        let leaf = snapshots.map(|column| leaf_of(reader.schema().fields(), column));
        let mut groups = Vec::with_capacity(reader.metadata().num_row_groups());
        let mut first = 0;
        for (at, group) in reader.metadata().row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows());
            let rows = rows.map_err(|_| contradiction("a row group has a negative number of rows".to_owned()))?;
            groups.push(Group {
                at,
                first,
                rows: usize::try_from(rows).unwrap_or(usize::MAX),
                bytes: u64::try_from(group.total_byte_size()).unwrap_or_default(),
                snapshots: leaf.and_then(|leaf| bounds(group, leaf)),
            });
            first = first.saturating_add(rows);
        }
        Ok(DataFile { path: path.to_owned(), place, store, key, reader, declared, groups, snapshots })
    }

    /// Its rows, deleted ones too.
    pub(crate) fn rows(&self) -> u64 {
        self.groups.last().map_or(0, |group| group.first + group.rows as u64)
    }

    /// Whether each row says in which snapshot it was inserted.
    pub(crate) fn has_snapshot_ids(&self) -> bool {
        self.snapshots.is_some()
    }

    /// Whether it has a column with this field id.
    pub(crate) fn has_field(&self, id: i32) -> bool {
        self.fields().iter().any(|field| field_id(field) == Some(i64::from(id)))
    }

    /// The greatest snapshot of a row, where the statistics tell.
    pub(crate) fn snapshot_ids_max(&self) -> Option<u64> {
        let filled = self.groups.iter().filter(|group| group.rows > 0);
        filled.map(|group| group.snapshots.map(|(_, max)| max)).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Which top-level column the snapshots are.
    pub(super) fn snapshot_column(&self) -> Option<usize> {
        self.snapshots
    }

    /// The top-level columns as they are decoded.
    pub(super) fn fields(&self) -> &Fields {
        self.reader.schema().fields()
    }

    pub(super) fn contradiction(&self, fact: impl Into<String>) -> FileError {
        FileError::Contradiction { file: self.path.clone(), fact: fact.into() }
    }

    /// A fault of decoding.
    pub(super) fn undecodable(&self, error: &parquet::errors::ParquetError) -> FileError {
        self.contradiction(format!("it cannot be decoded ({error})"))
    }
}

/// The field id of a column of a file.
pub(super) fn field_id(field: &Field) -> Option<i64> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// The number of leaves before a field.
pub(super) fn leaf_of(fields: &[FieldRef], at: usize) -> usize {
    fields.iter().take(at).map(|field| schema::leaves(field.data_type())).sum()
}

fn snapshot_column(fields: &[FieldRef]) -> Result<Option<usize>, String> {
    let is_snapshot = |field: &FieldRef| field_id(field) == Some(i64::from(SNAPSHOT_ID));
    let Some(root) = fields.iter().position(is_snapshot) else { return Ok(None) };
    match fields.iter().filter(|field| is_snapshot(field)).count() {
        1 if fields.get(root).is_some_and(|field| field.data_type() == &DataType::Int64) => Ok(Some(root)),
        1 => Err("its column of snapshots is not BIGINT".to_owned()),
        _ => Err("it has two columns of snapshots".to_owned()),
    }
}

fn bounds(group: &RowGroupMetaData, leaf: usize) -> Option<(u64, u64)> {
    let Some(Statistics::Int64(values)) = group.columns().get(leaf)?.statistics() else { return None };
    Some((u64::try_from(*values.min_opt()?).ok()?, u64::try_from(*values.max_opt()?).ok()?))
}
