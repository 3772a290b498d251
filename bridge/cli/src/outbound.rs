//! What a run tells others over HTTP beside its work: one client, which never follows a redirection
//! (headers with keys would go along), and whose failures say nothing of URLs or answers, which may hold secrets.

use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_http::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Request, StatusCode};
use tidegate_core::chain;
use tokio::sync::oneshot;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// An answer of the other side.
pub struct Answer {
    pub status: StatusCode,
    /// How long it wants to be left alone, if it says so.
    pub retry_after: Option<String>,
    pub body: Bytes,
}

/// Somebody who is told.
#[derive(Debug)]
pub struct Outbound {
    client: Client,
    is_away: AtomicBool,
}

impl Outbound {
    /// A client whose requests take so long at the most.
    pub fn new(timeout: Duration) -> Result<Outbound, String> {
        let client = Client::builder().timeout(timeout).redirect(Policy::none()).dns_resolver(Apart).build();
        let client = client.map_err(|error| chain(&error.without_url()))?;
        Ok(Outbound { client, is_away: AtomicBool::new(false) })
    }

    /// Sends a request and reads the answer, whatever its status.
    pub async fn send(&self, request: Request) -> Result<Answer, String> {
        let failed = |error: reqwest::Error| chain(&error.without_url());
        let mut response = self.client.execute(request).await.map_err(failed)?;
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let (status, retry_after) = (response.status(), retry_after.map(str::to_owned));
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err("the answer is too long".to_owned());
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, retry_after, body: body.into() })
    }

    /// Takes note of how a request fared. Answers why it failed when the one before it did not: that is to be told, and what
    /// follows until one succeeds is the same outage.
    pub fn note(&self, sent: &Result<Answer, String>) -> Option<String> {
        let error = match sent {
            Ok(answer) if answer.status.is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status)),
            Err(error) => Some(error.clone()),
        };
        let was_away = self.is_away.swap(error.is_some(), Ordering::Relaxed);
        error.filter(|_| !was_away)
    }

    /// The client, to make requests with.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// Looks names up in threads of their own. The runtime's would have to be waited for at the end of the process, however long a
/// name server takes.
struct Apart;

impl Resolve for Apart {
    fn resolve(&self, name: Name) -> Resolving {
        let (tell, told) = oneshot::channel();
        let host = name.as_str().to_owned();
        let looking = std::thread::Builder::new().name("names".to_owned()).spawn(move || {
            // Whoever asked may be gone.
            let _ = tell.send((host.as_str(), 0).to_socket_addrs());
        });
        Box::pin(async move {
            looking?;
            Ok(Box::new(told.await??) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up() {
        let look = |name: &str| futures::executor::block_on(Apart.resolve(name.parse().unwrap()));
        assert!(look("localhost").unwrap().any(|address| address.ip().is_loopback()));
        assert!(look("nowhere.invalid").is_err());
    }

    #[test]
    fn an_outage_is_told_once() {
        let outbound = Outbound::new(Duration::from_secs(1)).unwrap();
        let answered = |status| Ok(Answer { status, retry_after: None, body: Bytes::new() });
        let mut told = Vec::new();
        for sent in [
            answered(StatusCode::OK),
            answered(StatusCode::SERVICE_UNAVAILABLE),
            Err("gone".to_owned()),
            answered(StatusCode::OK),
            Err("gone".to_owned()),
        ] {
            told.extend(outbound.note(&sent));
        }
        assert_eq!(told, ["it answered 503 Service Unavailable", "gone"]);
    }
}
