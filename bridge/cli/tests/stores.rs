//! An object store that fails now and then, with the log on it and every target that can lie on one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::ObjectStoreExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_duck::lake::Storage;
use tidegate_duck::{Duck, Extension, quote_ident, quote_literal};
use tidegate_testkit::lake::attach;
use tidegate_testkit::seed::seed;
use tidegate_testkit::{Catalog, Program, S3, ViewRows};

use crate::history::History;
use crate::pipeline::{VIEWS, tidegate};
use crate::targets::assert_holds;

/// How often a run may fail before the store's faults are no excuse.
const ATTEMPTS_MAX: usize = 20;

/// A pipeline whose outputs and log are on S3.
struct OnS3 {
    s3: S3,
    file: PathBuf,
    catalog: Catalog,
}

impl OnS3 {
    fn create(folder: &Path, history: &History, s3: S3) -> OnS3 {
        let target = folder.join("target");
        fs::create_dir_all(&target).unwrap();
        let catalog = Catalog::sqlite(&target);
        let mut text = format!(
            "[pipeline]\nname = \"afar\"\nstate_dir = \"state\"\nlog = {:?}\nworkers = 1\n\n\
             [sources.lake]\ntype = \"ducklake\"\ncatalog = {:?}\n\n\
             [sinks.changes]\ntype = \"parquet\"\npath = {:?}\ncompaction_files = 2\n\n\
             [sinks.files]\ntype = \"parquet\"\npath = {:?}\nmode = \"snapshot\"\n\n\
             [sinks.delta]\ntype = \"delta\"\npath = {:?}\noptimize_after = 3\n\n\
             [sinks.lakehouse]\ntype = \"ducklake\"\ncatalog = {:?}\ndata_path = {:?}\n\n",
            s3.url("log"),
            history.lake.uri(),
            s3.url("changes"),
            s3.url("files"),
            s3.url("delta"),
            catalog.uri(),
            s3.url("lakehouse"),
        );
        for (name, sql) in VIEWS {
            text.push_str(&format!("[views.{name}]\nsql = '''\n{sql}\n'''\n\n"));
        }
        let file = folder.join("pipeline.toml");
        fs::write(&file, text).unwrap();
        OnS3 { s3, file, catalog }
    }

    /// The command on the store with its faults.
    fn until(&self, snapshot: u64) -> Program {
        let goal = format!("{{\"ducklake:lake\": {{\"snapshot_id\": {snapshot}}}}}");
        let program = tidegate(&["run", &self.file.to_string_lossy(), "--until", &goal]);
        self.s3.faulty_environment().into_iter().fold(program, |program, (name, value)| program.variable(name, value))
    }

    /// A DuckDB that reads all targets by HTTP, without faults.
    fn reader(&self) -> Duck {
        let duck = Duck::open_in_memory().unwrap();
        for extension in [Extension::Httpfs, Extension::Delta] {
            duck.load(extension).unwrap();
        }
        let environment = self.s3.environment();
        let variable =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        Storage::new(variable, Vec::new()).make_available(&duck).unwrap();
        attach(&duck, &self.catalog, "lakehouse", &["READ_ONLY".to_owned()]).unwrap();
        for sink in ["changes", "files"] {
            duck.execute(&format!(
                "CREATE SCHEMA {sink}; USE {sink}; {}; USE main;",
                self.read(&format!("{sink}/views.sql"))
            ))
            .unwrap();
        }
        duck
    }

    fn read(&self, path: &str) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bytes = runtime.block_on(async { self.s3.store().get(&path.into()).await.unwrap().bytes().await.unwrap() });
        String::from_utf8(bytes.to_vec()).unwrap()
    }
}

/// A lake whose files are on S3 as the source, log and outputs there as well, and nothing in the environment: what the
/// pipeline file says of the storage is enough, for DuckDB and for the program's own requests, and is never shown.
#[test]
fn a_storage_of_the_pipeline_file() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = S3::start();
    let variables = s3.environment();
    let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let duck = Duck::open_in_memory().unwrap();
    Storage::new(value, Vec::new()).make_available(&duck).unwrap();
    let catalog = Catalog::sqlite(folder.path());
    catalog.load_extensions(&duck).unwrap();
    let (uri, files) = (quote_literal(&catalog.uri()), quote_literal(&s3.url("lake/")));
    // Nothing is inlined, so that every change is a file there.
    let attach =
        format!("ATTACH {uri} AS lake (DATA_PATH {files}, DATA_INLINING_ROW_LIMIT 0, META_JOURNAL_MODE 'WAL')");
    let change = |sql: &str| duck.execute(&format!("{attach}; {sql}; DETACH lake;")).unwrap();
    let text = format!(
        "[pipeline]\nname = \"kept\"\nstate_dir = \"state\"\nlog = {:?}\nworkers = 1\n\n\
         [storage.\"s3://elsewhere\"]\nendpoint = \"http://localhost:1\"\n\n\
         [storage.{:?}]\nendpoint = \"${{PLACE}}\"\nregion = \"us-east-1\"\naccess_key_id = \"me\"\n\
         secret_access_key = \"${{HUSH}}\"\n\n\
         [sources.lake]\ntype = \"ducklake\"\ncatalog = {:?}\n\n\
         [views.totals]\nsql = \"SELECT g, count(*) AS n, sum(v) AS total FROM lake.t GROUP BY g\"\n\n\
         [sinks.changes]\ntype = \"parquet\"\npath = {:?}\n\n\
         [sinks.delta]\ntype = \"delta\"\npath = {:?}\n\n\
         [sinks.lakehouse]\ntype = \"ducklake\"\ncatalog = \"ducklake:sqlite:out.sqlite\"\ndata_path = {:?}\n",
        s3.url("log"),
        s3.url("").trim_end_matches('/'),
        catalog.uri(),
        s3.url("changes"),
        s3.url("delta"),
        s3.url("lakehouse"),
    );
    let file = folder.path().join("pipeline.toml");
    fs::write(&file, text).unwrap();
    let endpoint = value("AWS_ENDPOINT_URL").or_else(|| value("AWS_ENDPOINT")).unwrap();
    let once = || {
        let program = tidegate(&["run", &file.to_string_lossy(), "--once"]);
        program.variable("PLACE", &endpoint).variable("HUSH", "hush-hush").run()
    };
    change("CREATE TABLE lake.t (g INTEGER, v INTEGER); INSERT INTO lake.t SELECT i % 5, i FROM range(2000) r(i)");
    for _ in 0..2 {
        let ran = once();
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
        assert!(!ran.stderr.contains("hush-hush") && !ran.stdout.contains("hush-hush"));
        duck.execute(&format!("{attach}; CREATE OR REPLACE TEMP TABLE t AS FROM lake.t; DETACH lake;")).unwrap();
        let expected = ViewRows::read(&duck, "SELECT g, count(*) AS n, sum(v) AS total FROM t GROUP BY g").unwrap();
        duck.load(Extension::Delta).unwrap();
        let delta = format!("delta_scan({})", quote_literal(&s3.url("delta/totals")));
        assert_holds(&duck, &delta, &expected, "the Delta table");
        let target = quote_literal(&format!("ducklake:sqlite:{}", folder.path().join("out.sqlite").display()));
        duck.execute(&format!("ATTACH {target} AS target (META_JOURNAL_MODE 'WAL')")).unwrap();
        assert_holds(&duck, "target.totals", &expected, "the lake");
        duck.execute("DETACH target").unwrap();
        change("DELETE FROM lake.t WHERE v % 7 = 0; INSERT INTO lake.t VALUES (9, 9)");
    }
    let wrong = tidegate(&["run", &file.to_string_lossy(), "--once"]).variable("PLACE", "http://localhost:1");
    let wrong = wrong.variable("HUSH", "hush-hush").run();
    assert_ne!(wrong.code(), Some(0));
    assert!(!wrong.stderr.contains("hush-hush"), "{}", wrong.stderr);
}

/// Requests are refused, answered too late, in part or with an error although they were done, and conditional writes
/// are told to come again, while the program is killed and started: every target holds every view.
#[test]
fn stores_that_fail_now_and_then() {
    let seed = seed("stores");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let history = History::create(&folder.path().join("lake"), seed, 3);
    let pipeline = OnS3::create(folder.path(), &history, S3::start_with(seed));
    let views: Vec<_> = VIEWS.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
    let mut failures = 0;
    for (round, snapshot) in history.rounds.iter().enumerate() {
        let running = pipeline.until(*snapshot).start();
        if let Err(running) = running.wait_for(Duration::from_millis(rng.random_range(500..5_000))) {
            running.kill();
        }
        let mut attempts = 0;
        loop {
            let finished = pipeline.until(*snapshot).run();
            if finished.code() == Some(0) {
                break;
            }
            // What passes, passes; nobody is asked to decide about it.
            attempts += 1;
            assert!(finished.code() == Some(1) && attempts < ATTEMPTS_MAX, "{attempts}: {}", finished.stderr);
        }
        failures += attempts;
        let duck = pipeline.reader();
        for ((view, _), expected) in VIEWS.iter().zip(history.views_at(round, &views)) {
            let name = quote_ident(view);
            let delta = format!("delta_scan({})", quote_literal(&pipeline.s3.url(&format!("delta/{view}"))));
            let tables = [&format!("changes.{name}"), &format!("files.{name}"), &delta, &format!("lakehouse.{name}")];
            for table in tables {
                assert_holds(&duck, table, &expected, &format!("round {round}: {table}"));
            }
        }
    }
    let faults = pipeline.s3.faults();
    println!("{faults} faults, {failures} runs that failed");
    assert!(faults > 100, "{faults} faults");
}
