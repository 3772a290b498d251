//! The part of a commit that concerns a history: kept for the case that it must be applied again to another version.

use std::collections::BTreeMap;

use tidegate_core::Epoch;

use super::content::{self, Content, Fate};
use super::course::Course;
use super::events::Moment;
use super::follow::{Changes, Written, follow};
use super::standing::Standing;
use crate::config::DeltaConfig;
use crate::error::DeltaSinkError;
use crate::rewrite::{Rewrite, Setting};
use crate::table::{Metadata, Table};

/// The properties that say since when a history answers: the epoch, and its time.
const SINCE_EPOCH: &str = "tidegate.history.since_epoch";
const SINCE: &str = "tidegate.history.since";

/// What becomes of a history with a commit.
pub(crate) struct Turn {
    pub(super) course: Course,
    pub(super) at: Moment,
    pub(crate) standing: Standing,
    /// Since when it answers, if that is another moment than before.
    pub(crate) since: Option<Moment>,
    pub(super) source: Source,
    /// Whether the table gets its columns with it.
    pub(crate) is_new: bool,
    /// The versions afterwards.
    pub(crate) rows: u64,
    /// How many began, and how many ended.
    pub(crate) counts: [u64; 2],
}

pub(super) enum Source {
    Changes(Changes),
    Content(Content),
}

impl Turn {
    /// Writes the files that take the table to the end of the range.
    pub(crate) async fn write(
        &mut self,
        setting: Setting<'_>,
        config: &DeltaConfig,
        table: Option<&mut Table>,
    ) -> Result<Rewrite, DeltaSinkError> {
        let none = BTreeMap::new();
        let is_fresh = self.is_new || matches!(self.course, Course::Make | Course::Begin);
        let (mut files, mut rows, mut removed) = (&none, 0, Vec::new());
        if let Some(table) = table {
            if is_fresh {
                removed = table.files.keys().cloned().collect();
            } else {
                table.index(setting.shape);
                (files, rows) = (&table.files, table.rows.unwrap_or(0));
            }
        }
        let mut written: Written = match &self.source {
            Source::Changes(changes) => follow(setting, files, changes).await?,
            Source::Content(content) => {
                let fate = match self.course {
                    Course::Compare => Fate::Compared,
                    Course::Anew(end) => Fate::Ended(end),
                    _ => Fate::Dropped,
                };
                content::write(setting, config, files, fate, content, self.at).await?
            }
        };
        let after = rows.checked_add_signed(written.growth);
        let Some(after) = after else {
            setting.store.discard(written.files.paths()).await;
            return Err(DeltaSinkError::contract(&setting.shape.view.name, "more versions go than there are"));
        };
        (self.rows, self.counts) = (after, written.counts);
        written.files.removed.extend(removed);
        Ok(written.files)
    }
}

/// Notes since when a history answers, if that is another moment than before.
pub(crate) fn note_since(metadata: &mut Metadata, since: Option<Moment>) {
    if let Some((epoch, time)) = since {
        metadata.configuration.insert(SINCE_EPOCH.to_owned(), epoch.to_string());
        metadata.configuration.insert(SINCE.to_owned(), time.to_string());
    }
}

/// The first epoch that a history answers for.
pub(crate) fn since_of(table: &Table) -> Option<Epoch> {
    table.metadata.configuration.get(SINCE_EPOCH).and_then(|epoch| epoch.parse().ok()).map(Epoch)
}
