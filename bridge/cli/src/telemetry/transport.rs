//! Requests to the collector, from the exporter's own thread or from a task: they are made on the runtime's threads.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

use super::environment::Signal;
use crate::outbound::{Answer, Outbound};

/// A way to the collector for one signal.
#[derive(Debug, Clone)]
pub struct Transport {
    signal: Signal,
    outbound: Arc<Outbound>,
    runtime: Handle,
}

impl Transport {
    /// Requests take so long at the most. To be called within the runtime.
    pub fn new(signal: Signal, timeout: Duration) -> Result<Transport, String> {
        Ok(Transport { signal, outbound: Arc::new(Outbound::new(timeout)?), runtime: Handle::current() })
    }

    /// The client, to make requests with.
    pub fn client(&self) -> &reqwest::Client {
        self.outbound.client()
    }

    /// Sends a request, and tells when the collector begins to be away.
    pub async fn send(&self, request: reqwest::Request) -> Result<Answer, String> {
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let port = request.url().port_or_known_default().unwrap_or_default();
        let sent = self.outbound.send(request).await;
        if let Some(error) = self.outbound.note(&sent) {
            let signal = self.signal.as_str();
            tracing::warn!(name: "telemetry_undelivered", signal, collector = format!("{host}:{port}"), %error,
                "the collector does not take telemetry; the run goes on, and what it does not take is lost"
            );
        }
        sent
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        // So made, a request has the user and the password of an address in a header, as those of metrics have.
        let request = self.client().request(head.method, head.uri.to_string()).headers(head.headers);
        let request = request.body(body).build().map_err(reqwest::Error::without_url)?;
        let transport = self.clone();
        let Answer { status, retry_after, body } =
            self.runtime.spawn(async move { transport.send(request).await }).await??;
        let mut response = Response::builder().status(status);
        if let Some(retry_after) = retry_after {
            response = response.header("retry-after", retry_after);
        }
        Ok(response.body(body)?)
    }
}
