//! One DuckDB at a time has a file open in this process. The lock on the file keeps other processes
//! out but not a second DuckDB in the same one (such locks belong to the process, and closing any
//! of its descriptors gives them up), and blocking work outlives a call that was cancelled.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use tokio::sync::OwnedMutexGuard;

type Latch = Arc<tokio::sync::Mutex<()>>;

static LATCHES: LazyLock<Mutex<HashMap<PathBuf, Latch>>> = LazyLock::new(Mutex::default);

/// The gate of one file.
pub(crate) struct Gate {
    latch: Latch,
}

impl Gate {
    /// The gate that all sinks of this process share for a file.
    pub(crate) fn of(file: &Path) -> Gate {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let mut latches = LATCHES.lock().expect("nothing panics while it holds the map of gates");
        Gate { latch: latches.entry(file).or_default().clone() }
    }

    /// Waits until nobody else of this process has the file open; the guard keeps it so.
    pub(crate) async fn pass(&self) -> OwnedMutexGuard<()> {
        self.latch.clone().lock_owned().await
    }
}
