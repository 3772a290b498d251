//! The whole demo on this machine: a PostgreSQL server that lives as long as the demo, everything else in
//! a folder that stays.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tidegate_testkit::{Catalog, Lake, Postgres};

use crate::journal::{self, Journal};
use crate::print::{grouped, heading, table};
use crate::{PIPELINE, SINKS, folder, referee, stages, told_at_once};

/// How much of it.
#[derive(Args)]
pub struct Local {
    /// Rows that are there before
    #[arg(long, default_value_t = 100_000)]
    rows: u64,
    /// Commits of one row
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    commits: u64,
    /// Milliseconds between two commits
    #[arg(long, default_value_t = 50)]
    pause_ms: u64,
}

/// Whether the mart holds what a recompute gives.
pub fn run(arguments: &Local) -> Result<bool> {
    let folder = folder::fresh("demo-inlined")?;
    heading("A DuckLake with its catalog in PostgreSQL");
    let server = Postgres::start();
    let catalog = Catalog::postgres(&server);
    let Catalog::Postgres(connection) = &catalog else { unreachable!("it was just made") };
    let lake = Lake::create(&folder, catalog.clone());
    lake.attached(|duck| {
        duck.execute("CREATE TABLE lake.orders (id BIGINT, customer INTEGER, amount DECIMAL(9, 2))")?;
        duck.execute(&format!("INSERT INTO lake.orders SELECT i, i % 100, 2.5 FROM range({}) t(i)", arguments.rows))
    })?;
    println!(
        "  PostgreSQL {}, lake.orders with {} rows",
        server.value("postgres", "SHOW server_version"),
        grouped(arguments.rows)
    );

    heading("A pipeline that is told of commits");
    PIPELINE.lines().for_each(|line| println!("{}", format!("  {line}").trim_end()));
    let file = folder.join("pipeline.toml");
    fs::write(&file, PIPELINE).with_context(|| format!("{} cannot be written", file.display()))?;
    println!("\n  $ tidegate doctor pipeline.toml --install-notify");
    told_at_once(&folder, connection)?.lines().for_each(|line| println!("  {line}"));
    println!("\n  $ tidegate run pipeline.toml");
    let mut pipeline = Journal::start(&folder, &[("CATALOG", connection)])?;
    pipeline.wait("the first load", |entries| {
        SINKS.into_iter().all(|sink| journal::committed(entries, sink, 0).is_some()).then_some(())
    })?;

    heading("One row a commit, by DuckDB");
    let before = lake.snapshot();
    let committed = commit(&lake, arguments)?;
    let last = before + arguments.commits;
    ensure!(lake.snapshot() == last, "somebody else has written the lake");
    println!("  INSERT INTO lake.orders VALUES (…)   {} times, every {} ms", arguments.commits, arguments.pause_ms);
    let commits: Vec<(u64, SystemTime)> = (before + 1..).zip(committed).collect();
    let measured = pipeline.wait("the last commit in every sink", |entries| stages::measure(entries, &commits))?;
    pipeline.stop()?;

    heading("From the return of the commit, until …");
    table(&measured.since_commit, 2);
    heading("Each stage by itself");
    table(&measured.by_stage, 2);
    println!("\n  {} epochs for {} commits", grouped(measured.epochs), grouped(arguments.commits));

    heading("The mart, read with DuckDB");
    let equal = lake.attached(|duck| Ok(referee::compare(duck, &folder)))??;
    println!("\n  It all stays in {}, but for the server", folder.display());
    Ok(equal)
}

/// Commits the rows; when each commit returned.
fn commit(lake: &Lake, arguments: &Local) -> Result<Vec<SystemTime>> {
    let committed = lake.attached(|duck| {
        let commit = |n: u64| {
            thread::sleep(Duration::from_millis(arguments.pause_ms));
            duck.execute(&format!("INSERT INTO lake.orders VALUES ({}, {n} % 100, 1.5)", arguments.rows + n))?;
            Ok(SystemTime::now())
        };
        (0..arguments.commits).map(commit).collect()
    })?;
    Ok(committed)
}
