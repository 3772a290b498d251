//! The short session that the README begins with: a lake, a pipeline over it, one more order. It is recorded by
//! `cargo xtask demo time-travel --first docs/src/quickstart.cast`.

use anyhow::{Result, ensure};

use crate::lake::Lake;
use crate::session::Session;

/// What the recording is called.
pub const TITLE: &str = "A first pipeline with Tidegate";
/// Columns and rows of the terminal.
pub const SIZE: (usize, usize) = (104, 28);
/// The folder that `tidegate init` makes.
pub const FOLDER: &str = "shop";

const MART: &str = "tidegate sql shop/pipeline.toml \"FROM revenue_by_region ORDER BY region\"";
const RUN: &str = "tidegate run shop/pipeline.toml --once";
/// Small enough to stay in the lake's catalog.
const ORDER: &str = "INSERT INTO lake.orders VALUES (5001, 1, 9999, DATE '2026-01-01');";

/// Goes from nothing to a result that has followed a change.
pub fn tell(session: &mut Session, lake: &Lake) -> Result<()> {
    session.command("tidegate init shop")?;
    session.command(RUN)?;
    let before = session.command(MART)?;
    session.remark("An order comes, in DuckDB.");
    session.statement(lake, ORDER)?;
    session.command(RUN)?;
    let after = session.command(MART)?;
    ensure!(before != after, "the order has changed nothing");
    Ok(())
}
