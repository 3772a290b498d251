//! A server before its start: its version, settings and rules of access.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::Postgres;
use super::backend::{self, Backend};
use super::programs::PostgresVersion;
use super::server::{Cluster, Server};
use super::tls::Certificates;

/// What a test's server has that PostgreSQL's does not. A test loses nothing when the machine loses
/// its power, so nothing needs to reach the disk.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("wal_level", "logical"),
    ("max_connections", "50"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
];

/// Whether connections may be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Encryption {
    #[default]
    Off,
    On,
}

/// A server that is not started yet.
#[derive(Debug, Clone, Default)]
pub struct PostgresBuilder {
    version: Option<PostgresVersion>,
    backend: Option<Backend>,
    settings: Vec<(String, String)>,
    hba: String,
    encryption: Encryption,
}

impl PostgresBuilder {
    /// The version.
    #[must_use]
    pub fn version(mut self, version: PostgresVersion) -> Self {
        self.version = Some(version);
        self
    }

    /// Where the server runs, whatever [`backend::VARIABLE`](super::backend::VARIABLE) says.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// A line of `postgresql.conf`, after the defaults, so that it overrides them. The value is
    /// plain: it gets its quotes here. `ALTER SYSTEM` overrides it in turn.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lines of `pg_hba.conf` before those that trust everyone: the first that fits decides. The
    /// methods of [`Postgres`] connect as `postgres` over TCP without TLS, which should stay allowed.
    /// Clients come from `127.0.0.1/32`. A server in a container sees them under another address, and
    /// so `all` stands there instead: its port is published on 127.0.0.1 alone.
    #[must_use]
    pub fn hba(mut self, lines: &str) -> Self {
        self.hba.push_str(lines);
        self.hba.push('\n');
        self
    }

    /// Lets connections be encrypted; `hostssl` lines of `pg_hba.conf` may demand it. Certificates
    /// of clients are verified where such a line demands them.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.encryption = Encryption::On;
        self
    }

    /// Starts the server.
    ///
    /// # Panics
    /// When the programs or the image are not there or the server does not start.
    pub fn start(self) -> Postgres {
        let last = || PostgresVersion::ALL.into_iter().next_back().expect("a list of versions is never empty");
        let version = self.version.unwrap_or_else(last);
        let backend = backend::choose(version, self.backend);
        let folder = tempfile::Builder::new().prefix("tidegate-postgres-").tempdir().expect("a temporary folder");
        let certificates = (self.encryption == Encryption::On).then(|| Certificates::create(folder.path()));
        let own = self.settings.into_iter();
        let defaults = SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let cluster = Cluster { settings: defaults.chain(own).collect(), hba: self.hba, certificates };
        let server = Server::start(backend, version, &cluster, folder.path());
        Postgres {
            version,
            backend,
            port: server.port(),
            databases: AtomicU64::new(0),
            certificates: cluster.certificates,
            server: Mutex::new(server),
            _folder: folder,
        }
    }
}
