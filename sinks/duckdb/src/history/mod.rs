//! What views were: the rows of each view with `temporal = true` are versions, of which those without an end are the present.
//!
//! Readers see the view `<view>_history`: the view's columns, `valid_from` and `valid_to` (the times of epochs, NULL where
//! the row is still there), `_valid_from_epoch` and `_valid_to_epoch`. It lies over three tables, so that a commit costs
//! what its changes cost, however long the history is:
//!
//! - `_tidegate_open_<view>` has the versions without an end. `<view>` is a SQL view over it: the present rows are stored, and
//!   looked for, once.
//! - `_tidegate_recent_<view>` takes the versions that ended. Nothing is looked for in it by a commit.
//! - `_tidegate_past_<view>` gets them, in the order of the key, whenever they have become many. A key is then found by the
//!   least and greatest values of each block.
//!
//! One table for all versions was measured, with 10 million versions of a million keys (two cores, DuckDB 1.5.5). A commit of
//! 1,000 changes all over the keys took 28 ms without a history. With one table it took 95 ms, the more the longer the
//! history; with an index on its key 400 ms, and 333 instead of 187 MB. A key was found, in a file just opened, within 45 ms
//! without order, 13 ms by an index, and 3 ms where the versions lay in the order of the key.
//!
//! A history that the view left behind begins anew: where commits went by that were not told to it, what was open ends
//! with the last epoch that it holds, and it answers from the present one on.

mod compare;
mod copies;
pub(crate) mod names;
mod objects;
mod standing;
mod write;

use std::collections::BTreeMap;

use tidegate_core::{Committed, Epoch, History, RowIdentity};
use tidegate_duck::history::TIMES;
use tidegate_duck::quote_ident;

use crate::commit::{Content, Mode, Part, Range};
use crate::error::DuckdbSinkError;
use crate::history::names::Names;
pub(crate) use crate::history::standing::Moments;
use crate::history::standing::Since;
use crate::mart::Mart;
use crate::stage::{Staged, column_definitions};
use crate::target::Target;

/// The table of a content that is compared.
const CONTENT: &str = "content";

/// How a history goes on with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// There is none, nor the view: it begins with the first changes.
    Create,
    /// There is none: it begins with the rows after the commit.
    Begin,
    /// It holds what the view held: the changes come to it.
    Follow,
    /// The content is whole, and is compared with what is open.
    Compare,
    /// The view went on without it after this epoch.
    Anew(Epoch),
}

/// How the history of a view goes on; `None` where none is kept. Looked at before the view's table changes.
pub(crate) fn course(mart: &mut Mart<'_>, part: &Part, range: &Range) -> Result<Option<Course>, DuckdbSinkError> {
    let view = &part.view;
    if view.history.is_none() {
        return Ok(None);
    }
    let names = Names::of(&view.name);
    let begins = match part.mode() {
        Mode::Changes if range.after == Epoch::ZERO => Course::Create,
        _ => Course::Begin,
    };
    let Some(held) = mart.history_of(&view.name)? else { return Ok(Some(begins)) };
    let missing: Vec<_> = names.tables().into_iter().filter(|name| !mart.has(name)).collect();
    let altered = |fact: String| {
        let (file, view) = (mart.file.display().to_string(), view.name.clone());
        DuckdbSinkError::HistoryAltered { file, view, fact }
    };
    match missing.as_slice() {
        [] => {}
        // Somebody wanted it to be gone.
        [_, _, _] => return Ok(Some(begins)),
        [name, ..] => {
            let difference = format!("table {name} of its history is missing: drop the others too");
            let (file, view) = (mart.file.display().to_string(), view.name.clone());
            return Err(DuckdbSinkError::Altered { file, view, difference });
        }
    }
    if held.epoch >= range.header.epoch {
        return Err(DuckdbSinkError::HistoryAhead {
            file: mart.file.display().to_string(),
            view: view.name.clone(),
            held: held.epoch.0,
            epoch: range.header.epoch.0,
            tables: [&names.open, &names.recent, &names.past, TIMES].map(quote_ident).join(", "),
        });
    }
    let noted: Option<Committed> = mart.last_noted(&view.name)?;
    if noted.is_some_and(|noted| noted != held) {
        return Ok(Some(Course::Anew(held.epoch)));
    }
    if part.mode() == Mode::Replace || range.after == Epoch::ZERO || noted.is_none() {
        return Ok(Some(Course::Compare));
    }
    if mart.has(view.name.as_str()) {
        // The rows are stored twice, as earlier versions of the program did, and nobody watched the file. Where rows came
        // or went by another hand, the numbers tell it, or a removal that is not found.
        let (rows, open) = (mart.table(view.name.as_str()), mart.table(&names.open));
        let sql = format!("SELECT (SELECT count(*) FROM {rows})::UBIGINT, (SELECT count(*) FROM {open})::UBIGINT");
        let found = mart.counts(&sql, 2)?;
        if found[0] != found[1] {
            return Err(altered(format!("{} rows, and {} open versions", found[0], found[1])));
        }
    }
    Ok(Some(Course::Follow))
}

/// The history of one view.
pub(crate) struct Past<'a> {
    target: &'a Target<'a>,
    names: Names,
}

/// What a commit wrote into a history.
pub(crate) struct Written {
    /// The epochs that opened or closed a version.
    pub(crate) moments: BTreeMap<Epoch, Moments>,
    /// How many versions ended lately and are not in order yet, where that was counted.
    pub(crate) recent: Option<u64>,
}

impl<'a> Past<'a> {
    /// Of the view of a target.
    pub(crate) fn new(target: &'a Target<'a>) -> Past<'a> {
        Past { target, names: Names::of(&target.view.name) }
    }

    /// Brings the view and its history to the end of the range, which begins after the epoch `after`.
    pub(crate) fn write(&self, course: Course, content: &Content, after: Epoch) -> Result<Written, DuckdbSinkError> {
        let (mart, header) = (self.target.mart, self.target.header);
        let mut moments: BTreeMap<_, _> = [(header.epoch, (header.time, header.latest_commit))].into();
        let mut since = Since::At(header.epoch, header.time);
        let mut recent = None;
        match course {
            Course::Create => {
                let staged = self.staged(content)?;
                if let Some((first, (time, _))) = staged.moments.first_key_value() {
                    since = Since::At(*first, *time);
                    moments.clone_from(&staged.moments);
                }
                self.target.make_room()?;
                self.begin()?;
                self.show()?;
                recent = self.follow(staged)?;
            }
            Course::Begin => {
                self.receive(content, after, || self.begin())?;
            }
            Course::Anew(held) => {
                self.receive(content, after, || {
                    let moment = self.after_all()?;
                    self.close_all(&moment, held.next())?;
                    if self.has_columns()? { Ok(()) } else { self.renew(held.next()) }
                })?;
            }
            Course::Compare if !self.has_columns()? => {
                self.receive(content, after, || {
                    self.close_all(&self.now(), header.epoch)?;
                    self.renew(header.epoch)
                })?;
            }
            Course::Compare => {
                since = Since::Kept;
                recent = self.compare(content)?;
            }
            Course::Follow => {
                let is_known = mart.known.has_columns_of(self.target.view);
                since = if is_known { Since::Same } else { Since::Kept };
                if !is_known && !self.has_columns()? {
                    return Err(self.altered("its columns are not the view's".to_owned()));
                }
                if !mart.is_shown(&self.target.view.name) {
                    self.target.drop_present()?;
                    self.show()?;
                }
                let staged = self.staged(content)?;
                recent = self.follow(staged)?;
                moments.clone_from(&staged.moments);
            }
        }
        mart.note_history(self.target.view, header, since)?;
        Ok(Written { moments, recent })
    }

    /// Opens a version for each row that the view has after the range. `prepare` makes the table of open versions
    /// ready, and empty.
    fn receive(
        &self,
        content: &Content,
        after: Epoch,
        prepare: impl FnOnce() -> Result<(), DuckdbSinkError>,
    ) -> Result<(), DuckdbSinkError> {
        match content {
            Content::Fed(feed) => {
                self.target.discard()?;
                prepare()?;
                let bounds = format!(", {}, {}", self.now(), self.target.header.epoch);
                self.target.elsewhere(&self.open()).fill(feed, &bounds)?;
            }
            Content::Staged(_) => {
                if self.target.mart.is_shown(&self.target.view.name) {
                    return Err(self.altered("it holds another epoch than the view".to_owned()));
                }
                // A table, as long as no history was kept.
                self.target.write(content, after)?;
                prepare()?;
                self.open_all()?;
                self.target.mart.execute(&format!("DROP TABLE {}", self.target.table()))?;
            }
        }
        self.show()
    }

    /// Makes the tables of a history that begins.
    fn begin(&self) -> Result<(), DuckdbSinkError> {
        self.target.mart.create_standings()?;
        self.drop_own()?;
        self.create()
    }

    /// Puts aside what is kept under other columns, all of which has ended, and makes new tables.
    fn renew(&self, epoch: Epoch) -> Result<(), DuckdbSinkError> {
        self.set_aside(epoch.0)?;
        self.create()
    }

    /// Brings in the changes. Answers how many versions ended lately, where that is known.
    fn follow(&self, staged: &Staged) -> Result<Option<u64>, DuckdbSinkError> {
        let ended = match &self.target.view.identity {
            _ if staged.rows == 0 => 0,
            RowIdentity::Key(key) => self.follow_key(key, staged)?,
            RowIdentity::Rowid | RowIdentity::WholeRow => {
                self.follow_rows(staged)?;
                0
            }
        };
        self.settle(ended)
    }

    fn staged<'c>(&self, content: &'c Content) -> Result<&'c Staged, DuckdbSinkError> {
        match content {
            Content::Staged(staged) => Ok(staged),
            Content::Fed(_) => Err(DuckdbSinkError::Contract {
                view: self.target.view.name.clone(),
                fact: "changes without a stage".to_owned(),
            }),
        }
    }

    /// The view and the macros of a history whose tables are gone, if they are ours.
    fn drop_own(&self) -> Result<(), DuckdbSinkError> {
        if self
            .target
            .mart
            .known
            .histories
            .as_ref()
            .is_some_and(|known| known.contains_key(&self.target.view.name.as_str().to_lowercase()))
        {
            self.drop_readers()?;
        }
        Ok(())
    }

    /// Whether the tables have the view's columns.
    fn has_columns(&self) -> Result<bool, DuckdbSinkError> {
        let mart = self.target.mart;
        self.create_content()?;
        let view = mart.columns(CONTENT)?;
        for (name, bounds) in self.names.tables().into_iter().zip([2, 4, 4]) {
            let mut found = mart.columns(&mart.table(name))?;
            let taken = found.split_off(found.len().saturating_sub(bounds));
            if found != view || !taken.iter().all(|(name, _)| History::COLUMNS.contains(&name.as_str())) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes an empty table with the view's columns, that lasts as long as the stage.
    fn create_content(&self) -> Result<(), DuckdbSinkError> {
        let columns = column_definitions(self.target.file, self.target.view)?;
        self.target.mart.execute(&format!("CREATE OR REPLACE TEMP TABLE {CONTENT} ({columns})"))
    }

    fn altered(&self, fact: String) -> DuckdbSinkError {
        let (file, view) = (self.target.file.display().to_string(), self.target.view.name.clone());
        DuckdbSinkError::HistoryAltered { file, view, fact }
    }
}
