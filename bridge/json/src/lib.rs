//! Values of views as JSON, and back, without loss.
//!
//! JSON has one kind of number, which most readers take for a double, and no dates, bytes or decimals. What a
//! double does not hold is therefore written as text:
//!
//! | DuckDB type | JSON |
//! | --- | --- |
//! | `BOOLEAN` | `true`, `false` |
//! | integers of every width, `HUGEINT`, `DECIMAL(p,0)` | a number up to 9007199254740991 (2⁵³ − 1) either way, beyond it a string of digits |
//! | `DECIMAL(p,s)` | a string, always with `s` digits after the point: `"12.30"` |
//! | `FLOAT`, `DOUBLE` | the shortest number that reads back as the same float; `"NaN"`, `"Infinity"`, `"-Infinity"`, and `"-0"` for the negative zero, which many readers of JSON drop |
//! | `VARCHAR`, `UUID`, `JSON` | a string; a JSON text is not taken apart, so that it stays as it is |
//! | `BLOB` | a string of hexadecimal digits, two a byte |
//! | `DATE` | `"2024-02-29"`; years beyond 9999 with a plus, years before 0 with a minus; `"infinity"`, `"-infinity"` |
//! | `TIME` | `"23:59:59.999999"` |
//! | `TIMESTAMP_S`, `_MS`, `TIMESTAMP`, `_NS` | `"2024-02-29T12:00:00"` with 0, 3, 6, 9 digits of a second; `"infinity"`, `"-infinity"` |
//! | `TIMESTAMP WITH TIME ZONE` | the same in UTC, with 6 digits and a `Z` |
//! | `INTERVAL` | `"P14M3DT-0.000001S"`: months, days and seconds, which stay apart |
//! | lists and arrays | an array |
//! | `STRUCT` | an object |
//! | `MAP` | an array of `{"key": …, "value": …}`, in the map's order |
//! | NULL | `null` |
//!
//! Sources: RFC 8259 and, for the range of numbers, RFC 7493 section 2.2.

mod decode;
mod encode;
mod parse;
mod time;

pub use decode::{Unfit, column};
pub use encode::{RowWriter, write_string, write_value};
pub use parse::{Json, NotJson, parse};
pub use time::{date_text, parse_timestamp, timestamp_text};
