//! Metrics in the OpenMetrics text format, which Prometheus reads (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//! All names begin with `tidegate_`; every one has a help text and, where it measures something, a unit.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tidegate_core::EpochHeader;
use tidegate_runtime::{Phases, Progress, SinkState, SourceState, Status};

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;

/// 0.1 ms to 26 s.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 4.0, 10))
}

/// Counts what a pipeline does.
pub struct Metrics {
    registry: Registry,
    epochs: Counter,
    epoch: Gauge,
    epoch_time: Number,
    source_rows: Counter,
    view_changes: Family<Labels, Counter>,
    phases: Family<Labels, Histogram, fn() -> Histogram>,
    commits: Family<Labels, Histogram, fn() -> Histogram>,
    failures: Family<Labels, Counter>,
    loaded_rows: Counter,
    source_up: Family<Labels, Gauge>,
    source_lag_bytes: Family<Labels, Gauge>,
    source_lag_snapshots: Family<Labels, Gauge>,
    source_lag: Family<Labels, Number>,
    view_rows: Family<Labels, Gauge>,
    view_state: Family<Labels, Gauge>,
    view_builds: Family<Labels, Gauge>,
    view_steps: Family<Labels, Gauge>,
    sink_up: Family<Labels, Gauge>,
    sink_behind: Family<Labels, Gauge>,
    sink_pending: Family<Labels, Gauge>,
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut all = Registry::with_prefix("tidegate");
        let metrics = Metrics {
            epochs: Counter::default(),
            epoch: Gauge::default(),
            epoch_time: Number::default(),
            source_rows: Counter::default(),
            view_changes: Family::default(),
            phases: Family::new_with_constructor(durations),
            commits: Family::new_with_constructor(durations),
            failures: Family::default(),
            loaded_rows: Counter::default(),
            source_up: Family::default(),
            source_lag_bytes: Family::default(),
            source_lag_snapshots: Family::default(),
            source_lag: Family::default(),
            view_rows: Family::default(),
            view_state: Family::default(),
            view_builds: Family::default(),
            view_steps: Family::default(),
            sink_up: Family::default(),
            sink_behind: Family::default(),
            sink_pending: Family::default(),
            registry: Registry::default(),
        };
        all.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        all.register("epochs", "Epochs made by this process", metrics.epochs.clone());
        all.register("epoch", "The last epoch", metrics.epoch.clone());
        let help = "When the last epoch was committed at its sources, since 1970";
        all.register_with_unit("epoch_time", help, Unit::Seconds, metrics.epoch_time.clone());
        all.register("source_rows", "Rows of the sources' changes in epochs", metrics.source_rows.clone());
        all.register("view_changed_rows", "Changed rows of each view", metrics.view_changes.clone());
        let help = "What a phase took for an epoch: read, log, step, commit (waiting for sinks), checkpoint";
        all.register_with_unit("epoch_phase", help, Unit::Seconds, metrics.phases.clone());
        all.register_with_unit("sink_commit", "What a sink's commit took", Unit::Seconds, metrics.commits.clone());
        all.register(
            "failures",
            "Calls of a source or a sink that failed and are tried again",
            metrics.failures.clone(),
        );
        all.register("loaded_rows", "Rows of tables that were read whole", metrics.loaded_rows.clone());
        all.register("source_up", "1 while a source answers, 0 while it fails", metrics.source_up.clone());
        let help = "How far a position of the WAL was behind the server's when it was last looked at";
        all.register_with_unit("source_lag", help, Unit::Bytes, metrics.source_lag_bytes.clone());
        let help = "Snapshots of a lake that were not read yet when it was last looked at";
        all.register("source_lag_snapshots", help, metrics.source_lag_snapshots.clone());
        let help = "How long ago the source committed what was read last, while there is more to read; 0 without";
        all.register_with_unit("source_lag_time", help, Unit::Seconds, metrics.source_lag.clone());
        all.register("view_rows", "Rows of a view, counting copies", metrics.view_rows.clone());
        all.register_with_unit("view_state", "A view's state on disk", Unit::Bytes, metrics.view_state.clone());
        all.register("view_builds", "How often a view was computed as a whole", metrics.view_builds.clone());
        let help = "Incremental steps of a view since it was built";
        all.register("view_steps", help, metrics.view_steps.clone());
        all.register(
            "sink_up",
            "1 while a sink takes commits, 0 while it fails or is detached",
            metrics.sink_up.clone(),
        );
        all.register("sink_behind_epochs", "Epochs that a sink lacks", metrics.sink_behind.clone());
        let help = "Changes that are kept for a sink that is behind";
        all.register_with_unit("sink_pending", help, Unit::Bytes, metrics.sink_pending.clone());
        Metrics { registry: all, ..metrics }
    }

    /// Takes note of what happened.
    pub fn notify(&self, event: Progress<'_>) {
        match event {
            Progress::RowsLoaded { rows } => drop(self.loaded_rows.inc_by(rows)),
            Progress::EpochStepped { source_rows, view_rows, .. } => {
                self.epochs.inc();
                self.source_rows.inc_by(source_rows);
                for (view, rows) in view_rows {
                    self.view_changes.get_or_create(&of("view", view.as_str())).inc_by(*rows);
                }
            }
            Progress::Committed { sink, time, .. } => {
                self.commits.get_or_create(&of("sink", sink)).observe(time.took().as_secs_f64());
            }
            Progress::SourceRetry { source, .. } => self.fails("source", &source.name, &self.source_up),
            Progress::SinkRetry { sink, .. } => self.fails("sink", sink, &self.sink_up),
            Progress::Status(status) => self.status(status),
            _ => {}
        }
    }

    /// Takes note of what each phase took for an epoch.
    pub fn epoch(&self, header: &EpochHeader, took: &Phases) {
        self.epoch.set(i64::try_from(header.epoch.0).unwrap_or(i64::MAX));
        self.epoch_time.set(header.time.0 as f64 / 1e6);
        let phases = [
            ("read", took.read),
            ("log", took.log),
            ("step", took.step),
            ("commit", took.commit),
            ("checkpoint", took.checkpoint),
        ];
        for (phase, took) in phases {
            self.phases.get_or_create(&of("phase", phase)).observe(took.as_secs_f64());
        }
    }

    fn fails(&self, what: &'static str, name: &str, up: &Family<Labels, Gauge>) {
        let labels = of(what, name);
        self.failures.get_or_create(&labels).inc();
        up.get_or_create(&labels).set(0);
    }

    fn status(&self, status: &Status) {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.epoch.set(count(status.epoch.0));
        for (name, source) in &status.sources {
            let labels = of("source", name);
            self.source_up.get_or_create(&labels).set((source.state == SourceState::Ok).into());
            if let Some(bytes) = source.lag.bytes {
                self.source_lag_bytes.get_or_create(&labels).set(count(bytes));
            }
            if let Some(snapshots) = source.lag.snapshots {
                self.source_lag_snapshots.get_or_create(&labels).set(count(snapshots));
            }
            if let Some(ms) = source.lag.ms {
                self.source_lag.get_or_create(&labels).set(ms as f64 / 1000.0);
            }
        }
        // Views come and go.
        for family in [&self.view_rows, &self.view_state, &self.view_builds, &self.view_steps] {
            family.clear();
        }
        for (name, view) in &status.views {
            let labels = of("view", name.as_str());
            self.view_rows.get_or_create(&labels).set(count(view.rows));
            self.view_state.get_or_create(&labels).set(count(view.state_bytes));
            self.view_builds.get_or_create(&labels).set(count(view.full_steps));
            self.view_steps.get_or_create(&labels).set(count(view.incremental_steps));
        }
        for (name, sink) in &status.sinks {
            let labels = of("sink", name);
            self.sink_up.get_or_create(&labels).set((sink.state == SinkState::Attached).into());
            self.sink_behind.get_or_create(&labels).set(count(sink.behind));
            self.sink_pending.get_or_create(&labels).set(count(sink.behind_bytes));
        }
    }

    /// All of them as text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn of(what: &'static str, name: &str) -> Labels {
    vec![(what, name.to_owned())]
}

#[cfg(test)]
pub use tests::text as sample;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::{Duration, Instant};

    use tidegate_core::{Epoch, EpochHash, Frontier, Micros, SourceId, ViewName};
    use tidegate_runtime::{Lag, SinkStatus, SourceStatus, Stretch, ViewStatus};

    use super::*;

    /// Every metric has a value.
    /// What a pipeline with a source, a view and a sink answers.
    pub fn text() -> String {
        let metrics = Metrics::new();
        metrics.notify(Progress::SinkRetry { sink: "mart", error: "" });
        let lag = Lag { snapshots: Some(1), bytes: Some(2), ms: Some(3) };
        let source = SourceStatus {
            position: None,
            lag,
            state: SourceState::Failing,
            error: None,
            committed_at: None,
            oldest: None,
            oldest_committed_at: None,
            kept_ms: None,
        };
        let view = ViewStatus { mode: String::new(), rows: 5, incremental_steps: 6, full_steps: 7, state_bytes: 8 };
        let sink = SinkStatus {
            epoch: None,
            behind: 9,
            behind_bytes: 10,
            state: SinkState::Attached,
            next_commit: None,
            error: None,
        };
        let status = Status {
            pipeline: String::new(),
            epoch: Epoch(11),
            frontier: Frontier::new(),
            committed_at: None,
            replay: None,
            running: true,
            sources: BTreeMap::from([("app".to_owned(), source)]),
            views: BTreeMap::from([(ViewName::from("v"), view)]),
            sinks: BTreeMap::from([("mart".to_owned(), sink)]),
        };
        metrics.notify(Progress::Status(&status));
        let header = EpochHeader {
            epoch: Epoch(11),
            time: Micros(1_500_000),
            frontier: Frontier::new(),
            latest_commit: None,
            hash: EpochHash::default(),
        };
        let (phases, view_rows) = (Phases::default(), BTreeMap::from([(ViewName::from("v"), 12)]));
        metrics.notify(Progress::EpochStepped {
            header: &header,
            phases: &phases,
            source_rows: 13,
            view_rows: &view_rows,
        });
        metrics.epoch(&header, &Phases { step: Duration::from_millis(14), ..phases });
        let began = Instant::now();
        let time = Stretch { began, ended: began + Duration::from_millis(15) };
        metrics.notify(Progress::Committed { sink: "mart", epoch: Epoch(11), time });
        let source = SourceId { kind: "postgres".to_owned(), name: "app".to_owned() };
        metrics.notify(Progress::SourceRetry { source: &source, error: "" });
        metrics.notify(Progress::RowsLoaded { rows: 16 });
        metrics.text().unwrap()
    }

    #[test]
    fn values_come_with_units_and_labels() {
        let text = text();
        let expected = [
            "tidegate_build_info{version=",
            "tidegate_epoch 11",
            "tidegate_epoch_time_seconds 1.5",
            "tidegate_source_rows_total 13",
            "tidegate_loaded_rows_total 16",
            "tidegate_view_changed_rows_total{view=\"v\"} 12",
            "tidegate_epoch_phase_seconds_sum{phase=\"step\"} 0.014",
            "tidegate_sink_commit_seconds_sum{sink=\"mart\"} 0.015",
            "tidegate_failures_total{source=\"app\"} 1",
            "tidegate_source_up{source=\"app\"} 0",
            "tidegate_source_lag_snapshots{source=\"app\"} 1",
            "tidegate_source_lag_bytes{source=\"app\"} 2",
            "tidegate_source_lag_time_seconds{source=\"app\"} 0.003",
            "tidegate_view_rows{view=\"v\"} 5",
            "tidegate_view_steps{view=\"v\"} 6",
            "tidegate_view_builds{view=\"v\"} 7",
            "tidegate_view_state_bytes{view=\"v\"} 8",
            "tidegate_sink_up{sink=\"mart\"} 1",
            "tidegate_sink_behind_epochs{sink=\"mart\"} 9",
            "tidegate_sink_pending_bytes{sink=\"mart\"} 10",
        ];
        for expected in expected {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn documents_rules_and_the_dashboard_name_metrics_that_there_are() {
        let text = text();
        let names: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        let mut named = BTreeSet::new();
        for document in [
            include_str!("../../../../docs/src/monitoring.md"),
            include_str!("../../../../docs/monitoring/alerts.yml"),
            include_str!("../../../../docs/monitoring/dashboard.json"),
        ] {
            for word in document.split(|c: char| !c.is_ascii_lowercase() && c != '_') {
                let metric =
                    ["_total", "_bucket", "_sum", "_count", "_info"].iter().find_map(|end| word.strip_suffix(end));
                let metric = metric.unwrap_or(word);
                if word.starts_with("tidegate_") {
                    assert!(names.contains(metric), "{word} is not among {names:?}");
                    named.insert(metric);
                }
            }
        }
        assert_eq!(named, names, "some are not documented");
    }
}
