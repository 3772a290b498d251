//! The demo `inlined`: a DuckLake with its catalog in PostgreSQL, an ordinary DuckDB that commits one row at a time,
//! which DuckLake keeps in the catalog, and a running pipeline that is told of each commit. It says what a row waits
//! for on its way from the commit to the mart. Run it with `cargo xtask demo inlined`.

#[path = "../../folder.rs"]
mod folder;
#[path = "../../journal.rs"]
mod journal;
#[path = "../../print.rs"]
mod print;
#[path = "../../running.rs"]
mod running;
mod stages;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tidegate_duck::{Duck, quote_literal};
use tidegate_testkit::{Catalog, Lake, Postgres};

use journal::{Journal, tidegate};
use print::{grouped, heading, query, table};

/// The pipeline file.
const PIPELINE: &str = include_str!("pipeline.toml");
/// The sinks of the pipeline file, in the order in which they are shown.
const SINKS: [&str; 2] = ["changes", "mart"];

/// What a row that a lake keeps in its catalog waits for on its way into a mart
#[derive(Parser)]
#[command(name = "tidegate-demo-inlined")]
struct Arguments {
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

fn main() -> ExitCode {
    print::ended(run(&Arguments::parse()))
}

/// Whether the mart holds what a recompute gives.
fn run(arguments: &Arguments) -> Result<bool> {
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
    let site = Site { folder: &folder, connection };
    println!("\n  $ tidegate doctor pipeline.toml --install-notify");
    site.doctor()?.lines().for_each(|line| println!("  {line}"));
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
    let equal = lake.attached(|duck| Ok(show(duck, &folder)))??;
    println!(
        "  {}",
        if equal { "It is what DuckDB computes from the lake." } else { "DuckDB computes something else." }
    );
    println!("\n  It all stays in {}, but for the server", folder.display());
    Ok(equal)
}

/// Commits the rows; when each commit returned.
fn commit(lake: &Lake, arguments: &Arguments) -> Result<Vec<SystemTime>> {
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

/// Shows some of the mart; whether all of it is what DuckDB computes from the attached lake.
fn show(duck: &Duck, folder: &Path) -> Result<bool> {
    let mart = folder.join("mart.duckdb");
    duck.execute(&format!("ATTACH {} AS mart (READ_ONLY)", quote_literal(&mart.to_string_lossy())))?;
    query(duck, "SELECT * FROM mart.main.spending ORDER BY spent DESC, customer LIMIT 3")?;
    let view = PIPELINE.split("\"\"\"").nth(1).context("the pipeline file has one view")?;
    let missing = |left: &str, right: &str| {
        let sql = format!("SELECT count(*)::UBIGINT FROM (({left}) EXCEPT ALL ({right}))");
        duck.connection().query_row(&sql, [], |row| row.get::<_, u64>(0)).map_err(|error| duck.error(&error))
    };
    let held = "FROM mart.main.spending";
    let differences = missing(held, view)? + missing(view, held)?;
    let columns =
        |sql: &str| duck.describe_columns(sql).map(|columns| columns.into_iter().map(|c| (c.0, c.1)).collect());
    let [held, computed]: [Vec<(String, String)>; 2] = [columns(held)?, columns(view)?];
    duck.execute("DETACH mart")?;
    Ok(differences == 0 && held == computed)
}

/// Where the pipeline is, and what its file reads from the environment.
struct Site<'a> {
    folder: &'a Path,
    connection: &'a str,
}

impl Site<'_> {
    /// Has the catalog tell of commits; what is said of that.
    fn doctor(&self) -> Result<String> {
        let mut command = tidegate(self.folder, "doctor")?;
        let output = command.arg("--install-notify").env("CATALOG", self.connection).output()?;
        ensure!(
            output.status.success(),
            "`tidegate doctor` failed ({})\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
