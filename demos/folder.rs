//! Where a demo puts what it makes. A demo includes this file as a module.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// A fresh folder of this name in the target folder, beside the programs.
pub fn fresh(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program's place is not known")?;
    let target = program.ancestors().nth(2).context("the program lies in a target folder")?;
    let folder = target.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}
