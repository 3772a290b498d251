//! The loop against a source and sinks in memory, with the real engine.

mod backup;
mod beside;
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
mod rewind;
mod running;
mod schedules;
mod sinks;
mod state_format;
mod ticks;
mod time_map;
