//! What the pipeline file says about a Delta sink, and where its tables go.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use serde::Deserialize;
use tidegate_core::units::{deserialize_duration, deserialize_size};

/// The keys of `[sinks.NAME]` with `type = "delta"` that concern the target itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaConfig {
    /// A folder, or a URL such as `s3://bucket/prefix`; the table of a view lies below it.
    pub path: String,
    /// Columns by which tables are partitioned; views that lack one of them are refused.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// How large a data file gets, in bytes as it lies in the store. A changed row costs a rewrite of
    /// the file that holds it, so this bounds what a small change writes.
    #[serde(default = "target_file_size", deserialize_with = "deserialize_size")]
    pub target_file_size: u64,
    /// Commits between two checkpoints of the log.
    #[serde(default = "checkpoint_interval")]
    pub checkpoint_interval: u64,
    /// Data files smaller than half the target at which they are merged.
    #[serde(default = "optimize_after")]
    pub optimize_after: usize,
    /// Columns by which merged files are clustered along a Z-order curve, instead of sorted by the row identity.
    #[serde(default)]
    pub z_order: Vec<String>,
    /// How long files that no version needs any more are kept for readers and for time travel.
    #[serde(default = "vacuum_retention", deserialize_with = "deserialize_duration")]
    pub vacuum_retention: Duration,
    /// How long the log keeps old versions.
    #[serde(default = "log_retention", deserialize_with = "deserialize_duration")]
    pub log_retention: Duration,
    /// What happens when a view gets other columns.
    #[serde(default)]
    pub on_schema_change: OnSchemaChange,
}

/// What happens when a view gets columns that the table cannot take up by adding some at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSchemaChange {
    /// One commit replaces columns and rows; readers of older versions go on.
    #[default]
    Replace,
    /// The sink stops and a person decides.
    Error,
}

/// Where the tables go, resolved.
#[derive(Debug, Clone)]
pub enum Location {
    /// A folder of this machine; made by the first commit. Files are made durable with fsync, which
    /// object_store's own local store never calls.
    Folder(PathBuf),
    /// A prefix of an object store.
    Store {
        /// The store, with its credentials. It must offer a put that fails where an object is.
        store: Arc<dyn ObjectStore>,
        /// The prefix in it.
        prefix: object_store::path::Path,
        /// The same as a URL, for messages.
        url: String,
    },
}

/// Sizes that are refused: below, a table drowns in files; above, a file no longer fits into memory comfortably.
const TARGET_FILE_SIZES: std::ops::RangeInclusive<u64> = 1 << 10..=512 << 20;

/// Less would take files from readers that are under way.
const VACUUM_RETENTION_MIN: Duration = Duration::from_secs(3600);

impl DeltaConfig {
    /// The defaults, for a path.
    pub fn new(path: impl Into<String>) -> Self {
        DeltaConfig {
            path: path.into(),
            partition_by: Vec::new(),
            target_file_size: target_file_size(),
            checkpoint_interval: checkpoint_interval(),
            optimize_after: optimize_after(),
            z_order: Vec::new(),
            vacuum_retention: vacuum_retention(),
            log_retention: log_retention(),
            on_schema_change: OnSchemaChange::default(),
        }
    }

    /// Why these values cannot be used, if they cannot.
    pub fn fault(&self) -> Option<String> {
        if !TARGET_FILE_SIZES.contains(&self.target_file_size) {
            return Some(format!("target_file_size is {} bytes: give it 1KiB to 512MiB", self.target_file_size));
        }
        if self.checkpoint_interval == 0 {
            return Some("checkpoint_interval is 0: give it 1 or more".to_owned());
        }
        if self.optimize_after < 2 {
            return Some(format!("optimize_after is {}: give it 2 or more", self.optimize_after));
        }
        if self.vacuum_retention < VACUUM_RETENTION_MIN {
            let fact = "vacuum_retention is below an hour: give it 1h or more, for readers that are under way";
            return Some(fact.to_owned());
        }
        let twice = |names: &[String]| {
            let twice = |(at, name): &(usize, &String)| names[..*at].iter().any(|n| n.eq_ignore_ascii_case(name));
            names.iter().enumerate().find(twice).map(|(_, name)| name.clone())
        };
        for (key, names) in [("partition_by", &self.partition_by), ("z_order", &self.z_order)] {
            if let Some(name) = twice(names) {
                return Some(format!("{key} names column {name} twice: name it once"));
            }
        }
        None
    }
}

fn target_file_size() -> u64 {
    16 << 20
}

fn checkpoint_interval() -> u64 {
    50
}

fn optimize_after() -> usize {
    32
}

fn vacuum_retention() -> Duration {
    Duration::from_secs(7 * 24 * 3600)
}

fn log_retention() -> Duration {
    Duration::from_secs(30 * 24 * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<DeltaConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_path_alone_is_enough() {
        assert_eq!(parse(r#"{"path": "s3://bucket/x"}"#).unwrap(), DeltaConfig::new("s3://bucket/x"));
        assert!(DeltaConfig::new("x").fault().is_none());
    }

    #[test]
    fn sizes_and_spans_have_units() {
        let text =
            r#"{"path": "x", "target_file_size": "4MiB", "vacuum_retention": "12h", "on_schema_change": "error"}"#;
        let config = parse(text).unwrap();
        assert_eq!((config.target_file_size, config.vacuum_retention.as_secs()), (4 << 20, 43_200));
        assert_eq!(config.on_schema_change, OnSchemaChange::Error);
        assert!(parse(r#"{"path": "x", "log_retention": "7"}"#).unwrap_err().contains("is not a duration"));
        assert!(parse(r#"{"path": "x", "target_file_size": "4M"}"#).unwrap_err().contains("is not a size"));
        assert!(parse(r#"{"path": "x", "vacuum": "7d"}"#).unwrap_err().contains("unknown field"));
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        let config = DeltaConfig { target_file_size: 0, ..DeltaConfig::new("x") };
        assert!(config.fault().unwrap().contains("target_file_size"));
        let config = DeltaConfig { vacuum_retention: Duration::from_secs(60), ..DeltaConfig::new("x") };
        assert!(config.fault().unwrap().contains("vacuum_retention"));
        let config = DeltaConfig { partition_by: vec!["a".to_owned(), "A".to_owned()], ..DeltaConfig::new("x") };
        assert_eq!(config.fault().unwrap(), "partition_by names column A twice: name it once");
    }
}
