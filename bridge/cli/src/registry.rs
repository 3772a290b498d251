//! Every connector, one entry each. A connector has its name in `type`, a Cargo feature of that
//! name, a configuration that serde reads, and a constructor that connects to nothing yet; nothing
//! else in this crate knows it.

use std::path::Path;

use tidegate_core::Sink;
use tidegate_runtime::SourceSlot;

use crate::file::Section;

/// What a connector may know besides its own section.
pub struct Surroundings<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The pipeline file's folder.
    pub folder: &'a Path,
    /// The connector's name in the pipeline file.
    pub name: &'a str,
    /// The state folder, which may not exist yet.
    pub state: &'a Path,
}

/// Reads a section and makes the connector; `None` only with a fault.
pub type Make<Connector> = fn(&Surroundings<'_>, Section<'_>) -> Option<Connector>;

/// The sources by `type`.
pub const SOURCES: &[(&str, Make<SourceSlot>)] = &[
    #[cfg(feature = "ducklake")]
    ("ducklake", ducklake),
    #[cfg(feature = "postgres")]
    ("postgres", postgres),
];

/// The sinks by `type`.
pub const SINKS: &[(&str, Make<Box<dyn Sink>>)] = &[
    #[cfg(feature = "parquet")]
    ("parquet", parquet),
    #[cfg(feature = "duckdb")]
    ("duckdb", duckdb),
];

/// Types of the public interface that a later version has.
pub const SINKS_NOT_BUILT: &[&str] = &["delta", "ducklake", "postgres"];

#[cfg(feature = "ducklake")]
fn ducklake(around: &Surroundings<'_>, mut section: Section<'_>) -> Option<SourceSlot> {
    section.not_built("keep_input");
    section.configured(|config: tidegate_source_ducklake::Config| {
        let source = tidegate_source_ducklake::DucklakeSource::new(around.name, &config, around.folder)?;
        Ok(SourceSlot { poll_interval: source.poll_interval(), source: Box::new(source), wake: None })
    })
}

#[cfg(feature = "postgres")]
fn postgres(around: &Surroundings<'_>, section: Section<'_>) -> Option<SourceSlot> {
    use tidegate_source_postgres::{Config, PostgresSource};
    section.configured(|config: Config| {
        let folder = around.state.join("sources");
        let source = PostgresSource::new(around.name, &config, around.pipeline, around.folder, &folder)?;
        let (poll_interval, wake) = (source.poll_interval(), Some(source.wake()));
        Ok(SourceSlot { source: Box::new(source), poll_interval, wake })
    })
}

#[cfg(feature = "parquet")]
fn parquet(around: &Surroundings<'_>, section: Section<'_>) -> Option<Box<dyn Sink>> {
    use crate::place::{self, Place};
    use tidegate_sink_parquet::{Location, ParquetConfig, ParquetSink};
    section.configured(|config: ParquetConfig| {
        let location = match place::resolve(around.folder, &config.path)? {
            Place::Folder(folder) => Location::Folder(folder),
            Place::Store { store, prefix, url } => Location::Store { store, prefix, url },
        };
        Ok(Box::new(ParquetSink::new(around.name, location).with_pipeline(around.pipeline)) as Box<dyn Sink>)
    })
}

#[cfg(feature = "duckdb")]
fn duckdb(around: &Surroundings<'_>, section: Section<'_>) -> Option<Box<dyn Sink>> {
    use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink};
    section.configured(|config: DuckdbConfig| {
        let config = DuckdbConfig { path: around.folder.join(config.path) };
        Ok(Box::new(DuckdbSink::new(around.name, config, std::sync::Arc::new(wall_clock))) as Box<dyn Sink>)
    })
}

/// The machine's time, for columns that people read.
#[cfg(feature = "duckdb")]
fn wall_clock() -> tidegate_core::Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    tidegate_core::Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
