//! The replication slot: what the server says of it, and making one whose snapshot others can read.

use std::time::Duration;

use pgwire_replication::ReplicationClient;
use tidegate_core::Lsn;

use crate::config::Settings;
use crate::connection::{Session, Stream};
use crate::error::{PostgresError, replication};

const DOING: &str = "looking at the replication slot";
/// How long a slot may wait for transactions that began before it.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A slot as `pg_replication_slots` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub plugin: Option<String>,
    pub database: Option<String>,
    /// The server's process that streams from it.
    pub active_pid: Option<i32>,
    /// What its reader has said is durable: nothing before it is sent any more.
    pub confirmed: Lsn,
    /// Bytes of WAL that the server keeps for it.
    pub held: u64,
    /// Why it cannot be read any more.
    pub lost: Option<String>,
    /// Bytes that may still be written before the server removes WAL that the slot needs; `None` without
    /// such a limit.
    pub safe: Option<u64>,
    /// Whether standbys keep it in step.
    pub failover: bool,
}

/// Looks at a slot; `None` when there is none of the name.
pub(crate) async fn look(session: &Session, name: &str) -> Result<Option<Slot>, PostgresError> {
    // invalidation_reason and failover came with PostgreSQL 17.
    let sql = "SELECT plugin::text, database::text, active_pid, coalesce(confirmed_flush_lsn, '0/0')::text, \
               greatest(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
               ELSE pg_current_wal_lsn() END, restart_lsn), 0)::int8, wal_status::text, \
               to_jsonb(s)->>'invalidation_reason', safe_wal_size, coalesce((to_jsonb(s)->>'failover')::bool, false) FROM pg_replication_slots s WHERE slot_name = $1";
    let Some(row) = session.query(DOING, sql, &[&name]).await?.pop() else { return Ok(None) };
    let reason: Option<String> = row.get(6);
    let status: Option<&str> = row.get(5);
    let lost = match (reason, status) {
        (Some(reason), _) => Some(format!("invalidation_reason={reason}")),
        (None, Some("lost")) => Some("wal_status=lost, its WAL has been removed".to_owned()),
        _ => None,
    };
    Ok(Some(Slot {
        plugin: row.get(0),
        database: row.get(1),
        active_pid: row.get(2),
        confirmed: row.get::<_, &str>(3).parse().unwrap_or(Lsn(0)),
        held: u64::try_from(row.get::<_, Option<i64>>(4).unwrap_or(0)).unwrap_or(0),
        lost,
        safe: row.get::<_, Option<i64>>(7).map(|safe| u64::try_from(safe).unwrap_or(0)),
        failover: row.get(8),
    }))
}

/// Drops a slot that nobody reads.
pub(crate) async fn drop_slot(session: &Session, name: &str) -> Result<(), PostgresError> {
    let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
    session.query("dropping the replication slot", sql, &[&name]).await.map(drop)
}

/// Whether the slot stays when the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// The pipeline's own slot.
    Permanent,
    /// One for its snapshot alone.
    Temporary,
}

/// A snapshot that other sessions can read while this lives.
pub(crate) struct Exported {
    /// What `SET TRANSACTION SNAPSHOT` takes.
    pub snapshot: String,
    /// Transactions whose commit begins before this are in the snapshot, all others are streamed.
    pub position: Lsn,
    /// The server's timeline.
    pub timeline: u32,
    /// The exporting session; the snapshot ends with its next command.
    pub _session: ReplicationClient,
}

/// Creates a slot by the replication command, which exports the snapshot of the moment at which its
/// stream begins. (The SQL function inside a transaction loses rows.)
pub(crate) async fn create(
    session: &Session,
    settings: &Settings,
    lifetime: Lifetime,
) -> Result<Exported, PostgresError> {
    let name = match lifetime {
        Lifetime::Permanent => settings.slot.clone(),
        Lifetime::Temporary => format!("tidegate_copy_{:016x}", rand::random::<u64>()),
    };
    let stream = Stream { slot: &name, publication: &settings.publication, start: Lsn(0), acknowledged: Lsn(0) };
    let mut client = settings.connection.replication(&settings.name, stream).await?;
    let server = client.identify_system().await;
    let timeline = server.map_err(|error| replication(&settings.name, "identifying the server", &error))?.timeline;
    let temporary = if lifetime == Lifetime::Temporary { " TEMPORARY" } else { "" };
    let failover = if lifetime == Lifetime::Permanent && settings.config.failover { ", FAILOVER" } else { "" };
    // The name is nothing but letters, digits and underscores.
    let sql = format!("CREATE_REPLICATION_SLOT {name}{temporary} LOGICAL pgoutput (SNAPSHOT 'export'{failover})");
    let doing = "creating a replication slot";
    let rows = match tokio::time::timeout(READY_WITHIN, client.simple_query(&sql)).await {
        Ok(rows) => rows.map_err(|error| replication(&settings.name, doing, &error))?,
        Err(_) => return Err(waits(session, settings).await?),
    };
    let field = |index: usize| {
        let value = rows.first().and_then(|row| row.get(index)).and_then(Option::as_ref);
        value.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let position = field(1).and_then(|text| text.parse().ok());
    match (position, field(2)) {
        (Some(position), Some(snapshot)) => Ok(Exported { snapshot, position, timeline, _session: client }),
        _ => Err(PostgresError::Stream {
            database: settings.name.clone(),
            table: "of the new slot".to_owned(),
            fact: "the server answered without a position or a snapshot",
        }),
    }
}

/// Who keeps the server from getting a slot ready.
async fn waits(session: &Session, settings: &Settings) -> Result<PostgresError, PostgresError> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start LIMIT 5";
    let rows = session.query(DOING, sql, &[]).await?;
    let pids: Vec<String> = rows.iter().map(|row| row.get::<_, i32>(0).to_string()).collect();
    Ok(PostgresError::SlotWaits { database: settings.name.clone(), pids: pids.join(", ") })
}
