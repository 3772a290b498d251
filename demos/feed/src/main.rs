//! The demo `feed`: a GROUP BY over a DuckLake that changes by ten rows a round, kept up to date in four ways:
//! computed anew, by comparing two snapshots, by the extension's `table_changes`, and by Tidegate. It says what
//! each costs on this machine, and after each round whether its result is what a recompute gives. Run it with
//! `cargo xtask demo feed`.

#[path = "../../folder.rs"]
mod folder;
#[path = "../../journal.rs"]
mod journal;
mod lake;
#[path = "../../print.rs"]
mod print;
mod rounds;
#[path = "../../running.rs"]
mod running;
mod tide;
#[path = "../../times.rs"]
mod times;
mod ways;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use journal::Journal;
use lake::Lake;
use print::{grouped, heading, query, table};
use rounds::{ROUNDS, Round};
use tide::Tide;
use times::milliseconds;
use ways::Way;

/// A GROUP BY over a DuckLake, kept up to date in four ways
#[derive(Parser)]
#[command(name = "tidegate-demo-feed")]
struct Arguments {
    /// Rows of the table
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// How often the changes are gone through
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
}

/// How many ways there are besides Tidegate.
const WAYS: usize = Way::ALL.len();

/// What a round cost each way, in milliseconds, and by how many rows each result differed from a recompute after it.
struct Outcome {
    title: &'static str,
    ways_ms: [f64; WAYS],
    tide: Tide,
    ways_differ: [u64; WAYS],
    tidegate_differs: u64,
}

fn main() -> ExitCode {
    print::ended(run(&Arguments::parse()))
}

/// Whether Tidegate's result was always that of a recompute.
fn run(arguments: &Arguments) -> Result<bool> {
    let needed = 1_000 * (arguments.rounds * ROUNDS.len() as u64 + 1);
    ensure!(arguments.rows >= needed, "the changes need {} rows or more", grouped(needed));
    let folder = folder::fresh("demo-feed")?;
    heading("A lake");
    let lake = Lake::create(&folder, arguments.rows)?;
    println!("  lake.orders  {} rows", grouped(arguments.rows));
    Way::ALL.into_iter().try_for_each(|way| way.load(lake.duck()))?;

    heading("A pipeline");
    ways::PIPELINE.lines().for_each(|line| println!("{}", format!("  {line}").trim_end()));
    let file = folder.join("pipeline.toml");
    fs::write(&file, ways::PIPELINE).with_context(|| format!("{} cannot be written", file.display()))?;
    println!("\n  $ tidegate run pipeline.toml");
    let started = Instant::now();
    let mut bridge = Journal::start(&folder, &[])?;
    tide::until_loaded(&mut bridge)?;
    println!("  the first load is in the mart after {}", milliseconds(started.elapsed().as_secs_f64() * 1e3));

    heading("What the extension's feed says");
    let mut outcomes = Vec::new();
    let changes = (0..arguments.rounds).flat_map(|_| ROUNDS);
    for (n, round) in (1..).zip(changes) {
        let outcome = follow(&lake, &mut bridge, &folder, round, n);
        outcomes.push(outcome.with_context(|| format!("the round `{}`", round.title))?);
    }
    bridge.stop()?;
    show(&outcomes);
    println!("\n  It all stays in {}", folder.display());
    Ok(outcomes.iter().all(|outcome| outcome.tidegate_differs == 0))
}

/// Changes the lake, and has every way follow.
fn follow(lake: &Lake, bridge: &mut Journal, folder: &Path, round: &Round, n: u64) -> Result<Outcome> {
    let from = lake.newest()?;
    lake.change(&round.sql(n))?;
    let to = lake.newest()?;
    // Nothing else runs while one of the ways does.
    let tide = if to > from { tide::until_followed(bridge, to)? } else { Tide::default() };
    let (mut ways_ms, mut ways_differ) = ([0.0; WAYS], [0; WAYS]);
    let duck = lake.duck();
    for (at, way) in Way::ALL.into_iter().enumerate() {
        ways_ms[at] = way.refresh_ms(duck, from, to)?;
        ways_differ[at] = ways::differences(duck, way.table())?;
    }
    if round.is_upkeep {
        println!("  After {}, which changes no row:\n", round.title);
        let sql = format!(
            "SELECT change_type, count(*) AS rows\n\
             FROM ducklake_table_changes('lake', 'main', 'orders', {}, {to}) GROUP BY ALL ORDER BY ALL",
            from + 1
        );
        query(duck, &sql)?;
    }
    let tidegate_differs = ways::mart_differs(duck, &folder.join("mart.duckdb"))?;
    Ok(Outcome { title: round.title, ways_ms, tide, ways_differ, tidegate_differs })
}

fn show(outcomes: &[Outcome]) {
    let titled = |first: &str, rest: &[&str]| {
        let ways = Way::ALL.map(Way::title);
        [first].iter().chain(&ways).chain(rest).map(|&title| title.to_owned()).collect::<Vec<_>>()
    };
    heading("What a refresh takes");
    let mut lines = vec![titled("change", &["tidegate", "read", "log and step", "commit", "rows"])];
    for outcome in outcomes {
        let mut line = vec![outcome.title.to_owned()];
        line.extend(outcome.ways_ms.map(milliseconds));
        let tide = &outcome.tide;
        line.extend([tide.total_ms(), tide.read_ms, tide.step_ms, tide.commit_ms].map(milliseconds));
        line.push(grouped(tide.rows));
        lines.push(line);
    }
    table(&lines, 2);
    println!("\n  recompute, EXCEPT ALL, table_changes: in a DuckDB that has the lake attached already.");
    println!(
        "  tidegate: from the poll that finds the change to the mart that has it, in a process that runs: it reads"
    );
    println!(
        "  the change, logs it, steps the view, and commits to the mart. rows: what it read. Upkeep makes no epoch."
    );

    heading("Rows of the result that differ from a recompute");
    let mut lines = vec![titled("after", &["tidegate"])];
    for outcome in outcomes {
        let differ = outcome.ways_differ.iter().chain([&outcome.tidegate_differs]);
        lines.push([outcome.title.to_owned()].into_iter().chain(differ.map(|&rows| grouped(rows))).collect());
    }
    table(&lines, 2);

    heading("In short");
    let mut lines = vec![["way", "median", "slowest", "equal to a recompute"].map(str::to_owned).to_vec()];
    for (at, way) in Way::ALL.into_iter().enumerate() {
        let times = outcomes.iter().map(|outcome| outcome.ways_ms[at]).collect();
        lines.push(summary(way.title(), times, outcomes.iter().filter(|o| o.ways_differ[at] > 0).count()));
    }
    let wrong = outcomes.iter().filter(|outcome| outcome.tidegate_differs > 0).count();
    let times = outcomes.iter().map(|outcome| outcome.tide.total_ms()).collect();
    lines.push(summary("tidegate", times, wrong));
    table(&lines, 2);
}

/// A way's line: its times, and after how many changes it was wrong.
fn summary(title: &str, mut times: Vec<f64>, wrong: usize) -> Vec<String> {
    let rounds = times.len();
    times.sort_by(f64::total_cmp);
    let equal = if wrong == 0 { "always".to_owned() } else { format!("no, after {wrong} of {rounds} changes") };
    vec![title.to_owned(), milliseconds(times[rounds / 2]), milliseconds(times[rounds - 1]), equal]
}
