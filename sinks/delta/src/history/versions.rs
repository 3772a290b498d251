//! Versions as rows: a view's columns and the four that a history has besides.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{is_not_null, is_null};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use tidegate_core::schema::with_duckdb_type;
use tidegate_core::{Epoch, History, Micros, RowIdentity, ViewInfo, ViewName};

use super::events::Moment;
use crate::bounds::Bounds;
use crate::columns::conform;
use crate::error::DeltaSinkError;
use crate::shape::Shape;
use crate::table::DataFile;

/// The name of a view's history.
pub(crate) fn name_of(view: &ViewName) -> ViewName {
    ViewName::new(format!("{view}_history"))
}

/// A view's versions as if they were a view. They are addressed by what addresses the view's rows, and by their bounds, so
/// that files are sorted by the key and the log has the bounds of all these columns.
pub(crate) fn versions_of(view: &ViewInfo) -> ViewInfo {
    let of = |name: &&str| match name.ends_with("epoch") {
        true => with_duckdb_type(Field::new(*name, DataType::Int64, true), "BIGINT"),
        false => {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            with_duckdb_type(Field::new(*name, utc, true), "TIMESTAMP WITH TIME ZONE")
        }
    };
    let fields = view.schema.fields().iter().cloned().chain(History::COLUMNS.iter().map(of).map(Arc::new));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut address = address_of(view);
    let at = Places { columns: view.schema.fields().len() };
    address.extend([at.until_epoch(), at.since_epoch(), at.to(), at.from()]);
    ViewInfo::new(name_of(&view.name), schema, RowIdentity::Key(address))
}

/// The columns by which the rows of a view are addressed.
pub(crate) fn address_of(view: &ViewInfo) -> Vec<usize> {
    match &view.identity {
        RowIdentity::Key(key) => key.clone(),
        RowIdentity::Rowid | RowIdentity::WholeRow => (0..view.schema.fields().len()).collect(),
    }
}

/// Where the columns of versions are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    /// The number of the view's columns.
    pub(crate) columns: usize,
}

impl Places {
    pub(crate) fn of(shape: &Shape) -> Places {
        Places { columns: shape.stored.fields().len() - History::COLUMNS.len() }
    }

    pub(crate) fn from(self) -> usize {
        self.columns
    }

    pub(crate) fn to(self) -> usize {
        self.columns + 1
    }

    pub(crate) fn since_epoch(self) -> usize {
        self.columns + 2
    }

    pub(crate) fn until_epoch(self) -> usize {
        self.columns + 3
    }

    /// Which rows are open versions.
    pub(crate) fn open(self, rows: &RecordBatch) -> BooleanArray {
        is_null(rows.column(self.until_epoch())).expect("every array can be asked for its nulls")
    }

    /// Which rows are versions that ended.
    pub(crate) fn ended(self, rows: &RecordBatch) -> BooleanArray {
        is_not_null(rows.column(self.until_epoch())).expect("every array can be asked for its nulls")
    }
}

/// What the log says of the versions in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Held {
    Open,
    Ended,
    /// Both, or nobody knows: another program has written it.
    Mixed,
}

/// The bounds of the four columns in a file that was indexed.
pub(crate) struct Spans<'a> {
    pub(crate) to_epoch: &'a Bounds,
    pub(crate) from_epoch: &'a Bounds,
    pub(crate) to: &'a Bounds,
}

impl<'a> Spans<'a> {
    /// They are the last of a file's bounds, as they are the last columns of the address.
    pub(crate) fn of(file: &'a DataFile) -> Option<Spans<'a>> {
        let [.., to_epoch, from_epoch, to, _] = file.bounds.as_slice() else { return None };
        Some(Spans { to_epoch, from_epoch, to })
    }
}

/// Which versions a file holds.
pub(crate) fn held(file: &DataFile) -> Held {
    match Spans::of(file).and_then(|spans| spans.to_epoch.nulls()) {
        Some(0) => Held::Ended,
        Some(nulls) if Some(nulls) == file.rows => Held::Open,
        _ => Held::Mixed,
    }
}

fn contract(shape: &Shape, fact: impl ToString) -> DeltaSinkError {
    DeltaSinkError::contract(&shape.view.name, fact)
}

fn times(shape: &Shape, moments: impl Iterator<Item = Option<Moment>>) -> ArrayRef {
    let micros: TimestampMicrosecondArray = moments.map(|moment| moment.map(|(_, time)| time.0)).collect();
    Arc::new(micros.with_data_type(shape.stored.field(Places::of(shape).from()).data_type().clone()))
}

fn epochs(moments: impl Iterator<Item = Option<Moment>>) -> ArrayRef {
    // Epochs are counted from one; the log has refused those beyond what a transaction can say.
    Arc::new(moments.map(|moment| moment.map(|(epoch, _)| epoch.0 as i64)).collect::<Int64Array>())
}

/// Stored rows of a view as versions with these bounds.
pub(crate) fn versions(
    shape: &Shape,
    rows: &RecordBatch,
    from: impl Iterator<Item = Option<Moment>> + Clone,
    to: impl Iterator<Item = Option<Moment>> + Clone,
) -> Result<RecordBatch, DeltaSinkError> {
    let conformed = rows.columns().iter().zip(shape.stored.fields()).map(|(array, field)| {
        if array.data_type() == field.data_type() { Ok(array.clone()) } else { conform(array, field.data_type()) }
    });
    let mut columns = conformed.collect::<Result<Vec<_>, _>>().map_err(|error| contract(shape, error))?;
    columns.extend([times(shape, from.clone()), times(shape, to.clone()), epochs(from), epochs(to)]);
    RecordBatch::try_new(shape.stored.clone(), columns).map_err(|error| contract(shape, error))
}

/// Versions with other ends.
pub(crate) fn with_ends(
    shape: &Shape,
    versions: &RecordBatch,
    to: impl Iterator<Item = Option<Moment>> + Clone,
) -> Result<RecordBatch, DeltaSinkError> {
    let at = Places::of(shape);
    let mut columns = versions.columns().to_vec();
    (columns[at.to()], columns[at.until_epoch()]) = (times(shape, to.clone()), epochs(to));
    RecordBatch::try_new(shape.stored.clone(), columns).map_err(|error| contract(shape, error))
}

/// Versions of which the open ones end, while the others stay as they are.
pub(crate) fn ended(shape: &Shape, versions: &RecordBatch, moment: Moment) -> Result<RecordBatch, DeltaSinkError> {
    let at = Places::of(shape);
    let known = moments(versions, at.to(), at.until_epoch());
    with_ends(shape, versions, known.into_iter().map(|known| known.or(Some(moment))))
}

/// Versions of which those without a beginning begin.
pub(crate) fn begun(shape: &Shape, versions: &RecordBatch, moment: Moment) -> Result<RecordBatch, DeltaSinkError> {
    let at = Places::of(shape);
    let known = moments(versions, at.from(), at.since_epoch());
    let from = known.into_iter().map(|known| known.or(Some(moment)));
    let mut columns = versions.columns().to_vec();
    (columns[at.from()], columns[at.since_epoch()]) = (times(shape, from.clone()), epochs(from));
    RecordBatch::try_new(shape.stored.clone(), columns).map_err(|error| contract(shape, error))
}

/// The moments in two columns; `None` for NULL.
pub(crate) fn moments(versions: &RecordBatch, time: usize, epoch: usize) -> Vec<Option<Moment>> {
    let times = versions.column(time).as_primitive::<TimestampMicrosecondType>();
    let epochs = versions.column(epoch).as_primitive::<Int64Type>();
    let moment = |row: usize| {
        let is_there = times.is_valid(row) && epochs.is_valid(row);
        is_there.then(|| (Epoch(epochs.value(row) as u64), Micros(times.value(row))))
    };
    (0..versions.num_rows()).map(moment).collect()
}
