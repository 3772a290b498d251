//! Small files into larger ones with the same rows, and what nobody reads any more out of the way.
//!
//! A merged file becomes visible under the name of its epochs, and from that moment readers take it
//! instead of the files that it covers; see [`crate::layout::chosen`]. Those stay for a while, so that
//! whoever listed the folder before finds them. When that began is noted in the manifest; where a crash
//! came before the note, it begins anew. So whatever is cut off, every reader sees each row once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tidegate_core::{Micros, ViewInfo, ViewName, failpoint};

use crate::columns;
use crate::commit::{Ledger, Target, label, row_order};
use crate::config::{Compaction, DeltaOptions};
use crate::encode::{Kind, Label};
use crate::error::ParquetSinkError;
use crate::fold;
use crate::layout::{self, Entry, Span, chosen};
use crate::manifest::State;
use crate::merge::{self, Merge, Run};
use crate::order::RowOrder;
use crate::stage::RunWriter;
use crate::store::{Staged, Store};

/// Files up to so many bytes are merged with whatever comes after them.
const TINY_BYTES: u64 = 1 << 20;

/// One round over all views. Stops early when another writer was there.
pub(crate) async fn maintain(
    target: Target<'_>,
    ledger: &mut Ledger,
    views: &[ViewInfo],
    options: &DeltaOptions,
    clock: &(dyn Fn() -> Micros + Send + Sync),
) -> Result<(), ParquetSinkError> {
    target.store.prepare().await?;
    for view in views {
        let is_held = ledger.manifest.views.get(&view.name).is_some_and(|entry| entry.state == State::Complete);
        if !is_held {
            continue;
        }
        if !clean(target, ledger, view, options.grace, clock()).await? {
            return Ok(());
        }
        if !fold_old(target, ledger, view, options, clock).await? {
            return Ok(());
        }
        if options.compaction == Compaction::On && !merge_small(target, ledger, view, options, clock).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Makes a base of what is too old to be kept; false when another writer was there first.
async fn fold_old(
    target: Target<'_>,
    ledger: &mut Ledger,
    view: &ViewInfo,
    options: &DeltaOptions,
    clock: &(dyn Fn() -> Micros + Send + Sync),
) -> Result<bool, ParquetSinkError> {
    let Some(retention) = options.retention else { return Ok(true) };
    let files = committed(target.store, ledger, &view.name).await?;
    let old = fold::foldable(target.store, ledger, &view.name, &files, retention, clock()).await?;
    if old.is_empty() {
        return Ok(true);
    }
    let (span, staged) = fold::fold(target, view, &old).await?;
    put_in_place(target, ledger, view, span, staged, clock).await
}

/// Merges small files as long as there are enough; false when another writer was there first.
async fn merge_small(
    target: Target<'_>,
    ledger: &mut Ledger,
    view: &ViewInfo,
    options: &DeltaOptions,
    clock: &(dyn Fn() -> Micros + Send + Sync),
) -> Result<bool, ParquetSinkError> {
    loop {
        let files = committed(target.store, ledger, &view.name).await?;
        let run = small_files_of_a_time(target.store, ledger, &view.name, &files, options).await?;
        let Some(run) = run else { return Ok(true) };
        let (span, staged) = merged(target, view, &run).await?;
        if !put_in_place(target, ledger, view, span, staged, clock).await? {
            return Ok(false);
        }
    }
}

/// The files of ours in a view's folder, with their bytes.
pub(crate) async fn listed(store: &Store, view: &ViewName) -> Result<BTreeMap<Span, u64>, ParquetSinkError> {
    let sizes = store.sizes(&layout::folder(view)).await?;
    let ours = sizes.into_iter().filter_map(|(name, size)| match layout::entry(&name) {
        Entry::Data(span) => Some((span, size)),
        _ => None,
    });
    Ok(ours.collect())
}

/// The files that readers take, in order, up to what is committed: a file beyond may not come again.
async fn committed(store: &Store, ledger: &Ledger, view: &ViewName) -> Result<Vec<(Span, u64)>, ParquetSinkError> {
    let sizes = listed(store, view).await?;
    let (counts, _) = chosen(sizes.keys().copied());
    let held = ledger.manifest.views[view].epoch;
    Ok(counts.into_iter().filter(|span| span.to <= held).map(|span| (span, sizes[&span])).collect())
}

/// The youngest files that are worth a merge: enough of them, each no larger than what follows it comes
/// to, and together at least twice the largest. So a row is written again only when its file at least
/// doubles, and few files are left.
fn small_files(files: &[(Span, u64)], options: &DeltaOptions) -> Option<Vec<Span>> {
    for end in (options.compaction_files..=files.len()).rev() {
        let (mut start, mut bytes, mut largest) = (end, 0, 0);
        while start > 0 {
            let (span, size) = files[start - 1];
            let follows = start == end || size <= TINY_BYTES.max(bytes);
            if !follows || bytes + size > options.compaction_bytes || span.is_base() {
                break;
            }
            bytes += size;
            largest = size.max(largest);
            start -= 1;
        }
        let doubles = largest <= TINY_BYTES || bytes >= 2 * largest;
        if doubles && end - start >= options.compaction_files {
            return Some(files[start..end].iter().map(|(span, _)| *span).collect());
        }
    }
    None
}

/// The same where changes are kept for some time only: files whose changes are of one tenth of that time
/// are merged, or a file would never be old as a whole.
async fn small_files_of_a_time(
    store: &Store,
    ledger: &mut Ledger,
    view: &ViewName,
    files: &[(Span, u64)],
    options: &DeltaOptions,
) -> Result<Option<Vec<Span>>, ParquetSinkError> {
    let Some(retention) = options.retention else { return Ok(small_files(files, options)) };
    let part = i64::try_from((retention / fold::PART).as_micros()).unwrap_or(i64::MAX).max(1);
    let mut timed = Vec::new();
    for (span, size) in files {
        timed.push((ledger.time(store, view, *span).await?.0.div_euclid(part), *span, *size));
    }
    let groups = timed.chunk_by(|a, b| a.0 == b.0);
    let groups = groups.map(|group| group.iter().map(|(_, span, size)| (*span, *size)).collect::<Vec<_>>());
    Ok(groups.rev().find_map(|group| small_files(&group, options)))
}

/// Writes the rows of consecutive files into one, which is not visible yet.
async fn merged(target: Target<'_>, view: &ViewInfo, files: &[Span]) -> Result<(Span, Staged), ParquetSinkError> {
    let (first, last) = (files[0], files[files.len() - 1]);
    let span = Span { from: first.from, to: last.to };
    let label = merged_label(target.store, view, first, last).await?;
    let order = Arc::new(row_order(view)?);
    let mut merge = open_merge(target.store, view, &order, files).await?;
    let schema = columns::stored_schema(&view.schema);
    let mut writer =
        RunWriter::create(target.store, view, &span.file(&view.name), &schema, target.files, &label).await?;
    let written = async {
        while let Some(rows) = merge.next(None).await? {
            writer.write(rows).await?;
        }
        Ok(())
    };
    match written.await {
        Ok(()) => Ok((span, writer.finish().await?)),
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

/// What a file that takes the place of others says about itself: what the last of them does.
pub(crate) async fn merged_label(
    store: &Store,
    view: &ViewInfo,
    first: Span,
    last: Span,
) -> Result<Label, ParquetSinkError> {
    let read = async |span: Span| {
        let name = span.file(&view.name);
        label(store, &name).await?.ok_or_else(|| ParquetSinkError::Foreign { path: store.path(&name) })
    };
    let kind = if first.is_base() { Kind::Content } else { read(first).await?.kind };
    Ok(Label { kind, ..read(last).await? })
}

/// The rows of some files of a view in order.
pub(crate) async fn open_merge(
    store: &Store,
    view: &ViewInfo,
    order: &Arc<RowOrder>,
    files: &[Span],
) -> Result<Merge, ParquetSinkError> {
    let schema = columns::stored_schema(&view.schema);
    let mut runs: Vec<Run> = Vec::new();
    for span in files {
        runs.extend(merge::runs(store, &span.file(&view.name), &schema).await?.into_iter().map(StreamExt::boxed));
    }
    Merge::new(order.clone(), store.path(&layout::folder(&view.name)), runs).await
}

/// Makes a file visible that takes the place of others, and notes since when; false when another
/// writer was there first.
async fn put_in_place(
    target: Target<'_>,
    ledger: &mut Ledger,
    view: &ViewInfo,
    span: Span,
    staged: Staged,
    clock: &(dyn Fn() -> Micros + Send + Sync),
) -> Result<bool, ParquetSinkError> {
    failpoint::hit("sink.parquet.merged");
    // A file of that name holds the same rows: what is merged is committed, and never changes.
    target.store.publish(staged, &span.file(&view.name)).await?;
    failpoint::hit("sink.parquet.merge_published");
    tracing::debug!(sink = target.sink, view = %view.name, from = span.from.0, to = span.to.0, "files merged");
    let mut manifest = ledger.manifest.clone();
    let entry = manifest.views.get_mut(&view.name).expect("only views that are held are merged");
    entry.merged.insert(span.stem(), clock());
    ledger.write(target.store, manifest).await
}

/// Removes covered files whose time is over; false when another writer was there first.
async fn clean(
    target: Target<'_>,
    ledger: &mut Ledger,
    view: &ViewInfo,
    grace: Duration,
    now: Micros,
) -> Result<bool, ParquetSinkError> {
    let found = listed(target.store, &view.name).await?;
    let (counts, covered) = chosen(found.into_keys());
    let mut manifest = ledger.manifest.clone();
    let entry = manifest.views.get_mut(&view.name).expect("only views that are held are cleaned");
    let noted = std::mem::take(&mut entry.merged);
    let mut removed = false;
    for span in covered {
        let Some(by) = counts.iter().find(|by| by.from <= span.from && span.to <= by.to) else { continue };
        let since = *entry.merged.entry(by.stem()).or_insert(noted.get(&by.stem()).copied().unwrap_or(now));
        if since <= now.before(grace) {
            target.store.remove(&span.file(&view.name)).await?;
            if !removed {
                failpoint::hit("sink.parquet.merge_cleaned");
            }
            removed = true;
        }
    }
    Ok(manifest == ledger.manifest || ledger.write(target.store, manifest).await?)
}

#[cfg(test)]
mod tests {
    use tidegate_core::Epoch;

    use super::*;
    use crate::config::{ContentOptions, Options};

    fn worth(sizes: &[u64]) -> Option<(u64, u64)> {
        let ContentOptions::Deltas(options) = Options::default().content else { panic!("deltas are the default") };
        let options = DeltaOptions { compaction_files: 3, compaction_bytes: 100 << 20, ..options };
        let files: Vec<_> = (1..).map(|epoch| Span::single(Epoch(epoch))).zip(sizes.iter().map(|s| s << 20)).collect();
        small_files(&files, &options).map(|files| (files[0].from.0, files[files.len() - 1].to.0))
    }

    #[test]
    fn files_are_merged_when_they_double() {
        assert_eq!(worth(&[1, 1]), None);
        assert_eq!(worth(&[1, 1, 1]), Some((1, 3)));
        assert_eq!(worth(&[9, 1, 1, 1]), Some((2, 4)));
        assert_eq!(worth(&[3, 1, 1, 1]), Some((1, 4)));
        assert_eq!(worth(&[80, 1, 1, 1, 60, 1]), Some((2, 4)));
        assert_eq!(worth(&[60, 40, 20]), None);
        assert_eq!(worth(&[90, 50, 30]), None);
        assert_eq!(worth(&[20, 20, 20]), Some((1, 3)));
    }
}
