//! PostgreSQL 15 for the tests, which no package registry has: Debian's own, installed or, without
//! an administrator's rights, unpacked into the cache folder. apt checks the signatures.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cache::{Scratch, put_in_place};
use crate::process::child;

/// The servers, their client programs, and the library of these. What they need beside that is on
/// most machines.
const PACKAGES: &[&str] = &["postgresql-15", "postgresql-client-15", "libpq5"];
const PROGRAMS: &str = "usr/lib/postgresql/15/bin";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Below the cache folder. It exists only when it is complete.
const PLACE: &str = "postgres-15";

/// Whether it is installed or unpacked.
pub fn has_postgres(cache: &Path) -> bool {
    let server = |root: &Path| root.join(PROGRAMS).join("postgres").is_file();
    server(Path::new("/")) || server(&cache.join(PLACE))
}

/// Unpacks it into the cache folder, if this machine's apt offers it and its libraries are there.
pub fn fetch_postgres(cache: &Path) -> Result<()> {
    let scratch = Scratch::create(cache)?;
    child("apt-get").args(["download", "--quiet"]).args(PACKAGES).current_dir(&scratch.0).output()?;
    let archives = fs::read_dir(&scratch.0)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let unpacked = scratch.0.join("unpacked");
    for archive in archives {
        child("dpkg").args(["--extract"]).args([&archive, &unpacked]).output()?;
    }
    for program in ["initdb", "postgres", "psql", "pg_recvlogical"] {
        child(unpacked.join(PROGRAMS).join(program))
            .args(["--version"])
            .env("LD_LIBRARY_PATH", unpacked.join(LIBRARIES))
            .output()
            .with_context(|| format!("the unpacked '{program}' does not run on this machine"))?;
    }
    put_in_place(&unpacked, &cache.join(PLACE))
}
