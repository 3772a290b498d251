//! A join of a hundred million orders with their customers, kept with `memory_limit = "4GiB"`: the load, epochs of a thousand
//! changed rows with their checkpoints, and a restart; the most memory of each process, against the limit.
//!
//! `TIDEGATE_BENCH_SCALE=0.1` takes fewer orders.

mod bulk;

use bulk::{Run, World, customers, orders};
use tidegate_duck::Options;
use tidegate_testkit::bench::{Report, median, settle};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: u64 = 100_000_000;
const CHANGED: u64 = 1_000;
const ROUNDS: u64 = 5;
const LIMIT_GIB: u64 = 4;
const VIEW: &str =
    "SELECT o.id, c.region, o.status, o.amount FROM lake.orders o JOIN lake.customers c ON c.id = o.customer";

/// Changes orders of the lake, half of them gone and half new.
fn change(world: &World, rows: u64, round: u64) {
    let half = CHANGED / 2;
    let (gone, come) = (round * half, rows + round * half);
    world.lake.execute(&format!(
        "BEGIN; DELETE FROM lake.orders WHERE id >= {gone} AND id < {}; INSERT INTO lake.orders {}; COMMIT",
        gone + half,
        orders(come, come + half, customers(rows)),
    ));
}

fn main() -> std::process::ExitCode {
    let scale = std::env::var("TIDEGATE_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let versions = [("dbsp", "0.349.0"), ("duckdb", "1.5.5"), ("ducklake", "1.0"), ("arrow", "58")];
    let mut report = Report::new("large", &versions);
    let rows = (ROWS as f64 * scale) as u64;
    let world = World::new(rows);
    let pipeline =
        world.pipeline("large", &[("v", VIEW)], &format!("memory_limit = \"{LIMIT_GIB}GiB\"\ncheckpoint_epochs = 1"));
    let mut peaks = Vec::new();
    let mut measure = |case: String, runs: &[Run]| {
        let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        let peak = runs.iter().map(|run| run.peak_mib).fold(0.0, f64::max);
        report.measure(
            case,
            &[
                ("elapsed_ms", of(|run| run.elapsed_ms)),
                ("read_ms", of(|run| run.read_ms)),
                ("step_ms", of(|run| run.step_ms)),
                ("commit_ms", of(|run| run.commit_ms)),
                ("checkpoint_ms", of(|run| run.checkpoint_ms)),
                ("peak_rss_mib", peak),
                ("state_gib", pipeline.bytes("state") as f64 / f64::from(1 << 30)),
            ],
        );
        peaks.push(peak);
    };
    settle();
    measure(format!("load of {rows} orders"), &[pipeline.run()]);
    settle();
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        change(&world, rows, round);
        rounds.push(pipeline.run());
        assert_eq!(rounds[round as usize].summary["epochs"].as_u64(), Some(1), "a change is an epoch");
    }
    measure(format!("restart, and {CHANGED} changed rows"), &rounds);
    measure("restart, and nothing new".to_owned(), &[pipeline.run()]);
    let options = Options { memory_limit: Some("8GiB".to_owned()), ..bulk::options() };
    let (duckdb_ms, computed) = world.computed("large", VIEW, &options);
    pipeline.assert_equals("v", &computed);
    report.measure("DuckDB, computed anew".to_owned(), &[("elapsed_ms", duckdb_ms)]);
    let peak = peaks.into_iter().fold(0.0, f64::max);
    report.gate("the most memory / memory_limit", peak / (LIMIT_GIB * 1024) as f64, 1.0);
    report.finish()
}
