//! SIGINT and SIGTERM: the first asks for a graceful stop, the second ends the process at once.
//! That is safe at any moment; the next start recovers as after a crash.

use std::io;
use std::time::Duration;

use tidegate_runtime::StopSignal;
use tokio::signal::unix::{SignalKind, signal};

/// Turns signals into a stop request, and ends a process that does not follow it in time.
pub fn stop_on_signal(stop: StopSignal, timeout: Duration) -> io::Result<()> {
    let asked = stop.clone();
    tokio::spawn(async move {
        asked.stopped().await;
        tokio::time::sleep(timeout).await;
        tracing::error!(name: "stop_timed_out", timeout_ms = timeout.as_millis() as u64,
            "the stop takes longer than `stop_timeout`: ending at once; the next start goes on from the log"
        );
        std::process::exit(1);
    });

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                tracing::info!(name: "stopping", "stopping after the present epoch; a second signal stops at once");
                stop.stop();
            } else {
                std::process::exit(1);
            }
        }
    });
    Ok(())
}
