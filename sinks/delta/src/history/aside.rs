//! A history whose view gets other columns: all versions end, and the table stays beside the new one as
//! `<view>_history_until_<epoch>`.
//!
//! Files of ended versions are copied, those of open ones written with their ends; then one entry of a log names them all.
//! Only after that the history's own table changes, so a stop in between loses nothing: the next attempt finds the copy.

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tidegate_core::schema::{DUCKDB_TYPE, columns};
use tidegate_core::{History, RowIdentity, ViewInfo, ViewName};

use super::content::scanned;
use super::events::Moment;
use super::versions::{Held, ended, held, name_of, versions_of};
use crate::commit::Scene;
use crate::error::DeltaSinkError;
use crate::layout::{self, FileNames};
use crate::load;
use crate::log::{AppIds, DataChange, Entry};
use crate::rewrite::Setting;
use crate::shape::Shape;
use crate::store::{Created, TableStore};
use crate::table::{HISTORY, Role, Table, VIEW};
use crate::write::NewFile;

/// Files that are copied at the same time.
const COPIES: usize = 4;

/// The name of a history that ended.
pub(crate) fn name_until(view: &ViewName, end: Moment) -> ViewName {
    ViewName::new(format!("{}_{}", name_before(view), end.0))
}

/// The same without the epoch.
pub(crate) fn name_before(view: &ViewName) -> ViewName {
    ViewName::new(format!("{}_until", name_of(view)))
}

/// Puts a history aside, with all its versions ended.
pub(crate) async fn put_aside(
    scene: Scene<'_>,
    store: &TableStore,
    table: &Table,
    aside: &TableStore,
    name: &ViewName,
    end: Moment,
) -> Result<(), DeltaSinkError> {
    // An attempt that was not followed by the new history has done it.
    if Table::load(aside, name, Role::Past, scene.pipeline).await?.is_some() {
        return Ok(());
    }
    let shape = shape_of(store, table)?;
    let mut table = table.clone();
    table.index(&shape);
    let (ended_files, open): (Vec<_>, Vec<_>) =
        table.files.iter().map(|(p, f)| (p.clone(), f.clone())).partition(|(_, file)| held(file) == Held::Ended);
    let names = FileNames::merged(&scene.attempt());
    let setting = Setting { store: aside, shape: &shape, target: scene.config.target_file_size, names: &names };
    let of_open = shape.clone();
    let rows = scanned(store, &shape, open).map(move |rows| ended(&of_open, &rows?, end)).boxed();
    let mut files = load::write(setting, rows).await?;
    let copies = stream::iter(ended_files).map(|(path, file)| async move {
        let content =
            store.read(&path).await?.ok_or_else(|| DeltaSinkError::damaged(&store.shown(&path), "it is gone"))?;
        aside.write(&path, content).await?;
        let stats = file.stats().unwrap_or("{}").to_owned();
        let rows = file.rows.unwrap_or(0);
        Ok::<_, DeltaSinkError>(NewFile { path, size: file.size, rows, stats, partition: file.partition })
    });
    files.extend(copies.buffered(COPIES).try_collect::<Vec<_>>().await?);
    let mut metadata = table.metadata.clone();
    metadata.id = uuid::Uuid::new_v4().to_string();
    metadata.configuration.insert(VIEW.to_owned(), name.to_string());
    metadata.configuration.insert(HISTORY.to_owned(), "true".to_owned());
    let info = json!({ "until_epoch": end.0, "versions": table.rows });
    let mut entry = Entry::new("CREATE TABLE AS SELECT", scene.now, None, info);
    entry.protocol(&table.protocol);
    entry.metadata(&metadata);
    let contract = |fact: &str| DeltaSinkError::contract(name, fact);
    if let (Some(committed), Some(rows)) = (table.committed, table.rows) {
        let ids = AppIds::of(scene.pipeline, name, Role::Past);
        entry.stands_at(&ids, committed, rows, table.standing).map_err(contract)?;
    }
    files.iter().for_each(|file| entry.add(file, scene.now, DataChange::Yes));
    if aside.create(&layout::entry(0), entry.to_bytes().into()).await? == Created::Exists {
        let writer = "another program".to_owned();
        return Err(DeltaSinkError::Foreign { table: aside.shown(""), writer });
    }
    tracing::info!(name: "history_kept", history = %name, versions = table.rows, "the history of other columns stays beside the new one");
    Ok(())
}

/// The shape of a history whose columns are not the view's any more.
pub(super) fn shape_of(store: &TableStore, table: &Table) -> Result<Shape, DeltaSinkError> {
    let difference = || "its columns are not those of a history".to_owned();
    let altered = || DeltaSinkError::Altered { table: store.shown(""), difference: difference() };
    let fields = table.metadata.schema["fields"].as_array().ok_or_else(altered)?;
    let own = &fields[..fields.len().saturating_sub(History::COLUMNS.len())];
    let column = |field: &serde_json::Value| {
        let text = |text: &serde_json::Value| text.as_str().map(str::to_owned);
        Some((text(&field["name"])?, text(&field["metadata"][DUCKDB_TYPE])?))
    };
    let own = own.iter().map(column).collect::<Option<Vec<_>>>().ok_or_else(altered)?;
    let schema = columns(own.iter().map(|(name, of)| (name.as_str(), of.as_str(), true))).map_err(|_| altered())?;
    let view = ViewInfo::new(ViewName::new("the view"), schema, RowIdentity::WholeRow);
    table.shape(&versions_of(&view)).ok_or_else(altered)
}
