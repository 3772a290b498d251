//! The section `[sources.NAME]` with `type = "ducklake"`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tidegate_core::units::deserialize_duration;
use tidegate_duck::lake::{AttachValue, LakeCatalog, Storage, absolute, attach_options, secrets_of_options};

use crate::error::LakeError;

/// How a lake is found and read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What stands in DuckDB's `ATTACH`: `ducklake:FILE`, `ducklake:sqlite:FILE` or
    /// `ducklake:postgres:dbname=… host=…`. Relative files are relative to the pipeline file.
    pub catalog: String,
    /// Where the data files are, if the catalog's own record does not fit.
    #[serde(default)]
    pub data_path: Option<String>,
    /// Further options of `ATTACH`.
    #[serde(default)]
    pub attach: BTreeMap<String, AttachValue>,
    /// How often to ask for news.
    #[serde(default = "default_poll_interval", deserialize_with = "deserialize_duration")]
    pub poll_interval: Duration,
    /// What reads the lake.
    #[serde(default)]
    pub reader: Reader,
    /// What to do when changes can no longer be read because their snapshots have expired.
    #[serde(default)]
    pub on_expired_snapshot: OnExpiredSnapshot,
    /// What to do with tables that have deletion vectors.
    #[serde(default)]
    pub deletion_vectors: DeletionVectors,
}

/// What reads the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reader {
    /// This program itself: the catalog's tables and the Parquet files as they are.
    #[default]
    Native,
    /// DuckDB's official extension.
    Extension,
}

impl<'de> Deserialize<'de> for Reader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "extension" => Ok(Reader::Extension),
            "native" => Ok(Reader::Native),
            other => {
                let message = format!("reader = \"{other}\" is not known: write \"native\" or \"extension\"");
                Err(serde::de::Error::custom(message))
            }
        }
    }
}

/// What to do when changes can no longer be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiredSnapshot {
    /// Rebuild from the present snapshot; downstream sees only real differences.
    #[default]
    Fallback,
    /// Stop.
    Error,
}

/// What to do with tables that have deletion vectors, which keep no history of deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletionVectors {
    /// Refuse them.
    #[default]
    Refuse,
    /// Read them. Where they have erased what happened, rebuild from the present snapshot.
    Diff,
}

/// Options that this program sets itself, or that would pin the lake to one moment.
const RESERVED: &[(&str, &str)] = &[
    ("data_path", "write it as `data_path` of the source"),
    ("override_data_path", "a `data_path` of the source always takes the place of the catalog's"),
    ("read_only", "the lake is always attached read-only"),
    ("create_if_not_exists", "the lake is never created"),
    ("automatic_migration", "the catalog is never written: migrate it with DuckDB"),
    ("snapshot_version", "every snapshot is read in turn"),
    ("snapshot_time", "every snapshot is read in turn"),
    ("metadata_catalog", "the name is chosen by this program"),
    ("type", "it is a DuckLake"),
];

impl Config {
    /// Checks the section and resolves what is relative. `lake` is the source's name, `base` the
    /// pipeline file's folder.
    pub(crate) fn resolve(&self, lake: &str, base: &Path) -> Result<Attachment, LakeError> {
        let refuse = |message: String| LakeError::Config { lake: lake.to_owned(), message };
        if self.deletion_vectors == DeletionVectors::Diff && self.reader == Reader::Extension {
            let message = "deletion_vectors = \"diff\" needs reader = \"native\": the extension's time travel is wrong for tables with \
                           deletion vectors";
            return Err(refuse(message.to_owned()));
        }
        let catalog = LakeCatalog::parse(&self.catalog, base).map_err(refuse)?;
        let mut options = attach_options(&self.attach, RESERVED).map_err(refuse)?;
        let schema = self.attach.iter().find_map(|(key, value)| match value {
            AttachValue::Text(schema) if key.eq_ignore_ascii_case("metadata_schema") => Some(schema.clone()),
            _ => None,
        });
        if matches!(catalog, LakeCatalog::Sqlite(_)) && !self.sets("meta_busy_timeout") {
            options.push("meta_busy_timeout 5000".to_owned());
        }
        let data_path = self.data_path.as_deref().map(|path| absolute(path, base));
        let mut secrets = catalog.secrets();
        secrets.extend(secrets_of_options(&self.attach));
        let (base, storage) = (base.to_owned(), Storage::of_environment());
        let deletion_vectors = self.deletion_vectors;
        Ok(Attachment { catalog, base, data_path, options, schema, secrets, storage, deletion_vectors })
    }

    fn sets(&self, option: &str) -> bool {
        self.attach.keys().any(|key| key.eq_ignore_ascii_case(option))
    }
}

/// Everything that `ATTACH` needs.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    pub catalog: LakeCatalog,
    /// The pipeline file's folder; relative paths in the catalog are relative to it.
    pub base: PathBuf,
    pub data_path: Option<String>,
    /// Further options, as they stand in the parentheses.
    pub options: Vec<String>,
    /// The schema of the catalog tables, where it is not the default one.
    pub schema: Option<String>,
    /// Texts that must not be shown.
    pub secrets: Vec<String>,
    /// How files on S3 are reached.
    pub storage: Storage,
    /// What is done with tables that have deletion vectors.
    pub deletion_vectors: DeletionVectors,
}

fn default_poll_interval() -> Duration {
    Duration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Result<Config, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_and_refusals() {
        let read = config(r#"{"catalog": "ducklake:x.db"}"#).unwrap();
        assert_eq!(read.poll_interval, Duration::from_secs(1));
        assert_eq!((read.reader, read.on_expired_snapshot), (Reader::Native, OnExpiredSnapshot::Fallback));
        assert_eq!(read.deletion_vectors, DeletionVectors::Refuse);
        for (json, says) in [
            (r#"{"catalog": "ducklake:x.db", "deletion_vectors": "ignore"}"#, "`refuse` or `diff`"),
            (r#"{"catalog": "ducklake:x.db", "keep_input": true}"#, "keep_input"),
            (r#"{"catalog": "ducklake:x.db", "reader": "arrow"}"#, "\"native\" or \"extension\""),
            (r#"{"catalog": "ducklake:x.db", "poll_interval": "soon"}"#, "200ms"),
            (r#"{"data_path": "x"}"#, "catalog"),
        ] {
            let error = config(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn deletion_vectors_are_for_the_native_reader() {
        let read = |json| config(json).unwrap().resolve("lake", Path::new("/"));
        let attachment = read(r#"{"catalog": "ducklake:x.db", "deletion_vectors": "diff"}"#).unwrap();
        assert_eq!(attachment.deletion_vectors, DeletionVectors::Diff);
        let error = read(r#"{"catalog": "ducklake:x.db", "deletion_vectors": "diff", "reader": "extension"}"#);
        assert!(error.unwrap_err().to_string().contains("reader = \"native\""));
    }

    #[test]
    fn reserved_options_are_refused_with_the_reason() {
        let read = config(r#"{"catalog": "ducklake:x.db", "attach": {"READ_ONLY": false}}"#).unwrap();
        let error = read.resolve("lake", Path::new("/")).unwrap_err().to_string();
        assert!(error.contains("READ_ONLY") && error.contains("always attached read-only"), "{error}");
        let read =
            config(r#"{"catalog": "ducklake:x.db", "attach": {"meta_threads": 2, "encrypted": true, "x": "it's"}}"#);
        let attachment = read.unwrap().resolve("lake", Path::new("/")).unwrap();
        assert_eq!(attachment.options, ["encrypted true", "meta_threads 2", "x 'it''s'"]);
    }
}
