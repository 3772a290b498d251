//! `backup` and `restore`, as people use them: while the program runs, on another machine, after sources and sinks have
//! gone on, and killed at every failpoint of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_core::failpoint;
use tidegate_duck::{Access, Duck, Extension, Options, quote_literal};
use tidegate_testkit::seed::seed;
use tidegate_testkit::{Catalog, Lake, Limit, Postgres, PostgresVersion, Program, S3, Tolerance, ViewRows};

use crate::databases::{World, assert_mart, spec_views};
use crate::pipeline::{PipelineFolder, Spec, tidegate};

const TOTALS: &str = "SELECT v % 7 AS g, count(*) AS n, sum(v) AS total FROM lake.t GROUP BY g";

/// A lake, and a pipeline in a folder of its own. State and SQL lie with the pipeline file, the sinks elsewhere.
struct Shop {
    folder: TempDir,
    lake: Lake,
    next: std::cell::Cell<u64>,
}

impl Shop {
    fn new(settings: &str) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(folder.path(), Catalog::sqlite(folder.path()));
        lake.execute("CREATE TABLE lake.t (id INTEGER, v INTEGER)");
        let shop = Shop { folder, lake, next: std::cell::Cell::new(0) };
        shop.change();
        let text = format!(
            "[pipeline]\nname = \"shop\"\nstate_dir = \"state\"\nworkers = 1\nviews_dir = \"views\"\n{settings}\n\n\
             [sources.lake]\ntype = \"ducklake\"\ncatalog = \"${{PLACE:-{}}}\"\non_expired_snapshot = \"error\"\n\n\
             [views.all_rows]\nsql_file = \"sql/all.sql\"\n\n\
             [sinks.mart]\ntype = \"duckdb\"\npath = {:?}\n\n[sinks.changes]\ntype = \"parquet\"\npath = {:?}\n",
            shop.lake.uri(),
            shop.path("mart.duckdb"),
            shop.path("changes"),
        );
        for (path, content) in [
            ("a/pipeline.toml", text.as_str()),
            ("a/views/totals.sql", TOTALS),
            ("a/sql/all.sql", "SELECT * FROM lake.t"),
        ] {
            let path = shop.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ten rows come, one goes.
    fn change(&self) {
        let first = self.next.replace(self.next.get() + 10);
        let last = first + 10;
        self.lake.execute(&format!("INSERT INTO lake.t SELECT i, i * 3 FROM range({first}, {last}) r(i)"));
        self.lake.execute(&format!("DELETE FROM lake.t WHERE id = {}", first / 2));
    }

    fn command(&self, verb: &str, dir: &str, arguments: &[&str]) -> Program {
        let file = self.path(dir).join("pipeline.toml");
        tidegate(&[verb, &file.to_string_lossy()]).arguments(arguments.iter().copied())
    }

    fn once(&self, dir: &str) -> Program {
        self.command("run", dir, &["--once", "--json"])
    }

    fn backup(&self, dir: &str) -> Program {
        self.command("backup", dir, &[&self.path("backups").to_string_lossy(), "--json"])
    }

    fn restore(&self, dir: &str) -> Program {
        let (from, to) = (self.path("backups"), self.path(dir));
        tidegate(&["restore", &from.to_string_lossy(), &to.to_string_lossy(), "--json"])
    }

    fn mark(&self, dir: &str) -> Value {
        let state = fs::read(self.path(dir).join("state/state.json")).unwrap();
        serde_json::from_slice::<Value>(&state).unwrap()["restored"].clone()
    }

    /// Both sinks hold what DuckDB computes.
    #[track_caller]
    fn check(&self, what: &str) {
        let options = Options { access: Access::ReadOnly, ..Options::default() };
        let mart = Duck::open(&self.path("mart.duckdb"), &options).unwrap();
        let replayed = Duck::open_in_memory().unwrap();
        replayed.execute(&fs::read_to_string(self.path("changes/views.sql")).unwrap()).unwrap();
        for (view, sql) in [("totals", TOTALS), ("all_rows", "SELECT * FROM lake.t")] {
            let expected = self.lake.query(sql);
            for duck in [&mart, &replayed] {
                let found = ViewRows::read(duck, &format!("FROM {view}")).unwrap();
                found.assert_equals(&expected, &Tolerance::exact(), &format!("{what}: {view}"));
            }
        }
    }
}

#[test]
fn definitions_and_state_move_together() {
    let shop = Shop::new("");
    shop.once("a").run().expect(0);
    shop.change();
    shop.once("a").run().expect(0);
    let taken = shop.backup("a").run().expect(0).json();
    assert_eq!((&taken["epoch"], &taken["pipeline"]), (&json!(2), &json!("shop")));
    let done = shop.restore("b").run().expect(0).json();
    assert_eq!(done["epoch"], 2);
    for file in ["pipeline.toml", "views/totals.sql", "sql/all.sql"] {
        let [was, is] = ["a", "b"].map(|dir| fs::read_to_string(shop.path(dir).join(file)).unwrap());
        assert_eq!(was, is, "variables are left as they are in {file}");
    }
    shop.restore("b").run().expect(2).says(&["exists and is not empty"]);
    shop.change();
    let ran = shop.once("b").run().expect(0).json();
    assert_eq!((&ran["epoch"], &ran["source_rows"]), (&json!(3), &json!(11)), "it goes on where it was: {ran}");
    assert!(ran["resynced"].is_null() && ran["recopied"].is_null(), "{ran}");
    shop.check("restored");
    assert_eq!(shop.mark("b"), Value::Null);
    // For people.
    let (from, to) = (shop.path("backups"), shop.path("c"));
    let said = shop.command("backup", "b", &[&from.to_string_lossy(), "--keep", "1"]).run().expect(0);
    assert!(said.stdout.contains("holds 1 backup\n"), "{}", said.stdout);
    let named = taken["backup"].as_str().unwrap();
    let restore = |at: &str| tidegate(&["restore", &from.to_string_lossy(), &to.to_string_lossy(), "--at", at]).run();
    restore(named).expect(2).says(&[named, "has no backup"]);
    assert!(!to.exists());
    let said = tidegate(&["restore", &from.to_string_lossy(), &to.to_string_lossy()]).run().expect(0).stdout;
    assert!(
        said.contains(&shop.path("c/state").to_string_lossy().into_owned()) && said.contains("must not go on"),
        "{said}"
    );
    shop.command("status", "c", &[]).run().expect(0);
}

#[test]
fn a_full_disk_is_named() {
    let shop = Shop::new("");
    shop.once("a").run().expect(0);
    let full = shop.backup("a").limit(Limit::FileSize(1000)).run().expect(1);
    full.says(&["cannot write"]);
    let first = shop.backup("a").run().expect(0).json();
    assert_eq!(first["kept"].as_array().unwrap().len(), 1);
    shop.restore("b").limit(Limit::FileSize(1000)).run().expect(1).says(&["cannot write", "/b/"]);
    assert!(!shop.path("b").exists(), "nothing is left of it");
    shop.restore("b").run().expect(0);
}

/// There is the old backup or the new one.
#[test]
fn a_backup_that_is_killed() {
    let shop = Shop::new("");
    shop.once("a").run().expect(0);
    let mut epoch = shop.backup("a").run().expect(0).json()["epoch"].as_u64().unwrap();
    for name in failpoint::OF_BACKUPS.iter().filter(|name| name.starts_with("backup.")) {
        shop.change();
        shop.once("a").run().expect(0);
        let killed = shop.backup("a").variable(failpoint::VARIABLE, *name).run();
        assert!(killed.aborted(), "{name} was not passed: {}", killed.stderr);
        epoch += u64::from(["backup.published", "backup.pruned"].contains(name));
        let done = shop.restore("b").run().expect(0).json();
        assert_eq!(done["epoch"], epoch, "{name}");
        shop.once("b").run().expect(0);
        shop.check(name);
        fs::remove_dir_all(shop.path("b")).unwrap();
        // The sinks are of the other history now; the original is brought in line as by hand.
        for sink in ["mart", "changes"] {
            shop.command("resync", "a", &[sink]).run().expect(0);
        }
        let next = shop.backup("a").run().expect(0).json()["epoch"].as_u64().unwrap();
        assert!(next > epoch, "{name}");
        epoch = next;
        let scratch = shop.path("a/state/backup.tmp");
        assert!(!scratch.exists(), "{name}: {} is left", scratch.display());
    }
}

/// Half a pipeline is none, and it can be restored again.
#[test]
fn a_restore_that_is_killed() {
    let shop = Shop::new("");
    shop.once("a").run().expect(0);
    shop.backup("a").run().expect(0);
    for name in failpoint::OF_BACKUPS.iter().filter(|name| name.starts_with("restore.")) {
        let killed = shop.restore("b").variable(failpoint::VARIABLE, *name).run();
        assert!(killed.aborted(), "{name} was not passed: {}", killed.stderr);
        if *name == "restore.named" {
            shop.restore("b").run().expect(2).says(&["exists and is not empty"]);
        } else {
            shop.once("b").run().expect(2).says(&["pipeline.toml"]);
            // Not by another file that leads there either.
            let other = fs::read_to_string(shop.path("a/pipeline.toml")).unwrap();
            let state = format!("state_dir = {:?}", shop.path("b/state"));
            fs::write(shop.path("a/other.toml"), other.replace("state_dir = \"state\"", &state)).unwrap();
            if shop.path("b/state/restore.incomplete").exists() {
                let refused = tidegate(&["run", &shop.path("a/other.toml").to_string_lossy(), "--once"]).run();
                refused.expect(3).says(&["was not restored completely"]);
            }
            shop.restore("b").run().expect(0);
        }
        shop.change();
        shop.once("b").run().expect(0);
        shop.check(name);
        assert_eq!(shop.mark("b"), Value::Null, "{name}");
        fs::remove_dir_all(shop.path("b")).unwrap();
    }
}

/// The first run after a restore, with the source's past gone and the sinks ahead.
#[test]
fn a_first_run_that_is_killed() {
    let shop = Shop::new("");
    shop.once("a").run().expect(0);
    shop.backup("a").run().expect(0);
    shop.change();
    shop.once("a").run().expect(0);
    for name in failpoint::OF_BACKUPS.iter().filter(|name| name.starts_with("restored.")) {
        shop.change();
        shop.lake.execute("CALL ducklake_expire_snapshots('lake', older_than => now())");
        shop.restore("b").run().expect(0);
        let killed = shop.once("b").variable(failpoint::VARIABLE, *name).run();
        assert!(killed.aborted(), "{name} was not passed: {}", killed.stderr);
        assert!(shop.mark("b").is_object(), "{name}");
        let ran = shop.once("b").run().expect(0).json();
        if *name == "restored.recopied" {
            let rows = |sink: &str| ran["resynced"][sink]["all_rows"].as_u64();
            assert!(rows("mart").is_some_and(|rows| rows <= 11) && rows("changes") == rows("mart"), "{ran}");
        }
        shop.check(name);
        assert_eq!(shop.mark("b"), Value::Null, "{name}");
        assert_eq!(shop.once("b").run().expect(0).json()["epochs"], 0);
        fs::remove_dir_all(shop.path("b")).unwrap();
    }
    // The original must not go on, and does not.
    shop.once("a").run().expect(3).says(&["our history ends with epoch 2", "tidegate resync"]);
}

/// A database and a lake, backups while everything changes, the slot moved on, sinks that ran ahead.
#[test]
fn a_database_and_a_lake_that_went_on() {
    let seed = seed("backups");
    let mut rng = StdRng::seed_from_u64(seed);
    let server = Arc::new(Postgres::start_version(PostgresVersion::V18));
    let mut world = World::new(server.clone(), seed);
    let mut spec = Spec::new(&world.lake);
    spec.views = spec_views();
    spec.settings.push("retry_for = \"30s\"\nepoch_interval = \"5ms\"".to_owned());
    let url = server.url(&world.database);
    spec.source_settings
        .push(format!("\n[sources.app]\ntype = \"postgres\"\nurl = \"{url}\"\npoll_interval = \"100ms\""));
    let folder = world.folder.path().to_owned();
    let pipeline = PipelineFolder::create(&folder.join("pipeline"), &spec);
    let text = fs::read_to_string(pipeline.file()).unwrap();
    let state = format!("{:?}", pipeline.state().to_string_lossy());
    fs::write(pipeline.file(), text.replace(&state, "\"state\"")).unwrap();
    let backups = folder.join("backups").to_string_lossy().into_owned();
    (0..5).for_each(|_| world.change(&mut rng));
    pipeline.catch_up();
    let running = pipeline.command("run", &[]).start();
    let mut names = Vec::new();
    for _ in 0..3 {
        for _ in 0..4 {
            world.change(&mut rng);
            std::thread::sleep(Duration::from_millis(20));
        }
        let taken = pipeline.command("backup", &[&backups, "--json"]).run().expect(0).json();
        names.push(taken["backup"].as_str().unwrap().to_owned());
    }
    (0..4).for_each(|_| world.change(&mut rng));
    running.terminate().expect(0);
    // The original ends here: its sinks are ahead of every backup, and its slot has moved on.
    world.sure_change();
    pipeline.catch_up();
    assert_mart(&mut world, &pipeline, &format!("seed {seed}, the original"));
    let run = |dir: &Path, verb: &str, more: &[&str]| {
        tidegate(&[verb, &dir.join("pipeline.toml").to_string_lossy()]).arguments(more.iter().copied()).run()
    };
    let rows = |ran: &Value| -> u64 {
        let sinks = ran["resynced"].as_object().unwrap_or_else(|| panic!("nothing was resynced: {ran}"));
        assert_eq!(sinks.keys().collect::<Vec<_>>(), ["changes", "mart"], "{ran}");
        sinks.values().flat_map(|views| views.as_object().unwrap().values()).map(|rows| rows.as_u64().unwrap()).sum()
    };
    for (index, name) in names.iter().enumerate() {
        let dir = folder.join(format!("restored {index}"));
        tidegate(&["restore", &backups, &dir.to_string_lossy(), "--at", name]).run().expect(0);
        let ran = run(&dir, "run", &["--once", "--json"]).expect(0).says(&["compared with the views"]).json();
        assert_eq!(ran["recopied"], json!(["app"]), "backup {index}: {ran}");
        assert_eq!(rows(&ran), 0, "backup {index}: nothing has happened that the sinks have not had: {ran}");
        assert_mart(&mut world, &pipeline, &format!("seed {seed}, backup {index}"));
        assert_eq!(run(&dir, "run", &["--once", "--json"]).expect(0).json()["epochs"], 0);
        fs::remove_dir_all(&dir).unwrap();
    }
    // And with changes that nobody has had yet, while it runs on.
    let dir = folder.join("restored");
    tidegate(&["restore", &backups, &dir.to_string_lossy()]).run().expect(0);
    (0..3).for_each(|_| world.change(&mut rng));
    world.sure_change();
    let ran = run(&dir, "run", &["--once", "--json"]).expect(0).json();
    assert!(rows(&ran) > 0, "{ran}");
    assert_mart(&mut world, &pipeline, &format!("seed {seed}, restored"));
    for round in 0..3 {
        world.change(&mut rng);
        run(&dir, "run", &["--once"]).expect(0);
        assert_mart(&mut world, &pipeline, &format!("seed {seed}, round {round}"));
    }
}

/// Targets in a database that was set back by a dump of it: a sink of rows, and a lake with its catalog there.
#[test]
fn targets_that_were_restored_from_a_dump() {
    let server = Postgres::start_version(PostgresVersion::V15);
    server.execute("postgres", "CREATE DATABASE target");
    let shop = Shop::new("log_retention = \"1d\"");
    let connection = server.connection("target");
    let catalog = format!("ducklake:postgres:{connection}");
    let more = format!(
        "\n[sinks.served]\ntype = \"postgres\"\nurl = {:?}\n\n[sinks.lakehouse]\ntype = \"ducklake\"\ncatalog = {:?}\n\
         data_path = {:?}\n",
        server.url("target"),
        catalog,
        shop.path("lakehouse"),
    );
    let file = shop.path("a/pipeline.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + &more).unwrap();
    let check = |what: &str| {
        shop.check(what);
        let duck = Duck::open_in_memory().unwrap();
        duck.load(Extension::PostgresScanner).unwrap();
        duck.execute(&format!("ATTACH {} AS served (TYPE postgres, READ_ONLY)", quote_literal(&connection))).unwrap();
        Catalog::postgres(&server).load_extensions(&duck).unwrap();
        duck.execute(&format!("ATTACH {} AS lakehouse (READ_ONLY)", quote_literal(&catalog))).unwrap();
        let expected = shop.lake.query("SELECT * FROM lake.t");
        for table in ["served.all_rows", "lakehouse.all_rows"] {
            let found = ViewRows::read(&duck, &format!("FROM {table}")).unwrap();
            found.assert_equals(&expected, &Tolerance::exact(), &format!("{what}: {table}"));
        }
    };
    shop.once("a").run().expect(0);
    shop.change();
    shop.once("a").run().expect(0);
    check("before");
    let dump = shop.path("dump").to_string_lossy().into_owned();
    let ok = |name: &str, arguments: &[&str]| {
        let mut program = server.pg_program(name);
        let output = program.args(arguments).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    };
    ok("pg_dump", &["-d", &server.url("target"), "-Fc", "-f", &dump]);
    for _ in 0..3 {
        shop.change();
        shop.once("a").run().expect(0);
    }
    server.execute("postgres", "DROP DATABASE target WITH (FORCE)");
    server.execute("postgres", "CREATE DATABASE target");
    ok("pg_restore", &["-d", &server.url("target"), &dump]);
    shop.change();
    let ran = shop.once("a").run().expect(0).says(&["compared with the views"]).json();
    let resynced: Vec<_> = ran["resynced"].as_object().unwrap().keys().collect();
    assert_eq!(resynced, ["lakehouse", "served"], "{ran}");
    let rows = ran["resynced"]["served"]["all_rows"].as_u64().unwrap();
    assert!(rows <= 44, "four changes of eleven rows: {ran}");
    check("after");
    shop.change();
    assert!(shop.once("a").run().expect(0).json()["resynced"].is_null());
    check("going on");
    // Set back to before there was anything of ours.
    server.execute("postgres", "DROP DATABASE target WITH (FORCE)");
    server.execute("postgres", "CREATE DATABASE target");
    shop.once("a").run().expect(0);
    check("filled anew");
}

/// Backups and the log in an object store. The source was set back as well, which nobody can mend but a person.
#[test]
fn in_an_object_store() {
    let s3 = S3::start();
    let shop = Shop::new(&format!("log = {:?}", s3.url("log")));
    let with = |program: Program| {
        let set = |program: Program, (name, value): (&str, String)| program.variable(name, value);
        s3.environment().into_iter().fold(program, set)
    };
    let backup = || with(shop.command("backup", "a", &[&s3.url("backups"), "--json"]));
    with(shop.once("a")).run().expect(0);
    shop.change();
    with(shop.once("a")).run().expect(0);
    let first = with(backup()).run().expect(0).json();
    shop.change();
    with(shop.once("a")).run().expect(0);
    let second = backup().run().expect(0).json();
    assert!(second["new_bytes"].as_u64() < first["new_bytes"].as_u64(), "{first} {second}");
    shop.change();
    let dir = shop.path("b").to_string_lossy().into_owned();
    let done = with(tidegate(&["restore", &s3.url("backups"), &dir, "--json"])).run().expect(0).json();
    assert_eq!((&done["epoch"], &done["log_put"]), (&json!(3), &json!(false)));
    let ran = with(shop.once("b")).run().expect(0).json();
    assert!(ran["epoch"] == 4 && ran["resynced"].is_null(), "{ran}");
    shop.check("restored");
    let early = s3.url("backups");
    let name = first["backup"].as_str().unwrap();
    let dir = shop.path("c").to_string_lossy().into_owned();
    // The log is there with all that came after: nothing is lost, whichever backup it is.
    with(tidegate(&["restore", &early, &dir, "--at", name])).run().expect(0);
    let ran = with(shop.once("c")).run().expect(0).json();
    assert!(ran["epoch"] == 4 && ran["epochs"] == 0 && ran["resynced"].is_null(), "{ran}");
    shop.check("restored from the first");
}

/// A bucket that only `[storage]` knows the way to, on a machine that has nothing but the credentials.
#[test]
fn from_an_object_store_that_a_file_leads_to() {
    let s3 = S3::start();
    let environment = s3.environment();
    let value = |name: &str| &environment.iter().find(|(key, _)| *key == name).unwrap().1;
    let storage = format!(
        "[storage.{:?}]\nendpoint = {:?}\nregion = \"us-east-1\"\naccess_key_id = \"me\"\n\
         secret_access_key = \"${{HUSH}}\"\n",
        s3.url("").trim_end_matches('/'),
        value("AWS_ENDPOINT"),
    );
    let shop = Shop::new(&format!("\n{storage}"));
    shop.once("a").variable("HUSH", "hush-hush").run().expect(0);
    shop.command("backup", "a", &[&s3.url("backups")]).variable("HUSH", "hush-hush").run().expect(0);
    let file = shop.path("storage.toml");
    let restore = |dir: &str| {
        let dir = shop.path(dir).to_string_lossy().into_owned();
        tidegate(&["restore", &s3.url("backups"), &dir, "--storage", &file.to_string_lossy()])
    };
    restore("b").run().expect(2).says(&["storage.toml", "cannot be read"]);
    fs::write(&file, "[pipeline]\nname = \"shop\"\n").unwrap();
    restore("b").run().expect(2).says(&["storage.toml", "there is no [storage"]);
    fs::write(&file, &storage).unwrap();
    restore("b").run().expect(2).says(&["storage.toml:5", "HUSH is not set"]);
    assert!(!shop.path("b").exists());
    let done = restore("b").variable("HUSH", "hush-hush").run().expect(0);
    assert!(!done.stdout.contains("hush-hush") && !done.stderr.contains("hush-hush"));
    shop.change();
    shop.once("b").variable("HUSH", "hush-hush").run().expect(0);
    shop.check("restored");
    // A pipeline file that is still there will do, too.
    let file = shop.path("a/pipeline.toml").to_string_lossy().into_owned();
    let dir = shop.path("c").to_string_lossy().into_owned();
    let again = tidegate(&["restore", &s3.url("backups"), &dir, "--storage", &file]);
    again.variable("HUSH", "hush-hush").run().expect(0);
}

/// A lake as a source that was set back: what it has now under the same numbers may be anything.
#[test]
fn a_source_that_was_set_back_stops_the_pipeline() {
    let shop = Shop::new("");
    shop.once("a").run().expect(0);
    let catalog = shop.lake.uri().trim_start_matches("ducklake:sqlite:").to_owned();
    let saved = fs::read(&catalog).unwrap();
    shop.change();
    shop.once("a").run().expect(0);
    for extra in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{catalog}{extra}"));
    }
    fs::write(&catalog, saved).unwrap();
    shop.once("a").run().expect(3).says(&["was restored or replaced", "tidegate restore"]);
}
