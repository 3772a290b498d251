//! Delete files: positions of rows of one data file, and the snapshots in which they were deleted where the file covers
//! several.

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use tidegate_duck::Flow;

use super::file::field_id;
use super::files::Files;
use super::read::numbers;
use super::select::Rows;
use super::{DataFile, FileError, SNAPSHOT_ID};

impl Files {
    /// The data file whose rows a delete file deletes, as its writer called it; `None` where it names no row.
    pub(crate) fn read_deleted_file(&self, file: &DataFile) -> Result<Option<String>, FileError> {
        let mut found = None;
        for group in file.groups().iter().filter(|group| group.rows > 0).take(1) {
            self.decode(file, group, &Rows::All, &[0], &mut |batch| {
                let paths = batch.columns().first().and_then(|paths| paths.as_string_opt::<i32>());
                let paths = paths.ok_or_else(|| file.contradiction("a delete file begins with file_path"))?;
                found = paths.iter().flatten().next().map(str::to_owned);
                Ok::<_, FileError>(Flow::Stop)
            })?;
        }
        Ok(found)
    }

    /// The positions that a delete file names, ascending, each with its snapshot where the file has them.
    pub(crate) fn read_deletes(&self, file: &DataFile) -> Result<Vec<(u64, Option<u64>)>, FileError> {
        let fields = file.fields();
        let is = |at: usize, data_type: DataType| fields.get(at).is_some_and(|field| field.data_type() == &data_type);
        let third = fields.get(2).map(|field| field_id(field) == Some(i64::from(SNAPSHOT_ID)));
        // The third column of a file that Iceberg wrote is the deleted row.
        if !is(0, DataType::Utf8) || !is(1, DataType::Int64) || fields.len() > 3 {
            return Err(file.contradiction("a delete file has the columns file_path, pos and possibly a snapshot"));
        }
        let roots: &[usize] = if third == Some(true) { &[1, 2] } else { &[1] };
        let mut deletes: Vec<(u64, Option<u64>)> = Vec::new();
        for group in file.groups() {
            self.decode(file, group, &Rows::All, roots, &mut |batch| {
                let missing = || file.contradiction("a column is missing");
                let positions = numbers(file, batch.columns().first().ok_or_else(missing)?)?;
                match batch.columns().get(1) {
                    Some(snapshots) => {
                        let snapshots = numbers(file, snapshots)?;
                        deletes.extend(positions.into_iter().zip(snapshots.into_iter().map(Some)));
                    }
                    None => deletes.extend(positions.into_iter().map(|position| (position, None))),
                }
                Ok::<_, FileError>(Flow::Continue)
            })?;
        }
        if deletes.is_sorted_by(|(one, _), (next, _)| one < next) {
            Ok(deletes)
        } else {
            Err(file.contradiction("the positions of a delete file ascend, and its do not"))
        }
    }
}
