//! An S3 server of the test's own (moto, in memory), gone when it is dropped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;

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
}

impl S3 {
    /// Starts a server.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start() -> Self {
        let mut server = Command::new("python3")
            .arg(SERVER)
            .arg(BUCKET)
            .env("PYTHONPATH", installed())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be started");
        let mut line = String::new();
        let output = server.stdout.take().expect("the output is piped");
        BufReader::new(output).read_line(&mut line).expect("the server's output can be read");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the S3 server did not start; its errors are above"));
        S3 { server, port }
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
        let store = AmazonS3Builder::new()
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_region(REGION)
            .with_access_key_id(KEY)
            .with_secret_access_key(KEY)
            .build();
        Arc::new(store.expect("the settings are complete"))
    }

    /// The environment in which a program finds the server.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT", self.endpoint()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
        ]
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
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
