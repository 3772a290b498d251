//! Circuits: one for each view, compiled from its logical plan, run by DBSP.

mod aggregate;
mod asof;
mod build;
mod compile;
mod frame;
mod gate;
mod group;
mod key;
mod meet;
mod order;
mod outer;
mod passing;
mod pipe;
mod plan;
mod recompute;
mod recursion;
mod rounds;
mod threshold;
mod way;
mod window;

pub(crate) use build::{Handles, LeafHandle, StateSnapshot, build, config};
pub(crate) use compile::compile;
pub(crate) use key::{Key, KeyedHandle};
pub(crate) use pipe::{FlatRow, Pipe, batch, encode};
pub(crate) use plan::CircuitPlan;
pub(crate) use way::Errors;
