//! The mart as its readers see it: a DuckDB file that anybody may open read-only between two commits. A
//! commit holds the file for some milliseconds, and a reader that holds it makes the next commit wait;
//! so one tries again, and lets go soon. A demo includes this file as a module.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tidegate_duck::{Duck, DuckError, quote_literal};

/// How long a reader goes on trying.
const PATIENCE: Duration = Duration::from_secs(20);

/// Attaches a mart as `mart` as soon as no commit holds it.
pub fn attach(duck: &Duck, file: &Path) -> Result<()> {
    let sql = format!("ATTACH {} AS mart (READ_ONLY)", quote_literal(&file.to_string_lossy()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        match duck.execute(&sql) {
            Err(DuckError::Locked { .. }) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            attached => return attached.with_context(|| format!("the mart {}", file.display())),
        }
    }
}
