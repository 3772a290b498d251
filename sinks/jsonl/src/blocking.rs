//! File calls block; they run on tokio's blocking threads.

/// Runs `work` on a blocking thread and waits for it. A panic in it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only at the runtime's shutdown, when nobody waits for the answer any more.
            Err(error) => panic!("the runtime shut down during blocking work: {error}"),
        },
    }
}
