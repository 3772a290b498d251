//! The source against real servers, of both versions.

mod conformance;
mod harness;
mod mechanisms;
mod refusals;
mod types;
