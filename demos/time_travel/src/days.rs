//! The lake that gets a batch every few seconds: three good ones, the bad one, and then good ones until it is stopped.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_core::{Frontier, Position, SnapshotId};

use crate::FILE;
use crate::following::{Pipeline, is_delivered};
use crate::lake::{BAD_DAY, GOOD_DAYS, Lake};
use crate::sqlite_lake;

/// The time from one batch to the next.
const DAY: Duration = Duration::from_secs(5);

/// Whether the lake has its table.
pub fn is_ready(folder: &Path) -> Result<bool> {
    Ok(sqlite_lake::catalog(folder).is_file() && rows_of(&Lake::open(folder)?, "").is_ok())
}

/// Brings the batches that are not there yet. It ends by failing alone.
pub fn bring(folder: &Path) -> Result<()> {
    let lake = Lake::open(folder)?;
    println!("changing the lake until this is stopped");
    if !is_ready(folder)? {
        lake.change(&whole(GOOD_DAYS[0]))?;
    }
    // The first batch is in the first epoch, and each further one in one of its own.
    pipeline(folder).until(&mut || Ok(()), "has not loaded the lake", is_delivered)?;
    for (day, batch) in
        [("tuesday", whole(GOOD_DAYS[1])), ("wednesday", whole(GOOD_DAYS[2])), ("thursday", BAD_DAY.to_owned())]
    {
        if rows_of(&lake, &format!("WHERE batch = '{day}'"))? == 0 {
            thread::sleep(DAY);
            lake.change(&batch)?;
            println!("{day}'s batch is in");
        }
    }
    loop {
        thread::sleep(DAY);
        let first = lake.number("SELECT greatest(max(id), 1000)::UBIGINT + 1 FROM lake.orders")?;
        lake.change(&format!(
            "INSERT INTO lake.orders
             SELECT i, ['east', 'north', 'south', 'west'][1 + i % 4], 5 + (i * 7919 % 9500)::DECIMAL(12, 2) / 100, 'later'
             FROM range({first}, {first} + 4) t(i)"
        ))?;
    }
}

/// Waits until the pipeline has caught up with the lake.
pub fn wait(folder: &Path) -> Result<()> {
    let lake = Lake::open(folder)?;
    ensure!(is_ready(folder)?, "the lake is not there yet");
    let newest = SnapshotId(lake.number("SELECT max(snapshot_id)::UBIGINT FROM ducklake_snapshots('lake')")?);
    let goal = Frontier::new().with("ducklake:lake".parse()?, Position::SnapshotId(newest));
    pipeline(folder).until_caught_up(&goal, &mut || Ok(()))
}

fn pipeline(folder: &Path) -> Pipeline<'_> {
    Pipeline { folder, file: FILE, variables: &[] }
}

fn rows_of(lake: &Lake, which: &str) -> Result<u64> {
    lake.number(&format!("SELECT count(*)::UBIGINT FROM lake.orders {which}"))
}

/// A batch as one snapshot.
fn whole(batch: &str) -> String {
    format!("BEGIN; {batch}; COMMIT")
}
