//! Waiting for the pipeline: on what it says of itself, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tidegate_core::{Frontier, Lsn, Position, SnapshotId, SourceId};

use crate::site::{SHOP, Site, value};
use crate::{bridge, lake};

/// How long the pipeline may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the first load has reached every sink.
pub fn until_loaded(site: &Site, is_well: &mut dyn FnMut() -> Result<()>) -> Result<Value> {
    until(site, is_well, "has not loaded the tables", is_delivered)
}

/// Waits until every sink holds everything that is committed in the sources now.
pub fn until_caught_up(site: &Site, is_well: &mut dyn FnMut() -> Result<()>) -> Result<Value> {
    let goal = present(site)?;
    let behind = format!("has not reached {}", serde_json::to_string(&goal)?);
    until(site, is_well, &behind, |status| {
        let reached = serde_json::from_value::<Frontier>(status["frontier"].clone());
        reached.is_ok_and(|reached| goal.less_equal(&reached)) && is_delivered(status)
    })
}

/// Where both sources end.
fn present(site: &Site) -> Result<Frontier> {
    let lsn: Lsn = value(&site.connect(SHOP)?, "SELECT pg_current_wal_lsn()::text")?.parse()?;
    let newest = lake::number(&lake::open(site)?, "SELECT max(snapshot_id)::UBIGINT FROM ducklake_snapshots('lake')")?;
    let source = |id: &str| id.parse::<SourceId>().context("the name of a source");
    let mut frontier = Frontier::new();
    frontier.set(source("postgres:app")?, Position::Lsn(lsn));
    frontier.set(source("ducklake:lake")?, Position::SnapshotId(SnapshotId(newest)));
    Ok(frontier)
}

/// Whether no sink lacks an epoch.
fn is_delivered(status: &Value) -> bool {
    let sinks = status["sinks"].as_object();
    sinks.is_some_and(|sinks| sinks.values().all(|sink| sink["epoch"].is_u64() && sink["behind"] == 0))
}

fn until(
    site: &Site,
    is_well: &mut dyn FnMut() -> Result<()>,
    otherwise: &str,
    condition: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        is_well()?;
        let status = bridge::status(site)?;
        match status {
            Some(status) if condition(&status) => return Ok(status),
            status if Instant::now() >= deadline => {
                let status = status.unwrap_or_default();
                bail!("the pipeline {otherwise} within {} s; its status is {status}", PATIENCE.as_secs());
            }
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
}
