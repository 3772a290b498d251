//! An object store that fails now and then, with the log on it and every target that can lie on one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::ObjectStoreExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_duck::lake::s3_secret;
use tidegate_duck::{Duck, Extension, quote_ident, quote_literal};
use tidegate_testkit::lake::attach;
use tidegate_testkit::seed::seed;
use tidegate_testkit::{Catalog, Program, S3};

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
        duck.execute(&s3_secret(variable).unwrap().0).unwrap();
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
