//! Encoding and file calls block; they run on tokio's blocking threads.

use tokio::task::{JoinError, JoinHandle};

/// Work that goes on whether somebody waits for it or not.
pub(crate) struct Started<T>(JoinHandle<T>);

/// Starts `work` on a blocking thread.
pub(crate) fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Started<T> {
    Started(tokio::task::spawn_blocking(work))
}

/// Starts work that does not block.
pub(crate) fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Started<T> {
    Started(tokio::spawn(work))
}

impl<T> Started<T> {
    /// Waits for the work. A panic in it goes on here.
    pub(crate) async fn done(self) -> T {
        self.0.await.unwrap_or_else(|error: JoinError| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only at the runtime's shutdown, when nobody waits for the answer any more.
            Err(error) => panic!("the runtime shut down during work: {error}"),
        })
    }
}

/// Runs `work` on a blocking thread and waits for it. A panic in it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    start(work).done().await
}
