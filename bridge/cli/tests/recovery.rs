//! What happens to a pipeline in its life: its state is lost or goes back in time, a sink is away,
//! the pipeline file changes, nothing happens at all. Each ends exact, or stops with exit 3 and a
//! message whose way out is then taken.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_core::{Micros, failpoint};
use tidegate_duck::{Duck, Options};
use tidegate_testkit::Catalog;
use tidegate_testkit::dml::Mix;
use tidegate_testkit::seed::seed;
use tidegate_testkit::{Lake, Oracle, Program, S3};

use crate::history::History;
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};

/// A history and a pipeline over it that has not run yet.
struct Scene {
    folder: TempDir,
    history: History,
    spec: Spec,
    pipeline: PipelineFolder,
}

impl Scene {
    fn new(test: &str, rounds: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let history = History::create(&folder.path().join("lake"), seed(test), rounds);
        let spec = Spec::new(&history.lake);
        let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
        Scene { folder, history, spec, pipeline }
    }

    /// Runs to the end of a round.
    #[track_caller]
    fn run(&self, round: usize) -> serde_json::Value {
        self.pipeline.run_until(self.history.rounds[round]).run().expect(0).json()
    }

    /// Both sinks hold the views as they are at the end of a round.
    #[track_caller]
    fn check(&self, round: usize, spec: &Spec, what: &str) {
        let names: Vec<_> = spec.views.iter().map(|(name, _)| name.clone()).collect();
        let expected = self.history.views_at(round, &spec.views);
        Outputs::read(&self.pipeline).assert_holds(&self.pipeline, &names, &expected, what);
    }

    /// The message names `tidegate resync` for the sinks; doing so repairs both.
    fn resync(&self) {
        for sink in ["changes", "mart"] {
            self.pipeline.command("resync", &[sink, "--json"]).run().expect(0);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn state_deleted_while_the_sinks_live_on() {
    let scene = Scene::new("state deleted", 3);
    scene.run(0);
    scene.run(1);
    fs::remove_dir_all(scene.pipeline.state()).unwrap();
    let before = Outputs::read(&scene.pipeline);
    let stopped = scene.pipeline.run_until(scene.history.rounds[2]).run().expect(3);
    stopped.says(&["tidegate resync"]);
    Outputs::read(&scene.pipeline).assert_equals(&before, "a run that stopped to protect data wrote nothing");
    scene.resync();
    scene.run(3);
    scene.check(3, &scene.spec, "after resync");
    assert_eq!(scene.run(3)["epochs"], 0);
}

/// The log and its checkpoints lie in S3: a machine without the state folder goes on where the other
/// one was, also when that one died amid an epoch. An undisturbed run ends with the same outputs.
#[test]
fn state_deleted_with_the_log_in_s3() {
    let s3 = S3::start();
    let mut scene = Scene::new("state deleted, log in S3", 4);
    let in_s3 = |program: Program| {
        let set = |program: Program, (name, value): (&str, String)| program.variable(name, value);
        s3.environment().into_iter().fold(program, set)
    };
    let run = |pipeline: &PipelineFolder, round: usize| in_s3(pipeline.run_until(scene.history.rounds[round]));
    scene.spec.settings.push(format!("log = \"{}\"", s3.url("undisturbed")));
    let undisturbed = PipelineFolder::create(&scene.folder.path().join("undisturbed"), &scene.spec);
    for round in 0..=4 {
        run(&undisturbed, round).run().expect(0);
    }
    scene.spec.settings.pop();
    scene.spec.settings.push(format!("log = \"{}\"", s3.url("disturbed")));
    scene.pipeline.rewrite(&scene.spec);
    run(&scene.pipeline, 0).run().expect(0);
    fs::remove_dir_all(scene.pipeline.state()).unwrap();
    run(&scene.pipeline, 1).run().expect(0);
    for (round, failpoint) in [(2, "log.appended"), (3, "sinks.committed"), (4, "checkpoint.published")] {
        let died = run(&scene.pipeline, round).variable(failpoint::VARIABLE, failpoint).run();
        assert!(died.aborted(), "{failpoint} was not passed");
        fs::remove_dir_all(scene.pipeline.state()).unwrap();
        run(&scene.pipeline, round).run().expect(0);
    }
    scene.check(4, &scene.spec, "in the end");
    Outputs::read(&scene.pipeline).assert_equals(&Outputs::read(&undisturbed), "with the state folder lost four times");
}

#[test]
fn old_state_put_back() {
    let scene = Scene::new("old state", 4);
    let old = scene.folder.path().join("old");
    scene.run(0);
    scene.run(1);
    copy(&scene.pipeline.state(), &old);
    scene.run(2);
    scene.run(3);
    fs::remove_dir_all(scene.pipeline.state()).unwrap();
    copy(&old, &scene.pipeline.state());
    // The sinks are ahead of it; what they hold cannot be told from another history.
    let before = Outputs::read(&scene.pipeline);
    for round in [2, 4] {
        let stopped = scene.pipeline.run_until(scene.history.rounds[round]).run().expect(3);
        stopped.says(&["tidegate resync"]);
        Outputs::read(&scene.pipeline).assert_equals(&before, "a run that stopped to protect data wrote nothing");
    }
    scene.resync();
    scene.run(4);
    scene.check(4, &scene.spec, "after resync");
}

#[test]
fn a_sink_that_is_away_for_a_while() {
    let mut scene = Scene::new("sink away", 3);
    scene.spec.settings.push("retry_for = \"500ms\"".to_owned());
    scene.pipeline.rewrite(&scene.spec);
    scene.run(0);
    let held = Duck::open(&scene.pipeline.mart(), &Options::default()).unwrap();
    for round in [1, 2] {
        let behind = scene.pipeline.run_until(scene.history.rounds[round]).run().expect(1);
        behind.says(&["mart"]);
    }
    drop(held);
    // The other sink went on meanwhile; what the mart lacks comes from the delta log.
    scene.run(2);
    scene.check(2, &scene.spec, "when the mart is back");
    scene.run(3);
    scene.check(3, &scene.spec, "afterwards");
}

#[test]
fn a_sink_that_comes_back_while_the_program_runs() {
    let scene = Scene::new("sink away meanwhile", 2);
    scene.run(0);
    let held = Duck::open(&scene.pipeline.mart(), &Options::default()).unwrap();
    let running = scene.pipeline.command("run", &[]).start();
    wait("the Parquet sink goes on", Duration::from_millis(20), || {
        let manifest = Outputs::read_changes(&scene.pipeline).1;
        let frontier = &manifest["views"]["paid"]["frontier"]["ducklake:lake"]["snapshot_id"];
        frontier.as_u64() == scene.history.rounds.last().copied()
    });
    drop(held);
    // Who holds the file keeps the other out, in both directions: ask again, and not all the time.
    wait("the mart catches up", Duration::from_millis(500), || {
        let Ok(duck) = Duck::open(&scene.pipeline.mart(), &Options::default()) else { return false };
        let sql = "SELECT count(*) FROM _tidegate_epochs WHERE frontier::VARCHAR LIKE ?";
        let last = format!("%{}}}}}", scene.history.rounds.last().unwrap());
        duck.connection().query_row(sql, [last], |row| row.get::<_, u64>(0)).is_ok_and(|found| found > 0)
    });
    running.terminate().expect(0);
    scene.check(2, &scene.spec, "after a graceful stop");
}

/// Asks until the answer is yes; a test that waits for ever fails.
#[track_caller]
pub fn wait(what: &str, pause: Duration, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(pause);
    }
}

#[test]
fn workers_changed() {
    let scene = Scene::new("workers", 3);
    scene.run(0);
    let mut spec = scene.spec.clone();
    for (round, workers) in [(1, 3), (2, 2), (3, 1)] {
        spec.workers = workers;
        scene.pipeline.rewrite(&spec);
        scene.run(round);
        scene.check(round, &spec, &format!("with {workers} workers"));
    }
    // A rebuild without changes at the source changes nothing downstream.
    let before = Outputs::read_changes(&scene.pipeline).0;
    spec.workers = 2;
    scene.pipeline.rewrite(&spec);
    scene.run(3);
    let after = Outputs::read_changes(&scene.pipeline).0;
    assert_eq!(before, after, "another number of workers makes no deltas");
}

#[test]
fn views_changed() {
    let scene = Scene::new("views", 3);
    scene.run(0);
    // Other rows under the same columns: only real differences go downstream.
    let rows = scene.spec.clone().view(
        "paid",
        "SELECT id, customer, amount * 2 AS twice, upper(note) AS note, day FROM lake.orders WHERE amount > 1",
    );
    scene.pipeline.rewrite(&rows);
    let before = Outputs::read_changes(&scene.pipeline).0;
    scene.run(0);
    scene.check(0, &rows, "other rows");
    let after = Outputs::read_changes(&scene.pipeline).0;
    for (view, deltas) in &before {
        if view != "paid" {
            assert_eq!(deltas, &after[view], "{view} is not touched");
        }
    }
    // Other columns, and a view in between that another one reads.
    let columns = rows.clone().view("paid", "SELECT note, count(*) FROM lake.orders GROUP BY note").view(
        "by_region",
        "SELECT region, 2 AS n, count(*)::DECIMAL(5,1) AS total FROM lake.customers GROUP BY region",
    );
    scene.pipeline.rewrite(&columns);
    scene.run(1);
    scene.check(1, &columns, "other columns");
    // A new view, and one less.
    let mut views = columns.view("added", "SELECT count(*) AS n FROM rich_regions");
    views.views.retain(|(name, _)| name != "numbers");
    scene.pipeline.rewrite(&views);
    scene.run(2);
    scene.check(2, &views, "a new view");
    scene.run(3);
    scene.check(3, &views, "afterwards");
}

#[test]
fn an_idle_source() {
    let scene = Scene::new("idle", 1);
    scene.run(1);
    let before = Outputs::read(&scene.pipeline);
    for _ in 0..3 {
        let summary = scene.pipeline.catch_up().json();
        assert_eq!(summary["epochs"], 0, "{summary}");
    }
    // Upkeep and changes of tables that no view reads are progress, not epochs.
    scene.history.lake.execute("CREATE TABLE lake.other (n INTEGER); INSERT INTO lake.other VALUES (1)");
    scene.history.lake.execute("CALL ducklake_flush_inlined_data('lake')");
    scene.history.lake.execute("CALL ducklake_merge_adjacent_files('lake')");
    let caught_up = scene.pipeline.catch_up();
    assert_eq!(caught_up.json()["epochs"], 0, "{}", caught_up.stderr);
    let committed = ["min", "max"].map(|which| {
        let sql = format!("SELECT epoch_us(arg_{which}(snapshot_time, snapshot_id)) FROM ducklake_snapshots('lake')");
        let micros = scene.history.lake.attached(|duck| {
            duck.connection().query_row(&sql, [], |row| row.get(0)).map_err(|error| duck.error(&error))
        });
        Micros(micros.unwrap()).to_string()
    });
    let running = scene.pipeline.command("run", &[]).start();
    wait("the status tells from where on the lake is kept", Duration::from_millis(100), || {
        let status = scene.pipeline.command("status", &["--json"]).run().expect(0).json();
        let lake = &status["sources"]["lake"];
        lake["oldest"]["snapshot_id"] == 0 && lake["committed_at"].is_string() && lake["kept_ms"].is_u64()
    });
    let status = scene.pipeline.command("status", &["--json"]).run().expect(0).json();
    let lake = &status["sources"]["lake"];
    let told = ["oldest_committed_at", "committed_at"].map(|key| lake[key].as_str().unwrap_or_default());
    assert_eq!(told, committed);
    let shown = scene.pipeline.command("status", &[]).run().expect(0).stdout;
    assert!(shown.contains("snapshot 0 (") && shown.contains(" before what was read last)"), "{shown}");
    std::thread::sleep(Duration::from_secs(1));
    running.terminate().expect(0);
    Outputs::read(&scene.pipeline).assert_equals(&before, "nothing happened");
}

#[test]
fn a_lake_that_its_own_consumer_writes_to() {
    let folder = tempfile::tempdir().unwrap();
    // Two programs at one lake: the catalog must be one that allows it.
    let catalog = Catalog::sqlite(folder.path());
    let (lake, mut dml) = Lake::generated(folder.path(), catalog, seed("consumer"), Mix::changes_only());
    lake.execute("CREATE TABLE lake.seen (epoch BIGINT)");
    let spec = Spec::new(&lake);
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    pipeline.catch_up();
    let running = pipeline.command("run", &[]).start();
    let epoch = || {
        let manifest = Outputs::read_changes(&pipeline).1;
        manifest["views"].as_object().unwrap().values().map(|view| view["epoch"].as_u64().unwrap()).max().unwrap()
    };
    let mut last = epoch();
    for _ in 0..5 {
        lake.execute("INSERT INTO lake.orders (id, customer, amount) VALUES (1, 1, 1)");
        lake.take(&dml.change());
        wait("the change arrives", Duration::from_millis(20), || epoch() > last);
        // The consumer answers each epoch with a write into the lake that it came from.
        for _ in 0..3 {
            last = epoch();
            lake.execute(&format!("INSERT INTO lake.seen VALUES ({last})"));
        }
    }
    let settled = lake.snapshot();
    wait("everything is read and written", Duration::from_millis(20), || {
        let status = pipeline.command("status", &["--json"]).run().expect(0).json();
        status["sources"]["lake"]["position"]["snapshot_id"].as_u64() == Some(settled)
            && status["sinks"].as_object().unwrap().values().all(|sink| sink["behind"] == 0)
    });
    let (before, rows) = (epoch(), lake.rows("seen", None).len());
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((epoch(), lake.rows("seen", None).len(), lake.snapshot()), (before, rows, settled), "endless epochs");
    running.terminate().expect(0);
    assert!(before <= 12, "{before} epochs for 10 changes");
    let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&spec.views));
    let names: Vec<_> = spec.views.iter().map(|(name, _)| name.clone()).collect();
    Outputs::read(&pipeline).assert_holds(&pipeline, &names, &expected, "at the end");
}

#[test]
fn expired_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, mut dml) =
        Lake::generated(folder.path(), Catalog::duckdb(folder.path()), seed("expired"), Mix::changes_only());
    (0..10).for_each(|_| lake.execute(&dml.change().sql()));
    let mut spec = Spec::new(&lake);
    spec.source_settings.push("on_expired_snapshot = \"error\"".to_owned());
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    pipeline.catch_up();
    let read = lake.snapshot();
    (0..10).for_each(|_| lake.execute(&dml.change().sql()));
    let doctor = || pipeline.command("doctor", &[]).run().expect(0).stdout;
    let said = doctor();
    let call = said.find("CALL ducklake_expire").and_then(|at| said[at..].split_inclusive(')').next());
    lake.execute(call.unwrap_or_else(|| panic!("doctor names a call: {said}")));
    assert!(doctor().contains(&format!("everything from snapshot {read} on is kept")), "{}", doctor());
    lake.execute("CALL ducklake_expire_snapshots('lake', older_than => now())");
    let before = Outputs::read(&pipeline);
    assert!(doctor().contains(&format!("snapshot {read} was read last, and what came next is gone")), "{}", doctor());
    pipeline.once().run().expect(3).says(&[&read.to_string(), "on_expired_snapshot = \"fallback\""]);
    Outputs::read(&pipeline).assert_equals(&before, "a run that stopped to protect data wrote nothing");
    // The way out that the message names.
    spec.source_settings = vec!["on_expired_snapshot = \"fallback\"".to_owned()];
    pipeline.rewrite(&spec);
    pipeline.catch_up();
    let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&spec.views));
    let names: Vec<_> = spec.views.iter().map(|(name, _)| name.clone()).collect();
    Outputs::read(&pipeline).assert_holds(&pipeline, &names, &expected, "rebuilt");
    let read = lake.snapshot();
    assert!(doctor().contains(&format!("everything from snapshot {read} on is kept")), "{}", doctor());
}
