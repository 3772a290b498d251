//! What is shown while a pipeline works: a bar while loading on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use tidegate_runtime::{Observer, Progress};

/// Rows between two plain lines.
const LINE_ROWS: u64 = 1_000_000;

/// Shows progress on standard error.
#[derive(Default)]
pub struct Display {
    bar: Mutex<Option<ProgressBar>>,
    loaded: AtomicU64,
    /// Rows that the sources have announced.
    expected: AtomicU64,
}

impl Display {
    fn with_bar(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        // A bar is never left half changed, so a poisoned lock is as good as another.
        act(&mut self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// Without an estimate a load begins; with one a further source says how many rows it has.
    fn load_started(&self, rows_estimate: Option<u64>) {
        let (loaded, expected) = match rows_estimate {
            None => {
                self.loaded.store(0, Ordering::Relaxed);
                self.expected.store(0, Ordering::Relaxed);
                (0, 0)
            }
            Some(rows) => {
                (self.loaded.load(Ordering::Relaxed), self.expected.fetch_add(rows, Ordering::Relaxed) + rows)
            }
        };
        if !std::io::stderr().is_terminal() {
            if let Some(rows) = rows_estimate {
                tracing::info!(name: "loading", rows_estimate = rows, "loading");
            }
            return;
        }
        self.with_bar(|shown| *shown = Some(bar(expected).with_position(loaded)));
    }

    fn rows_loaded(&self, rows: u64) {
        let before = self.loaded.fetch_add(rows, Ordering::Relaxed);
        self.with_bar(|bar| match bar {
            Some(bar) => bar.inc(rows),
            None if (before + rows) / LINE_ROWS > before / LINE_ROWS => {
                tracing::info!(name: "loading", rows = before + rows, "loading")
            }
            None => {}
        });
    }

    fn load_finished(&self) {
        self.with_bar(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
        tracing::info!(name: "loaded", rows = self.loaded.load(Ordering::Relaxed), "loaded");
    }
}

/// A bar for a load of so many rows, or of nobody knows how many where that is 0. Draws on a terminal alone.
pub fn bar(expected: u64) -> ProgressBar {
    match expected {
        0 => ProgressBar::no_length().with_style(style("{spinner} {human_pos} rows, {rate}")),
        rows => ProgressBar::new(rows).with_style(style("{bar:40} {human_pos}/{human_len} rows, {rate}, {eta} to go")),
    }
}

fn style(template: &str) -> ProgressStyle {
    let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
        // Writing into a buffer does not fail.
        let _ = write!(text, "{}/s", HumanCount(state.per_sec() as u64));
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate)
}

impl Observer for Display {
    fn notify(&self, event: Progress<'_>) {
        match event {
            Progress::LoadStarted { rows_estimate } => self.load_started(rows_estimate),
            Progress::RowsLoaded { rows } => self.rows_loaded(rows),
            Progress::LoadFinished => self.load_finished(),
            _ => {}
        }
    }
}
