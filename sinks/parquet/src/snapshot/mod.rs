//! Snapshots as a target: a folder a commit with every row of a view, for tools that only read files.
//!
//! ```text
//! <path>/<view>/<epoch, 20 digits>/part-00000000.parquet                    the view's columns
//! <path>/<view>/<epoch, 20 digits>/<column>=<value>/part-00000000.parquet   with partition_by
//! <path>/<view>/_latest                                                     the name of the newest folder
//! <path>/views.sql                                                          DuckDB: <view>
//! <path>/_tidegate/manifest.json                                            what has been committed
//! ```
//!
//! A folder never changes once `_latest` names it. Files are sorted, each after the one before, so that
//! changes touch the files that have their keys; all others get a second name in the new folder (a hard
//! link, or a copy that the object store makes by itself) and are not read.

mod partition;
mod parts;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use tidegate_core::{
    BatchStream, Commit, CommitOutcome, ConnectorError, Epoch, EpochBatch, EpochHeader, ViewCommit, ViewContent,
    ViewInfo, ViewName, ZSet, failpoint,
};

use crate::columns;
use crate::commit::{Ledger, Target, check};
use crate::config::SnapshotOptions;
use crate::consolidate::Consolidation;
use crate::encode::{Kind, Label};
use crate::error::{ParquetSinkError, connector_error};
use crate::manifest::{Manifest, Snapshot, State};
use crate::merge::{self, Merge, Run};
use crate::order::RowOrder;
use crate::sort::{Key, Sorted};
use crate::stage::{Expansion, RunWriter, Waiting, column_fault, encode_fault};
use crate::store::Store;
use crate::{layout, read, views_sql};
use partition::Partitions;
use parts::Part;
pub(crate) use parts::is_folder;
use writer::{SnapshotWriter, Written};

/// Bytes of rows in memory that are sorted together.
const SORTED_BYTES: usize = 128 << 20;
/// Rows that are written at a time.
const OUTPUT_ROWS: usize = 8192;

/// What became of a view in a commit.
enum Built {
    /// A new snapshot, and how many rows were written for it.
    Written(Snapshot, u64),
    /// Nothing changed: the newest snapshot stays.
    Unchanged,
    /// Another writer's files are in the folder.
    Raced,
}

/// Views whose newest snapshot is not whole, or laid out otherwise, count as not held.
pub(crate) async fn disbelieve(
    store: &Store,
    manifest: &mut Manifest,
    views: &[ViewInfo],
    options: &SnapshotOptions,
) -> Result<(), ParquetSinkError> {
    for ViewInfo { name, .. } in views {
        let Some(entry) = manifest.views.get_mut(name) else { continue };
        let is_held = match entry.snapshots.last() {
            Some(snapshot) if snapshot.partition_by == options.partition_by => {
                parts::list(store, name, &snapshot.folder).await?.len() == snapshot.files
            }
            _ => false,
        };
        if !is_held {
            entry.state = State::Replacing;
        }
    }
    Ok(())
}

/// Commits a range: a new snapshot of every view that it changes.
pub(crate) async fn commit(
    target: Target<'_>,
    options: &SnapshotOptions,
    ledger: &mut Ledger,
    commit: Commit,
) -> Result<CommitOutcome, ParquetSinkError> {
    if let Some(conflict) = check(target.store, ledger, &commit)? {
        return Ok(conflict);
    }
    let Commit { after, header, views } = commit;
    for part in &views {
        Partitions::new(&part.view, &options.partition_by)?;
    }
    target.store.prepare().await?;
    let names: Vec<ViewName> = views.iter().map(|part| part.view.name.clone()).collect();
    let raced = |view: &ViewName| CommitOutcome::Conflict { view: view.clone(), found: None };
    let mut manifest = ledger.manifest.clone();
    manifest.pipeline = target.pipeline.map(str::to_owned).or(manifest.pipeline);
    let mut rows = 0;
    for ViewCommit { view, content } in views {
        let replaces = matches!(content, ViewContent::Replace(_)) || ledger.manifest.committed(&view.name).is_none();
        let built = build(target, options, ledger, &view, content, after, &header).await?;
        let known = manifest.views.get(&view.name).map(|entry| entry.snapshots.clone()).unwrap_or_default();
        manifest.advance(&view, &header, Some(header.epoch).filter(|_| replaces))?;
        let entry = manifest.views.get_mut(&view.name).expect("the entry was made above");
        entry.snapshots = known;
        match built {
            Built::Unchanged => {}
            Built::Raced => return Ok(raced(&view.name)),
            Built::Written(snapshot, written) => {
                entry.snapshots.push(snapshot);
                let surplus = entry.snapshots.len().saturating_sub(options.keep);
                entry.snapshots.drain(..surplus);
                rows += written;
            }
        }
    }
    failpoint::hit("sink.parquet.staged");
    if !ledger.write(target.store, manifest).await? {
        return Ok(raced(&names[0]));
    }
    failpoint::hit("sink.parquet.published");
    tell(target, ledger, &names).await?;
    Ok(CommitOutcome::Committed { rows })
}

/// What follows a commit. Where it was cut off, maintenance does it once more.
pub(crate) async fn tell(target: Target<'_>, ledger: &Ledger, views: &[ViewName]) -> Result<(), ParquetSinkError> {
    views_sql::update(target.store, &ledger.manifest, target.sink).await?;
    for view in views {
        point_to_latest(target.store, &ledger.manifest, view).await?;
        clean(target.store, ledger, view).await?;
    }
    Ok(())
}

/// Writes a view's new snapshot. What fails leaves files that nothing names; the next commit removes them.
async fn build(
    target: Target<'_>,
    options: &SnapshotOptions,
    ledger: &mut Ledger,
    view: &ViewInfo,
    content: ViewContent,
    after: Epoch,
    header: &EpochHeader,
) -> Result<Built, ParquetSinkError> {
    let store = target.store;
    let partitions = Partitions::new(view, &options.partition_by)?;
    let order = RowOrder::new(view, &partitions.columns).map_err(|error| column_fault(&view.name, error))?;
    let order = Arc::new(order);
    let held = ledger.manifest.committed(&view.name).and_then(|_| ledger.manifest.views[&view.name].snapshots.last());
    let held = held.cloned();
    let (stream, before) = match content {
        ViewContent::Changes(stream) => (stream, held),
        ViewContent::Replace(stream) => (stream, None),
    };
    let changes = sorted_changes(target, view, &order, stream, after, header).await?;
    if changes.is_empty() && before.is_some() {
        return Ok(Built::Unchanged);
    }
    let parts = match &before {
        Some(snapshot) => {
            let parts = parts::list(store, &view.name, &snapshot.folder).await?;
            parts::first_rows(store, ledger, parts, &partitions, &order).await?
        }
        None => Vec::new(),
    };
    // An interrupted commit may have left a folder of that name; whose it is, is not known here.
    let mut folder = header.epoch.digits();
    for attempt in 1.. {
        if store.tree(&parts::folder(&view.name, &folder)).await?.is_empty() {
            break;
        }
        folder = format!("{}-{attempt}", header.epoch.digits());
    }
    let what = store.path(&layout::folder(&view.name));
    let mut merge = Merge::new(order.clone(), what, changes).await?;
    let at = parts::folder(&view.name, &folder);
    let mut writer = SnapshotWriter::new(target, view, order, partitions, header, at, options.file_bytes);
    let written = fill(store, &mut writer, &mut merge, &parts).await;
    let _ = store.remove(&spill_name(&view.name)).await;
    match written {
        Ok(Written::Done) => {}
        Ok(Written::Raced) => return Ok(Built::Raced),
        Err(error) => {
            writer.abort().await;
            return Err(error);
        }
    }
    let (written, files) = writer.finish().await?;
    if let Written::Raced = written {
        return Ok(Built::Raced);
    }
    ledger.first_rows.retain(|name, _| !name.starts_with(&format!("{}/", layout::folder(&view.name))));
    let rows = writer.rows;
    ledger.first_rows.extend(writer.parts);
    let partition_by = options.partition_by.clone();
    Ok(Built::Written(Snapshot { epoch: header.epoch, folder, files, partition_by }, rows))
}

/// Merges the changes into the files that have their keys, and takes the others over.
async fn fill(
    store: &Store,
    writer: &mut SnapshotWriter<'_>,
    merge: &mut Merge,
    parts: &[(Part, Key)],
) -> Result<Written, ParquetSinkError> {
    for (index, (part, first)) in parts.iter().enumerate() {
        let end = parts.get(index + 1).map(|(_, first)| first);
        let changes = merge.peek().is_some_and(|key| end.is_none_or(|end| key.row < end.row));
        if !changes && !writer.takes(part) {
            if let Written::Raced = writer.share(part, first.clone()).await? {
                return Ok(Written::Raced);
            }
            continue;
        }
        merge.add(parts::rows(store, part, writer.partitions()).await?).await?;
        if let Written::Raced = drain(writer, merge, end).await? {
            return Ok(Written::Raced);
        }
    }
    drain(writer, merge, None).await
}

async fn drain(
    writer: &mut SnapshotWriter<'_>,
    merge: &mut Merge,
    end: Option<&Key>,
) -> Result<Written, ParquetSinkError> {
    let mut content = Consolidation::new(writer.order().clone());
    while let Some(changes) = merge.next(end).await? {
        content.add(&changes).map_err(|error| writer.fault(error))?;
        if content.rows() >= OUTPUT_ROWS
            && let Written::Raced = writer.write(&content.take()).await?
        {
            return Ok(Written::Raced);
        }
    }
    content.end_row().map_err(|error| writer.fault(error))?;
    writer.write(&content.take()).await
}

/// The changes of a stream in order: in memory, or where they are too many, in a file of sorted runs.
async fn sorted_changes(
    target: Target<'_>,
    view: &ViewInfo,
    order: &Arc<RowOrder>,
    mut stream: BatchStream,
    after: Epoch,
    header: &EpochHeader,
) -> Result<Vec<Run>, ParquetSinkError> {
    let fault = |error| encode_fault(&view.name, error);
    let mut waiting = Waiting::new(view, header).map_err(fault)?;
    let mut spill: Option<RunWriter> = None;
    let taken = async {
        while let Some(item) = stream.next().await {
            let EpochBatch { header: at, batch } = item.map_err(ParquetSinkError::Input)?;
            if !batch.is_empty() && (at.epoch <= after || at.epoch > header.epoch) {
                let fact = format!("epoch {} is not in ({after}, {}]", at.epoch, header.epoch);
                return Err(ParquetSinkError::Contract { view: view.name.clone(), fact });
            }
            let mut rows = Expansion::new(batch).map_err(fault)?;
            while waiting.take_from(&mut rows).map_err(fault)? {
                if waiting.bytes >= SORTED_BYTES {
                    spill_over(target, view, order, header, &mut waiting, &mut spill).await?;
                }
            }
        }
        match &spill {
            Some(_) => spill_over(target, view, order, header, &mut waiting, &mut spill).await.map(|()| None),
            None => waiting.sorted(order).await.map_err(fault),
        }
    };
    let rest = match taken.await {
        Ok(rest) => rest,
        Err(error) => {
            if let Some(spill) = spill {
                spill.abort().await;
            }
            return Err(error);
        }
    };
    let Some(spill) = spill else {
        let run = |sorted: Sorted| stream::iter(sorted.batches.into_iter().map(Ok)).boxed();
        return Ok(rest.map(run).into_iter().collect());
    };
    let name = spill_name(&view.name);
    // One that an interrupted commit left.
    target.store.remove(&name).await?;
    target.store.publish(spill.finish().await?, &name).await?;
    merge::runs(target.store, &name, &columns::stored_schema(&view.schema)).await
}

async fn spill_over(
    target: Target<'_>,
    view: &ViewInfo,
    order: &Arc<RowOrder>,
    header: &EpochHeader,
    waiting: &mut Waiting,
    spill: &mut Option<RunWriter>,
) -> Result<(), ParquetSinkError> {
    let sorted = waiting.sorted(order).await.map_err(|error| encode_fault(&view.name, error))?;
    let Some(sorted) = sorted else { return Ok(()) };
    if spill.is_none() {
        let label = Label { header: header.clone(), kind: Kind::Changes, pipeline: None };
        let name = spill_name(&view.name);
        let writer = RunWriter::create(target.store, view, &name, &waiting.schema, target.files, &label);
        *spill = Some(writer.await?);
    }
    spill.as_mut().expect("the file was begun above").write_run(sorted).await
}

fn spill_name(view: &ViewName) -> String {
    format!("{}/{}{}", layout::SPILL, layout::folder(view), layout::EXTENSION)
}

/// Names the newest snapshot in a small file of its own.
async fn point_to_latest(store: &Store, manifest: &Manifest, view: &ViewName) -> Result<(), ParquetSinkError> {
    let Some(snapshot) = manifest.views.get(view).and_then(|entry| entry.snapshots.last()) else { return Ok(()) };
    let name = format!("{}/{}", layout::folder(view), layout::LATEST);
    let text = format!("{}\n", snapshot.folder).into_bytes();
    let (found, version) = store.read_small(&name).await?.unzip();
    if found.is_some_and(|found| found[..] == text) {
        return Ok(());
    }
    // Another writer's file is right as well: the manifest has decided who may write.
    store.replace_small(&name, text, version).await.map(|_| ())
}

/// Removes the folders that the manifest does not name (any more).
async fn clean(store: &Store, ledger: &Ledger, view: &ViewName) -> Result<(), ParquetSinkError> {
    let root = layout::folder(view);
    let kept: Vec<&str> = match ledger.manifest.views.get(view) {
        Some(entry) => entry.snapshots.iter().map(|snapshot| snapshot.folder.as_str()).collect(),
        None => return Ok(()),
    };
    let mut gone = BTreeSet::new();
    for (name, _) in store.tree(&root).await? {
        let Some((folder, _)) = name[root.len() + 1..].split_once('/') else { continue };
        if parts::is_folder(folder) && !kept.contains(&folder) {
            store.remove(&name).await?;
            gone.insert(format!("{root}/{folder}"));
        }
    }
    for folder in gone {
        store.remove_folders(&folder).await?;
    }
    Ok(())
}

/// Every row of the newest snapshot.
pub(crate) async fn rows(
    sink: String,
    store: Store,
    view: ViewInfo,
    options: SnapshotOptions,
) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
    let found = async {
        let (manifest, _) = Manifest::load(&store).await?;
        let snapshot = manifest.views.get(&view.name).and_then(|entry| entry.snapshots.last());
        let Some(snapshot) = snapshot else { return Ok((Vec::new(), None)) };
        let partitions = Partitions::new(&view, &options.partition_by)?;
        Ok((parts::list(&store, &view.name, &snapshot.folder).await?, Some(partitions)))
    };
    let (parts, partitions) = found.await.map_err(|error| connector_error(&sink, error))?;
    let rows = stream::iter(parts).then(move |part| {
        let (store, view, sink, partitions) = (store.clone(), view.clone(), sink.clone(), partitions.clone());
        async move {
            let partitions = partitions.expect("there are parts only of a snapshot");
            let path = store.path(&part.name);
            let run = parts::rows(&store, &part, &partitions).await.map_err(|error| connector_error(&sink, error))?;
            Ok::<_, ConnectorError>(run.map(move |rows| {
                rows.and_then(|rows| read::signed(&rows, &view).map_err(|fact| ParquetSinkError::damaged(&path, fact)))
                    .map_err(|error| connector_error(&sink, error))
            }))
        }
    });
    Ok(rows.try_flatten().boxed())
}
