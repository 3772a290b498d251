//! What the pipeline file says about a PostgreSQL sink.

use std::fmt;

use serde::Deserialize;

/// The keys of `[sinks.NAME]` with `type = "postgres"` that concern the target itself.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`, with libpq's names: `sslmode`, `sslrootcert`,
    /// `sslcert`, `sslkey`, `passfile`, `connect_timeout`, `application_name`.
    pub url: String,
    /// The schema of the tables; it exists.
    #[serde(default = "default_schema")]
    pub schema: String,
}

impl fmt::Debug for PostgresConfig {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig").field("schema", &self.schema).finish_non_exhaustive()
    }
}

fn default_schema() -> String {
    "public".to_owned()
}
