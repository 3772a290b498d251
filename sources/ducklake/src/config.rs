//! The section `[sources.NAME]` with `type = "ducklake"`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tidegate_core::units::deserialize_duration;
use tidegate_duck::{Extension, quote_literal};

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
}

/// What reads the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reader {
    /// DuckDB's official extension.
    #[default]
    Extension,
}

impl<'de> Deserialize<'de> for Reader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "extension" => Ok(Reader::Extension),
            "native" => Err(serde::de::Error::custom("reader = \"native\" does not exist yet: write \"extension\"")),
            other => Err(serde::de::Error::custom(format!("reader = \"{other}\" is not known: write \"extension\""))),
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

/// The value of an `ATTACH` option.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum AttachValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
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
        let catalog = Catalog::parse(&self.catalog, base).map_err(refuse)?;
        let mut options = Vec::new();
        let mut schema = None;
        for (key, value) in &self.attach {
            let name = key.to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(refuse(format!("attach option `{key}` is not a name")));
            }
            if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
                return Err(refuse(format!("attach option `{key}` cannot be set: {why}")));
            }
            if let ("metadata_schema", AttachValue::Text(text)) = (name.as_str(), value) {
                schema = Some(text.clone());
            }
            let value = match value {
                AttachValue::Bool(value) => value.to_string(),
                AttachValue::Integer(value) => value.to_string(),
                AttachValue::Text(value) => quote_literal(value),
            };
            options.push(format!("{name} {value}"));
        }
        if matches!(catalog, Catalog::Sqlite(_)) && !self.sets("meta_busy_timeout") {
            options.push("meta_busy_timeout 5000".to_owned());
        }
        let data_path = self.data_path.as_deref().map(|path| absolute(path, base));
        let mut secrets = catalog.secrets();
        let telling = ["password", "secret", "key", "token"];
        secrets.extend(self.attach.iter().filter_map(|(key, value)| match value {
            AttachValue::Text(text) if telling.iter().any(|t| key.to_ascii_lowercase().contains(t)) => {
                Some(text.clone())
            }
            _ => None,
        }));
        Ok(Attachment { catalog, base: base.to_owned(), data_path, options, schema, secrets })
    }

    fn sets(&self, option: &str) -> bool {
        self.attach.keys().any(|key| key.eq_ignore_ascii_case(option))
    }
}

/// Everything that `ATTACH` needs.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    pub catalog: Catalog,
    /// The pipeline file's folder; relative paths in the catalog are relative to it.
    pub base: PathBuf,
    pub data_path: Option<String>,
    /// Further options, as they stand in the parentheses.
    pub options: Vec<String>,
    /// The schema of the catalog tables, where it is not the default one.
    pub schema: Option<String>,
    /// Texts that must not be shown.
    pub secrets: Vec<String>,
}

/// Where the catalog is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Catalog {
    /// A DuckDB file: one process at a time.
    DuckDb(PathBuf),
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its connection string.
    Postgres(String),
}

impl Catalog {
    fn parse(text: &str, base: &Path) -> Result<Catalog, String> {
        let forms = "write ducklake:FILE, ducklake:sqlite:FILE or ducklake:postgres:dbname=… host=…";
        let rest =
            text.strip_prefix("ducklake:").ok_or_else(|| format!("`catalog` does not begin with ducklake: {forms}"))?;
        if let Some(connection) = rest.strip_prefix("postgres:") {
            return Ok(Catalog::Postgres(connection.to_owned()));
        }
        let (kind, file) = match rest.split_once(':') {
            Some((kind @ ("sqlite" | "duckdb"), file)) => (kind, file),
            Some((kind, _)) if kind.len() > 1 && kind.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                return Err(format!("catalogs of kind `{kind}` cannot be read: {forms}"));
            }
            _ => ("duckdb", rest),
        };
        if file.is_empty() {
            return Err(format!("`catalog` names no file: {forms}"));
        }
        let file = base.join(file);
        Ok(if kind == "sqlite" { Catalog::Sqlite(file) } else { Catalog::DuckDb(file) })
    }

    /// What stands in `ATTACH`.
    pub fn uri(&self) -> String {
        match self {
            Catalog::DuckDb(file) => format!("ducklake:{}", file.display()),
            Catalog::Sqlite(file) => format!("ducklake:sqlite:{}", file.display()),
            Catalog::Postgres(connection) => format!("ducklake:postgres:{connection}"),
        }
    }

    /// The extension that opens it, besides `ducklake`.
    pub fn extension(&self) -> Option<Extension> {
        match self {
            Catalog::DuckDb(_) => None,
            Catalog::Sqlite(_) => Some(Extension::SqliteScanner),
            Catalog::Postgres(_) => Some(Extension::PostgresScanner),
        }
    }

    /// The catalog's file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Catalog::DuckDb(file) | Catalog::Sqlite(file) => Some(file),
            Catalog::Postgres(_) => None,
        }
    }

    fn secrets(&self) -> Vec<String> {
        match self {
            Catalog::DuckDb(_) | Catalog::Sqlite(_) => Vec::new(),
            Catalog::Postgres(connection) => {
                let mut secrets = passwords(connection);
                // As it stands inside a quoted literal, too.
                let doubled = secrets.iter().map(|secret| secret.replace('\'', "''")).collect::<Vec<_>>();
                secrets.extend(doubled);
                secrets.sort();
                secrets.dedup();
                secrets
            }
        }
    }
}

/// The passwords in a libpq connection string, `key=value` or URI, as written and as meant.
fn passwords(connection: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((_, rest)) = connection.split_once("://") {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if let Some((_, password)) = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
            found.push(password.to_owned());
        }
    }
    for (at, _) in connection.to_ascii_lowercase().match_indices("password") {
        let Some(value) = connection[at + "password".len()..].trim_start().strip_prefix('=') else { continue };
        let value = value.trim_start();
        let written = match value.strip_prefix('\'') {
            Some(quoted) => &quoted[..closing_quote(quoted)],
            None => value.split(|c: char| c.is_whitespace() || c == '&').next().unwrap_or_default(),
        };
        found.push(written.to_owned());
        found.push(written.replace("\\'", "'").replace("\\\\", "\\"));
    }
    found.retain(|password| !password.is_empty());
    found
}

fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == '\'' && !escaped {
            return at;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// A local path as it is from anywhere; URLs stay as they are.
pub(crate) fn absolute(path: &str, base: &Path) -> String {
    if path.contains("://") { path.to_owned() } else { base.join(path).to_string_lossy().into_owned() }
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
        assert_eq!((read.reader, read.on_expired_snapshot), (Reader::Extension, OnExpiredSnapshot::Fallback));
        for (json, says) in [
            (r#"{"catalog": "ducklake:x.db", "keep_input": true}"#, "keep_input"),
            (r#"{"catalog": "ducklake:x.db", "reader": "native"}"#, "does not exist yet"),
            (r#"{"catalog": "ducklake:x.db", "poll_interval": "soon"}"#, "200ms"),
            (r#"{"data_path": "x"}"#, "catalog"),
        ] {
            let error = config(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn catalogs_are_what_attach_takes() {
        let base = Path::new("/pipelines");
        let parse = |text| Catalog::parse(text, base);
        assert_eq!(parse("ducklake:x.db"), Ok(Catalog::DuckDb("/pipelines/x.db".into())));
        assert_eq!(parse("ducklake:duckdb:/y/x.db"), Ok(Catalog::DuckDb("/y/x.db".into())));
        assert_eq!(parse("ducklake:sqlite:./x.sqlite").unwrap().uri(), "ducklake:sqlite:/pipelines/./x.sqlite");
        let postgres = "ducklake:postgres:dbname=lake host=localhost";
        assert_eq!(parse(postgres).unwrap().uri(), postgres);
        for text in ["x.db", "ducklake:", "ducklake:sqlite:", "ducklake:mysql:db=x", "ducklake:md:x"] {
            assert!(parse(text).unwrap_err().contains("ducklake:sqlite:FILE"), "{text}");
        }
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

    #[test]
    fn passwords_are_found_however_they_are_written() {
        assert_eq!(passwords("dbname=x password=hush host=y")[0], "hush");
        assert_eq!(passwords(r"password = 'a b\'c' host=y"), [r"a b\'c", "a b'c"]);
        assert_eq!(passwords("postgres://ali:open%20sesame@host:5432/x?sslmode=require"), ["open%20sesame"]);
        assert_eq!(passwords("postgresql:///x?host=y&password=hush&user=z")[0], "hush");
        assert!(passwords("dbname=x host=y").is_empty());
    }
}
