//! What a pipeline tells of its epochs, as times.

use std::sync::Mutex;
use std::time::Instant;

use tidegate_runtime::{Observer, Progress};
use tidegate_testkit::bench::percentile;

/// When each epoch was there, and how many changes it had. One client commits one row at a time, so the
/// n-th change is that of the n-th commit.
#[derive(Default)]
pub struct Seen(Mutex<Times>);

#[derive(Default)]
struct Times {
    stepped: Vec<(u64, u64, Instant)>,
    committed: Vec<(u64, Instant)>,
}

impl Observer for Seen {
    fn notify(&self, event: Progress<'_>) {
        let mut times = self.0.lock().expect("nobody panics with it");
        match event {
            Progress::EpochStepped { header, source_rows, .. } => {
                times.stepped.push((header.epoch.0, source_rows, Instant::now()));
            }
            Progress::Committed { epoch, .. } => times.committed.push((epoch.0, Instant::now())),
            _ => {}
        }
    }
}

impl Seen {
    /// Forgets them.
    pub fn clear(&self) {
        *self.0.lock().expect("nobody panics with it") = Times::default();
    }

    /// Milliseconds from each commit until its epoch was there, or visible: median, 90th and 99th percentile, and the most.
    pub fn percentiles(&self, commits: &[Instant], visible: bool) -> [(&'static str, f64); 4] {
        let mut times = self.latencies(commits, visible);
        assert_eq!(times.len(), commits.len(), "every commit came out");
        times.sort_by(f64::total_cmp);
        let at = |share: f64| percentile(&times, share);
        [("p50_ms", at(0.5)), ("p90_ms", at(0.9)), ("p99_ms", at(0.99)), ("max_ms", at(1.0))]
    }

    fn latencies(&self, commits: &[Instant], visible: bool) -> Vec<f64> {
        let times = self.0.lock().expect("nobody panics with it");
        let mut commits = commits.iter();
        let mut latencies = Vec::new();
        for (epoch, rows, stepped) in &times.stepped {
            let shown = times.committed.iter().find(|(committed, _)| committed >= epoch).map(|(_, at)| *at);
            let Some(there) = (if visible { shown } else { Some(*stepped) }) else { continue };
            for commit in commits.by_ref().take(*rows as usize) {
                latencies.push(there.saturating_duration_since(*commit).as_secs_f64() * 1e3);
            }
        }
        latencies
    }
}
