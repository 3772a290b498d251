//! What the pipeline file says about a Parquet sink, and where its files go.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_core::units::{deserialize_size, deserialize_some_duration};
use tidegate_core::{ConnectorError, ErrorKind};

/// Rows of a row group: what DuckDB reads with one thread.
pub const ROW_GROUP_ROWS: usize = 122_880;
/// Small files of a view that are merged into one.
pub const COMPACTION_FILES: usize = 32;
/// Bytes at which a file is no longer small, and no merged file grows much beyond.
pub const COMPACTION_BYTES: u64 = 128 << 20;
/// How long files stay that nobody needs any more, for readers that have listed them.
pub const COMPACTION_GRACE: Duration = Duration::from_secs(600);
/// Snapshots that are kept.
pub const KEEP_SNAPSHOTS: usize = 3;
/// Bytes of a snapshot's file.
pub const FILE_BYTES: u64 = 64 << 20;

/// The keys of `[sinks.NAME]` with `type = "parquet"` that concern the target itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParquetConfig {
    /// A folder, or a URL such as `s3://bucket/prefix`.
    pub path: String,
    /// What lies there: every change, or the whole content from time to time.
    #[serde(default)]
    pub mode: Mode,
    /// How pages are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// 1 to 22, for `zstd` alone; 1 where absent.
    pub compression_level: Option<i32>,
    /// Rows of a row group at the most; [`ROW_GROUP_ROWS`] where absent.
    pub row_group_rows: Option<usize>,
    /// Which columns have bloom filters.
    #[serde(default)]
    pub bloom_filters: BloomFilters,
    /// Which statistics stand in the files.
    #[serde(default)]
    pub statistics: Statistics,
    /// Deltas: whether small files are merged; on where absent.
    pub compaction: Option<Compaction>,
    /// Deltas: how many small files are merged into one; [`COMPACTION_FILES`] where absent.
    pub compaction_files: Option<usize>,
    /// Deltas: bytes of a merged file; [`COMPACTION_BYTES`] where absent.
    #[serde(default, deserialize_with = "some_size")]
    pub compaction_bytes: Option<u64>,
    /// Deltas: how long merged files stay; [`COMPACTION_GRACE`] where absent.
    #[serde(default, deserialize_with = "deserialize_some_duration")]
    pub compaction_grace: Option<Duration>,
    /// Deltas: how far back changes are kept; for ever where absent.
    #[serde(default, deserialize_with = "deserialize_some_duration")]
    pub retention: Option<Duration>,
    /// Snapshots: how many are kept; [`KEEP_SNAPSHOTS`] where absent.
    pub keep_snapshots: Option<usize>,
    /// Snapshots: columns whose values become folders.
    pub partition_by: Option<Vec<String>>,
    /// Snapshots: bytes of a file; [`FILE_BYTES`] where absent.
    #[serde(default, deserialize_with = "some_size")]
    pub file_bytes: Option<u64>,
}

/// What the files hold; the two do not mix in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One file an epoch with its changes.
    #[default]
    Deltas,
    /// One folder a commit with every row.
    Snapshot,
}

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Zstandard.
    #[default]
    Zstd,
    /// Snappy: larger and faster.
    Snappy,
    /// Not at all.
    None,
}

/// Which columns have bloom filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BloomFilters {
    /// Those of the view's key.
    #[default]
    Key,
    /// No column.
    None,
}

/// Which statistics stand in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistics {
    /// Least and greatest value of every page and row group.
    #[default]
    Page,
    /// Of every row group.
    Chunk,
    /// None.
    None,
}

/// Whether small files are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compaction {
    /// They are.
    #[default]
    On,
    /// They stay.
    Off,
}

/// The configuration without its path, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub(crate) files: FileOptions,
    pub(crate) content: ContentOptions,
}

/// How files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileOptions {
    pub(crate) compression: parquet::basic::Compression,
    pub(crate) row_group_rows: usize,
    pub(crate) bloom_filters: BloomFilters,
    pub(crate) statistics: Statistics,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentOptions {
    Deltas(DeltaOptions),
    Snapshot(SnapshotOptions),
}

impl ContentOptions {
    pub(crate) fn mode(&self) -> Mode {
        match self {
            ContentOptions::Deltas(_) => Mode::Deltas,
            ContentOptions::Snapshot(_) => Mode::Snapshot,
        }
    }
}

/// What becomes of deltas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeltaOptions {
    pub(crate) compaction: Compaction,
    pub(crate) compaction_files: usize,
    pub(crate) compaction_bytes: u64,
    pub(crate) grace: Duration,
    pub(crate) retention: Option<Duration>,
}

/// How snapshots are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotOptions {
    pub(crate) keep: usize,
    pub(crate) partition_by: Vec<String>,
    pub(crate) file_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        let config = serde_json::json!({ "path": "." });
        let config: ParquetConfig = serde_json::from_value(config).expect("a path alone is a configuration");
        config.options().expect("the defaults fit each other")
    }
}

impl ParquetConfig {
    /// Checks the keys against each other.
    pub fn options(&self) -> Result<Options, ConnectorError> {
        let deltas = [
            ("compaction", self.compaction.is_some()),
            ("compaction_files", self.compaction_files.is_some()),
            ("compaction_bytes", self.compaction_bytes.is_some()),
            ("compaction_grace", self.compaction_grace.is_some()),
            ("retention", self.retention.is_some()),
        ];
        let snapshot = [
            ("keep_snapshots", self.keep_snapshots.is_some()),
            ("partition_by", self.partition_by.is_some()),
            ("file_bytes", self.file_bytes.is_some()),
        ];
        let content = match self.mode {
            Mode::Deltas => {
                let partitions = "the names of delta files are fixed, and folders of partitions have no place there";
                refuse_set(&snapshot, "belongs to mode = \"snapshot\"", partitions)?;
                ContentOptions::Deltas(self.deltas()?)
            }
            Mode::Snapshot => {
                refuse_set(&deltas, "belongs to mode = \"deltas\"", "a snapshot has no changes to merge or to keep")?;
                ContentOptions::Snapshot(self.snapshot()?)
            }
        };
        let row_group_rows = self.row_group_rows.unwrap_or(ROW_GROUP_ROWS);
        if row_group_rows == 0 {
            return Err(refuse("row_group_rows is 0: write at least 1"));
        }
        let (bloom_filters, statistics) = (self.bloom_filters, self.statistics);
        let files = FileOptions { compression: self.compression()?, row_group_rows, bloom_filters, statistics };
        Ok(Options { files, content })
    }

    fn deltas(&self) -> Result<DeltaOptions, ConnectorError> {
        let compaction = self.compaction.unwrap_or_default();
        if compaction == Compaction::Off && (self.compaction_files.is_some() || self.compaction_bytes.is_some()) {
            return Err(refuse("compaction is \"off\": remove compaction_files and compaction_bytes, or switch it on"));
        }
        let compaction_files = self.compaction_files.unwrap_or(COMPACTION_FILES);
        if compaction_files < 2 {
            return Err(refuse("compaction_files is less than 2: one file is not merged"));
        }
        if self.retention.is_some_and(|retention| retention.is_zero()) {
            return Err(refuse("retention is 0: use mode = \"snapshot\" where no changes are wanted"));
        }
        Ok(DeltaOptions {
            compaction,
            compaction_files,
            compaction_bytes: self.compaction_bytes.unwrap_or(COMPACTION_BYTES),
            grace: self.compaction_grace.unwrap_or(COMPACTION_GRACE),
            retention: self.retention,
        })
    }

    fn snapshot(&self) -> Result<SnapshotOptions, ConnectorError> {
        let keep = self.keep_snapshots.unwrap_or(KEEP_SNAPSHOTS);
        if keep == 0 {
            return Err(refuse("keep_snapshots is 0: the newest has to stay"));
        }
        let partition_by = self.partition_by.clone().unwrap_or_default();
        let file_bytes = self.file_bytes.unwrap_or(FILE_BYTES);
        Ok(SnapshotOptions { keep, partition_by, file_bytes })
    }

    fn compression(&self) -> Result<parquet::basic::Compression, ConnectorError> {
        use parquet::basic::ZstdLevel;
        let level = self.compression_level;
        match self.compression {
            Compression::Zstd => ZstdLevel::try_new(level.unwrap_or(1))
                .map(parquet::basic::Compression::ZSTD)
                .map_err(|_| refuse("compression_level is not one of zstd's: write 1 to 22")),
            _ if level.is_some() => Err(refuse("compression_level is for compression = \"zstd\" alone: remove it")),
            Compression::Snappy => Ok(parquet::basic::Compression::SNAPPY),
            Compression::None => Ok(parquet::basic::Compression::UNCOMPRESSED),
        }
    }
}

fn refuse_set(keys: &[(&str, bool)], belongs: &str, why: &str) -> Result<(), ConnectorError> {
    match keys.iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => Err(refuse(&format!("{key} {belongs}: remove it, or change the mode ({why})"))),
        None => Ok(()),
    }
}

fn refuse(fact: &str) -> ConnectorError {
    ConnectorError::new(ErrorKind::Reconfigure, fact)
}

fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserialize_size(deserializer).map(Some)
}

/// Where the files go, resolved.
#[derive(Debug, Clone)]
pub enum Location {
    /// A folder of this machine; made by the first commit. Files are made durable with fsync, which
    /// object_store's own local store never calls.
    Folder(PathBuf),
    /// A prefix of an object store.
    Store {
        /// The store, with its credentials.
        store: Arc<dyn ObjectStore>,
        /// The prefix in it.
        prefix: object_store::path::Path,
        /// The same as a URL that DuckDB understands, for `views.sql` and messages.
        url: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Result<Options, String> {
        let config: ParquetConfig = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.options().map_err(|error| error.to_string())
    }

    #[test]
    fn keys_have_defaults() {
        let read = options(r#"{"path": "x", "retention": "30d", "compression_level": 9}"#).unwrap();
        assert_ne!(read, Options::default());
        let ContentOptions::Deltas(deltas) = read.content else { panic!("deltas are the default") };
        assert_eq!((deltas.retention, deltas.grace), (Some(Duration::from_secs(30 * 86_400)), COMPACTION_GRACE));
        let read = options(r#"{"path": "x", "mode": "snapshot", "partition_by": ["a"], "file_bytes": "1MiB"}"#);
        let ContentOptions::Snapshot(snapshot) = read.unwrap().content else { panic!("the mode is snapshot") };
        assert_eq!((snapshot.keep, snapshot.file_bytes), (KEEP_SNAPSHOTS, 1 << 20));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let cases = [
            (r#"{"path": "x", "partition_by": ["a"]}"#, "partition_by belongs to mode = \"snapshot\""),
            (r#"{"path": "x", "mode": "snapshot", "retention": "1d"}"#, "retention belongs to mode = \"deltas\""),
            (r#"{"path": "x", "compression": "snappy", "compression_level": 1}"#, "for compression = \"zstd\" alone"),
            (r#"{"path": "x", "compression_level": 99}"#, "write 1 to 22"),
            (r#"{"path": "x", "compaction": "off", "compaction_files": 4}"#, "compaction is \"off\""),
            (r#"{"path": "x", "compaction_files": 1}"#, "less than 2"),
            (r#"{"path": "x", "retention": "0d"}"#, "retention is 0"),
            (r#"{"path": "x", "retention": "soon"}"#, "`soon` is not a duration"),
            (r#"{"path": "x", "mode": "snapshot", "keep_snapshots": 0}"#, "keep_snapshots is 0"),
            (r#"{"path": "x", "row_group_rows": 0}"#, "row_group_rows is 0"),
            (r#"{"path": "x", "bloom": "key"}"#, "unknown field"),
        ];
        for (json, fact) in cases {
            let error = options(json).unwrap_err();
            assert!(error.contains(fact), "{json}: {error}");
        }
    }
}
