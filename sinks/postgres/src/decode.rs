//! Values in PostgreSQL's binary form into Arrow columns: the way back of [`encode`](crate::encode).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, FixedSizeListArray, ListArray, PrimitiveBuilder,
    StringBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};

use crate::column::{Kind, Scalar};
use crate::encode::{EPOCH_DAYS, EPOCH_MICROS};
use crate::numeric;

/// A value that the sink does not write into such a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strange;

/// Takes values of one column.
pub(crate) trait Reader: Send {
    fn push(&mut self, value: Option<&[u8]>) -> Result<(), Strange>;
    /// The values so far, as a column; the reader is empty then.
    fn finish(&mut self) -> Result<ArrayRef, Strange>;
}

/// A reader for a column of the view.
pub(crate) fn reader(kind: &Kind, data_type: &DataType) -> Box<dyn Reader> {
    match (kind, data_type) {
        (Kind::Scalar(scalar), data_type) => scalars(*scalar, data_type),
        (Kind::Array(scalar), DataType::List(item) | DataType::FixedSizeList(item, _)) => Box::new(Lists {
            size: if let DataType::FixedSizeList(_, size) = data_type { Some(*size) } else { None },
            item: item.clone(),
            items: scalars(*scalar, item.data_type()),
            lengths: Vec::new(),
            valid: Vec::new(),
        }),
        (Kind::Json, _) => Box::new(Texts(StringBuilder::new())),
        (_, data_type) => Box::new(Nested { data_type: data_type.clone(), texts: Vec::new() }),
    }
}

fn scalars(scalar: Scalar, data_type: &DataType) -> Box<dyn Reader> {
    let integer = |bytes: &[u8]| -> Option<i64> {
        Some(match bytes.len() {
            2 => i16::from_be_bytes(bytes.try_into().ok()?).into(),
            4 => i32::from_be_bytes(bytes.try_into().ok()?).into(),
            _ => i64::from_be_bytes(bytes.try_into().ok()?),
        })
    };
    match (scalar, data_type) {
        (Scalar::Bool, _) => Box::new(Booleans(BooleanBuilder::new())),
        (Scalar::Int2 | Scalar::Int4 | Scalar::Int8, DataType::Int8) => {
            primitives::<Int8Type>(data_type, move |bytes| integer(bytes)?.try_into().ok())
        }
        (_, DataType::Int16) => primitives::<Int16Type>(data_type, move |bytes| integer(bytes)?.try_into().ok()),
        (_, DataType::Int32) => primitives::<Int32Type>(data_type, move |bytes| integer(bytes)?.try_into().ok()),
        (_, DataType::Int64) => primitives::<Int64Type>(data_type, integer),
        (_, DataType::UInt8) => primitives::<UInt8Type>(data_type, move |bytes| integer(bytes)?.try_into().ok()),
        (_, DataType::UInt16) => primitives::<UInt16Type>(data_type, move |bytes| integer(bytes)?.try_into().ok()),
        (_, DataType::UInt32) => primitives::<UInt32Type>(data_type, move |bytes| integer(bytes)?.try_into().ok()),
        (Scalar::Numeric { .. }, DataType::UInt64) => {
            primitives::<UInt64Type>(data_type, |bytes| numeric::read(bytes, 0)?.try_into().ok())
        }
        (Scalar::Numeric { scale, .. }, _) => {
            primitives::<Decimal128Type>(data_type, move |bytes| numeric::read(bytes, scale))
        }
        (Scalar::Float4, _) => {
            primitives::<Float32Type>(data_type, |bytes| Some(f32::from_be_bytes(bytes.try_into().ok()?)))
        }
        (Scalar::Float8, _) => {
            primitives::<Float64Type>(data_type, |bytes| Some(f64::from_be_bytes(bytes.try_into().ok()?)))
        }
        (Scalar::Uuid, _) => Box::new(Uuids(StringBuilder::new())),
        (Scalar::Text, _) => Box::new(Texts(StringBuilder::new())),
        (Scalar::Bytea, _) => Box::new(Binaries(BinaryBuilder::new())),
        (Scalar::Date, _) => primitives::<Date32Type>(data_type, |bytes| {
            Some(match i32::from_be_bytes(bytes.try_into().ok()?) {
                i32::MAX => i32::MAX,
                i32::MIN => -i32::MAX,
                days => days.checked_add(EPOCH_DAYS)?,
            })
        }),
        (Scalar::Time, _) => primitives::<Time64MicrosecondType>(data_type, integer),
        (Scalar::TimestampText, _) => primitives::<TimestampNanosecondType>(data_type, |bytes| {
            tidegate_json::parse_timestamp(std::str::from_utf8(bytes).ok()?, TimeUnit::Nanosecond)
        }),
        (_, DataType::Timestamp(TimeUnit::Second, _)) => {
            primitives::<TimestampSecondType>(data_type, |bytes| timestamp(bytes, 1_000_000))
        }
        (_, DataType::Timestamp(TimeUnit::Millisecond, _)) => {
            primitives::<TimestampMillisecondType>(data_type, |bytes| timestamp(bytes, 1_000))
        }
        (_, DataType::Timestamp(..)) => primitives::<TimestampMicrosecondType>(data_type, |bytes| timestamp(bytes, 1)),
        (Scalar::Interval, _) => primitives::<IntervalMonthDayNanoType>(data_type, |bytes| {
            let (micros, days, months) = (bytes.get(..8)?, bytes.get(8..12)?, bytes.get(12..16)?);
            let nanos = i64::from_be_bytes(micros.try_into().ok()?).checked_mul(1000)?;
            let number = |bytes: &[u8]| Some(i32::from_be_bytes(bytes.try_into().ok()?));
            Some(IntervalMonthDayNano::new(number(months)?, number(days)?, nanos))
        }),
        (scalar, data_type) => unreachable!("{scalar:?} was chosen for another type than {data_type}"),
    }
}

fn timestamp(bytes: &[u8], factor: i64) -> Option<i64> {
    Some(match i64::from_be_bytes(bytes.try_into().ok()?) {
        i64::MAX => i64::MAX,
        i64::MIN => -i64::MAX,
        micros => {
            let micros = micros.checked_add(EPOCH_MICROS)?;
            (micros % factor == 0).then_some(micros / factor)?
        }
    })
}

/// Values of a fixed width.
struct Primitives<T: ArrowPrimitiveType, R> {
    values: PrimitiveBuilder<T>,
    read: R,
}

fn primitives<T: ArrowPrimitiveType>(
    data_type: &DataType,
    read: impl Fn(&[u8]) -> Option<T::Native> + Send + 'static,
) -> Box<dyn Reader> {
    Box::new(Primitives { values: PrimitiveBuilder::<T>::new().with_data_type(data_type.clone()), read })
}

impl<T: ArrowPrimitiveType, R: Fn(&[u8]) -> Option<T::Native> + Send> Reader for Primitives<T, R> {
    fn push(&mut self, value: Option<&[u8]>) -> Result<(), Strange> {
        match value {
            None => self.values.append_null(),
            Some(bytes) => self.values.append_value((self.read)(bytes).ok_or(Strange)?),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, Strange> {
        Ok(Arc::new(self.values.finish()))
    }
}

/// A reader that is nothing but a builder of Arrow's, and how it takes a value.
macro_rules! reader_of_one_builder {
    ($(#[$doc:meta])* $reader:ident, $builder:ty, $read:expr) => {
        $(#[$doc])*
        struct $reader($builder);

        impl Reader for $reader {
            fn push(&mut self, value: Option<&[u8]>) -> Result<(), Strange> {
                let read: fn(&mut $builder, &[u8]) -> Option<()> = $read;
                match value {
                    None => self.0.append_null(),
                    Some(bytes) => read(&mut self.0, bytes).ok_or(Strange)?,
                }
                Ok(())
            }

            fn finish(&mut self) -> Result<ArrayRef, Strange> {
                Ok(Arc::new(self.0.finish()))
            }
        }
    };
}

reader_of_one_builder!(
    /// Truth values.
    Booleans,
    BooleanBuilder,
    |builder, bytes| {
        builder.append_value(*bytes.first()? != 0);
        Some(())
    }
);
reader_of_one_builder!(
    /// Text.
    Texts,
    StringBuilder,
    |builder, bytes| {
        builder.append_value(std::str::from_utf8(bytes).ok()?);
        Some(())
    }
);
reader_of_one_builder!(
    /// Bytes.
    Binaries,
    BinaryBuilder,
    |builder, bytes| {
        builder.append_value(bytes);
        Some(())
    }
);
reader_of_one_builder!(
    /// UUIDs as text, in small letters, as DuckDB writes them.
    Uuids,
    StringBuilder,
    |builder, bytes| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [digits.get(..8)?, digits.get(8..12)?, digits.get(12..16)?, digits.get(16..20)?, digits.get(20..)?];
        builder.append_value(parts.join("-"));
        (digits.len() == 32).then_some(())
    }
);

/// Arrays of one dimension.
struct Lists {
    item: FieldRef,
    /// The number of elements that every list has, where the type says one.
    size: Option<i32>,
    items: Box<dyn Reader>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl Lists {
    fn elements(&mut self, bytes: &[u8]) -> Option<usize> {
        let number = |at: usize| Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if number(0)? == 0 {
            return Some(0);
        }
        let length = number(12).filter(|_| number(0) == Some(1))?;
        let mut at = 20;
        for _ in 0..length {
            let size = number(at)?;
            at += 4;
            let value = match usize::try_from(size) {
                Err(_) => None,
                Ok(size) => Some(bytes.get(at..at + size)?),
            };
            at += value.map_or(0, <[u8]>::len);
            self.items.push(value).ok()?;
        }
        usize::try_from(length).ok()
    }
}

impl Reader for Lists {
    fn push(&mut self, value: Option<&[u8]>) -> Result<(), Strange> {
        let length = match value {
            Some(bytes) => self.elements(bytes).ok_or(Strange)?,
            None => {
                let length = self.size.map_or(0, |size| size as usize);
                (0..length).try_for_each(|_| self.items.push(None))?;
                length
            }
        };
        if self.size.is_some_and(|size| size as usize != length) {
            return Err(Strange);
        }
        self.lengths.push(length);
        self.valid.push(value.is_some());
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, Strange> {
        let nulls = Some(NullBuffer::from(std::mem::take(&mut self.valid))).filter(|nulls| nulls.null_count() > 0);
        let (item, items) = (self.item.clone(), self.items.finish()?);
        let lengths = std::mem::take(&mut self.lengths);
        Ok(match self.size {
            Some(size) => Arc::new(FixedSizeListArray::try_new(item, size, items, nulls).map_err(|_| Strange)?),
            None => {
                let offsets = OffsetBuffer::from_lengths(lengths);
                Arc::new(ListArray::try_new(item, offsets, items, nulls).map_err(|_| Strange)?)
            }
        })
    }
}

/// Values in JSON.
struct Nested {
    data_type: DataType,
    texts: Vec<Option<String>>,
}

impl Reader for Nested {
    fn push(&mut self, value: Option<&[u8]>) -> Result<(), Strange> {
        let text = match value {
            None => None,
            // The first byte is the version of the form.
            Some([1, json @ ..]) => Some(String::from_utf8(json.to_vec()).map_err(|_| Strange)?),
            Some(_) => return Err(Strange),
        };
        self.texts.push(text);
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, Strange> {
        let texts = std::mem::take(&mut self.texts);
        let parsed = texts.iter().map(|text| tidegate_json::parse(text.as_deref().unwrap_or("null")));
        let values = parsed.collect::<Result<Vec<_>, _>>().map_err(|_| Strange)?;
        tidegate_json::column(&self.data_type, &values.iter().collect::<Vec<_>>()).map_err(|_| Strange)
    }
}
