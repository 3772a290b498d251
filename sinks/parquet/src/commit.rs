//! A commit: the files are staged, made visible in the order of their epochs, and then the
//! manifest says so.
//!
//! What a reader of the folders sees is therefore always the view as of some epoch. Files that an
//! interrupted commit left visible are ahead of the manifest and right: epochs are replayed with
//! the same changes, so the commit that comes again finds them, sees by their hash that they are
//! its own, and leaves them alone. A file that belongs to another history stops the sink.
//!
//! When the content of a view is replaced, the manifest first says so, then the old files go, the
//! youngest first, and at last the one file with the new content comes. In between a reader sees
//! the view as it was at earlier epochs, or no file at all, but no row twice.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::{
    Commit, CommitOutcome, Committed, Epoch, EpochHash, EpochHeader, ViewCommit, ViewContent, ViewInfo, ViewName,
    failpoint,
};

use crate::error::ParquetSinkError;
use crate::manifest::{self, Manifest, State};
use crate::stage::{FileId, KEY_HASH, KEY_RESET, Kind, StagedFile, ViewStage};
use crate::store::{Published, Replaced, Store, Version};
use crate::{columns, layout, views_sql};

/// What the sink knows about its target between calls.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) manifest: Manifest,
    pub(crate) version: Option<Version>,
    /// Files that are ahead of the manifest.
    leftovers: BTreeMap<ViewName, BTreeSet<Epoch>>,
}

impl Ledger {
    /// Reads what the target holds of some views.
    pub(crate) async fn load(store: &Store, views: &[ViewInfo]) -> Result<Ledger, ParquetSinkError> {
        store.check().await?;
        views.iter().try_for_each(check_view)?;
        let (mut manifest, version) = Manifest::load(store).await?;
        let mut leftovers = BTreeMap::new();
        for ViewInfo { name, .. } in views {
            // A view whose first file somebody removed is not held any more.
            if let Some(entry) = manifest.views.get_mut(name)
                && !store.exists(&layout::file(name, entry.since)).await?
            {
                entry.state = State::Replacing;
            }
            let after = manifest.committed(name).map(|committed| committed.epoch);
            leftovers.insert(name.clone(), epochs_after(store, name, after).await?);
        }
        Ok(Ledger { manifest, version, leftovers })
    }

    /// Whether nobody else has committed since this was read.
    pub(crate) async fn is_current(&self, store: &Store) -> Result<bool, ParquetSinkError> {
        let (_, version) = Manifest::load(store).await?;
        Ok(version == self.version)
    }

    /// Writes a changed manifest; false when another writer was there first.
    async fn write(&mut self, store: &Store, manifest: Manifest) -> Result<bool, ParquetSinkError> {
        let replaced = store.replace_small(layout::MANIFEST, manifest.to_json(), self.version.clone()).await?;
        if matches!(replaced, Replaced::Raced) {
            return Ok(false);
        }
        // Read back, because not every store tells the new version with the write.
        let (manifest, version) = Manifest::load(store).await?;
        (self.manifest, self.version) = (manifest, version);
        Ok(true)
    }
}

/// Commits a range.
pub(crate) async fn commit(
    store: &Store,
    ledger: &mut Ledger,
    commit: Commit,
    sink: &str,
    pipeline: Option<&str>,
) -> Result<CommitOutcome, ParquetSinkError> {
    let Commit { after, header, views } = commit;
    for ViewCommit { view, content } in &views {
        check_view(view)?;
        let found = ledger.manifest.committed(&view.name);
        let is_changes = matches!(content, ViewContent::Changes(_));
        if is_changes && found.map_or(Epoch::ZERO, |found| found.epoch) != after {
            return Ok(CommitOutcome::Conflict { view: view.name.clone(), found });
        }
        if is_changes && found.is_some() && ledger.manifest.views[&view.name].columns != manifest::columns(view)? {
            return Err(ParquetSinkError::OtherColumns { path: store.path(&layout::folder(&view.name)) });
        }
    }
    store.prepare().await?;
    let mut files = Vec::new();
    let infos: Vec<_> = views.iter().map(|part| part.view.clone()).collect();
    let outcome = match stage(store, ledger, views, after, &header, pipeline, &mut files).await {
        Ok(()) => publish(store, ledger, &infos, &header, sink, pipeline, &mut files).await,
        Err(error) => Err(error),
    };
    for file in files {
        store.discard(file.staged).await;
    }
    outcome
}

async fn stage(
    store: &Store,
    ledger: &Ledger,
    views: Vec<ViewCommit>,
    after: Epoch,
    header: &EpochHeader,
    pipeline: Option<&str>,
    files: &mut Vec<StagedFile>,
) -> Result<(), ParquetSinkError> {
    for ViewCommit { view, content } in views {
        let before = files.len();
        let is_new = ledger.manifest.committed(&view.name).is_none();
        let (kind, stream) = match content {
            ViewContent::Changes(stream) => (Kind::Changes, stream),
            ViewContent::Replace(stream) => (Kind::Content, stream),
        };
        // The whole content stands for the last epoch alone.
        let after = if kind == Kind::Content { Epoch(header.epoch.0.saturating_sub(1)) } else { after };
        let stage = ViewStage { store, view: &view, kind, after, last: header, pipeline };
        stage.run(stream, files).await?;
        if is_new && kind == Kind::Changes && files.len() == before {
            // A view that begins without rows still has columns to show.
            let stage = ViewStage { kind: Kind::Content, ..stage };
            stage.run(Box::pin(futures::stream::empty()), files).await?;
        }
    }
    failpoint::hit("sink.parquet.staged");
    Ok(())
}

async fn publish(
    store: &Store,
    ledger: &mut Ledger,
    views: &[ViewInfo],
    header: &EpochHeader,
    sink: &str,
    pipeline: Option<&str>,
    files: &mut Vec<StagedFile>,
) -> Result<CommitOutcome, ParquetSinkError> {
    let rows = files.iter().map(|file| file.rows).sum();
    let ids: Vec<FileId> = files.iter().map(|file| file.id.clone()).collect();
    let raced = |view: &ViewName| CommitOutcome::Conflict { view: view.clone(), found: None };
    let replaced: BTreeSet<ViewName> =
        ids.iter().filter(|id| id.kind == Kind::Content).map(|id| id.view.clone()).collect();
    let mut present = BTreeSet::new();
    for view in views.iter().filter(|view| !replaced.contains(&view.name)) {
        present.extend(adopt(store, ledger, &view.name, header, &ids).await?);
    }
    if !clear(store, ledger, views, header, &ids, &mut present).await? {
        return Ok(raced(&views[0].name));
    }
    files.sort_by(|a, b| (b.id.epoch, &b.id.view).cmp(&(a.id.epoch, &a.id.view)));
    while let Some(StagedFile { id, staged, .. }) = files.pop() {
        let name = id.name();
        if present.contains(&name) {
            store.discard(staged).await;
        } else if store.publish(staged, &name).await? == Published::Exists {
            let found = identity(store, &id.view, id.epoch).await?;
            if found.as_ref() != Some(&id) {
                let found = found.map(|found| Committed { epoch: id.epoch, hash: found.hash });
                return Ok(CommitOutcome::Conflict { view: id.view, found });
            }
        }
        ledger.leftovers.entry(id.view).or_default().insert(id.epoch);
    }
    failpoint::hit("sink.parquet.published");
    let mut manifest = ledger.manifest.clone();
    manifest.pipeline = pipeline.map(str::to_owned).or(manifest.pipeline);
    for view in views {
        let is_new = ledger.manifest.committed(&view.name).is_none() || replaced.contains(&view.name);
        // The files of a new view are the first ones; those of a known one come after what it has.
        let first = ledger.leftovers.get(&view.name).and_then(|epochs| epochs.first().copied());
        manifest.advance(view, header, first.filter(|_| is_new))?;
    }
    if !ledger.write(store, manifest).await? {
        return Ok(raced(&views[0].name));
    }
    for epochs in ledger.leftovers.values_mut() {
        epochs.retain(|epoch| *epoch > header.epoch);
    }
    views_sql::update(store, &ledger.manifest, sink).await?;
    Ok(CommitOutcome::Committed { rows })
}

/// The names of the files that an interrupted commit left and this one would write again. They
/// must be what it would write.
async fn adopt(
    store: &Store,
    ledger: &Ledger,
    view: &ViewName,
    header: &EpochHeader,
    ids: &[FileId],
) -> Result<BTreeSet<String>, ParquetSinkError> {
    let mut present = BTreeSet::new();
    let left = ledger.leftovers.get(view).into_iter().flatten().filter(|epoch| **epoch <= header.epoch);
    for epoch in left {
        let name = layout::file(view, *epoch);
        match identity(store, view, *epoch).await? {
            Some(found) if ids.contains(&found) => present.insert(name),
            _ => {
                let (path, view, epoch) = (store.path(&name), view.clone(), *epoch);
                return Err(ParquetSinkError::OtherHistory { path, view, epoch });
            }
        };
    }
    Ok(present)
}

/// Removes the files of views that get a new content; false when another writer was there first.
async fn clear(
    store: &Store,
    ledger: &mut Ledger,
    views: &[ViewInfo],
    header: &EpochHeader,
    ids: &[FileId],
    present: &mut BTreeSet<String>,
) -> Result<bool, ParquetSinkError> {
    let mut doomed = Vec::new();
    let mut manifest = ledger.manifest.clone();
    for view in views {
        let Some(new) = ids.iter().find(|id| id.view == view.name && id.kind == Kind::Content) else { continue };
        ledger.leftovers.remove(&view.name);
        let before = doomed.len();
        for name in store.list(&layout::folder(&view.name), None).await? {
            let foreign =
                || ParquetSinkError::Foreign { path: store.path(&format!("{}/{name}", layout::folder(&view.name))) };
            let epoch = match layout::entry(&name) {
                layout::Entry::Epoch(epoch) => epoch,
                layout::Entry::Foreign => return Err(foreign()),
                layout::Entry::Other => continue,
            };
            match identity(store, &view.name, epoch).await? {
                None => return Err(foreign()),
                Some(found) if found == *new => drop(present.insert(found.name())),
                Some(found) => doomed.push(found.name()),
            }
        }
        if doomed.len() > before {
            doomed[before..].reverse();
            if !manifest.views.contains_key(&view.name) {
                manifest.advance(view, header, None)?;
            }
            let entry = manifest.views.get_mut(&view.name).expect("the entry is there or was made above");
            entry.state = State::Replacing;
        }
    }
    if !doomed.is_empty() && manifest != ledger.manifest && !ledger.write(store, manifest).await? {
        return Ok(false);
    }
    for name in doomed {
        store.remove(&name).await?;
    }
    Ok(true)
}

/// What the metadata of a file says it is; `None` for a file that we did not write.
async fn identity(store: &Store, view: &ViewName, epoch: Epoch) -> Result<Option<FileId>, ParquetSinkError> {
    let name = layout::file(view, epoch);
    let mut file = store.open(&name).await?;
    let metadata =
        file.get_metadata(None).await.map_err(|error| ParquetSinkError::damaged(&store.path(&name), error))?;
    let pairs = metadata.file_metadata().key_value_metadata();
    let value = |key: &str| pairs.into_iter().flatten().find(|p| p.key == key).and_then(|pair| pair.value.as_deref());
    let kind = if value(KEY_RESET).is_some() { Kind::Content } else { Kind::Changes };
    let hash: Option<EpochHash> = value(KEY_HASH).and_then(|hash| hash.parse().ok());
    Ok(hash.map(|hash| FileId { view: view.clone(), epoch, hash, kind }))
}

/// The epochs of a view that have files, those after `after` if given.
pub(crate) async fn epochs_after(
    store: &Store,
    view: &ViewName,
    after: Option<Epoch>,
) -> Result<BTreeSet<Epoch>, ParquetSinkError> {
    let folder = layout::folder(view);
    let after = after.map(|epoch| layout::file(view, epoch)[folder.len() + 1..].to_owned());
    let names = store.list(&folder, after.as_deref()).await?;
    let epoch = |name: &String| match layout::entry(name) {
        layout::Entry::Epoch(epoch) => Some(epoch),
        _ => None,
    };
    Ok(names.iter().filter_map(epoch).collect())
}

/// Refuses views that the files cannot hold as they are.
fn check_view(view: &ViewInfo) -> Result<(), ParquetSinkError> {
    manifest::columns(view)?;
    let own = [columns::CHANGE_TYPE, columns::COMMIT_VERSION, columns::COMMIT_TIMESTAMP];
    let taken = view.schema.fields().iter().find(|f| own.iter().any(|own| f.name().eq_ignore_ascii_case(own)));
    match taken {
        Some(field) => Err(ParquetSinkError::Unsupported {
            view: view.name.clone(),
            fact: format!("its column {} is one that the sink adds: rename the column", field.name()),
        }),
        None => Ok(()),
    }
}
