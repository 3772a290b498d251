//! Where things are: the PostgreSQL server, the folder of the pipeline, and what is on S3.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tidegate_testkit::{PgClient, Postgres};

/// The database of customers and orders.
pub const SHOP: &str = "shop";
/// The database of the lake's catalog.
pub const LAKE: &str = "lake";

/// A server and a folder.
#[derive(Clone)]
pub struct Site {
    /// Holds the pipeline file, the lake's files, the state and the output.
    pub folder: PathBuf,
    /// A URL below which the lake's files and the Delta tables are, instead.
    store: Option<String>,
    host: String,
    port: String,
    user: String,
    password: String,
}

impl Site {
    /// The working folder, and the server that libpq's variables name.
    pub fn from_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("the variable {name} is not set"));
        Ok(Site {
            folder: std::env::current_dir()?,
            store: std::env::var("STORE").ok().filter(|store| !store.is_empty()),
            host: variable("PGHOST")?,
            port: std::env::var("PGPORT").unwrap_or_else(|_| "5432".to_owned()),
            user: variable("PGUSER")?,
            password: variable("PGPASSWORD")?,
        })
    }

    /// A server of the demo's own, which asks for no password.
    pub fn local(folder: PathBuf, server: &Postgres) -> Self {
        let [host, user, password] = ["127.0.0.1", "postgres", "any"].map(str::to_owned);
        Site { folder, store: None, host, port: server.port().to_string(), user, password }
    }

    /// What the pipeline file reads from the environment.
    pub fn variables(&self) -> [(&'static str, &str); 4] {
        [("PGHOST", &self.host), ("PGPORT", &self.port), ("PGUSER", &self.user), ("PGPASSWORD", &self.password)]
    }

    /// Whether the lake's files and the Delta tables are on S3.
    pub fn is_on_s3(&self) -> bool {
        self.store.is_some()
    }

    /// Where the files of the lake are.
    pub fn lake_files(&self) -> String {
        match &self.store {
            Some(store) => format!("{store}/lake"),
            None => self.folder.join("lake").display().to_string(),
        }
    }

    /// Where the Delta tables are.
    pub fn delta_tables(&self) -> String {
        match &self.store {
            Some(store) => format!("{store}/delta"),
            None => self.folder.join("out/delta").display().to_string(),
        }
    }

    /// The mart's file.
    pub fn mart(&self) -> PathBuf {
        self.folder.join("out/mart.duckdb")
    }

    /// How to reach a database, as libpq writes it. The values are plain words that need no quotes.
    pub fn connection(&self, database: &str) -> String {
        let Site { host, port, user, password, .. } = self;
        format!("dbname={database} host={host} port={port} user={user} password={password}")
    }

    /// A session in a database.
    pub fn connect(&self, database: &str) -> Result<PgClient> {
        PgClient::try_connect(&self.connection(database))
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("database {database} on {}:{}", self.host, self.port))
    }
}

/// Runs statements in a session; several are one transaction.
pub fn execute(session: &PgClient, sql: &str) -> Result<()> {
    session.try_execute(sql).map_err(anyhow::Error::msg).with_context(|| sql.trim().to_owned())
}

/// The only value of a query.
pub fn value(session: &PgClient, sql: &str) -> Result<String> {
    let rows = session.try_query(sql).map_err(anyhow::Error::msg).with_context(|| sql.to_owned())?;
    rows.into_iter().flatten().next().flatten().with_context(|| format!("no value: {sql}"))
}
