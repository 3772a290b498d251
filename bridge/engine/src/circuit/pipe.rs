//! Pipes: the stateless way from one operator's rows to the next one's, vectorised on Arrow.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use dbsp::ZWeight;
use dbsp::utils::Tup2;
use tidegate_core::ZSet;
use tidegate_engine_row::{Row, RowCodec};
use tidegate_engine_sql::Stretch;

use super::group::{GroupDecoder, SlotEncoder};
use crate::EngineError;

/// Rows as the operators take them, with weights: keyed, or flat with the unit as value.
pub(crate) type KeyedRow = Tup2<Tup2<Row, Row>, ZWeight>;
pub(crate) type FlatRow = Tup2<Row, ZWeight>;

/// Filters and projections, then the encoding that the consumer wants.
pub(crate) struct Pipe {
    residual: Option<Stretch>,
    stretch: Stretch,
    encoder: Encoder,
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
}

impl Pipe {
    /// `residual` comes before `stretch`.
    pub fn new(residual: Option<Stretch>, stretch: Stretch, encoder: Encoder) -> Self {
        Pipe { residual, stretch, encoder }
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
    pub fn keyed(&self, zset: &ZSet, out: &mut Vec<KeyedRow>) -> Result<(), EngineError> {
        let Encoder::Keyed(encoder) = &self.encoder else { unreachable!("a keyed edge has a keyed encoder") };
        let zset = encoder.drop_nulls(self.apply(zset)?)?;
        let (keys, values) = zset.rows().columns().split_at(encoder.keys);
        let keys = encode(&encoder.key, keys, zset.len())?;
        let values = match &encoder.value {
            ValueEncoder::Row(codec) => encode(codec, values, zset.len())?,
            ValueEncoder::Slots(slots) => slots.encode(values, zset.len())?,
        };
        let rows = keys.into_iter().zip(values).zip(zset.weights().values());
        out.extend(rows.map(|((key, value), weight)| Tup2(Tup2(key, value), *weight)));
        Ok(())
    }

    /// Whether the consumer is keyed.
    pub fn is_keyed(&self) -> bool {
        matches!(self.encoder, Encoder::Keyed(_))
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

/// How an operator's output becomes Arrow.
pub(crate) enum Decoder {
    /// Rows of a codec. `columns[i]` is where output column `i` stands among the codec's.
    Row { codec: RowCodec, columns: Vec<usize>, schema: SchemaRef },
    /// Groups with their aggregates.
    Group(GroupDecoder),
}

impl Decoder {
    /// Decodes flat rows.
    pub fn flat<'a>(&self, rows: impl ExactSizeIterator<Item = &'a Row>) -> Result<RecordBatch, EngineError> {
        let Decoder::Row { codec, columns, schema } = self else { unreachable!("groups are decoded with their keys") };
        let len = rows.len();
        let arrays = codec.decode(rows)?;
        batch(schema, columns.iter().map(|column| arrays[*column].clone()).collect(), len)
    }
}

/// A record batch that may have no columns.
pub(crate) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, EngineError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Encodes columns, of which there may be none.
pub(crate) fn encode(codec: &RowCodec, columns: &[ArrayRef], rows: usize) -> Result<Vec<Row>, EngineError> {
    if columns.is_empty() { Ok(vec![Row::empty(); rows]) } else { Ok(codec.encode(columns)?) }
}
