//! A server that takes whatever is posted to it, as a collector of telemetry or of lineage does.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Something that was posted.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A server on this machine, as long as it is not dropped.
pub struct Receiver {
    /// `http://127.0.0.1:port`
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
    _runtime: Runtime,
}

impl Receiver {
    /// Answers everything with this.
    pub fn start(status: StatusCode) -> Receiver {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let take = move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
            kept.lock().unwrap().push(Received { path: uri.path().to_owned(), headers, body });
            status
        };
        let served = axum::serve(listener, Router::new().fallback(take));
        runtime.spawn(async move { served.await.unwrap() });
        Receiver { url, received, _runtime: runtime }
    }

    /// What was posted to a path, in order.
    pub fn posted(&self, path: &str) -> Vec<Received> {
        self.received.lock().unwrap().iter().filter(|received| received.path == path).cloned().collect()
    }

    /// Waits for something to be posted to a path.
    #[track_caller]
    pub fn until(&self, path: &str, wanted: impl Fn(&[Received]) -> bool) {
        let started = Instant::now();
        while !wanted(&self.posted(path)) {
            assert!(started.elapsed() < Duration::from_secs(60), "{path} does not get what is expected");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
