//! Takes away what the lake holds of a view that is gone: table, history and epochs, in one transaction, and so one snapshot.
//! Snapshots before that have what they had, until they expire.

use tidegate_core::{Removal, ViewName, failpoint};
use tidegate_duck::history::TIMES;
use tidegate_duck::{Access, quote_literal};

use crate::config::Place;
use crate::epochs::{EPOCHS, Epochs};
use crate::error::DucklakeSinkError;
use crate::history::names::{HISTORIES, Names};
use crate::history::standing::Standings;
use crate::lake::{Inserts, Lake, Survey};
use crate::stage::Stage;

/// What has a view's name in the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is nothing.
    Nothing,
    /// Something that the lake's table of epochs does not name.
    Foreign,
    /// What we wrote.
    Ours {
        /// Whether the table of its name is.
        epochs: bool,
        /// Whether a history is kept.
        history: bool,
    },
}

/// Looks what the lake holds of a view; writes nothing.
pub(crate) fn look(stage: &Stage, place: &Place, view: &ViewName) -> Result<Found, DucklakeSinkError> {
    let Some(lake) = Lake::attach(&stage.duck, place, Access::ReadOnly, Inserts::AsUsual)? else {
        return Ok(Found::Nothing);
    };
    found(&lake, &lake.survey()?, view)
}

fn found(lake: &Lake<'_>, survey: &Survey, view: &ViewName) -> Result<Found, DucklakeSinkError> {
    let epochs = Epochs::read(lake, survey)?.knows(view);
    let history = Standings::read(lake, survey)?.of(view).is_some();
    Ok(match (epochs || history, survey.relation(view.as_str())) {
        (true, _) => Found::Ours { epochs, history },
        (false, Some(_)) => Found::Foreign,
        (false, None) => Found::Nothing,
    })
}

/// Removes a view, unless another writer is in the way.
pub(crate) fn remove(
    stage: &Stage,
    place: &Place,
    pipeline: Option<&str>,
    view: &ViewName,
) -> Result<Removal, DucklakeSinkError> {
    let Some(lake) = Lake::attach(&stage.duck, place, Access::ReadWrite, Inserts::AsUsual)? else {
        return Ok(Removal::Nothing);
    };
    let survey = lake.survey()?;
    lake.execute("BEGIN")?;
    let (epochs, history) = match found(&lake, &survey, view)? {
        Found::Nothing => return Ok(Removal::Nothing),
        Found::Foreign => return Err(not_ours(place, view)),
        Found::Ours { epochs, history } => (epochs, history),
    };
    if epochs {
        if survey.relation(view.as_str()).is_some_and(|relation| relation.table.is_some()) {
            lake.execute(&format!("DROP TABLE {}", lake.table(view.as_str())))?;
        }
        forget(&lake, EPOCHS, view)?;
    }
    if history {
        drop_history(&lake, &survey, view)?;
    }
    let info = serde_json::json!({ "pipeline": pipeline, "removed": view.as_str() }).to_string();
    let message = quote_literal(&format!("view {view} is removed"));
    lake.call("set_commit_message", &format!("'tidegate', {message}, extra_info => {}", quote_literal(&info)))?;
    failpoint::hit("remove.ducklake.before_commit");
    lake.execute("COMMIT")?;
    failpoint::hit("remove.ducklake.committed");
    Ok(Removal::Removed)
}

/// Drops all versions, those that were put aside under other columns too, and what readers use to see them.
fn drop_history(lake: &Lake<'_>, survey: &Survey, view: &ViewName) -> Result<(), DucklakeSinkError> {
    let names = Names::of(view);
    let [history, as_of, as_of_time] = [&names.history, &names.as_of, &names.as_of_time].map(|name| lake.table(name));
    lake.execute(&format!(
        "DROP VIEW IF EXISTS {history}; DROP MACRO TABLE IF EXISTS {as_of}; DROP MACRO TABLE IF EXISTS {as_of_time}"
    ))?;
    let epochs = Epochs::read(lake, survey)?;
    let is_aside = |name: &str| Names::is_until(view, name) && !epochs.knows(&ViewName::new(name));
    let tables = survey.relations.values().filter(|relation| relation.table.is_some()).filter(|relation| {
        names.tables().iter().any(|name| relation.name.eq_ignore_ascii_case(name)) || is_aside(&relation.name)
    });
    for table in tables {
        lake.execute(&format!("DROP TABLE {}", lake.table(&table.name)))?;
    }
    forget(lake, HISTORIES, view)?;
    let others = lake.count(&format!("SELECT count(*)::UBIGINT FROM {}", lake.table(HISTORIES)))?;
    if others == 0 && survey.relation(TIMES).is_some() {
        lake.execute(&format!("DELETE FROM {}", lake.table(TIMES)))?;
    }
    Ok(())
}

fn forget(lake: &Lake<'_>, table: &str, view: &ViewName) -> Result<(), DucklakeSinkError> {
    let sql = format!("DELETE FROM {} WHERE lower(view) = lower(?)", lake.table(table));
    lake.change(&sql, [view.as_str()]).map(drop)
}

pub(crate) fn not_ours(place: &Place, view: &ViewName) -> DucklakeSinkError {
    DucklakeSinkError::NotOurs { lake: place.shown.clone(), view: view.clone() }
}
