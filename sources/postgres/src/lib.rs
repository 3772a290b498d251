//! A PostgreSQL database as a source: the changes of its tables from logical replication (`pgoutput`).
//!
//! A [`PostgresSource`] reads whole tables as of now through an exported snapshot, and streams every transaction
//! after it. Tables with a key send upserts and deletes by key, tables with REPLICA IDENTITY FULL and no
//! key send whole rows; the engine keeps what they hold.

mod batch;
mod catalog;
mod changes;
mod config;
mod connection;
mod copy_text;
mod error;
mod follower;
mod identity;
mod lag;
mod opening;
pub mod pgoutput;
mod polling;
mod position;
mod prepare;
mod setup;
mod slot;
mod snapshot;
mod source;
mod statistics;
mod transaction;
pub mod types;
mod watch;

pub use config::{Config, OnSlotLag, OnSlotLost};
pub use error::PostgresError;
pub use source::PostgresSource;
