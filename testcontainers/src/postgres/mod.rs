//! A PostgreSQL server of the test's own, on a port of its own, gone when it is dropped or when the
//! test's process ends. It runs in a Docker container where there is an engine, as a process of this
//! machine otherwise; a test need not know which.
//!
//! The environment variable [`TIDEGATE_POSTGRES`](backend::VARIABLE) decides:
//!
//! - `process`: the server is a process, under an account that is not root. Its programs are Debian's
//!   (`apt-get install postgresql-15`) or, version 18, those that `cargo xtask setup` gets by npm.
//! - `docker`: the server is a container of the image `postgres:15`, `postgres:17` or `postgres:18`,
//!   which is pulled unless it is there. The test fails when there is no engine or no image.
//! - `auto`, the default: a container if a Docker engine answers and has the image or can pull it, a
//!   process otherwise.
//!
//! Which one was taken, and why, is written to standard error once per process and version, past
//! what a test harness captures.
//!
//! The engine is found as Docker's own client finds it (`DOCKER_HOST`, the usual sockets); it must
//! publish its ports on this machine's 127.0.0.1. A container is removed when its [`Postgres`] is
//! dropped, also by a panic, and ends and removes itself when the test's process ends in any other way.
//!
//! Tests of the containers themselves need an engine and do not run by default:
//!
//! ```text
//! cargo xtask test -p tidegate-testkit -- --ignored container
//! TIDEGATE_POSTGRES=docker cargo xtask test -p tidegate-source-postgres
//! ```
//!
//! Tests for every version run on [`PostgresVersion::ALL`], and those that do not choose on the last of
//! them. `TIDEGATE_POSTGRES_VERSIONS=17` makes these that one, for an engine that has its image alone.

pub mod backend;
mod builder;
mod container;
mod keeper;
mod process;
mod programs;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod tls;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;
use tidegate_duck::quote_ident;

pub use backend::Backend;
pub use builder::PostgresBuilder;
pub use programs::{PostgresVersion, VersionsUnderTest};
pub use server::Shutdown;
pub(crate) use session::wait;
pub use session::{PgClient, TextRows};

use server::Server;
use tls::Certificates;

/// How long a statement waits for locks in a database of which one thread holds several sessions.
const LOCK_TIMEOUT: &str = "10s";

/// A running server. It trusts every local connection; its superuser is `postgres`.
///
/// Its methods block the calling thread, also inside of an asynchronous runtime. A test on a
/// runtime with one thread must therefore not call for something that waits for its own tasks.
pub struct Postgres {
    version: PostgresVersion,
    backend: Backend,
    port: u16,
    databases: AtomicU64,
    certificates: Option<Certificates>,
    server: Mutex<Server>,
    /// Removed after the server has stopped.
    _folder: TempDir,
}

impl Postgres {
    /// Starts a server of the newest version with logical replication switched on.
    ///
    /// # Panics
    /// When the programs or the image are not there or the server does not start.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Starts a server of this version with logical replication switched on.
    ///
    /// # Panics
    /// When the programs or the image are not there or the server does not start.
    pub fn start_version(version: PostgresVersion) -> Self {
        Self::builder().version(version).start()
    }

    /// A server with settings of the test's own.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// The server's version.
    pub fn version(&self) -> PostgresVersion {
        self.version
    }

    /// Where the server runs.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The port on 127.0.0.1; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the server keeps its data; `None` in a container, whose files are its own.
    pub fn data_dir(&self) -> Option<PathBuf> {
        self.server().data()
    }

    /// What the server has written to its log since it was made.
    pub fn log(&self) -> String {
        self.server().log()
    }

    /// How to reach a database, as libpq writes it.
    pub fn connection(&self, database: &str) -> String {
        format!("dbname={database} host=127.0.0.1 port={} user=postgres", self.port)
    }

    /// How to reach a database, as a URL.
    pub fn url(&self, database: &str) -> String {
        self.url_via(self.port, database)
    }

    /// How to reach a database through a proxy on this port.
    pub fn url_via(&self, port: u16, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Makes a database and answers how to reach it, as libpq writes it.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_database(&self) -> String {
        self.connection(&self.new_database())
    }

    /// The same, for who holds several sessions of it in one thread: a statement that waits for another session's locks is given up.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_impatient_database(&self) -> String {
        let name = self.new_database();
        let sql = format!("ALTER DATABASE {} SET lock_timeout = '{LOCK_TIMEOUT}'", quote_ident(&name));
        self.execute("postgres", &sql);
        self.connection(&name)
    }

    fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {}", quote_ident(&name)));
        name
    }

    /// A session that the test holds.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn client(&self, database: &str) -> PgClient {
        PgClient::connect(&self.url(database))
    }

    /// Runs statements, separated by semicolons, in a session of their own. Several are one
    /// transaction, unless they say otherwise.
    ///
    /// # Panics
    /// When the server refuses one.
    pub fn execute(&self, database: &str, sql: &str) {
        self.client(database).execute(sql);
    }

    /// Like [`Postgres::execute`]; answers the server's message and SQLSTATE when it refuses.
    pub fn try_execute(&self, database: &str, sql: &str) -> Result<(), String> {
        PgClient::try_connect(&self.url(database))?.try_execute(sql)
    }

    /// The rows of a query, in a session of its own.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn query(&self, database: &str, sql: &str) -> TextRows {
        self.client(database).query(sql)
    }

    /// A query's only value, in a session of its own.
    ///
    /// # Panics
    /// When the server refuses it, or it has another number of values, or the value is NULL.
    pub fn value(&self, database: &str, sql: &str) -> String {
        session::only_value(self.query(database, sql), sql)
    }

    /// Shuts the server down and waits for its end. A fast shutdown waits for replication
    /// connections that take nothing, up to `wal_sender_timeout`.
    ///
    /// # Panics
    /// When it does not run or does not stop.
    pub fn stop(&self, shutdown: Shutdown) {
        self.server().stop(shutdown);
    }

    /// SIGKILL to the server and all its processes, as in a crash of the whole server. What the
    /// system's page cache holds is not lost.
    pub fn kill9(&self) {
        self.server().kill();
    }

    /// Starts a server that was stopped or killed, on its port and data, and waits until it takes
    /// connections.
    ///
    /// # Panics
    /// When it runs or does not start.
    pub fn start_again(&self) {
        self.server().start_again().unwrap_or_else(|log| panic!("postgres did not start: {log}"));
    }

    /// Stops the server and starts it again on its port and data.
    ///
    /// # Panics
    /// When it does not run, does not stop or does not start.
    pub fn restart(&self, shutdown: Shutdown) {
        self.stop(shutdown);
        self.start_again();
    }

    /// The certificate, in PEM, of whoever signed the server's and the client's.
    ///
    /// # Panics
    /// When the server was not built with TLS.
    pub fn ca_file(&self) -> &Path {
        &self.certificates().ca
    }

    /// A certificate, in PEM, of the user `postgres`.
    ///
    /// # Panics
    /// When the server was not built with TLS.
    pub fn client_cert(&self) -> &Path {
        &self.certificates().client
    }

    /// The key, in PEM, of [`Postgres::client_cert`].
    ///
    /// # Panics
    /// When the server was not built with TLS.
    pub fn client_key(&self) -> &Path {
        &self.certificates().client_key
    }

    /// A command that runs one of PostgreSQL's client programs, such as `psql` or `pg_recvlogical`,
    /// with this server as its default. The programs are this machine's, of version 15, which every
    /// server here understands.
    ///
    /// # Panics
    /// When they are not installed.
    pub fn pg_program(&self, name: &str) -> Command {
        let mut command = PostgresVersion::V15.command(name);
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGUSER", "postgres");
        command
    }

    fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("the server was built with TLS")
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        // A test that failed while it held the server still wants to read its log.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
