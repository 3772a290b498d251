//! What the pipeline file says about a Parquet sink, and where its files go.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use serde::Deserialize;

/// The keys of `[sinks.NAME]` with `type = "parquet"` that concern the target itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParquetConfig {
    /// A folder, or a URL such as `s3://bucket/prefix`.
    pub path: String,
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
