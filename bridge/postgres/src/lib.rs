//! The one place that reaches PostgreSQL: the `url` in libpq's words, passwords from libpq's password
//! file, TLS, and SQL sessions whose waits end when the server does.
//!
//! Errors here know neither the connector nor its name in the pipeline file; each connector says that
//! itself. They hold no credentials and no row values: of what the server says, only the primary message
//! is kept, never the detail, which can quote rows.

pub mod connection;
pub mod error;
mod listen;
mod passfile;
pub mod quote;
pub mod session;

pub use connection::Connection;
pub use error::{Constraint, PostgresError, is_passing, tls_kind};
pub use quote::{quote_ident, quote_literal, quote_name};
pub use session::{CopyIn, Outcome, Session, Value};

/// The crate underneath, for statements and values.
pub use tokio_postgres;
