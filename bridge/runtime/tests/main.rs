//! The loop against a source and sinks in memory, with the real engine.

mod changes;
mod depot;
mod harness;
mod recovery;
mod resync;
mod running;
mod sinks;
