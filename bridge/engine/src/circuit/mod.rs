//! Circuits: one for each view, compiled from its logical plan, run by DBSP.

mod aggregate;
mod asof;
mod build;
mod compile;
mod frame;
mod gate;
mod group;
mod key;
mod leaf;
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

pub(crate) use build::{Handles, StateSnapshot, build, config};
pub(crate) use compile::compile;
pub(crate) use leaf::Leaf;
pub(crate) use pipe::{batch, encode};
pub(crate) use plan::CircuitPlan;
pub(crate) use way::Errors;
