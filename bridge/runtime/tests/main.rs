//! The loop against a source and sinks in memory, with the real engine.

mod changes;
mod concurrent;
mod deliveries;
mod depot;
mod findings;
mod harness;
mod live;
mod present;
mod recovery;
mod resync;
mod running;
mod sinks;
mod ticks;
