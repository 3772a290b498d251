//! The source against real servers, of both versions.

mod changes;
mod conformance;
mod copies;
mod harness;
mod interruptions;
mod refusals;
mod slots;
mod types;
