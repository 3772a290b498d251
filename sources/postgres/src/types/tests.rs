//! Every row of the mapping with its edge values, random round trips, and noise.

mod catalog;
mod instants;
mod nested;
mod noise;
mod scalars;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::util::display::array_value_to_string;

use super::*;

fn policy(on_unrepresentable: OnUnrepresentable) -> Policy {
    Policy { on_unrepresentable, ..Policy::default() }
}

/// The array of one value.
fn array_of(pg_type: &PgType, text: impl AsRef<[u8]>) -> Result<ArrayRef, ValueErrorKind> {
    let mut builder = ColumnBuilder::new(pg_type, &Policy::default());
    let appended = builder.append_text(text.as_ref());
    assert_eq!(builder.len(), usize::from(appended.is_ok()));
    appended.map(|()| builder.finish()).map_err(|error| error.kind)
}

/// The one value of a fixed width.
fn value<T: ArrowPrimitiveType>(pg_type: &PgType, text: impl AsRef<[u8]>) -> Result<T::Native, ValueErrorKind> {
    array_of(pg_type, text).map(|array| array.as_primitive::<T>().value(0))
}

/// The one text.
fn text_of(pg_type: &PgType, text: impl AsRef<[u8]>) -> Result<String, ValueErrorKind> {
    array_of(pg_type, text).map(|array| array.as_string::<i32>().value(0).to_owned())
}

/// One value as Arrow shows it.
fn shown(pg_type: &PgType, text: impl AsRef<[u8]>) -> Result<String, ValueErrorKind> {
    array_of(pg_type, text).map(|array| array_value_to_string(&array, 0).unwrap())
}

fn decimal(precision: u8, scale: u8) -> PgType {
    PgType::Decimal { precision, scale }
}

fn array(element: PgType, dimensions: u8) -> PgType {
    PgType::Array { element: Box::new(element), dimensions }
}

fn composite<const N: usize>(fields: [(&str, PgType); N]) -> PgType {
    let fields = fields.into_iter().map(|(name, pg_type)| StructField { name: name.to_owned(), pg_type });
    PgType::Composite(fields.collect())
}

/// Every type whose text differs, and some nested ones.
fn all_types() -> Vec<PgType> {
    let plain = [
        PgType::Bool,
        PgType::Int2,
        PgType::Int4,
        PgType::Int8,
        PgType::Oid,
        PgType::Xid8,
        PgType::Float4,
        PgType::Float8,
        PgType::NumericDouble,
        decimal(4, 2),
        decimal(38, 0),
        decimal(38, 38),
        PgType::Money { digits: 2 },
        PgType::Date,
        PgType::Time,
        PgType::Timestamp,
        PgType::TimestampTz,
        PgType::Interval,
        PgType::Uuid,
        PgType::Json,
        PgType::Bytea,
        PgType::Text,
        PgType::Hstore,
    ];
    let row = composite([("a", PgType::Int4), ("select", PgType::Text), ("x \"y\"", array(PgType::Date, 1))]);
    let lists: Vec<PgType> = plain.iter().map(|plain| array(plain.clone(), 1)).collect();
    let nested = [array(PgType::Text, 3), row.clone(), array(row.clone(), 2), composite([("row", row)])];
    plain.into_iter().chain(lists).chain(nested).collect()
}

/// A generator without dependencies (splitmix64); the same seed makes the same test.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Small and large magnitudes alike.
    fn any_width(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }
}
