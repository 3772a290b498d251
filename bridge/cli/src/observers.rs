//! Several listeners to one pipeline.

use std::sync::Arc;

use tidegate_runtime::{Observer, Progress};

/// Tells each of them everything, in their order.
pub struct Observers(pub Vec<Arc<dyn Observer>>);

impl Observer for Observers {
    fn notify(&self, event: Progress<'_>) {
        self.0.iter().for_each(|observer| observer.notify(event));
    }
}
