//! From the text of `/metrics` to OTLP's data model, so that there is one list of metrics. Names, labels and values stay as
//! they are there (<https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>); everything is counted
//! from the start of the process. Only what that text has is understood: counters, gauges, histograms and infos.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue as Any, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

/// The nanoseconds since 1970 between which something was counted.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub since: u64,
    pub until: u64,
}

type Labels = Vec<(String, String)>;

/// A metric of the text, with its lines.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    unit: String,
    /// The end of the name after the family's, the labels, and the value.
    samples: Vec<(String, Labels, String)>,
}

/// The metrics of a text; none of what it does not have in full.
pub fn metrics(text: &str, time: Counted) -> Vec<Metric> {
    let mut found = Vec::new();
    let mut present: Option<(String, Family)> = None;
    for line in text.lines() {
        if let Some((word, name, rest)) = line.strip_prefix("# ").and_then(described) {
            if present.as_ref().is_none_or(|(known, _)| known != name) {
                found.extend(present.replace((name.to_owned(), Family::default())));
            }
            if let Some((_, family)) = &mut present {
                match word {
                    "TYPE" => rest.clone_into(&mut family.kind),
                    "HELP" => rest.trim_end_matches('.').clone_into(&mut family.help),
                    "UNIT" => rest.clone_into(&mut family.unit),
                    _ => {}
                }
            }
        } else if let Some((name, family)) = &mut present {
            let sample = sample(line).and_then(|(full, labels, value)| {
                Some((full.strip_prefix(name.as_str())?.to_owned(), labels, value.to_owned()))
            });
            family.samples.extend(sample);
        }
    }
    found.extend(present);
    found
        .into_iter()
        .filter_map(|(name, family)| metric(name, family, time))
        .filter(|metric| metric.data.is_some())
        .collect()
}

/// `HELP name text`
fn described(line: &str) -> Option<(&str, &str, &str)> {
    let (word, rest) = line.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    Some((word, name, rest))
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Option<(&str, Labels, &str)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = unescaped(quoted)?;
            labels.push((label.to_owned(), value));
            rest = after;
        }
        rest = &rest[1..];
    }
    Some((name, labels, rest.split_whitespace().next()?))
}

/// A label's value up to its closing quote, and what follows that.
fn unescaped(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => value.push(other),
        }
    }
}

fn metric(name: String, family: Family, time: Counted) -> Option<Metric> {
    let unit = match family.unit.as_str() {
        "seconds" => "s",
        "bytes" => "By",
        other => other,
    };
    let points = |samples: Vec<(String, Labels, String)>| {
        samples.into_iter().filter_map(|(_, labels, value)| number(labels, &value, time)).collect::<Vec<_>>()
    };
    // Counters and infos have an ending that belongs to their names.
    let ending = family.samples.first()?.0.clone();
    let cumulative = AggregationTemporality::Cumulative.into();
    let (name, data) = match family.kind.as_str() {
        "counter" => {
            let data_points = points(family.samples);
            (name + &ending, Data::Sum(Sum { data_points, aggregation_temporality: cumulative, is_monotonic: true }))
        }
        "gauge" | "info" => (name + &ending, Data::Gauge(Gauge { data_points: points(family.samples) })),
        "histogram" => {
            let data_points = histograms(family.samples, time);
            (name, Data::Histogram(Histogram { data_points, aggregation_temporality: cumulative }))
        }
        _ => return None,
    };
    Some(Metric { name, description: family.help, unit: unit.to_owned(), data: Some(data), ..Metric::default() })
}

/// A whole number stays one.
fn number(labels: Labels, value: &str, time: Counted) -> Option<NumberDataPoint> {
    let value = match value.parse() {
        Ok(number) => Value::AsInt(number),
        Err(_) => Value::AsDouble(value.parse().ok()?),
    };
    Some(NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: time.since,
        time_unix_nano: time.until,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn histograms(samples: Vec<(String, Labels, String)>, time: Counted) -> Vec<HistogramDataPoint> {
    let mut found: BTreeMap<Labels, HistogramDataPoint> = BTreeMap::new();
    for (ending, mut labels, value) in samples {
        let bound = labels.iter().position(|(label, _)| label == "le").map(|at| labels.remove(at).1);
        let point = found.entry(labels).or_default();
        match (ending.as_str(), bound) {
            ("_sum", _) => point.sum = value.parse().ok(),
            ("_count", _) => point.count = value.parse().unwrap_or_default(),
            ("_bucket", Some(bound)) => {
                // The text counts what is up to the bound, OTLP what is between two.
                let below: u64 = point.bucket_counts.iter().sum();
                let count: u64 = value.parse().unwrap_or_default();
                point.bucket_counts.push(count.saturating_sub(below));
                point.explicit_bounds.extend(bound.parse().ok().filter(|bound: &f64| bound.is_finite()));
            }
            _ => {}
        }
    }
    let point = |(labels, point): (Labels, HistogramDataPoint)| HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: time.since,
        time_unix_nano: time.until,
        ..point
    };
    found.into_iter().map(point).collect()
}

fn attributes(labels: Labels) -> Vec<KeyValue> {
    let attribute = |(key, value): (String, String)| KeyValue {
        key,
        value: Some(Any { value: Some(AnyValue::StringValue(value)) }),
        ..KeyValue::default()
    };
    labels.into_iter().map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP tidegate_epochs Epochs made by this process.
# TYPE tidegate_epochs counter
tidegate_epochs_total 5
# HELP tidegate_epoch_time_seconds When.
# TYPE tidegate_epoch_time_seconds gauge
# UNIT tidegate_epoch_time_seconds seconds
tidegate_epoch_time_seconds 1.5
# HELP tidegate_view_rows Rows.
# TYPE tidegate_view_rows gauge
tidegate_view_rows{view="a \"b\" \\ {c}, \n"} -3
tidegate_view_rows{view="d"} 4
# HELP tidegate_epoch_phase_seconds Took.
# TYPE tidegate_epoch_phase_seconds histogram
# UNIT tidegate_epoch_phase_seconds seconds
tidegate_epoch_phase_seconds_sum{phase="step"} 0.5
tidegate_epoch_phase_seconds_count{phase="step"} 6
tidegate_epoch_phase_seconds_bucket{le="0.1",phase="step"} 1
tidegate_epoch_phase_seconds_bucket{le="0.4",phase="step"} 4
tidegate_epoch_phase_seconds_bucket{le="+Inf",phase="step"} 6
# HELP tidegate_failures None yet.
# TYPE tidegate_failures counter
# HELP tidegate_build The version.
# TYPE tidegate_build info
tidegate_build_info{version="1"} 1
# EOF
"#;

    fn found() -> BTreeMap<String, Metric> {
        let metrics = metrics(TEXT, Counted { since: 7, until: 9 });
        metrics.into_iter().map(|metric| (metric.name.clone(), metric)).collect()
    }

    fn point(value: Value, labels: &[(&str, &str)]) -> NumberDataPoint {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        NumberDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: 7,
            time_unix_nano: 9,
            value: Some(value),
            ..NumberDataPoint::default()
        }
    }

    #[test]
    fn names_and_values_stay_as_they_are() {
        let found = found();
        let names = [
            "tidegate_build_info",
            "tidegate_epoch_phase_seconds",
            "tidegate_epoch_time_seconds",
            "tidegate_epochs_total",
            "tidegate_view_rows",
        ];
        assert_eq!(found.keys().collect::<Vec<_>>(), names, "and what has no value is not there");
        let Some(Data::Sum(epochs)) = &found["tidegate_epochs_total"].data else { panic!("a counter is a sum") };
        assert!(epochs.is_monotonic && epochs.data_points == [point(Value::AsInt(5), &[])]);
        let time = &found["tidegate_epoch_time_seconds"];
        assert_eq!((time.unit.as_str(), time.description.as_str()), ("s", "When"));
        assert_eq!(time.data, Some(Data::Gauge(Gauge { data_points: vec![point(Value::AsDouble(1.5), &[])] })));
    }

    #[test]
    fn labels_may_have_any_characters() {
        let rows = [(-3, "a \"b\" \\ {c}, \n"), (4, "d")];
        let data_points = rows.iter().map(|(rows, view)| point(Value::AsInt(*rows), &[("view", view)])).collect();
        assert_eq!(found()["tidegate_view_rows"].data, Some(Data::Gauge(Gauge { data_points })));
    }

    #[test]
    fn buckets_are_counted_one_by_one() {
        let found = found();
        let Some(Data::Histogram(phases)) = &found["tidegate_epoch_phase_seconds"].data else { panic!("a histogram") };
        let [step] = &phases.data_points[..] else { panic!("one phase") };
        assert_eq!((step.count, step.sum), (6, Some(0.5)));
        assert_eq!((&step.bucket_counts[..], &step.explicit_bounds[..]), (&[1, 3, 2][..], &[0.1, 0.4][..]));
        assert_eq!(step.attributes, attributes(vec![("phase".to_owned(), "step".to_owned())]));
    }
}
