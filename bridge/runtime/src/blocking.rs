//! Calls that block, from async code.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs a blocking call without holding up the other tasks, where the runtime has other threads
/// to run them on.
pub fn blocking<T>(call: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(call),
        _ => call(),
    }
}
