//! A server before its start: its version, settings and rules of access.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::Postgres;
use super::programs::{Account, PostgresVersion, Programs};
use super::server::Server;
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
    version: PostgresVersion,
    settings: Vec<(String, String)>,
    hba: String,
    encryption: Encryption,
}

impl PostgresBuilder {
    /// The version.
    #[must_use]
    pub fn version(mut self, version: PostgresVersion) -> Self {
        self.version = version;
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
    /// When the programs are not there or the server does not start.
    pub fn start(self) -> Postgres {
        let folder = tempfile::Builder::new().prefix("tidegate-postgres-").tempdir().expect("a temporary folder");
        let account = Account::choose();
        account.give(folder.path());
        let programs = account.reachable(Programs::locate(self.version));
        let data = folder.path().join("data");
        initialise(&account, &programs, folder.path(), &data);
        let certificates = (self.encryption == Encryption::On).then(|| {
            let certificates = Certificates::create(folder.path());
            account.give(&certificates.server_key);
            certificates
        });
        self.configure(&data, certificates.as_ref());
        let server = Server::start(account, programs, folder.path());
        Postgres {
            version: self.version,
            port: server.port(),
            data,
            databases: AtomicU64::new(0),
            certificates,
            server: Mutex::new(server),
            _folder: folder,
        }
    }

    fn configure(&self, data: &Path, certificates: Option<&Certificates>) {
        let mut settings: Vec<(String, String)> =
            SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        if let Some(Certificates { ca, server, server_key, .. }) = certificates {
            settings.push(("ssl".to_owned(), "on".to_owned()));
            for (name, file) in [("ssl_ca_file", ca), ("ssl_cert_file", server), ("ssl_key_file", server_key)] {
                settings.push((name.to_owned(), file.display().to_string()));
            }
        }
        settings.extend(self.settings.iter().cloned());
        let mut file = fs::File::options().append(true).open(data.join("postgresql.conf")).expect("initdb made it");
        for (name, value) in settings {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''")).expect("a setting can be written");
        }
        let hba = data.join("pg_hba.conf");
        let trust = fs::read_to_string(&hba).expect("initdb made it");
        fs::write(hba, format!("{}{trust}", self.hba)).expect("the rules of access can be written");
    }
}

/// Makes an empty cluster. Each has an identity of its own, which a copy of another would not have.
fn initialise(account: &Account, programs: &Programs, folder: &Path, data: &Path) {
    let output = account
        .command(programs, "initdb")
        .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"])
        .arg("--pgdata")
        .arg(data)
        .current_dir(folder)
        .output()
        .expect("initdb can be started");
    assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
}
