//! The suite for sinks, on the oldest and the newest server.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use tidegate_core::Micros;
use tidegate_sink_postgres::{Clock, PostgresConfig, PostgresSink};
use tidegate_testkit::{Postgres, PostgresVersion};

/// A clock that stands still.
pub fn clock() -> Clock {
    Arc::new(|| Micros(1_700_000_000_000_000))
}

/// A server of a version, one for all tests that do nothing to the server as a whole.
pub fn shared(version: PostgresVersion) -> Arc<Postgres> {
    static SERVERS: OnceLock<Mutex<Vec<Arc<Postgres>>>> = OnceLock::new();
    let mut servers = SERVERS.get_or_init(Mutex::default).lock().unwrap();
    if let Some(server) = servers.iter().find(|server| server.version() == version) {
        return server.clone();
    }
    servers.push(Arc::new(Postgres::start_version(version)));
    servers.last().unwrap().clone()
}

/// A new database's name.
pub fn database(server: &Postgres) -> String {
    let connection = server.create_database();
    connection.split_whitespace().find_map(|part| part.strip_prefix("dbname=")).unwrap().to_owned()
}

/// A sink on a database.
pub fn sink_to(url: &str) -> PostgresSink {
    let config = PostgresConfig { url: url.to_owned(), schema: "public".to_owned() };
    PostgresSink::new("app", &config, Path::new("/"), clock()).unwrap()
}

/// The database that a folder stands for, whose name is kept in the folder.
pub fn database_of(server: &Postgres, folder: &Path) -> String {
    let file = folder.join("database");
    std::fs::read_to_string(&file).unwrap_or_else(|_| {
        let name = database(server);
        std::fs::write(&file, &name).unwrap();
        name
    })
}

/// A sink on that database.
pub fn sink_of(server: &Postgres, folder: &Path) -> PostgresSink {
    sink_to(&server.url(&database_of(server, folder)))
}

fn conforms(version: PostgresVersion) {
    let server = shared(version);
    tidegate_testkit::conformance::sink(|folder| Box::new(sink_of(&server, folder)));
}

#[test]
fn values_at_the_edges_return() {
    let server = shared(PostgresVersion::V15);
    // No text of PostgreSQL's holds the character U+0000.
    let refused = ["chr(0) || 'x'"];
    tidegate_testkit::conformance::values_at_the_edges(|folder| Box::new(sink_of(&server, folder)), &refused);
}

#[test]
fn the_sink_conforms_on_postgres_15() {
    conforms(PostgresVersion::V15);
}

#[test]
fn the_sink_conforms_on_postgres_18() {
    conforms(PostgresVersion::V18);
}
