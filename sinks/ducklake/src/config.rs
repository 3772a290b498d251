//! The section `[sinks.NAME]` with `type = "ducklake"`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tidegate_core::units::deserialize_some_duration;
use tidegate_duck::lake::{
    AttachValue, LakeCatalog, LakeIdentity, Storage, absolute, attach_options, secrets_of_options,
};

use crate::error::DucklakeSinkError;

/// How a lake is found, and how the tables in it are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DucklakeConfig {
    /// What stands in DuckDB's `ATTACH`: `ducklake:FILE`, `ducklake:sqlite:FILE` or
    /// `ducklake:postgres:dbname=… host=…`. Relative files are relative to the pipeline file. A lake that is not
    /// there is made by the first commit.
    pub catalog: String,
    /// Where the data files go: needed for a lake that is not there yet.
    #[serde(default)]
    pub data_path: Option<String>,
    /// Further options of `ATTACH`.
    #[serde(default)]
    pub attach: BTreeMap<String, AttachValue>,
    /// The schema of the tables; made where it is missing.
    #[serde(default = "main_schema")]
    pub schema: String,
    /// How the tables of some views are laid out, by the view's name.
    #[serde(default)]
    pub tables: BTreeMap<String, TableConfig>,
    /// How the tables are kept in good order.
    #[serde(default)]
    pub maintenance: MaintenanceConfig,
}

/// How a table is laid out when it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// As in `ALTER TABLE … SET PARTITIONED BY (…)`, for example `["year(day)", "region"]`.
    #[serde(default)]
    pub partitioned_by: Vec<String>,
    /// As in `ALTER TABLE … SET SORTED BY (…)`; by itself, a table is in the order of the view's key.
    #[serde(default)]
    pub sorted_by: Option<Vec<String>>,
}

/// How the tables are kept in good order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceConfig {
    /// Rows and removals of one table that the catalog keeps, from which on they go into files; 0: never.
    pub flush_rows: u64,
    /// Files of one table that are new since it was last done, from which on small ones are merged; 0: never.
    pub merge_files: u64,
    /// Files of which more than so many percent of the rows were removed are written anew without them; 100:
    /// never.
    pub rewrite_percent: u8,
    /// How long snapshots of the lake, of all its tables, are kept; by default for ever.
    #[serde(deserialize_with = "deserialize_some_duration")]
    pub expire_snapshots_after: Option<Duration>,
    /// How long files that no snapshot needs any more are kept for those who read them just now; by default
    /// for ever.
    #[serde(deserialize_with = "deserialize_some_duration")]
    pub remove_files_after: Option<Duration>,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        MaintenanceConfig {
            flush_rows: 1_000,
            merge_files: 16,
            rewrite_percent: 50,
            expire_snapshots_after: None,
            remove_files_after: None,
        }
    }
}

fn main_schema() -> String {
    "main".to_owned()
}

/// Options that this program sets itself, or that would keep it from writing.
const RESERVED: &[(&str, &str)] = &[
    ("data_path", "write it as `data_path` of the sink"),
    ("read_only", "the lake is written"),
    ("create_if_not_exists", "a lake that is not there is made by the first commit"),
    ("automatic_migration", "migrate the catalog with DuckDB"),
    ("snapshot_version", "the lake is written at its newest snapshot"),
    ("snapshot_time", "the lake is written at its newest snapshot"),
    ("metadata_catalog", "the name is chosen by this program"),
    ("type", "it is a DuckLake"),
];

/// The option that says how many rows of an insert go into the catalog at most.
pub(crate) const INLINING: &str = "data_inlining_row_limit";

/// Everything that `ATTACH` needs, and what the tables are like.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) catalog: LakeCatalog,
    /// The catalog without its passwords, for messages.
    pub(crate) shown: String,
    /// The pipeline file's folder; relative paths in the catalog are relative to it.
    pub(crate) base: PathBuf,
    pub(crate) data_path: Option<String>,
    /// Further options, as they stand in the parentheses.
    pub(crate) options: Vec<String>,
    pub(crate) overrides_data_path: bool,
    /// The schema of the catalog tables, where it is not the default one.
    pub(crate) metadata_schema: Option<String>,
    /// Texts that must not be shown.
    pub(crate) secrets: Vec<String>,
    /// How files on S3 are reached.
    pub(crate) storage: Storage,
    /// What a stage may keep in memory.
    pub(crate) staging_memory: String,
    /// The schema of the tables.
    pub(crate) schema: String,
    pub(crate) tables: BTreeMap<String, TableConfig>,
}

impl Place {
    /// How many rows of an insert the attachment lets go into the catalog, if it says so.
    pub(crate) fn inlining(&self) -> Option<u64> {
        let value = |option: &String| option.strip_prefix(INLINING)?.trim().parse().ok();
        self.options.iter().find_map(value)
    }
}

impl DucklakeConfig {
    /// Which lake it is and which schema of it, to be compared with what sources read.
    pub fn target(&self, base: &Path) -> Result<(LakeIdentity, &str), DucklakeSinkError> {
        let place = self.resolve(base)?;
        Ok((place.catalog.identity(place.metadata_schema.as_deref()), &self.schema))
    }

    pub(crate) fn resolve(&self, base: &Path) -> Result<Place, DucklakeSinkError> {
        let refuse = |message: String| DucklakeSinkError::Config { message };
        let catalog = LakeCatalog::parse(&self.catalog, base).map_err(refuse)?;
        let mut options = attach_options(&self.attach, RESERVED).map_err(refuse)?;
        let given = |option: &str| self.attach.iter().find(|(key, _)| key.eq_ignore_ascii_case(option));
        if matches!(catalog, LakeCatalog::Sqlite(_)) {
            // Readers and writers beside each other, who wait for one another.
            for (name, value) in [("meta_journal_mode", "'WAL'"), ("meta_busy_timeout", "5000")] {
                if given(name).is_none() {
                    options.push(format!("{name} {value}"));
                }
            }
        }
        if self.maintenance.rewrite_percent > 100 {
            return Err(refuse("`rewrite_percent` is more than 100".to_owned()));
        }
        if self.schema.is_empty() {
            return Err(refuse("`schema` is empty: leave it out for the schema main".to_owned()));
        }
        let mut secrets = catalog.secrets();
        secrets.extend(secrets_of_options(&self.attach));
        let metadata_schema = given("metadata_schema").and_then(|(_, value)| match value {
            AttachValue::Text(text) => Some(text.clone()),
            _ => None,
        });
        let overrides = matches!(given("override_data_path"), Some((_, AttachValue::Bool(true))));
        options.retain(|option| !option.starts_with("override_data_path"));
        Ok(Place {
            shown: catalog.to_string(),
            base: base.to_owned(),
            data_path: self.data_path.as_deref().map(|path| absolute(path, base)),
            options,
            overrides_data_path: overrides,
            metadata_schema,
            secrets,
            storage: Storage::of_environment(),
            staging_memory: tidegate_duck::staging_memory(None),
            schema: self.schema.clone(),
            tables: self.tables.clone(),
            catalog,
        })
    }
}

impl Place {
    /// How the table of a view is laid out, where the pipeline file says something.
    pub(crate) fn layout(&self, view: &str) -> Option<&TableConfig> {
        self.tables.iter().find(|(name, _)| name.eq_ignore_ascii_case(view)).map(|(_, layout)| layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Result<DucklakeConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_and_refusals() {
        let read = config(r#"{"catalog": "ducklake:x.db"}"#).unwrap();
        assert_eq!((read.schema.as_str(), &read.maintenance), ("main", &MaintenanceConfig::default()));
        let kept = config(r#"{"catalog": "ducklake:x.db", "maintenance": {"expire_snapshots_after": "30d"}}"#).unwrap();
        assert_eq!(kept.maintenance.expire_snapshots_after, Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(kept.maintenance.flush_rows, 1_000);
        for (json, says) in [
            (r#"{"catalog": "ducklake:x.db", "path": "x"}"#, "unknown field `path`"),
            (r#"{"catalog": "ducklake:x.db", "tables": {"v": {"sort": []}}}"#, "unknown field `sort`"),
            (r#"{"catalog": "ducklake:x.db", "maintenance": {"merge": 1}}"#, "unknown field `merge`"),
            (r#"{"data_path": "x"}"#, "catalog"),
        ] {
            let error = config(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn what_attach_gets() {
        let read = config(
            r#"{"catalog": "ducklake:sqlite:x.db", "data_path": "files",
                "attach": {"meta_journal_mode": "DELETE", "encrypted": true, "override_data_path": true}}"#,
        );
        let place = read.unwrap().resolve(Path::new("/p")).unwrap();
        assert_eq!(place.options, ["encrypted true", "meta_journal_mode 'DELETE'", "meta_busy_timeout 5000"]);
        assert_eq!((place.data_path.as_deref(), place.overrides_data_path), (Some("/p/files"), true));
        let read = config(r#"{"catalog": "ducklake:x.db", "attach": {"READ_ONLY": true}}"#).unwrap();
        let error = read.resolve(Path::new("/p")).unwrap_err().to_string();
        assert_eq!(error, "attach option `READ_ONLY` cannot be set: the lake is written");
    }

    #[test]
    fn passwords_are_not_shown() {
        let read = config(r#"{"catalog": "ducklake:postgres:dbname=x password=hush"}"#).unwrap();
        let place = read.resolve(Path::new("/p")).unwrap();
        assert_eq!(place.shown, "ducklake:postgres:dbname=x password=***");
    }
}
