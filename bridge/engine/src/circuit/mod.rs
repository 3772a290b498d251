//! Circuits: one for each view, compiled from its logical plan, run by DBSP.

mod build;
mod compile;
mod group;
mod pipe;
mod plan;
mod way;

pub(crate) use build::{Handles, LeafHandle, StateSnapshot, build, config, seed};
pub(crate) use compile::compile;
pub(crate) use pipe::{FlatRow, batch, encode};
pub(crate) use plan::CircuitPlan;
pub(crate) use way::Errors;
