//! Commits of one row that go on until the program is stopped, and what the running pipeline logs of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tidegate_core::{Frontier, Position, SnapshotId};
use tidegate_testkit::{Catalog, Lake};

use crate::following::Pipeline;
use crate::journal::{Entry, entries};
use crate::stages::{Waited, waited};
use crate::{referee, told_at_once};

/// Rows that are there before.
const ROWS: u64 = 100_000;
/// The last commits that are looked at, and the lines of the log in which they may be.
const COMMITS: usize = 300;
const ENTRIES: usize = 6_000;
/// The log is emptied when it is larger.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// The working folder, and the catalog that CATALOG names.
pub struct Place {
    folder: PathBuf,
    connection: String,
}

impl Place {
    pub fn from_environment() -> Result<Self> {
        let connection = std::env::var("CATALOG").context("the variable CATALOG is not set")?;
        Ok(Place { folder: std::env::current_dir()?, connection })
    }

    /// The lake; makes it if it is not there.
    fn lake(&self) -> Lake {
        Lake::create_named(&self.folder.join("lake"), Catalog::Postgres(self.connection.clone()), "lake")
    }
}

/// The last commits, and what the pipeline has logged lately.
#[derive(Default)]
pub struct Recent {
    commits: VecDeque<(u64, SystemTime)>,
    entries: VecDeque<Entry>,
    /// How much of the log was read.
    read: u64,
}

/// Makes what is not there, and has a thread commit from now on.
pub fn start(place: &Place, pause_ms: u64) -> Result<Arc<Mutex<Recent>>> {
    let lake = place.lake();
    lake.try_execute(&format!(
        "CREATE TABLE IF NOT EXISTS lake.orders (id BIGINT, customer INTEGER, amount DECIMAL(9, 2));
         INSERT INTO lake.orders SELECT i, i % 100, 2.5 FROM range({ROWS}) t(i)
         WHERE NOT EXISTS (SELECT 1 FROM lake.orders)"
    ))?;
    print!("{}", told_at_once(&place.folder, &place.connection)?);
    let next: u64 = lake.attached(|duck| {
        let found = duck.connection().query_row("SELECT max(id)::UBIGINT + 1 FROM lake.orders", [], |row| row.get(0));
        found.map_err(|error| duck.error(&error))
    })?;
    let recent = Arc::new(Mutex::new(Recent::default()));
    let shared = Arc::clone(&recent);
    thread::spawn(move || {
        for id in next.. {
            thread::sleep(Duration::from_millis(pause_ms));
            if let Err(error) = lake.try_execute(&format!("INSERT INTO lake.orders VALUES ({id}, {id} % 100, 1.5)")) {
                // Whoever restarts the container has it go on.
                eprintln!("error: {error}");
                std::process::exit(1);
            }
            let at = SystemTime::now();
            lock(&shared).add((lake.snapshot(), at));
        }
    });
    Ok(recent)
}

/// Waits until the pipeline has caught up, and compares.
pub fn check(place: &Place) -> Result<bool> {
    let lake = place.lake();
    let goal = Frontier::new().with("ducklake:lake".parse()?, Position::SnapshotId(SnapshotId(lake.snapshot())));
    let pipeline = Pipeline { folder: &place.folder, file: "pipeline.toml", variables: &[] };
    pipeline.until_caught_up(&goal, &mut || Ok(()))?;
    lake.attached(|duck| Ok(referee::compare(duck, &place.folder)))?
}

/// What is shared between the thread that commits and the one that shows.
pub fn lock(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recent {
    fn add(&mut self, commit: (u64, SystemTime)) {
        if self.commits.len() == COMMITS {
            self.commits.pop_front();
        }
        self.commits.push_back(commit);
    }

    /// What the last commits waited for, those that are in every sink.
    pub fn waited(&mut self) -> Result<Vec<Waited>> {
        self.follow()?;
        let entries = self.entries.make_contiguous();
        // What the log tells of a commit comes after it, if it was not emptied in between.
        let oldest = entries.first().map(|entry| entry.at);
        let told = self.commits.iter().filter(|(_, at)| oldest.is_some_and(|oldest| *at >= oldest));
        Ok(told.filter_map(|(snapshot, at)| waited(entries, *snapshot, *at)).collect())
    }

    /// Reads what is new in the log.
    fn follow(&mut self) -> Result<()> {
        let mut log = match File::options().read(true).write(true).open("out/run.log") {
            Ok(log) => log,
            // The pipeline has not started yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).context("out/run.log cannot be read"),
        };
        log.seek(SeekFrom::Start(self.read))?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        let (entries, bytes) = entries(&text)?;
        self.read += bytes as u64;
        self.entries.extend(entries);
        self.entries.drain(..self.entries.len().saturating_sub(ENTRIES));
        if self.read > LOG_BYTES_MAX {
            // Who writes it appends.
            log.set_len(0)?;
            self.read = 0;
        }
        Ok(())
    }
}
