//! The sinks that are measured, each with what DuckDB does in its place. Another sink is another entry.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use tidegate_core::{Micros, Sink};
use tidegate_duck::{Duck, Extension, quote_literal};
use tidegate_sink_delta::{DeltaConfig, DeltaSink};
use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink, Publish};
use tidegate_sink_ducklake::{DucklakeConfig, DucklakeSink};
use tidegate_sink_parquet::ParquetSink;
use tidegate_sink_postgres::{PostgresConfig, PostgresSink};
use tidegate_testkit::Postgres;

/// A sink to be measured.
pub struct Candidate {
    /// As it is chosen on the command line.
    pub name: &'static str,
    /// A sink whose target lies in a folder.
    pub make: fn(&Path) -> Box<dyn Sink>,
    /// What DuckDB does with a table function of the rows, in a folder of its own.
    pub reference: fn(&Duck, &str, &Path),
    /// What that is called.
    pub reference_name: &'static str,
    /// Whether the cost of a small epoch does not follow the size of the table.
    pub flat: bool,
}

/// All of them.
pub const CANDIDATES: &[Candidate] = &[
    Candidate {
        name: "duckdb",
        make: |folder| Box::new(DuckdbSink::new("mart", DuckdbConfig::new(folder.join("mart.duckdb")), clock())),
        reference: into_duckdb,
        reference_name: "INSERT into a file",
        flat: true,
    },
    Candidate {
        name: "duckdb-copy",
        make: |folder| {
            let config = DuckdbConfig::new(folder.join("mart.duckdb")).publish(Publish::AtomicCopy);
            Box::new(DuckdbSink::new("mart", config, clock()))
        },
        reference: into_duckdb,
        reference_name: "INSERT into a file",
        flat: false,
    },
    Candidate {
        name: "parquet",
        make: |folder| {
            Box::new(ParquetSink::new("changes", tidegate_sink_parquet::Location::Folder(folder.to_owned())))
        },
        reference: into_parquet,
        reference_name: "COPY to Parquet",
        flat: true,
    },
    Candidate {
        name: "delta",
        make: |folder| {
            let (location, config) = (tidegate_sink_delta::Location::Folder(folder.to_owned()), DeltaConfig::new("."));
            Box::new(DeltaSink::new("tables", "bench", location, config, clock()))
        },
        reference: into_parquet,
        reference_name: "COPY to Parquet",
        flat: false,
    },
    Candidate {
        name: "ducklake",
        make: |folder| {
            let config = serde_json::json!({"catalog": "ducklake:lake.ducklake", "data_path": "files/"});
            let config: DucklakeConfig = serde_json::from_value(config).expect("the sink is configured");
            let sink = DucklakeSink::new("lake", &config, folder, &folder.join("spill"), clock());
            Box::new(sink.expect("the sink is made"))
        },
        reference: into_ducklake,
        reference_name: "INSERT into a lake",
        flat: false,
    },
    Candidate {
        name: "postgres",
        make: |folder| {
            let config = serde_json::json!({"url": SERVER.url(&database())});
            let config: PostgresConfig = serde_json::from_value(config).expect("the sink is configured");
            Box::new(PostgresSink::new("app", &config, folder, clock()).expect("the sink is made"))
        },
        reference: into_postgres,
        reference_name: "COPY into PostgreSQL",
        flat: true,
    },
];

/// The server of those candidates that need one.
static SERVER: LazyLock<Postgres> = LazyLock::new(|| Postgres::builder().setting("max_wal_size", "8GB").start());

/// A new database by its name.
fn database() -> String {
    let connection = SERVER.create_database();
    let name = connection.split_whitespace().find_map(|part| part.strip_prefix("dbname="));
    name.expect("a connection string names its database").to_owned()
}

fn clock() -> tidegate_sink_duckdb::Clock {
    Arc::new(|| Micros(0))
}

fn into_duckdb(duck: &Duck, rows: &str, folder: &Path) {
    let file = quote_literal(&folder.join("reference.duckdb").to_string_lossy());
    duck.execute(&format!(
        "ATTACH {file} AS target; CREATE TABLE target.orders AS FROM {rows} LIMIT 0; \
         INSERT INTO target.orders SELECT * FROM {rows}; CHECKPOINT target; DETACH target"
    ))
    .expect("DuckDB inserts");
}

fn into_parquet(duck: &Duck, rows: &str, folder: &Path) {
    let file = quote_literal(&folder.join("reference.parquet").to_string_lossy());
    duck.execute(&format!("COPY (FROM {rows}) TO {file} (FORMAT parquet, COMPRESSION zstd)")).expect("DuckDB copies");
}

fn into_ducklake(duck: &Duck, rows: &str, folder: &Path) {
    let catalog = quote_literal(&format!("ducklake:{}", folder.join("reference.ducklake").display()));
    let files = quote_literal(&folder.join("reference").to_string_lossy());
    duck.load(Extension::Ducklake).expect("DuckLake is there");
    duck.execute(&format!(
        "ATTACH {catalog} AS target (DATA_PATH {files}); CREATE TABLE target.orders AS FROM {rows} LIMIT 0; \
         INSERT INTO target.orders SELECT * FROM {rows}; DETACH target"
    ))
    .expect("DuckDB inserts");
}

/// DuckDB sends rows to PostgreSQL by its binary COPY.
fn into_postgres(duck: &Duck, rows: &str, _: &Path) {
    duck.load(Extension::PostgresScanner).expect("the extension for PostgreSQL is there");
    duck.execute(&format!(
        "ATTACH {} AS target (TYPE postgres); CREATE TABLE target.public.orders AS FROM {rows} LIMIT 0; \
         INSERT INTO target.public.orders SELECT * FROM {rows}; DETACH target",
        quote_literal(&SERVER.create_database())
    ))
    .expect("DuckDB inserts");
}
