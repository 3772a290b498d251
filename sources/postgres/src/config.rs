//! A PostgreSQL section of the pipeline file.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tidegate_core::units::{deserialize_duration, deserialize_size, deserialize_some_duration};

use crate::connection::Connection;
use crate::error::PostgresError;
use crate::types::{NumericAs, OnUnrepresentable};

/// `[sources.NAME]` with `type = "postgres"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database?sslmode=…`, with libpq's names: `sslmode`, `sslrootcert`,
    /// `sslcert`, `sslkey`, `passfile`, `connect_timeout`, `application_name`.
    pub url: String,
    /// The replication slot; default `tidegate_<pipeline>`.
    #[serde(default)]
    pub slot: Option<String>,
    /// The publication; default `tidegate_<pipeline>`. Created for the tables that the views use, if absent.
    #[serde(default)]
    pub publication: Option<String>,
    /// What to do when the slot, or what it holds, is gone.
    #[serde(default)]
    pub on_slot_lost: OnSlotLost,
    /// How often to look at the server while nothing arrives by itself.
    #[serde(default = "default_poll_interval", deserialize_with = "deserialize_duration")]
    pub poll_interval: Duration,
    /// Connections that copy tables at the same time.
    #[serde(default = "default_copy_workers")]
    pub copy_workers: usize,
    /// Bytes of changes that are kept in memory between the socket and the pipeline; a transaction that is
    /// larger goes to the state folder.
    #[serde(default = "default_buffer", deserialize_with = "deserialize_size")]
    pub buffer: u64,
    /// Bytes of WAL held for the slot at which to warn.
    #[serde(default = "default_lag_warn", deserialize_with = "deserialize_size")]
    pub slot_lag_warn: u64,
    /// Bytes of WAL held for the slot at which `on_slot_lag` applies.
    #[serde(default = "default_lag_critical", deserialize_with = "deserialize_size")]
    pub slot_lag_critical: u64,
    /// What to do then.
    #[serde(default)]
    pub on_slot_lag: OnSlotLag,
    /// How often to write a small message into the server's WAL, so that positions move on a server where nothing else
    /// does.
    #[serde(default, deserialize_with = "deserialize_some_duration")]
    pub heartbeat: Option<Duration>,
    /// Whether the slot is one that standbys keep in step (PostgreSQL 17 and newer).
    #[serde(default)]
    pub failover: bool,
    /// What `numeric` without precision, or with more than 38 digits, becomes.
    #[serde(default)]
    pub numeric: NumericAs,
    /// What becomes of values that no type here holds (`NaN` in a decimal, years after 294246).
    #[serde(default)]
    pub on_unrepresentable: OnUnrepresentable,
}

/// What to do when the slot, or what it holds, is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSlotLost {
    /// Stop with exit 3.
    #[default]
    Error,
    /// Copy the tables again; downstream sees only real differences.
    Resnapshot,
}

/// What to do when the slot holds too much WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSlotLag {
    /// Say so, again and again.
    #[default]
    Warn,
    /// Drop the slot, so that the server's disk never fills, and copy the tables again later.
    Release,
}

/// The configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The source's name.
    pub name: String,
    pub connection: Connection,
    pub slot: String,
    pub publication: String,
    pub config: Config,
}

impl Config {
    /// Checks the section. `base` is the pipeline file's folder.
    pub(crate) fn resolve(&self, name: &str, pipeline: &str, base: &Path) -> Result<Settings, PostgresError> {
        let refuse = |message: String| PostgresError::Config { database: name.to_owned(), message };
        let connection = Connection::parse(&self.url, base).map_err(refuse)?;
        let default = default_name(pipeline);
        let slot = self.slot.clone().unwrap_or_else(|| default.clone());
        if !is_slot_name(&slot) {
            let rule = "a slot's name has 1 to 63 lower-case letters, digits and underscores";
            return Err(refuse(format!("`slot` = \"{slot}\" is not a slot's name: {rule}")));
        }
        let publication = self.publication.clone().unwrap_or(default);
        if publication.is_empty() || publication.len() > 63 || publication.contains('\0') {
            return Err(refuse("`publication` is not a publication's name: it has 1 to 63 bytes".to_owned()));
        }
        if !(1..=64).contains(&self.copy_workers) {
            return Err(refuse("`copy_workers` is a number from 1 to 64".to_owned()));
        }
        if self.heartbeat.is_some_and(|every| every < Duration::from_millis(100)) {
            return Err(refuse("`heartbeat` is at least \"100ms\"".to_owned()));
        }
        if self.slot_lag_critical < self.slot_lag_warn {
            return Err(refuse("`slot_lag_critical` is not less than `slot_lag_warn`".to_owned()));
        }
        Ok(Settings { name: name.to_owned(), connection, slot, publication, config: self.clone() })
    }
}

/// `tidegate_<pipeline>`, as a slot may be called.
fn default_name(pipeline: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("tidegate_{}", pipeline.chars().take(54).map(plain).collect::<String>())
}

/// The name stands in replication commands as it is, so it is nothing but a name.
fn is_slot_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

fn default_poll_interval() -> Duration {
    Duration::from_secs(1)
}

fn default_copy_workers() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(1, 4))
}

fn default_buffer() -> u64 {
    64 << 20
}

fn default_lag_warn() -> u64 {
    1 << 30
}

fn default_lag_critical() -> u64 {
    10 << 30
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Result<Settings, String> {
        let config: Config = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.resolve("app", "Shop 1", Path::new("/p")).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults() {
        let settings = settings(r#"{"url": "postgres://u@h/d"}"#).unwrap();
        assert_eq!((settings.slot.as_str(), settings.publication.as_str()), ("tidegate_shop_1", "tidegate_shop_1"));
        assert_eq!((settings.config.buffer, settings.config.on_slot_lost), (64 << 20, OnSlotLost::Error));
    }

    #[test]
    fn refusals_name_the_key_and_the_way_out() {
        for (json, says) in [
            (r#"{"url": "postgres://u@h/d", "slot": "a'b"}"#, "lower-case letters"),
            (r#"{"url": "postgres://u@h/d", "slot": ""}"#, "lower-case letters"),
            (r#"{"url": "postgres://u@h/d", "publication": ""}"#, "publication"),
            (r#"{"url": "postgres://u@h/d", "copy_workers": 0}"#, "1 to 64"),
            (r#"{"url": "postgres://u@h/d", "slot_lag_warn": "2GB", "slot_lag_critical": "1GB"}"#, "slot_lag_critical"),
            (r#"{"url": "postgres://u@h/d", "slot_lag_warn": "much"}"#, "64MiB"),
            (r#"{"url": "postgres://u@h/d", "on_slot_lost": "ignore"}"#, "resnapshot"),
            (r#"{"url": "postgres://u@h/d", "heartbeat": "1ms"}"#, "at least"),
            (r#"{"url": "mysql://u@h/d"}"#, "postgres://"),
            (r#"{"url": "postgres://u@h/d", "tables": []}"#, "tables"),
        ] {
            let error = settings(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
