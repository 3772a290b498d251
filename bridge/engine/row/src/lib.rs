//! The rows of the engine: one dynamic [`Row`] type that every circuit uses as key and value, its
//! codec to and from Arrow ([`RowCodec`]), and the weight type of linear aggregates
//! ([`Accumulator`]).
//!
//! A row is a sequence of order-preserving `u64` words: comparing rows is comparing numbers, and
//! no schema is needed for it. What a word means is known to the codec alone.

mod accumulator;
mod average;
mod bytes;
mod codec;
mod decode;
mod direct;
mod encode;
mod error;
mod float_sum;
mod interval;
mod nested;
mod row;
mod word;

pub use accumulator::{Accumulator, ArchivedAccumulator};
pub use average::{average_double, average_narrow, average_wide};
pub use codec::{KeyMode, RowCodec};
pub use direct::{ColumnReader, Gather, RowWriter, has_canonical_form};
pub use error::RowError;
pub use row::{ArchivedRow, Row, WordRow};
pub use word::one_zero;
