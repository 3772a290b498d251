//! What a running pipeline tells and takes over HTTP: the status page, a JSON API, metrics and health, on an address that
//! is asked for (`--http`), and for the other commands on a socket in the state folder.

mod about;
mod api;
mod apply;
mod child;
mod figures;
mod guard;
pub mod metrics;
mod monitor;
mod page;
mod past;
pub mod socket;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tidegate_core::ErrorKind;
use tidegate_runtime::{Beside, PipelineHandle, StopSignal};
use tokio::net::TcpListener;

pub use about::About;
pub use monitor::Monitor;
use past::PastRows;

use crate::assembly::Assembly;
use crate::failure::Failure;

/// What the handlers of requests share.
pub struct Server {
    monitor: Arc<Monitor>,
    /// The pipeline file.
    pipeline: PathBuf,
    /// To ask the pipeline by, once it is open.
    handle: RwLock<Option<PipelineHandle>>,
    stop: StopSignal,
    turn: Mutex<Turn>,
    past: PastRows,
    /// Whoever says it may drain and save.
    token: Option<String>,
}

/// The run of a pipeline as one pipeline file says, and what comes after it.
#[derive(Default)]
struct Turn {
    /// Ends the run; none where it has an end of its own.
    stop: Option<StopSignal>,
    /// As another pipeline file says.
    next: Option<Next>,
    /// Ends what is being built for another pipeline file.
    building: Option<StopSignal>,
}

/// What a pipeline goes on with when another pipeline file takes the place of its own.
pub struct Next {
    pub assembly: Assembly,
    /// Views that were built meanwhile.
    pub beside: Option<Beside>,
}

/// The environment variable of the token that lets others than the state folder's owner drain and save.
pub const TOKEN: &str = "TIDEGATE_HTTP_TOKEN";

/// The shortest token that is taken.
const TOKEN_BYTES_MIN: usize = 16;

impl Server {
    /// A server for the pipeline of a file that `monitor` listens to.
    pub fn new(pipeline: &Path, monitor: Arc<Monitor>, stop: StopSignal) -> Result<Arc<Server>, Failure> {
        let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| token.len() < TOKEN_BYTES_MIN) {
            return Err(Failure::usage(format!(
                "{TOKEN} is shorter than {TOKEN_BYTES_MIN} characters: set a longer one, or none"
            )));
        }
        Ok(Arc::new(Server {
            monitor,
            pipeline: pipeline.to_owned(),
            handle: RwLock::default(),
            stop,
            turn: Mutex::default(),
            past: PastRows::new(pipeline.to_owned()),
            token,
        }))
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        // Both are set at once, so a poisoned lock is as good as another.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on requests are answered by this pipeline, and another pipeline file can take its place by ending this run.
    pub fn begin(&self, handle: PipelineHandle, stop: Option<StopSignal>) {
        *self.handle.write().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        *self.turn() = Turn { stop, next: None, building: None };
        self.past.forget();
    }

    /// What is to run after the run that has ended.
    pub fn next(&self) -> Option<Next> {
        let mut turn = self.turn();
        turn.stop = None;
        if let Some(building) = turn.building.take() {
            building.stop();
        }
        turn.next.take()
    }

    /// From here on nobody is there to be asked, until the next run begins.
    fn between_runs(&self) {
        *self.handle.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn handle(&self) -> Option<PipelineHandle> {
        self.handle.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves on an address from here on; anybody may read.
    pub async fn listen(self: &Arc<Self>, address: SocketAddr) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                ErrorKind::Retry,
                format!("--http {address}: {error}; is another process there? Give another address or port"),
            )
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        if !bound.ip().is_loopback() {
            tracing::warn!(name: "page_is_open", address = %bound, "whoever reaches this address can read the status page, rows of the views among it");
        }
        tracing::info!(name: "page_served", "status page at http://{bound}/");
        let routes = api::routes(Arc::clone(self), guard::Door::Address(bound));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(name: "page_ended", %error, "the status page is not served any more");
            }
        });
        Ok(())
    }

    /// Serves the owner of the state folder from here on.
    pub fn open(self: &Arc<Self>, state_dir: &Path) -> Result<socket::Socket, Failure> {
        let routes = api::routes(Arc::clone(self), guard::Door::Socket);
        socket::Socket::listen(state_dir, routes)
    }
}
