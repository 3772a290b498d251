//! `tidegate track` and `untrack`: tables of sources whose rows are kept as they were. They edit `[track]` in the pipeline file, and
//! keep its comments and its order.

use std::io::Write;
use std::path::Path;

use tidegate_core::units;
use tidegate_runtime::read_status;
use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::check;
use crate::assembly::{Assembly, assemble, assemble_text};
use crate::failure::Failure;
use crate::file::Tracked;
use crate::file::track::FORM;
use crate::output;
use tidegate_core::ErrorKind;

/// Keeps the rows of a table from the next run on.
pub async fn track(path: &Path, table: &str, key: &[String], retention: Option<&str>) -> Result<(), Failure> {
    let before = assemble(path)?;
    let tracked = parse(table)?;
    let key: Vec<&str> =
        key.iter().flat_map(|key| key.split(',')).map(str::trim).filter(|key| !key.is_empty()).collect();
    if key.is_empty() {
        return Err(Failure::usage(
            "a tracked table is asked for by its key: give --key with the columns that tell its rows apart",
        ));
    }
    if let Some(text) = retention.filter(|text| units::duration(text).is_none()) {
        return Err(Failure::usage(format!("--retention `{text}` is not a duration: write for example 90d")));
    }
    let known = known(&before, &tracked);
    let (text, mut document) = read(path)?;
    let tables = tables(&mut document)?;
    let written = known.map_or_else(|| tracked.table.clone(), |known| known.table.clone());
    let entry = tables.entry(&written).or_insert_with(|| Item::Table(Table::new()));
    let Some(entry) = entry.as_table_like_mut() else {
        return Err(Failure::usage(format!("track.\"{written}\" in {} is no table", path.display())));
    };
    let same_key = entry.get("key").and_then(Item::as_array).is_some_and(|array| {
        array.len() == key.len() && array.iter().zip(&key).all(|(known, key)| known.as_str() == Some(*key))
    });
    if !same_key {
        entry.insert("key", value(key.iter().copied().collect::<Array>()));
    }
    match retention {
        Some(text) if entry.get("retention").and_then(Item::as_str) != Some(text) => {
            entry.insert("retention", value(text));
        }
        Some(_) => {}
        None => {
            entry.remove("retention");
        }
    }
    let edited = document.to_string();
    let view = tracked.view();
    if edited == text {
        output::line(format!("{written} is tracked like this already, as the view {view}"));
        return Ok(());
    }
    let mut after = assemble_text(path, edited.clone())?;
    let report = tidegate_runtime::check(&after.config, &mut after.connectors).await;
    let faults = check::faults(&report, &after.views);
    if !faults.is_empty() {
        return Err(Failure::several(ErrorKind::Reconfigure, faults));
    }
    replace(path, &edited)?;
    let kept = retention.map_or("for ever".to_owned(), |text| format!("for {text} after they ended"));
    let verb = if known.is_some() { "is now tracked" } else { "is tracked" };
    output::line(format!("{written} {verb} as the view {view}, by {}; versions are kept {kept}", key.join(", ")));
    next(&after, path, "loads it and begins its history")
}

/// Keeps them no longer.
pub fn untrack(path: &Path, table: &str) -> Result<(), Failure> {
    let before = assemble(path)?;
    let tracked = parse(table)?;
    let Some(known) = known(&before, &tracked) else {
        output::line(format!("{table} is not tracked"));
        return Ok(());
    };
    let written = known.table.clone();
    let (_, mut document) = read(path)?;
    let tables = tables(&mut document)?;
    tables.remove(&written);
    if tables.is_empty() {
        document.remove("track");
    }
    let edited = document.to_string();
    let after = assemble_text(path, edited.clone())?;
    replace(path, &edited)?;
    let view = known.view();
    output::line(format!(
        "{written} is no longer tracked; the tables {view} and {view}_history stay in the sinks as they are"
    ));
    next(&after, path, "leaves it out")
}

/// What follows from the edited file.
fn next(assembly: &Assembly, path: &Path, what: &str) -> Result<(), Failure> {
    let running = read_status(&assembly.config.state_dir)?.is_some_and(|status| status.running);
    output::line(match running {
        true => {
            format!("a process runs the pipeline: stop it and `tidegate run {}` again, which {what}", path.display())
        }
        false => format!("the next `tidegate run {}` {what}", path.display()),
    });
    Ok(())
}

fn parse(table: &str) -> Result<Tracked, Failure> {
    Tracked::parse(table).ok_or_else(|| Failure::usage(format!("`{table}` is no table of a source: {FORM}")))
}

fn known<'a>(assembly: &'a Assembly, tracked: &Tracked) -> Option<&'a Tracked> {
    assembly.views.iter().filter_map(|view| view.tracked.as_ref()).find(|known| known.is_called(&tracked.parts))
}

fn read(path: &Path) -> Result<(String, DocumentMut), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: the pipeline file cannot be read: {error}", path.display())))?;
    let document = text.parse().map_err(|error| Failure::caused(ErrorKind::Reconfigure, &error))?;
    Ok((text, document))
}

/// The tables under `[track]`, which has no heading of its own.
fn tables(document: &mut DocumentMut) -> Result<&mut dyn toml_edit::TableLike, Failure> {
    let item = document.entry("track").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_like_mut()
        .ok_or_else(|| Failure::usage("`track` in the pipeline file is no table: write [track.\"source.table\"]"))
}

/// Puts another text in the place of the file, as one step.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        // A link stays one.
        let path = std::fs::canonicalize(path)?;
        let mut staged = path.clone().into_os_string();
        staged.push(".tidegate-new");
        let mut file = std::fs::File::create(&staged)?;
        file.set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&staged, &path)
    };
    write().map_err(|error| Failure::usage(format!("{} cannot be written: {error}", path.display())))
}
