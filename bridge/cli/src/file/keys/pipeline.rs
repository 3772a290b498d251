//! The tables of the pipeline file that have no `type`.

use super::Kind::{Boolean, Choice, Duration, Integer, Size, Text, Texts};
use super::{Key, MANY, default, required, said};

/// `[pipeline]`
pub const PIPELINE: &[Key] = &[
    required("name", Text, "the pipeline's name; its state remembers it"),
    required("state_dir", Text, "a local folder for logs, checkpoints and engine state"),
    said("log", Text, "`log` in the state folder", "where the input log lies: a folder, or `s3://bucket/prefix`"),
    default("log_retention", Duration, "7d", "how long log records are kept that recovery no longer needs"),
    default("checkpoint_epochs", Integer(1, MANY), "64", "a checkpoint is taken after so many epochs"),
    default("checkpoint_bytes", Size, "256MiB", "or after so many bytes of log"),
    default("checkpoint_interval", Duration, "60s", "or after so long, whichever comes first"),
    said("branch_of", Text, "none", "the pipeline file that this is a branch of, which has its sources"),
    default("epoch_interval", Duration, "200ms", "the shortest time between two epochs under load"),
    said("workers", Integer(1, 256), "1, or what the state was made with", "threads of each view's circuit"),
    said("memory_limit", Size, "none", "engine memory beyond which state goes to disk"),
    default(
        "retry_for",
        Duration,
        "10s",
        "how long `run --once` and `run --until` go on trying a source or sink that is away",
    ),
    default("stop_timeout", Duration, "60s", "how long a stop may take before the process ends all the same"),
    default("sink_lag_max", Size, "4GiB", "bytes of changes that are kept for one sink that is behind"),
    default(
        "on_sink_failure",
        Choice(&["pause", "detach"]),
        "pause",
        "when a sink lacks more than that, or fails in a way that trying again does not help. `pause`: the sources wait for it, or the pipeline stops; `detach`: the others go on, and it gets nothing until `tidegate resync`",
    ),
    said("views_dir", Text, "none", "a folder of `.sql` files, whose statements are views"),
];

/// `[storage."s3://bucket"]`
pub const STORAGE: &[Key] = &[
    said(
        "endpoint",
        Text,
        "`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or `AWS_ENDPOINT`",
        "the server, as a URL, where it is not Amazon's",
    ),
    said("region", Text, "`AWS_REGION`", "the region"),
    said("access_key_id", Text, "the AWS environment", "the credentials, with `secret_access_key`"),
    said("secret_access_key", Text, "the AWS environment", "the credentials, with `access_key_id`"),
    said("session_token", Text, "`AWS_SESSION_TOKEN`, where the key is not given here", "of temporary credentials"),
];

/// `[views.NAME]`
pub const VIEW: &[Key] = &[
    said("sql", Text, "`sql_file`", "the SELECT"),
    said("sql_file", Text, "`sql`", "a file that holds it"),
    said(
        "key",
        Texts,
        "what the planner finds",
        "the columns by which rows are told apart; what cannot be proved is checked in every epoch",
    ),
    default("mode", Choice(&["incremental"]), "incremental", "how it is maintained: the one way there is"),
    default("temporal", Boolean, "false", "sinks keep every version of every row in `<view>_history`"),
    said("history_retention", Duration, "for ever", "how long a version is kept after its end"),
];

/// `[track."SOURCE.TABLE"]`
pub const TRACK: &[Key] = &[
    required("key", Texts, "the columns that tell its rows apart"),
    said("retention", Duration, "for ever", "how long a version is kept after its end"),
];

/// `[openlineage]`
pub const OPENLINEAGE: &[Key] = &[
    said("url", Text, "`path`", "a server that takes events of OpenLineage, by its root: `http://host:port`"),
    said("path", Text, "`url`", "a file that gets one event a line at its end; it is made, with its folder"),
    said("api_key", Text, "none", "sent to the server as a bearer token"),
    said("namespace", Text, "the pipeline's name", "the namespace of the jobs"),
];
