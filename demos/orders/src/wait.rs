//! Waiting for the pipeline: on what it says of itself, with a deadline.

use anyhow::{Context, Result};
use tidegate_core::{Frontier, Lsn, Position, SnapshotId, SourceId};

use crate::bridge::with_pipeline;
use crate::following::is_delivered;
use crate::lake;
use crate::site::{SHOP, Site, value};

/// Waits until the first load has reached every sink.
pub fn until_loaded(site: &Site, is_well: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    with_pipeline(site, |pipeline| pipeline.until(is_well, "has not loaded the tables", is_delivered))
}

/// Waits until every sink holds everything that is committed in the sources now.
pub fn until_caught_up(site: &Site, is_well: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let goal = present(site)?;
    with_pipeline(site, |pipeline| pipeline.until_caught_up(&goal, is_well))
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
