//! Named places where the crash tests stop the process.
//!
//! `TIDEGATE_FAILPOINT=log.appended` makes the process abort, as if killed, the first time it
//! passes [`hit`]`("log.appended")`; `log.appended:3` the third time. Each place is one look at an
//! unset variable, so they stay in the shipped binary: what is tested is what runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that arms one failpoint.
pub const VARIABLE: &str = "TIDEGATE_FAILPOINT";

/// The failpoints of the loop and of the sinks that every pipeline of the crash tests has, in the order in which an
/// epoch passes them. The crash tests walk this list.
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
    "checkpoint.forgotten",
    "log.trimmed",
    "load.rows_fed",
    "load.stepped",
    "rebuild.published",
];

/// The failpoints that the sinks' own tests walk.
pub const OF_SINKS: &[&str] = &[
    "sink.delta.before_commit",
    "sink.delta.history_committed",
    "sink.delta.committed",
    "sink.duckdb.copied",
    "sink.duckdb.published",
    "sink.ducklake.before_commit",
    "sink.ducklake.committed",
    "sink.jsonl.before_commit",
    "sink.jsonl.committed",
    "sink.parquet.merged",
    "sink.parquet.merge_published",
    "sink.parquet.merge_cleaned",
    "sink.postgres.before_commit",
    "sink.postgres.committed",
];

/// The failpoints of views that are built beside others, in the order in which they are passed; their own test walks them.
pub const OF_BESIDE: &[&str] = &["beside.copied", "beside.built", "beside.followed", "beside.forked"];

/// The failpoints of what takes views away from sinks; the tests of `tidegate remove` walk them.
pub const OF_REMOVALS: &[&str] = &[
    "remove.delta.marked",
    "remove.delta.log_removed",
    "remove.delta.files_removed",
    "remove.duckdb.before_commit",
    "remove.duckdb.committed",
    "remove.ducklake.before_commit",
    "remove.ducklake.committed",
    "remove.parquet.noted",
    "remove.parquet.hidden",
    "remove.parquet.files_removed",
];

/// The failpoints of rewinds and branches; their own tests walk them.
pub const OF_REWINDS: &[&str] = &[
    "rewind.engine_back",
    "rewind.progress_back",
    "rewind.published",
    "branch.engine_back",
    "branch.past_copied",
    "branch.state_written",
];

/// The failpoints of backups, of restores, and of the first run after one; their own tests walk them.
pub const OF_BACKUPS: &[&str] = &[
    "backup.pinned",
    "backup.contents_put",
    "backup.published",
    "backup.pruned",
    "restore.begun",
    "restore.definitions_put",
    "restore.files_put",
    "restore.log_put",
    "restore.state_put",
    "restore.named",
    "restored.recopied",
    "restored.compared",
    "restored.in_line",
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
/// half done, such as a torn log record. A name that is in none of the lists is a bug.
pub fn due(name: &'static str) -> bool {
    let mut lists = [ALL, OF_SINKS, OF_REMOVALS, OF_REWINDS, OF_BACKUPS].into_iter();
    debug_assert!(lists.any(|list| list.contains(&name)), "failpoint {name} is not listed");
    let Some(armed) = armed() else { return false };
    armed.name == name && armed.passes_left.fetch_sub(1, Ordering::Relaxed) == 1
}

/// Aborts the process here when the failpoint is armed and due.
pub fn hit(name: &'static str) {
    if due(name) {
        std::process::abort();
    }
}
