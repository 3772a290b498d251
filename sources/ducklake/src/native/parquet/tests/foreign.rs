//! Files that other programs wrote and that were added to the lake.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{Field, Int32Type, Schema};
use parquet::arrow::ArrowWriter;
use parquet::data_type::{
    ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int32Type as Plain32, Int64Type as Plain64,
    Int96, Int96Type,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::World;

impl World {
    fn add_foreign(&self, table: &str, path: &Path) {
        self.run(&format!("CALL ducklake_add_data_files('lake', '{table}', '{}')", path.display()));
    }
}

#[test]
fn what_arrow_programs_write() {
    let world = World::new();
    let numbers = || vec![Some(0_i64), None, Some(-1), Some(1_600_000_000_123_456_789), Some(-1_500)];
    let dictionary: DictionaryArray<Int32Type> =
        [Some("a"), None, Some("b"), Some("a"), Some("ä")].into_iter().collect();
    let columns: Vec<(&str, &str, ArrayRef)> = vec![
        ("large", "VARCHAR", Arc::new(LargeStringArray::from(vec![Some("x"), None, Some(""), Some("y"), Some("z")]))),
        ("view", "VARCHAR", Arc::new(StringViewArray::from(vec![Some("x"), None, Some(""), Some("y"), Some("z")]))),
        ("dictionary", "VARCHAR", Arc::new(dictionary)),
        (
            "bytes",
            "BLOB",
            Arc::new(LargeBinaryArray::from(vec![Some(&b"x"[..]), None, Some(b""), Some(b"\xFF"), Some(b"z")])),
        ),
        ("ns", "TIMESTAMP_NS", Arc::new(TimestampNanosecondArray::from(numbers()))),
        (
            "ns_utc",
            "TIMESTAMP WITH TIME ZONE",
            Arc::new(TimestampNanosecondArray::from(numbers()).with_timezone("UTC")),
        ),
        (
            "us_utc",
            "TIMESTAMP WITH TIME ZONE",
            Arc::new(TimestampMicrosecondArray::from(numbers()).with_timezone("Europe/Berlin")),
        ),
        (
            "ms",
            "TIMESTAMP",
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(0),
                None,
                Some(-1),
                Some(1_600_000_000_123),
                Some(-1_500),
            ])),
        ),
        (
            "ms_utc",
            "TIMESTAMP WITH TIME ZONE",
            Arc::new(
                TimestampMillisecondArray::from(vec![Some(0), None, Some(-1), Some(5), Some(-1_500)])
                    .with_timezone("UTC"),
            ),
        ),
        (
            "time",
            "TIME",
            Arc::new(Time64MicrosecondArray::from(vec![Some(0), None, Some(1), Some(86_399_999_999), Some(5)])),
        ),
        (
            "small",
            "DECIMAL(9,2)",
            Arc::new(
                Decimal128Array::from(vec![Some(1), None, Some(-999_999_999), Some(0), Some(5)])
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            ),
        ),
        (
            "big",
            "DECIMAL(38,3)",
            Arc::new(
                Decimal128Array::from(vec![Some(1), None, Some(-10_i128.pow(37)), Some(0), Some(5)])
                    .with_precision_and_scale(38, 3)
                    .unwrap(),
            ),
        ),
        ("date", "DATE", Arc::new(Date32Array::from(vec![Some(0), None, Some(-1), Some(20_000), Some(5)]))),
        ("unsigned", "UBIGINT", Arc::new(UInt64Array::from(vec![Some(0), None, Some(u64::MAX), Some(1), Some(5)]))),
        (
            "fixed",
            "BLOB",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some(*b"abc"), None, Some(*b"\0\xFF\0"), Some(*b"abc"), None].into_iter(),
                    3,
                )
                .unwrap(),
            ),
        ),
        (
            "list",
            "INTEGER[]",
            Arc::new(LargeListArray::from_iter_primitive::<Int32Type, _, _>(vec![
                Some(vec![Some(1), None]),
                None,
                Some(vec![]),
                Some(vec![Some(2)]),
                None,
            ])),
        ),
    ];
    let schema = columns.iter().map(|(name, _, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(schema.collect::<Vec<_>>()));
    let path = world.dir.path().join("arrow.parquet");
    let batch =
        RecordBatch::try_new(schema.clone(), columns.iter().map(|(_, _, array)| array.clone()).collect()).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let definition = columns.iter().map(|(name, duckdb, _)| format!("{name} {duckdb}")).collect::<Vec<_>>().join(", ");
    world.run(&format!("CREATE TABLE lake.t ({definition})"));
    world.add_foreign("t", &path);
    assert_eq!(world.check("t").num_rows(), 5);
}

#[test]
fn what_older_programs_write() {
    let world = World::new();
    let path = world.dir.path().join("old.parquet");
    let message = "message spark_schema { \
        optional int96 stamp; required int32 whole; optional int32 clock (TIME_MILLIS); \
        optional int64 micros (TIMESTAMP_MICROS); \
        optional binary word (ENUM); optional fixed_len_byte_array(5) price (DECIMAL(10,2)); \
        optional fixed_len_byte_array(12) span (INTERVAL); }";
    let schema = Arc::new(parse_message_type(message).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let levels = [1_i16, 0, 1];
    let int96 = |nanos: u64, day: u32| {
        let mut value = Int96::new();
        value.set_data(nanos as u32, (nanos >> 32) as u32, day);
        value
    };
    // The year 9999 is beyond what nanoseconds reach.
    let stamps = [int96(1_999, 2_440_588), int96(86_399_999_999_999, 5_373_484)];
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int96Type>().write_batch(&stamps, Some(&levels), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Plain32>().write_batch(&[1, -2, 3], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Plain32>().write_batch(&[0, 86_399_999], Some(&levels), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Plain64>().write_batch(&[-1, 1], Some(&levels), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let words = ["red", "grün"].map(ByteArray::from);
    column.typed::<ByteArrayType>().write_batch(&words, Some(&levels), None).unwrap();
    column.close().unwrap();
    let fixed = |values: Vec<Vec<u8>>| values.into_iter().map(FixedLenByteArray::from).collect::<Vec<_>>();
    let mut column = group.next_column().unwrap().unwrap();
    let prices = fixed(vec![vec![0, 0, 0, 1, 0], vec![0xFF, 0xFF, 0xFF, 0xFF, 0xFF]]);
    column.typed::<FixedLenByteArrayType>().write_batch(&prices, Some(&levels), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let spans = fixed(vec![vec![1, 0, 0, 0, 2, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF], vec![0; 12]]);
    column.typed::<FixedLenByteArrayType>().write_batch(&spans, Some(&levels), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    world.run(
        "CREATE TABLE lake.t (stamp TIMESTAMP, whole INTEGER, clock TIME, micros TIMESTAMP, word VARCHAR, \
                              price DECIMAL(10,2), \
                              span INTERVAL)",
    );
    world.add_foreign("t", &path);
    assert_eq!(world.check("t").num_rows(), 3);
}
