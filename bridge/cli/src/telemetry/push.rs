//! The metrics of `/metrics`, sent to a collector from time to time and at the end of a run.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use prost::Message;
use reqwest::RequestBuilder;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::openmetrics::{self, Counted};
use super::transport::Transport;
use crate::serve::Monitor;

/// A task that sends metrics.
pub struct Push {
    over: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Push {
    /// Begins. Every `interval` what there is goes to `endpoint`.
    pub fn begin(
        monitor: &Arc<Monitor>,
        resource: &Resource,
        transport: Transport,
        endpoint: &str,
        headers: &[(String, String)],
        interval: Duration,
    ) -> Result<Push, String> {
        let mut request = transport.client().post(endpoint).header("content-type", "application/x-protobuf");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // What is wrong with the address or a header shows now; the text of such an error has the address in it.
        let is_sound = request.try_clone().is_some_and(|request| request.build().is_ok());
        is_sound.then_some(()).ok_or(super::REFUSED)?;
        let figures = Figures {
            monitor: Arc::clone(monitor),
            resource: resource.into(),
            since: nanoseconds(),
            transport,
            request,
        };
        let (over, mut ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first one comes at once, and there is nothing yet.
            ticks.tick().await;
            loop {
                tokio::select! {
                    _ = ticks.tick() => figures.send().await,
                    _ = &mut ended => break figures.send().await,
                }
            }
        });
        Ok(Push { over, task })
    }

    /// Sends a last time. What that waits for is waited for by nobody else.
    pub async fn finish(self) {
        // The task waits for this; should it be gone, there is nothing to end.
        let _ = self.over.send(());
        let _ = self.task.await;
    }
}

struct Figures {
    monitor: Arc<Monitor>,
    resource: ResourceAttributesWithSchema,
    since: u64,
    transport: Transport,
    request: RequestBuilder,
}

impl Figures {
    /// Sends what there is; that it does not arrive is told by the transport.
    async fn send(&self) {
        let Ok(text) = self.monitor.metrics.text() else { return };
        let metrics = openmetrics::metrics(&text, Counted { since: self.since, until: nanoseconds() });
        let scope = InstrumentationScope {
            name: "tidegate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let attributes = self.resource.attributes.0.clone();
        let resource = ProtoResource { attributes, ..ProtoResource::default() };
        let body = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource),
                scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
                schema_url: self.resource.schema_url.clone().unwrap_or_default(),
            }],
        };
        let request = self.request.try_clone().map(|request| request.body(body.encode_to_vec()).build());
        if let Some(Ok(request)) = request {
            let _ = self.transport.send(request).await;
        }
    }
}

/// Since 1970.
fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
