//! Columns that grow by the text of values: the plain ones, and the choice among all.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt32Type, UInt64Type,
};

use super::buffer::{Bits, Bytes, Primitive};
use super::error::Fault;
use super::nested::{Composites, Lists, Maps};
use super::pg_type::PgType;
use super::policy::OnUnrepresentable;
use super::text::quoted::Piece;
use super::text::{binary, date, decimal, interval, number, timestamp, utf8};

/// A column under construction. Its length grows by one with each [`append`](Column::append) that
/// succeeds and each [`push_null`](Column::push_null); an `append` that fails leaves it as it was.
pub(super) trait Column: Send + Sync {
    /// Takes the text of one value that is not NULL. The values within it follow `policy`, the
    /// value as a whole is [`Unrepresentables::append`]'s concern.
    fn append(&mut self, text: &[u8], policy: &mut Unrepresentables) -> Result<(), Fault>;
    fn push_null(&mut self);
    fn len(&self) -> usize;
    /// Drops all but the first `len` values.
    fn truncate(&mut self, len: usize);
    /// About how much memory the values take.
    fn bytes(&self) -> usize;
    /// Hands the values over and begins anew.
    fn finish(&mut self) -> ArrayRef;
}

/// The policy for values that a column's type cannot hold, at whatever depth.
pub(super) struct Unrepresentables {
    pub(super) policy: OnUnrepresentable,
    /// How many were replaced by NULL.
    pub(super) nulled: u64,
}

impl Unrepresentables {
    #[inline]
    pub(super) fn append(&mut self, column: &mut dyn Column, text: &[u8]) -> Result<(), Fault> {
        match column.append(text, self) {
            Err(Fault::Unrepresentable(_)) if self.policy == OnUnrepresentable::Null => {
                column.push_null();
                self.nulled += 1;
                Ok(())
            }
            appended => appended,
        }
    }

    pub(super) fn append_piece(
        &mut self,
        column: &mut dyn Column,
        piece: Piece,
        room: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match piece.text(room) {
            Some(text) => self.append(column, text),
            None => {
                column.push_null();
                Ok(())
            }
        }
    }
}

/// The column for a type; its arrays have the Arrow type of the type's DuckDB type.
pub(super) fn column_of(pg_type: &PgType) -> Box<dyn Column> {
    match pg_type {
        PgType::Bool => Box::new(Booleans(Bits::new())),
        PgType::Int2 => scalars::<Int16Type, _>(number::signed),
        PgType::Int4 => scalars::<Int32Type, _>(number::signed),
        PgType::Int8 => scalars::<Int64Type, _>(number::signed),
        PgType::Oid => scalars::<UInt32Type, _>(number::unsigned),
        PgType::Xid8 => scalars::<UInt64Type, _>(number::unsigned),
        PgType::Float4 => scalars::<Float32Type, _>(number::float),
        PgType::Float8 => scalars::<Float64Type, _>(number::float),
        PgType::NumericDouble => scalars::<Float64Type, _>(number::numeric_as_double),
        PgType::Decimal { precision, scale } => {
            let (precision, scale) = (*precision, *scale);
            decimals(precision, scale, move |text| decimal::numeric(text, precision, scale))
        }
        PgType::Money { digits } => decimals(19, *digits, decimal::money),
        PgType::Date => scalars::<Date32Type, _>(date::date),
        PgType::Time => scalars::<Time64MicrosecondType, _>(timestamp::time),
        PgType::Timestamp => scalars::<TimestampMicrosecondType, _>(timestamp::timestamp),
        PgType::TimestampTz => {
            let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
            let values = Primitive::<TimestampMicrosecondType>::with_data_type(data_type);
            Box::new(Scalars { values, read: timestamp::timestamptz })
        }
        PgType::Interval => scalars::<IntervalMonthDayNanoType, _>(interval::interval),
        PgType::Bytea => Box::new(Binaries(Bytes::new())),
        PgType::Uuid | PgType::Json | PgType::Text => Box::new(Texts(Bytes::new())),
        PgType::Array { element, dimensions } => Box::new(Lists::new(column_of(element), *dimensions)),
        PgType::Composite(fields) => {
            Box::new(Composites::new(fields.iter().map(|f| (f.name.clone(), column_of(&f.pg_type)))))
        }
        PgType::Hstore => Box::new(Maps::new(column_of(&PgType::Text), column_of(&PgType::Text))),
    }
}

fn scalars<T, R>(read: R) -> Box<dyn Column>
where
    T: ArrowPrimitiveType,
    R: Fn(&[u8]) -> Result<T::Native, Fault> + Send + Sync + 'static,
{
    Box::new(Scalars::<T, R> { values: Primitive::new(), read })
}

fn decimals(
    precision: u8,
    scale: u8,
    read: impl Fn(&[u8]) -> Result<i128, Fault> + Send + Sync + 'static,
) -> Box<dyn Column> {
    let data_type = DataType::Decimal128(precision, scale as i8);
    Box::new(Scalars { values: Primitive::<Decimal128Type>::with_data_type(data_type), read })
}

/// Values of a fixed width, and how one is read.
struct Scalars<T: ArrowPrimitiveType, R> {
    values: Primitive<T>,
    read: R,
}

impl<T, R> Column for Scalars<T, R>
where
    T: ArrowPrimitiveType,
    R: Fn(&[u8]) -> Result<T::Native, Fault> + Send + Sync,
{
    fn append(&mut self, text: &[u8], _: &mut Unrepresentables) -> Result<(), Fault> {
        self.values.push((self.read)(text)?);
        Ok(())
    }

    fn push_null(&mut self) {
        self.values.push_null();
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.values.bytes()
    }

    fn finish(&mut self) -> ArrayRef {
        self.values.finish()
    }
}

/// A column that is nothing but one buffer: how it takes a value, and how it is finished.
macro_rules! column_of_one_buffer {
    ($(#[$doc:meta])* $column:ident, $buffer:ty, $append:expr, $finish:ident) => {
        $(#[$doc])*
        struct $column($buffer);

        impl Column for $column {
            fn append(&mut self, text: &[u8], _: &mut Unrepresentables) -> Result<(), Fault> {
                let append: fn(&mut $buffer, &[u8]) -> Result<(), Fault> = $append;
                append(&mut self.0, text)
            }

            fn push_null(&mut self) {
                self.0.push_null();
            }

            fn len(&self) -> usize {
                self.0.len()
            }

            fn truncate(&mut self, len: usize) {
                self.0.truncate(len);
            }

            fn bytes(&self) -> usize {
                self.0.bytes()
            }

            fn finish(&mut self) -> ArrayRef {
                self.0.$finish()
            }
        }
    };
}

column_of_one_buffer!(
    /// Truth values.
    Booleans,
    Bits,
    |bits, text| {
        bits.push(number::boolean(text)?);
        Ok(())
    },
    finish
);
column_of_one_buffer!(
    /// Text, checked to be UTF-8 and otherwise kept as it is.
    Texts,
    Bytes,
    |bytes, text| bytes.push(utf8(text)?),
    finish_text
);
column_of_one_buffer!(
    /// Bytes.
    Binaries,
    Bytes,
    |bytes, text| bytes.push_with(|bytes| binary::bytea(text, bytes)),
    finish_binary
);
