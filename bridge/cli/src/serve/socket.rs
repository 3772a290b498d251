//! The socket in the state folder: by it other commands ask the process that runs a pipeline. It speaks HTTP, like the
//! address of `--http`. Only the owner of the folder can open it.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tidegate_core::ErrorKind;
use tidegate_runtime::is_running;
use tokio::net::{UnixListener, UnixStream};

use crate::failure::Failure;

/// The folder of the socket, which only its owner may enter.
const FOLDER: &str = "control";
const SOCKET: &str = "socket";
/// What a process leaves that finished everything.
const DRAINED: &str = "drained";

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest path that a socket may have, less what a terminating zero takes (`unix(7)`).
const PATH_BYTES_MAX: usize = 107;

/// A socket that is listened at, until it is dropped.
pub struct Socket {
    path: PathBuf,
    served: tokio::task::JoinHandle<()>,
}

impl Socket {
    /// Listens in a state folder whose lock is held: what is left of a process before is removed.
    pub fn listen(state_dir: &Path, routes: Router) -> Result<Socket, Failure> {
        let folder = state_dir.join(FOLDER);
        let path = folder.join(SOCKET);
        let failed = |error: io::Error| {
            Failure::new(ErrorKind::Retry, format!("{} cannot be listened at: {error}", path.display()))
        };
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).map_err(failed)?;
        for left in [&path, &folder.join(DRAINED)] {
            match std::fs::remove_file(left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        let listener = at(&path, |path| UnixListener::bind(path)).map_err(failed)?;
        let served = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(name: "socket_ended", %error, "the socket of the state folder is not served any more");
            }
        });
        Ok(Socket { path, served })
    }

    /// Leaves word that everything was finished, before the state folder is let go of.
    pub fn finished(&self) {
        // Without it `drain` says that it does not know.
        if let Err(error) = std::fs::write(self.path.with_file_name(DRAINED), "") {
            tracing::warn!(name: "drain_not_told", %error, "no word is left that the pipeline was drained");
        }
    }
}

/// Whether the last process that ran the pipeline of a state folder finished everything.
pub fn has_finished(state_dir: &Path) -> bool {
    state_dir.join(FOLDER).join(DRAINED).exists()
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.served.abort();
        // Whoever comes next removes what is left.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Calls `act` with a path of the socket that is short enough.
fn at<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return act(path);
    }
    let folder = File::open(path.parent().unwrap_or(Path::new(".")))?;
    act(&PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())))
}

/// Asks the process that runs the pipeline of a state folder; `None` where no process answers.
pub async fn ask(state_dir: &Path, method: Method, route: &str) -> Result<Option<Value>, Failure> {
    ask_for(state_dir, method, route, PATIENCE).await
}

/// The same for what may take a while.
pub async fn ask_for(
    state_dir: &Path,
    method: Method,
    route: &str,
    patience: Duration,
) -> Result<Option<Value>, Failure> {
    let late = || {
        let message = format!("the process that runs the pipeline does not answer within {} s", patience.as_secs());
        Failure::new(ErrorKind::Retry, message)
    };
    tokio::time::timeout(patience, answer(state_dir, method, route)).await.map_err(|_| late())?
}

/// What the process that runs the pipeline says of it, if one does. One that cannot be asked, by this person or just now, has
/// written down where it was a second ago.
pub async fn status(state_dir: &Path) -> Option<Value> {
    match is_running(state_dir) {
        true => ask(state_dir, Method::GET, "/api/status").await.unwrap_or(None),
        false => None,
    }
}

async fn answer(state_dir: &Path, method: Method, route: &str) -> Result<Option<Value>, Failure> {
    let path = state_dir.join(FOLDER).join(SOCKET);
    let failed = |error: &dyn std::error::Error| {
        Failure::new(ErrorKind::Retry, format!("{} does not answer: {error}", path.display()))
    };
    let stream = match at(&path, |path| std::os::unix::net::UnixStream::connect(path)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(&error)),
    };
    let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
    let stream = stream.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(route).header(header::HOST, "localhost").body(Body::empty());
    let request = request.map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    let answer: Value = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    match status {
        StatusCode::OK | StatusCode::ACCEPTED => Ok(Some(answer)),
        _ => {
            let text = answer["error"].as_str().map_or_else(|| status.to_string(), str::to_owned);
            Err(Failure::new(ErrorKind::Retry, text))
        }
    }
}
