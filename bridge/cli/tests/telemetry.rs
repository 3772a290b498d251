//! Telemetry by OTLP, taken in by a receiver that decodes it: every epoch is a trace whose spans fit into each other, metrics are
//! those of `/metrics`, and a collector that is away or does not answer changes nothing about a run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_testkit::{Lake, Oracle, Program};

use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};
use crate::receiver::{Received, Receiver};
use crate::serving::{Served, TOTALS, orders};

const TRACES: &str = "/v1/traces";
const METRICS: &str = "/v1/metrics";

fn views() -> Vec<(String, String)> {
    let copies = "SELECT customer, amount FROM lake.orders".to_owned();
    vec![("totals".to_owned(), TOTALS.to_owned()), ("copies".to_owned(), copies)]
}

fn shop() -> (TempDir, Lake, PipelineFolder) {
    let folder = tempfile::tempdir().unwrap();
    let lake = orders(&folder.path().join("lake"));
    let pipeline = PipelineFolder::create(
        &folder.path().join("pipeline"),
        &Spec { views: views(), settings: vec!["epoch_interval = \"1ms\"".to_owned()], ..Spec::new(&lake) },
    );
    (folder, lake, pipeline)
}

fn told(program: Program, url: &str) -> Program {
    program.variable("OTEL_EXPORTER_OTLP_ENDPOINT", url)
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, Value> {
    let value = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.clone()) {
        Some(Any::StringValue(text)) => Value::from(text),
        Some(Any::IntValue(number)) => Value::from(number),
        other => panic!("{}: {other:?}", attribute.key),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}

/// The spans that arrived, and who sent them.
fn spans(receiver: &Receiver) -> (Vec<Span>, Vec<Resource>) {
    let (mut spans, mut resources) = (Vec::new(), Vec::new());
    for received in receiver.posted(TRACES) {
        assert_eq!(received.headers["content-type"], "application/x-protobuf");
        for of_resource in ExportTraceServiceRequest::decode(received.body).unwrap().resource_spans {
            resources.extend(of_resource.resource);
            spans.extend(of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
        }
    }
    (spans, resources)
}

/// The traces' roots that are epochs, by their numbers, with the names of what was done for each. Times fit.
fn traces(spans: &[Span]) -> BTreeMap<i64, (Span, Vec<String>)> {
    let mut traces = BTreeMap::new();
    for root in spans.iter().filter(|span| span.name == "epoch") {
        assert!(root.parent_span_id.is_empty());
        let mut names = Vec::new();
        for child in spans.iter().filter(|span| span.parent_span_id == root.span_id) {
            assert_eq!(child.trace_id, root.trace_id);
            let within = root.start_time_unix_nano <= child.start_time_unix_nano
                && child.start_time_unix_nano <= child.end_time_unix_nano
                && child.end_time_unix_nano <= root.end_time_unix_nano;
            assert!(within, "{child:?} is not within {root:?}");
            let of = attributes(&child.attributes);
            let of = of.values().map(|value| value.as_str().unwrap().to_owned());
            names.push([child.name.clone()].into_iter().chain(of).collect::<Vec<_>>().join(" "));
        }
        names.sort();
        let number = attributes(&root.attributes)["tidegate.epoch"].as_i64().unwrap();
        assert!(traces.insert(number, (root.clone(), names)).is_none(), "epoch {number} comes once");
    }
    traces
}

#[test]
fn every_epoch_is_a_trace() {
    let (_folder, lake, pipeline) = shop();
    let receiver = Receiver::start(StatusCode::OK);
    let program = told(pipeline.once(), &receiver.url)
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "api-key=sesame")
        .variable("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let summary = program.run().expect(0).json();
    let (loaded, resources) = spans(&receiver);
    let found = traces(&loaded);
    assert_eq!(found.len() as u64, summary["epochs"].as_u64().unwrap());
    let (root, names) = &found[&1];
    assert_eq!(names[..], ["checkpoint", "commit changes", "commit mart", "log", "read lake", "step"]);
    let expected = [
        ("tidegate.epoch", Value::from(1)),
        ("tidegate.pipeline", Value::from("shop")),
        ("tidegate.source_rows", summary["source_rows"].clone()),
        ("tidegate.view_rows", Value::from(4)),
        ("tidegate.view_rows.copies", summary["view_rows"]["copies"].clone()),
        ("tidegate.view_rows.totals", summary["view_rows"]["totals"].clone()),
    ];
    let expected: BTreeMap<String, Value> = expected.map(|(key, value)| (key.to_owned(), value)).into();
    assert_eq!(attributes(&root.attributes), expected);
    assert!(root.start_time_unix_nano >= started, "the run began before its first epoch");
    let took = Duration::from_nanos(root.end_time_unix_nano - root.start_time_unix_nano);
    let elapsed = Duration::from_secs_f64(summary["elapsed_ms"].as_f64().unwrap() / 1000.0);
    assert!(took <= elapsed + Duration::from_millis(5), "an epoch took {took:?} of {elapsed:?}");
    let of_step = loaded.iter().find(|span| span.name == "step").unwrap();
    let step = Duration::from_nanos(of_step.end_time_unix_nano - of_step.start_time_unix_nano).as_secs_f64() * 1000.0;
    assert!(step <= summary["phases_ms"]["step"].as_f64().unwrap() + 1.0, "{step} ms");
    for resource in &resources {
        let who = attributes(&resource.attributes);
        let expected =
            [("service.name", "tidegate"), ("tidegate.pipeline", "shop"), ("deployment.environment.name", "test")];
        expected.iter().for_each(|(key, value)| assert_eq!(who[*key], *value));
    }
    assert!(receiver.posted(TRACES).iter().all(|received| received.headers["api-key"] == "sesame"));

    // Epochs follow each other while a process runs; each is there once, and so is a checkpoint that comes later.
    let receiver = Receiver::start(StatusCode::OK);
    let url = receiver.url.replace("//", "//ann:sesame@");
    let program = told(pipeline.command("run", &["--json", "--http", "127.0.0.1:0"]), &url)
        .variable("OTEL_BSP_SCHEDULE_DELAY", "100");
    let served = Served::begin(&program);
    served.caught_up(lake.snapshot());
    for amount in 1..=5 {
        lake.execute(&format!("INSERT INTO lake.orders VALUES ('a value of a row', {amount})"));
        served.caught_up(lake.snapshot());
    }
    // What is over is sent while the run goes on.
    receiver.until(TRACES, |received| !received.is_empty());
    let summary = served.running.terminate().expect(0).json();
    let (made, _) = spans(&receiver);
    let found = traces(&made);
    assert_eq!(found.len() as u64, summary["epochs"].as_u64().unwrap());
    let rows: i64 =
        found.values().map(|(root, _)| attributes(&root.attributes)["tidegate.source_rows"].as_i64().unwrap()).sum();
    assert_eq!(rows, 5);
    for (root, names) in found.values() {
        for name in ["read lake", "log", "step", "commit mart", "commit changes"] {
            assert!(names.iter().any(|known| known == name), "{name} is not in {names:?} of {root:?}");
        }
    }
    let checkpoints = made.iter().filter(|span| span.name == "checkpoint").count();
    assert!(checkpoints > 0, "the run ended with one");
    for received in receiver.posted(TRACES).iter().chain(&receiver.posted(METRICS)) {
        assert!(received.headers["authorization"].to_str().unwrap().starts_with("Basic "));
        let text = String::from_utf8_lossy(&received.body);
        for secret in ["a value of a row", "north", "GROUP BY", ".sqlite", "sesame"] {
            assert!(!text.contains(secret), "{secret} is sent: {text}");
        }
    }
}

/// The values of metrics as `/metrics` writes them: `name{labels}` and a number.
fn written(metrics: &[Metric]) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for metric in metrics {
        let mut put = |end: &str, of: &[KeyValue], more: Option<String>, value: f64| {
            let mut labels: BTreeSet<String> = more.map(|bound| format!("le={bound:?}")).into_iter().collect();
            labels.extend(attributes(of).iter().map(|(key, value)| format!("{key}={value}")));
            let labels: Vec<String> = labels.into_iter().collect();
            assert!(found.insert(format!("{}{end}{{{}}}", metric.name, labels.join(",")), value).is_none());
        };
        let points = match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => &gauge.data_points[..],
            Data::Sum(sum) => &sum.data_points[..],
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    put("_count", &point.attributes, None, point.count as f64);
                    put("_sum", &point.attributes, None, point.sum.unwrap());
                    let mut below = 0;
                    let bounds = point.explicit_bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                    for (bound, count) in bounds.zip(&point.bucket_counts) {
                        below += count;
                        put("_bucket", &point.attributes, Some(bound), below as f64);
                    }
                }
                &[]
            }
            other => panic!("{other:?}"),
        };
        for point in points {
            let value = match point.value.unwrap() {
                Number::AsDouble(number) => number,
                Number::AsInt(number) => number as f64,
            };
            put("", &point.attributes, None, value);
        }
    }
    found
}

/// The same of the text.
fn shown(text: &str) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).collect();
        labels.sort_unstable();
        (format!("{name}{{{}}}", labels.join(",")), value.parse().unwrap())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

fn metrics(received: &Received) -> Vec<Metric> {
    let request = ExportMetricsServiceRequest::decode(received.body.clone()).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|of_resource| of_resource.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).collect()
}

#[test]
fn metrics_are_those_of_the_page() {
    let (_folder, lake, pipeline) = shop();
    let receiver = Receiver::start(StatusCode::OK);
    let program = told(pipeline.command("run", &["--http", "127.0.0.1:0"]), &receiver.url)
        .variable("OTEL_METRIC_EXPORT_INTERVAL", "50")
        .variable("OTEL_TRACES_EXPORTER", "none");
    let served = Served::begin(&program);
    served.caught_up(lake.snapshot());
    lake.execute("INSERT INTO lake.orders VALUES ('east', 7)");
    served.caught_up(lake.snapshot());
    // They stand still but for what is measured every second; that is looked at until nothing came in between.
    let started = Instant::now();
    loop {
        let before = receiver.posted(METRICS).len();
        let text = served.ask("GET", "/metrics", &[]).body;
        receiver.until(METRICS, |received| received.len() > before);
        let (sent, shown) = (written(&metrics(&receiver.posted(METRICS)[before])), shown(&text));
        assert_eq!(sent.keys().collect::<Vec<_>>(), shown.keys().collect::<Vec<_>>());
        if sent == shown && shown["tidegate_view_changed_rows_total{view=\"copies\"}"] == 3.0 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{sent:#?}\n{shown:#?}");
    }
    let sent = metrics(receiver.posted(METRICS).last().unwrap());
    let of = |name: &str| sent.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(of("tidegate_epoch_phase_seconds").unit, "s");
    assert!(!of("tidegate_epochs_total").description.is_empty());
    served.running.terminate().expect(0);
    assert!(receiver.posted(TRACES).is_empty(), "the environment says none");
}

/// What a collector may be like.
fn away() -> [(&'static str, String, Box<dyn std::any::Any>); 3] {
    let failing = Receiver::start(StatusCode::SERVICE_UNAVAILABLE);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |listener: &TcpListener| format!("http://user:sesame@{}", listener.local_addr().unwrap());
    let gone = url(&nobody);
    drop(nobody);
    let hanging = url(&silent);
    [
        ("answers 503", failing.url.clone(), Box::new(failing)),
        ("is not there", gone, Box::new(())),
        ("does not answer", hanging, Box::new(silent)),
    ]
}

#[test]
fn a_collector_that_is_away_changes_nothing() {
    let (_folder, lake, pipeline) = shop();
    let started = Instant::now();
    pipeline.catch_up();
    let usual = started.elapsed();
    for (what, url, _collector) in away() {
        lake.execute("INSERT INTO lake.orders VALUES ('east', 7)");
        let program = told(pipeline.once(), &url).arguments(["--log-format", "json"]);
        let started = Instant::now();
        let ended = program.variable("OTEL_METRIC_EXPORT_INTERVAL", "20").run().expect(0);
        let took = started.elapsed();
        // Three seconds of patience at the end; the rest is for a machine that is busy.
        assert!(took < usual * 3 + Duration::from_secs(6), "{what}: {took:?}, usually {usual:?}");
        assert_eq!(
            (&ended.json()["epochs"], &ended.json()["source_rows"]),
            (&Value::from(1), &Value::from(1)),
            "{what}"
        );
        let events: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let count = |event: &str, signal: &str| {
            events.iter().filter(|line| line["event"] == event && line["signal"] == signal).count()
        };
        // Who does not answer is not known to be away before the request's time is over.
        let expected = usize::from(what != "does not answer");
        for signal in ["traces", "metrics"] {
            assert_eq!(count("telemetry_undelivered", signal), expected, "{what}: {}", ended.stderr);
        }
        let lost = events.iter().find(|line| line["event"] == "telemetry_lost").unwrap_or_else(|| panic!("{what}"));
        assert!(lost["spans"].as_u64() >= Some(6), "{what}: {lost}");
        assert!(!ended.stderr.contains("sesame"), "{what}: {}", ended.stderr);
    }
    let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&views()));
    let names: Vec<String> = views().into_iter().map(|(name, _)| name).collect();
    Outputs::read(&pipeline).assert_holds(&pipeline, &names, &expected, "without a collector");
}

#[test]
fn spans_for_which_there_is_no_room_are_counted() {
    let (_folder, _lake, pipeline) = shop();
    let receiver = Receiver::start(StatusCode::OK);
    let program = told(pipeline.once(), &receiver.url).variable("OTEL_BSP_MAX_QUEUE_SIZE", "1");
    let ended = program.arguments(["--log-format", "json"]).run().expect(0);
    let lost = ended.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lost = lost.filter(|line| line["event"] == "telemetry_lost").map(|line| line["spans"].as_u64().unwrap());
    let (taken, _) = spans(&receiver);
    // The epoch, what was read, logged and computed, the commits of two sinks, and the checkpoint: how many find room depends on
    // how fast the collector is, and none goes without being counted.
    assert_eq!(taken.len() as u64 + lost.sum::<u64>(), 7, "{}", ended.stderr);
}

#[test]
fn what_the_environment_asks_for_in_vain_is_told() {
    let (_folder, _lake, pipeline) = shop();
    let receiver = Receiver::start(StatusCode::OK);
    let asked = |name: &str, value: &str| told(pipeline.once(), &receiver.url).variable(name, value).run().expect(0);
    let ended = asked("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert_eq!(ended.stderr.matches("OTEL_EXPORTER_OTLP_PROTOCOL is grpc").count(), 2, "{}", ended.stderr);
    let ended = asked("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "user:sesame@nowhere");
    assert!(ended.stderr.contains("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("sesame"), "{}", ended.stderr);
    assert!(!asked("OTEL_SDK_DISABLED", "true").stderr.contains("telemetry"));
    assert!(receiver.posted(METRICS).is_empty(), "nothing of it was sent");
}
