//! The metrics, as the registry has them.

use std::collections::{BTreeMap, BTreeSet};

use super::{WRITTEN, code, hold, table};
use crate::serve::metrics::sample;

/// What the text says of one metric.
#[derive(Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

#[test]
fn the_page_of_metrics() {
    let text = sample();
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(4, ' ');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
            }
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                metrics.entry(name.to_owned()).or_default().help = help.to_owned();
            }
            (Some(value), ..) if value.starts_with("tidegate_") => {
                let Some((name, rest)) = value.split_once('{') else { continue };
                let of = |known: &&String| name.starts_with(known.as_str());
                let longest = metrics.keys().filter(of).max_by_key(|known| known.len()).cloned();
                let metric =
                    metrics.get_mut(&longest.unwrap_or_default()).unwrap_or_else(|| panic!("{name} has no help"));
                let labels = rest.split("\",").filter_map(|label| label.trim_end_matches('}').split('=').next());
                metric.labels.extend(labels.filter(|label| *label != "le").map(str::to_owned));
            }
            _ => {}
        }
    }
    let rows = metrics.iter().map(|(name, metric)| {
        let suffix = match metric.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<String> = metric.labels.iter().map(code).collect();
        vec![code(format!("{name}{suffix}")), metric.kind.clone(), labels.join(", "), metric.help.clone()]
    });
    let rows = table(&["metric", "type", "labels", "meaning"], rows);
    let page = format!(
        "# Metrics\n\n{WRITTEN}What `GET /metrics` answers, in the OpenMetrics format; by OpenTelemetry they have the same names. `tidegate_failures_total` has one of its labels. [Watching and stopping a pipeline](../monitoring.md#metrics) says more of them.\n\n{rows}"
    );
    hold("metrics.md", &page);
}
