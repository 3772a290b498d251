//! The system refuses: no memory, no space. Nothing is lost, and with room again the outputs are
//! those of a run that nobody disturbed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tidegate_testkit::seed::seed;
use tidegate_testkit::{Finished, Limit, SmallDisk};

use crate::history::History;
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec};

const MIB: u64 = 1 << 20;

/// The undisturbed run that the others are compared with.
fn reference(history: &History, folder: &Path) -> Outputs {
    let pipeline = PipelineFolder::create(folder, &Spec::new(&history.lake));
    for round in &history.rounds {
        pipeline.run_until(*round).run().expect(0);
    }
    Outputs::read(&pipeline)
}

/// A run that was refused something says so and asks to be tried again, or was killed.
fn check_refusal(finished: &Finished, words: &[&str], what: &str) {
    let Some(code) = finished.code() else { return };
    assert_eq!(code, 1, "{what}: {}", finished.stderr);
    let said = words.iter().any(|word| finished.stderr.to_lowercase().contains(word));
    assert!(said, "{what}: the message names none of {words:?}: {}", finished.stderr);
}

#[test]
fn killed_for_memory() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::create(&folder.path().join("lake"), seed("memory"), 2);
    let expected = reference(&history, &folder.path().join("reference"));
    let pipeline = PipelineFolder::create(&folder.path().join("disturbed"), &Spec::new(&history.lake));
    let mut refusals = 0;
    for round in &history.rounds {
        // From hopeless to nearly enough, so that it ends in different phases.
        for mebibytes in [150, 250, 400, 600, 900, 1300, 1800, 2400, 3200] {
            let finished = pipeline.run_until(*round).limit(Limit::Memory(mebibytes * MIB)).run();
            if finished.code() == Some(0) {
                break;
            }
            println!("{mebibytes} MiB: exit {:?}, signal {:?}", finished.code(), finished.signal());
            refusals += 1;
        }
        pipeline.run_until(*round).run().expect(0);
    }
    assert!(refusals > 2, "no limit was too small");
    Outputs::read(&pipeline).assert_equals(&expected, "after being killed for memory");
}

/// Which parts of the pipeline lie on the small disk.
#[derive(Debug, Clone, Copy)]
enum Small {
    State,
    Changes,
    Mart,
    All,
}

/// A pipeline some of whose outputs lie on the disk, by symbolic links.
fn on_disk(folder: &Path, disk: &Path, small: Small, spec: &Spec) -> PipelineFolder {
    if matches!(small, Small::All) {
        return PipelineFolder::create(&disk.join("pipeline"), spec);
    }
    let pipeline = PipelineFolder::create(folder, spec);
    let link = |target: &Path, place: &Path| symlink(target, place).unwrap();
    match small {
        Small::State => {
            fs::create_dir(disk.join("state")).unwrap();
            link(&disk.join("state"), &pipeline.state());
        }
        Small::Changes => {
            fs::create_dir(disk.join("changes")).unwrap();
            link(&disk.join("changes"), &pipeline.changes());
        }
        // DuckDB keeps its write-ahead log beside the file it was told, so the folder must be there.
        Small::Mart => {}
        Small::All => unreachable!("it was handled above"),
    }
    pipeline
}

#[test]
fn full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::create(&folder.path().join("lake"), seed("full disk"), 2);
    let expected = reference(&history, &folder.path().join("reference"));
    for small in [Small::State, Small::Changes, Small::Mart, Small::All] {
        match SmallDisk::mount(64 * MIB) {
            Ok(disk) => full_in_every_phase(&history, &expected, folder.path(), &disk, small),
            Err(reason) => {
                println!("{reason}; a limit on the size of files stands in for the full disk");
                file_size_limit(&history, &expected, folder.path());
                return;
            }
        }
    }
}

/// The disk has a little more room each time, so that it is full in a later phase each time.
fn full_in_every_phase(history: &History, expected: &Outputs, folder: &Path, disk: &SmallDisk, small: Small) {
    let place = folder.join(format!("{small:?}"));
    let mut spec = Spec::new(&history.lake);
    // A full disk does not get better by waiting here.
    spec.settings.push("retry_for = \"100ms\"".to_owned());
    if matches!(small, Small::Mart) {
        spec.mart_path = Some(disk.path().join("mart.duckdb"));
    }
    let pipeline = on_disk(&place, disk.path(), small, &spec);
    let mut refusals = 0;
    for round in &history.rounds {
        let mut free = 0;
        loop {
            disk.fill(free);
            let finished = pipeline.run_until(*round).run();
            disk.clear();
            if finished.code() == Some(0) {
                break;
            }
            let what = format!("{small:?} on a disk with {free} bytes");
            check_refusal(&finished, &["no space", "no storage space", "disk is full"], &what);
            refusals += 1;
            free = (free * 3 / 2).max(4096);
            assert!(free < 40 * MIB, "{what}: {}", finished.stderr);
        }
        // Once more with room, so that the next round begins in peace.
        pipeline.run_until(*round).run().expect(0);
    }
    println!("{small:?}: refused {refusals} times");
    assert!(refusals > 3, "{small:?} was never full");
    Outputs::read_from(&pipeline, spec.mart_path.as_deref()).assert_equals(expected, &format!("{small:?} was full"));
}

fn file_size_limit(history: &History, expected: &Outputs, folder: &Path) {
    let pipeline = PipelineFolder::create(&folder.join("limited"), &Spec::new(&history.lake));
    let mut refusals = 0;
    for round in &history.rounds {
        for bytes in [0, 256, 1024, 4096, 16_384, 65_536, 262_144] {
            let finished = pipeline.run_until(*round).limit(Limit::FileSize(bytes)).run();
            if finished.code() == Some(0) {
                break;
            }
            refusals += 1;
        }
        pipeline.run_until(*round).run().expect(0);
    }
    assert!(refusals > 3, "no limit was too small");
    Outputs::read(&pipeline).assert_equals(expected, "after files could not grow");
}
