//! A lake of many orders and their customers, and the program that keeps views over it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_duck::{Access, Duck, Options, quote_literal};
use tidegate_testkit::{Catalog, Lake, Program};

/// Orders of a customer on the average.
const ORDERS_OF_A_CUSTOMER: u64 = 10;
/// Orders that are made at a time, each time a file of the lake.
const ORDERS_OF_A_FILE: u64 = 5_000_000;

/// How many customers there are for so many orders.
pub fn customers(orders: u64) -> u64 {
    (orders / ORDERS_OF_A_CUSTOMER).max(1)
}

/// Orders `from..to` of `customers` customers, in no order of customers: columns `id`, `customer`, `status`, `amount`.
pub fn orders(from: u64, to: u64, customers: u64) -> String {
    format!(
        "SELECT i AS id, (hash(i) % {customers})::BIGINT AS customer, \
         ['open', 'paid', 'sent', 'returned'][1 + i % 4] AS status, ((i * 7919) % 100_000 / 100)::DECIMAL(12,2) AS amount \
         FROM range({from}, {to}) t(i)"
    )
}

/// A lake, and a folder for what is made of it.
pub struct World {
    pub lake: Lake,
    folder: TempDir,
}

/// What one run of the program took.
pub struct Run {
    /// Wall time of the process, and of its phases in its own words.
    pub elapsed_ms: f64,
    pub read_ms: f64,
    pub step_ms: f64,
    pub commit_ms: f64,
    pub checkpoint_ms: f64,
    /// The most memory the process had, in MiB.
    pub peak_mib: f64,
    pub summary: Value,
}

impl World {
    /// Makes a lake with so many orders.
    pub fn new(rows: u64) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::create(folder.path(), Catalog::sqlite(folder.path()));
        let customers = customers(rows);
        lake.execute(&format!(
            "CREATE TABLE lake.orders (id BIGINT, customer BIGINT, status VARCHAR, amount DECIMAL(12,2)); \
             CREATE TABLE lake.customers (id BIGINT, region VARCHAR); \
             INSERT INTO lake.customers SELECT i, 'region ' || (i * 31) % 100 FROM range({customers}) t(i)"
        ));
        for from in (0..rows).step_by(ORDERS_OF_A_FILE as usize) {
            let to = rows.min(from + ORDERS_OF_A_FILE);
            lake.execute(&format!("INSERT INTO lake.orders {}", orders(from, to, customers)));
        }
        World { lake, folder }
    }

    /// Makes a folder with a pipeline of views, by name and SQL, and a mart; `settings` are lines of `[pipeline]`.
    pub fn pipeline(&self, name: &str, views: &[(&str, &str)], settings: &str) -> Pipeline {
        let source = format!("type = \"ducklake\"\ncatalog = \"{}\"", self.lake.uri());
        Pipeline::create(self.folder.path().join(name), ("lake", &source), views, settings)
    }

    /// Computes a view with DuckDB into the table `v` of a file of its own: milliseconds and the file.
    pub fn computed(&self, name: &str, sql: &str, options: &Options) -> (f64, PathBuf) {
        let file = self.folder.path().join(format!("{name}.duckdb"));
        let duck = Duck::open(&file, options).expect("DuckDB opens");
        tidegate_testkit::lake::attach(&duck, self.lake.catalog(), "lake", &[]).expect("the lake is attached");
        let started = Instant::now();
        duck.execute(&format!("CREATE TABLE v AS {sql}; CHECKPOINT")).expect("DuckDB answers");
        (started.elapsed().as_secs_f64() * 1e3, file)
    }
}

/// A pipeline's folder.
pub struct Pipeline {
    folder: PathBuf,
}

impl Pipeline {
    /// Makes a folder with a pipeline of views over a source, which has a name and the lines of its table, and a mart.
    pub fn create(folder: PathBuf, source: (&str, &str), views: &[(&str, &str)], settings: &str) -> Pipeline {
        std::fs::create_dir(&folder).expect("a folder");
        let views: String = views.iter().map(|(view, sql)| format!("[views.{view}]\nsql = \"{sql}\"\n\n")).collect();
        let (name, lines) = source;
        let text = format!(
            "[pipeline]\nname = \"bulk\"\nstate_dir = \"state\"\n{settings}\n\n[sources.{name}]\n{lines}\n\n\
             {views}[sinks.mart]\ntype = \"duckdb\"\npath = \"mart.duckdb\"\n"
        );
        std::fs::write(folder.join("pipeline.toml"), text).expect("the pipeline file");
        Pipeline { folder }
    }

    /// The pipeline file.
    pub fn file(&self) -> PathBuf {
        self.folder.join("pipeline.toml")
    }

    /// `run --once`.
    pub fn run(&self) -> Run {
        let file = self.file();
        let program = Program::new(env!("CARGO_BIN_EXE_tidegate")).arguments([
            "run",
            "--once",
            "--json",
            &file.to_string_lossy(),
        ]);
        let started = Instant::now();
        let mut running = program.start();
        let status = format!("/proc/{}/status", running.id());
        let mut peak_kib = 0;
        let ended = loop {
            match running.wait_for(Duration::from_millis(20)) {
                Ok(ended) => break ended,
                Err(still) => running = still,
            }
            peak_kib = peak_of(&status).max(peak_kib);
        };
        let elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
        let summary = ended.expect(0).json();
        let phase = |name: &str| summary["phases_ms"][name].as_f64().expect("a phase");
        Run {
            elapsed_ms,
            read_ms: phase("read"),
            step_ms: phase("step"),
            commit_ms: phase("commit"),
            checkpoint_ms: phase("checkpoint"),
            peak_mib: peak_kib as f64 / 1024.0,
            summary,
        }
    }

    /// Bytes of one of its folders, such as `state`.
    pub fn bytes(&self, of: &str) -> u64 {
        bytes(&self.folder.join(of))
    }

    /// Compares a view in the mart with the table that DuckDB computed.
    ///
    /// # Panics
    /// When they are not the same.
    pub fn assert_equals(&self, view: &str, computed: &Path) {
        let duck = Duck::open_in_memory().expect("DuckDB opens");
        for (name, file) in [("mart", self.folder.join("mart.duckdb")), ("computed", computed.to_owned())] {
            let file = quote_literal(&file.to_string_lossy());
            duck.execute(&format!("ATTACH {file} AS {name} (READ_ONLY)")).expect("the file is attached");
        }
        // A sum of the rows' hashes does not depend on their order, and needs no memory for them.
        let compared = duck.query(&format!(
            "SELECT m.n, m.n = c.n AND m.s IS NOT DISTINCT FROM c.s \
             FROM (SELECT count(*) n, sum(hash(v)::HUGEINT) s FROM mart.\"{view}\" v) m, \
             (SELECT count(*) n, sum(hash(v)::HUGEINT) s FROM computed.v) c"
        ));
        let (_, batches) = compared.expect("both are compared");
        assert!(batches[0].column(0).as_primitive::<Int64Type>().value(0) > 0, "the view has rows");
        assert!(batches[0].column(1).as_boolean().value(0), "the mart has the rows that DuckDB computes");
    }
}

/// How DuckDB opens what it computes: with as many threads as the machine has cores.
pub fn options() -> Options {
    Options { access: Access::ReadWrite, threads: Some(2), ..Options::default() }
}

/// The high-water mark of a process's memory, in KiB.
pub fn peak_of(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn bytes(path: &Path) -> u64 {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let entries = std::fs::read_dir(path).expect("the folder is read");
            entries.map(|entry| bytes(&entry.expect("an entry").path())).sum()
        }
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}
