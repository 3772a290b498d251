//! The source against real lakes, on every kind of catalog.

mod barriers;
mod cases;
mod conformance;
mod expiry;
mod follower;
mod notify;
mod races;
mod random;
mod ranges;
mod reading;
mod refusals;
mod retention;
mod row_ids;
mod stores;
mod traps;
mod vectors;
