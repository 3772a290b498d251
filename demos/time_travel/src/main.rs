//! The demo `time-travel`: a number on a page jumps, because a batch came into the lake in cents. The batch is found in
//! the past of the views, its correction is tried on a branch, the views go back, the lake is corrected, and the pipeline
//! goes on. Every command is run as it is shown. Run it with `cargo xtask demo time-travel`.
//!
//! With Docker Compose `tidegate run` follows a lake that gets the batches by itself, and each subcommand is a container.

mod cast;
#[path = "../../changes.rs"]
mod changes;
mod days;
mod first;
#[path = "../../folder.rs"]
mod folder;
#[path = "../../following.rs"]
mod following;
mod lake;
#[path = "../../mart.rs"]
mod mart;
#[path = "../../print.rs"]
mod print;
#[path = "../../recompute.rs"]
mod recompute;
mod recorded;
mod session;
#[path = "../../sqlite_lake.rs"]
mod sqlite_lake;
mod story;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use tidegate_duck::{Duck, quote_literal};

use cast::Cast;
use lake::Lake;
use print::{heading, query};
use session::Session;

/// The pipeline file.
const PIPELINE: &str = include_str!("../shop.toml");
/// Its name in the folder.
const FILE: &str = "shop.toml";

/// Time-travel debugging: from a number that jumps to the batch that did it, and back
#[derive(Parser)]
#[command(name = "tidegate-demo-time-travel", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Writes the session to this file as an asciinema cast, and an animated SVG beside it; a page FILE.md beside it that
    /// shows commands of the session gets what they said
    #[arg(long, value_name = "FILE.cast")]
    record: Option<PathBuf>,
    /// Records the short session that README.md begins with instead, as a cast with its animated SVG
    #[arg(long, value_name = "FILE.cast", conflicts_with = "record")]
    first: Option<PathBuf>,
    /// The folder with the program `tidegate`, instead of this program's
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Brings batch after batch into the lake in the working folder until it is stopped; the fourth is bad
    Load,
    /// Whether the lake is there
    Ready,
    /// Corrects the bad batch
    Correct,
    /// Waits until the pipeline has caught up and compares every view with a recompute; stop the load first
    Check,
}

fn main() -> ExitCode {
    print::ended(run(&Arguments::parse()))
}

/// Whether the views are what a recompute gives, where they are compared.
fn run(arguments: &Arguments) -> Result<bool> {
    if let Some(file) = &arguments.first {
        return begin_with(file, arguments.programs.as_deref());
    }
    let Some(command) = &arguments.command else { return on_this_machine(arguments) };
    let folder = std::env::current_dir()?;
    match command {
        Command::Load => days::bring(&folder)?,
        Command::Ready => ensure!(days::is_ready(&folder)?, "the lake is not there yet"),
        Command::Correct => Lake::open(&folder)?.change(lake::CORRECTION)?,
        Command::Check => {
            days::wait(&folder)?;
            return compare(&folder);
        }
    }
    Ok(true)
}

/// The whole demo, in a folder that stays.
fn on_this_machine(arguments: &Arguments) -> Result<bool> {
    let folder = folder::fresh("demo-time-travel")?;
    let file = folder.join(FILE);
    fs::write(&file, PIPELINE).with_context(|| format!("{} cannot be written", file.display()))?;
    let lake = Lake::open(&folder)?;
    let begin = || {
        Session::begin(
            &folder,
            arguments.programs.as_deref(),
            Cast::new("Time-travel debugging with Tidegate", (116, 32)),
        )
    };
    heading("Three days of orders in a lake, and a pipeline that follows them");
    let mut before = begin()?;
    for day in lake::GOOD_DAYS {
        lake.change(day)?;
        before.command("tidegate run shop.toml --once")?;
    }
    heading("A bad batch");
    let mut session = begin()?;
    story::tell(&mut session, &lake)?;
    let cast = session.end();
    heading("What followers of the Parquet deltas saw, read with DuckDB");
    show_changes(&folder)?;
    heading("Every view against a full recompute, row by row");
    let equal = compare(&folder)? && branch_was_right(&folder)?;
    if let Some(file) = &arguments.record {
        record(&cast, file, &folder)?;
    }
    println!("\n  It all stays in {}", folder.display());
    Ok(equal)
}

/// The short session, which checks itself as far as that its view has changed.
fn begin_with(file: &Path, programs: Option<&Path>) -> Result<bool> {
    let folder = folder::fresh("demo-first")?;
    let mut session = Session::begin(&folder, programs, Cast::new(first::TITLE, first::SIZE))?;
    first::tell(&mut session, &folder)?;
    record(&session.end(), file, &folder)?;
    Ok(true)
}

/// The changes of each epoch, and that they add up.
fn show_changes(folder: &Path) -> Result<()> {
    let duck = changes::open(folder)?;
    query(
        &duck,
        "SELECT _commit_version AS epoch, region, revenue, _change_type AS change\nFROM sales_changes(3, 6) WHERE region = 'north'\n\
         ORDER BY epoch, change",
    )
}

/// Where the results are.
const PLACES: [recompute::Place<'_>; 2] = [("mart", "the mart"), ("memory", "the Parquet deltas")];

/// Compares every view with what DuckDB computes from the lake. Prints a line a view; whether all were equal.
fn compare(folder: &Path) -> Result<bool> {
    let duck = changes::open(folder)?;
    sqlite_lake::attach(&duck, folder)?;
    mart::attach(&duck, &folder.join("out/mart.duckdb"))?;
    let mut views = recompute::views(PIPELINE);
    views.push(("lake_orders", "SELECT * FROM lake.orders"));
    recompute::compare(&duck, &views, &PLACES)
}

/// Whether what was tried on the branch is what came of it.
fn branch_was_right(folder: &Path) -> Result<bool> {
    let mart = quote_literal(&folder.join("out/mart.duckdb").to_string_lossy());
    let branch = Duck::open(&folder.join("look/mart.duckdb"), &tidegate_duck::Options::default())?;
    branch.execute(&format!("ATTACH {mart} AS page (READ_ONLY)"))?;
    let sql = "SELECT count(*)::UBIGINT FROM page.main.sales s FULL JOIN mended m USING (region)
               WHERE s.revenue IS DISTINCT FROM m.revenue OR s.orders IS DISTINCT FROM m.orders";
    let tried: u64 = branch.connection().query_row(sql, [], |row| row.get(0)).map_err(|error| branch.error(&error))?;
    println!("\n  Regions in which the correction that was tried on the branch gave another result: {tried}");
    Ok(tried == 0)
}

/// Writes the recording, its picture, and the page beside it that shows them, if there is one.
fn record(cast: &Cast, file: &Path, folder: &Path) -> Result<()> {
    let place = folder.to_string_lossy();
    let text = cast.text();
    ensure!(!text.contains(place.as_ref()), "the recording has the folder {place} in it, which is nobody's business");
    // As it will be read again: times are rounded.
    let cast = Cast::parse(&text)?;
    let (picture, page) = (file.with_extension("svg"), file.with_extension("md"));
    let mut files = vec![(file, text), (&picture, svg::render(&cast)?)];
    if page.is_file() {
        let old = fs::read_to_string(&page).with_context(|| format!("{} cannot be read", page.display()))?;
        files.push((&page, recorded::retold(&old, &cast)?));
    }
    println!();
    for (file, text) in files {
        fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
        println!("  Recorded in {}", file.display());
    }
    Ok(())
}
