//! Pipes: the stateless way from one operator's rows to the next one's, vectorised on Arrow.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use dbsp::ZWeight;
use dbsp::utils::Tup2;
use tidegate_core::ZSet;
use tidegate_engine_row::{ColumnReader, Gather, Row, RowCodec, RowError};
use tidegate_engine_sql::Stretch;

use super::group::{SlotEncoder, SlotReader};
use super::key::{Key, KeyShape};
use super::order::OrderedEncoder;
use crate::EngineError;

/// A row as flat operators take it, with its weight.
pub(crate) type FlatRow = Tup2<Row, ZWeight>;

/// Filters and projections, then the encoding that the consumer wants.
pub(crate) struct Pipe {
    residual: Option<Stretch>,
    stretch: Stretch,
    encoder: Encoder,
    direct: Option<Direct>,
}

/// How a consumer wants its rows.
pub(crate) enum Encoder {
    /// All columns in one row.
    Flat(RowCodec),
    /// The first columns as key, the others as value.
    Keyed(KeyedEncoder),
}

pub(crate) struct KeyedEncoder {
    /// How many of the columns are the key.
    pub keys: usize,
    pub key: RowCodec,
    pub value: ValueEncoder,
    /// Rows with a NULL in one of these columns are left out: join keys that match nothing,
    /// arguments that an aggregate does not see.
    pub required: Vec<usize>,
}

pub(crate) enum ValueEncoder {
    Row(RowCodec),
    Slots(SlotEncoder),
    /// Rows in an order of their own.
    Ordered(OrderedEncoder),
}

impl Pipe {
    /// `residual` comes before `stretch`; `origin` decodes the operator that the rows come from, if
    /// they come from one.
    pub fn new(residual: Option<Stretch>, stretch: Stretch, encoder: Encoder, origin: Option<&Decoder>) -> Self {
        let picked = stretch.positions().filter(|_| residual.is_none());
        let direct = origin.zip(picked).and_then(|(origin, picked)| {
            let columns: Vec<_> = picked.into_iter().map(|column| origin.columns[column]).collect();
            Direct::new(&origin.codec, &columns, &encoder)
        });
        Pipe { residual, stretch, encoder, direct }
    }

    /// Whether a pipe of these makes the same of the same rows.
    pub fn does_as(&self, residual: Option<&Stretch>, stretch: &Stretch, encoder: &Encoder) -> bool {
        let residuals = match (&self.residual, residual) {
            (Some(own), Some(residual)) => own.does_as(residual),
            (own, residual) => own.is_none() && residual.is_none(),
        };
        residuals && self.stretch.does_as(stretch) && self.encoder.does_as(encoder)
    }

    /// The short way from row to row, if there is one.
    pub fn direct(&self) -> Option<&Direct> {
        self.direct.as_ref()
    }

    fn apply(&self, zset: &ZSet) -> Result<ZSet, EngineError> {
        Ok(match &self.residual {
            Some(residual) => self.stretch.apply(&residual.apply(zset)?)?,
            None => self.stretch.apply(zset)?,
        })
    }

    /// Encodes for a flat consumer.
    ///
    /// # Panics
    /// When the consumer is keyed: the compiler pairs them.
    pub fn flat(&self, zset: &ZSet, out: &mut Vec<FlatRow>) -> Result<(), EngineError> {
        let Encoder::Flat(codec) = &self.encoder else { unreachable!("a flat edge has a flat encoder") };
        let zset = self.apply(zset)?;
        let rows = encode(codec, zset.rows().columns(), zset.len())?;
        out.extend(rows.into_iter().zip(zset.weights().values()).map(|(row, weight)| Tup2(row, *weight)));
        Ok(())
    }

    /// Encodes for a keyed consumer.
    ///
    /// # Panics
    /// When the consumer is flat: the compiler pairs them.
    pub fn keyed<K: Key>(&self, zset: &ZSet, mut take: impl FnMut(K, Row, ZWeight)) -> Result<(), EngineError> {
        let Encoder::Keyed(encoder) = &self.encoder else { unreachable!("a keyed edge has a keyed encoder") };
        let zset = encoder.drop_nulls(self.apply(zset)?)?;
        let (keys, values) = zset.rows().columns().split_at(encoder.keys);
        let keys: Vec<K> = encode(&encoder.key, keys, zset.len())?;
        let values = match &encoder.value {
            ValueEncoder::Row(codec) => encode(codec, values, zset.len())?,
            ValueEncoder::Slots(slots) => slots.encode(values, zset.len())?,
            ValueEncoder::Ordered(ordered) => ordered.encode(values, zset.len())?,
        };
        for ((key, value), weight) in keys.into_iter().zip(values).zip(zset.weights().values()) {
            take(key, value, *weight);
        }
        Ok(())
    }

    /// How the consumer keeps keys, if it is keyed.
    pub fn key_shape(&self) -> Option<KeyShape> {
        match &self.encoder {
            Encoder::Flat(_) => None,
            Encoder::Keyed(encoder) => Some(KeyShape::of(&encoder.key)),
        }
    }
}

impl Encoder {
    /// Whether both make the same of the same rows, as far as that is told: of rows and of rows by key.
    fn does_as(&self, other: &Encoder) -> bool {
        match (self, other) {
            (Encoder::Flat(one), Encoder::Flat(two)) => one.makes_as(two),
            (Encoder::Keyed(one), Encoder::Keyed(two)) => match (&one.value, &two.value) {
                (ValueEncoder::Row(value), ValueEncoder::Row(of_other)) => {
                    (one.keys, &one.required) == (two.keys, &two.required)
                        && one.key.makes_as(&two.key)
                        && value.makes_as(of_other)
                }
                (ValueEncoder::Row(_) | ValueEncoder::Slots(_) | ValueEncoder::Ordered(_), _) => false,
            },
            (Encoder::Flat(_) | Encoder::Keyed(_), _) => false,
        }
    }
}

impl KeyedEncoder {
    fn drop_nulls(&self, zset: ZSet) -> Result<ZSet, EngineError> {
        let nulls = self.required.iter().filter_map(|column| zset.rows().column(*column).logical_nulls());
        let valid = nulls.filter(|n| n.null_count() > 0).fold(None, |valid, nulls| {
            let nulls = nulls.into_inner();
            Some(valid.map_or(nulls.clone(), |valid| &valid & &nulls))
        });
        let Some(valid) = valid else { return Ok(zset) };
        let keep = arrow::array::BooleanArray::new(valid, None);
        let (rows, weights) = zset.into_parts();
        let rows = arrow::compute::filter_record_batch(&rows, &keep)?;
        let weights = arrow::compute::filter(&weights, &keep)?;
        let weights = weights.as_any().downcast_ref::<Int64Array>().expect("filter keeps the type").clone();
        Ok(ZSet::new(rows, weights))
    }
}

/// From an operator's rows to its consumer's, where no expression is to be computed: words are
/// moved, and there is no Arrow in between.
#[derive(Clone)]
pub(crate) enum Direct {
    Flat(Gather),
    Keyed {
        /// Rows with a NULL in one of these are left out, as are those that a codec has no place for.
        required: Vec<ColumnReader>,
        key: Gather,
        value: DirectValue,
    },
}

#[derive(Clone)]
pub(crate) enum DirectValue {
    Row(Gather),
    Slots(SlotReader),
}

impl Direct {
    fn new(source: &RowCodec, columns: &[usize], encoder: &Encoder) -> Option<Direct> {
        let encoder = match encoder {
            Encoder::Flat(codec) => return Gather::new(source, columns, codec).map(Direct::Flat),
            Encoder::Keyed(encoder) => encoder,
        };
        let (keys, values) = columns.split_at(encoder.keys);
        let (value, value_codec) = match &encoder.value {
            ValueEncoder::Row(codec) => (DirectValue::Row(Gather::new(source, values, codec)?), Some(codec)),
            ValueEncoder::Slots(slots) => {
                (DirectValue::Slots(slots.slots.reader(|argument| source.reader(values[argument]))), None)
            }
            ValueEncoder::Ordered(_) => return None,
        };
        let targets = encoder.key.fields().chain(value_codec.into_iter().flat_map(RowCodec::fields));
        let takes_null: Vec<bool> = targets.map(|field| field.is_nullable()).collect();
        let required = encoder.required.iter().filter(|column| takes_null.get(**column).copied().unwrap_or(true));
        let required = required.map(|column| source.reader(columns[*column])).collect();
        Some(Direct::Keyed { required, key: Gather::new(source, keys, &encoder.key)?, value })
    }

    /// The row for a flat consumer.
    ///
    /// # Panics
    /// When the consumer is keyed: the compiler pairs them.
    pub fn flat(&self, parts: &[&[u64]]) -> Result<Row, RowError> {
        let Direct::Flat(gather) = self else { unreachable!("a flat edge has a flat encoder") };
        gather.row(parts).map(|row| row.expect("flat rows take NULL everywhere"))
    }

    /// Key and value for a keyed consumer; `None` where a NULL keeps the row out.
    ///
    /// # Panics
    /// When the consumer is flat: the compiler pairs them.
    #[inline]
    pub fn keyed<K: Key>(&self, parts: &[&[u64]]) -> Result<Option<(K, Row)>, RowError> {
        let Direct::Keyed { required, key, value } = self else { unreachable!("a keyed edge has a keyed encoder") };
        for column in required {
            if column.is_null(parts)? {
                return Ok(None);
            }
        }
        let Some(key) = key.with_words(parts, K::from_words)? else { return Ok(None) };
        let value = match value {
            DirectValue::Row(gather) => gather.row(parts)?,
            DirectValue::Slots(slots) => Some(slots.row(parts)?),
        };
        Ok(value.map(|value| (key, value)))
    }
}

/// How an operator's output becomes Arrow.
pub(crate) struct Decoder {
    /// The rows, key and value end to end where the operator's stream is keyed.
    pub codec: RowCodec,
    /// Key and value apart, where it is.
    pub keyed: Option<(RowCodec, RowCodec)>,
    /// Words of the key that the rows begin with, if they do and its codec says how many.
    pub key_width: usize,
    /// Where each output column stands among the codec's.
    pub columns: Vec<usize>,
    pub schema: SchemaRef,
}

impl Decoder {
    /// Decodes flat rows.
    pub fn flat(&self, rows: &[Row]) -> Result<RecordBatch, EngineError> {
        self.batch(&self.codec.decode(rows)?, rows.len())
    }

    /// Decodes keyed rows.
    ///
    /// # Panics
    /// When the operator's stream is flat: the compiler pairs them.
    pub fn keyed<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a [u64]>,
        values: &[Row],
    ) -> Result<RecordBatch, EngineError> {
        let (key, value) = self.keyed.as_ref().expect("a keyed stream has two codecs");
        let mut arrays = key.decode_words(keys)?;
        arrays.extend(value.decode(values)?);
        self.batch(&arrays, values.len())
    }

    fn batch(&self, arrays: &[ArrayRef], rows: usize) -> Result<RecordBatch, EngineError> {
        batch(&self.schema, self.columns.iter().map(|column| Arc::clone(&arrays[*column])).collect(), rows)
    }
}

/// A record batch that may have no columns.
pub(crate) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, EngineError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Encodes columns, of which there may be none, as keys or as rows.
pub(crate) fn encode<K: Key>(codec: &RowCodec, columns: &[ArrayRef], rows: usize) -> Result<Vec<K>, EngineError> {
    if columns.is_empty() {
        return Ok(vec![K::from_words(&[]); rows]);
    }
    let mut encoded = Vec::with_capacity(rows);
    codec.encode_each(columns, |words| encoded.push(K::from_words(words)))?;
    Ok(encoded)
}
