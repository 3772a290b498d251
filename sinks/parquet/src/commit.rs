//! A commit of deltas: the files are staged, made visible in the order of their epochs, and then the
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
use std::sync::Arc;

use tidegate_core::{
    Commit, CommitOutcome, Committed, Epoch, EpochHeader, Micros, ViewCommit, ViewContent, ViewInfo, ViewName,
    failpoint,
};

use crate::config::{ContentOptions, FileOptions};
use crate::encode::{Kind, Label};
use crate::error::ParquetSinkError;
use crate::layout::{Entry, Span};
use crate::manifest::{self, Manifest, State};
use crate::order::RowOrder;
use crate::sort::Key;
use crate::stage::{FileId, StagedFile, ViewStage};
use crate::store::{Published, Replaced, Store, Version};
use crate::{columns, layout, snapshot, views_sql};

/// What belongs to a sink whatever it does.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) store: &'a Store,
    /// The sink's name.
    pub(crate) sink: &'a str,
    pub(crate) pipeline: Option<&'a str>,
    pub(crate) files: &'a FileOptions,
}

/// What the sink knows about its target between calls.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) manifest: Manifest,
    pub(crate) version: Option<Version>,
    /// Files that are ahead of the manifest.
    leftovers: BTreeMap<ViewName, BTreeSet<Epoch>>,
    /// The times of the last epochs in files, by name.
    times: BTreeMap<String, Micros>,
    /// The first rows of snapshot files, by name.
    pub(crate) first_rows: BTreeMap<String, Key>,
}

impl Ledger {
    /// Reads what the target holds of some views.
    pub(crate) async fn load(
        store: &Store,
        views: &[ViewInfo],
        content: &ContentOptions,
    ) -> Result<Ledger, ParquetSinkError> {
        store.check().await?;
        views.iter().try_for_each(check_view)?;
        let (mut manifest, version) = Manifest::load(store).await?;
        let mode = content.mode();
        match version {
            Some(_) if manifest.mode != mode => {
                return Err(ParquetSinkError::OtherMode { path: store.path("").trim_end_matches('/').to_owned() });
            }
            _ => manifest.mode = mode,
        }
        if let ContentOptions::Snapshot(options) = content {
            snapshot::disbelieve(store, &mut manifest, views, options).await?;
            return Ok(Ledger::new(manifest, version, BTreeMap::new()));
        }
        let mut leftovers = BTreeMap::new();
        for ViewInfo { name, .. } in views {
            // A view whose first file somebody removed is not held any more.
            if let Some(entry) = manifest.views.get_mut(name)
                && !has_first_file(store, name, entry.since).await?
            {
                entry.state = State::Replacing;
            }
            let after = manifest.committed(name).map(|committed| committed.epoch);
            leftovers.insert(name.clone(), epochs_after(store, name, after).await?);
        }
        Ok(Ledger::new(manifest, version, leftovers))
    }

    fn new(manifest: Manifest, version: Option<Version>, leftovers: BTreeMap<ViewName, BTreeSet<Epoch>>) -> Ledger {
        Ledger { manifest, version, leftovers, times: BTreeMap::new(), first_rows: BTreeMap::new() }
    }

    /// The time of the last epoch in a file.
    pub(crate) async fn time(
        &mut self,
        store: &Store,
        view: &ViewName,
        span: Span,
    ) -> Result<Micros, ParquetSinkError> {
        let name = span.file(view);
        if let Some(time) = self.times.get(&name) {
            return Ok(*time);
        }
        let label = label(store, &name).await?.ok_or_else(|| ParquetSinkError::Foreign { path: store.path(&name) })?;
        self.times.insert(name, label.header.time);
        Ok(label.header.time)
    }

    /// Whether nothing has ever been committed.
    pub(crate) fn is_new(&self) -> bool {
        self.version.is_none()
    }

    /// Whether nobody else has committed since this was read.
    pub(crate) async fn is_current(&self, store: &Store) -> Result<bool, ParquetSinkError> {
        let (_, version) = Manifest::load(store).await?;
        Ok(version == self.version)
    }

    /// Writes a changed manifest; false when another writer was there first.
    pub(crate) async fn write(&mut self, store: &Store, manifest: Manifest) -> Result<bool, ParquetSinkError> {
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
    target: Target<'_>,
    ledger: &mut Ledger,
    commit: Commit,
) -> Result<CommitOutcome, ParquetSinkError> {
    if let Some(conflict) = check(target.store, ledger, &commit)? {
        return Ok(conflict);
    }
    let Commit { after, header, views } = commit;
    let store = target.store;
    store.prepare().await?;
    let mut files = Vec::new();
    let infos: Vec<_> = views.iter().map(|part| part.view.clone()).collect();
    let outcome = match stage(target, ledger, views, after, &header, &mut files).await {
        Ok(()) => publish(target, ledger, &infos, &header, &mut files).await,
        Err(error) => Err(error),
    };
    for file in files {
        store.discard(file.staged).await;
    }
    outcome
}

/// Refuses what cannot follow what the target holds; answers the conflict where it holds something else.
pub(crate) fn check(
    store: &Store,
    ledger: &Ledger,
    commit: &Commit,
) -> Result<Option<CommitOutcome>, ParquetSinkError> {
    for ViewCommit { view, content } in &commit.views {
        check_view(view)?;
        let found = ledger.manifest.committed(&view.name);
        let is_changes = matches!(content, ViewContent::Changes(_));
        if is_changes && found.map_or(Epoch::ZERO, |found| found.epoch) != commit.after {
            return Ok(Some(CommitOutcome::Conflict { view: view.name.clone(), found }));
        }
        if is_changes && found.is_some() && ledger.manifest.views[&view.name].columns != manifest::columns(view)? {
            return Err(ParquetSinkError::OtherColumns { path: store.path(&layout::folder(&view.name)) });
        }
    }
    Ok(None)
}

async fn stage(
    target: Target<'_>,
    ledger: &Ledger,
    views: Vec<ViewCommit>,
    after: Epoch,
    header: &EpochHeader,
    files: &mut Vec<StagedFile>,
) -> Result<(), ParquetSinkError> {
    let Target { store, pipeline, files: options, .. } = target;
    for ViewCommit { view, content } in views {
        let before = files.len();
        let is_new = ledger.manifest.committed(&view.name).is_none();
        let (kind, stream) = match content {
            ViewContent::Changes(stream) => (Kind::Changes, stream),
            ViewContent::Replace(stream) => (Kind::Content, stream),
        };
        // The whole content stands for the last epoch alone.
        let after = if kind == Kind::Content { Epoch(header.epoch.0.saturating_sub(1)) } else { after };
        let order = Arc::new(row_order(&view)?);
        let stage = ViewStage { store, view: &view, kind, after, last: header, pipeline, order, options };
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
    target: Target<'_>,
    ledger: &mut Ledger,
    views: &[ViewInfo],
    header: &EpochHeader,
    files: &mut Vec<StagedFile>,
) -> Result<CommitOutcome, ParquetSinkError> {
    let Target { store, pipeline, .. } = target;
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
            let found = identity(store, &id.view, Span::single(id.epoch)).await?;
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
    // Its files are there. What came after the manifest would not be done again if it failed.
    views_sql::update(store, &manifest, target.sink).await?;
    if !ledger.write(store, manifest).await? {
        return Ok(raced(&views[0].name));
    }
    for epochs in ledger.leftovers.values_mut() {
        epochs.retain(|epoch| *epoch > header.epoch);
    }
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
        let name = Span::single(*epoch).file(view);
        match identity(store, view, Span::single(*epoch)).await? {
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
        let mut spans = Vec::new();
        for name in store.list(&layout::folder(&view.name), None).await? {
            let path = store.path(&format!("{}/{name}", layout::folder(&view.name)));
            let span = match layout::entry(&name) {
                Entry::Data(span) => span,
                Entry::Foreign => return Err(ParquetSinkError::Foreign { path }),
                Entry::Other => continue,
            };
            match identity(store, &view.name, span).await? {
                None => return Err(ParquetSinkError::Foreign { path }),
                Some(found) if span.is_single() && found == *new => drop(present.insert(found.name())),
                Some(_) => spans.push(span),
            }
        }
        if !spans.is_empty() {
            // What no reader takes goes first, then the youngest of the others.
            let (counts, covered) = layout::chosen(spans);
            let spans = covered.into_iter().chain(counts.into_iter().rev());
            doomed.extend(spans.map(|span| span.file(&view.name)));
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
        ledger.times.remove(&name);
        store.remove(&name).await?;
    }
    Ok(true)
}

/// What the metadata of a file says it is; `None` for a file that we did not write.
async fn identity(store: &Store, view: &ViewName, span: Span) -> Result<Option<FileId>, ParquetSinkError> {
    let label = label(store, &span.file(view)).await?;
    Ok(label.map(|label| FileId { view: view.clone(), epoch: span.to, hash: label.header.hash, kind: label.kind }))
}

/// What a file says about itself; `None` for a file that we did not write.
pub(crate) async fn label(store: &Store, name: &str) -> Result<Option<Label>, ParquetSinkError> {
    let mut file = store.open(name).await?;
    let metadata = file.get_metadata(None).await;
    Ok(Label::read(&*metadata.map_err(|error| ParquetSinkError::reading(&store.path(name), error))?))
}

/// Whether the view's oldest file, or a merged one with its rows, is there.
async fn has_first_file(store: &Store, view: &ViewName, since: Epoch) -> Result<bool, ParquetSinkError> {
    if store.exists(&Span::single(since).file(view)).await? {
        return Ok(true);
    }
    let names = store.list(&layout::folder(view), None).await?;
    Ok(names.iter().any(|name| match layout::entry(name) {
        Entry::Data(span) => span.from <= since && since <= span.to,
        _ => false,
    }))
}

/// How the rows of a view are ordered.
pub(crate) fn row_order(view: &ViewInfo) -> Result<RowOrder, ParquetSinkError> {
    RowOrder::new(view, &[]).map_err(|error| ParquetSinkError::Unsupported {
        view: view.name.clone(),
        fact: format!("{error}: cast the column to another type in the view"),
    })
}

/// The epochs of a view that have files, those after `after` if given.
pub(crate) async fn epochs_after(
    store: &Store,
    view: &ViewName,
    after: Option<Epoch>,
) -> Result<BTreeSet<Epoch>, ParquetSinkError> {
    let folder = layout::folder(view);
    let after = after.map(|epoch| Span::single(epoch).file(view)[folder.len() + 1..].to_owned());
    let names = store.list(&folder, after.as_deref()).await?;
    let epoch = |name: &String| match layout::entry(name) {
        Entry::Data(span) if span.is_single() => Some(span.to),
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
