//! Named places where the crash tests stop the process.
//!
//! `TIDEGATE_FAILPOINT=log.appended` makes the process abort, as if killed, the first time it
//! passes [`hit`]`("log.appended")`; `log.appended:3` the third time. Each place is one look at an
//! unset variable, so they stay in the shipped binary: what is tested is what runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that arms one failpoint.
pub const VARIABLE: &str = "TIDEGATE_FAILPOINT";

/// Every failpoint of the program, in the order in which an epoch passes them. The crash tests
/// walk this list; [`hit`] with a name that is not in it is a bug.
pub const ALL: &[&str] = &[
    "poll.done",
    "log.before_append",
    "log.torn_append",
    "log.appended",
    "source.acked",
    "engine.stepped",
    "sink.parquet.staged",
    "sink.parquet.published",
    "sink.duckdb.before_commit",
    "sink.duckdb.committed",
    "sinks.committed",
    "delta_log.written",
    "checkpoint.engine_saved",
    "checkpoint.published",
    "log.trimmed",
    "load.rows_fed",
    "load.stepped",
    "rebuild.published",
];

struct Armed {
    name: String,
    passes_left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn armed() -> Option<&'static Armed> {
    ARMED
        .get_or_init(|| {
            let setting = std::env::var(VARIABLE).ok()?;
            let (name, pass) = setting.split_once(':').unwrap_or((&setting, "1"));
            Some(Armed { name: name.to_owned(), passes_left: AtomicU64::new(pass.parse().unwrap_or(1)) })
        })
        .as_ref()
}

/// Whether this pass of `name` is the one that must stop; for places that first leave something
/// half done, such as a torn log record.
pub fn due(name: &'static str) -> bool {
    debug_assert!(ALL.contains(&name), "failpoint {name} is not listed");
    let Some(armed) = armed() else { return false };
    armed.name == name && armed.passes_left.fetch_sub(1, Ordering::Relaxed) == 1
}

/// Aborts the process here when the failpoint is armed and due.
pub fn hit(name: &'static str) {
    if due(name) {
        std::process::abort();
    }
}
