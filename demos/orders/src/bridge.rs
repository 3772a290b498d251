//! `tidegate` as a child process, as anybody would call it.

use anyhow::Result;

use crate::following::Pipeline;
use crate::pipeline;
use crate::running::Running;
use crate::site::Site;

/// `tidegate run`.
pub fn run(site: &Site) -> Result<Running> {
    with_pipeline(site, |pipeline| Running::start(pipeline.command("run")?, &site.folder.join("run.log")))
}

/// Does something with the pipeline of a site.
pub fn with_pipeline<T>(site: &Site, work: impl FnOnce(&Pipeline<'_>) -> T) -> T {
    let variables = site.variables();
    work(&Pipeline { folder: &site.folder, file: pipeline::NAME, variables: &variables })
}
