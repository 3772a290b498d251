//! Takes away the tables of a view that is gone: the view's, its history, and histories that were put aside.
//!
//! A table is a folder of many files, which do not go at once. So a file in it says first that the table is being removed, and
//! whose it was: from here on it counts as no table. Then the log goes, then the files, and this mark at last. What a stop in
//! between leaves, another call finishes, or the first commit of a view that comes again under the name.

use serde_json::{Value, json};
use tidegate_core::{Removal, ViewName, failpoint};

use crate::error::DeltaSinkError;
use crate::history::aside;
use crate::history::versions::name_of;
use crate::layout;
use crate::store::{Store, TableStore};
use crate::table::{Role, Table};

/// Removes the tables of a view.
pub(crate) async fn remove(store: &Store, view: &ViewName, pipeline: &str) -> Result<Removal, DeltaSinkError> {
    store.check()?;
    let mut ours = Vec::new();
    for history in histories(store, view).await? {
        let table = store.table(&history)?;
        match is_ours(&table, &history, Role::Past, pipeline).await {
            Ok(true) => ours.push((table, history)),
            // A view may be called that, or a table of somebody's.
            Ok(false) | Err(DeltaSinkError::Foreign { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let table = store.table(view)?;
    match is_ours(&table, view, Role::Present, pipeline).await {
        Ok(true) => ours.push((table, view.clone())),
        Ok(false) => {}
        Err(DeltaSinkError::Foreign { table, writer }) => return Err(DeltaSinkError::NotOurs { table, writer }),
        Err(error) => return Err(error),
    }
    for (table, name) in &ours {
        let mark = json!({ "pipeline": pipeline, "view": name }).to_string();
        table.write(layout::REMOVING, mark.into()).await?;
        failpoint::hit("remove.delta.marked");
        finish(table).await?;
    }
    Ok(if ours.is_empty() { Removal::Nothing } else { Removal::Removed })
}

/// The names that histories of a view have or may have.
async fn histories(store: &Store, view: &ViewName) -> Result<Vec<ViewName>, DeltaSinkError> {
    let folders = store.folders().await?;
    let of_epoch = |folder: &String| {
        let (before, epoch) = folder.rsplit_once('_')?;
        let is_aside = before == layout::folder(&aside::name_before(view))
            && !epoch.is_empty()
            && epoch.bytes().all(|b| b.is_ascii_digit());
        is_aside.then(|| ViewName::new(format!("{}_{epoch}", aside::name_before(view))))
    };
    Ok(folders.iter().filter_map(of_epoch).chain([name_of(view)]).collect())
}

/// Whether a table, or what a stop has left of one, is this pipeline's. What it holds is not looked at.
async fn is_ours(table: &TableStore, name: &ViewName, role: Role, pipeline: &str) -> Result<bool, DeltaSinkError> {
    let Some(mark) = table.read(layout::REMOVING).await? else {
        return Table::is_of(table, name, role, pipeline).await;
    };
    let mark: Value = serde_json::from_slice(&mark).unwrap_or_default();
    let writer = match (mark["pipeline"].as_str(), mark["view"].as_str()) {
        (Some(found), _) if found != pipeline => format!("pipeline {found}"),
        (Some(_), Some(found)) if found != name.as_str() => format!("view {found}"),
        (Some(_), Some(_)) => return Ok(true),
        _ => "another program".to_owned(),
    };
    Err(DeltaSinkError::Foreign { table: table.shown(""), writer })
}

/// Makes room for a table where the removal of an earlier one was stopped.
pub(crate) async fn make_room(table: &TableStore) -> Result<(), DeltaSinkError> {
    match table.read(layout::REMOVING).await? {
        Some(_) => finish(table).await,
        None => Ok(()),
    }
}

/// Removes what belongs to a table that is marked. Other files in its folder stay.
async fn finish(table: &TableStore) -> Result<(), DeltaSinkError> {
    let log = format!("{}/", layout::LOG);
    let (of_log, others): (Vec<_>, Vec<_>) = table.files().await?.into_iter().partition(|name| name.starts_with(&log));
    table.delete(of_log).await?;
    failpoint::hit("remove.delta.log_removed");
    table.delete(others.into_iter().filter(|name| name.ends_with(".parquet")).collect()).await?;
    table.settle().await?;
    failpoint::hit("remove.delta.files_removed");
    table.delete(vec![layout::REMOVING.to_owned()]).await?;
    table.settle().await
}
