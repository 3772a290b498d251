//! Texts that are no values, in every builder: nothing panics, and nothing is left behind.

use arrow::array::Array;
use tidegate_core::duckdb_type::arrow_type;

use super::super::buffer::Ends;
use super::super::error::Fault;
use super::super::*;
use super::{Random, all_types, policy};

/// Pieces of all texts, so that many a noise comes near to a value.
const PIECES: [&str; 56] = [
    "{",
    "}",
    "(",
    ")",
    "\"",
    "\\",
    ",",
    "NULL",
    "{}",
    "{{",
    "}}",
    "[0:1]=",
    "=>",
    ", ",
    "\"a\"=>\"b\"",
    "1",
    "-",
    "0",
    "42",
    "99999999999999999999",
    ".",
    "0.5",
    "NaN",
    "Infinity",
    "infinity",
    "-infinity",
    "t",
    "f",
    "2024-02-29",
    "0044-03-15",
    " BC",
    " ",
    "12:34:56",
    ".789",
    "+00",
    "-05:30",
    "P",
    "T",
    "1Y",
    "-3D",
    "PT0S",
    "4H",
    "2562047788H",
    "$",
    "1,234.56",
    "\\x",
    "00ff",
    "\\000",
    "é",
    "x",
    "\"\"",
    "\\\"",
    "(1,",
    "(1,a,{2024-01-01})",
    "{1}",
    ":",
];

#[test]
fn noise_never_panics_and_leaves_nothing_behind() {
    for (seed, pg_type) in all_types().into_iter().enumerate() {
        for on_unrepresentable in [OnUnrepresentable::Error, OnUnrepresentable::Null] {
            hold_against_a_clean_builder(&pg_type, on_unrepresentable, seed as u64);
        }
    }
}

/// A builder that gets noise too must make the same array as one that gets only what is right.
fn hold_against_a_clean_builder(pg_type: &PgType, on_unrepresentable: OnUnrepresentable, seed: u64) {
    let mut random = Random(seed);
    let policy = policy(on_unrepresentable);
    let mut noisy = ColumnBuilder::new(pg_type, &policy);
    for round in 0..4 {
        let mut clean = ColumnBuilder::new(pg_type, &policy);
        for _ in 0..1_500 {
            let text = noise(&mut random);
            let before = noisy.len();
            match noisy.append_text(&text) {
                Ok(()) => clean.append_text(&text).unwrap(),
                Err(error) => {
                    assert_eq!(noisy.len(), before);
                    let unrepresentable = error.kind == ValueErrorKind::Unrepresentable;
                    assert!(!(unrepresentable && on_unrepresentable == OnUnrepresentable::Null));
                }
            }
            if random.below(20) == 0 {
                noisy.append_null();
                clean.append_null();
            }
        }
        let case = format!("{pg_type:?}, seed {seed}, round {round}");
        assert_eq!((noisy.len(), noisy.bytes()), (clean.len(), clean.bytes()), "{case}");
        assert_eq!(noisy.nulled(), clean.nulled(), "{case}");
        let (noisy, clean) = (noisy.finish(), clean.finish());
        noisy.to_data().validate_full().unwrap();
        assert_eq!(*noisy.data_type(), arrow_type(&pg_type.duckdb_type()).unwrap(), "{case}");
        assert_eq!(noisy.to_data(), clean.to_data(), "{case}");
    }
}

fn noise(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..=random.below(6) {
        match random.below(12) {
            0 => text.push(random.next() as u8),
            _ => text.extend_from_slice(PIECES[random.below(PIECES.len() as u64) as usize].as_bytes()),
        }
    }
    text
}

#[test]
fn empty_arrays_have_the_type_too() {
    for pg_type in all_types() {
        let mut builder = ColumnBuilder::new(&pg_type, &Policy::default());
        let expected = arrow_type(&pg_type.duckdb_type()).unwrap();
        assert_eq!((builder.finish().data_type(), builder.len()), (&expected, 0));
        builder.append_null();
        let array = builder.finish();
        assert_eq!((array.data_type(), array.len(), array.is_null(0)), (&expected, 1, true));
    }
}

#[test]
fn builders_go_between_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<ColumnBuilder>();
}

#[test]
fn a_column_is_full_where_offsets_end() {
    let mut ends = Ends::default();
    ends.push(i32::MAX as usize).unwrap();
    assert_eq!(ends.push(i32::MAX as usize + 1), Err(Fault::Full));
    assert_eq!((ends.len(), ends.last()), (1, i32::MAX as usize));
}
