//! A server as the rest sees it, wherever it runs, and what a new one is made from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::backend::Backend;
use super::container::ServerContainer;
use super::process::ServerProcess;
use super::programs::PostgresVersion;
use super::tls::Certificates;

/// A fast shutdown waits for what the replication connections have not taken yet, until
/// `wal_sender_timeout`, which is a minute.
pub(super) const STOP_MAX: Duration = Duration::from_secs(100);

/// How `initdb` makes the cluster of a test.
pub(super) const INITDB: [&str; 5] =
    ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"];

/// How a server is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Sessions end, what is open is rolled back, a checkpoint is written, and replication
    /// connections get what they have not yet got.
    Fast,
    /// Everything ends at once; the next start recovers from the log.
    Immediate,
}

/// What a new cluster has that `initdb` does not give it.
pub(super) struct Cluster {
    /// In this order behind those of `initdb`.
    pub(super) settings: Vec<(String, String)>,
    /// Lines of `pg_hba.conf`, before those of `initdb`.
    pub(super) hba: String,
    /// There when connections may be encrypted.
    pub(super) certificates: Option<Certificates>,
}

/// A server that runs or is down.
pub(super) enum Server {
    Process(ServerProcess),
    Container(ServerContainer),
}

impl Server {
    /// Makes a cluster and starts a server on it. The folder is the server's own.
    pub(super) fn start(backend: Backend, version: PostgresVersion, cluster: &Cluster, folder: &Path) -> Self {
        match backend {
            Backend::Process => Server::Process(ServerProcess::start(version, cluster, folder)),
            Backend::Container => Server::Container(ServerContainer::start(version, cluster)),
        }
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Server::Process(process) => process.port(),
            Server::Container(container) => container.port(),
        }
    }

    pub(super) fn data(&self) -> Option<PathBuf> {
        match self {
            Server::Process(process) => Some(process.data()),
            Server::Container(_) => None,
        }
    }

    pub(super) fn log(&self) -> String {
        match self {
            Server::Process(process) => process.log(),
            Server::Container(container) => container.log(),
        }
    }

    /// Starts it and waits until it takes connections; otherwise answers what it wrote to its log.
    pub(super) fn start_again(&mut self) -> Result<(), String> {
        match self {
            Server::Process(process) => process.start_again(),
            Server::Container(container) => container.start_again(),
        }
    }

    /// Shuts it down and waits for its end.
    pub(super) fn stop(&mut self, shutdown: Shutdown) {
        match self {
            Server::Process(process) => process.stop(shutdown),
            Server::Container(container) => container.stop(shutdown),
        }
    }

    /// SIGKILL to the server and all its children.
    pub(super) fn kill(&mut self) {
        match self {
            Server::Process(process) => process.kill(),
            Server::Container(container) => container.kill(),
        }
    }
}

/// The settings that let connections be encrypted with these files.
pub(super) fn tls_settings(ca: String, server: String, server_key: String) -> Vec<(String, String)> {
    let settings =
        [("ssl", "on".to_owned()), ("ssl_ca_file", ca), ("ssl_cert_file", server), ("ssl_key_file", server_key)];
    settings.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Settings as lines of `postgresql.conf`.
pub(super) fn settings_text(settings: &[(String, String)]) -> String {
    settings.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect()
}
