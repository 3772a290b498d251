//! The session in which commits run, and whether the server behind it can be a target at all.

use std::collections::BTreeSet;

use tidegate_core::{Micros, ViewName};
use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::{Connection, PostgresError, Session, quote_ident};

use crate::error::PostgresSinkError;
use crate::stage::Stages;

/// Settings of every session: text forms that do not depend on the server's configuration, no time-outs that would
/// end a session which waits for us, and an end to waiting for locks. Plans go from the stage to the table by its
/// index and never over the whole table, whatever the planner knows of sizes; a dead client is noticed in a minute,
/// so that its locks go.
const OPTIONS: &str = "-c DateStyle=ISO,YMD -c IntervalStyle=iso_8601 -c TimeZone=UTC -c bytea_output=hex \
    -c extra_float_digits=3 -c statement_timeout=0 -c lock_timeout=30s -c idle_in_transaction_session_timeout=0 \
    -c search_path=pg_catalog -c row_security=off -c client_min_messages=warning -c jit=off -c enable_seqscan=off \
    -c enable_hashjoin=off -c enable_mergejoin=off -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 \
    -c tcp_keepalives_count=3";

/// The oldest server whose unique indexes can take NULLs for equal.
const VERSION_MIN: i32 = 15;

/// A session and what has been made in it.
pub(crate) struct Link {
    pub(crate) session: Session,
    pub(crate) stages: Stages,
    /// Commits in this session.
    pub(crate) commits: u64,
    /// Whether tables can be made in the schema.
    pub(crate) can_create: bool,
    /// Views whose histories are known to have their functions.
    pub(crate) functions: BTreeSet<ViewName>,
    /// When old versions were last looked for.
    pub(crate) trimmed_at: Option<Micros>,
}

impl Link {
    /// Connects and looks whether the server and the schema are ones that can be written to.
    pub(crate) async fn open(connection: &Connection, schema: &str) -> Result<Link, PostgresSinkError> {
        let session = connection.session(OPTIONS).await?;
        let sql = "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding'), \
                   pg_is_in_recovery(), current_user::text, \
                   has_schema_privilege(n.oid, 'USAGE'), has_schema_privilege(n.oid, 'CREATE') \
                   FROM (SELECT 1) one LEFT JOIN pg_namespace n ON n.nspname = $1::name";
        let rows = session.query("asking the server for its version", sql, &[(&schema, Type::TEXT)]).await?;
        let [row] = rows.as_slice() else {
            return Err(PostgresSinkError::Setup { fact: "the server does not say what it is".to_owned() });
        };
        let (version, encoding, user): (i32, &str, &str) = (row.get(0), row.get(1), row.get(3));
        let quoted = quote_ident(schema);
        let setup = |fact: String| Err(PostgresSinkError::Setup { fact });
        if version < VERSION_MIN {
            return setup(format!(
                "the server is PostgreSQL {version}: this sink needs {VERSION_MIN} or newer, whose unique indexes can \
                 take NULLs for equal"
            ));
        }
        if encoding != "UTF8" {
            let database = connection.database();
            return setup(format!(
                "database {database} is encoded in {encoding}, which cannot hold every text: make one with \
                 CREATE DATABASE … ENCODING 'UTF8'"
            ));
        }
        if row.get(2) {
            // It may be promoted at any moment.
            let message =
                format!("{connection:?} is a standby, which takes no writes: give the address of the primary");
            return Err(PostgresError::Unreachable { doing: "connecting", message, passing: true }.into());
        }
        let (usage, create): (Option<bool>, Option<bool>) = (row.get(4), row.get(5));
        match usage {
            None => setup(format!("there is no schema {schema}: run CREATE SCHEMA {quoted}")),
            Some(false) => setup(format!(
                "role {user} may not use schema {schema}: run GRANT USAGE, CREATE ON SCHEMA {quoted} TO {}",
                quote_ident(user)
            )),
            Some(true) => {
                let can_create = create.unwrap_or_default();
                let (stages, functions) = (Stages::default(), BTreeSet::new());
                Ok(Link { session, stages, commits: 0, can_create, functions, trimmed_at: None })
            }
        }
    }
}
