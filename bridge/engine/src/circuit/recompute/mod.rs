//! Aggregates that are computed from all rows of a group when one of them changes.
//!
//! One part of a group serves all such calls. Its value rows hold the columns that they need, and
//! the order of these rows is the order in which every call sees the group, unless it says another. So
//! `first(a)` and `first(b)` are of one row, and an answer depends on the group's rows alone.

mod numbers;
mod over;
mod quantile;
mod values;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use dbsp::algebra::UnimplementedSemigroup;
use dbsp::dynamic::{DataTrait, DynUnit, Erase, WeightTrait};
use dbsp::operator::Aggregator;
use dbsp::trace::Cursor;
use dbsp::{Timestamp, ZWeight};
use tidegate_core::ViewName;
use tidegate_engine_row::{KeyMode, Row, RowCodec};
use tidegate_engine_sql::Recomputed;

use super::way::Errors;
use crate::EngineError;

/// One call, over the columns of the part's value rows.
pub(crate) struct Call {
    pub function: Recomputed,
    /// Its name, for messages.
    pub name: String,
    pub arguments: Vec<usize>,
    pub distinct: bool,
    pub filter: Option<usize>,
    pub order: Vec<OrderKey>,
    pub return_type: DataType,
}

/// A column by which a call orders the rows.
pub(crate) struct OrderKey {
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// The calls of a part.
pub(crate) struct Recompute {
    view: ViewName,
    codec: RowCodec,
    /// For the columns whose values are compared: equal values have equal rows.
    keys: Vec<Option<RowCodec>>,
    calls: Vec<(Call, RowCodec)>,
    /// The answers for no rows.
    empty: Row,
}

impl Recompute {
    /// The calls over value rows of `codec`.
    pub fn new(view: ViewName, codec: RowCodec, calls: Vec<Call>) -> Result<Self, EngineError> {
        let fields: Vec<FieldRef> = codec.fields().cloned().collect();
        let mut keys: Vec<Option<RowCodec>> = vec![None; fields.len()];
        for call in &calls {
            let arguments = call.arguments.iter().filter(|_| call.distinct || compares(&call.function));
            for column in arguments.copied().chain(call.order.iter().map(|key| key.column)) {
                keys[column] = Some(RowCodec::new(&fields[column..=column], KeyMode::Canonical)?);
            }
        }
        let answer = |call: Call| {
            let field = Arc::new(Field::new(call.name.clone(), call.return_type.clone(), false));
            Ok((call, RowCodec::new(&[field], KeyMode::Exact)?))
        };
        let calls = calls.into_iter().map(answer).collect::<Result<Vec<_>, EngineError>>()?;
        let mut part = Recompute { view, codec, keys, calls, empty: Row::empty() };
        part.empty = part.answers(&[], &[])?;
        Ok(part)
    }

    /// The answers for a group without rows.
    pub fn empty(&self) -> &Row {
        &self.empty
    }

    /// The answers for a group, one after the other: the number of words and one more, or 0 for
    /// NULL; then the words.
    fn answers(&self, rows: &[Row], weights: &[ZWeight]) -> Result<Row, EngineError> {
        let group = self.group(self.codec.decode(rows)?, weights)?;
        let mut words = Vec::new();
        for (call, codec) in &self.calls {
            match self.encoded(call, codec, &group, &group.rows(call))? {
                None => words.push(0),
                Some(encoded) => {
                    let encoded = encoded.as_words();
                    words.push(encoded.len() as u64 + 1);
                    words.extend_from_slice(encoded);
                }
            }
        }
        Ok(Row::from_words(&words))
    }

    fn group<'a>(&self, columns: Vec<ArrayRef>, weights: &'a [ZWeight]) -> Result<Group<'a>, EngineError> {
        let key = |(codec, column): (&Option<RowCodec>, &ArrayRef)| {
            codec.as_ref().map(|codec| codec.encode(std::slice::from_ref(column))).transpose()
        };
        let keys = self.keys.iter().zip(&columns).map(key).collect::<Result<Vec<_>, _>>()?;
        Ok(Group { columns, keys, weights })
    }

    /// The answer of a call over the rows that it sees.
    fn encoded(
        &self,
        call: &Call,
        codec: &RowCodec,
        group: &Group,
        rows: &[usize],
    ) -> Result<Option<Row>, EngineError> {
        let answer = values::answer(call, group, rows).map_err(|fault| match fault {
            Fault::Engine(error) => error,
            Fault::Range => EngineError::OutOfRange { view: self.view.clone(), function: call.name.clone() },
            Fault::SeveralRows => EngineError::SeveralRows { view: self.view.clone() },
        })?;
        match answer.filter(|answer| answer.is_valid(0)) {
            None => Ok(None),
            Some(answer) => Ok(codec.encode(&[answer])?.pop()),
        }
    }

    /// NULL everywhere, for a group whose answers cannot be told; the step fails.
    fn nothing(&self) -> Row {
        Row::from_words(&vec![0; self.calls.len()])
    }
}

/// The answer of a call among those of its part.
pub(crate) fn answer(answers: &[u64], call: usize) -> Option<&[u64]> {
    let mut rest = answers;
    for _ in 0..call {
        rest = &rest[(rest[0].max(1)) as usize..];
    }
    (rest[0] > 0).then(|| &rest[1..rest[0] as usize])
}

/// Whether a function compares its arguments.
fn compares(function: &Recomputed) -> bool {
    matches!(
        function,
        Recomputed::ArgExtreme(_)
            | Recomputed::Mode
            | Recomputed::Histogram
            | Recomputed::Quantile(_)
            | Recomputed::Entropy
    )
}

/// Why there is no answer.
enum Fault {
    Engine(EngineError),
    /// DuckDB fails with the function being out of range.
    Range,
    /// What stands for one value has several rows.
    SeveralRows,
}

impl From<arrow::error::ArrowError> for Fault {
    fn from(error: arrow::error::ArrowError) -> Self {
        Fault::Engine(error.into())
    }
}

/// The rows of a group, in their order.
pub(crate) struct Group<'a> {
    columns: Vec<ArrayRef>,
    keys: Vec<Option<Vec<Row>>>,
    weights: &'a [ZWeight],
}

impl Group<'_> {
    fn keys(&self, column: usize) -> &[Row] {
        self.keys[column].as_deref().expect("the columns that a call compares have keys")
    }

    /// The rows that a call sees, in its order, a row as often as it has copies.
    fn rows(&self, call: &Call) -> Vec<usize> {
        self.seen(call, (0..self.weights.len()).collect())
    }

    /// Of some rows in their order, the rows that a call sees.
    fn seen(&self, call: &Call, mut rows: Vec<usize>) -> Vec<usize> {
        if let Some(filter) = call.filter {
            let filter = self.columns[filter].as_boolean();
            rows.retain(|row| filter.is_valid(*row) && filter.value(*row));
        }
        if call.distinct {
            let mut seen = std::collections::BTreeSet::new();
            rows.retain(|row| seen.insert(call.arguments.iter().map(|a| &self.keys(*a)[*row]).collect::<Vec<_>>()));
        }
        if !call.order.is_empty() {
            rows.sort_by(|a, b| {
                let orders = call.order.iter().map(|key| self.compare(key, *a, *b));
                orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
            });
        }
        if call.distinct {
            return rows;
        }
        let copies = |row: usize| usize::try_from(self.weights[row]).unwrap_or(0);
        rows.into_iter().flat_map(|row| std::iter::repeat_n(row, copies(row))).collect()
    }

    fn compare(&self, key: &OrderKey, a: usize, b: usize) -> std::cmp::Ordering {
        let column = &self.columns[key.column];
        match (column.is_null(a), column.is_null(b)) {
            (true, true) => std::cmp::Ordering::Equal,
            (false, false) => {
                let keys = self.keys(key.column);
                let order = keys[a].cmp(&keys[b]);
                if key.descending { order.reverse() } else { order }
            }
            (is_null, _) => {
                let first = if is_null { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
                if key.nulls_first { first } else { first.reverse() }
            }
        }
    }
}

/// The part as DBSP runs it: once for each group that has changed.
#[derive(Clone)]
pub(crate) struct Recomputing {
    pub part: Arc<Recompute>,
    pub errors: Errors,
}

impl<T: Timestamp> Aggregator<Row, T, ZWeight> for Recomputing {
    type Accumulator = Row;
    type Output = Row;
    type Semigroup = UnimplementedSemigroup<Row>;

    fn aggregate<KTrait, RTrait>(&self, cursor: &mut dyn Cursor<KTrait, DynUnit, T, RTrait>) -> Option<Row>
    where
        KTrait: DataTrait + ?Sized,
        RTrait: WeightTrait + ?Sized,
        Row: Erase<KTrait>,
        ZWeight: Erase<RTrait>,
    {
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        while cursor.key_valid() {
            let mut weight = 0;
            // SAFETY: the trait's caller gives cursors over rows with integer weights.
            cursor.map_times(&mut |_, w| weight += unsafe { *w.downcast::<ZWeight>() });
            if weight != 0 {
                // SAFETY: as above.
                rows.push(unsafe { cursor.key().downcast::<Row>() }.clone());
                weights.push(weight);
            }
            cursor.step_key();
        }
        if rows.is_empty() {
            return None;
        }
        Some(self.part.answers(&rows, &weights).unwrap_or_else(|error| {
            self.errors.keep(error);
            self.part.nothing()
        }))
    }

    fn finalize(&self, answers: Row) -> Row {
        answers
    }
}
