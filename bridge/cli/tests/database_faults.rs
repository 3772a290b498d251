//! What goes wrong with databases, as people meet it: one clear error with the way out, nothing written, or
//! recovery with a mart that is exact.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_duck::{Access, Duck, Options};
use tidegate_testkit::{FaultProxy, Finished, Postgres, PostgresVersion, Program};

use crate::pipeline::tidegate;

/// A pipeline over one table of a database.
pub struct Shop {
    server: Postgres,
    database: String,
    folder: TempDir,
}

impl Shop {
    pub fn new(server: Postgres, setup: &str) -> Self {
        let connection = server.create_database();
        let database = connection.split_whitespace().find_map(|part| part.strip_prefix("dbname=")).unwrap().to_owned();
        server.execute(&database, setup);
        let shop = Shop { server, database, folder: tempfile::tempdir().unwrap() };
        shop.write(&shop.url(), "", "SELECT * FROM app.t");
        shop
    }

    pub fn url(&self) -> String {
        self.server.url(&self.database)
    }

    /// The folder of the pipeline file.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// How to reach the database through a proxy on this port.
    pub fn url_via(&self, port: u16) -> String {
        self.server.url_via(port, &self.database)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("pipeline.toml")
    }

    pub fn write(&self, url: &str, more: &str, sql: &str) {
        let text = format!(
            "[pipeline]\nname = \"shop\"\nstate_dir = \"state\"\nretry_for = \"1s\"\n\n[sources.app]\ntype = \"postgres\"\nurl = \"{url}\"\n{more}\n\n\
             [views.v]\nsql = '''{sql}'''\n\n[sinks.mart]\ntype = \"duckdb\"\npath = \"mart.duckdb\"\ncommit_interval = \"100ms\"\n"
        );
        std::fs::write(self.file(), text).unwrap();
    }

    pub fn sql(&self, sql: &str) {
        self.server.execute(&self.database, sql);
    }

    pub fn program(&self, verb: &str, more: &[&str]) -> Program {
        tidegate(&[verb, &self.file().to_string_lossy()]).arguments(more.iter().copied())
    }

    #[track_caller]
    pub fn once(&self) -> Finished {
        self.program("run", &["--once", "--json"]).run()
    }

    /// Runs, and drops the publication under way between two changes.
    #[track_caller]
    pub fn loses_its_publication(&self) -> Finished {
        self.once().expect(0);
        let running = self.program("run", &[]).start();
        self.sql("INSERT INTO t VALUES (2, 'b')");
        self.sql("DROP PUBLICATION tidegate_shop");
        self.sql("INSERT INTO t VALUES (3, 'c')");
        running.wait_for(Duration::from_secs(30)).unwrap_or_else(|running| panic!("{}", running.stderr()))
    }

    fn is_untouched(&self) -> bool {
        !self.folder.path().join("state").exists() && !self.folder.path().join("mart.duckdb").exists()
    }

    /// The view's rows in the mart, as one text.
    pub fn mart(&self) -> String {
        self.try_mart().expect("nobody holds the mart")
    }

    /// The same, unless the program holds the file at this moment.
    fn try_mart(&self) -> Option<String> {
        let options = Options { access: Access::ReadOnly, ..Options::default() };
        let duck = Duck::open(&self.folder.path().join("mart.duckdb"), &options).ok()?;
        let (_, rows) =
            duck.query("SELECT string_agg(r, ' ' ORDER BY r) FROM (SELECT t::VARCHAR AS r FROM v t)").unwrap();
        let column = rows[0].column(0);
        Some(arrow::util::display::array_value_to_string(column, 0).unwrap())
    }
}

pub fn server() -> Postgres {
    Postgres::start_version(PostgresVersion::V18)
}

pub const SETUP: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')";

#[test]
fn servers_that_are_not_ready_are_told_all_at_once() {
    let server = Postgres::builder().version(PostgresVersion::V15).setting("wal_level", "replica").start();
    let shop = Shop::new(server, "CREATE TABLE t (n int); CREATE ROLE ali LOGIN");
    shop.write(&shop.url().replace("postgres@", "ali@"), "", "SELECT * FROM app.t");
    for (verb, arguments) in [("check", &[][..]), ("doctor", &[]), ("run", &["--once"])] {
        shop.program(verb, arguments).run().expect(2).says(&[
            "source app: the server has wal_level = replica",
            "ALTER SYSTEM SET wal_level = 'logical'",
            "role ali may not replicate",
            "table app.public.t has no primary key",
            "REPLICA IDENTITY FULL",
        ]);
        assert!(shop.is_untouched(), "{verb} wrote something");
    }
    let answer = shop.program("doctor", &["--json"]).run().expect(2).json();
    assert_eq!(answer["ok"], false);
    assert!(answer["sources"]["app"]["findings"].as_array().unwrap().len() > 4, "{answer}");
}

#[test]
fn what_is_asked_for_wrongly_is_told_with_its_place() {
    let shop = Shop::new(server(), SETUP);
    let url = shop.url();
    let cases: &[(String, &str, &str, i32, &[&str])] = &[
        (url.replace("postgres@", "nobody@"), "", "SELECT * FROM app.t", 2, &["source app", "nobody"]),
        (url.replace(&shop.database, "nowhere"), "", "SELECT * FROM app.t", 2, &["source app", "nowhere"]),
        (url.replace("127.0.0.1", "127.0.0.2"), "", "SELECT * FROM app.t", 1, &["source app", "127.0.0.2"]),
        (url.clone(), "slot = \"Bad Name\"", "SELECT * FROM app.t", 2, &["slot", "lower-case"]),
        (url.clone(), "on_slot_lost = \"hope\"", "SELECT * FROM app.t", 2, &["resnapshot"]),
        (url.clone(), "tables = []", "SELECT * FROM app.t", 2, &["tables"]),
        (url.clone(), "", "SELECT * FROM app.tt", 2, &["there is no table app.tt", "did you mean `app.t`?"]),
        (url.clone(), "", "SELECT w FROM app.t", 2, &["w"]),
        (format!("{url}&passfile=none"), "", "SELECT * FROM app.t", 2, &["none"]),
    ];
    for (url, more, sql, code, says) in cases {
        shop.write(url, more, sql);
        shop.program("check", &[]).run().expect(if *code == 1 { 2 } else { *code }).says(says);
        shop.once().expect(*code).says(says);
        assert!(shop.is_untouched(), "{url} {more} {sql}");
    }
}

#[test]
fn passwords_are_never_shown() {
    let server =
        Postgres::builder().version(PostgresVersion::V18).hba("host all guarded 127.0.0.1/32 scram-sha-256").start();
    let shop = Shop::new(server, &format!("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'open-sesame'; {SETUP}"));
    shop.write(&shop.url().replace("postgres@", "guarded:${SECRET}@"), "", "SELECT * FROM app.t");
    let with = |secret: &str, verb: &str, more: &[&str]| {
        shop.program(verb, more).variable("SECRET", secret).variable("TIDEGATE_LOG", "trace").run()
    };
    for finished in [
        with("wrong-sesame", "check", &[]),
        with("wrong-sesame", "run", &["--once"]),
        with("open-sesame", "check", &["--json"]),
        with("open-sesame", "run", &["--once", "--json"]),
        with("open-sesame", "status", &["--json"]),
    ] {
        assert!(!finished.stderr.contains("sesame") && !finished.stdout.contains("sesame"), "{}", finished.stderr);
    }
    assert_eq!(shop.mart(), "{'id': 1, 'v': a}");
}

#[test]
fn a_slot_that_was_dropped_stops_the_pipeline_until_somebody_decides() {
    let shop = Shop::new(server(), SETUP);
    shop.once().expect(0);
    shop.sql("INSERT INTO t VALUES (2, 'b'); DELETE FROM t WHERE id = 1");
    shop.sql("SELECT pg_drop_replication_slot('tidegate_shop')");
    shop.sql("INSERT INTO t VALUES (3, 'c')");
    for _ in 0..2 {
        shop.once().expect(3).says(&["replication slot tidegate_shop does not exist", "resnapshot"]);
        assert_eq!(shop.mart(), "{'id': 1, 'v': a}");
    }
    // Either way out: the command, or the setting.
    let answer = shop.program("resnapshot", &["app", "--json"]).run().expect(0).json();
    assert_eq!(answer["view_rows"]["v"], 3, "only real differences go downstream: {answer}");
    assert_eq!(shop.mart(), "{'id': 2, 'v': b} {'id': 3, 'v': c}");
    shop.sql("SELECT pg_drop_replication_slot('tidegate_shop'); UPDATE t SET v = 'd' WHERE id = 3");
    shop.write(&shop.url(), "on_slot_lost = \"resnapshot\"", "SELECT * FROM app.t");
    let answer = shop.once().expect(0).json();
    assert_eq!(answer["view_rows"]["v"], 2, "{answer}");
    assert_eq!(shop.mart(), "{'id': 2, 'v': b} {'id': 3, 'v': d}");
    shop.sql("INSERT INTO t VALUES (4, 'e')");
    shop.once().expect(0);
    assert_eq!(shop.mart(), "{'id': 2, 'v': b} {'id': 3, 'v': d} {'id': 4, 'v': e}");
}

/// A job that runs now and then lets the server forget what it has, each time.
#[test]
fn runs_that_end_at_once_leave_no_wal_behind() {
    let shop = Shop::new(server(), SETUP);
    for round in 0..3 {
        shop.sql(&format!("INSERT INTO t VALUES ({}, 'x')", round + 10));
        let answer = shop.once().expect(0).json();
        let confirmed = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'tidegate_shop'";
        let confirmed = shop.server.value(&shop.database, confirmed);
        assert_eq!(answer["frontier"]["postgres:app"]["lsn"], confirmed.as_str(), "round {round}: {answer}");
    }
}

#[test]
fn a_publication_that_is_dropped_under_way_stops_the_pipeline() {
    let shop = Shop::new(server(), SETUP);
    shop.loses_its_publication().expect(3).says(&["publication", "resnapshot"]);
    shop.program("resnapshot", &["app.t"]).run().expect(0);
    assert_eq!(shop.mart(), "{'id': 1, 'v': a} {'id': 2, 'v': b} {'id': 3, 'v': c}");
}

#[test]
fn columns_that_change_are_followed_or_refused() {
    let shop = Shop::new(server(), SETUP);
    shop.once().expect(0);
    // A new column comes into SELECT *, a type that changes too.
    shop.sql("ALTER TABLE t ADD COLUMN n int DEFAULT 7; INSERT INTO t VALUES (2, 'b', 8)");
    shop.once().expect(0);
    assert_eq!(shop.mart(), "{'id': 1, 'v': a, 'n': 7} {'id': 2, 'v': b, 'n': 8}");
    shop.sql("ALTER TABLE t ALTER COLUMN n TYPE text USING n || '!'");
    shop.once().expect(0);
    assert_eq!(shop.mart(), "{'id': 1, 'v': a, 'n': 7!} {'id': 2, 'v': b, 'n': 8!}");
    shop.write(&shop.url(), "", "SELECT id, n FROM app.t");
    shop.once().expect(0);
    shop.sql("ALTER TABLE t DROP COLUMN n; INSERT INTO t VALUES (3, 'c')");
    shop.once().expect(3).says(&["view v", "n"]);
    assert_eq!(shop.mart(), "{'id': 1, 'n': 7!} {'id': 2, 'n': 8!}");
    shop.write(&shop.url(), "", "SELECT id, v FROM app.t");
    shop.once().expect(0);
    assert_eq!(shop.mart(), "{'id': 1, 'v': a} {'id': 2, 'v': b} {'id': 3, 'v': c}");
    shop.sql("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (9, 'z')");
    shop.once().expect(0);
    assert_eq!(shop.mart(), "{'id': 9, 'v': z}");
}

#[test]
fn a_new_view_over_another_table_joins_in_at_one_position() {
    let shop = Shop::new(
        server(),
        &format!("{SETUP}; CREATE TABLE u (id int PRIMARY KEY, t int); INSERT INTO u VALUES (1, 1)"),
    );
    shop.once().expect(0);
    shop.sql("INSERT INTO t VALUES (2, 'b'); INSERT INTO u VALUES (2, 2)");
    shop.write(&shop.url(), "", "SELECT u.id, t.v FROM app.u u JOIN app.t t ON t.id = u.t");
    shop.once().expect(0);
    assert_eq!(shop.mart(), "{'id': 1, 'v': a} {'id': 2, 'v': b}");
    let added = "SELECT count(*) FROM pg_publication_tables WHERE pubname = 'tidegate_shop'";
    assert_eq!(shop.server.value(&shop.database, added), "2");
    shop.sql("UPDATE t SET v = 'c' WHERE id = 1");
    shop.once().expect(0);
    assert_eq!(shop.mart(), "{'id': 1, 'v': c} {'id': 2, 'v': b}");
}

/// The server is away for longer than any time-out of ours while the pipeline runs.
#[test]
fn a_server_that_is_away_is_waited_for() {
    let shop = Shop::new(server(), SETUP);
    let proxy = FaultProxy::start(shop.server.port());
    let url = format!("{}&connect_timeout=1", shop.server.url_via(proxy.port(), &shop.database));
    shop.write(&url, "", "SELECT * FROM app.t");
    shop.once().expect(0);
    let running = shop.program("run", &[]).start();
    for (round, stall) in [true, false].into_iter().enumerate() {
        proxy.stall(stall);
        proxy.refuse(!stall);
        proxy.cut();
        shop.sql(&format!("INSERT INTO t VALUES ({}, 'away')", 10 + round));
        // As long as a server may take to come back; TIDEGATE_AWAY makes it the minute that people wait.
        let away = std::env::var("TIDEGATE_AWAY").map_or(8, |seconds| seconds.parse().unwrap());
        std::thread::sleep(Duration::from_secs(away));
        proxy.stall(false);
        proxy.refuse(false);
        proxy.cut();
        let (started, wanted) = (Instant::now(), format!("{}", 10 + round));
        while !shop.try_mart().is_some_and(|rows| rows.contains(&wanted)) {
            assert!(started.elapsed() < Duration::from_secs(60), "{}", running.stderr());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    running.terminate().expect(0);
    assert_eq!(shop.mart(), "{'id': 1, 'v': a} {'id': 10, 'v': away} {'id': 11, 'v': away}");
}
