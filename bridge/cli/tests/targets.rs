//! One pipeline with every kind of target: each is read back by DuckDB alone and compared with the recompute, the
//! program killed in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_duck::{Duck, Extension, quote_ident, quote_literal};
use tidegate_testkit::lake::attach;
use tidegate_testkit::seed::seed;
use tidegate_testkit::{Catalog, Lake, Postgres, Program, Tolerance, ViewRows};

use crate::history::History;
use crate::pipeline::{VIEWS, tidegate};

/// A pipeline and everything it writes, in one folder.
struct Targets {
    folder: PathBuf,
    catalog: Catalog,
    server: Postgres,
}

/// The sinks by name, each with how DuckDB reads a view of it.
type Reader = fn(&Targets, &str) -> String;
const READERS: &[(&str, Reader)] = &[
    ("mart", |_, view| format!("mart.{}", quote_ident(view))),
    ("board", |_, view| format!("board.{}", quote_ident(view))),
    ("lakehouse", |_, view| format!("target.{}", quote_ident(view))),
    ("served", |_, view| format!("served.{}", quote_ident(view))),
    ("changes", |_, view| format!("changes.{}", quote_ident(view))),
    ("files", |_, view| format!("files.{}", quote_ident(view))),
    ("delta", |targets, view| {
        format!("delta_scan({})", quote_literal(&targets.folder.join("delta").join(view).to_string_lossy()))
    }),
];

impl Targets {
    fn create(folder: &Path, history: &History) -> Targets {
        let server = Postgres::start();
        server.execute("postgres", "CREATE DATABASE target");
        let target = folder.join("target");
        fs::create_dir_all(&target).unwrap();
        let targets = Targets { folder: folder.to_owned(), catalog: Catalog::sqlite(&target), server };
        let mut text = format!(
            "[pipeline]\nname = \"many\"\nstate_dir = \"state\"\nworkers = 1\nlog_retention = \"0s\"\n\n\
             [sources.lake]\ntype = \"ducklake\"\ncatalog = {:?}\n\n\
             [sinks.mart]\ntype = \"duckdb\"\npath = \"mart.duckdb\"\n\n\
             [sinks.board]\ntype = \"duckdb\"\npath = \"board.duckdb\"\npublish = \"atomic-copy\"\n\n\
             [sinks.lakehouse]\ntype = \"ducklake\"\ncatalog = {:?}\ndata_path = \"target/files\"\n\n\
             [sinks.served]\ntype = \"postgres\"\nurl = {:?}\n\n\
             [sinks.changes]\ntype = \"parquet\"\npath = \"changes\"\ncompaction_files = 2\n\n\
             [sinks.files]\ntype = \"parquet\"\npath = \"files\"\nmode = \"snapshot\"\n\n\
             [sinks.delta]\ntype = \"delta\"\npath = \"delta\"\noptimize_after = 3\n\n\
             [sinks.lines]\ntype = \"jsonl\"\npath = \"lines.jsonl\"\n\n",
            history.lake.uri(),
            targets.catalog.uri(),
            targets.server.url("target"),
        );
        for (name, sql) in VIEWS {
            text.push_str(&format!("[views.{name}]\nsql = '''\n{sql}\n'''\n\n"));
        }
        fs::write(targets.file(), text).unwrap();
        targets
    }

    fn file(&self) -> PathBuf {
        self.folder.join("pipeline.toml")
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Program {
        tidegate(&[verb, &self.file().to_string_lossy()]).arguments(arguments.iter().copied())
    }

    fn until(&self, snapshot: u64) -> Program {
        self.command("run", &["--until", &format!("{{\"ducklake:lake\": {{\"snapshot_id\": {snapshot}}}}}")])
    }

    /// A DuckDB that sees all targets.
    fn reader(&self) -> Duck {
        let duck = Duck::open_in_memory().unwrap();
        for extension in [Extension::PostgresScanner, Extension::Delta] {
            duck.load(extension).unwrap();
        }
        attach(&duck, &self.catalog, "target", &["READ_ONLY".to_owned()]).unwrap();
        for file in ["mart", "board"] {
            let path = self.folder.join(format!("{file}.duckdb"));
            duck.execute(&format!("ATTACH {} AS {file} (READ_ONLY)", quote_literal(&path.to_string_lossy()))).unwrap();
        }
        let connection = quote_literal(&self.server.connection("target"));
        duck.execute(&format!("ATTACH {connection} AS served (TYPE postgres, READ_ONLY)")).unwrap();
        for sink in ["changes", "files"] {
            let views = fs::read_to_string(self.folder.join(sink).join("views.sql")).unwrap();
            duck.execute(&format!("CREATE SCHEMA {sink}; USE {sink}; {views}; USE main;")).unwrap();
        }
        duck
    }

    /// Every target holds the views.
    fn check(&self, expected: &[ViewRows], what: &str) {
        let duck = self.reader();
        for ((view, _), expected) in VIEWS.iter().zip(expected) {
            for (sink, table) in READERS {
                assert_holds(&duck, &table(self, view), expected, &format!("{what}: {view} in {sink}"));
            }
        }
    }
}

/// What DuckDB reads of a table, the types that its format does not have cast to DuckDB's again, is what is expected.
pub fn assert_holds(duck: &Duck, table: &str, expected: &ViewRows, what: &str) {
    let column = |(name, ty): &(String, String)| {
        let name = quote_ident(name);
        format!("CAST({name} AS {ty}) AS {name}")
    };
    let columns: Vec<_> = expected.columns.iter().map(column).collect();
    let query = format!("SELECT {} FROM {table}", columns.join(", "));
    let found = ViewRows::read(duck, &query).unwrap_or_else(|error| panic!("{what}: {query}: {error:?}"));
    found.assert_equals(expected, &Tolerance::exact(), what);
}

#[test]
fn every_target_holds_every_view_whatever_is_killed() {
    let seed = seed("targets");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let history = History::create(&folder.path().join("lake"), seed, 5);
    let targets = Targets::create(folder.path(), &history);
    targets.command("check", &[]).run().expect(0);
    let views: Vec<_> = VIEWS.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
    for (round, snapshot) in history.rounds.iter().enumerate() {
        for _ in 0..round.min(2) {
            let running = targets.until(*snapshot).start();
            match running.wait_for(Duration::from_millis(rng.random_range(50..1_500))) {
                Ok(finished) => drop(finished.expect(0)),
                Err(running) => drop(running.kill()),
            }
        }
        targets.until(*snapshot).run().expect(0);
        targets.check(&history.views_at(round, &views), &format!("round {round}"));
    }
    // What each sink reads of its own target is what the views are.
    for sink in READERS.iter().map(|(sink, _)| *sink).chain(["lines"]) {
        let report = targets.command("resync", &[sink, "--json"]).run().expect(0).json();
        let rows = report["view_rows"].as_object().unwrap();
        assert!(rows.len() == VIEWS.len() && rows.values().all(|rows| *rows == 0), "sink {sink}: {report}");
    }
}

#[test]
fn lines_on_standard_output_are_lines_alone() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
    lake.execute("CREATE TABLE lake.t (n INTEGER); INSERT INTO lake.t VALUES (1), (1), (NULL)");
    let text = format!(
        "[pipeline]\nname = \"lines\"\nstate_dir = \"state\"\nworkers = 1\n\n\
         [sources.lake]\ntype = \"ducklake\"\ncatalog = {:?}\n\n\
         [views.v]\nsql = \"SELECT n FROM lake.t\"\n\n[sinks.out]\ntype = \"jsonl\"\npath = \"-\"\n",
        lake.uri()
    );
    let file = folder.path().join("pipeline.toml");
    fs::write(&file, text).unwrap();
    let command = |arguments: &[&str]| tidegate(&["run", &file.to_string_lossy()]).arguments(arguments.iter().copied());
    command(&["--once", "--json"])
        .run()
        .expect(2)
        .says(&["sink out writes to the standard output, and so does --json"]);
    let finished = command(&["--once"]).run().expect(0).says(&["epoch 1: 3 source rows"]);
    let lines: Vec<serde_json::Value> =
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["change"] == "insert").count(), 3, "{lines:?}");
}
