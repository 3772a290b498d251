//! A table as its log says it is, kept between commits: what a commit does to it is applied here, and only what
//! others do makes the sink read the log again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use deltalake::{DeltaTable, DeltaTableConfig, DeltaTableError};
use futures::TryStreamExt;
use serde_json::Value;
use tidegate_core::{Committed, Epoch, EpochHash, ViewInfo, ViewName};

use crate::bounds::{self, Bounds};
use crate::error::DeltaSinkError;
use crate::history::standing::Standing;
use crate::layout;
use crate::log::{self, AppIds};
use crate::schema::Mapping;
use crate::shape::Shape;
use crate::store::TableStore;
use crate::write::{NewFile, PartitionValues};

/// Table properties that say whose table it is.
pub(crate) const PIPELINE: &str = "tidegate.pipeline";
pub(crate) const VIEW: &str = "tidegate.view";
/// The property that a history has besides.
pub(crate) const HISTORY: &str = "tidegate.history";

/// What a table holds of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The rows as they are.
    Present,
    /// Their versions.
    Past,
}

/// Writer features that we keep to, or that ask nothing of what we do.
const FEATURES: &[&str] = &[
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "columnMapping",
    "timestampNtz",
    "deletionVectors",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// A table at a version.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) role: Role,
    pub(crate) version: u64,
    pub(crate) metadata: Metadata,
    pub(crate) protocol: Value,
    /// The data files by path.
    pub(crate) files: BTreeMap<String, DataFile>,
    pub(crate) committed: Option<Committed>,
    /// The rows that the last commit left, as far as one has said so.
    pub(crate) rows: Option<u64>,
    /// What a history says besides.
    pub(crate) standing: Option<Standing>,
    /// The columns of which the files' bounds are known.
    indexed: Option<Vec<usize>>,
}

/// The part of a table's metadata that matters here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metadata {
    pub(crate) id: String,
    pub(crate) schema: Value,
    pub(crate) partition_columns: Vec<String>,
    pub(crate) configuration: BTreeMap<String, String>,
    pub(crate) created_time: Option<i64>,
}

/// A data file of a version.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    pub(crate) size: u64,
    pub(crate) rows: Option<u64>,
    pub(crate) partition: PartitionValues,
    /// The bounds of the address columns, once a view's shape is known.
    pub(crate) bounds: Vec<Bounds>,
    stats: Option<Arc<str>>,
}

impl Metadata {
    fn of(json: &Value) -> Option<Metadata> {
        Some(Metadata {
            id: json["id"].as_str()?.to_owned(),
            schema: serde_json::from_str(json["schemaString"].as_str()?).ok()?,
            partition_columns: serde_json::from_value(json["partitionColumns"].clone()).ok()?,
            configuration: serde_json::from_value(json["configuration"].clone()).ok()?,
            created_time: json["createdTime"].as_i64(),
        })
    }

    /// How columns are named in files, and the last id that was given away.
    pub(crate) fn mapping(&self) -> Mapping {
        match self.configuration.get("delta.columnMapping.mode").map(String::as_str) {
            Some("name" | "id") => {
                let last = self.configuration.get("delta.columnMapping.maxColumnId").and_then(|id| id.parse().ok());
                Mapping::ByName(last.unwrap_or(0))
            }
            _ => Mapping::None,
        }
    }
}

impl DataFile {
    pub(crate) fn new(size: u64, partition: PartitionValues, stats: Option<String>) -> Self {
        DataFile { size, rows: None, partition, bounds: Vec::new(), stats: stats.map(Arc::from) }
    }

    /// The statistics as the log has them.
    pub(crate) fn stats(&self) -> Option<&str> {
        self.stats.as_deref()
    }

    fn index(&mut self, shape: &Shape, bounded: &[usize]) {
        (self.rows, self.bounds) = bounds::parse(self.stats.as_deref(), &shape.stored, bounded);
    }
}

impl Table {
    /// Reads the newest version; `None` where there is no table.
    pub(crate) async fn load(
        store: &TableStore,
        name: &ViewName,
        role: Role,
        pipeline: &str,
    ) -> Result<Option<Table>, DeltaSinkError> {
        // One that is being removed is none.
        if !store.has_log().await? || store.read(layout::REMOVING).await?.is_some() {
            return Ok(None);
        }
        let shown = store.shown("");
        let fault = |error: DeltaTableError| DeltaSinkError::log(&shown, &error);
        let mut opened = DeltaTable::new(store.log_store().clone(), DeltaTableConfig::default());
        match opened.load().await {
            Err(DeltaTableError::NotATable(_)) => return Ok(None),
            loaded => loaded.map_err(fault)?,
        }
        let snapshot = opened.snapshot().map_err(fault)?.snapshot();
        let metadata = serde_json::to_value(snapshot.metadata()).ok().as_ref().and_then(Metadata::of);
        let metadata = metadata.ok_or_else(|| DeltaSinkError::damaged(&shown, "its metadata cannot be read"))?;
        let protocol =
            serde_json::to_value(snapshot.protocol()).map_err(|error| DeltaSinkError::damaged(&shown, error))?;
        check_owner(&shown, &metadata, name, role, pipeline)?;
        check_features(&shown, &metadata, &protocol)?;
        let log_store = store.log_store();
        let mut files = BTreeMap::new();
        let mut views = snapshot.file_views(log_store.as_ref(), None);
        while let Some(file) = views.try_next().await.map_err(fault)? {
            if file.deletion_vector_descriptor().is_some() {
                let difference = "rows were deleted with deletion vectors".to_owned();
                return Err(DeltaSinkError::Altered { table: shown, difference });
            }
            let partition: HashMap<_, _> = file.remove_action(true).partition_values.unwrap_or_default();
            let size = u64::try_from(file.size()).unwrap_or(0);
            files.insert(file.path().into_owned(), DataFile::new(size, partition.into_iter().collect(), file.stats()));
        }
        let ids = AppIds::of(pipeline, name, role).all();
        let found = match log::transactions(store, snapshot.version(), &ids).await? {
            Some(found) => found.into_iter().map(Some).collect(),
            None => {
                let mut found = vec![None; ids.len()];
                for (found, id) in found.iter_mut().zip(&ids) {
                    *found = snapshot.transaction_version(log_store.as_ref(), id).await.map_err(fault)?;
                }
                found
            }
        };
        let (committed, rows, standing) = (log::committed(&found), log::rows(&found), Standing::of(&found));
        let version = snapshot.version();
        let table = Table { role, version, metadata, protocol, files, committed, rows, standing, indexed: None };
        table.check_rows(&shown)?;
        Ok(Some(table))
    }

    /// Whether there is a table, and it is this one; that of another is an error. What it holds is not looked at.
    pub(crate) async fn is_of(
        store: &TableStore,
        name: &ViewName,
        role: Role,
        pipeline: &str,
    ) -> Result<bool, DeltaSinkError> {
        if !store.has_log().await? {
            return Ok(false);
        }
        let shown = store.shown("");
        let config = DeltaTableConfig { require_files: false, ..DeltaTableConfig::default() };
        let mut opened = DeltaTable::new(store.log_store().clone(), config);
        match opened.load().await {
            Err(DeltaTableError::NotATable(_)) => return Ok(false),
            loaded => loaded.map_err(|error| DeltaSinkError::log(&shown, &error))?,
        }
        let snapshot = opened.snapshot().map_err(|error| DeltaSinkError::log(&shown, &error))?.snapshot();
        let metadata = serde_json::to_value(snapshot.metadata()).ok().as_ref().and_then(Metadata::of);
        let metadata = metadata.ok_or_else(|| DeltaSinkError::damaged(&shown, "its metadata cannot be read"))?;
        check_owner(&shown, &metadata, name, role, pipeline).map(|()| true)
    }

    /// Fails when the files hold another number of rows than the last commit left.
    fn check_rows(&self, shown: &str) -> Result<(), DeltaSinkError> {
        let count = |file: &DataFile| {
            let stats: Value = serde_json::from_str(file.stats.as_deref()?).ok()?;
            stats["numRecords"].as_u64()
        };
        let (Some(left), Some(found)) = (self.rows, self.files.values().map(count).sum::<Option<u64>>()) else {
            return Ok(());
        };
        if left == found {
            return Ok(());
        }
        let difference = format!("it holds {found} rows where the last commit left {left}");
        Err(DeltaSinkError::Altered { table: shown.to_owned(), difference })
    }

    /// A table that is about to be made.
    pub(crate) fn new(role: Role, version: u64, metadata: Metadata, protocol: Value) -> Self {
        let (files, committed, rows) = (BTreeMap::new(), None, Some(0));
        Table { role, version, metadata, protocol, files, committed, rows, standing: None, indexed: None }
    }

    /// Prepares the files' bounds for a shape, unless they are.
    pub(crate) fn index(&mut self, shape: &Shape) {
        let bounded = shape.bounded();
        if self.indexed.as_ref() != Some(&bounded) {
            self.files.values_mut().for_each(|file| file.index(shape, &bounded));
            self.indexed = Some(bounded);
        }
    }

    /// The shape of the table for a view; `None` when its columns are not the view's.
    pub(crate) fn shape(&self, view: &ViewInfo) -> Option<Shape> {
        let metadata = &self.metadata;
        let shape = Shape::of_table(view, &metadata.schema, metadata.mapping(), &metadata.partition_columns)?;
        Some(Shape { role: self.role, ..shape })
    }

    /// Takes up what a commit of ours has done to the files. The cost is that of the commit.
    pub(crate) fn change_files(&mut self, shape: &Shape, removed: &[String], added: &[NewFile]) {
        self.index(shape);
        let bounded = shape.bounded();
        removed.iter().for_each(|path| drop(self.files.remove(path)));
        for new in added {
            let mut file = DataFile::new(new.size, new.partition.clone(), Some(new.stats.clone()));
            file.index(shape, &bounded);
            self.files.insert(new.path.clone(), file);
        }
    }
}

fn check_owner(
    shown: &str,
    metadata: &Metadata,
    name: &ViewName,
    role: Role,
    pipeline: &str,
) -> Result<(), DeltaSinkError> {
    let found_role = if metadata.configuration.contains_key(HISTORY) { Role::Past } else { Role::Present };
    let foreign = |writer: String| Err(DeltaSinkError::Foreign { table: shown.to_owned(), writer });
    match (metadata.configuration.get(PIPELINE), metadata.configuration.get(VIEW)) {
        (Some(found), _) if found != pipeline => foreign(format!("pipeline {found}")),
        (_, Some(found)) if found != name.as_str() => foreign(format!("view {found}")),
        (Some(_), Some(found)) if found_role != role => foreign(match found_role {
            Role::Present => format!("view {found}"),
            Role::Past => format!("the history {found} of a view"),
        }),
        (Some(_), Some(_)) => Ok(()),
        _ => foreign("another program".to_owned()),
    }
}

fn check_features(shown: &str, metadata: &Metadata, protocol: &Value) -> Result<(), DeltaSinkError> {
    let refuse = |feature: &str, way_out| {
        Err(DeltaSinkError::Feature { table: shown.to_owned(), feature: feature.to_owned(), way_out })
    };
    let features = protocol["writerFeatures"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(feature) = features.into_iter().find(|feature| !FEATURES.contains(feature)) {
        return refuse(feature, "drop the feature, or remove the table's folder, and the next run writes it anew");
    }
    let constraint = metadata.configuration.keys().find(|key| key.starts_with("delta.constraints."));
    if let Some(constraint) = constraint {
        return refuse(constraint, "drop the constraint: the view says what the table holds");
    }
    if metadata.configuration.get("delta.appendOnly").is_some_and(|value| value == "true") {
        return refuse("appendOnly", "set the table property delta.appendOnly to false");
    }
    Ok(())
}

/// What the target holds of a view, from the numbers in the log.
pub(crate) fn committed(epoch: i64, words: [i64; 4]) -> Committed {
    let mut hash = [0; 32];
    for (part, word) in hash.chunks_exact_mut(8).zip(words) {
        part.copy_from_slice(&word.to_be_bytes());
    }
    Committed { epoch: Epoch(epoch.unsigned_abs()), hash: EpochHash(hash) }
}
