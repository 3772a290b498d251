//! Events on their way to a server or a file, by a task of their own. The queue is bounded, and who fills it never waits. An
//! event that a server does not take because it is away is tried again, so that those after it come after it; one that it
//! refuses is lost.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use serde_json::Value;
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::file::Target;
use crate::outbound::Outbound;

/// Events that wait at the most.
const QUEUE: usize = 4096;
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause before an event is tried again; it doubles up to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// Takes events.
pub struct Sender {
    queue: mpsc::Sender<Value>,
    over: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Events that were to be sent.
    told: AtomicU64,
    taken: Arc<AtomicU64>,
}

impl Sender {
    /// Begins to send to a target. To be called within the runtime.
    pub fn begin(target: Target) -> Result<Sender, String> {
        let way = match target {
            Target::File(path) => Way::File { path, is_failing: false },
            Target::Url { url, authorization } => {
                let base = url.as_str().trim_end_matches('/').to_owned();
                let endpoint = Url::parse(&format!("{base}/api/v1/lineage")).map_err(|error| error.to_string())?;
                Way::Server { endpoint, authorization, outbound: Outbound::new(TIMEOUT)? }
            }
        };
        let (queue, events) = mpsc::channel(QUEUE);
        let (over, is_over) = watch::channel(false);
        let taken = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(work(way, events, is_over, Arc::clone(&taken)));
        Ok(Sender { queue, over, task: Mutex::new(Some(task)), told: AtomicU64::new(0), taken })
    }

    /// Queues an event; one for which there is no room is lost.
    pub fn send(&self, event: Value) {
        self.told.fetch_add(1, Ordering::Relaxed);
        let _ = self.queue.try_send(event);
    }

    /// Waits so long for everything to be taken; nobody is waited for who is away. Answers how many events were lost.
    pub async fn finish(&self, patience: Duration) -> u64 {
        self.over.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // What is not done by then is counted below.
            let _ = tokio::time::timeout(patience, task).await;
        }
        self.told.load(Ordering::Relaxed).saturating_sub(self.taken.load(Ordering::Relaxed))
    }
}

/// Sends event by event, until the run is over and none is left, or nobody is there to take it.
async fn work(
    mut way: Way,
    mut events: mpsc::Receiver<Value>,
    mut is_over: watch::Receiver<bool>,
    taken: Arc<AtomicU64>,
) {
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            // What is queued was queued before the end.
            _ = is_over.wait_for(|over| *over) => events.try_recv().ok(),
        };
        let Some(event) = event else { return };
        let mut pause = PAUSES[0];
        loop {
            match way.take(&event).await {
                Taken::Yes => _ = taken.fetch_add(1, Ordering::Relaxed),
                Taken::Never => {}
                Taken::Later if *is_over.borrow() => return,
                Taken::Later => {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = is_over.wait_for(|over| *over) => {}
                    }
                    pause = (pause * 2).min(PAUSES[1]);
                    continue;
                }
            }
            break;
        }
    }
}

/// Whether an event was taken.
enum Taken {
    Yes,
    /// It may be another time.
    Later,
    Never,
}

/// Where events go.
enum Way {
    Server { endpoint: Url, authorization: Option<HeaderValue>, outbound: Outbound },
    File { path: PathBuf, is_failing: bool },
}

impl Way {
    async fn take(&mut self, event: &Value) -> Taken {
        match self {
            Way::Server { endpoint, authorization, outbound } => {
                let mut request = outbound.client().post(endpoint.clone()).header(CONTENT_TYPE, "application/json");
                if let Some(authorization) = authorization {
                    request = request.header(AUTHORIZATION, authorization.clone());
                }
                let Ok(request) = request.body(event.to_string()).build() else { return Taken::Never };
                let sent = outbound.send(request).await;
                if let Some(error) = outbound.note(&sent) {
                    let (host, port) = (endpoint.host_str().unwrap_or_default(), endpoint.port_or_known_default());
                    let to = format!("{host}:{}", port.unwrap_or_default());
                    tracing::warn!(name: "lineage_undelivered", %to, %error, "events of OpenLineage are not taken; the run goes on");
                }
                match sent.map(|answer| answer.status) {
                    Ok(status) if status.is_success() => Taken::Yes,
                    Ok(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) | Err(_) => Taken::Later,
                    Ok(status) if status.is_server_error() => Taken::Later,
                    Ok(_) => Taken::Never,
                }
            }
            Way::File { path, is_failing } => {
                let written = append(path, event).await;
                if let Err(error) = &written
                    && !*is_failing
                {
                    let to = path.display();
                    tracing::warn!(name: "lineage_undelivered", %to, %error, "events of OpenLineage are not taken; the run goes on");
                }
                *is_failing = written.is_err();
                if *is_failing { Taken::Never } else { Taken::Yes }
            }
        }
    }
}

/// One event a line, in one write, so that several processes may share a file.
async fn append(path: &PathBuf, event: &Value) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).await?;
    file.write_all(format!("{event}\n").as_bytes()).await?;
    file.flush().await
}
