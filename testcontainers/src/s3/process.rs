//! The server as a process of this machine.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::cache;

/// The folder in the cache that `cargo xtask setup` fills.
const PLACE: &str = "moto-5.2.5";
/// What shows that it is filled.
const MARK: &str = "moto/__init__.py";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/s3/server.py");

/// Whether its packages are there.
pub(super) fn is_installed() -> bool {
    cache::path(PLACE).join(MARK).is_file()
}

/// A running server.
pub(super) struct ServerProcess(Child);

impl ServerProcess {
    /// Starts it; answers where it listens, and where with faults.
    pub(super) fn start(bucket: &str, seed: u64) -> (Self, u16, u16) {
        let packages: PathBuf = cache::place(PLACE, Path::new(MARK));
        let mut server = Command::new("python3")
            .arg(SCRIPT)
            .args([bucket, &seed.to_string()])
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be started");
        let mut line = String::new();
        let output = server.stdout.take().expect("the output is piped");
        BufReader::new(output).read_line(&mut line).expect("the server's output can be read");
        let ports = line.trim().split_once(' ').and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
        let (port, faulty) = ports.unwrap_or_else(|| panic!("the S3 server did not start; its errors are above"));
        (ServerProcess(server), port, faulty)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
