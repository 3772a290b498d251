//! Random Arrow columns of every type that rows can hold, with a taste for extreme values.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::*;
use rand::Rng;
use rand::rngs::StdRng;

/// Every supported type, nested ones included.
pub fn types() -> Vec<DataType> {
    use DataType::*;
    let mut types = vec![
        Null,
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float32,
        Float64,
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Decimal32(9, 2),
        Decimal64(18, 3),
        Decimal128(18, 2),
        Decimal128(38, 0),
        Decimal128(19, 4),
        Decimal256(76, 10),
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        FixedSizeBinary(16),
        FixedSizeBinary(5),
        Interval(IntervalUnit::MonthDayNano),
    ];
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        types.push(Timestamp(unit, None));
        types.push(Timestamp(unit, Some("Europe/Berlin".into())));
        types.push(Duration(unit));
    }
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    let point = Struct(Fields::from(vec![Field::new("x", Float64, true), Field::new("name", Utf8, true)]));
    types.push(List(item(Int32)));
    types.push(LargeList(item(Utf8)));
    types.push(FixedSizeList(item(Float64), 3));
    types.push(point.clone());
    types.push(List(item(point.clone())));
    types.push(List(item(Interval(IntervalUnit::MonthDayNano))));
    let entries = Struct(Fields::from(vec![Field::new("keys", Utf8, false), Field::new("values", Int64, true)]));
    types.push(Map(Arc::new(Field::new("entries", entries, false)), false));
    types
}

/// An integer of up to `bits` bits: often small, sometimes at the ends of its range.
pub fn int(rng: &mut StdRng, bits: u32) -> i128 {
    let (min, max) = (i128::MIN >> (128 - bits), i128::MAX >> (128 - bits));
    match rng.random_range(0..10) {
        0 => min,
        1 => max,
        2 => min + 1,
        3..7 => rng.random_range(-3..4),
        _ => rng.random_range(min..=max) >> rng.random_range(0..bits),
    }
}

/// A float: often a small integer, sometimes a special value or any bits at all.
pub fn float(rng: &mut StdRng) -> f64 {
    const SPECIAL: [f64; 12] = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        0.1,
        1e300,
    ];
    match rng.random_range(0..4) {
        0 => SPECIAL[rng.random_range(0..SPECIAL.len())],
        1 => f64::from_bits(rng.random()),
        _ => f64::from(rng.random_range(-3..4)) / 2.0,
    }
}

/// Bytes of a valid string with lengths around the word's seven bytes.
pub fn text(rng: &mut StdRng) -> String {
    let length = [0, 1, 6, 7, 8, 13, 14, 15, 40][rng.random_range(0..9)];
    let alphabet = ['\0', 'a', 'b', '\u{7f}', 'ß', '\u{10ffff}'];
    (0..length).map(|_| alphabet[rng.random_range(0..alphabet.len())]).collect()
}

fn nulls(rng: &mut StdRng, rows: usize, nullable: bool) -> Option<NullBuffer> {
    nullable.then(|| NullBuffer::from_iter((0..rows).map(|_| rng.random_range(0..4) > 0)))
}

fn offsets(rng: &mut StdRng, rows: usize) -> (OffsetBuffer<i32>, usize) {
    let lengths: Vec<usize> = (0..rows).map(|_| rng.random_range(0..4)).collect();
    (OffsetBuffer::from_lengths(lengths.iter().copied()), lengths.iter().sum())
}

/// A column of `rows` values.
pub fn array(rng: &mut StdRng, data_type: &DataType, rows: usize, nullable: bool) -> ArrayRef {
    use DataType::*;
    let nulls = nulls(rng, rows, nullable);
    macro_rules! primitive {
        ($type:ident, $value:expr) => {{
            let values: Vec<<$type as ArrowPrimitiveType>::Native> = (0..rows).map(|_| $value).collect();
            Arc::new(PrimitiveArray::<$type>::new(values.into(), nulls).with_data_type(data_type.clone()))
        }};
    }
    match data_type {
        Null => Arc::new(NullArray::new(rows)),
        Boolean => Arc::new(BooleanArray::new((0..rows).map(|_| rng.random()).collect(), nulls)),
        Int8 => primitive!(Int8Type, int(rng, 8) as i8),
        Int16 => primitive!(Int16Type, int(rng, 16) as i16),
        Int32 => primitive!(Int32Type, int(rng, 32) as i32),
        Int64 => primitive!(Int64Type, int(rng, 64) as i64),
        UInt8 => primitive!(UInt8Type, int(rng, 8) as u8),
        UInt16 => primitive!(UInt16Type, int(rng, 16) as u16),
        UInt32 => primitive!(UInt32Type, int(rng, 32) as u32),
        UInt64 => primitive!(UInt64Type, int(rng, 64) as u64),
        Float32 => primitive!(Float32Type, float(rng) as f32),
        Float64 => primitive!(Float64Type, float(rng)),
        Date32 => primitive!(Date32Type, int(rng, 32) as i32),
        Date64 => primitive!(Date64Type, int(rng, 64) as i64),
        Time32(TimeUnit::Second) => primitive!(Time32SecondType, int(rng, 32) as i32),
        Time32(_) => primitive!(Time32MillisecondType, int(rng, 32) as i32),
        Time64(TimeUnit::Microsecond) => primitive!(Time64MicrosecondType, int(rng, 64) as i64),
        Time64(_) => primitive!(Time64NanosecondType, int(rng, 64) as i64),
        Timestamp(TimeUnit::Second, _) => primitive!(TimestampSecondType, int(rng, 64) as i64),
        Timestamp(TimeUnit::Millisecond, _) => primitive!(TimestampMillisecondType, int(rng, 64) as i64),
        Timestamp(TimeUnit::Microsecond, _) => primitive!(TimestampMicrosecondType, int(rng, 64) as i64),
        Timestamp(TimeUnit::Nanosecond, _) => primitive!(TimestampNanosecondType, int(rng, 64) as i64),
        Duration(TimeUnit::Second) => primitive!(DurationSecondType, int(rng, 64) as i64),
        Duration(TimeUnit::Millisecond) => primitive!(DurationMillisecondType, int(rng, 64) as i64),
        Duration(TimeUnit::Microsecond) => primitive!(DurationMicrosecondType, int(rng, 64) as i64),
        Duration(TimeUnit::Nanosecond) => primitive!(DurationNanosecondType, int(rng, 64) as i64),
        Decimal32(..) => primitive!(Decimal32Type, int(rng, 30) as i32),
        Decimal64(..) => primitive!(Decimal64Type, int(rng, 60) as i64),
        Decimal128(precision, _) if *precision <= 18 => primitive!(Decimal128Type, int(rng, 60)),
        Decimal128(..) => primitive!(Decimal128Type, int(rng, 127)),
        Decimal256(..) => primitive!(Decimal256Type, i256::from_parts(int(rng, 128) as u128, int(rng, 120))),
        Interval(_) => primitive!(IntervalMonthDayNanoType, {
            let unit = if rng.random() { 86_400_000_000_000 } else { 1 };
            let nanos = rng.random_range(-100..100) * unit;
            match rng.random_range(0..8) {
                0 => IntervalMonthDayNano::new(int(rng, 32) as i32, int(rng, 32) as i32, int(rng, 64) as i64),
                _ => IntervalMonthDayNano::new(rng.random_range(-3..4), rng.random_range(-70..70), nanos),
            }
        }),
        Utf8 => {
            let values: Vec<String> = (0..rows).map(|_| text(rng)).collect();
            let all = StringArray::from(values);
            Arc::new(StringArray::new(all.offsets().clone(), all.values().clone(), nulls))
        }
        LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView => {
            cast(&array(rng, &Utf8, rows, nulls.is_some()), data_type).unwrap()
        }
        FixedSizeBinary(size) => {
            let bytes: Vec<u8> = (0..rows * *size as usize).map(|_| rng.random_range(0..3) * 127).collect();
            Arc::new(FixedSizeBinaryArray::new(*size, bytes.into(), nulls))
        }
        List(item) => {
            let (offsets, values) = offsets(rng, rows);
            let values = array(rng, item.data_type(), values, item.is_nullable());
            Arc::new(ListArray::new(Arc::clone(item), offsets, values, nulls))
        }
        LargeList(item) => {
            let inner = array(rng, &List(Arc::clone(item)), rows, nulls.is_some());
            cast(&inner, data_type).unwrap()
        }
        FixedSizeList(item, size) => {
            let values = array(rng, item.data_type(), rows * *size as usize, item.is_nullable());
            Arc::new(FixedSizeListArray::new(Arc::clone(item), *size, values, nulls))
        }
        Struct(fields) => {
            let columns = fields.iter().map(|field| array(rng, field.data_type(), rows, field.is_nullable())).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        Map(entries, sorted) => {
            let (offsets, values) = offsets(rng, rows);
            let values = array(rng, entries.data_type(), values, false);
            Arc::new(MapArray::new(Arc::clone(entries), offsets, values.as_struct().clone(), nulls, *sorted))
        }
        other => unreachable!("{other}"),
    }
}

/// A field of that type and a column for it.
pub fn column(rng: &mut StdRng, data_type: &DataType, rows: usize) -> (FieldRef, ArrayRef) {
    let nullable = *data_type == DataType::Null || rng.random();
    (Arc::new(Field::new("c", data_type.clone(), nullable)), array(rng, data_type, rows, nullable))
}
