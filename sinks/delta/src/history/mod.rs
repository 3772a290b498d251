//! What views were: beside the table of a view with `temporal = true` a table `<view>_history` with every version of every
//! row, the view's columns with `valid_from`, `valid_to` and the epochs of both.
//!
//! Two tables cannot be one transaction. The history goes first, and says what the view's table stood at before; so after
//! a stop between the two it is known that it ran ahead. If the same range comes again, it has it already; if another
//! one comes, it is taken back to where the view's table stands. Each table takes a range once, and readers find the old
//! versions or the new ones, never some of both.
//!
//! Open versions, as many as the view has rows, and ended ones lie in files of their own. A commit changes those of the first
//! that hold its rows and adds a small one to the second, so it costs what its changes cost, however long the past is.

pub(crate) mod aside;
pub(crate) mod content;
mod course;
mod cut;
pub(crate) mod events;
mod follow;
pub(crate) mod standing;
mod turn;
pub(crate) mod upkeep;
pub(crate) mod versions;

use serde_json::json;
use tidegate_core::{Committed, Epoch, EpochHeader, History, ViewInfo, ViewName};

use crate::commit::{Scene, Staged};
use crate::error::DeltaSinkError;
use crate::history::content::Content;
use crate::history::course::{Ahead, Back, Course, Mode, course};
use crate::history::follow::{Changes, Written};
use crate::history::standing::{NOTHING, Standing, Step};
pub(crate) use crate::history::turn::Turn;
pub(crate) use crate::history::turn::note_since;
use crate::history::turn::{Source, since_of};
use crate::history::versions::{Spans, name_of, versions_of};
use crate::layout::{self, FileNames};
use crate::log::{AppIds, DataChange, Entry};
use crate::rewrite::Setting;
use crate::schema::Mapping;
use crate::shape::Shape;
use crate::store::{Created, Store, TableStore};
use crate::table::{Role, Table, VIEW};

/// The names of tables about histories, which other sinks have, and which no view may take.
const RESERVED: [&str; 2] = ["_tidegate_time", "_tidegate_history"];

/// Refuses a view whose columns a history has of its own.
pub(crate) fn check_columns(view: &ViewInfo) -> Result<(), DeltaSinkError> {
    let taken = |name: &str| History::COLUMNS.iter().any(|taken| taken.eq_ignore_ascii_case(name));
    let field = view.schema.fields().iter().find(|field| view.history.is_some() && taken(field.name()));
    field.map_or(Ok(()), |field| {
        let fact = format!(
            "its column {} is one that the history has of its own: rename the column, or set temporal = false",
            field.name()
        );
        Err(DeltaSinkError::unsupported(&view.name, fact))
    })
}

/// Refuses views that stand where the history of another stands.
pub(crate) fn check_names<'a>(views: impl Iterator<Item = &'a ViewInfo> + Clone) -> Result<(), DeltaSinkError> {
    let kept = views.clone().filter(|view| view.history.is_some());
    for view in views {
        let is = |name: &str| view.name.as_str().eq_ignore_ascii_case(name);
        if let Some(other) = kept.clone().find(|other| is(name_of(&other.name).as_str())) {
            let fact = format!("the name is taken by the history of view {}: rename one of them", other.name);
            return Err(DeltaSinkError::unsupported(&view.name, fact));
        }
        if let Some(name) = RESERVED.into_iter().find(|name| is(name) && kept.clone().next().is_some()) {
            let fact = format!("{name} is a table about the history of views: rename the view");
            return Err(DeltaSinkError::unsupported(&view.name, fact));
        }
    }
    Ok(())
}

/// How preparing a history ended.
pub(crate) enum Prepared {
    Staged(Box<Staged>),
    /// It holds the range already.
    Done(Box<Table>),
    /// Another writer was faster.
    Conflict,
}

/// The table of a view's history as it is now.
pub(crate) async fn load(root: &Store, view: &ViewInfo, pipeline: &str) -> Result<Option<Table>, DeltaSinkError> {
    let name = name_of(&view.name);
    Table::load(&root.table(&name)?, &name, Role::Past, pipeline).await
}

/// Writes the files of a history, after those of the view's own commit. `table` is what the history's log says now.
pub(crate) async fn prepare(
    scene: Scene<'_>,
    root: &Store,
    present: &mut Staged,
    mut table: Option<Table>,
    header: &EpochHeader,
) -> Result<Prepared, DeltaSinkError> {
    let info = versions_of(present.view());
    let store = root.table(&info.name)?;
    let stood = present.stood();
    let events = present.take_events();
    let mode = if events.is_some() { Mode::Changes } else { Mode::Replace };
    let held = match &table {
        Some(table) => Some(table.committed.zip(table.standing).ok_or_else(|| {
            DeltaSinkError::damaged(&store.shown(""), "its log does not say where the history stands")
        })?),
        None => None,
    };
    let (back, mut course) = course(held, stood, mode, header).map_err(|Ahead(found)| {
        DeltaSinkError::HistoryAhead { table: store.shown(""), held: found, epoch: header.epoch }
    })?;
    // What is aside has no more than the view's table had.
    let back = match (course, &table, held) {
        (Course::Again, Some(found), Some((_, standing))) if found.shape(&info).is_none() => {
            Some(Back { to: standing.before, time: standing.before_time })
        }
        _ => back,
    };
    if let (Some(back), Some(found)) = (back, table.take_if(|_| back.is_some())) {
        table = take_back(scene, &store, found, back).await?;
        if table.is_none() {
            return Ok(Prepared::Conflict);
        }
    }
    if course == Course::Done
        && let Some(table) = table.take()
    {
        return Ok(Prepared::Done(Box::new(table)));
    }
    let at = (header.epoch, header.time);
    let partition_by = &scene.config.partition_by;
    let kept = table.as_ref().and_then(|table| table.shape(&info));
    let (shape, is_new) = match (kept, &table) {
        (Some(shape), _) => (shape, false),
        (None, None) => (Shape::new(&info, partition_by, Mapping::None)?, true),
        (None, Some(_)) if course == Course::Follow => {
            let fact = "its columns are not the view's".to_owned();
            return Err(DeltaSinkError::HistoryAltered { table: store.shown(""), fact });
        }
        (None, Some(table)) => {
            let end = if let Course::Anew(end) = course { end } else { at };
            if course != Course::Make {
                let name = aside::name_until(&present.view().name, end);
                aside::put_aside(scene, &store, table, &root.table(&name)?, &name, end).await?;
                course = Course::Begin;
            }
            (Shape::new(&info, partition_by, table.metadata.mapping())?, true)
        }
    };
    let shape = Shape { role: Role::Past, ..shape };
    if let (Course::Follow, Some(table)) = (course, &mut table) {
        check_open(&store, table, &shape, present.rows_before())?;
    }
    let first = events.as_ref().and_then(|events| events.first);
    let since = match course {
        Course::Make => Some(first.unwrap_or(at)),
        Course::Begin | Course::Anew(_) | Course::Again => Some(at),
        // What was before is not there any more.
        Course::Compare if table.as_ref().and_then(since_of).is_some_and(|since| since > header.epoch) => Some(at),
        Course::Compare | Course::Follow | Course::Done => None,
    };
    let before_time = table.as_ref().and_then(|table| table.standing).map(|standing| standing.time);
    let step = match course {
        Course::Make => Step::Made,
        Course::Follow | Course::Compare | Course::Done => Step::WentOn,
        Course::Begin | Course::Anew(_) | Course::Again => Step::Began,
    };
    // After it was taken back, what it held before is what it held before then.
    let held = table.as_ref().and_then(|table| match back {
        Some(_) => table.standing.map(|standing| standing.held),
        None => table.committed.map(|committed| committed.epoch),
    });
    let standing = Standing {
        time: header.time,
        held: held.unwrap_or(Epoch::ZERO),
        before: stood.unwrap_or(NOTHING),
        before_time: before_time.unwrap_or(header.time),
        step,
    };
    let source = match (course, events) {
        (Course::Make | Course::Follow, Some(events)) => {
            let (present, batches) = (present.shape().clone(), present.batches());
            Source::Changes(Changes { present, batches, events })
        }
        _ => {
            let (store, files) = (present.store().clone(), present.files_after());
            Source::Content(Content { store, shape: present.shape().clone(), files })
        }
    };
    let turn = Turn { course, at, standing, since, source, is_new, rows: 0, counts: [0; 2] };
    let staged = Staged::past(scene, info, shape, store, table, turn, header).await?;
    Ok(Prepared::Staged(Box::new(staged)))
}

/// Fails when another number of versions is open than the view's table has rows.
fn check_open(store: &TableStore, table: &mut Table, shape: &Shape, rows: Option<u64>) -> Result<(), DeltaSinkError> {
    table.index(shape);
    let open: Option<u64> = table.files.values().map(|file| Spans::of(file)?.to_epoch.nulls()).sum();
    match (rows, open) {
        (Some(rows), Some(open)) if rows != open => {
            let fact = format!("{rows} rows, and {open} open versions");
            Err(DeltaSinkError::HistoryAltered { table: store.shown(""), fact })
        }
        _ => Ok(()),
    }
}

/// Takes a history back; `None` when somebody else has changed it meanwhile.
async fn take_back(
    scene: Scene<'_>,
    store: &TableStore,
    mut table: Table,
    Back { to, time }: Back,
) -> Result<Option<Table>, DeltaSinkError> {
    let shape = aside::shape_of(store, &table)?;
    table.index(&shape);
    let names = FileNames::merged(&scene.attempt());
    let setting = Setting { store, shape: &shape, target: scene.config.target_file_size, names: &names };
    let written = cut::cut(setting, &table.files, to.epoch).await?;
    tracing::info!(name: "history_taken_back", history = %shape.view.name, epoch = to.epoch.0, "the history ran ahead of its view, it is taken back");
    let (before, held) = table.standing.map_or((to, to.epoch), |standing| (standing.before, standing.held));
    let standing = Standing { time, before, before_time: time, held, step: Step::WentOn };
    let info = json!({ "taken_back_to_epoch": to.epoch });
    change(scene, store, &shape, table, written, (to, standing), None, ("RESTORE", info)).await
}

/// Puts a change into the log that is none of the view; `None` when somebody else was faster.
#[expect(clippy::too_many_arguments, reason = "an entry has many parts")]
async fn change(
    scene: Scene<'_>,
    store: &TableStore,
    shape: &Shape,
    mut table: Table,
    written: Written,
    (committed, standing): (Committed, Standing),
    since: Option<events::Moment>,
    (operation, info): (&str, serde_json::Value),
) -> Result<Option<Table>, DeltaSinkError> {
    let rows = table.rows.unwrap_or(0).checked_add_signed(written.growth);
    let rows =
        rows.ok_or_else(|| DeltaSinkError::damaged(&store.shown(""), "fewer versions are there than it says"))?;
    let mut entry = Entry::new(operation, scene.now, Some(table.version), info);
    let mut metadata = table.metadata.clone();
    note_since(&mut metadata, since);
    if metadata != table.metadata {
        entry.metadata(&metadata);
    }
    let ids = AppIds::of(scene.pipeline, &name_in(&table, shape), Role::Past);
    let contract = |fact: &str| DeltaSinkError::contract(&shape.view.name, fact);
    entry.stands_at(&ids, committed, rows, Some(standing)).map_err(contract)?;
    for path in &written.files.removed {
        entry.remove(path, &table.files[path], scene.now, DataChange::Yes);
    }
    written.files.added.iter().for_each(|file| entry.add(file, scene.now, DataChange::Yes));
    // Whether a put that failed has happened is not known here: its files stay.
    if store.create(&layout::entry(table.version + 1), entry.to_bytes().into()).await? == Created::Exists {
        store.discard(written.files.paths()).await;
        return Ok(None);
    }
    table.version += 1;
    table.metadata = metadata;
    table.change_files(shape, &written.files.removed, &written.files.added);
    (table.committed, table.rows, table.standing) = (Some(committed), Some(rows), Some(standing));
    Ok(Some(table))
}

/// The name under which a table's transactions are.
fn name_in(table: &Table, shape: &Shape) -> ViewName {
    let name = table.metadata.configuration.get(VIEW);
    name.map_or_else(|| shape.view.name.clone(), |name| ViewName::new(name.clone()))
}
