//! `[sinks.NAME]`: what all have, and what each type has beside it.

use super::Kind::{Choice, Duration, Integer, Options, Size, Table, Tables, Text, Texts};
use super::{Key, MANY, Types, default, required, said};

/// Of every sink, beside its `type`.
pub const SINK: &[Key] = &[
    said("views", Texts, "all", "the views it takes"),
    said("commit_interval", Duration, "the sink's own", "how often it commits; `run --once` commits at its end"),
    said("commit_schedule", Text, "`commit_interval`", "when it commits, as cron has it: `0 6 * * mon-fri`"),
    said("commit_timezone", Text, "`UTC`", "the time zone of that, for example `Europe/Berlin`"),
];

/// By type.
pub const SINKS: Types = &[
    #[cfg(feature = "parquet")]
    ("parquet", PARQUET),
    #[cfg(feature = "duckdb")]
    ("duckdb", DUCKDB),
    #[cfg(feature = "delta")]
    ("delta", DELTA),
    #[cfg(feature = "ducklake")]
    ("ducklake", DUCKLAKE),
    #[cfg(feature = "postgres")]
    ("postgres", POSTGRES),
    #[cfg(feature = "jsonl")]
    ("jsonl", JSONL),
];

#[cfg(feature = "parquet")]
const PARQUET: &[Key] = &[
    required("path", Text, "a folder, or `s3://bucket/prefix`"),
    default(
        "mode",
        Choice(&["deltas", "snapshot"]),
        "deltas",
        "what lies there. `deltas`: every change; `snapshot`: the whole content from time to time",
    ),
    default("compression", Choice(&["zstd", "snappy", "none"]), "zstd", "how pages are compressed"),
    default("compression_level", Integer(1, 22), "1", "of zstd"),
    default("row_group_rows", Integer(1, MANY), "122880", "rows of a row group at the most; one also ends at 64 MiB"),
    default(
        "bloom_filters",
        Choice(&["key", "none"]),
        "key",
        "which columns have bloom filters: those of the view's key, or none",
    ),
    default(
        "statistics",
        Choice(&["page", "chunk", "none"]),
        "page",
        "least and greatest values of each page and row group, of row groups alone (`chunk`), or none",
    ),
    default("compaction", Choice(&["on", "off"]), "on", "deltas: whether small files are merged"),
    default("compaction_files", Integer(2, MANY), "32", "deltas: how many small files are merged into one"),
    default("compaction_bytes", Size, "128MiB", "deltas: how large a merged file becomes"),
    default("compaction_grace", Duration, "10m", "deltas: how long merged files stay"),
    said("retention", Duration, "for ever", "deltas: how far back changes are kept"),
    said("keep_snapshots", Integer(1, MANY), "3", "snapshots: how many are kept"),
    said("partition_by", Texts, "none", "snapshots: columns whose values are folders"),
    said("file_bytes", Size, "`64MiB`", "snapshots: how large a file becomes"),
];

#[cfg(feature = "duckdb")]
const DUCKDB: &[Key] = &[
    required("path", Text, "the database file that people open"),
    default(
        "publish",
        Choice(&["in-place", "atomic-copy"]),
        "in-place",
        "`in-place`: commits change that file; `atomic-copy`: commits go into a private file, and each leaves a complete copy under `path`",
    ),
];

#[cfg(feature = "delta")]
const DELTA: &[Key] = &[
    required("path", Text, "a folder or a URL; the tables lie below it"),
    said("partition_by", Texts, "none", "columns by which every table is partitioned"),
    default("target_file_size", Size, "16MiB", "how large a data file gets, 1KiB to 512MiB"),
    default("checkpoint_interval", Integer(1, MANY), "50", "commits between two checkpoints of the log"),
    default(
        "optimize_after",
        Integer(2, MANY),
        "32",
        "how many files smaller than half the target a partition has when they are merged",
    ),
    said(
        "z_order",
        Texts,
        "rows are sorted by the row identity",
        "columns along whose Z-order curve rows are laid out",
    ),
    default(
        "vacuum_retention",
        Duration,
        "7d",
        "how long files that the newest version does not need stay for readers and time travel, 1h or more",
    ),
    default("log_retention", Duration, "30d", "how long entries of the log stay once a checkpoint covers them"),
    default(
        "on_schema_change",
        Choice(&["replace", "error"]),
        "replace",
        "when a view gets other columns. `replace`: one commit replaces columns and rows; `error`: the sink stops, unless columns are added at the end",
    ),
];

#[cfg(feature = "ducklake")]
const DUCKLAKE: &[Key] = &[
    required("catalog", Text, "what one writes in DuckDB's ATTACH; the first commit makes a lake that is not there"),
    said(
        "data_path",
        Text,
        "what the catalog says",
        "where the data files of a lake that is not there yet shall go: a folder, or `s3://bucket/prefix`",
    ),
    said("attach", Options, "none", "further options of ATTACH"),
    default("schema", Text, "main", "the schema of the tables, made where it is missing"),
    said("tables", Tables(TABLE), "none", "how the tables of some views are laid out, by the view's name"),
    said("maintenance", Table(MAINTENANCE), "the defaults", "how the tables are kept in good order"),
];

/// `[sinks.NAME.tables.VIEW]` of a lake.
#[cfg(feature = "ducklake")]
pub(super) const TABLE: &[Key] = &[
    said("partitioned_by", Texts, "none", "as in `ALTER TABLE … SET PARTITIONED BY (…)`"),
    said("sorted_by", Texts, "the view's key", "as in `ALTER TABLE … SET SORTED BY (…)`; `[]`: no order"),
];

/// `[sinks.NAME.maintenance]` of a lake.
#[cfg(feature = "ducklake")]
pub(super) const MAINTENANCE: &[Key] = &[
    default(
        "flush_rows",
        Integer(0, MANY),
        "1000",
        "rows and removals of one table that the catalog keeps, from which on they are moved into files; 0: never",
    ),
    default(
        "merge_files",
        Integer(0, MANY),
        "16",
        "files that a table has got since they were last merged, from which on small ones are merged; 0: never",
    ),
    default(
        "rewrite_percent",
        Integer(0, 100),
        "50",
        "files of which more than so many percent of the rows were removed are written anew without them; 100: never",
    ),
    said("expire_snapshots_after", Duration, "they are kept", "how old snapshots of the lake become"),
    said(
        "remove_files_after",
        Duration,
        "they are kept",
        "how long files that no snapshot needs any more wait for those who read them just now",
    ),
];

#[cfg(feature = "postgres")]
const POSTGRES: &[Key] = &[
    required("url", Text, "`postgres://user:password@host:port/database`, with the parameters of a source's `url`"),
    default("schema", Text, "public", "the schema of the tables; it exists"),
];

#[cfg(feature = "jsonl")]
const JSONL: &[Key] = &[required(
    "path",
    Text,
    "a file, made with its folder by the first commit; or `-`, standard output, which one sink of a pipeline can have",
)];
