//! Truth values, numbers, text and bytes.

use arrow::array::AsArray;
use arrow::datatypes::{
    Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, UInt32Type, UInt64Type,
};

use super::super::*;
use super::{Random, array_of, decimal, policy, text_of, value};
use ValueErrorKind::{Malformed, Unrepresentable};

#[test]
fn booleans() {
    let boolean = |text: &str| array_of(&PgType::Bool, text).map(|array| array.as_boolean().value(0));
    assert_eq!((boolean("t"), boolean("f")), (Ok(true), Ok(false)));
    for text in ["", "true", "T", "1", "tt"] {
        assert_eq!(boolean(text), Err(Malformed), "{text}");
    }
}

#[test]
fn integers() {
    assert_eq!(value::<Int16Type>(&PgType::Int2, "-32768"), Ok(i16::MIN));
    assert_eq!(value::<Int16Type>(&PgType::Int2, "32767"), Ok(i16::MAX));
    assert_eq!(value::<Int16Type>(&PgType::Int2, "32768"), Err(Malformed));
    assert_eq!(value::<Int32Type>(&PgType::Int4, "-2147483648"), Ok(i32::MIN));
    assert_eq!(value::<Int32Type>(&PgType::Int4, "2147483648"), Err(Malformed));
    assert_eq!(value::<Int64Type>(&PgType::Int8, "-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(value::<Int64Type>(&PgType::Int8, "9223372036854775807"), Ok(i64::MAX));
    assert_eq!(value::<Int64Type>(&PgType::Int8, "9223372036854775808"), Err(Malformed));
    assert_eq!(value::<UInt32Type>(&PgType::Oid, "4294967295"), Ok(u32::MAX));
    assert_eq!(value::<UInt32Type>(&PgType::Oid, "-1"), Err(Malformed));
    assert_eq!(value::<UInt64Type>(&PgType::Xid8, "18446744073709551615"), Ok(u64::MAX));
    assert_eq!(value::<UInt64Type>(&PgType::Xid8, "18446744073709551616"), Err(Malformed));
    for text in ["", "-", "+1", " 1", "1 ", "1.0", "1e3", "--1", "0x1", "123456789012345678901", "1_000"] {
        assert_eq!(value::<Int64Type>(&PgType::Int8, text), Err(Malformed), "{text}");
    }
}

#[test]
fn integers_round_trip() {
    let mut random = Random(1);
    for _ in 0..20_000 {
        let number = random.any_width() as i64;
        assert_eq!(value::<Int64Type>(&PgType::Int8, number.to_string()), Ok(number));
        let number = random.any_width();
        assert_eq!(value::<UInt64Type>(&PgType::Xid8, number.to_string()), Ok(number));
    }
}

#[test]
fn floats() {
    assert_eq!(value::<Float32Type>(&PgType::Float4, "1e-45"), Ok(f32::from_bits(1)));
    assert_eq!(value::<Float32Type>(&PgType::Float4, "3.4028235e+38"), Ok(f32::MAX));
    assert_eq!(value::<Float64Type>(&PgType::Float8, "5e-324"), Ok(f64::from_bits(1)));
    assert_eq!(value::<Float64Type>(&PgType::Float8, "-1.7976931348623157e+308"), Ok(f64::MIN));
    assert_eq!(value::<Float64Type>(&PgType::Float8, "Infinity"), Ok(f64::INFINITY));
    assert_eq!(value::<Float64Type>(&PgType::Float8, "-Infinity"), Ok(f64::NEG_INFINITY));
    assert!(value::<Float64Type>(&PgType::Float8, "NaN").unwrap().is_nan());
    assert!(value::<Float64Type>(&PgType::Float8, "-0").unwrap().is_sign_negative());
    for text in ["", "1,5", "one", "1 "] {
        assert_eq!(value::<Float64Type>(&PgType::Float8, text), Err(Malformed), "{text}");
    }
}

#[test]
fn floats_round_trip() {
    let mut random = Random(2);
    for _ in 0..20_000 {
        let number = f64::from_bits(random.next());
        if number.is_finite() {
            assert_eq!(value::<Float64Type>(&PgType::Float8, format!("{number:e}")), Ok(number));
        }
    }
}

#[test]
fn numerics_as_decimals() {
    let read = |precision, scale, text: &str| value::<Decimal128Type>(&decimal(precision, scale), text);
    assert_eq!(read(5, 2, "123.45"), Ok(12345));
    assert_eq!(read(5, 2, "-0.05"), Ok(-5));
    assert_eq!(read(5, 2, "7"), Ok(700));
    assert_eq!(read(5, 2, "007.5"), Ok(750));
    assert_eq!(read(5, 2, "1.5000000000000000000000000000000000000000"), Ok(150));
    assert_eq!(read(2, 2, "0.99"), Ok(99));
    assert_eq!(read(4, 4, "0.0012"), Ok(12));
    assert_eq!(read(5, 0, "12300"), Ok(12300));
    let largest = 10i128.pow(38) - 1;
    assert_eq!(read(38, 0, &largest.to_string()), Ok(largest));
    assert_eq!(read(38, 38, &format!("-0.{largest}")), Ok(-largest));
    assert_eq!(read(19, 0, "9999999999999999999"), Ok(9_999_999_999_999_999_999));
    assert_eq!(read(20, 0, "99999999999999999999"), Ok(99_999_999_999_999_999_999));
    for text in ["NaN", "Infinity", "-Infinity", "1000", "1000.00", "0.001", "-999.999"] {
        assert_eq!(read(5, 2, text), Err(Unrepresentable), "{text}");
    }
    assert_eq!(read(38, 0, &(largest + 1).to_string()), Err(Unrepresentable));
    for text in ["", "-", ".", "1e3", ".5", "1.2.3", "1,5", "nan", "+1", "1.x", "x1000000"] {
        assert_eq!(read(5, 2, text), Err(Malformed), "{text}");
    }
}

#[test]
fn decimals_round_trip() {
    let mut random = Random(3);
    for _ in 0..20_000 {
        let precision = 1 + random.below(38) as u8;
        let scale = random.below(u64::from(precision) + 1) as u8;
        let digits = i128::from(random.next()) << 64 | i128::from(random.next());
        let unscaled = digits % 10i128.pow(random.below(u64::from(precision) + 1) as u32);
        let padded = format!("{:0width$}", unscaled.abs(), width = usize::from(scale) + 1);
        let (whole, fraction) = padded.split_at(padded.len() - usize::from(scale));
        let sign = if unscaled < 0 { "-" } else { "" };
        let point = if scale > 0 { "." } else { "" };
        let text = format!("{sign}{whole}{point}{fraction}");
        let read = value::<Decimal128Type>(&decimal(precision, scale), &text);
        assert_eq!(read, Ok(unscaled), "{text} as DECIMAL({precision},{scale})");
    }
}

#[test]
fn numerics_as_doubles() {
    let read = |text: &str| value::<Float64Type>(&PgType::NumericDouble, text);
    assert_eq!(read("0.1"), Ok(0.1));
    assert_eq!(read("-Infinity"), Ok(f64::NEG_INFINITY));
    assert!(read("NaN").unwrap().is_nan());
    assert_eq!(read(&"9".repeat(400)), Err(Unrepresentable));
    assert_eq!(read("nine"), Err(Malformed));
}

#[test]
fn money() {
    let read = |text: &str| value::<Decimal128Type>(&PgType::Money { digits: 2 }, text);
    assert_eq!(read("$1,234.56"), Ok(123_456));
    assert_eq!(read("-$1,234.56"), Ok(-123_456));
    assert_eq!(read("$0.00"), Ok(0));
    assert_eq!(read("-$0.01"), Ok(-1));
    assert_eq!(read("$92,233,720,368,547,758.07"), Ok(i128::from(i64::MAX)));
    assert_eq!(read("-$92,233,720,368,547,758.08"), Ok(i128::from(i64::MIN)));
    for text in ["", "$", "1.00", "$1", "$.00", "$1.0", "$1.,0", "($1.00)", "€1.00", "$-1.00", "$1.000", "$1 .00"] {
        assert_eq!(read(text), Err(Malformed), "{text}");
    }
    let yen = array_of(&PgType::Money { digits: 0 }, "$12.34").unwrap();
    assert_eq!(yen.as_primitive::<Decimal128Type>().value_as_string(0), "1234");
}

#[test]
fn text() {
    for pg_type in [PgType::Text, PgType::Json, PgType::Uuid] {
        for text in ["", "a", "  padded  ", "NULL", "{\"a\": \"\\u00e9\"}", "é😀\n\t\\"] {
            assert_eq!(text_of(&pg_type, text).as_deref(), Ok(text));
        }
        assert_eq!(text_of(&pg_type, b"\xff"), Err(Malformed));
        assert_eq!(text_of(&pg_type, b"a\xc3"), Err(Malformed));
    }
}

#[test]
fn bytes() {
    let read = |text: &[u8]| array_of(&PgType::Bytea, text).map(|array| array.as_binary::<i32>().value(0).to_vec());
    assert_eq!(read(b"\\x"), Ok(vec![]));
    assert_eq!(read(b"\\x00ff0Aa9"), Ok(vec![0, 255, 10, 0xa9]));
    assert_eq!(read(b""), Ok(vec![]));
    assert_eq!(read(b"a\\\\x\\000\\377 b"), Ok(b"a\\x\0\xff b".to_vec()));
    for text in [&b"\\x0"[..], b"\\x0g", b"\\xzz", b"\\", b"\\1", b"\\400", b"a\\y"] {
        assert_eq!(read(text), Err(Malformed), "{text:?}");
    }
    let mut random = Random(4);
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(read(format!("\\x{hex}").as_bytes()), Ok(bytes.clone()));
        let escape = |byte: &u8| match byte {
            b'\\' => "\\\\".to_owned(),
            32..127 => char::from(*byte).to_string(),
            byte => format!("\\{byte:03o}"),
        };
        let escaped: String = bytes.iter().map(escape).collect();
        assert_eq!(read(escaped.as_bytes()), Ok(bytes));
    }
}

#[test]
fn unrepresentable_values_become_null_where_the_policy_says_so() {
    let mut builder = ColumnBuilder::new(&decimal(5, 2), &policy(OnUnrepresentable::Null));
    builder.append_text(b"1.00").unwrap();
    builder.append_text(b"NaN").unwrap();
    builder.append_null();
    builder.append_text(b"12345").unwrap();
    assert_eq!(builder.append_text(b"x").unwrap_err().kind, Malformed);
    assert_eq!((builder.len(), builder.nulled(), builder.nulled()), (4, 2, 0));
    let array = builder.finish();
    let values: Vec<Option<i128>> = array.as_primitive::<Decimal128Type>().iter().collect();
    assert_eq!(values, [Some(100), None, None, None]);
    assert!(builder.is_empty() && builder.bytes() == 0);
}

#[test]
fn errors_name_the_type_and_never_the_value() {
    for (text, kind) in [("4711.08155", Unrepresentable), ("secret", Malformed)] {
        let mut builder = ColumnBuilder::new(&decimal(5, 2), &Policy::default());
        let error = builder.append_text(text.as_bytes()).unwrap_err();
        let message = format!("{error} {error:?} {builder:?}");
        assert_eq!(error.kind, kind);
        assert!(message.contains("DECIMAL(5,2)") && !message.contains(text), "{message}");
        assert_eq!(message.contains("on_unrepresentable = \"null\""), kind == Unrepresentable);
    }
}
