//! Names of sources, tables and views.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A source of a pipeline: its type and its name in the pipeline file, written `ducklake:lake`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId {
    /// The connector's type, `ducklake` or `postgres`.
    pub kind: String,
    /// The name under `[sources.…]`.
    pub name: String,
}

impl SourceId {
    /// `kind:name`.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        SourceId { kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// A text without a colon between type and name.
#[derive(Debug, thiserror::Error)]
#[error("a source is written TYPE:NAME, for example ducklake:lake")]
pub struct ParseSourceIdError;

impl FromStr for SourceId {
    type Err = ParseSourceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text.split_once(':').ok_or(ParseSourceIdError)?;
        Ok(SourceId::new(kind, name))
    }
}

impl Serialize for SourceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SourceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A table of a source, in the case the source gives it. Written `source.schema.table`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The source's name in the pipeline file.
    pub source: String,
    /// The schema, never empty (`main` in DuckLake and `public` in PostgreSQL by default).
    pub schema: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// `source.schema.table`.
    pub fn new(source: impl Into<String>, schema: impl Into<String>, table: impl Into<String>) -> Self {
        TableName { source: source.into(), schema: schema.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.source, self.schema, self.table)
    }
}

/// A view's name, in the case of the pipeline file. Two views must not differ by case alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ViewName(pub String);

impl ViewName {
    /// A view's name.
    pub fn new(name: impl Into<String>) -> Self {
        ViewName(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ViewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ViewName {
    fn from(name: &str) -> Self {
        ViewName(name.to_owned())
    }
}
