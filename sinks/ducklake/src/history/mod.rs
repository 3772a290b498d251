//! What views were: for each view with `temporal = true` a history beside its table, written in the same transaction
//! and so the same snapshot.
//!
//! Readers see the view `<view>_history`: the view's columns, `valid_from` and `valid_to` (the times of epochs, NULL where
//! the row is still there), `_valid_from_epoch` and `_valid_to_epoch`. It lies over two tables, so that a commit costs what
//! its changes cost: `_tidegate_open_<view>` has the versions without an end, as many as the view has rows, and
//! `_tidegate_past_<view>` those that ended, to which rows only come.
//!
//! A history that the view left behind begins anew: where commits went by that were not told to it, what was open ends
//! with the last epoch that it holds, and it answers from the present one on.

pub(crate) mod names;
mod objects;
pub(crate) mod standing;
mod write;

use std::collections::BTreeMap;

use tidegate_core::{Epoch, History, Micros, RowIdentity, ViewName};
use tidegate_duck::history::TIMES;
use tidegate_duck::quote_ident;

use crate::commit::{Care, Mode, Part, Range};
use crate::epochs::Epochs;
use crate::error::DucklakeSinkError;
use crate::history::names::Names;
use crate::history::standing::{Since, Standings};
use crate::lake::{Lake, Survey};
use crate::target::Target;

/// The moments of an epoch: its time, and the latest source commit up to it.
pub(crate) type Moments = (Micros, Option<Micros>);

/// How a history goes on with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// There is none, nor a table of the view: it begins with the first changes.
    Create,
    /// There is none: it begins with the rows after the commit.
    Begin,
    /// It holds what the view's table held: the changes come to it.
    Follow,
    /// The content is whole, and is compared with what is open.
    Compare,
    /// The view went on without it after this epoch.
    Anew(Epoch),
}

/// How the history of a view goes on; `None` where none is kept. Looked at before the view's table changes.
pub(crate) fn course(
    lake: &Lake<'_>,
    survey: &Survey,
    epochs: &Epochs,
    standings: &Standings,
    part: &Part,
    range: &Range,
) -> Result<Option<Course>, DucklakeSinkError> {
    let view = &part.view;
    if view.history.is_none() {
        return Ok(None);
    }
    let names = Names::of(&view.name);
    let begins = match part.mode {
        Mode::Changes if range.after == Epoch::ZERO => Course::Create,
        _ => Course::Begin,
    };
    let Some(held) = standings.of(&view.name) else { return Ok(Some(begins)) };
    let missing: Vec<_> = names.tables().into_iter().filter(|name| survey.relation(name).is_none()).collect();
    match missing.as_slice() {
        [] => {}
        // Somebody wanted it to be gone.
        [_, _] => return Ok(Some(begins)),
        [name, ..] => {
            let difference = format!("table {name} of its history is missing: drop the other one too");
            let (lake, view) = (lake.place.shown.clone(), view.name.clone());
            return Err(DucklakeSinkError::Altered { lake, view, difference });
        }
    }
    if held.epoch >= range.header.epoch {
        return Err(DucklakeSinkError::HistoryAhead {
            lake: lake.place.shown.clone(),
            view: view.name.clone(),
            held: held.epoch.0,
            epoch: range.header.epoch.0,
            tables: [&names.open, &names.past, TIMES].map(quote_ident).join(", "),
        });
    }
    let noted = epochs.noted(&view.name);
    if noted.as_ref().is_some_and(|noted| *noted != (held.epoch.0, held.hash.to_string())) {
        return Ok(Some(Course::Anew(held.epoch)));
    }
    if part.mode == Mode::Replace || range.after == Epoch::ZERO || noted.is_none() {
        return Ok(Some(Course::Compare));
    }
    if range.care == Care::Thorough {
        // Where rows came or went by another hand, the numbers tell it, or a removal that is not found.
        let count = |name: &str| lake.count(&format!("SELECT count(*) FROM {}", lake.table(name)));
        let (rows, open) = (count(view.name.as_str())?, count(&names.open)?);
        if rows != open {
            return Err(altered(lake, &view.name, format!("{rows} rows, and {open} open versions")));
        }
    }
    Ok(Some(Course::Follow))
}

fn altered(lake: &Lake<'_>, view: &ViewName, fact: String) -> DucklakeSinkError {
    DucklakeSinkError::HistoryAltered { lake: lake.place.shown.clone(), view: view.clone(), fact }
}

/// The history of one view.
pub(crate) struct Past<'a> {
    target: &'a Target<'a>,
    standings: &'a Standings,
    names: Names,
}

impl<'a> Past<'a> {
    /// Beside the table of a view.
    pub(crate) fn new(target: &'a Target<'a>, standings: &'a Standings) -> Past<'a> {
        Past { target, standings, names: Names::of(&target.view.name) }
    }

    /// Brings the history to the end of the range, after the view's table. Answers the epochs that opened or closed
    /// a version.
    pub(crate) fn write(&self, course: Course, part: &Part) -> Result<BTreeMap<Epoch, Moments>, DucklakeSinkError> {
        let (lake, header) = (self.target.lake, self.target.header);
        let here: BTreeMap<_, _> = [(header.epoch, (header.time, header.latest_commit))].into();
        let mut since = Since::At(header.epoch, header.time);
        let moments = match course {
            Course::Create => {
                if let Some((first, (time, _))) = part.moments.first_key_value() {
                    since = Since::At(*first, *time);
                }
                self.begin()?;
                self.follow(part)?;
                if part.moments.is_empty() { here } else { part.moments.clone() }
            }
            Course::Begin => {
                self.begin()?;
                self.open_all()?;
                here
            }
            Course::Anew(held) => {
                let moment = self.after_all()?;
                self.close_all(&moment, held.next())?;
                if !self.has_columns()? {
                    self.set_aside(held.next().0)?;
                    self.create()?;
                }
                self.open_all()?;
                here
            }
            Course::Compare if !self.has_columns()? => {
                self.close_all(&self.now(), header.epoch)?;
                self.set_aside(header.epoch.0)?;
                self.create()?;
                self.open_all()?;
                here
            }
            Course::Compare => {
                since = Since::Kept;
                self.compare()?;
                here
            }
            Course::Follow => {
                since = Since::Kept;
                if !self.has_columns()? {
                    return Err(altered(lake, &self.target.view.name, "its columns are not the view's".to_owned()));
                }
                self.follow(part)?;
                part.moments.clone()
            }
        };
        standing::note(lake, self.target.view, header, since)?;
        Ok(moments)
    }

    /// Makes what there is not.
    fn begin(&self) -> Result<(), DucklakeSinkError> {
        objects::create_shared(self.target.lake)?;
        // The tables are gone: what read them is in the way.
        if self.standings.of(&self.target.view.name).is_some() {
            self.drop_readers()?;
        }
        self.create()
    }

    /// Brings in the changes.
    fn follow(&self, part: &Part) -> Result<(), DucklakeSinkError> {
        if part.moments.is_empty() {
            return Ok(());
        }
        self.epochs(&part.moments)?;
        match &self.target.view.identity {
            RowIdentity::Key(key) => self.follow_key(key),
            RowIdentity::Rowid | RowIdentity::WholeRow => self.follow_rows(&part.moments),
        }
    }

    /// Whether the tables have the columns of the view's table, which are known to be the view's.
    fn has_columns(&self) -> Result<bool, DucklakeSinkError> {
        let lake = self.target.lake;
        let columns = |table: &str| {
            let described = lake.duck.describe_columns(&format!("FROM {}", lake.table(table)));
            let described = described.map_err(|error| lake.error("reading", error))?;
            Ok::<_, DucklakeSinkError>(
                described.into_iter().map(|(name, of_type, _)| (name, of_type)).collect::<Vec<_>>(),
            )
        };
        let view = columns(self.target.view.name.as_str())?;
        for (name, bounds) in self.names.tables().into_iter().zip([2, 4]) {
            let mut found = columns(name)?;
            let taken = found.split_off(found.len().saturating_sub(bounds));
            if found != view || !taken.iter().all(|(name, _)| History::COLUMNS.contains(&name.as_str())) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
