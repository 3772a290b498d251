//! Folders of partitions, as Hive has them: `column=value`, where a value is text with `%` and two
//! hexadecimal digits for what a folder's name should not have. The columns stand in no file, so their
//! values must come back from the names exactly.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidegate_core::ViewInfo;

use crate::columns::{self, ColumnError};
use crate::error::ParquetSinkError;
use crate::layout;

/// What stands for NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The columns of a view whose values are folders.
#[derive(Clone)]
pub(crate) struct Partitions {
    /// Their places among the view's columns, in the order of the folders.
    pub(crate) columns: Vec<usize>,
    names: Vec<String>,
    types: Vec<DataType>,
    /// All columns of the changes, and those that are in files.
    changes: SchemaRef,
    pub(crate) in_files: SchemaRef,
}

impl Partitions {
    /// Checks the names against the view's columns.
    pub(crate) fn new(view: &ViewInfo, partition_by: &[String]) -> Result<Partitions, ParquetSinkError> {
        let unfit = |fact: String| ParquetSinkError::Unsupported { view: view.name.clone(), fact };
        let mut columns = Vec::new();
        for name in partition_by {
            let found = view.schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
            let column =
                found.ok_or_else(|| unfit(format!("partition_by names {name}, which is none of its columns")))?;
            let field = view.schema.field(column);
            if !has_text(field.data_type()) {
                return Err(unfit(format!(
                    "partition_by names {name}, of type {}: a folder's name holds text, whole numbers of up to 64 bits, \
                     BOOLEAN and DATE; cast the column in the view, or partition by another",
                    tidegate_core::schema::duckdb_type(field).unwrap_or("unknown"),
                )));
            }
            if escaped(field.name()) != *field.name() || columns.contains(&column) {
                return Err(unfit(format!(
                    "partition_by names {name} twice, or it is no name for a folder: rename it"
                )));
            }
            columns.push(column);
        }
        if columns.len() == view.schema.fields().len() {
            return Err(unfit("partition_by names all of its columns: no column is left for the files".to_owned()));
        }
        let changes = columns::stored_schema(&view.schema);
        let of_view = view.schema.fields().len();
        let in_files =
            (0..of_view).filter(|column| !columns.contains(column)).map(|column| changes.field(column).clone());
        let in_files = Arc::new(Schema::new(in_files.collect::<Vec<_>>()));
        let names = columns.iter().map(|column| view.schema.field(*column).name().clone()).collect();
        let types = columns.iter().map(|column| view.schema.field(*column).data_type().clone()).collect();
        Ok(Partitions { columns, names, types, changes, in_files })
    }

    /// The folders of every row, each with `/` at its end.
    pub(crate) fn folders(&self, stored: &[ArrayRef], rows: usize) -> Result<Vec<String>, ColumnError> {
        let mut folders = vec![String::new(); rows];
        for ((column, name), data_type) in self.columns.iter().zip(&self.names).zip(&self.types) {
            let texts = cast(&stored[*column], &DataType::Utf8)?;
            if cast(&texts, data_type)?.as_ref() != stored[*column].as_ref() {
                return Err(ColumnError("a value to partition by does not come back from a folder's name"));
            }
            for (folder, text) in folders.iter_mut().zip(texts.as_string::<i32>()) {
                folder.push_str(&format!("{name}={}/", text.map_or_else(|| NULL.to_owned(), escaped)));
            }
        }
        Ok(folders)
    }

    /// The folders of a file without rows.
    pub(crate) fn of_nothing(&self) -> String {
        self.names.iter().map(|name| format!("{name}={NULL}/")).collect()
    }

    /// The rows of a file in these folders as changes: all inserts. `None` where the folders are not ours.
    pub(crate) fn changes(&self, folders: &str, rows: &RecordBatch) -> Option<RecordBatch> {
        let count = rows.num_rows();
        let mut values = folders.split_terminator('/');
        let mut arrays: Vec<Option<ArrayRef>> = vec![None; self.changes.fields().len() - columns::ADDED];
        for ((column, name), data_type) in self.columns.iter().zip(&self.names).zip(&self.types) {
            let text = values.next()?.strip_prefix(name.as_str())?.strip_prefix('=')?;
            arrays[*column] = Some(match text {
                NULL => new_null_array(data_type, count),
                text => {
                    let one: ArrayRef = Arc::new(StringArray::from(vec![unescaped(text)?]));
                    let one = cast(&one, data_type).ok().filter(|one| one.null_count() == 0)?;
                    take(&one, &UInt64Array::from(vec![0; count]), None).ok()?
                }
            });
        }
        let mut rest = rows.columns().iter();
        let mut all =
            arrays.into_iter().map(|array| array.or_else(|| rest.next().cloned())).collect::<Option<Vec<_>>>()?;
        let (versions, times) = columns::versions(count, 0, 0);
        all.extend([Arc::new(StringArray::from(vec!["insert"; count])) as ArrayRef, versions, times]);
        RecordBatch::try_new(self.changes.clone(), all).ok()
    }

    /// The columns that are in files.
    pub(crate) fn project(&self, stored: &[ArrayRef]) -> Result<RecordBatch, ColumnError> {
        let kept = stored.iter().enumerate().filter(|(column, _)| !self.columns.contains(column));
        let kept = kept.map(|(_, array)| array.clone()).collect();
        RecordBatch::try_new(self.in_files.clone(), kept)
            .map_err(|_| ColumnError("its columns are not those of the view"))
    }
}

/// Whether every value has a text that tells it from all others.
fn has_text(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Utf8 | DataType::Boolean | DataType::Date32)
}

fn cast(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ColumnError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, data_type, &strict)
        .map_err(|_| ColumnError("a value to partition by does not come back from a folder's name"))
}

/// Text as part of a folder's name. Texts that readers take for NULL begin with an escape.
fn escaped(text: &str) -> String {
    let means_null = text == NULL || text.eq_ignore_ascii_case("null");
    let mut name = String::new();
    for (at, c) in text.char_indices() {
        if (at == 0 && means_null) || c.is_control() || (c.is_ascii_punctuation() && !"-_.+,@".contains(c)) {
            layout::escape(&mut name, c);
        } else {
            name.push(c);
        }
    }
    name
}

fn unescaped(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_from_names() {
        for text in ["", "a", "NULL", "Null", NULL, "a/b=c%d", "ü\u{1}*?[x]", "100 %", "..", "nullx"] {
            let name = escaped(text);
            assert_eq!(unescaped(&name).as_deref(), Some(text));
            assert!(!name.contains('/') && !name.eq_ignore_ascii_case("null") && name != NULL, "{name}");
        }
        assert_eq!(unescaped("%zz"), None);
    }
}
