//! A database and a lake under one frontier: random transactions on both, views that join across, DuckDB's
//! full recompute over both as the oracle, with restarts of everything in between.
//!
//! `TIDEGATE_SEED` runs a history again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tidegate_core::{Epoch, Frontier, ViewName};
use tidegate_duck::{Access, Duck, DuckBinder, Options};
use tidegate_engine::ViewDef;
use tidegate_runtime::{Connectors, Pipeline, PipelineConfig, RuntimeError, Silent, SinkSlot, SourceSlot};
use tidegate_source_ducklake::DucklakeSource;
use tidegate_source_postgres::PostgresSource;
use tidegate_testkit::dml::{Dml, Mix};
use tidegate_testkit::postgres::Shutdown;
use tidegate_testkit::seed::seed;
use tidegate_testkit::{
    Catalog, FaultProxy, Lake, MemorySink, Oracle, PgClient, PgDml, PgTable, Postgres, PostgresVersion, Tolerance,
    ViewRows,
};

use crate::in_process::{full, view_rows};
use crate::pipeline::{PipelineFolder, Spec, oracle_views};

/// Views over both: passed through, with long values that are not sent each time, joined, grouped, over views.
const VIEWS: &[(&str, &str)] = &[
    ("notes", "SELECT id, customer, amount, note, placed FROM app.orders"),
    (
        "accounts",
        "SELECT region, code, upper(name) AS name, balance * 2 AS twice, tags FROM app.customers WHERE code > 0",
    ),
    ("copies", "SELECT kind, n, big, \"at\" FROM app.events"),
    (
        "by_region",
        "SELECT c.region, count(*) AS n, sum(o.amount) AS total, max(o.note) AS last, count(DISTINCT o.id) AS ids \
         FROM app.orders o JOIN lake.customers c ON c.id = o.customer GROUP BY c.region",
    ),
    (
        "kinds",
        "SELECT e.kind, l.day, count(*) AS n, sum(l.amount) AS total FROM app.events e JOIN lake.orders l ON l.id = e.n \
         GROUP BY e.kind, l.day",
    ),
    ("pairs", "SELECT o.id, e.kind, e.\"at\" FROM app.orders o JOIN app.events e ON e.n = o.customer AND o.amount > 0"),
    ("rich", "SELECT region, total FROM by_region WHERE n > 1"),
    ("both", "SELECT id AS n, note AS t FROM app.orders UNION ALL SELECT n, kind FROM lake.events"),
];

/// A database, a lake and what changes them.
pub struct World {
    server: Arc<Postgres>,
    pub database: String,
    connection: String,
    client: Option<PgClient>,
    transactions: PgDml,
    pub lake: Lake,
    steps: Dml,
    oracle: Oracle,
    views: Vec<(ViewName, String)>,
    pub folder: TempDir,
}

impl World {
    pub fn new(server: Arc<Postgres>, seed: u64) -> Self {
        // In memory where there is such a folder: this is about what is computed, not about the disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let transactions = PgDml::new(seed, PgTable::ALL.to_vec());
        let connection = server.create_database();
        let database = connection.split_whitespace().find_map(|part| part.strip_prefix("dbname=")).unwrap().to_owned();
        server.execute(&database, &transactions.setup_sql());
        let mix = Mix { schema: 0, expire: 0, damage: false, ..Mix::default() };
        let (lake, steps) = Lake::generated(folder.path(), Catalog::sqlite(folder.path()), seed, mix);
        let views = oracle_views(&spec_views());
        let oracle = Oracle::new().unwrap();
        World { server, database, connection, client: None, transactions, lake, steps, oracle, views, folder }
    }

    /// One transaction in the database. A server that is just restarting may cut it short, as any client's.
    fn transaction(&mut self) {
        let statements = self.transactions.transaction();
        let client = match self.client.take() {
            Some(client) => client,
            None => self.server.client(&self.database),
        };
        if statements.iter().all(|sql| client.try_execute(sql).is_ok()) {
            self.client = Some(client);
        }
    }

    /// A row that comes for certain, on both sides.
    pub fn sure_change(&mut self) {
        self.lake.take(&self.steps.change());
        self.server.execute(&self.database, "INSERT INTO events (kind, n) VALUES ('sure', 1)");
    }

    pub fn change(&mut self, rng: &mut StdRng) {
        for _ in 0..rng.random_range(0..=4) {
            self.transaction();
        }
        for _ in 0..rng.random_range(0..=2) {
            self.lake.take(&self.steps.step());
        }
    }

    /// What the views hold, by DuckDB.
    fn expected(&mut self) -> Vec<ViewRows> {
        self.oracle.attach_postgres(&self.connection, "app").unwrap();
        self.oracle.attach_lake(&self.lake, None).unwrap();
        let rows = self.oracle.views(&self.views);
        self.oracle.detach().unwrap();
        rows.unwrap()
    }

    async fn open(&self, port: u16, sink: &MemorySink, workers: usize) -> Result<Pipeline, RuntimeError> {
        let view = |(name, sql): &(ViewName, String)| ViewDef { name: name.clone(), sql: sql.clone(), key: None };
        let views = self.views.iter().map(view).collect();
        let state = self.folder.path().join("state");
        let mut config = PipelineConfig::new("both".to_owned(), state.clone(), views);
        config.workers = Some(workers);
        config.retry_for = Duration::from_secs(30);
        let lake = toml::Table::from_iter([("catalog".to_owned(), self.lake.uri().into())]);
        let lake = DucklakeSource::new("lake", &lake.try_into().unwrap(), Path::new("/")).unwrap();
        let url = format!("{}&connect_timeout=2", self.server.url_via(port, &self.database));
        let app = serde_json::json!({"url": url, "slot": format!("both_{}", self.database), "buffer": "256KiB"});
        let app = serde_json::from_value(app).unwrap();
        let app = PostgresSource::new("app", &app, "both", Path::new("/"), &state.join("sources")).unwrap();
        let wake = Some(app.wake());
        let connectors = Connectors {
            sources: vec![
                SourceSlot { source: Box::new(lake), poll_interval: Duration::from_millis(20), wake: None },
                SourceSlot { source: Box::new(app), poll_interval: Duration::from_millis(200), wake },
            ],
            sinks: vec![SinkSlot { sink: Box::new(sink.clone()), views: None, commits: None }],
            binder: Arc::new(DuckBinder),
        };
        Pipeline::open(config, connectors, Arc::new(Silent)).await
    }
}

fn check(world: &mut World, sink: &MemorySink, epoch: Epoch, what: &str) {
    let expected = world.expected();
    for ((name, _), expected) in world.views.iter().zip(expected) {
        let what = format!("{what}, epoch {}, view {name}", epoch.0);
        assert!(sink.committed(name).unwrap().epoch <= epoch, "{what}");
        view_rows(sink, name).assert_equals(&expected, &Tolerance::exact(), &what);
    }
}

/// As long as the histories of one version go on.
const TIME_MAX: Duration = Duration::from_secs(50);

#[test]
fn random_transactions_across_a_database_and_a_lake() {
    let first = seed("databases");
    for version in PostgresVersion::ALL {
        let started = Instant::now();
        let server = Arc::new(Postgres::start_version(version));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (mut epochs, mut histories) = (0, 0);
        while started.elapsed() < TIME_MAX {
            let seed = first.wrapping_add(histories);
            epochs += runtime.block_on(history(server.clone(), seed, 25, started + TIME_MAX));
            histories += 1;
        }
        println!("{version:?}: {histories} histories, {epochs} epochs, seeds from {first}");
        assert!(epochs > 10, "{epochs} epochs");
    }
}

async fn history(server: Arc<Postgres>, seed: u64, rounds: u32, until: Instant) -> u64 {
    let mut rng = StdRng::seed_from_u64(seed);
    let proxy = FaultProxy::start(server.port());
    let mut world = World::new(server.clone(), seed);
    let sink = MemorySink::new("memory");
    let workers = rng.random_range(1..=2);
    let mut pipeline =
        world.open(proxy.port(), &sink, workers).await.unwrap_or_else(|error| panic!("{}", full(&error)));
    let mut frontier = Frontier::new();
    let mut log = Vec::new();
    for round in 0..rounds {
        if Instant::now() > until && round > 3 {
            break;
        }
        world.change(&mut rng);
        match rng.random_range(0..20) {
            0 => {
                log.push("the bridge was opened again");
                drop(pipeline);
                pipeline =
                    world.open(proxy.port(), &sink, workers).await.unwrap_or_else(|error| panic!("{}", full(&error)));
            }
            1 => {
                log.push("the server was restarted at once");
                server.restart(Shutdown::Immediate);
            }
            2 => {
                log.push("connections were cut");
                proxy.cut();
            }
            3 => {
                log.push("connections are slow");
                proxy.delay(Duration::from_millis(2));
            }
            _ => proxy.delay(Duration::ZERO),
        }
        let what = format!("seed {seed}, round {round}, {log:?}");
        let ran = pipeline.run_once().await;
        let ran = ran.unwrap_or_else(|error| panic!("{what}: {}", full(&error)));
        assert!(frontier.less_equal(&ran.frontier), "{what}: the frontier went from {frontier} to {}", ran.frontier);
        frontier = ran.frontier;
        check(&mut world, &sink, pipeline.epoch(), &what);
    }
    pipeline.epoch().0
}

/// As many kills a version has to stand.
const KILLS_MIN: u32 = 6;

/// The program itself, killed at random moments while both sources change and the server restarts.
#[test]
fn killed_while_a_database_and_a_lake_change() {
    let first = seed("databases and kills");
    for version in PostgresVersion::ALL {
        let mut rng = StdRng::seed_from_u64(first);
        let server = Arc::new(Postgres::start_version(version));
        let mut world = World::new(server.clone(), first);
        let proxy = FaultProxy::start(server.port());
        let mut spec = Spec::new(&world.lake);
        spec.views = spec_views();
        spec.settings.push("retry_for = \"30s\"\nepoch_interval = \"5ms\"".to_owned());
        spec.source_settings.push(format!(
            "\n[sources.app]\ntype = \"postgres\"\nurl = \"{}&connect_timeout=2\"\npoll_interval = \"100ms\"",
            server.url_via(proxy.port(), &world.database)
        ));
        let pipeline = PipelineFolder::create(&world.folder.path().join("pipeline"), &spec);
        let (started, mut kills, mut failures) = (Instant::now(), 0, 0);
        // A machine that has other work takes longer for as many.
        while started.elapsed() < Duration::from_secs(40) || kills < KILLS_MIN {
            assert!(started.elapsed() < Duration::from_secs(300), "{kills} kills, {failures} failures that pass");
            let running = pipeline.command("run", &[]).start();
            let moment = Instant::now() + Duration::from_millis(rng.random_range(50..1500));
            while Instant::now() < moment {
                world.change(&mut rng);
                match rng.random_range(0..30) {
                    0 => proxy.cut(),
                    1 => {
                        world.client = None;
                        server.restart(if rng.random() { Shutdown::Fast } else { Shutdown::Immediate });
                    }
                    _ => {}
                }
            }
            let ended = running.kill();
            match ended.signal() {
                Some(9) => kills += 1,
                // It may have ended by itself, for a reason that passes.
                _ => {
                    failures += 1;
                    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
                }
            }
            if kills % 4 == 0 {
                pipeline.catch_up();
                assert_mart(&mut world, &pipeline, &format!("{version:?}, seed {first}, after {kills} kills"));
            }
        }
        println!("{version:?}: {kills} kills, {failures} failures that pass");
        pipeline.catch_up();
        assert_mart(&mut world, &pipeline, &format!("{version:?}, seed {first}, in the end"));
    }
}

/// What the mart and the Parquet deltas hold is what DuckDB computes.
pub fn assert_mart(world: &mut World, pipeline: &PipelineFolder, what: &str) {
    let expected = world.expected();
    let options = Options { access: Access::ReadOnly, ..Options::default() };
    let duck = Duck::open(&pipeline.mart(), &options).unwrap();
    let replayed = Duck::open_in_memory().unwrap();
    let script = std::fs::read_to_string(pipeline.changes().join("views.sql")).unwrap();
    replayed.execute(&script).unwrap();
    for ((name, _), expected) in world.views.iter().zip(expected) {
        let found = ViewRows::read(&duck, &format!("FROM \"{name}\"")).unwrap();
        found.assert_equals(&expected, &Tolerance::exact(), &format!("{what}: {name} in the mart"));
        let found = ViewRows::read(&replayed, &format!("FROM \"{name}\"")).unwrap();
        found.assert_equals(&expected, &Tolerance::exact(), &format!("{what}: {name} from the deltas"));
    }
}

pub fn spec_views() -> Vec<(String, String)> {
    VIEWS.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect()
}
