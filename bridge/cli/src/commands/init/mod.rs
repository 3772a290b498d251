//! `tidegate init`: a commented pipeline file and a small lake, so that `tidegate run` has
//! something to do at once.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use tidegate_core::ErrorKind;
use tidegate_duck::{Duck, DuckError, Extension, quote_literal};

use crate::failure::Failure;

const FILE: &str = "pipeline.toml";
const CATALOG: &str = "lake.ducklake";
const DATA: &str = "lake_files";

/// Writes the files. The pipeline file comes last: where there is one, the rest is complete.
pub fn init(folder: &Path) -> Result<(), Failure> {
    for name in [FILE, CATALOG, DATA] {
        if folder.join(name).exists() {
            let message =
                format!("{} is there already and is not overwritten: name another folder", folder.join(name).display());
            return Err(Failure::usage(message));
        }
    }
    let unwritable = |error: std::io::Error| {
        Failure::new(ErrorKind::Retry, format!("{} cannot be written: {error}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(unwritable)?;
    make_lake(&folder.canonicalize().map_err(unwritable)?)
        .map_err(|error| Failure::caused(ErrorKind::Retry, &error))?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(folder.join(FILE)).map_err(unwritable)?;
    file.write_all(include_bytes!("pipeline.toml")).map_err(unwritable)?;
    let path = folder.join(FILE);
    println!("{}  the pipeline, with comments", path.display());
    println!("{}  a lake with two tables, customers and orders", folder.join(CATALOG).display());
    println!("\nNext: tidegate run {} --once", path.display());
    Ok(())
}

fn make_lake(folder: &Path) -> Result<(), DuckError> {
    let duck = Duck::open_in_memory()?;
    duck.load(Extension::Ducklake)?;
    let catalog = quote_literal(&format!("ducklake:{}", folder.join(CATALOG).display()));
    let data = quote_literal(&folder.join(DATA).to_string_lossy());
    duck.execute(&format!("ATTACH {catalog} AS lake (DATA_PATH {data})"))?;
    duck.execute(include_str!("sample.sql"))?;
    duck.execute("DETACH lake")
}
