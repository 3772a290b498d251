//! An S3 server of the test's own (moto, in memory), gone when it is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use tidegate_duck::lake::Storage;

use crate::cache;

/// The folder in the cache that `cargo xtask setup` fills.
const PLACE: &str = "moto-5.2.5";
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/s3/server.py");
const BUCKET: &str = "bucket";
/// Any will do.
const KEY: &str = "test";
const REGION: &str = "us-east-1";

/// A running server with one bucket.
pub struct S3 {
    server: Child,
    port: u16,
    /// Where the same bucket has faults.
    faulty: u16,
}

impl S3 {
    /// Starts a server.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start() -> Self {
        S3::start_with(0)
    }

    /// Starts a server, whose faults are those of a seed.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start_with(seed: u64) -> Self {
        let mut server = Command::new("python3")
            .arg(SERVER)
            .args([BUCKET, &seed.to_string()])
            .env("PYTHONPATH", installed())
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
        S3 { server, port, faulty }
    }

    /// `s3://bucket/prefix`.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The bucket.
    ///
    /// # Panics
    /// Never: the settings are complete.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        store_at(self.port)
    }

    /// The bucket, with faults: now and then a request is refused, or done and answered with an error, or answered
    /// slowly or in part, or told that another conditional write is under way.
    ///
    /// # Panics
    /// Never: the settings are complete.
    pub fn faulty_store(&self) -> Arc<dyn ObjectStore> {
        store_at(self.faulty)
    }

    /// How many faults there have been.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn faults(&self) -> u64 {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(("127.0.0.1", self.faulty)).expect("the S3 server answers");
        stream.write_all(b"GET /faults HTTP/1.0\r\n\r\n").expect("the S3 server takes a request");
        stream.read_to_string(&mut answer).expect("the S3 server answers");
        let count = answer.rsplit("\r\n").next().and_then(|body| body.trim().parse().ok());
        count.unwrap_or_else(|| panic!("the S3 server answered {answer}"))
    }

    /// How DuckDB reaches the bucket, for lakes whose files are in it ([`Lake::create_on`](crate::Lake::create_on)).
    pub fn storage(&self) -> Storage {
        let variables = self.environment();
        Storage::new(
            |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
            Vec::new(),
        )
    }

    /// The environment in which a program finds the server.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        environment_at(self.port)
    }

    /// The environment in which a program finds the server with its faults.
    pub fn faulty_environment(&self) -> [(&'static str, String); 5] {
        environment_at(self.faulty)
    }
}

fn store_at(port: u16) -> Arc<dyn ObjectStore> {
    let store = AmazonS3Builder::new()
        .with_endpoint(endpoint(port))
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_region(REGION)
        .with_access_key_id(KEY)
        .with_secret_access_key(KEY)
        .build();
    Arc::new(store.expect("the settings are complete"))
}

fn environment_at(port: u16) -> [(&'static str, String); 5] {
    [
        ("AWS_ENDPOINT", endpoint(port)),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
    ]
}

fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn installed() -> PathBuf {
    cache::place(PLACE, Path::new("moto/__init__.py"))
}
