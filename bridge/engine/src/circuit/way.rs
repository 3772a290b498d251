//! The way from one operator's batches to the rows its consumer wants: straight from row to row
//! where words only move, through Arrow where something is computed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use dbsp::dynamic::DowncastTrait;
use dbsp::trace::{BatchReader, Cursor};
use dbsp::utils::Tup2;
use dbsp::{OrdIndexedZSet, OrdZSet, ZWeight};
use tidegate_core::{ViewName, ZSet};
use tidegate_engine_row::{Row, RowError};

use super::key::Key;
use super::pipe::{Decoder, Direct, Pipe};
use crate::EngineError;

/// Rows that are decoded, computed and encoded at a time.
const CHUNK_ROWS: usize = 8192;

/// The first error of a circuit, where closures cannot return one.
#[derive(Clone)]
pub(crate) struct Errors {
    view: ViewName,
    first: Arc<std::sync::Mutex<Option<EngineError>>>,
}

impl Errors {
    pub fn new(view: ViewName) -> Self {
        Errors { view, first: Arc::default() }
    }

    /// Takes the error out.
    pub fn take(&self) -> Option<EngineError> {
        self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Keeps that a recursion does not end.
    pub fn endless(&self, fact: &'static str) {
        self.keep(EngineError::Endless { view: self.view.clone(), fact });
    }

    /// Keeps an error, unless there is one.
    pub fn keep(&self, error: EngineError) {
        self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
    }

    /// Keeps that the source's changes contradict what it sent before.
    pub fn inconsistent(&self, fact: &'static str) {
        self.keep(EngineError::Inconsistent { view: self.view.clone(), fact });
    }

    /// Answers what there is and keeps the error.
    #[inline]
    pub fn told<T>(&self, result: Result<T, RowError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.keep(self.named(error));
                None
            }
        }
    }

    /// An error of rows as one of the view.
    pub fn named(&self, error: RowError) -> EngineError {
        match error {
            RowError::SumOverflow => EngineError::SumOverflow { view: self.view.clone() },
            RowError::ListTooLarge => EngineError::PartitionTooLarge { view: self.view.clone() },
            other => other.into(),
        }
    }
}

/// From an operator to a consumer.
pub(crate) struct Way {
    pub decoder: Arc<Decoder>,
    pub pipe: Arc<Pipe>,
    pub errors: Errors,
}

impl Way {
    /// The rows that the consumer gets for a batch.
    pub fn rows<R: Consumed>(&self, batch: &impl Produced) -> Vec<Tup2<R, ZWeight>> {
        let mut rows = Vec::with_capacity(batch.entries());
        if let Some(direct) = self.pipe.direct() {
            batch.each(&self.decoder, &mut |parts, weight| {
                let row = self.errors.told(parts.and_then(|parts| R::direct(direct, parts))).flatten();
                rows.extend(row.map(|row| Tup2(row, weight)));
            });
        } else if let Err(error) = self.through_arrow(batch, &mut rows) {
            self.errors.keep(error);
        }
        rows
    }

    fn through_arrow<R: Consumed>(
        &self,
        batch: &impl Produced,
        rows: &mut Vec<Tup2<R, ZWeight>>,
    ) -> Result<(), EngineError> {
        batch.decoded(&self.decoder, &mut |chunk, weights| {
            R::through_arrow(&self.pipe, &ZSet::new(chunk, weights.to_vec().into()), rows)
        })
    }
}

/// A row as a consumer takes it.
pub(crate) trait Consumed: Sized {
    /// Straight from a row; `None` where a NULL keeps it out.
    fn direct(direct: &Direct, parts: &[&[u64]]) -> Result<Option<Self>, RowError>;

    fn through_arrow(pipe: &Pipe, zset: &ZSet, rows: &mut Vec<Tup2<Self, ZWeight>>) -> Result<(), EngineError>;
}

impl Consumed for Row {
    fn direct(direct: &Direct, parts: &[&[u64]]) -> Result<Option<Self>, RowError> {
        direct.flat(parts).map(Some)
    }

    fn through_arrow(pipe: &Pipe, zset: &ZSet, rows: &mut Vec<Tup2<Self, ZWeight>>) -> Result<(), EngineError> {
        pipe.flat(zset, rows)
    }
}

impl<K: Key> Consumed for Tup2<K, Row> {
    fn direct(direct: &Direct, parts: &[&[u64]]) -> Result<Option<Self>, RowError> {
        Ok(direct.keyed(parts)?.map(|(key, value)| Tup2(key, value)))
    }

    fn through_arrow(pipe: &Pipe, zset: &ZSet, rows: &mut Vec<Tup2<Self, ZWeight>>) -> Result<(), EngineError> {
        pipe.keyed(zset, |key, value, weight| rows.push(Tup2(Tup2(key, value), weight)))
    }
}

/// The words of a row's parts, with its weight.
type TakeParts<'a> = dyn FnMut(Result<&[&[u64]], RowError>, ZWeight) + 'a;

/// Decoded rows with their weights.
type TakeChunk<'a> = dyn FnMut(RecordBatch, &[ZWeight]) -> Result<(), EngineError> + 'a;

/// A batch as an operator produces it.
pub(crate) trait Produced {
    fn entries(&self) -> usize;

    /// Every row, as the words of the codec's parts.
    fn each(&self, decoder: &Decoder, take: &mut TakeParts);

    /// Every row, in Arrow.
    fn decoded(&self, decoder: &Decoder, take: &mut TakeChunk) -> Result<(), EngineError>;
}

fn each_flat(batch: &OrdZSet<Row>, mut take: impl FnMut(&Row, ZWeight)) {
    let mut cursor = batch.cursor();
    while cursor.key_valid() {
        let weight = **cursor.weight();
        // SAFETY: the batch was built with `Row` keys and integer weights.
        take(unsafe { cursor.key().downcast::<Row>() }, weight);
        cursor.step_key();
    }
}

pub(super) fn each_keyed<K: Key>(batch: &OrdIndexedZSet<K, Row>, mut take: impl FnMut(&K, &Row, ZWeight)) {
    let mut cursor = batch.cursor();
    while cursor.key_valid() {
        while cursor.val_valid() {
            let weight = **cursor.weight();
            // SAFETY: the batch was built with keys of this type, `Row` values and integer weights.
            let (key, value) = unsafe { (cursor.key().downcast::<K>(), cursor.val().downcast::<Row>()) };
            take(key, value, weight);
            cursor.step_val();
        }
        cursor.step_key();
    }
}

impl Produced for OrdZSet<Row> {
    fn entries(&self) -> usize {
        self.len()
    }

    fn each(&self, decoder: &Decoder, take: &mut TakeParts) {
        each_flat(self, |row, weight| match decoder.codec.split(row) {
            Ok(parts) => take(Ok(&parts), weight),
            Err(error) => take(Err(error), weight),
        });
    }

    fn decoded(&self, decoder: &Decoder, take: &mut TakeChunk) -> Result<(), EngineError> {
        let (mut rows, mut weights) = (Vec::with_capacity(self.len()), Vec::with_capacity(self.len()));
        each_flat(self, |row, weight| {
            rows.push(row.clone());
            weights.push(weight);
        });
        for (rows, weights) in rows.chunks(CHUNK_ROWS).zip(weights.chunks(CHUNK_ROWS)) {
            take(decoder.flat(rows)?, weights)?;
        }
        Ok(())
    }
}

impl<K: Key> Produced for OrdIndexedZSet<K, Row> {
    fn entries(&self) -> usize {
        self.len()
    }

    fn each(&self, decoder: &Decoder, take: &mut TakeParts) {
        each_keyed(self, |key, value, weight| {
            key.with_words(decoder.key_width, |key| take(Ok(&[key, value.as_words()]), weight));
        });
    }

    fn decoded(&self, decoder: &Decoder, take: &mut TakeChunk) -> Result<(), EngineError> {
        let (mut keys, mut values, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        each_keyed(self, |key, value, weight| {
            key.with_words(decoder.key_width, |words| keys.push(Row::from_words(words)));
            values.push(value.clone());
            weights.push(weight);
        });
        let chunks = keys.chunks(CHUNK_ROWS).zip(values.chunks(CHUNK_ROWS)).zip(weights.chunks(CHUNK_ROWS));
        for ((keys, values), weights) in chunks {
            take(decoder.keyed(keys.iter().map(Row::as_words), values)?, weights)?;
        }
        Ok(())
    }
}
