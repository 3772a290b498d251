//! Brings the sinks up to date: compares what each holds with our history, and sends what it
//! lacks.

mod align;
mod driver;
mod job;
mod pace;
mod streams;

pub(crate) use align::{Alignment, align};
pub(crate) use driver::{Aside, Driver};
pub(crate) use job::{Report, Setback};
pub(crate) use streams::{changes_stream, rows_stream};
