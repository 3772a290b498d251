//! One transaction, and so one snapshot of the lake: the staged deltas of all views into their
//! tables, with the epochs and what the snapshot is about.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidegate_core::{CommitOutcome, Committed, Epoch, EpochHeader, Micros, ViewInfo, ViewName, failpoint};
use tidegate_duck::history::TIMES;
use tidegate_duck::{Access, quote_literal};

use crate::columns::{Column, Inlining, inlining};
use crate::config::Place;
use crate::epochs::{self, EPOCH_ROWS_INLINED, EPOCHS, Epochs};
use crate::error::DucklakeSinkError;
use crate::feed::Feed;
use crate::history::names::{HISTORIES, Names};
use crate::history::standing::{Standings, note_times};
use crate::history::{self, Moments, Past};
use crate::lake::{Inserts, Lake, Survey};
use crate::stage::{Changed, Stage};
use crate::target::Target;

/// What happens to a view's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The staged rows are changes.
    Changes,
    /// The staged rows are the whole content.
    Replace,
}

/// A view of the commit.
pub(crate) struct Part {
    pub(crate) view: ViewInfo,
    pub(crate) columns: Vec<Column>,
    pub(crate) mode: Mode,
    pub(crate) rows: Rows,
    /// The epochs with changes, where the view's past is kept.
    pub(crate) moments: BTreeMap<Epoch, Moments>,
}

/// Where a view's rows are.
pub(crate) enum Rows {
    /// In the stage's table of the same index.
    Staged(Changed),
    /// On their way: a whole content.
    Fed(Feed),
}

impl Part {
    fn changed(&self) -> Changed {
        match &self.rows {
            Rows::Staged(changed) => *changed,
            Rows::Fed(feed) => Changed { inserted: feed.rows(), deleted: 0 },
        }
    }

    /// Whether the part is still as it was before it was applied.
    pub(crate) fn is_repeatable(&self) -> bool {
        match &self.rows {
            Rows::Staged(_) => true,
            Rows::Fed(feed) => !feed.is_touched(),
        }
    }
}

/// The range that is committed.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) after: Epoch,
    pub(crate) header: EpochHeader,
    pub(crate) at: Micros,
    pub(crate) care: Care,
}

/// How closely a commit looks at the histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// The commit before was ours, a moment ago.
    Usual,
    /// Others may have changed something, or it is time to remove what is old.
    Thorough,
}

/// Whether this may have been tried before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Nothing of the range was written.
    First,
    /// An earlier attempt may have got through, its answer lost.
    Again,
}

/// A view that stands elsewhere than the range begins, and where.
pub(crate) type Elsewhere = Option<(ViewName, Option<Committed>)>;

/// Looks whether the views stand where the range begins, before anything is read from the streams.
pub(crate) fn look(
    stage: &Stage,
    place: &Place,
    views: &[(ViewInfo, Mode)],
    after: Epoch,
) -> Result<Elsewhere, DucklakeSinkError> {
    let Some(lake) = Lake::attach(&stage.duck, place, Access::ReadOnly, Inserts::AsUsual)? else {
        let changed = views.iter().find(|(_, mode)| *mode == Mode::Changes && after > Epoch::ZERO);
        return Ok(changed.map(|(view, _)| (view.name.clone(), None)));
    };
    let survey = lake.survey()?;
    let epochs = Epochs::read(&lake, &survey)?;
    elsewhere(&lake, &survey, &epochs, views.iter().map(|(view, mode)| (&view.name, *mode)), after)
}

fn elsewhere<'v>(
    lake: &Lake<'_>,
    survey: &Survey,
    epochs: &Epochs,
    views: impl IntoIterator<Item = (&'v ViewName, Mode)>,
    after: Epoch,
) -> Result<Elsewhere, DucklakeSinkError> {
    for (view, mode) in views {
        let found = epochs.committed(lake, survey, view)?;
        if mode == Mode::Changes && found.map_or(Epoch::ZERO, |found| found.epoch) != after {
            return Ok(Some((view.clone(), found)));
        }
    }
    Ok(None)
}

/// Applies the stage to the lake.
pub(crate) fn apply(
    stage: &Stage,
    place: &Place,
    pipeline: Option<&str>,
    views: &[Part],
    range: &Range,
    attempt: Attempt,
) -> Result<CommitOutcome, DucklakeSinkError> {
    let Some(lake) = attach(stage, place, Inserts::AsUsual)? else { return Err(gone(place)) };
    let mut survey = lake.survey()?;
    let lake = match settle_inlining(&lake, &survey, views)? {
        Inserts::AsUsual => lake,
        Inserts::IntoFiles => {
            drop(lake);
            let Some(lake) = attach(stage, place, Inserts::IntoFiles)? else { return Err(gone(place)) };
            survey = lake.survey()?;
            lake
        }
    };
    lake.execute("BEGIN")?;
    let epochs = Epochs::read(&lake, &survey)?;
    if attempt == Attempt::Again && arrived(&lake, &survey, &epochs, views, &range.header)? {
        return Ok(outcome(views));
    }
    let modes = views.iter().map(|v| (&v.view.name, v.mode));
    if let Some((view, found)) = elsewhere(&lake, &survey, &epochs, modes, range.after)? {
        return Ok(CommitOutcome::Conflict { view, found });
    }
    if !place.schema.eq_ignore_ascii_case("main") {
        lake.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", lake.schema()))?;
    }
    epochs::create(&lake)?;
    // What may have to be repeated comes before what cannot be: rows that are on their way.
    let (mut emptied, mut kept) = (Vec::new(), Vec::new());
    let standings = Standings::read(&lake, &survey)?;
    for (index, part) in views.iter().enumerate() {
        let Part { view, columns, .. } = part;
        let header = &range.header;
        let target = Target { lake: &lake, survey: &survey, epochs: &epochs, view, columns, header, index };
        if let Some(course) = history::course(&lake, &survey, &epochs, &standings, part, range)? {
            kept.push((course, target, part));
        }
        match part.mode {
            Mode::Replace => emptied.push((target.empty()?, target, part)),
            Mode::Changes => {
                // A first commit of changes: the view was empty before.
                if range.after == Epoch::ZERO {
                    target.create()?;
                } else {
                    target.check_columns()?;
                }
                if part.changed().rows() > 0 {
                    target.change()?;
                }
            }
        }
    }
    for (emptied, target, part) in emptied {
        match &part.rows {
            Rows::Staged(_) => target.fill(emptied)?,
            Rows::Fed(feed) => target.fill_from(feed, emptied)?,
        }
    }
    let mut moments = BTreeMap::new();
    for (course, target, part) in kept {
        let past = Past::new(&target, &standings);
        moments.extend(past.write(course, part)?);
        if range.care == Care::Thorough {
            past.prune()?;
        }
    }
    note_times(&lake, &moments, range.care)?;
    epochs::note(&lake, views.iter().map(|part| &part.view.name), &range.header, range.at)?;
    let info = quote_literal(&provenance(pipeline, views, range).to_string());
    let message = quote_literal(&format!("epoch {}", range.header.epoch));
    lake.call("set_commit_message", &format!("'tidegate', {message}, extra_info => {info}"))?;
    failpoint::hit("sink.ducklake.before_commit");
    lake.execute("COMMIT")?;
    failpoint::hit("sink.ducklake.committed");
    Ok(outcome(views))
}

fn attach<'a>(stage: &'a Stage, place: &'a Place, inserts: Inserts) -> Result<Option<Lake<'a>>, DucklakeSinkError> {
    Lake::attach(&stage.duck, place, Access::ReadWrite, inserts)
}

/// A lake that is attached for writing is there.
fn gone(place: &Place) -> DucklakeSinkError {
    DucklakeSinkError::NoDataPath { lake: place.shown.clone() }
}

fn outcome(views: &[Part]) -> CommitOutcome {
    CommitOutcome::Committed { rows: views.iter().map(|part| part.changed().rows()).sum() }
}

/// Whether an earlier attempt of this very range got through.
fn arrived(
    lake: &Lake<'_>,
    survey: &Survey,
    epochs: &Epochs,
    views: &[Part],
    header: &EpochHeader,
) -> Result<bool, DucklakeSinkError> {
    let wanted = Committed { epoch: header.epoch, hash: header.hash };
    for part in views {
        if epochs.committed(lake, survey, &part.view.name)? != Some(wanted) {
            return Ok(false);
        }
    }
    Ok(!views.is_empty())
}

/// Sees to it that rows which the catalog would damage go into files. A table's option can only be set
/// when the table is there, so that one which is about to be made needs an attachment that
/// inlines nothing, and a lake that does not say otherwise.
fn settle_inlining(lake: &Lake<'_>, survey: &Survey, views: &[Part]) -> Result<Inserts, DucklakeSinkError> {
    for table in [EPOCHS, HISTORIES, TIMES] {
        if survey.relation(table).is_some_and(|found| found.inlining.is_none()) {
            lake.set_inlining(table, EPOCH_ROWS_INLINED)?;
        }
    }
    let mut inserts = Inserts::AsUsual;
    for part in views {
        if inlining(&lake.place.catalog, &part.view) == Inlining::Allowed {
            continue;
        }
        let names = Names::of(&part.view.name);
        let past = names.tables().into_iter().filter(|_| part.view.history.is_some());
        let mut comes = part.mode == Mode::Replace;
        for name in [part.view.name.as_str()].into_iter().chain(past) {
            let relation = survey.relation(name);
            comes |= relation.is_none();
            if let Some(found) = relation.filter(|found| found.table.is_some() && found.inlining != Some(0)) {
                lake.set_inlining(&found.name, 0)?;
            }
        }
        if comes {
            if survey.inlining.is_some_and(|rows| rows > 0) {
                return Err(DucklakeSinkError::Unsupported {
                    lake: lake.place.shown.clone(),
                    view: part.view.name.clone(),
                    fact: format!(
                        "the option data_inlining_row_limit of the whole lake or schema is on, and DuckLake damages \
                         nested values, such as those of this view, that it keeps in a catalog of this kind: CALL \
                         lake.set_option('data_inlining_row_limit', 0, schema => {}), or cast the columns to JSON",
                        quote_literal(&lake.place.schema)
                    ),
                });
            }
            inserts = Inserts::IntoFiles;
        }
    }
    Ok(inserts)
}

/// What the snapshot says of itself in `extra_info`.
fn provenance(pipeline: Option<&str>, views: &[Part], range: &Range) -> Value {
    let view = |part: &Part| {
        let about = json!({
            "mode": match part.mode { Mode::Changes => "changes", Mode::Replace => "replace" },
            "inserted": part.changed().inserted,
            "deleted": part.changed().deleted,
        });
        (part.view.name.as_str().to_owned(), about)
    };
    // The frontier is shown as people see it everywhere.
    let frontier = serde_json::from_str(&range.header.frontier.to_string()).unwrap_or(Value::Null);
    json!({
        "pipeline": pipeline,
        "after": range.after.0,
        "epoch": range.header.epoch.0,
        "hash": range.header.hash.to_string(),
        "frontier": frontier,
        "views": views.iter().map(view).collect::<Map<_, _>>(),
    })
}
