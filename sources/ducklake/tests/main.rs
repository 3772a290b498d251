//! The source against real lakes, on every kind of catalog.

mod barriers;
mod conformance;
mod expiry;
mod follower;
mod random;
mod refusals;
mod traps;
