//! Arrow columns on their way into files and back: what the sinks that write Parquet have in common.

mod convert;
mod dictionary;
mod interval;
mod timestamp;

pub use convert::{ColumnError, OTHER_COLUMNS, convert};
pub use dictionary::repeats;
pub use interval::{interval_text, parse_interval};
pub use timestamp::{is_infinite, scaled};
