//! A commit: the files of all views are written first, then each view's log gets its entry, which makes them
//! visible and says up to which epoch the table stands.
//!
//! An entry is created under a condition, so of two writers one finds the name taken. It reads the log again: where
//! the table stands at another epoch than before, that is a conflict for the caller; where somebody only moved
//! rows between files, the commit is prepared anew on what is there now.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use serde_json::Value;
use tidegate_core::{Committed, Epoch, EpochHeader, Micros, ViewContent, ViewInfo};

use crate::config::{DeltaConfig, OnSchemaChange};
use crate::error::DeltaSinkError;
use crate::history::events::Events;
use crate::history::{self, Turn};
use crate::layout::{self, FileNames};
use crate::load::{self, Order};
use crate::log::{self, AppIds, DataChange, Entry};
use crate::net::{self, Net};
use crate::protocol;
use crate::rewrite::{self, Rewrite, Setting};
use crate::schema::{self, Difference, Mapping};
use crate::shape::Shape;
use crate::store::{Created, TableStore};
use crate::table::{DataFile, Metadata, Table};

/// How often a commit is prepared anew because others moved rows meanwhile.
const ATTEMPTS: usize = 20;

/// What every step needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) config: &'a DeltaConfig,
    pub(crate) pipeline: &'a str,
    pub(crate) now: Micros,
}

/// A view on its way into its table.
pub(crate) struct Staged {
    view: ViewInfo,
    shape: Shape,
    store: TableStore,
    /// The table that the files were made for.
    table: Option<Table>,
    plan: Plan,
    files: Rewrite,
    /// What happened epoch by epoch, where a history is kept and changes came.
    events: Option<Events>,
}

enum Plan {
    /// What changes, kept for the case that it must be applied again to another version.
    Changes(Net),
    /// So many rows in the new files are the whole content.
    Content(u64),
    /// The table is a view's history.
    Past(Box<Turn>),
}

/// How preparing a view ended.
pub(crate) enum Prepared {
    Staged(Box<Staged>),
    Conflict(Option<Committed>),
}

/// How putting an entry into the log ended.
pub(crate) enum Landed {
    Done { table: Box<Table>, rows: u64 },
    Conflict(Option<Committed>),
}

/// Writes the files of a view. `table` is what the log says now.
pub(crate) async fn prepare(
    scene: Scene<'_>,
    store: TableStore,
    view: ViewInfo,
    table: Option<Table>,
    content: ViewContent,
    after: Epoch,
    header: &EpochHeader,
) -> Result<Prepared, DeltaSinkError> {
    let found = table.as_ref().and_then(|table| table.committed);
    let names = FileNames::of(header, &scene.attempt());
    let mut events = None;
    let (shape, plan, files) = match content {
        ViewContent::Changes(_) if found.map_or(Epoch::ZERO, |found| found.epoch) != after => {
            return Ok(Prepared::Conflict(found));
        }
        ViewContent::Changes(stream) => {
            let shape = match &table {
                Some(table) => shape_of(table, &view, &store)?,
                None => Shape::new(&view, &scene.config.partition_by, Mapping::None)?,
            };
            events = view.history.map(|_| Events::default());
            let net = net::net(&shape, stream, after, header, events.as_mut()).await?;
            (shape, Plan::Changes(net), Rewrite::default())
        }
        ViewContent::Replace(stream) => {
            let shape = new_shape(scene, &view, table.as_ref(), &store)?;
            let target = scene.config.target_file_size;
            let setting = Setting { store: &store, shape: &shape, target, names: &names };
            let order = Order::of(&shape, scene.config)?;
            let added = load::load(setting, stream, header, &order).await?;
            let rows = added.iter().map(|file| file.rows).sum();
            (shape, Plan::Content(rows), Rewrite { added, ..Rewrite::default() })
        }
    };
    let mut staged = Staged { view, shape, store, table, plan, files, events };
    staged.fit(scene, header, &names).await?;
    Ok(Prepared::Staged(Box::new(staged)))
}

/// The shape of a table that changes are applied to.
fn shape_of(table: &Table, view: &ViewInfo, store: &TableStore) -> Result<Shape, DeltaSinkError> {
    table.shape(view).ok_or_else(|| {
        let wanted = schema::delta_schema(&view.schema, Mapping::None).map(|(schema, _)| schema).unwrap_or_default();
        let difference = match schema::difference(&table.metadata.schema, &wanted) {
            Difference::Added(difference) | Difference::Other(difference) => difference,
            Difference::None => "its partition columns are not the view's".to_owned(),
        };
        DeltaSinkError::Altered { table: store.shown(""), difference }
    })
}

/// The shape of a table whose content is replaced: the one it has, if the view's columns and the partitions are
/// still the same.
fn new_shape(
    scene: Scene<'_>,
    view: &ViewInfo,
    table: Option<&Table>,
    store: &TableStore,
) -> Result<Shape, DeltaSinkError> {
    let partition_by = &scene.config.partition_by;
    let Some(table) = table else { return Shape::new(view, partition_by, Mapping::None) };
    let new = Shape::new(view, partition_by, table.metadata.mapping())?;
    match schema::difference(&table.metadata.schema, &new.delta) {
        Difference::None => {
            let kept = table.shape(view).filter(|kept| kept.partitions == new.partitions);
            return Ok(kept.unwrap_or(new));
        }
        Difference::Added(_) => {}
        Difference::Other(difference) if scene.config.on_schema_change == OnSchemaChange::Error => {
            let (view, table) = (view.name.clone(), store.shown(""));
            return Err(DeltaSinkError::OtherColumns { view, table, difference });
        }
        Difference::Other(difference) => {
            tracing::info!(name: "table_columns", view = %view.name, %difference, "the table gets other columns");
        }
    }
    Ok(new)
}

impl Scene<'_> {
    /// A text that no other attempt at a commit has.
    pub(crate) fn attempt(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }
}

impl Staged {
    /// A history on its way into its table.
    pub(crate) async fn past(
        scene: Scene<'_>,
        view: ViewInfo,
        shape: Shape,
        store: TableStore,
        table: Option<Table>,
        turn: Turn,
        header: &EpochHeader,
    ) -> Result<Staged, DeltaSinkError> {
        let (plan, files) = (Plan::Past(Box::new(turn)), Rewrite::default());
        let mut staged = Staged { view, shape, store, table, plan, files, events: None };
        let names = FileNames::of(header, &scene.attempt());
        staged.fit(scene, header, &names).await?;
        Ok(staged)
    }

    pub(crate) fn view(&self) -> &ViewInfo {
        &self.view
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn store(&self) -> &TableStore {
        &self.store
    }

    /// What the table stands at before the commit.
    pub(crate) fn stood(&self) -> Option<Committed> {
        self.table.as_ref().and_then(|table| table.committed)
    }

    /// The rows before the commit.
    pub(crate) fn rows_before(&self) -> Option<u64> {
        self.table.as_ref().map_or(Some(0), |table| table.rows)
    }

    /// What happened epoch by epoch; `None` for a whole content.
    pub(crate) fn take_events(&mut self) -> Option<Events> {
        self.events.take()
    }

    /// The rows of the changes, as they are stored.
    pub(crate) fn batches(&self) -> Vec<RecordBatch> {
        match &self.plan {
            Plan::Changes(net) => net.batches.clone(),
            Plan::Content(_) | Plan::Past(_) => Vec::new(),
        }
    }

    /// The files that the table has after the commit.
    pub(crate) fn files_after(&self) -> Vec<(String, DataFile)> {
        let removed: BTreeSet<&String> = self.files.removed.iter().collect();
        let before = self.table.iter().flat_map(|table| &table.files);
        let kept = before.filter(|(path, _)| !removed.contains(path));
        let mut files: Vec<_> = kept.map(|(path, file)| (path.clone(), file.clone())).collect();
        let added = self.files.added.iter();
        files.extend(added.map(|new| (new.path.clone(), DataFile::new(new.size, new.partition.clone(), None))));
        files
    }

    /// Throws the files away; only where no entry can name them.
    pub(crate) async fn discard(&self) {
        self.store.discard(self.files.paths()).await;
    }

    /// Makes the files fit the table as it is now.
    async fn fit(&mut self, scene: Scene<'_>, header: &EpochHeader, names: &FileNames) -> Result<(), DeltaSinkError> {
        match &mut self.plan {
            Plan::Past(turn) => {
                let target = scene.config.target_file_size;
                let setting = Setting { store: &self.store, shape: &self.shape, target, names };
                self.files = turn.write(setting, scene.config, self.table.as_mut()).await?;
            }
            Plan::Changes(net) => {
                let none = BTreeMap::new();
                if let Some(table) = &mut self.table {
                    table.index(&self.shape);
                }
                let files = self.table.as_ref().map_or(&none, |table| &table.files);
                let target = scene.config.target_file_size;
                let setting = Setting { store: &self.store, shape: &self.shape, target, names };
                self.files = rewrite::rewrite(setting, files, net, header).await?;
            }
            Plan::Content(_) => {
                self.files.removed =
                    self.table.as_ref().map(|table| table.files.keys().cloned().collect()).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Rows that the table has afterwards, and rows that were written or removed.
    fn rows(&self) -> Result<(u64, u64), DeltaSinkError> {
        match &self.plan {
            Plan::Content(rows) => Ok((*rows, *rows)),
            Plan::Past(turn) => Ok((turn.rows, 0)),
            Plan::Changes(net) => {
                let before = self.table.as_ref().and_then(|table| table.rows).unwrap_or(0);
                let after = before
                    .checked_add_signed(net.growth())
                    .ok_or_else(|| DeltaSinkError::contract(&self.view.name, "more rows are removed than there are"))?;
                Ok((after, net.rows))
            }
        }
    }

    /// The table at the next version, but for its files.
    fn next(&self, scene: Scene<'_>) -> (u64, Metadata, Value) {
        match (&self.table, &self.plan) {
            (Some(table), Plan::Changes(_)) => (table.version + 1, table.metadata.clone(), table.protocol.clone()),
            (Some(table), Plan::Past(turn)) if !turn.is_new => {
                let mut metadata = table.metadata.clone();
                history::note_since(&mut metadata, turn.since);
                (table.version + 1, metadata, table.protocol.clone())
            }
            (before, plan) => {
                let before = before.as_ref();
                let millis = scene.now.0.div_euclid(1000);
                let metadata = before.map(|table| &table.metadata);
                let mut metadata = protocol::metadata(&self.shape, scene.config, scene.pipeline, millis, metadata);
                if let Plan::Past(turn) = plan {
                    history::note_since(&mut metadata, turn.since);
                }
                let protocol = protocol::protocol(&self.shape, before.map(|table| &table.protocol));
                (before.map_or(0, |table| table.version + 1), metadata, protocol)
            }
        }
    }

    /// The entry that takes the table to its next version.
    fn entry(
        &self,
        scene: Scene<'_>,
        header: &EpochHeader,
        (_, metadata, protocol): &(u64, Metadata, Value),
    ) -> Result<Entry, DeltaSinkError> {
        let (rows, _) = self.rows()?;
        let (operation, counts) = match &self.plan {
            Plan::Changes(net) if self.files.removed.is_empty() => ("WRITE", net.counts()),
            Plan::Changes(net) => ("MERGE", net.counts()),
            Plan::Content(rows) => ("CREATE OR REPLACE TABLE AS SELECT", [*rows, 0, 0]),
            // A version that ends is updated.
            Plan::Past(turn) if self.files.removed.is_empty() => ("WRITE", [turn.counts[0], turn.counts[1], 0]),
            Plan::Past(turn) => ("MERGE", [turn.counts[0], turn.counts[1], 0]),
        };
        let standing = if let Plan::Past(turn) = &self.plan { Some(turn.standing) } else { None };
        let committed = Committed { epoch: header.epoch, hash: header.hash };
        let before = self.table.as_ref();
        let info = log::info(header, counts);
        let mut entry = Entry::new(operation, scene.now, before.map(|table| table.version), info);
        if before.is_none_or(|before| before.protocol != *protocol) {
            entry.protocol(protocol);
        }
        if before.is_none_or(|before| before.metadata != *metadata) {
            entry.metadata(metadata);
        }
        let contract = |fact: &str| DeltaSinkError::contract(&self.view.name, fact);
        let ids = AppIds::of(scene.pipeline, &self.view.name, self.shape.role);
        entry.stands_at(&ids, committed, rows, standing).map_err(contract)?;
        for path in &self.files.removed {
            let file = before.and_then(|table| table.files.get(path)).expect("a removed file is one of the table's");
            entry.remove(path, file, scene.now, DataChange::Yes);
        }
        self.files.added.iter().for_each(|file| entry.add(file, scene.now, DataChange::Yes));
        self.files.changes.iter().for_each(|file| entry.changes(file));
        Ok(entry)
    }

    /// The table after its entry is in the log.
    fn landed(self, header: &EpochHeader, rows: u64, (version, metadata, protocol): (u64, Metadata, Value)) -> Table {
        let mut table = match (self.table, &self.plan) {
            (Some(mut table), Plan::Changes(_)) => {
                table.version = version;
                table
            }
            (Some(mut table), Plan::Past(turn)) if !turn.is_new => {
                (table.version, table.metadata) = (version, metadata);
                table
            }
            _ => Table::new(self.shape.role, version, metadata, protocol),
        };
        if let Plan::Past(turn) = &self.plan {
            table.standing = Some(turn.standing);
        }
        table.change_files(&self.shape, &self.files.removed, &self.files.added);
        table.committed = Some(Committed { epoch: header.epoch, hash: header.hash });
        table.rows = Some(rows);
        table
    }

    /// Puts the entry into the log.
    pub(crate) async fn land(mut self, scene: Scene<'_>, header: &EpochHeader) -> Result<Landed, DeltaSinkError> {
        let stood = self.table.as_ref().and_then(|table| table.committed);
        let ours = Committed { epoch: header.epoch, hash: header.hash };
        for _ in 0..ATTEMPTS {
            let next = self.next(scene);
            let entry = self.rows().and_then(|rows| Ok((self.entry(scene, header, &next)?, rows)));
            let (entry, (rows, changed)) = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.discard().await;
                    return Err(error);
                }
            };
            // Whether a put that failed has happened is not known here: its files stay.
            let name = layout::entry(next.0);
            if self.store.create(&name, entry.to_bytes().into()).await? == Created::Done {
                let table = Box::new(self.landed(header, rows, next));
                return Ok(Landed::Done { table, rows: changed });
            }
            let found = Table::load(&self.store, &self.view.name, self.shape.role, scene.pipeline).await?;
            let stands = found.as_ref().and_then(|table| table.committed);
            match found {
                // A put whose answer was lost is tried again by the store and finds itself.
                Some(table) if stands == Some(ours) && stood != Some(ours) => {
                    return Ok(Landed::Done { table: Box::new(table), rows: changed });
                }
                found if stands == stood && found.is_some() == self.table.is_some() => {
                    self.refit(scene, found, header).await?;
                }
                _ => {
                    self.discard().await;
                    return Ok(Landed::Conflict(stands));
                }
            }
        }
        self.discard().await;
        Err(DeltaSinkError::Busy { table: self.store.shown(""), attempts: ATTEMPTS })
    }

    /// Prepares the commit anew on a version of others.
    async fn refit(
        &mut self,
        scene: Scene<'_>,
        table: Option<Table>,
        header: &EpochHeader,
    ) -> Result<(), DeltaSinkError> {
        tracing::info!(name: "commit_contended", view = %self.view.name, "somebody else changed the table, the commit is prepared anew");
        // The files of a whole content are right whatever the table holds, and so are the columns of a new history.
        let (stays, has_columns) = match &self.plan {
            Plan::Changes(_) => (false, true),
            Plan::Content(_) => (true, false),
            Plan::Past(turn) => (false, !turn.is_new),
        };
        if !stays {
            self.discard().await;
            self.files = Rewrite::default();
        }
        if has_columns && let Some(table) = &table {
            let shape = shape_of(table, &self.view, &self.store)?;
            if shape.stored != self.shape.stored || shape.partitions != self.shape.partitions {
                let difference = "its columns were renamed in the files".to_owned();
                return Err(DeltaSinkError::Altered { table: self.store.shown(""), difference });
            }
        }
        self.table = table;
        let names = FileNames::of(header, &scene.attempt());
        self.fit(scene, header, &names).await
    }
}
