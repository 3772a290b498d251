//! The first load of views over a DuckLake of ten million orders, by the program and into a DuckDB mart: rows a second, the
//! most memory and bytes of state, against DuckDB computing the same tables into a file, and against the way of an epoch for
//! each row. Then all views at once, and two workers.
//!
//! `load [CASE …]` measures only these: filter, group, join, all, workers. `TIDEGATE_BENCH_SCALE=0.1` loads fewer rows.

mod bulk;

use bulk::{Pipeline, Run, World, orders};
use tidegate_core::ViewName;
use tidegate_duck::{Duck, DuckBinder};
use tidegate_engine::{Engine, EngineOptions, Program, RebuildScope, ViewDef};
use tidegate_testkit::bench::{Report, settle, timed};
use tidegate_testkit::tpch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: u64 = 10_000_000;
/// Epochs of the way row by row.
const SINGLE_ROWS: u64 = 20_000;
/// Rows a second that the load of a join and a group by is to reach at least.
const RATE: f64 = 500_000.0;

/// Views by name; the tables are those of `lake`.
const VIEWS: [(&str, &str); 3] = [
    ("filter", "SELECT id, customer, amount FROM lake.orders WHERE status = 'returned' AND amount < 400"),
    ("group", "SELECT customer, count(*) AS n, sum(amount) AS total FROM lake.orders GROUP BY customer"),
    (
        "join",
        "SELECT c.region, o.status, count(*) AS n, sum(o.amount) AS total FROM lake.orders o \
         JOIN lake.customers c ON c.id = o.customer GROUP BY c.region, o.status",
    ),
];

/// Rows a second of an engine that gets each row as an epoch, from Arrow to the view's delta.
fn row_by_row(sql: &str) -> f64 {
    let duck = Duck::open_in_memory().expect("DuckDB opens");
    let customers = bulk::customers(ROWS);
    let tables = format!(
        "CREATE TABLE orders AS {}; CREATE TABLE customers AS SELECT i AS id, 'region ' || (i * 31) % 100 AS region \
         FROM range({customers}) t(i)",
        orders(0, SINGLE_ROWS, customers)
    );
    duck.execute(&tables).expect("the tables are made");
    let (orders, customers) = (tpch::table(&duck, "orders"), tpch::table(&duck, "customers"));
    let view = ViewDef { name: ViewName::from("v"), sql: sql.to_owned(), key: None };
    let program = Program::plan(vec![orders.clone(), customers.clone()], vec![view], &DuckBinder);
    let program = program.unwrap_or_else(|errors| panic!("{errors:#?}"));
    let folder = tempfile::tempdir().expect("a folder");
    let options = EngineOptions::new(1, None);
    let mut engine = Engine::create(folder.path(), options).expect("the engine");
    engine.begin_rebuild(program, RebuildScope::All).expect("the load begins");
    let all = tpch::rows(&duck, "FROM customers", &customers, 1).expect("customers");
    engine.load(&customers.name, all).expect("customers are loaded");
    engine.finish_rebuild().expect("the load ends");
    let rows = tpch::rows(&duck, "FROM orders", &orders, 1).expect("orders");
    let tidegate_core::TableEvent::Rows(rows) = rows else { unreachable!("rows are an event of rows") };
    let (ms, ()) = timed(|| {
        for row in 0..rows.len() {
            let row = tidegate_core::ZSet::uniform(rows.rows().slice(row, 1), 1);
            engine.feed(&orders.name, tidegate_core::TableEvent::Rows(row)).expect("the row is fed");
            engine.step().expect("the engine steps");
        }
    });
    rows.len() as f64 / ms * 1e3
}

struct Bench {
    report: Report,
    world: World,
    rows: u64,
}

impl Bench {
    /// One view by itself: its rate.
    fn one(&mut self, (name, sql): (&str, &str)) {
        let run = self.load(name, &[(name, sql)], "");
        let (duckdb_ms, computed) = self.world.computed(name, sql, &bulk::options());
        run.1.assert_equals(name, &computed);
        let singles = row_by_row(sql);
        let rate = self.note(name, &run, &[("duckdb_ms", duckdb_ms), ("single_rows_s", singles)]);
        self.report.gate(format!("{name}: row by row / load, rows a second"), singles / rate, 1.0);
        if name == "join" {
            self.report.gate("500,000 rows a second / load of a join and a group by", RATE / rate, 1.0);
        }
    }

    fn load(&self, name: &str, views: &[(&str, &str)], settings: &str) -> (Run, Pipeline) {
        let pipeline = self.world.pipeline(name, views, settings);
        settle();
        let run = pipeline.run();
        settle();
        (run, pipeline)
    }

    /// Reports a run and answers its rows a second.
    fn note(&mut self, name: &str, (run, pipeline): &(Run, Pipeline), more: &[(&str, f64)]) -> f64 {
        let read = run.summary["source_rows"].as_f64().expect("a number");
        let rate = read / run.elapsed_ms * 1e3;
        let mut figures = vec![
            ("elapsed_ms", run.elapsed_ms),
            ("rows_per_s", rate),
            ("read_ms", run.read_ms),
            ("step_ms", run.step_ms),
            ("commit_ms", run.commit_ms),
            ("checkpoint_ms", run.checkpoint_ms),
            ("peak_rss_mib", run.peak_mib),
            ("state_bytes_row", pipeline.bytes("state") as f64 / read),
        ];
        figures.extend(more);
        self.report.measure(format!("{name}, {} orders", self.rows), &figures);
        rate
    }
}

fn main() -> std::process::ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let scale = std::env::var("TIDEGATE_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let versions = [("dbsp", "0.349.0"), ("duckdb", "1.5.5"), ("ducklake", "1.0"), ("arrow", "58")];
    let rows = (ROWS as f64 * scale) as u64;
    let mut bench = Bench { report: Report::new("load", &versions), world: World::new(rows), rows };
    for view in VIEWS.into_iter().filter(|(name, _)| wanted(name)) {
        bench.one(view);
    }
    if wanted("all") {
        let run = bench.load("all", &VIEWS, "");
        bench.note("all three views", &run, &[]);
    }
    if wanted("workers") {
        let run = bench.load("workers", &VIEWS[2..], "workers = 2");
        bench.note("join, two workers", &run, &[]);
    }
    bench.report.finish()
}
