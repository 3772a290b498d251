//! What `tidegate estimate` says of pipelines of twelve shapes against what they then take: bytes of state and log, memory, the time of
//! the load and of epochs of a thousand changed rows. The gates are the error that it states; where they do not hold,
//! `src/estimate/coefficients.rs` has to be measured anew.
//!
//! `estimate [SHAPE …]` measures only these. `TIDEGATE_BENCH_SCALE=0.1` takes fewer rows, which says little of times and memory.

#[path = "../bulk/mod.rs"]
mod bulk;
mod keyed;
mod warm;

use std::path::Path;

use bulk::{Pipeline, Run, World, customers, orders};
use serde_json::Value;
use tidegate_testkit::Program;
use tidegate_testkit::bench::{Report, settle};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: u64 = 3_000_000;
const CHANGED: u64 = 1_000;
const ROUNDS: u64 = 10;

/// A view, and what only who knows the data can say of it.
type Shape = (&'static str, &'static str, &'static [&'static str]);

const SHAPES: [Shape; 11] = [
    ("filter", "SELECT id, customer, amount FROM lake.orders WHERE status = 'returned'", &["--filter", "filter=0.25"]),
    ("rows", "SELECT id, customer, amount, status FROM lake.orders", &[]),
    ("texts", "SELECT n.id, n.note FROM lake.notes n", &[]),
    (
        "few_groups",
        "SELECT status, count(*) AS n, sum(amount) AS total FROM lake.orders GROUP BY status",
        &["--groups", "few_groups=4"],
    ),
    ("groups", "SELECT customer, count(*) AS n, sum(amount) AS total FROM lake.orders GROUP BY customer", &[]),
    ("greatest", "SELECT customer, max(amount) AS most FROM lake.orders GROUP BY customer", &[]),
    (
        "join",
        "SELECT o.id, c.region, o.status, o.amount FROM lake.orders o JOIN lake.customers c ON c.id = o.customer",
        &["--changes", "lake.customers=0/day"],
    ),
    (
        "join_groups",
        "SELECT c.region, o.status, count(*) AS n, sum(o.amount) AS total FROM lake.orders o \
         JOIN lake.customers c ON c.id = o.customer GROUP BY c.region, o.status",
        &["--groups", "join_groups=400", "--changes", "lake.customers=0/day"],
    ),
    ("different", "SELECT DISTINCT customer, amount FROM lake.orders", &[]),
    ("first", "SELECT id, amount FROM lake.orders ORDER BY amount DESC, id LIMIT 100", &[]),
    ("running", "SELECT id, customer, sum(amount) OVER (PARTITION BY customer ORDER BY id) AS s FROM lake.orders", &[]),
];

/// What one pipeline took.
struct Taken {
    state_bytes: f64,
    log_bytes: f64,
    load: Run,
    epoch_ms: f64,
}

/// A command that answers with JSON.
fn told(verb: &str, file: &Path, arguments: &[&str]) -> Value {
    let file = file.to_string_lossy();
    let program = Program::new(env!("CARGO_BIN_EXE_tidegate")).arguments([verb, "--json", &file]);
    program.arguments(arguments.iter().copied()).run().expect(0).json()
}

/// What the estimate says where each round is a commit of a day.
fn estimated(pipeline: &Pipeline, table: &str, more: &[&str]) -> Value {
    let source = table.split('.').next().expect("a table has a source");
    let (changes, commits) = (format!("{table}={}/day", CHANGED * ROUNDS), format!("{source}={ROUNDS}/day"));
    told("estimate", &pipeline.file(), &[&["--changes", &changes, "--commits", &commits], more].concat())
}

/// Loads, changes and measures.
fn take(pipeline: &Pipeline, view: &str, loaded: impl FnOnce(), change: impl FnMut(u64)) -> Taken {
    let log = || pipeline.bytes("state/log") as f64;
    settle();
    let load = pipeline.run();
    loaded();
    // What was merged has gone by now, which the process counted in its status.
    let state_bytes = pipeline.bytes(&format!("state/engine/{view}-1")) as f64;
    let before = log();
    let epoch_ms = warm::epoch_ms(pipeline, ROUNDS, change);
    Taken { state_bytes, log_bytes: log() - before, load, epoch_ms }
}

/// Notes both, and has the error that is stated for a gate.
fn compare(report: &mut Report, name: &str, estimate: &Value, taken: &Taken) {
    let number = |of: &Value| of.as_f64().expect("a number");
    let (total, view) = (&estimate["total"], &estimate["views"][name]);
    let pairs = [
        ("state_mib", "bytes", taken.state_bytes / 1_048_576.0, number(&view["state_bytes"]) / 1_048_576.0),
        ("log_kib", "bytes", taken.log_bytes / 1024.0, number(&total["log_bytes_per_day"]) / 1024.0),
        ("memory_mib", "bytes", taken.load.peak_mib, number(&total["memory_bytes"]) / 1_048_576.0),
        ("load_ms", "times", taken.load.elapsed_ms, number(&total["load_ms"])),
        ("epoch_ms", "times", taken.epoch_ms, number(&view["epoch_1000_ms"])),
    ];
    let names = pairs.map(|(what, ..)| format!("said_{what}"));
    let mut figures: Vec<(&str, f64)> = Vec::new();
    for ((what, _, took, said), name) in pairs.iter().zip(&names) {
        figures.extend([(*what, *took), (name.as_str(), *said)]);
    }
    // What the load is made of, for whoever measures the coefficients anew.
    let load = &taken.load;
    figures.extend([
        ("rows", number(&load.summary["source_rows"])),
        ("read_ms", load.read_ms),
        ("step_ms", load.step_ms),
        ("commit_ms", load.commit_ms),
        ("checkpoint_ms", load.checkpoint_ms),
    ]);
    report.measure(name, &figures);
    for (what, kind, took, said) in pairs {
        report.gate(
            format!("{name}: {what} off by a factor"),
            (took / said).max(said / took),
            number(&estimate["error"][kind]),
        );
    }
}

fn main() -> std::process::ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let scale = std::env::var("TIDEGATE_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let versions = [("dbsp", "0.349.0"), ("duckdb", "1.5.5"), ("ducklake", "1.0"), ("arrow", "58")];
    let mut report = Report::new("estimate", &versions);
    let rows = (ROWS as f64 * scale) as u64;
    let world = World::new(rows);
    world.lake.execute(&format!(
        "CREATE TABLE lake.notes (id BIGINT, note VARCHAR); \
         INSERT INTO lake.notes SELECT i, md5(i::VARCHAR) FROM range({rows}) t(i)"
    ));
    let mut changed = 0;
    for (name, sql, more) in SHAPES.into_iter().filter(|(name, ..)| wanted(name)) {
        let pipeline = world.pipeline(name, &[(name, sql)], "workers = 1");
        let table = if name == "texts" { "lake.notes" } else { "lake.orders" };
        let estimate = estimated(&pipeline, table, more);
        let loaded = || {
            let (_, computed) = world.computed(name, sql, &bulk::options());
            pipeline.assert_equals(name, &computed);
        };
        let change = |_| {
            let (gone, come) = (changed, rows + changed);
            changed += CHANGED / 2;
            let half = CHANGED / 2;
            let insert = match table {
                "lake.notes" => format!("SELECT i, md5(i::VARCHAR) FROM range({come}, {}) t(i)", come + half),
                _ => orders(come, come + half, customers(rows)),
            };
            world.lake.execute(&format!(
                "BEGIN; DELETE FROM {table} WHERE id >= {gone} AND id < {}; INSERT INTO {table} {insert}; COMMIT",
                gone + half
            ));
        };
        let taken = take(&pipeline, name, loaded, change);
        compare(&mut report, name, &estimate, &taken);
    }
    if wanted(keyed::NAME) {
        keyed::measure(&mut report, rows);
    }
    report.finish()
}
