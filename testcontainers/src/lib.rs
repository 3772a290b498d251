//! For whoever writes or tests a connector: servers of the test's own, lakes that change at random, a judge that recomputes every
//! view, a network that fails on demand, and the suites that every connector passes.
//!
//! | to have | there is |
//! | --- | --- |
//! | a PostgreSQL server, of several versions, with TLS, killed and started again | [`Postgres`], [`PgClient`] |
//! | an S3 server, with and without faults | [`S3`] |
//! | a lake on one of three catalogs: a DuckDB file, SQLite, PostgreSQL | [`Lake`], [`Catalog`] |
//! | changes of a lake, or of a database, from a seed | [`dml`], [`pgdml`] |
//! | what the tables of a lake held at each snapshot | [`Chronicle`] |
//! | a network between two programs that cuts, stalls, delays, throttles | [`FaultProxy`] |
//! | a program under limits, killed, or on a disk that is full | [`Program`], [`SmallDisk`] |
//! | what a view must hold, recomputed by DuckDB | [`Oracle`] |
//! | rows compared as exact multisets | [`Multiset`], [`ViewRows`] |
//! | the content of a table as a source's events make it | [`TableContents`] |
//! | a view that answers with the deltas between its contents | [`conformance::model::ViewModel`] |
//! | a source and a sink in memory that fail when they are told to | [`MemorySource`], [`MemorySink`] |
//! | the laws of a source or a sink, as tests | [`conformance`] |
//! | rows written as SQL | [`rows`] |
//! | a seed that is printed, and repeats a failure | [`seed`] |
//! | a browser for pages | [`Browser`] |
//!
//! [`tpch`], [`bench`](mod@bench) and [`process`] serve the benchmarks and the tests of the program.
//!
//! `README.md` is the guide, and the crate `examples/connectors` has a source and a sink that are built with this one.
//!
//! Everything here fails loudly: what cannot run panics with the reason, nothing passes by
//! skipping. Servers are gone when they are dropped, or when the test's process ends in any other way.
//!
//! Servers run in Docker containers or as processes, which a test need not know: [`postgres`] and [`s3`] say how that is decided,
//! and how to decide it by `TIDEGATE_POSTGRES` and `TIDEGATE_S3`.

pub mod bench;
pub mod browser;
mod cache;
pub mod chronicle;
pub mod conformance;
pub mod contents;
pub mod dml;
mod docker;
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
