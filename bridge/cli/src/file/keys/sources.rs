//! `[sources.NAME]`, by their types.

use super::Kind::{Boolean, Choice, Duration, Integer, Options, Size, Text};
use super::{Key, Types, default, required, said};

/// By type.
pub const SOURCES: Types = &[
    #[cfg(feature = "ducklake")]
    ("ducklake", DUCKLAKE),
    #[cfg(feature = "postgres")]
    ("postgres", POSTGRES),
];

#[cfg(feature = "ducklake")]
const DUCKLAKE: &[Key] = &[
    required(
        "catalog",
        Text,
        "what one writes in DuckDB's ATTACH: `ducklake:FILE`, `ducklake:sqlite:FILE`, `ducklake:postgres:dbname=… host=…`",
    ),
    said("data_path", Text, "what the catalog says", "where the data files are"),
    said("attach", Options, "none", "further options of ATTACH"),
    default("poll_interval", Duration, "1s", "how often to ask for news"),
    default(
        "reader",
        Choice(&["native", "extension"]),
        "native",
        "what reads the lake. `native`: the catalog and the files themselves, at the cost of the change; `extension`: DuckDB's official extension",
    ),
    default(
        "on_expired_snapshot",
        Choice(&["fallback", "error"]),
        "fallback",
        "when changes can no longer be read. `fallback`: rebuild from the present snapshot, downstream sees the differences; `error`: stop with exit code 3",
    ),
    default(
        "deletion_vectors",
        Choice(&["refuse", "diff"]),
        "refuse",
        "what to do with tables that have deletion vectors. `diff`: read them, and rebuild where they have erased what happened; the native reader alone does that",
    ),
];

#[cfg(feature = "postgres")]
const POSTGRES: &[Key] = &[
    required(
        "url",
        Text,
        "`postgres://user:password@host:port/database`, with the parameters `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `passfile`, `connect_timeout`, `application_name`, as in libpq",
    ),
    said("slot", Text, "`tidegate_<pipeline>`", "the replication slot"),
    said(
        "publication",
        Text,
        "`tidegate_<pipeline>`",
        "the publication; created for the tables that the views use, if absent",
    ),
    default(
        "on_slot_lost",
        Choice(&["error", "resnapshot"]),
        "error",
        "when the slot, or what it holds, is gone. `error`: stop with exit code 3; `resnapshot`: copy the tables again, downstream sees only real differences",
    ),
    default("poll_interval", Duration, "1s", "how often to look at the server while nothing arrives by itself"),
    said(
        "copy_workers",
        Integer(1, 64),
        "the machine's cores, 4 at most",
        "connections that copy tables at the same time",
    ),
    default(
        "buffer",
        Size,
        "64MiB",
        "bytes of changes kept in memory between the socket and the pipeline; larger transactions wait in the state folder",
    ),
    default("slot_lag_warn", Size, "1GiB", "bytes of WAL that the server holds for the slot at which to warn"),
    default("slot_lag_critical", Size, "10GiB", "bytes of WAL at which `on_slot_lag` applies"),
    default(
        "on_slot_lag",
        Choice(&["warn", "release"]),
        "warn",
        "`warn`: say so, again and again; `release`: drop the slot, so that the server's disk never fills, and copy the tables again",
    ),
    said(
        "heartbeat",
        Duration,
        "never",
        "how often to write a small message into the server's WAL, so that positions move on a server where nothing else does",
    ),
    default("failover", Boolean, "false", "the slot is one that standbys keep in step (PostgreSQL 17 and newer)"),
    default(
        "numeric",
        Text,
        "varchar",
        "what `numeric` without precision becomes: `varchar`, `double`, or a decimal such as `decimal(38,9)`",
    ),
    default(
        "on_unrepresentable",
        Choice(&["error", "null"]),
        "error",
        "values that no type here holds, such as NaN in a decimal. `error`: stop with exit code 3; `null`: NULL in their place",
    ),
];
