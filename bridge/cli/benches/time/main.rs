//! What the past costs: a restart, by the length of the log; a rewind, by its distance; a row as it was, by the length of
//! the history; and a commit of a view that keeps its history, next to one that does not.
//!
//! `time [PART …]` measures only these: restart, rewind, asof, temporal. `TIDEGATE_BENCH_SCALE=0.02` is a factor on rows
//! and epochs.

mod asof;
mod events;
mod forgetful;
#[path = "../sinks/orders.rs"]
mod orders;
mod restart;
mod rewinds;
mod temporal;

use tidegate_testkit::bench::Report;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A part, and what measures it.
type Part = (&'static str, fn(&mut Bench));

const PARTS: [Part; 4] = [
    ("restart", restart::measure),
    ("rewind", rewinds::measure),
    ("asof", asof::measure),
    ("temporal", temporal::measure),
];

struct Bench {
    runtime: Runtime,
    report: Report,
    scale: f64,
}

impl Bench {
    fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(1)
    }
}

fn main() -> std::process::ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = asked.iter().find(|asked| PARTS.iter().all(|(name, _)| name != asked)) {
        let names: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no part {unknown}: there are {}", names.join(", "));
        std::process::exit(2);
    }
    let scale = std::env::var("TIDEGATE_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let versions = [("dbsp", "0.349.0"), ("duckdb", "1.5.5"), ("ducklake", "1.0"), ("arrow", "58")];
    let report = Report::new("time", &versions);
    let mut bench = Bench { runtime: Runtime::new().expect("the runtime starts"), report, scale };
    for (_, measure) in PARTS.iter().filter(|(name, _)| asked.is_empty() || asked.iter().any(|asked| asked == name)) {
        measure(&mut bench);
    }
    bench.report.finish()
}
