//! What goes wrong is told in the same words by the log, `status` and `doctor`, and what `doctor` says to do, done by the test,
//! mends it. Failures of a pipeline that goes on are in [`serving`](crate::serving), with metrics and the page.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tidegate_duck::{Duck, Options};
use tidegate_testkit::{Finished, Lake, Oracle, Program};

use crate::database_faults::{SETUP, Shop, server};
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views, tidegate};
use crate::serving::{Served, TOTALS, orders};

type Command<'a> = &'a dyn Fn(&str, &[&str]) -> Program;

/// The faults that `doctor` tells.
#[track_caller]
fn faults(command: Command<'_>) -> Vec<Value> {
    let doctor = command("doctor", &["--json"]).run().expect(2).json();
    assert_eq!(doctor["ok"], false);
    let checks = doctor["checks"].as_array().expect("checks");
    checks.iter().filter(|check| check["severity"] == "fault").cloned().collect()
}

/// A run failed. Everybody says so in its words; the commands of `doctor` are done until it finds nothing more.
#[track_caller]
fn is_mended_by_doctor(command: Command<'_>, failed: &Finished, commands: &[&str]) {
    let message = failed.stderr.lines().find_map(|line| line.strip_prefix("error: ")).expect("an error is told");
    let status = command("status", &["--json"]).run().expect(0).json();
    let told: Vec<&str> = status["ending"]["messages"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((told, status["ending"]["exit_code"].as_i64()), (vec![message], failed.code().map(i64::from)));
    let shown = command("status", &[]).run().expect(0).stdout;
    assert!(shown.contains(message), "{shown}");
    let mut done = Vec::new();
    loop {
        let found = faults(command);
        let last = found.iter().find(|check| check["check"] == "last run").expect("the last run is looked at");
        assert!(!done.is_empty() || last["fact"].as_str().unwrap().contains(message), "{last}");
        let fix = last["fix"].as_str().unwrap_or_else(|| panic!("it is not said what to do: {last}")).to_owned();
        assert!(shown.contains(&fix) || !done.is_empty(), "{shown} says no {fix}");
        for line in fix.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words[0], "tidegate", "{fix}");
            tidegate(&words[1..]).run().expect(0);
            done.push(words[1].to_owned());
        }
        if command("run", &["--once"]).run().code() == Some(0) {
            break;
        }
        assert!(done.len() < 5, "{done:?} do not mend it");
    }
    assert_eq!(done, commands);
    assert!(command("status", &["--json"]).run().expect(0).json()["ending"].is_null());
    command("doctor", &[]).run().expect(0);
}

fn views() -> Vec<(String, String)> {
    vec![("totals".to_owned(), TOTALS.to_owned())]
}

fn pipeline(folder: &Path, settings: &[&str]) -> (Lake, PipelineFolder) {
    let lake = orders(&folder.join("lake"));
    let source_settings = settings.iter().map(|line| (*line).to_owned()).collect();
    let spec = Spec { views: views(), source_settings, ..Spec::new(&lake) };
    let pipeline = PipelineFolder::create(&folder.join("pipeline"), &spec);
    pipeline.catch_up();
    (lake, pipeline)
}

#[track_caller]
fn is_exact(pipeline: &PipelineFolder, lake: &Lake) {
    let expected = Oracle::new().unwrap().views_over_lake(lake, None, &oracle_views(&views()));
    Outputs::read(pipeline).assert_holds(pipeline, &["totals".to_owned()], &expected, "mended");
}

#[test]
fn snapshots_that_have_expired() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline(folder.path(), &["on_expired_snapshot = \"error\""]);
    lake.execute("INSERT INTO lake.orders VALUES ('east', 3)");
    lake.execute("DELETE FROM lake.orders WHERE customer = 'north'");
    lake.execute("CALL ducklake_expire_snapshots('lake', older_than => now())");
    let failed = pipeline.once().run().expect(3);
    is_mended_by_doctor(&|verb, more| pipeline.command(verb, more), &failed, &["resnapshot"]);
    is_exact(&pipeline, &lake);
}

#[test]
fn outputs_ahead_of_a_state_folder_that_was_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline(folder.path(), &[]);
    let kept = folder.path().join("kept");
    copy(&pipeline.state(), &kept);
    lake.execute("INSERT INTO lake.orders VALUES ('east', 3)");
    pipeline.catch_up();
    fs::remove_dir_all(pipeline.state()).unwrap();
    fs::rename(&kept, pipeline.state()).unwrap();
    lake.execute("DELETE FROM lake.orders WHERE customer = 'north'");
    let failed = pipeline.once().run().expect(3);
    is_mended_by_doctor(&|verb, more| pipeline.command(verb, more), &failed, &["resync", "resync"]);
    is_exact(&pipeline, &lake);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&path, &target),
            false => fs::copy(&path, &target).map(drop).unwrap(),
        }
    }
}

#[test]
fn a_slot_that_was_dropped() {
    let shop = Shop::new(server(), SETUP);
    shop.once().expect(0);
    shop.sql("SELECT pg_drop_replication_slot('tidegate_shop'); INSERT INTO t VALUES (3, 'c')");
    let failed = shop.once().expect(3);
    is_mended_by_doctor(&|verb, more| shop.program(verb, more), &failed, &["resnapshot"]);
    assert_eq!(shop.mart(), "{'id': 1, 'v': a} {'id': 3, 'v': c}");
}

#[test]
fn a_publication_that_was_dropped_under_way() {
    let shop = Shop::new(server(), SETUP);
    let ended = shop.loses_its_publication().expect(3);
    is_mended_by_doctor(&|verb, more| shop.program(verb, more), &ended, &["resnapshot"]);
    assert_eq!(shop.mart(), "{'id': 1, 'v': a} {'id': 2, 'v': b} {'id': 3, 'v': c}");
}

/// What SQL mends: the test does what `doctor` says, in the database.
#[test]
fn a_table_whose_old_rows_are_not_told() {
    let shop = Shop::new(server(), "CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'a')");
    let failed = shop.once().expect(2);
    let found = faults(&|verb, more| shop.program(verb, more));
    let identity = found.iter().find(|check| check["fact"].as_str().unwrap().contains("app.public.t"));
    let identity = identity.unwrap_or_else(|| panic!("{found:?}"));
    assert!(
        failed.stderr.contains(identity["fact"].as_str().unwrap()),
        "{} is not in {}",
        identity["fact"],
        failed.stderr
    );
    shop.sql(identity["fix"].as_str().expect("SQL"));
    shop.once().expect(0);
    assert_eq!(shop.mart(), "{'id': 1, 'v': a}");
    shop.program("doctor", &[]).run().expect(0);
}

#[test]
fn a_mart_that_somebody_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline(folder.path(), &[]);
    let served = Served::start(&pipeline, None);
    served.caught_up(lake.snapshot());
    let reader = Duck::open(&pipeline.mart(), &Options::default()).expect("the mart is held by a reader");
    lake.execute("INSERT INTO lake.orders VALUES ('west', 500)");
    served.until("the sink fails", |status| status["sinks"]["mart"]["state"] == "failing");
    let message = served.status()["sinks"]["mart"]["error"].as_str().unwrap().to_owned();
    let found = faults(&|verb, more| pipeline.command(verb, more));
    let [sink] = &found[..] else { panic!("{found:?}") };
    assert_eq!((sink["check"].as_str(), sink["fact"].as_str()), (Some("sink mart"), Some(message.as_str())));
    assert!(sink["fix"].as_str().unwrap().contains("by itself"));
    // The words name the process that holds the file: this one. It lets go.
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    drop(reader);
    served.until("the sink takes commits again", |status| status["sinks"]["mart"]["state"] == "attached");
    served.caught_up(lake.snapshot());
    pipeline.command("doctor", &[]).run().expect(0);
    served.running.terminate().expect(0);
    is_exact(&pipeline, &lake);
}
