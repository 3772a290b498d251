//! The codec: round trips, order, canonical equality, composite rows, refusals.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::compute::concat;
use arrow::datatypes::*;
use rand::Rng;
use rand::rngs::StdRng;
use tidegate_engine_row::{Gather, KeyMode, Row, RowCodec, RowError, has_canonical_form};

use crate::arrays;
use crate::for_each_seed;

/// What the column is after a round trip: NaNs are one value.
fn one_nan(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|f| if f.is_nan() { f64::NAN.abs() } else { f }),
        ),
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|f| if f.is_nan() { f32::NAN.abs() } else { f }),
        ),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(one_nan).collect();
            Arc::new(StructArray::new(fields.clone(), columns, array.nulls().cloned()))
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let nulls = array.nulls().cloned();
            Arc::new(ListArray::new(Arc::clone(item), list.offsets().clone(), one_nan(list.values()), nulls))
        }
        DataType::FixedSizeList(item, size) => {
            let values = one_nan(array.as_fixed_size_list().values());
            Arc::new(FixedSizeListArray::new(Arc::clone(item), *size, values, array.nulls().cloned()))
        }
        _ => Arc::clone(array),
    }
}

fn random_columns(rng: &mut StdRng, count: usize, rows: usize) -> (Vec<FieldRef>, Vec<ArrayRef>) {
    let types = arrays::types();
    (0..count)
        .map(|_| {
            let data_type = &types[rng.random_range(0..types.len())];
            arrays::column(rng, data_type, rows)
        })
        .unzip()
}

fn assert_same(decoded: &[ArrayRef], columns: &[ArrayRef]) {
    assert_eq!(decoded.len(), columns.len());
    for (decoded, column) in decoded.iter().zip(columns) {
        assert_eq!(decoded.data_type(), column.data_type());
        assert_eq!(decoded, &one_nan(column), "{}", column.data_type());
    }
}

#[test]
fn every_type_comes_back_as_it_was() {
    for_each_seed(8, |rng| {
        for data_type in arrays::types() {
            for rows in [0, 1, 77] {
                let (field, array) = arrays::column(rng, &data_type, rows);
                let codec = RowCodec::new(&[field], KeyMode::Exact).unwrap();
                let encoded = codec.encode(&[Arc::clone(&array)]).unwrap();
                assert_eq!(encoded.len(), rows);
                assert_same(&codec.decode(&encoded).unwrap(), &[array]);
            }
        }
    });
}

#[test]
fn batches_of_many_columns_come_back_as_they_were() {
    for_each_seed(20, |rng| {
        // Over 64 nullable columns take a second bitmap word, over 1,024 rows a second chunk.
        let count: usize = rng.random_range(1..140);
        let rows = [3, 1024, 2500][rng.random_range(0..3)] / count.div_ceil(20);
        let (fields, columns) = random_columns(rng, count, rows);
        let codec = RowCodec::new(&fields, KeyMode::Exact).unwrap();
        let encoded = codec.encode(&columns).unwrap();
        assert_same(&codec.decode(&encoded).unwrap(), &columns);
        let slice: Vec<ArrayRef> = columns.iter().map(|column| column.slice(rows / 3, rows / 3)).collect();
        assert_eq!(codec.encode(&slice).unwrap(), encoded[rows / 3..rows / 3 * 2]);
    });
}

#[test]
fn concatenated_rows_decode_with_a_concatenated_codec() {
    for_each_seed(20, |rng| {
        let mut codecs = Vec::new();
        let mut all = Vec::new();
        let mut parts = Vec::new();
        let mut whole = vec![Row::empty(); 30];
        for _ in 0..rng.random_range(1..5) {
            let count = rng.random_range(0..6);
            let (fields, columns) = random_columns(rng, count, 30);
            let mode = if rng.random() { KeyMode::Exact } else { KeyMode::Canonical };
            let codec = RowCodec::new(&fields, mode).unwrap();
            let rows = if count == 0 { vec![Row::empty(); 30] } else { codec.encode(&columns).unwrap() };
            whole = whole
                .iter()
                .zip(&rows)
                .map(|(left, right)| Row::concat(&[left.as_words(), right.as_words()]))
                .collect();
            all.extend(if count == 0 { vec![] } else { codec.decode(&rows).unwrap() });
            codecs.push(codec);
            parts.push(rows);
        }
        let codec = RowCodec::concat(&codecs);
        assert_same(&codec.decode(&whole).unwrap(), &all);
        if !all.is_empty() {
            assert_eq!(codec.encode(&all).unwrap(), whole);
        }
        for (index, rows) in parts.iter().enumerate() {
            for (row, part) in whole.iter().zip(rows) {
                assert_eq!(codec.split(row).unwrap()[index], part.as_words());
            }
        }
    });
}

#[test]
fn gathered_rows_are_those_that_arrow_would_give() {
    for_each_seed(60, |rng| {
        let (mut codecs, mut all, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        let mut whole = vec![Row::empty(); 30];
        for _ in 0..rng.random_range(1..4) {
            let count = rng.random_range(1..5);
            let (these, columns) = random_columns(rng, count, 30);
            let mode = if rng.random() { KeyMode::Exact } else { KeyMode::Canonical };
            let codec = RowCodec::new(&these, mode).unwrap();
            let rows = codec.encode(&columns).unwrap();
            whole = whole
                .iter()
                .zip(&rows)
                .map(|(left, right)| Row::concat(&[left.as_words(), right.as_words()]))
                .collect();
            all.extend(codec.decode(&rows).unwrap());
            fields.extend(these);
            codecs.push(codec);
        }
        let source = RowCodec::concat(&codecs);
        let picked: Vec<usize> = (0..rng.random_range(1..6)).map(|_| rng.random_range(0..all.len())).collect();
        let mode = if rng.random() { KeyMode::Exact } else { KeyMode::Canonical };
        // Some columns are NOT NULL in the target whatever they were in the source.
        let targets: Vec<FieldRef> = picked
            .iter()
            .map(|column| Arc::new(fields[*column].as_ref().clone().with_nullable(rng.random_ratio(3, 4))))
            .collect();
        let target = RowCodec::new(&targets, mode).unwrap();
        let Some(gather) = Gather::new(&source, &picked, &target) else {
            assert!(picked.iter().any(|column| has_canonical_form(fields[*column].data_type())));
            return;
        };
        for (index, row) in whole.iter().enumerate() {
            let columns: Vec<ArrayRef> = picked.iter().map(|column| all[*column].slice(index, 1)).collect();
            let is_out = columns.iter().zip(&targets).any(|(c, t)| c.logical_null_count() > 0 && !t.is_nullable());
            let expected = if is_out { None } else { Some(target.encode(&columns).unwrap().remove(0)) };
            assert_eq!(gather.row(&source.split(row).unwrap()).unwrap(), expected);
        }
    });
}

#[test]
fn readers_and_writers_agree_with_arrow() {
    for_each_seed(20, |rng| {
        let fields: Vec<FieldRef> = [
            ("text", DataType::Utf8),
            ("count", DataType::Int64),
            ("sum", DataType::Decimal128(38, 0)),
            ("mean", DataType::Float64),
        ]
        .into_iter()
        .map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)))
        .collect();
        let codec = RowCodec::new(&fields, KeyMode::Exact).unwrap();
        let columns: Vec<ArrayRef> =
            fields.iter().map(|field| arrays::array(rng, field.data_type(), 30, field.name() != "count")).collect();
        let rows = codec.encode(&columns).unwrap();
        let [text, count, sum, mean] = [0, 1, 2, 3].map(|column| codec.reader(column));
        for (index, row) in rows.iter().enumerate() {
            let parts = &codec.split(row).unwrap()[..];
            let number = count.int(parts).unwrap().unwrap();
            assert_eq!(number, i128::from(columns[1].as_primitive::<Int64Type>().value(index)));
            let sums = columns[2].as_primitive::<Decimal128Type>();
            assert_eq!(sum.int(parts).unwrap(), sums.is_valid(index).then(|| sums.value(index)));
            assert_eq!(mean.is_null(parts).unwrap(), columns[3].is_null(index));
            assert!(text.int(parts).is_err() || columns[0].is_null(index));
            let mut writer = codec.writer();
            assert!(writer.put(text.words(parts).unwrap()));
            assert!(writer.put_int(i64::try_from(number).unwrap()));
            assert!(writer.put_wide(sum.int(parts).unwrap()));
            assert!(writer.put_float(mean.float(parts).unwrap()));
            assert_eq!(&writer.finish(), row);
        }
    });
}

fn sql_order(array: &ArrayRef, left: usize, right: usize) -> Ordering {
    macro_rules! values {
        ($array:expr) => {{
            let array = $array;
            array.value(left).cmp(&array.value(right))
        }};
    }
    macro_rules! floats {
        ($type:ty) => {{
            let array = array.as_primitive::<$type>();
            let (left, right) = (array.value(left), array.value(right));
            left.partial_cmp(&right).unwrap_or(left.is_nan().cmp(&right.is_nan()))
        }};
    }
    match array.data_type() {
        DataType::Float32 => floats!(Float32Type),
        DataType::Float64 => floats!(Float64Type),
        DataType::Boolean => values!(array.as_boolean()),
        DataType::Utf8 => values!(array.as_string::<i32>()),
        DataType::LargeUtf8 => values!(array.as_string::<i64>()),
        DataType::Utf8View => values!(array.as_string_view()),
        DataType::Binary => values!(array.as_binary::<i32>()),
        DataType::LargeBinary => values!(array.as_binary::<i64>()),
        DataType::BinaryView => values!(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => values!(array.as_fixed_size_binary()),
        DataType::Interval(_) => {
            let array = array.as_primitive::<IntervalMonthDayNanoType>();
            duckdb_normal(array.value(left)).cmp(&duckdb_normal(array.value(right)))
        }
        _ => downcast_primitive_array!(
            array => ArrowNativeTypeOp::compare(array.value(left), array.value(right)),
            other => panic!("no order for {other}"),
        ),
    }
}

/// DuckDB's `interval_t::Normalize`.
fn duckdb_normal(interval: IntervalMonthDayNano) -> (i64, i64, i64) {
    let day = 86_400_000_000_000;
    let days = i64::from(interval.days) + interval.nanoseconds / day;
    (i64::from(interval.months) + days / 30, days % 30, interval.nanoseconds % day)
}

#[test]
fn one_column_sorts_as_sql_sorts_it() {
    for_each_seed(4, |rng| {
        for data_type in arrays::types().into_iter().filter(|t| !t.is_nested() && *t != DataType::Null) {
            let array = arrays::array(rng, &data_type, 60, false);
            for mode in [KeyMode::Exact, KeyMode::Canonical] {
                for nullable in [false, true] {
                    let codec = RowCodec::new(&[Arc::new(Field::new("c", data_type.clone(), nullable))], mode).unwrap();
                    let rows = codec.encode(&[Arc::clone(&array)]).unwrap();
                    for left in 0..60 {
                        for right in 0..60 {
                            let sql = sql_order(&array, left, right);
                            let found = rows[left].cmp(&rows[right]);
                            // Exact rows keep values apart that SQL calls equal.
                            let equal_in_sql = mode == KeyMode::Exact && sql == Ordering::Equal;
                            assert!(found == sql || equal_in_sql, "{data_type} {mode:?} {left} {right}");
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn rows_sort_by_their_columns_in_order() {
    for_each_seed(20, |rng| {
        let types: Vec<DataType> =
            arrays::types().into_iter().filter(|t| !t.is_nested() && *t != DataType::Null).collect();
        let columns: Vec<ArrayRef> = (0..4)
            .map(|_| {
                let data_type = &types[rng.random_range(0..types.len())];
                let few = arrays::array(rng, data_type, 3, false);
                let pieces: Vec<ArrayRef> = (0..40).map(|_| few.slice(rng.random_range(0..3), 1)).collect();
                concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap()
            })
            .collect();
        let fields: Vec<FieldRef> =
            columns.iter().map(|c| Arc::new(Field::new("c", c.data_type().clone(), rng.random()))).collect();
        let rows = RowCodec::new(&fields, KeyMode::Canonical).unwrap().encode(&columns).unwrap();
        for left in 0..40 {
            for right in 0..40 {
                let sql = columns.iter().map(|column| sql_order(column, left, right)).find(|order| order.is_ne());
                assert_eq!(rows[left].cmp(&rows[right]), sql.unwrap_or(Ordering::Equal));
            }
        }
    });
}

#[test]
fn nulls_sort_last_and_hide_what_lies_under_them() {
    let field = Arc::new(Field::new("c", DataType::Int64, true));
    let codec = RowCodec::new(&[field], KeyMode::Exact).unwrap();
    let nulls = NullBuffer::from(vec![true, false, false]);
    let rows = codec.encode(&[Arc::new(Int64Array::new(vec![i64::MAX, 1, 2].into(), Some(nulls)))]).unwrap();
    assert!(rows[0] < rows[1]);
    assert_eq!(rows[1], rows[2]);
}

#[test]
fn canonical_rows_are_equal_where_sql_says_equal() {
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let day = 86_400_000_000_000;
    let equal: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from(vec![0.0, -0.0])),
        Arc::new(Float32Array::from(vec![0.0, -0.0])),
        Arc::new(Float64Array::from(vec![f64::NAN, f64::from_bits(0xfff8_0000_0000_1234)])),
        Arc::new(IntervalMonthDayNanoArray::from(vec![
            IntervalMonthDayNano::new(1, 0, 0),
            IntervalMonthDayNano::new(0, 29, day),
        ])),
    ];
    for array in equal {
        let list_type = DataType::List(Arc::new(Field::new("item", array.data_type().clone(), true)));
        let DataType::List(item) = &list_type else { unreachable!() };
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, 1]);
        let list: ArrayRef = Arc::new(ListArray::new(Arc::clone(item), offsets, Arc::clone(&array), None));
        for column in [array, list] {
            let field = Arc::new(Field::new("c", column.data_type().clone(), false));
            let codec = RowCodec::new(&[field], KeyMode::Canonical).unwrap();
            let rows = codec.encode(&[column]).unwrap();
            assert_eq!(rows[0], rows[1]);
            let values = codec.decode(&rows).unwrap().remove(0);
            assert_eq!(values.slice(0, 1).to_data(), values.slice(1, 1).to_data());
            assert_eq!(codec.encode(&[values]).unwrap(), rows);
        }
    }
    let apart =
        IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, -1, 0), IntervalMonthDayNano::new(0, 29, 0)]);
    let codec = RowCodec::new(&[Arc::new(Field::new("c", interval, false))], KeyMode::Canonical).unwrap();
    let rows = codec.encode(&[Arc::new(apart)]).unwrap();
    assert!(rows[0] > rows[1], "DuckDB keeps parts of different signs apart");
}

#[test]
fn canonical_values_stay_canonical() {
    for_each_seed(8, |rng| {
        for data_type in arrays::types() {
            let (field, array) = arrays::column(rng, &data_type, 50);
            let codec = RowCodec::new(&[field], KeyMode::Canonical).unwrap();
            let rows = codec.encode(&[array]).unwrap();
            assert_eq!(codec.encode(&codec.decode(&rows).unwrap()).unwrap(), rows, "{data_type}");
        }
    });
}

#[test]
fn readers_find_numbers_behind_strings_and_nulls() {
    for_each_seed(20, |rng| {
        let count = rng.random_range(1..6);
        let (mut fields, mut columns) = random_columns(rng, count, 40);
        let numbers = [
            DataType::Int64,
            DataType::UInt64,
            DataType::Decimal128(38, 2),
            DataType::Decimal128(10, 2),
            DataType::Float64,
        ];
        let data_type = &numbers[rng.random_range(0..numbers.len())];
        let (field, column) = arrays::column(rng, data_type, 40);
        fields.push(field);
        columns.push(Arc::clone(&column));
        let split = rng.random_range(0..=count);
        let codec = RowCodec::concat(&[
            RowCodec::new(&fields[..split], KeyMode::Exact).unwrap(),
            RowCodec::new(&fields[split..], KeyMode::Exact).unwrap(),
        ]);
        let reader = codec.reader(count);
        for (index, row) in codec.encode(&columns).unwrap().iter().enumerate() {
            let parts = &codec.split(row).unwrap()[..];
            assert_eq!(reader.is_null(parts).unwrap(), column.is_null(index));
            if *data_type == DataType::Float64 {
                let expected = column.is_valid(index).then(|| column.as_primitive::<Float64Type>().value(index));
                let found = reader.float(parts).unwrap();
                assert!(found == expected || found.unwrap().is_nan() && expected.unwrap().is_nan());
                assert!(reader.int(parts).is_err() || column.is_null(index));
            } else {
                let expected = column.is_valid(index).then(|| match data_type {
                    DataType::Int64 => i128::from(column.as_primitive::<Int64Type>().value(index)),
                    DataType::UInt64 => i128::from(column.as_primitive::<UInt64Type>().value(index)),
                    _ => column.as_primitive::<Decimal128Type>().value(index),
                });
                assert_eq!(reader.int(parts).unwrap(), expected);
            }
        }
    });
}

fn refusal(fields: Vec<Field>, columns: Vec<ArrayRef>) -> String {
    let fields: Vec<FieldRef> = fields.into_iter().map(Arc::new).collect();
    RowCodec::new(&fields, KeyMode::Exact).and_then(|codec| codec.encode(&columns)).unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let strict = || Field::new("amount", DataType::Int32, false);
    assert_eq!(refusal(vec![strict()], vec![ints]), "column \"amount\" is declared NOT NULL and holds NULL");
    assert_eq!(
        refusal(vec![strict()], vec![Arc::new(Int64Array::from(vec![1]))]),
        "column \"amount\" has the type Int64 where Int32 was expected"
    );
    assert_eq!(refusal(vec![strict()], vec![]), "0 columns where 1 were expected");
    let decimal = Decimal128Array::from(vec![i128::MAX]).with_data_type(DataType::Decimal128(18, 2));
    assert_eq!(
        refusal(vec![Field::new("price", DataType::Decimal128(18, 2), false)], vec![Arc::new(decimal)]),
        "column \"price\" holds a value outside the range of its type Decimal128(18, 2)"
    );
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let list = DataType::List(Arc::new(Field::new("item", dictionary.clone(), true)));
    for data_type in [dictionary, list, DataType::Float16] {
        let message = refusal(vec![Field::new("mood", data_type, true)], vec![]);
        assert!(message.starts_with("column \"mood\" has the type"), "{message}");
    }
}

#[test]
fn rows_of_another_codec_are_refused() {
    let codec = |types: &[DataType]| {
        let fields: Vec<FieldRef> =
            types.iter().map(|t| Arc::new(Field::new("c", t.clone(), false)) as FieldRef).collect();
        RowCodec::new(&fields, KeyMode::Exact).unwrap()
    };
    let two = codec(&[DataType::Int64, DataType::Int64]);
    for row in [Row::empty(), Row::from_words(&[1]), Row::from_words(&[1, 2, 3])] {
        assert!(matches!(two.decode([&row]), Err(RowError::Malformed { .. })));
    }
    let text = codec(&[DataType::Utf8]);
    for row in [Row::empty(), Row::from_words(&[8]), Row::from_words(&[200]), Row::from_words(&[0, 0])] {
        assert!(matches!(text.decode([&row]), Err(RowError::Malformed { .. })));
    }
}
