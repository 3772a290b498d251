//! A lake that is source and target of one pipeline: what it writes there does not feed it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidegate_testkit::{Catalog, Lake, Postgres, Program};

use crate::pipeline::tidegate;

/// How long a run has to show what a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing must happen: several polls and several intervals of commits.
const IDLE: Duration = Duration::from_millis(1_500);

/// A pipeline over `lake.sales` that writes its views into the same lake.
fn pipeline(folder: &Path, lake: &Lake, views: &[(&str, &str)]) -> PathBuf {
    let mut text = format!(
        "[pipeline]\nname = \"cycle\"\nstate_dir = {:?}\nworkers = 1\n\n\
         [sources.lake]\ntype = \"ducklake\"\ncatalog = {uri:?}\npoll_interval = \"20ms\"\n\n\
         [sinks.back]\ntype = \"ducklake\"\ncatalog = {uri:?}\ncommit_interval = \"50ms\"\n\n",
        folder.join("state").to_string_lossy(),
        uri = lake.uri(),
    );
    for (name, sql) in views {
        text.push_str(&format!("[views.{name}]\nsql = '''\n{sql}\n'''\n\n"));
    }
    let file = folder.join("pipeline.toml");
    fs::write(&file, text).unwrap();
    file
}

fn command(verb: &str, file: &Path, arguments: &[&str]) -> Program {
    tidegate(&[verb, &file.to_string_lossy()]).arguments(arguments.iter().copied())
}

const TOTALS: (&str, &str) =
    ("totals", "SELECT shop, count(*) AS n, sum(amount) AS total FROM lake.sales GROUP BY shop");

fn check(lake: &Lake) {
    let expected =
        lake.query("SELECT shop, count(*) AS n, sum(amount)::DECIMAL(38,0) AS total FROM lake.sales GROUP BY shop");
    lake.query("FROM lake.totals").rows.assert_equals(&expected.rows, "lake.totals");
}

fn make(folder: &Path, catalog: Catalog) -> Lake {
    let lake = Lake::create(folder, catalog);
    lake.execute("CREATE TABLE lake.sales (shop VARCHAR, amount INTEGER)");
    lake.execute("INSERT INTO lake.sales VALUES ('a', 1), ('a', 2), ('b', 3)");
    lake
}

/// Every kind of catalog: the one in a DuckDB file is read and written by the same process in turn.
fn each(run: impl Fn(&Path, Lake)) {
    let server = Postgres::start();
    let kinds: [&dyn Fn(&Path) -> Catalog; 3] =
        [&|dir: &Path| Catalog::duckdb(dir), &|dir: &Path| Catalog::sqlite(dir), &|_: &Path| {
            Catalog::postgres(&server)
        }];
    for kind in kinds {
        let folder = tempfile::tempdir().unwrap();
        let lake = make(folder.path(), kind(folder.path()));
        run(folder.path(), lake);
    }
}

#[test]
fn runs_that_catch_up_make_a_snapshot_an_epoch_and_idle_ones_none() {
    each(|folder, lake| {
        let file = pipeline(folder, &lake, &[TOTALS]);
        command("check", &file, &[]).run().expect(0);
        let before = lake.snapshot();
        command("run", &file, &["--once", "--json"]).run().expect(0);
        check(&lake);
        assert_eq!(lake.snapshot(), before + 1);
        for _ in 0..2 {
            let report = command("run", &file, &["--once", "--json"]).run().expect(0).json();
            assert_eq!(report["epochs"], 0, "{report}");
            assert_eq!(lake.snapshot(), before + 1, "an idle pipeline makes no snapshots");
        }
        lake.execute("INSERT INTO lake.sales VALUES ('b', 4), (NULL, 5)");
        command("run", &file, &["--once", "--json"]).run().expect(0);
        check(&lake);
        assert_eq!(lake.snapshot(), before + 3);
        // What the views do not read is no change for them.
        lake.execute("CREATE TABLE lake.other (n INTEGER); INSERT INTO lake.other VALUES (1)");
        let idle = lake.snapshot();
        command("run", &file, &["--once", "--json"]).run().expect(0);
        assert_eq!(lake.snapshot(), idle);
    });
}

#[test]
fn a_run_that_goes_on_comes_to_rest() {
    // Others open the lake meanwhile, so that the catalog is one that admits several processes.
    let folder = tempfile::tempdir().unwrap();
    let lake = make(folder.path(), Catalog::sqlite(folder.path()));
    let file = pipeline(folder.path(), &lake, &[TOTALS]);
    let running = command("run", &file, &[]).start();
    for round in 1..=3 {
        let until = Instant::now() + PATIENCE;
        // The other one may have the catalog for longer than SQLite waits, on a busy machine.
        while let Err(error) = lake.try_execute(&format!("INSERT INTO lake.sales VALUES ('c', {round})")) {
            assert!(error.to_string().contains("locked") && Instant::now() < until, "{error}");
        }
        let written = format!("SELECT * FROM lake.totals WHERE shop = 'c' AND n = {round}");
        // Before the first commit there is no such table.
        while round > 1 && lake.query(&written).rows.is_empty() || lake.try_execute(&written).is_err() {
            assert!(Instant::now() < until, "round {round} was not written: {}", running.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let until = Instant::now() + PATIENCE;
    while lake.query("SELECT * FROM lake.totals WHERE shop = 'c' AND n = 3").rows.is_empty() {
        assert!(Instant::now() < until, "the last round was not written: {}", running.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    let (rested, since) = (lake.snapshot(), Instant::now());
    while since.elapsed() < IDLE {
        assert_eq!(lake.snapshot(), rested, "the lake feeds itself");
        std::thread::sleep(Duration::from_millis(100));
    }
    running.terminate().expect(0);
    check(&lake);
}

#[test]
fn views_that_would_feed_themselves_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lake = make(folder.path(), Catalog::sqlite(folder.path()));
    lake.execute("CREATE TABLE lake.totals (shop VARCHAR, n BIGINT, total DECIMAL(38,0))");
    lake.execute("CREATE TABLE lake.second (n BIGINT)");
    lake.execute("CREATE TABLE lake._tidegate_epochs (view VARCHAR, epoch BIGINT)");
    let before = lake.snapshot();
    for views in [
        vec![("totals", "SELECT shop, count(*) AS n, max(total) AS total FROM lake.totals GROUP BY shop")],
        // Round about.
        vec![
            ("totals", "SELECT 'x' AS shop, n, CAST(0 AS DECIMAL(38,0)) AS total FROM lake.second"),
            ("second", "SELECT count(*) AS n FROM lake.totals"),
        ],
        vec![("epochs", "SELECT max(epoch) AS epoch FROM lake._tidegate_epochs")],
    ] {
        let file = pipeline(folder.path(), &lake, &views);
        command("check", &file, &[]).run().expect(2).says(&["feeds itself"]);
        command("run", &file, &["--once"]).run().expect(2).says(&["feeds itself"]);
        assert_eq!(lake.snapshot(), before);
    }
}
