//! SIGINT and SIGTERM: the first asks for a graceful stop, the second ends the process at once.
//! That is safe at any moment; the next start recovers as after a crash.

use std::io;

use tidegate_runtime::StopSignal;
use tokio::signal::unix::{SignalKind, signal};

/// Turns signals into a stop request.
pub fn stop_on_signal(stop: StopSignal) -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                tracing::info!("stopping after the present epoch; a second signal stops at once");
                stop.stop();
            } else {
                std::process::exit(1);
            }
        }
    });
    Ok(())
}
