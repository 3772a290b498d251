//! What a rewind costs, by its distance and by the size of the table.

use std::sync::Arc;

use tidegate_core::Epoch;
use tidegate_runtime::{Moment, RewindOptions, RewindSummary, RewindWay, Silent, rewind};
use tidegate_testkit::bench::{median, settle, timed};

use crate::Bench;
use crate::events::Events;

const TABLES: [u64; 2] = [10_000, 1_000_000];
const DISTANCES: [u64; 3] = [10, 100, 1_000];
/// Epochs after which the pipeline ended: of no round number, so that checkpoints lie anyhow.
const MORE_EPOCHS: u64 = 107;
const ROUNDS: usize = 3;
/// Epochs between two checkpoints, and how many between those that stay are little enough; small epochs count as
/// one each.
const CHECKPOINT_EPOCHS: u64 = 64;
const DENSE_EPOCHS: u64 = 64;
/// A distance to the newest checkpoint, over what may lie between two of that age.
const SPARSE: u64 = 4;
/// How much longer it may take on the larger table to take ten epochs back.
const GROWTH_LIMIT: f64 = 2.0;
/// How much longer the way that is chosen may take than the faster one.
const CHOICE_LIMIT: f64 = 1.5;

pub fn measure(bench: &mut Bench) {
    let mut tens: Vec<f64> = Vec::new();
    let (mut worst, mut choice) = (0.0_f64, 0.0_f64);
    for rows in TABLES {
        let rows = bench.scaled(rows).max(100);
        let mut events = Events::new(rows);
        let farthest = bench.scaled(DISTANCES[2]).max(DISTANCES[0]);
        let head = farthest + MORE_EPOCHS;
        bench.runtime.block_on(events.run_to(head));
        events.keep();
        events.put_back();
        let (open_ms, (pipeline, _)) = timed(|| bench.runtime.block_on(events.open()));
        drop(pipeline);
        bench.report.measure(format!("rewind, {rows} rows: to open alone"), &[("open_ms", open_ms)]);
        for distance in DISTANCES.into_iter().filter(|distance| *distance <= farthest) {
            let mut fastest = f64::INFINITY;
            for (name, way) in [("undo", Some(RewindWay::Undo)), ("replay", Some(RewindWay::Replay)), ("default", None)]
            {
                let (elapsed, summary) = rewound(bench, &events, head - distance, way);
                if name == "undo" && distance == DISTANCES[0] {
                    tens.push(elapsed);
                }
                match name {
                    "default" => choice = choice.max(elapsed / fastest),
                    _ => fastest = fastest.min(elapsed),
                }
                if summary.way == RewindWay::Replay {
                    worst = worst.max(summary.distance as f64 / bound(distance) as f64);
                }
                let went = |way| if summary.way == way { summary.distance as f64 } else { 0.0 };
                let figures = [
                    ("rewind_ms", elapsed),
                    ("undone_epochs", went(RewindWay::Undo)),
                    ("replayed_epochs", went(RewindWay::Replay)),
                ];
                bench.report.measure(format!("rewind, {rows} rows: {name} over {distance} epochs"), &figures);
            }
        }
    }
    bench.report.gate("rewind, epochs replayed / what the ladder promises", worst, 1.0);
    bench.report.gate("rewind, the chosen way / the faster one", choice, CHOICE_LIMIT);
    if let [small, large] = tens.as_slice() {
        bench.report.gate("undo of 10 epochs, larger / smaller table", large / small, GROWTH_LIMIT);
    }
}

/// Goes back several times; the time it took at the median, and what the last one did.
fn rewound(bench: &Bench, events: &Events, to: u64, way: Option<RewindWay>) -> (f64, RewindSummary) {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        events.put_back();
        settle();
        let options = RewindOptions { discard_after: false, way };
        let moment = Moment::Epoch(Epoch(to));
        let run = rewind(events.config(), events.connectors(), &moment, &options, Arc::new(Silent));
        let (elapsed, summary) = timed(|| bench.runtime.block_on(run).expect("the rewind"));
        assert_eq!(summary.to, Epoch(to));
        times.push(elapsed);
        last = Some(summary);
    }
    (median(times), last.expect("there was a round"))
}

/// The epochs that have to be replayed at the most to get as far back as that.
fn bound(distance: u64) -> u64 {
    DENSE_EPOCHS.max(distance / SPARSE) + CHECKPOINT_EPOCHS
}
