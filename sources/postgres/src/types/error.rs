//! What can go wrong with a type or a value. No message holds a value.

/// A PostgreSQL type that has no counterpart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the PostgreSQL type {postgres_type} is not supported: {way_out}")]
pub struct UnsupportedType {
    /// The type, with its schema unless that is `pg_catalog`.
    pub postgres_type: String,
    /// What to do instead.
    pub way_out: &'static str,
}

/// A value that a column cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a value cannot be read as {duckdb_type}: {fault}: {}", .kind.way_out())]
pub struct ValueError {
    /// Whose fault it is.
    pub kind: ValueErrorKind,
    /// The column's type in DuckDB.
    pub duckdb_type: String,
    /// What is wrong, never with the value itself.
    pub fault: &'static str,
}

/// Whose fault a [`ValueError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueErrorKind {
    /// PostgreSQL holds the value, the column's type does not.
    Unrepresentable,
    /// This is not how PostgreSQL writes such values under the pinned session settings.
    Malformed,
    /// The builder holds as much as an Arrow array can (2 GiB of text, or 2^31 list elements): the
    /// same value fits once the builder is finished.
    Full,
}

impl ValueErrorKind {
    fn way_out(self) -> &'static str {
        match self {
            ValueErrorKind::Unrepresentable => {
                "set on_unrepresentable = \"null\" to read such values as NULL, or change the column's type in \
                 PostgreSQL, for example to text"
            }
            ValueErrorKind::Malformed => {
                "the session does not have the settings that were asked for, or the column's type has changed since \
                 the catalog was read"
            }
            ValueErrorKind::Full => "read fewer rows into one batch",
        }
    }
}

/// A fault within a value, before the column's name for it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Unrepresentable(&'static str),
    Malformed(&'static str),
    Full,
}

impl Fault {
    pub(super) fn of(self, duckdb_type: &str) -> ValueError {
        let (kind, fault) = match self {
            Fault::Unrepresentable(fault) => (ValueErrorKind::Unrepresentable, fault),
            Fault::Malformed(fault) => (ValueErrorKind::Malformed, fault),
            Fault::Full => (ValueErrorKind::Full, "the batch is full"),
        };
        ValueError { kind, duckdb_type: duckdb_type.to_owned(), fault }
    }
}
