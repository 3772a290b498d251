//! `tidegate restore`: a pipeline of a backup.

use std::path::Path;

use tidegate_core::ErrorKind;
use tidegate_core::units::size_text;
use tidegate_duck::lake::Storage;
use tidegate_runtime::{Backup, RestorePlaces};

use super::backup::location;
use crate::assembly::log_location;
use crate::failure::Failure;
use crate::file::{self, Fault};
use crate::output::{self, Json};

/// Restores a backup and says what was put where.
pub async fn restore(
    src: &str,
    dir: &Path,
    at: Option<&str>,
    storage: Option<&Path>,
    json: bool,
) -> Result<(), Failure> {
    // What the backup's own pipeline file says of storages cannot be read before the backup is reached.
    let storage = match storage {
        Some(file) => file::storage_of_file(file).map_err(faulty)?,
        None => Storage::of_environment(),
    };
    let backup = Backup::open(location(&storage, src)?, at).await?;
    let site = backup.begin(dir).await?;
    let places = match file::places(site.pipeline_file()) {
        Ok(places) => places,
        Err(faults) => {
            site.abandon(None);
            return Err(faulty(faults));
        }
    };
    let places = RestorePlaces { state_dir: places.state_dir, log: log_location(places.log) };
    let summary = output::value(&backup.finish(site, places).await?)?;
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
    output::line(format!("pipeline file {}", summary.text("pipeline_file")));
    for definition in summary["definitions"].as_array().into_iter().flatten() {
        output::line(format!("SQL file {}", definition.as_str().unwrap_or_default()));
    }
    output::line(format!("state in {}", summary.text("state_dir")));
    let was = if summary["log_put"] == true { "put there" } else { "was there already and is left as it is" };
    output::line(format!("log in {}: {was}", summary.text("log")));
    output::line(format!("{} files, {}", output::grouped(summary.number("files")), size_text(summary.number("bytes"))));
    output::line("the pipeline that the backup was taken of must not go on: `tidegate run` with this one does");
    Ok(())
}

fn faulty(faults: Vec<Fault>) -> Failure {
    Failure::several(ErrorKind::Reconfigure, faults.iter().map(Fault::to_string).collect())
}
