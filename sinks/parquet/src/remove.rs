//! Takes away the files of a view that is gone, so that what a stop in between leaves is finished by another call.
//!
//! The manifest first says that the view's files go, as before a replacement: from here on nobody takes the view for held. Then
//! it goes from `views.sql`, then its files, in an order in which a reader of the folder sees no row twice, and at last
//! from the manifest.

use tidegate_core::{Removal, ViewName, failpoint};

use crate::commit::{Target, label};
use crate::error::ParquetSinkError;
use crate::layout::{self, Entry};
use crate::manifest::{Manifest, State};
use crate::snapshot::is_folder;
use crate::store::{Replaced, Store, Version};
use crate::views_sql;

/// How often it is tried while others commit to the same manifest.
const ATTEMPTS_MAX: u32 = 50;

/// Removes a view.
pub(crate) async fn remove(target: Target<'_>, view: &ViewName) -> Result<Removal, ParquetSinkError> {
    let Target { store, sink, .. } = target;
    store.check().await?;
    let files = files(store, view).await?;
    let Some(manifest) = change(store, |manifest| note(manifest, view)).await? else {
        if files.data.is_empty() {
            return Ok(Removal::Nothing);
        }
        // What a first commit left that did not come to its end.
        files.remove(store, view).await?;
        return Ok(Removal::Removed);
    };
    failpoint::hit("remove.parquet.noted");
    views_sql::update(store, &manifest, sink).await?;
    failpoint::hit("remove.parquet.hidden");
    files.remove(store, view).await?;
    failpoint::hit("remove.parquet.files_removed");
    change(store, |manifest| manifest.views.remove(view).map(drop)).await?;
    Ok(Removal::Removed)
}

/// Notes that the files of a view go; `None` where the manifest has no such view.
fn note(manifest: &mut Manifest, view: &ViewName) -> Option<()> {
    manifest.views.get_mut(view)?.state = State::Replacing;
    Some(())
}

/// Changes the manifest as it is now, whoever else writes to it. `None` where there is nothing to change.
async fn change(
    store: &Store,
    edit: impl Fn(&mut Manifest) -> Option<()>,
) -> Result<Option<Manifest>, ParquetSinkError> {
    for _ in 0..ATTEMPTS_MAX {
        let (before, version): (Manifest, Option<Version>) = Manifest::load(store).await?;
        let mut manifest = before.clone();
        if edit(&mut manifest).is_none() {
            return Ok(None);
        }
        if manifest == before {
            return Ok(Some(manifest));
        }
        let replaced = store.replace_small(layout::MANIFEST, manifest.to_json(), version).await?;
        if matches!(replaced, Replaced::Done) {
            return Ok(Some(manifest));
        }
    }
    Err(ParquetSinkError::Contended { path: store.path(layout::MANIFEST) })
}

/// The files of a view, in the order in which they go.
struct Files {
    /// The name of the newest snapshot.
    latest: Option<String>,
    data: Vec<String>,
}

/// Finds the files of a view. A Parquet file of somebody else is an error; files that no reader looks at are nobody's business.
async fn files(store: &Store, view: &ViewName) -> Result<Files, ParquetSinkError> {
    let folder = layout::folder(view);
    let (mut spans, mut parts, mut latest) = (Vec::new(), Vec::new(), None);
    for (name, _) in store.tree(&folder).await? {
        let within = &name[folder.len() + 1..];
        let is_part = within.split_once('/').is_some_and(|(snapshot, _)| is_folder(snapshot));
        if within == layout::LATEST {
            latest = Some(name);
            continue;
        }
        let is_data = name.ends_with(layout::EXTENSION) && (is_part || !within.contains('/'));
        if !is_data {
            continue;
        }
        match layout::entry(within) {
            _ if is_part && label(store, &name).await?.is_some() => parts.push(name),
            Entry::Data(span) if !is_part && label(store, &name).await?.is_some() => spans.push(span),
            _ => return Err(ParquetSinkError::NotOurs { path: store.path(&name), view: view.clone() }),
        }
    }
    // What no reader takes goes first, then the youngest of the others.
    let (counts, covered) = layout::chosen(spans);
    let spans = covered.into_iter().chain(counts.into_iter().rev()).map(|span| span.file(view));
    Ok(Files { latest, data: spans.chain(parts).collect() })
}

impl Files {
    /// Removes them, and the folder if nothing else is in it.
    async fn remove(&self, store: &Store, view: &ViewName) -> Result<(), ParquetSinkError> {
        for name in self.latest.iter().chain(&self.data) {
            store.remove(name).await?;
        }
        store.remove_folders(&layout::folder(view)).await
    }
}
