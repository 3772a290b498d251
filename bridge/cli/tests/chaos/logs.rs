//! What the state is made of is damaged or lost: the input log, a checkpoint, the time map, the state folder.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_core::failpoint;

use super::{faults, fix_told_alike, is_exact, pipeline, pipeline_of, runs_again};
use crate::pipeline::{PipelineFolder, Spec};

/// The last file of a folder by its name.
fn last_of(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.max().unwrap_or_else(|| panic!("{} is empty", folder.display()))
}

/// Dies when the log has the epoch and nothing else does.
fn dies_after_the_log(pipeline: &PipelineFolder) {
    let died = pipeline.once().variable(failpoint::VARIABLE, "log.appended").run();
    assert!(died.aborted(), "{died:?}");
}

#[test]
fn a_log_whose_end_was_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline(folder.path(), &[]);
    lake.execute("INSERT INTO lake.orders VALUES ('east', 3)");
    dies_after_the_log(&pipeline);
    let segment = last_of(&pipeline.state().join("log"));
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() - 10]).unwrap();
    pipeline.command("doctor", &[]).run().expect(0);
    let name = segment.file_name().unwrap().to_string_lossy();
    pipeline.catch_up().says(&["cutting off an incomplete record", &name]);
    runs_again(&|verb, more| pipeline.command(verb, more));
    is_exact(&pipeline, &lake);
}

/// First what is written in the log is put back, then what `doctor` says beside that is done.
#[test]
fn a_log_with_another_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline(folder.path(), &[]);
    let command = |verb: &str, more: &[&str]| pipeline.command(verb, more);
    for way in ["restored", "moved away"] {
        lake.execute("INSERT INTO lake.orders VALUES ('east', 3)");
        dies_after_the_log(&pipeline);
        let segment = last_of(&pipeline.state().join("log"));
        let sound = fs::read(&segment).unwrap();
        let mut damaged = sound.clone();
        let place = damaged.len() - 40;
        damaged[place] ^= 0xFF;
        fs::write(&segment, damaged).unwrap();
        let failed = pipeline.once().run().expect(3).says(&["is damaged at byte"]);
        let fix = fix_told_alike(&command, &failed);
        assert!(fix.contains("restore the file from a backup, or move the state folder and the log away"), "{fix}");
        if way == "restored" {
            fs::write(&segment, sound).unwrap();
            runs_again(&command);
        } else {
            fs::rename(pipeline.state(), folder.path().join("damaged")).unwrap();
            let stopped = pipeline.once().run().expect(3).says(&["tidegate resync PIPELINE"]);
            assert!(fix.contains("bring each sink in line with 'tidegate resync PIPELINE SINK'"), "{fix}");
            for sink in ["changes", "mart"] {
                pipeline.command("resync", &[sink]).run().expect(0);
            }
            assert!(stopped.stderr.contains("sink changes"), "{}", stopped.stderr);
            runs_again(&command);
        }
        is_exact(&pipeline, &lake);
    }
}

#[test]
fn a_checkpoint_that_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline(folder.path(), &[]);
    let command = |verb: &str, more: &[&str]| pipeline.command(verb, more);
    lake.execute("INSERT INTO lake.orders VALUES ('east', 3)");
    pipeline.catch_up();
    // The one before it is as good, with the log after it.
    fs::write(last_of(&pipeline.state().join("checkpoints")), "{}").unwrap();
    lake.execute("INSERT INTO lake.orders VALUES ('west', 4)");
    pipeline.command("doctor", &[]).run().expect(0);
    pipeline.catch_up().says(&["a checkpoint cannot be read"]);
    runs_again(&command);
    is_exact(&pipeline, &lake);
    // None is.
    let kept = folder.path().join("kept");
    super::copy(&pipeline.state().join("checkpoints"), &kept);
    fs::remove_dir_all(pipeline.state().join("checkpoints")).unwrap();
    lake.execute("INSERT INTO lake.orders VALUES ('west', 5)");
    let failed = pipeline.once().run().expect(3).says(&["no checkpoint is left"]);
    let fix = fix_told_alike(&command, &failed);
    assert!(fix.starts_with("restore the folder checkpoints from a backup"), "{fix}");
    let _ = fs::remove_dir_all(pipeline.state().join("checkpoints"));
    fs::rename(kept, pipeline.state().join("checkpoints")).unwrap();
    runs_again(&command);
    is_exact(&pipeline, &lake);
}

/// What the time map says of epochs, but for when that was written down.
fn entries(map: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(map);
    let entry = |record: &str| Some(record[record.find('{')?..record.find("\"logged_at\"")?].to_owned());
    let entries: Vec<_> = text.split("TGREC").filter_map(entry).collect();
    assert!(entries.len() > 3, "{text}");
    entries
}

#[test]
fn a_time_map_that_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline(folder.path(), &[]);
    for amount in 1..4 {
        lake.execute(&format!("INSERT INTO lake.orders VALUES ('east', {amount})"));
        pipeline.catch_up();
    }
    let map = last_of(&pipeline.state().join("time_map"));
    let sound = fs::read(&map).unwrap();
    let mut damaged = sound.clone();
    let place = damaged.len() / 2;
    damaged[place] ^= 0xFF;
    fs::write(&map, damaged).unwrap();
    pipeline.command("doctor", &[]).run().expect(0);
    pipeline.catch_up().says(&["what follows is damaged and is written again"]);
    assert_eq!(entries(&fs::read(&map).unwrap()), entries(&sound), "the log has the same");
    runs_again(&|verb, more| pipeline.command(verb, more));
    is_exact(&pipeline, &lake);
}

#[test]
fn a_state_folder_that_is_lost_beside_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let setting = format!("log = {:?}", log.to_string_lossy());
    let (lake, pipeline) = pipeline_of(folder.path(), |spec| Spec { settings: vec![setting], ..spec });
    let command = |verb: &str, more: &[&str]| pipeline.command(verb, more);
    let kept = folder.path().join("kept");
    lake.execute("INSERT INTO lake.orders VALUES ('east', 3)");
    pipeline.catch_up();
    fs::rename(pipeline.state(), &kept).unwrap();
    for way in ["restored", "moved away"] {
        // No folder is there to write into how the run ended, and `doctor` sees for itself.
        let failed = pipeline.once().run().expect(3);
        let found = faults(&command);
        let state = found.iter().find(|check| check["check"] == "state folder").expect("the state is looked at");
        let (fact, fix) = (state["fact"].as_str().unwrap(), state["fix"].as_str().unwrap());
        assert!(failed.stderr.contains(fact), "{fact} is not in {}", failed.stderr);
        assert!(fix.contains("restore that folder, or move the log away"), "{fix}");
        assert!(!pipeline.state().exists(), "nothing is written");
        if way == "restored" {
            fs::rename(&kept, pipeline.state()).unwrap();
            runs_again(&command);
            is_exact(&pipeline, &lake);
            fs::rename(pipeline.state(), &kept).unwrap();
        } else {
            fs::rename(&log, folder.path().join("old log")).unwrap();
            for sink in ["changes", "mart"] {
                pipeline.command("resync", &[sink]).run().expect(0);
            }
            runs_again(&command);
            is_exact(&pipeline, &lake);
        }
    }
}
