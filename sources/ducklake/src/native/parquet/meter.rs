//! How much was read, for tests and benches.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests and bytes since the beginning. Shared by whoever reads through the same [`Files`](super::Files).
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    /// Counts one request for so many bytes.
    pub(super) fn count(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Requests sent.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes asked for.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
