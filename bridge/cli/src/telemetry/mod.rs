//! Telemetry by OpenTelemetry's protocol (OTLP over HTTP): a trace for each epoch, and the metrics of `/metrics`. It is off
//! unless the usual environment variables name a collector. The collector is never waited for: what it does not take is lost,
//! and that is told once.

mod environment;
mod epochs;
mod openmetrics;
mod push;
mod spans;
mod transport;

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use tidegate_runtime::Observer;

use crate::serve::Monitor;
use environment::{Environment, Signal};
use push::Push;
use spans::Spans;
use transport::Transport;

/// How long the end of a run waits for the collector.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is wrong is not said, because it may hold a secret.
const REFUSED: &str = "the address or a header is refused: look at the variables OTEL_EXPORTER_OTLP_…";

/// What is sent of a run.
#[derive(Default)]
pub struct Telemetry {
    spans: Option<Arc<Spans>>,
    push: Option<Push>,
}

impl Telemetry {
    /// Begins to send what the environment asks for. What it asks for and is not possible is told, and the run goes on without.
    pub fn begin(monitor: &Arc<Monitor>) -> Telemetry {
        let variable = |name: &str| std::env::var(name).ok();
        let environment = Environment(&variable);
        let about = monitor.about();
        let mut telemetry = Telemetry::default();
        for signal in [Signal::Traces, Signal::Metrics] {
            let Some(endpoint) = environment.endpoint(signal) else { continue };
            let resource = resource(&about.pipeline);
            let begun = environment.fault(signal).map_or(Ok(()), Err).and_then(|()| {
                let transport = Transport::new(signal, environment.timeout(signal))?;
                match signal {
                    Signal::Traces => {
                        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http();
                        let exporter = exporter.with_http_client(transport).with_endpoint(endpoint);
                        let exporter = exporter.build().map_err(|_| REFUSED.to_owned())?;
                        telemetry.spans = Some(Arc::new(Spans::new(&about.pipeline, resource, exporter)));
                    }
                    Signal::Metrics => {
                        let headers = environment.headers(signal);
                        let push =
                            Push::begin(monitor, &resource, transport, &endpoint, &headers, environment.interval());
                        telemetry.push = Some(push?);
                    }
                }
                Ok(())
            });
            if let Err(reason) = begun {
                let signal = signal.as_str();
                tracing::warn!(name: "telemetry_off", signal, %reason, "telemetry is not sent as the environment asks for it");
            }
        }
        telemetry
    }

    /// What listens to the pipeline for it.
    pub fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.spans.clone().map(|spans| spans as Arc<dyn Observer>)
    }

    /// The run is over: what is left goes out, if the collector takes it soon.
    pub async fn finish(self) {
        let until = Instant::now() + PATIENCE;
        let push = self.push.map(Push::finish);
        if let Some(spans) = self.spans {
            let lost = tokio::task::spawn_blocking(move || spans.finish(PATIENCE)).await.unwrap_or_default();
            if lost > 0 {
                tracing::warn!(name: "telemetry_lost", spans = lost, "the collector has not taken all spans of this run");
            }
        }
        if let Some(push) = push {
            // The last figures are lost when it takes longer; that the collector is away was told.
            let _ = tokio::time::timeout(until.saturating_duration_since(Instant::now()), push).await;
        }
    }
}

/// Who sends: by the environment, else this program.
fn resource(pipeline: &str) -> Resource {
    let resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("tidegate.pipeline", pipeline.to_owned()),
    ]);
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let named = !variable("OTEL_SERVICE_NAME").is_empty()
        || variable("OTEL_RESOURCE_ATTRIBUTES").split(',').any(|entry| entry.trim_start().starts_with("service.name="));
    match named {
        true => resource.build(),
        false => resource.with_service_name("tidegate").build(),
    }
}
