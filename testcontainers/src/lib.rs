//! What all tests share: a source and a sink in memory, exact multisets, the oracle, conformance
//! suites that every connector calls in one line, random lakes, local servers, and a network
//! between them that fails on demand.
//!
//! Everything here fails loudly: what cannot run panics with the reason, nothing passes by
//! skipping.
//!
//! PostgreSQL servers run in Docker containers where there is an engine, as processes otherwise:
//! [`postgres`] says how that is decided, and how to decide it by `TIDEGATE_POSTGRES`.

pub mod bench;
pub mod browser;
mod cache;
pub mod chronicle;
pub mod conformance;
pub mod contents;
pub mod dml;
pub mod lake;
pub mod memory_sink;
pub mod memory_source;
pub mod multiset;
pub mod oracle;
pub mod pgdml;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod rows;
pub mod s3;
pub mod seed;
pub mod tpch;
pub mod value;

pub use browser::{Browser, Screen};
pub use chronicle::{Chronicle, TableAt};
pub use contents::TableContents;
pub use lake::{Catalog, Lake};
pub use memory_sink::{MemorySink, SinkFault};
pub use memory_source::{MemorySource, SourceFault};
pub use multiset::{Multiset, Tolerance};
pub use oracle::{Oracle, ViewRows};
pub use pgdml::{PgDml, PgTable};
pub use postgres::{PgClient, Postgres, PostgresVersion, Shutdown};
pub use process::{Finished, Limit, Program, Running, SmallDisk};
pub use proxy::FaultProxy;
pub use s3::S3;
pub use value::Value;
