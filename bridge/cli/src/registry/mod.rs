//! Every connector, one entry each. A connector has its name in `type`, a Cargo feature of that
//! name, a configuration that serde reads, and a constructor that connects to nothing yet; nothing
//! else in this crate knows it.

mod datasets;
mod sinks;
mod sources;

use std::path::{Path, PathBuf};

use tidegate_core::Sink;
use tidegate_duck::lake::Storage;
use tidegate_runtime::SourceSlot;

use crate::file::Section;
pub use datasets::Datasets;

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
    /// How objects on S3 are reached.
    pub storage: &'a Storage,
    /// Bytes that the engine may keep in memory.
    pub memory_limit: Option<u64>,
}

/// A connector, and where its tables are.
pub struct Made<Connector> {
    pub connector: Connector,
    /// `None`: nowhere that another kind of connector reads or writes.
    pub home: Option<Home>,
    pub standard_output: StandardOutput,
    pub keeps: Keeps,
    /// The DuckDB file that it writes.
    pub mart: Option<PathBuf>,
    /// What others call its tables; `None`: they are nowhere.
    pub datasets: Option<Datasets>,
}

/// What a sink keeps of views with `temporal = true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// The rows as they are, or their changes as they come.
    Present,
    /// Every version too, in `<view>_history`.
    History,
}

/// The types of the sinks that keep histories.
pub const SINKS_WITH_HISTORY: &[&str] = &[
    #[cfg(feature = "duckdb")]
    "duckdb",
    #[cfg(feature = "ducklake")]
    "ducklake",
    #[cfg(feature = "postgres")]
    "postgres",
    #[cfg(feature = "delta")]
    "delta",
];

/// The types of the sinks that take nothing back: what they hold of a view stays when that is removed.
pub const SINKS_THAT_KEEP: &[&str] = &["jsonl"];

/// Who has the standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandardOutput {
    /// The command, for its results.
    Results,
    /// The connector.
    Connector,
}

/// A lake or a database, however the pipeline file writes it, so that one that is source and target is noticed.
pub struct Home {
    pub store: String,
    /// The schema that a sink writes to.
    pub schema: Option<String>,
}

impl<Connector> Made<Connector> {
    fn of(connector: Connector) -> Self {
        Made {
            connector,
            home: None,
            standard_output: StandardOutput::Results,
            keeps: Keeps::Present,
            mart: None,
            datasets: None,
        }
    }

    /// The same around another connector.
    pub fn map<Other>(self, make: impl FnOnce(Connector) -> Other) -> Made<Other> {
        let Made { connector, home, standard_output, keeps, mart, datasets } = self;
        Made { connector: make(connector), home, standard_output, keeps, mart, datasets }
    }

    fn at(mut self, store: String, schema: Option<&str>) -> Self {
        self.home = Some(Home { store, schema: schema.map(str::to_owned) });
        self
    }

    fn called(mut self, datasets: Datasets) -> Self {
        self.datasets = Some(datasets);
        self
    }
}

/// Reads a section and makes the connector; `None` only with a fault.
pub type Make<Connector> = fn(&Surroundings<'_>, Section<'_>) -> Option<Made<Connector>>;

/// The connectors of one kind.
pub struct Registry<Connector: 'static> {
    /// By `type`.
    pub built: &'static [(&'static str, Make<Connector>)],
}

/// The sources.
pub const SOURCES: Registry<SourceSlot> = Registry {
    built: &[
        #[cfg(feature = "ducklake")]
        ("ducklake", sources::ducklake),
        #[cfg(feature = "postgres")]
        ("postgres", sources::postgres),
    ],
};

/// The sinks.
pub const SINKS: Registry<Box<dyn Sink>> = Registry {
    built: &[
        #[cfg(feature = "parquet")]
        ("parquet", sinks::parquet),
        #[cfg(feature = "duckdb")]
        ("duckdb", sinks::duckdb),
        #[cfg(feature = "delta")]
        ("delta", sinks::delta),
        #[cfg(feature = "ducklake")]
        ("ducklake", sinks::ducklake),
        #[cfg(feature = "postgres")]
        ("postgres", sinks::postgres),
        #[cfg(feature = "jsonl")]
        ("jsonl", sinks::jsonl),
    ],
};
