//! The laws of the seam as tests: every connector crate calls its suite in one line.

mod content;
mod edges;
mod history;
pub mod model;
mod removal;
mod sink;
mod sink_cases;
mod sink_change_cases;
mod sink_commit_cases;
mod sink_large_case;
mod source;

pub use edges::values_at_the_edges;
pub use history::{HistoryReader, Version, history};
pub use removal::{Strangers, removal};
pub use sink::sink;
pub use source::{LakeFixture, SourceFixture, source};

use std::future::Future;

/// Runs a suite on a runtime like the program's own.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be made").block_on(future)
}
