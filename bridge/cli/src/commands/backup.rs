//! `tidegate backup`: definitions and state at one moment, to a folder or an object store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tidegate_core::units::size_text;
use tidegate_core::{ErrorKind, chain};
use tidegate_duck::lake::Storage;
use tidegate_runtime::BackupLocation;

use crate::assembly::assemble;
use crate::failure::Failure;
use crate::output::{self, Json};
use crate::place::{self, Place};

/// Takes a backup and says what it is called.
pub async fn backup(path: &Path, dest: &str, keep: Option<u32>, json: bool) -> Result<(), Failure> {
    let assembly = assemble(path)?;
    let to = location(&assembly.storage, dest)?;
    let files: BTreeSet<PathBuf> = assembly.views.iter().map(|view| view.origin.path().to_owned()).collect();
    let files: Vec<PathBuf> = files.into_iter().filter(|file| file != path).collect();
    let files: Vec<PathBuf> = files.iter().filter_map(|file| std::path::absolute(file).ok()).collect();
    let keep = keep.map(|keep| keep as usize);
    let summary = tidegate_runtime::backup(&assembly.config, path, &files, to, keep).await?;
    let summary = output::value(&summary)?;
    if json {
        output::json(&summary);
        return Ok(());
    }
    output::line(format!(
        "backup {} of {}: epoch {}",
        summary.text("backup"),
        summary.text("pipeline"),
        summary.number("epoch")
    ));
    output::line(format!("frontier {}", summary["frontier"]));
    output::line(format!(
        "{} files, {}; new of them {}, {}",
        output::grouped(summary.number("files")),
        size_text(summary.number("bytes")),
        output::grouped(summary.number("new_files")),
        size_text(summary.number("new_bytes")),
    ));
    let kept = summary["kept"].as_array().map_or(0, Vec::len);
    output::line(format!("{dest} holds {kept} backup{}", if kept == 1 { "" } else { "s" }));
    Ok(())
}

/// Where backups lie; relative to where the command is called.
pub fn location(storage: &Storage, text: &str) -> Result<BackupLocation, Failure> {
    let here = std::env::current_dir().map_err(|error| {
        Failure::new(ErrorKind::Reconfigure, format!("the current folder cannot be found: {error}"))
    })?;
    match place::resolve(&here, storage, text) {
        Ok(Place::Folder(folder)) => Ok(BackupLocation::Folder(folder)),
        Ok(Place::Store { store, prefix, url }) => Ok(BackupLocation::ObjectStore { store, prefix, url }),
        Err(error) => Err(Failure::usage(format!("{text}: {}", chain(&error)))),
    }
}
