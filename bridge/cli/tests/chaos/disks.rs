//! Disks that are full: of the state folder, of what the engine and the sinks put aside in it, of a sink's target.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tidegate_testkit::{Finished, Lake, SmallDisk};

use super::{copy, fix_told_alike, is_exact, is_told_while_it_fails, pipeline_of, runs_again, views};
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};
use crate::serving::{PATIENCE, Served};

const MIB: u64 = 1 << 20;
const MANY: &str = "INSERT INTO lake.orders SELECT 'customer ' || i, i FROM range(200000) r(i)";

fn small_disk() -> SmallDisk {
    SmallDisk::mount(64 * MIB).unwrap_or_else(|reason| {
        panic!("{reason}\nThis test fills a disk of its own, a tmpfs: run it as root, in a container with --cap-add SYS_ADMIN")
    })
}

/// Puts a folder on the disk.
fn moved(folder: &Path, disk: &SmallDisk) {
    let place = disk.path().join(folder.file_name().unwrap());
    copy(folder, &place);
    fs::remove_dir_all(folder).unwrap();
    symlink(place, folder).unwrap();
}

/// The disk gets full while the pipeline runs, which ends, with what it says then; with space again the next run goes on.
fn fills_up_under_way(disk: &SmallDisk, lake: &Lake, pipeline: &PipelineFolder) -> Finished {
    let served = Served::start(pipeline, None);
    served.caught_up(lake.snapshot());
    disk.fill(0);
    lake.execute(MANY);
    let ended = served.running.wait_for(PATIENCE);
    let ended = ended.unwrap_or_else(|running| panic!("it goes on: {}", running.stderr())).expect(1);
    let command = |verb: &str, more: &[&str]| pipeline.command(verb, more);
    let fix = fix_told_alike(&command, &ended);
    assert!(fix.contains("free some space on the disk of") && fix.contains("run again"), "{fix}");
    disk.clear();
    runs_again(&command);
    is_exact(pipeline, lake);
    ended
}

#[test]
fn the_disk_of_the_state_folder() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), small_disk());
    let (lake, pipeline) = pipeline_of(folder.path(), |spec| spec);
    moved(&pipeline.state(), &disk);
    fills_up_under_way(&disk, &lake, &pipeline);
}

#[test]
fn the_disk_that_the_engine_spills_to() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), small_disk());
    // Less than the process takes without any view: all state goes to the disk at once.
    let settings = vec!["memory_limit = \"64MiB\"".to_owned()];
    let (lake, pipeline) = pipeline_of(folder.path(), |spec| Spec { settings, ..spec });
    moved(&pipeline.state().join("engine"), &disk);
    // It was not for a checkpoint that it wrote.
    fills_up_under_way(&disk, &lake, &pipeline)
        .says(&["epoch 2 cannot be applied: the circuit of view totals failed: stepping"]);
}

#[test]
fn the_disk_of_a_mart() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), small_disk());
    let mart = disk.path().join("mart.duckdb");
    let (lake, pipeline) = pipeline_of(folder.path(), |spec| Spec { mart_path: Some(mart.clone()), ..spec });
    let served = Served::start(&pipeline, None);
    served.caught_up(lake.snapshot());
    disk.fill(0);
    lake.execute(MANY);
    let command = |verb: &str, more: &[&str]| pipeline.command(verb, more);
    let (message, fix) = is_told_while_it_fails(&command, &served, "sink mart", "failing");
    assert!(message.to_lowercase().contains("no space left") && fix.contains("by itself"), "{message}: {fix}");
    disk.clear();
    served.caught_up(lake.snapshot());
    pipeline.command("doctor", &[]).run().expect(0);
    served.running.terminate().expect(0);
    // The same to a run that ends.
    disk.fill(0);
    lake.execute("UPDATE lake.orders SET amount = amount + 1");
    let failed = pipeline.once().run().expect(1);
    let fix = fix_told_alike(&command, &failed);
    assert!(fix.contains("mart takes commits again, and run again"), "{fix}");
    disk.clear();
    runs_again(&command);
    let expected = tidegate_testkit::Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&views()));
    let outputs = Outputs::read_from(&pipeline, Some(&mart));
    outputs.assert_holds(&pipeline, &["totals".to_owned()], &expected, "with space again");
}
