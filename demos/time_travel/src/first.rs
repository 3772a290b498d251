//! The short session that the README begins with: a lake, a pipeline over it, one more order. It is recorded by
//! `cargo xtask demo time-travel --first docs/src/quickstart.cast`.

use std::path::Path;

use anyhow::{Result, ensure};
use tidegate_duck::{Duck, Extension, quote_literal};

use crate::session::Session;

/// What the recording is called.
pub const TITLE: &str = "A first pipeline with Tidegate";
/// Columns and rows of the terminal.
pub const SIZE: (usize, usize) = (104, 28);
/// The folder that `tidegate init` makes.
const FOLDER: &str = "shop";

const MART: &str = "tidegate sql shop/pipeline.toml \"FROM revenue_by_region ORDER BY region\"";
const RUN: &str = "tidegate run shop/pipeline.toml --once";
/// Small enough to stay in the lake's catalog.
const ORDER: &str = "INSERT INTO lake.orders VALUES (5001, 1, 9999, DATE '2026-01-01');";

/// Goes from nothing in a folder to a result that has followed a change.
pub fn tell(session: &mut Session, folder: &Path) -> Result<()> {
    session.command("tidegate init shop")?;
    session.command(RUN)?;
    let before = session.command(MART)?;
    session.remark("An order comes, in DuckDB.");
    session.statement(ORDER, |sql| change(&folder.join(FOLDER), sql))?;
    session.command(RUN)?;
    let after = session.command(MART)?;
    ensure!(before != after, "the order has changed nothing");
    Ok(())
}

/// Changes the lake that `tidegate init` made.
fn change(folder: &Path, sql: &str) -> Result<()> {
    let duck = Duck::open_in_memory()?;
    duck.load(Extension::Ducklake)?;
    let catalog = quote_literal(&format!("ducklake:{}", folder.join("lake.ducklake").display()));
    Ok(duck.execute(&format!("ATTACH {catalog} AS lake; {sql}"))?)
}
