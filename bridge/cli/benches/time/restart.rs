//! How long a restart takes after a kill, by the epochs that the log has.

use tidegate_core::Epoch;
use tidegate_testkit::bench::{median, settle, timed};

use crate::Bench;
use crate::events::Events;

/// Epochs between two checkpoints. Just before the next one is due there is the most to replay.
const CHECKPOINT_EPOCHS: u64 = 64;
/// Lengths of the log, in these.
const LENGTHS: [u64; 3] = [2, 16, 160];
const ROWS: u64 = 100_000;
const ROUNDS: usize = 7;
/// How much longer a restart may take with the longest log than with the shortest.
const GROWTH_LIMIT: f64 = 2.0;

pub fn measure(bench: &mut Bench) {
    let mut medians: Vec<f64> = Vec::new();
    for length in LENGTHS {
        let epochs = bench.scaled(length).max(LENGTHS[0]) * CHECKPOINT_EPOCHS;
        let mut events = Events::new(bench.scaled(ROWS));
        let (making_ms, ()) = timed(|| bench.runtime.block_on(events.killed_at(epochs)));
        events.keep();
        let (mut opens, mut runs, mut all, mut replays) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            events.put_back();
            settle();
            let (open_ms, (mut pipeline, replayed)) = timed(|| bench.runtime.block_on(events.open()));
            assert_eq!(pipeline.epoch(), Epoch(epochs), "everything that was logged is there");
            let (run_ms, run) = timed(|| bench.runtime.block_on(pipeline.run_once()).expect("it goes on"));
            assert_eq!(run.epochs, 0, "there was nothing to do");
            assert_eq!(pipeline.epoch(), Epoch(epochs), "nothing was left to be read");
            opens.push(open_ms);
            runs.push(run_ms);
            all.push(open_ms + run_ms);
            replays = replayed;
        }
        let caught_up = median(all);
        medians.push(caught_up);
        let figures = [
            ("open_ms", median(opens)),
            ("run_once_ms", median(runs)),
            ("caught_up_ms", caught_up),
            ("replayed_epochs", replays as f64),
            ("made_in_s", making_ms / 1e3),
        ];
        bench.report.measure(format!("restart after a kill, {epochs} epochs logged"), &figures);
    }
    if let [shortest, .., longest] = medians.as_slice() {
        bench.report.gate("restart, longest / shortest log", longest / shortest, GROWTH_LIMIT);
    }
}
