//! Calls to connectors that run beside the loop.

use std::task::{Context, Poll, ready};

use futures::FutureExt;
use tokio::task::JoinHandle;

/// A call in a task of its own, which ends with this.
pub(crate) struct Call<T>(JoinHandle<T>);

impl<T: Send + 'static> Call<T> {
    pub fn new(call: impl Future<Output = T> + Send + 'static) -> Self {
        Call(tokio::spawn(call))
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        match ready!(self.0.poll_unpin(cx)) {
            Ok(done) => Poll::Ready(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going away, and takes this task with it.
            Err(_) => Poll::Pending,
        }
    }

    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    pub fn now_or_never(mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll(cx)).now_or_never()
    }

    pub async fn cancel(mut self) {
        self.0.abort();
        if let Err(error) = (&mut self.0).await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
