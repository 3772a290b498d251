//! A PostgreSQL server of the test's own: started in a temporary folder on a port of its own,
//! gone when it is dropped.

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_duck::{Duck, Extension, quote_ident, quote_literal};

use crate::cache;

/// The folder in the cache that `cargo xtask setup` fills.
const PLACE: &str = "postgres-18.4";
/// Whom the server runs as when the test is root, which PostgreSQL refuses.
const UNPRIVILEGED: &str = "nobody";
const START_MAX: Duration = Duration::from_secs(60);

/// A running server. It trusts every local connection; its superuser is `postgres`.
pub struct Postgres {
    server: Child,
    port: u16,
    databases: AtomicU64,
    /// Removed after the server has stopped.
    _folder: TempDir,
}

impl Postgres {
    /// Starts a server with logical replication switched on.
    ///
    /// # Panics
    /// When the binaries are not there or the server does not start.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("tidegate-postgres-").tempdir().expect("a temporary folder");
        let account = Account::choose();
        let programs = account.reachable(&installed(), folder.path());
        let data = folder.path().join("data");
        account.make_folder(folder.path());
        let initdb = account
            .command(&programs.join("bin/initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"])
            .arg("--pgdata")
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .expect("initdb can be started");
        assert!(initdb.status.success(), "initdb failed: {}", String::from_utf8_lossy(&initdb.stderr));
        let port = free_port();
        let log = folder.path().join("server.log");
        let output = fs::File::create(&log).expect("the server's log can be made");
        let server = account
            .command(&programs.join("bin/postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""])
            .args(["-c", "fsync=off", "-c", "wal_level=logical", "-c", "max_connections=50"])
            .stdout(output.try_clone().expect("a file handle can be copied"))
            .stderr(output)
            .current_dir(folder.path())
            .spawn()
            .expect("postgres can be started");
        let mut postgres = Postgres { server, port, databases: AtomicU64::new(0), _folder: folder };
        postgres.wait(&log);
        postgres
    }

    /// How to reach a database, as libpq writes it.
    pub fn connection(&self, database: &str) -> String {
        format!("dbname={database} host=127.0.0.1 port={} user=postgres", self.port)
    }

    /// Makes a database and answers how to reach it.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {}", quote_ident(&name)));
        self.connection(&name)
    }

    /// Runs one statement, outside a transaction.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn execute(&self, database: &str, sql: &str) {
        let run = || {
            let duck = Duck::open_in_memory()?;
            duck.load(Extension::PostgresScanner)?;
            duck.execute(&format!(
                "ATTACH {} AS server (TYPE postgres); \
                 CALL postgres_execute('server', {}, use_transaction => false)",
                quote_literal(&self.connection(database)),
                quote_literal(sql),
            ))
        };
        run().unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Waits until the server takes connections; its port is open a little before that.
    fn wait(&mut self, log: &Path) {
        let started = Instant::now();
        loop {
            let text = fs::read_to_string(log).unwrap_or_default();
            let is_ready = text.contains("database system is ready to accept connections");
            if is_ready && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            let ended = self.server.try_wait().expect("the server's state can be asked");
            assert!(ended.is_none() && started.elapsed() < START_MAX, "postgres did not start: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate shutdown: nothing is kept, but the server's own children and its shared
        // memory go with it, which a kill would leave behind.
        let asked = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// Where the binaries are.
fn installed() -> PathBuf {
    cache::place(PLACE, Path::new("bin/postgres"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port can be had");
    listener.local_addr().expect("a listener has an address").port()
}

/// Whom the server runs as.
enum Account {
    /// The account of the test.
    Own,
    /// Another one, because the test is root.
    Other { uid: String, gid: String },
}

impl Account {
    fn choose() -> Self {
        let id = |arguments: &[&str]| {
            let output = Command::new("id").args(arguments).output().expect("'id' can be started");
            assert!(output.status.success(), "'id {}' failed", arguments.join(" "));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        if id(&["-u"]) != "0" {
            return Account::Own;
        }
        Account::Other { uid: id(&["-u", UNPRIVILEGED]), gid: id(&["-g", UNPRIVILEGED]) }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match self {
            Account::Own => Command::new(program),
            Account::Other { uid, gid } => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", uid, "--regid", gid, "--clear-groups", "--"]).arg(program);
                command
            }
        };
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Hands a folder over.
    fn make_folder(&self, folder: &Path) {
        if let Account::Other { uid, gid } = self {
            let (uid, gid) = (uid.parse().expect("a number"), gid.parse().expect("a number"));
            std::os::unix::fs::chown(folder, Some(uid), Some(gid)).expect("root may give a folder away");
        }
    }

    /// The binaries where the account can reach them: root's home is closed to others.
    fn reachable(&self, installed: &Path, folder: &Path) -> PathBuf {
        if matches!(self, Account::Own) {
            return installed.to_owned();
        }
        let copy = folder.join("programs");
        let status = Command::new("cp").arg("-r").arg(installed).arg(&copy).status().expect("'cp' can be started");
        assert!(status.success(), "{} cannot be copied", installed.display());
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("own folders can be opened");
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_starts_and_takes_databases() {
        let server = Postgres::start();
        let first = server.create_database();
        assert_ne!(first, server.create_database());
        server.execute("test_0", "CREATE TABLE t (a int)");
    }
}
