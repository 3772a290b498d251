//! An S3 server of the test's own (moto, in memory), gone when it is dropped.
//!
//! The environment variable [`TIDEGATE_S3`](VARIABLE) says where it runs:
//!
//! - `process`: as a process, from the packages that `cargo xtask setup` gets by pip.
//! - `docker`: in a container of the image `motoserver/moto`, which is pulled unless it is there.
//! - `auto`, the default: as a process where the packages are there, in a container otherwise.

mod container;
mod process;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use tidegate_duck::lake::Storage;

use crate::postgres::Backend;
use crate::postgres::backend::{Wish, say};

/// The environment variable that says where servers run: `process`, `docker` or `auto`.
pub const VARIABLE: &str = "TIDEGATE_S3";
const BUCKET: &str = "bucket";
/// Any will do.
const KEY: &str = "test";
const REGION: &str = "us-east-1";

/// A running server with one bucket.
pub struct S3 {
    port: u16,
    /// Where the same bucket has faults.
    faulty: u16,
    /// Ends when it is dropped.
    _server: Server,
}

enum Server {
    Process { _process: process::ServerProcess },
    Container { _container: Box<container::ServerContainer> },
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
        S3::start_in(chosen(), seed)
    }

    /// Starts a server there, whatever [`VARIABLE`] says.
    ///
    /// # Panics
    /// When it is not installed, there is no image, or it does not start.
    pub fn start_in(backend: Backend, seed: u64) -> Self {
        match backend {
            Backend::Process => {
                let (process, port, faulty) = process::ServerProcess::start(BUCKET, seed);
                S3 { port, faulty, _server: Server::Process { _process: process } }
            }
            Backend::Container => {
                let (container, port, faulty) = container::ServerContainer::start(BUCKET, seed);
                S3 { port, faulty, _server: Server::Container { _container: Box::new(container) } }
            }
        }
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

/// Where servers run, decided and said once in a process.
fn chosen() -> Backend {
    static CHOSEN: OnceLock<Backend> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let wish = Wish::parse(VARIABLE, &std::env::var(VARIABLE).unwrap_or_default());
        let (backend, reason) = match wish.unwrap_or_else(|error| panic!("{error}")) {
            Wish::Process => (Backend::Process, "that was asked for"),
            Wish::Docker => (Backend::Container, "that was asked for"),
            Wish::Auto if process::is_installed() => (Backend::Process, "its packages are there"),
            Wish::Auto => (Backend::Container, "'cargo xtask setup' has not fetched its packages"),
        };
        say(&format!("the S3 server runs {backend}: {reason}"));
        backend
    })
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::path::Path;

    use super::*;

    /// Both ports of a server have the same bucket, and the faults of one are counted.
    fn serves(backend: Backend) {
        let s3 = S3::start_in(backend, 7);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let path = Path::from("a/b");
            s3.store().put(&path, "one".into()).await.unwrap();
            for _ in 0..40 {
                let found = s3.faulty_store().get(&path).await.unwrap().bytes().await;
                assert!(found.is_err() || found.unwrap() == "one");
            }
        });
        assert!(s3.faults() > 0);
    }

    #[test]
    fn a_process_serves_a_bucket() {
        serves(Backend::Process);
    }

    #[test]
    #[ignore = "needs a Docker engine with the image motoserver/moto"]
    fn a_container_serves_a_bucket() {
        serves(Backend::Container);
    }
}
