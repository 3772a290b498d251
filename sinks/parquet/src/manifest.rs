//! What the sink has committed: one small JSON file, replaced as a whole after the data files of a
//! commit are visible. It is the only place that knows about epochs in which a view did not change,
//! and it keeps all views of a commit together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_core::schema::duckdb_type;
use tidegate_core::{Committed, Epoch, EpochHash, EpochHeader, Frontier, Micros, ViewInfo, ViewName};

use crate::config::Mode;
use crate::error::ParquetSinkError;
use crate::layout;
use crate::store::{Store, Version};

/// The format this version writes.
const FORMAT: u32 = 1;

/// The manifest's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pipeline: Option<String>,
    #[serde(default)]
    pub(crate) mode: Mode,
    pub(crate) views: BTreeMap<ViewName, ViewEntry>,
}

/// What is committed of one view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ViewEntry {
    pub(crate) epoch: Epoch,
    pub(crate) hash: EpochHash,
    pub(crate) frontier: Frontier,
    pub(crate) time: Micros,
    /// The oldest file: the view's whole content as of that epoch.
    pub(crate) since: Epoch,
    pub(crate) state: State,
    pub(crate) columns: Vec<Column>,
    /// Deltas: merged files, each by its name without ending, that have taken the place of others, and
    /// since when readers can see that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) merged: BTreeMap<String, Micros>,
    /// Snapshots: those that are kept, the newest at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) snapshots: Vec<Snapshot>,
}

/// A folder with all rows of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Its epoch, which is older than the view's where nothing has changed since.
    pub(crate) epoch: Epoch,
    /// The folder's name in the view's folder.
    pub(crate) folder: String,
    /// How many files it has.
    pub(crate) files: usize,
    /// The columns whose values are folders.
    pub(crate) partition_by: Vec<String>,
}

/// Whether the files of a view are what the entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// They are.
    Complete,
    /// Its files are being removed for a new content; the view counts as not held.
    Replacing,
}

/// A column as `views.sql` needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) duckdb_type: String,
}

impl Manifest {
    /// Nothing committed.
    pub(crate) fn new() -> Self {
        Manifest { format: FORMAT, pipeline: None, mode: Mode::Deltas, views: BTreeMap::new() }
    }

    /// The manifest of a sink and its version; `None` where there is none yet.
    pub(crate) async fn load(store: &Store) -> Result<(Manifest, Option<Version>), ParquetSinkError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Some((bytes, version)) = store.read_small(layout::MANIFEST).await? else {
            return Ok((Manifest::new(), None));
        };
        let path = store.path(layout::MANIFEST);
        let damaged = |error: serde_json::Error| ParquetSinkError::damaged(&path, error);
        let Format { format: found } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if found > FORMAT {
            return Err(ParquetSinkError::Newer { path, found, known: FORMAT });
        }
        Ok((serde_json::from_slice(&bytes).map_err(damaged)?, Some(version)))
    }

    /// The file's text.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a manifest has text keys and no fallible values");
        json.push(b'\n');
        json
    }

    /// The last epoch that is held of a view.
    pub(crate) fn committed(&self, view: &ViewName) -> Option<Committed> {
        let entry = self.views.get(view).filter(|entry| entry.state == State::Complete)?;
        Some(Committed { epoch: entry.epoch, hash: entry.hash })
    }

    /// Notes that a view is held up to an epoch; `since` is given when its files begin anew.
    pub(crate) fn advance(
        &mut self,
        view: &ViewInfo,
        header: &EpochHeader,
        since: Option<Epoch>,
    ) -> Result<(), ParquetSinkError> {
        // What has become of files before counts as long as the view goes on.
        let known = self.views.get(&view.name).filter(|_| since.is_none());
        let merged = known.map(|entry| entry.merged.clone()).unwrap_or_default();
        let snapshots = known.map(|entry| entry.snapshots.clone()).unwrap_or_default();
        let since = since.or_else(|| known.map(|entry| entry.since));
        let entry = ViewEntry {
            epoch: header.epoch,
            hash: header.hash,
            frontier: header.frontier.clone(),
            time: header.time,
            since: since.unwrap_or(header.epoch),
            state: State::Complete,
            columns: columns(view)?,
            merged,
            snapshots,
        };
        self.views.insert(view.name.clone(), entry);
        Ok(())
    }
}

/// The columns of a view with their DuckDB types.
pub(crate) fn columns(view: &ViewInfo) -> Result<Vec<Column>, ParquetSinkError> {
    let column = |field: &arrow::datatypes::FieldRef| match duckdb_type(field) {
        Some(duckdb_type) => Ok(Column { name: field.name().clone(), duckdb_type: duckdb_type.to_owned() }),
        None => Err(ParquetSinkError::Unsupported {
            view: view.name.clone(),
            fact: format!("column {} carries no DuckDB type", field.name()),
        }),
    };
    view.schema.fields().iter().map(column).collect()
}
