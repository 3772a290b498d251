//! One transaction: the staged changes and the streamed contents into the tables, with the epochs.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_core::{CommitOutcome, Committed, Epoch, EpochHeader, Micros, ViewInfo, ViewName, failpoint};
use tidegate_duck::Access;

use crate::error::DuckdbSinkError;
use crate::feed::Feed;
use crate::files::Files;
use crate::history::{self, Past};
use crate::known::Left;
use crate::mart::{EPOCHS, Mart};
use crate::stage::{Stage, Staged};
use crate::target::Target;

/// Commits after which the table of epochs is looked at for rows that nobody needs.
const PRUNE_COMMITS: u64 = 200;

/// What happens to a view's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Changes come to what it holds.
    Changes,
    /// It is made anew.
    Replace,
}

/// A view of the commit.
pub(crate) struct Part {
    pub(crate) view: ViewInfo,
    pub(crate) content: Content,
}

/// Where a view's rows are.
pub(crate) enum Content {
    /// Changes, in the stage's table of the same index.
    Staged(Staged),
    /// The whole content, on its way.
    Fed(Feed),
}

impl Part {
    pub(crate) fn mode(&self) -> Mode {
        match self.content {
            Content::Staged(_) => Mode::Changes,
            Content::Fed(_) => Mode::Replace,
        }
    }

    /// Rows written and removed.
    fn rows(&self) -> u64 {
        match &self.content {
            Content::Staged(staged) => staged.rows,
            Content::Fed(feed) => feed.rows(),
        }
    }
}

/// Which views stand elsewhere than the range begins.
pub(crate) fn conflict<'v>(
    mart: &Mart<'_>,
    views: impl IntoIterator<Item = (&'v ViewName, Mode)>,
    after: Epoch,
) -> Result<Option<(ViewName, Option<Committed>)>, DuckdbSinkError> {
    let changed: Vec<&ViewName> =
        views.into_iter().filter(|(_, mode)| *mode == Mode::Changes).map(|(view, _)| view).collect();
    let committed = mart.committed(changed)?;
    Ok(committed.into_iter().find(|(_, found)| found.map_or(Epoch::ZERO, |found| found.epoch) != after))
}

/// A range of epochs on its way into the file.
pub(crate) struct Range {
    pub(crate) after: Epoch,
    pub(crate) header: EpochHeader,
    pub(crate) at: Micros,
}

/// Brings the range into the working file, and what it holds to the readers. A file that is not
/// there is made under another name first: a database that was being made when the disk was full,
/// or the process died, is none, and nobody waits for the file while its first content comes in.
pub(crate) fn apply(
    stage: &mut Stage,
    files: &Files,
    parts: &[Part],
    range: &Range,
) -> Result<CommitOutcome, DuckdbSinkError> {
    let _turn = files.turn()?;
    let working = files.working();
    let outcome = if working.exists() {
        transact(stage, &working, &working, parts, range)?
    } else {
        files.discard_unfinished()?;
        let made = transact(stage, &files.unfinished(), &working, parts, range);
        if !matches!(made, Ok(CommitOutcome::Committed { .. })) {
            // It is in nobody's way, and the next attempt removes it too.
            let _ = files.discard_unfinished();
        }
        let outcome = made?;
        if matches!(outcome, CommitOutcome::Committed { .. }) {
            files.finish()?;
        }
        outcome
    };
    if matches!(outcome, CommitOutcome::Committed { .. }) {
        failpoint::hit("sink.duckdb.committed");
        files.publish()?;
    }
    Ok(outcome)
}

/// The transaction, in `database`; `file` is what it is called in errors.
fn transact(
    stage: &mut Stage,
    database: &Path,
    file: &Path,
    parts: &[Part],
    range: &Range,
) -> Result<CommitOutcome, DuckdbSinkError> {
    let left = stage.left.take();
    let mut mart = Mart::attach(&stage.duck, database, file, Access::ReadWrite, left)?;
    if let Some((view, found)) = conflict(&mart, parts.iter().map(|p| (&p.view.name, p.mode())), range.after)? {
        return Ok(CommitOutcome::Conflict { view, found });
    }
    mart.execute("BEGIN")?;
    mart.create_epochs()?;
    let mut moments = BTreeMap::new();
    let is_pruning = stage.commits().is_multiple_of(PRUNE_COMMITS);
    for (index, part) in parts.iter().enumerate() {
        let course = history::course(&mut mart, part, range)?;
        let target = Target::new(&mart, &part.view, &range.header, index);
        let mut recent = None;
        match course {
            None => target.write(&part.content, range.after)?,
            Some(course) => {
                let written = Past::new(&target).write(course, &part.content, range.after)?;
                moments.extend(written.moments);
                if is_pruning {
                    Past::new(&target).prune()?;
                } else {
                    recent = written.recent;
                }
            }
        }
        mart.known.note_recent(&part.view.name, recent);
        mart.note_epoch(&part.view.name, &range.header, range.at)?;
        if is_pruning {
            mart.prune_epochs(&part.view.name)?;
        }
    }
    mart.note_times(&moments)?;
    failpoint::hit("sink.duckdb.before_commit");
    mart.commit()?;
    let mut known = mart.take_known();
    known.tables.insert(EPOCHS.to_owned());
    let committed = Committed { epoch: range.header.epoch, hash: range.header.hash };
    parts.iter().for_each(|part| known.note(&part.view, committed));
    let left = if database == file { Left::by(database, known) } else { None };
    mart.detach()?;
    stage.left = left;
    Ok(CommitOutcome::Committed { rows: parts.iter().map(Part::rows).sum() })
}
