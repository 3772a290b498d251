//! Being told of a commit at once: a catalog in PostgreSQL can notify whoever listens, by a trigger on the table that
//! every commit writes last.

use std::sync::Arc;
use std::time::Duration;

use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::{Connection, PostgresError, Value, quote_ident, quote_literal, quote_name};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The channel. The payload is the snapshot's id, which nobody needs: a payload that grows beyond 8,000 bytes would
/// make the writer's commit fail.
pub const CHANNEL: &str = "ducklake";
/// How long to wait after a connection failed, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// The name of our trigger and of its function.
const TRIGGER: &str = "tidegate_notify";

/// Installs the trigger, or installs it anew. `schema` is where the catalog's tables are.
pub async fn install(server: &Connection, schema: &str) -> Result<(), PostgresError> {
    let (function, table) = (quote_name([schema, TRIGGER]), quote_name([schema, "ducklake_snapshot_changes"]));
    let (trigger, channel) = (quote_ident(TRIGGER), quote_literal(CHANNEL));
    let script = format!(
        "BEGIN; \
         CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $tidegate$ \
         BEGIN PERFORM pg_catalog.pg_notify({channel}, NEW.snapshot_id::pg_catalog.text); RETURN NULL; END $tidegate$; \
         DROP TRIGGER IF EXISTS {trigger} ON {table}; \
         CREATE TRIGGER {trigger} AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}(); \
         COMMIT"
    );
    server.session("").await?.execute("installing the trigger", &script).await
}

/// Removes the trigger, where there is one.
pub async fn remove(server: &Connection, schema: &str) -> Result<(), PostgresError> {
    let (function, table) = (quote_name([schema, TRIGGER]), quote_name([schema, "ducklake_snapshot_changes"]));
    let trigger = quote_ident(TRIGGER);
    let script =
        format!("BEGIN; DROP TRIGGER IF EXISTS {trigger} ON {table}; DROP FUNCTION IF EXISTS {function}(); COMMIT");
    server.session("").await?.execute("removing the trigger", &script).await
}

/// Whether the trigger is there.
pub async fn is_installed(server: &Connection, schema: &str) -> Result<bool, PostgresError> {
    let sql = "SELECT 1 FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = 'ducklake_snapshot_changes' AND t.tgname = $2 AND t.tgenabled <> 'D'";
    let values: [Value<'_>; 2] = [(&schema, Type::TEXT), (&TRIGGER, Type::TEXT)];
    Ok(!server.session("").await?.query("looking for the trigger", sql, &values).await?.is_empty())
}

/// Listens until it is dropped.
pub struct Listener(JoinHandle<()>);

impl Listener {
    /// Listens at a server and wakes `told` when a lake there was written. Polling goes on besides, so that
    /// whatever becomes of the connection, nothing is missed.
    pub fn start(lake: &str, server: Connection, told: Arc<Notify>) -> Listener {
        let lake = lake.to_owned();
        Listener(tokio::spawn(async move {
            let [mut pause, longest] = PAUSES;
            loop {
                let begin = tokio::time::Instant::now();
                if let Err(error) = server.listen(CHANNEL, told.clone()).await {
                    tracing::warn!(name: "notify_lost", source = lake,
                        %error,
                        "commits are not told at once until the catalog's server is reached again: they are asked for"
                    );
                }
                if begin.elapsed() > longest {
                    pause = PAUSES[0];
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}
