//! One row group: its columns are encoded side by side, on as many threads as the machine has cores.
//! The bytes are the same on any number of threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::ParquetError;

/// Fewer values than this are encoded sooner than a thread has started.
const VALUES_MIN: usize = 65_536;

/// A column of the table and the writers of its leaves.
struct Column<'a> {
    index: usize,
    field: &'a FieldRef,
    writers: Vec<ArrowColumnWriter>,
}

type Chunks = Result<Vec<ArrowColumnChunk>, ParquetError>;

/// Encodes rows with the writers of a row group's leaves; the chunks are in the order of these.
pub(crate) fn encode(
    batches: &[RecordBatch],
    writers: Vec<ArrowColumnWriter>,
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let schema = first.schema();
    let mut writers = writers.into_iter();
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| Column {
            index,
            field,
            writers: writers.by_ref().take(leaves(field.data_type())).collect(),
        })
        .collect();
    let values = columns.len() * batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let threads = if values < VALUES_MIN { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
    let chunks = side_by_side(batches, columns, threads);
    chunks.into_iter().try_fold(Vec::new(), |mut all, chunks| {
        all.extend(chunks?);
        Ok(all)
    })
}

fn side_by_side(batches: &[RecordBatch], columns: Vec<Column<'_>>, threads: usize) -> Vec<Chunks> {
    let width = columns.len();
    if threads.min(width) < 2 {
        return columns.into_iter().map(|column| column.encode(batches)).collect();
    }
    let columns: Vec<_> = columns.into_iter().map(|column| Mutex::new(Some(column))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(column) = columns.get(next.fetch_add(1, Ordering::Relaxed)) {
            // Nobody else takes this one, so that nobody panicked with it.
            let column = column.lock().unwrap_or_else(PoisonError::into_inner).take();
            done.extend(column.map(|column| (column.index, column.encode(batches))));
        }
        done
    };
    let mut done: Vec<(usize, Chunks)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(width)).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, chunks)| chunks).collect()
}

impl Column<'_> {
    fn encode(mut self, batches: &[RecordBatch]) -> Chunks {
        for batch in batches {
            let leaves = compute_leaves(self.field, batch.column(self.index))?;
            for (writer, leaf) in self.writers.iter_mut().zip(&leaves) {
                writer.write(leaf)?;
            }
        }
        self.writers.into_iter().map(ArrowColumnWriter::close).collect()
    }
}

/// How many columns of Parquet a column is.
fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => leaves(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use tidegate_testkit::rows;

    use super::*;

    #[test]
    fn any_number_of_threads_makes_the_same_bytes() {
        let columns = [
            ("id", "BIGINT"),
            ("tags", "VARCHAR[]"),
            ("place", "STRUCT(x DOUBLE, y STRUCT(z DECIMAL(9,2)[]))"),
            ("words", "MAP(VARCHAR, INTEGER)"),
            ("four", "INTEGER[4]"),
        ];
        let schema = tidegate_core::schema::columns(columns.map(|(name, ty)| (name, ty, true))).unwrap();
        let row = |n: u32| {
            let place = "{'x': 0.5, 'y': {'z': [1.25, NULL]}}";
            format!("({n}, ['a', NULL, '{n}'], {place}, MAP {{'k{n}': {n}}}, [1, 2, NULL, {n}])")
        };
        let nulls = "(NULL, NULL, NULL, NULL, NULL)".to_owned();
        let values: Vec<_> = (0..50).map(row).chain([nulls]).collect();
        let batch = rows::batch(&schema, &values.join(", "));
        let write = |threads: usize| {
            let properties = WriterProperties::builder().build();
            let writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
            let (mut file, factory) = writer.into_serialized_writer().unwrap();
            let schema = batch.schema();
            let mut writers = factory.create_column_writers(0).unwrap().into_iter();
            let mut columns = Vec::new();
            for (index, field) in schema.fields().iter().enumerate() {
                let writers = writers.by_ref().take(leaves(field.data_type())).collect();
                columns.push(Column { index, field, writers });
            }
            let mut group = file.next_row_group().unwrap();
            for chunks in side_by_side(&[batch.clone(), batch.slice(3, 9)], columns, threads) {
                chunks.unwrap().into_iter().for_each(|chunk| chunk.append_to_row_group(&mut group).unwrap());
            }
            group.close().unwrap();
            file.into_inner().unwrap()
        };
        assert_eq!(write(1), write(2));
        assert_eq!(write(1), write(7));
    }
}
