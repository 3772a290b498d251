//! What can go wrong with a PostgreSQL database as a target.

use tidegate_core::{ConnectorError, ErrorKind, ViewName};
use tidegate_postgres::PostgresError;

/// An error of the PostgreSQL sink.
#[derive(Debug, thiserror::Error)]
pub enum PostgresSinkError {
    /// The configuration says something that cannot be.
    #[error("{message}")]
    Config {
        /// What is wrong, and what to write instead.
        message: String,
    },
    /// The server refuses, or does not answer.
    #[error("{0}")]
    Server(PostgresError),
    /// Something a person must set right at the server.
    #[error("{fact}")]
    Setup {
        /// The object, the fact and what to do.
        fact: String,
    },
    /// A table, view or index of that name exists and is not ours.
    #[error(
        "schema {schema} already has a relation named {name} that Tidegate did not write: rename it, rename the view, \
         or give the sink another `schema`"
    )]
    Foreign {
        /// The schema.
        schema: String,
        /// The relation.
        name: String,
    },
    /// A function of that name and those arguments exists and is not ours.
    #[error(
        "schema {schema} already has a function {name} that Tidegate did not make: rename it, rename the view, give the sink \
         another `schema`, or leave out `temporal = true`"
    )]
    ForeignFunction {
        /// The schema.
        schema: String,
        /// The function and the types of its arguments.
        name: String,
    },
    /// What has the name of a view that is to be removed is not ours.
    #[error(
        "schema {schema} has a relation named {view} that Tidegate did not write: it stays as it is; drop it yourself if \
         nobody needs it"
    )]
    NotOurs {
        /// The schema.
        schema: String,
        /// The view.
        view: ViewName,
    },
    /// Objects of somebody else stand on what is to be removed.
    #[error("view {view} stays in schema {schema}, because other objects depend on it ({dependents}): drop them first")]
    InUse {
        /// The schema.
        schema: String,
        /// The view.
        view: ViewName,
        /// The objects, as the server names them.
        dependents: String,
    },
    /// The target table is not as it was written.
    #[error(
        "table {schema}.{view} was altered by somebody else ({difference}): drop the table, and the next run writes it \
         anew"
    )]
    Altered {
        /// The schema.
        schema: String,
        /// The view.
        view: ViewName,
        /// The first difference.
        difference: String,
    },
    /// Rows that must be there are not, or are there more than once.
    #[error(
        "table {schema}.{view} was altered by somebody else ({found} of {expected} rows that epoch {epoch} {change} \
         are there): drop the table, and the next run writes it anew"
    )]
    RowsMissing {
        /// The schema.
        schema: String,
        /// The view.
        view: ViewName,
        /// The last epoch of the range.
        epoch: u64,
        /// `removes`, `updates` or `closes`.
        change: &'static str,
        /// Rows to be changed that are there.
        found: u64,
        /// Rows to be changed.
        expected: u64,
    },
    /// A unique index has rows that the commit brings.
    #[error(
        "table {schema}.{view} was altered by somebody else (index {index} already has a row that epoch {epoch} \
         brings): drop the table, and the next run writes it anew; or drop the index, if it is not Tidegate's"
    )]
    RowsExtra {
        /// The schema.
        schema: String,
        /// The view.
        view: ViewName,
        /// The last epoch of the range.
        epoch: u64,
        /// The index.
        index: String,
    },
    /// Other tables' rows or other objects refer to what must go.
    #[error("table {schema}.{view} cannot be written: {fact}")]
    Bound {
        /// The schema.
        schema: String,
        /// The view.
        view: ViewName,
        /// What refers to what, and what to do.
        fact: String,
    },
    /// A view whose name or columns the target cannot have.
    #[error("view {view} cannot be written to PostgreSQL: {fact}")]
    Unsupported {
        /// The view.
        view: ViewName,
        /// Why, and the way out.
        fact: String,
    },
    /// A value that the column's type cannot have.
    #[error("view {view} cannot be written to PostgreSQL: column {column} holds {fact}")]
    Value {
        /// The view.
        view: ViewName,
        /// The column.
        column: String,
        /// What it is and the way out; never the value.
        fact: String,
    },
    /// The deltas do not keep to the contract of the seam.
    #[error("deltas of view {view}: {fact}")]
    Contract {
        /// The view.
        view: ViewName,
        /// What is wrong with them.
        fact: String,
    },
    /// The stream of changes ended with an error of its own.
    #[error("the changes of a view could not be read")]
    Input(#[source] ConnectorError),
}

impl PostgresSinkError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            PostgresSinkError::Server(error) => server_kind(error),
            PostgresSinkError::Config { .. }
            | PostgresSinkError::Setup { .. }
            | PostgresSinkError::Foreign { .. }
            | PostgresSinkError::ForeignFunction { .. }
            | PostgresSinkError::NotOurs { .. }
            | PostgresSinkError::InUse { .. }
            | PostgresSinkError::Bound { .. }
            | PostgresSinkError::Unsupported { .. }
            | PostgresSinkError::Value { .. } => ErrorKind::Reconfigure,
            PostgresSinkError::Altered { .. }
            | PostgresSinkError::RowsMissing { .. }
            | PostgresSinkError::RowsExtra { .. } => ErrorKind::Stop,
            PostgresSinkError::Contract { .. } => ErrorKind::Bug,
            PostgresSinkError::Input(error) => error.kind(),
        }
    }

    /// Sorts the server's refusals of what was done to a view's table.
    pub(crate) fn writing(schema: &str, view: &ViewName, epoch: u64, error: PostgresError) -> Self {
        let PostgresError::Refused { state, message, about, .. } = &error else {
            return PostgresSinkError::Server(error);
        };
        let (schema, view) = (schema.to_owned(), view.clone());
        let constraint = about.constraint.clone().unwrap_or_default();
        match state.as_str() {
            "23505" => PostgresSinkError::RowsExtra { schema, view, epoch, index: constraint },
            "23503" => PostgresSinkError::Bound {
                schema,
                view,
                fact: format!(
                    "rows of another table refer to rows that go, by the foreign key {constraint}: drop the foreign \
                     key, or make it DEFERRABLE INITIALLY DEFERRED, so that rows that come back count"
                ),
            },
            _ if state.starts_with("23") => PostgresSinkError::Bound {
                schema,
                view,
                fact: format!("{message}: drop the constraint, or cast the column in the view"),
            },
            "2BP01" => PostgresSinkError::Bound {
                schema,
                view,
                fact: format!(
                    "its columns changed, and other objects depend on the old ones ({}): drop them, and make them \
                     again afterwards",
                    about.dependents.as_deref().unwrap_or(message).replace('\n', "; ")
                ),
            },
            // program_limit_exceeded: an index entry, a row or an array that is too large.
            "54000" => PostgresSinkError::Unsupported {
                view,
                fact: format!(
                    "{message}: rows are addressed by an index, whose entries have at most 2704 bytes; group by \
                     something shorter, for example md5(column), or leave the column out of the key"
                ),
            },
            // invalid_text_representation, untranslatable_character and their kin.
            "22P02" | "22P05" | "22021" | "22032" => PostgresSinkError::Unsupported {
                view,
                fact: format!("{message}: PostgreSQL does not take a JSON value as it is; cast the column to VARCHAR"),
            },
            _ => PostgresSinkError::Server(error),
        }
    }
}

impl From<PostgresError> for PostgresSinkError {
    fn from(error: PostgresError) -> Self {
        PostgresSinkError::Server(error)
    }
}

fn server_kind(error: &PostgresError) -> ErrorKind {
    match error.state() {
        _ if error.is_passing() => ErrorKind::Retry,
        // A standby takes no writes until it is promoted.
        Some("25006") => ErrorKind::Retry,
        // What was there a moment ago is gone, or the server's data are damaged.
        Some("42P01" | "42703" | "XX001" | "XX002") => ErrorKind::Stop,
        _ => ErrorKind::Reconfigure,
    }
}

/// The error under the sink's name. An error of the stream goes through as it is.
pub(crate) fn connector_error(sink: &str, error: PostgresSinkError) -> ConnectorError {
    match error {
        PostgresSinkError::Input(error) => error,
        error => ConnectorError::new(error.kind(), format!("sink {sink}: {error}")),
    }
}
