//! What goes wrong is told in the same words by the log, `status`, the page's API and `doctor`, and what `doctor` says to do, done
//! by the test, mends it.

mod alike;
mod databases;
mod disks;
mod logs;
mod sinks;

use std::fs;
use std::path::Path;

use tidegate_testkit::{Lake, Oracle};

use crate::database_faults::{SETUP, Shop, server};
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};
use crate::serving::{TOTALS, orders};

use alike::{Command, faults, fix_told_alike, is_mended_by_doctor, is_told_while_it_fails, runs_again};

pub fn views() -> Vec<(String, String)> {
    vec![("totals".to_owned(), TOTALS.to_owned())]
}

fn pipeline(folder: &Path, settings: &[&str]) -> (Lake, PipelineFolder) {
    let source_settings = settings.iter().map(|line| (*line).to_owned()).collect();
    pipeline_of(folder, |spec| Spec { source_settings, ..spec })
}

/// A pipeline over orders, which has caught up.
pub fn pipeline_of(folder: &Path, with: impl FnOnce(Spec) -> Spec) -> (Lake, PipelineFolder) {
    let lake = orders(&folder.join("lake"));
    let spec = with(Spec { views: views(), ..Spec::new(&lake) });
    let pipeline = PipelineFolder::create(&folder.join("pipeline"), &spec);
    pipeline.catch_up();
    (lake, pipeline)
}

#[track_caller]
pub fn is_exact(pipeline: &PipelineFolder, lake: &Lake) {
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

pub fn copy(from: &Path, to: &Path) {
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
