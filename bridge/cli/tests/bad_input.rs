//! Bad input of every kind: one clear error that names the thing, the place and the way out, the
//! exit code of the interface, and nothing written.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_core::failpoint;
use tidegate_duck::{Duck, Options};
use tidegate_testkit::{Catalog, Finished, Lake};

use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, tidegate};

/// A small lake and a pipeline over it that has not run.
struct Scene {
    folder: TempDir,
    lake: Lake,
    spec: Spec,
    pipeline: PipelineFolder,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
        lake.execute(
            "CREATE TABLE lake.orders (id INTEGER, customer INTEGER, amount DECIMAL(9,2)); \
             INSERT INTO lake.orders SELECT i, i % 7, i / 4 FROM range(1000) r(i)",
        );
        let mut spec = Spec::new(&lake);
        spec.views = vec![("big".to_owned(), "SELECT id, amount FROM lake.orders WHERE amount > 10".to_owned())];
        let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
        Scene { folder, lake, spec, pipeline }
    }

    /// Every file of the pipeline but the pipeline file.
    fn written(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(self.pipeline.file().parent().unwrap(), &mut files);
        files.retain(|file| *file != self.pipeline.file());
        files
    }

    fn catalog_file(&self) -> PathBuf {
        self.folder.path().join("lake.ducklake")
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

/// One fault in what people write: how it is made, and what the message must say.
struct Case {
    name: &'static str,
    spoil: fn(&Scene, text: String) -> String,
    code: i32,
    says: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "TOML that does not parse",
        spoil: |_, text| text.replace("workers = 1", "workers = = 1"),
        code: 2,
        says: &["pipeline.toml:4:11"],
    },
    Case {
        name: "a value of the wrong type",
        spoil: |_, text| text.replace("workers = 1", "workers = \"many\""),
        code: 2,
        says: &["pipeline.toml:4:", "workers"],
    },
    Case {
        name: "an unknown key",
        spoil: |_, text| text.replace("workers = 1", "worker = 1"),
        code: 2,
        says: &["pipeline.toml:4:", "worker", "workers"],
    },
    Case {
        name: "an unknown section",
        spoil: |_, text| text.replace("[views.big]", "[view.big]"),
        code: 2,
        says: &["pipeline.toml:", "view", "views"],
    },
    Case {
        name: "an unknown type of sink",
        spoil: |_, text| text.replace("type = \"parquet\"", "type = \"parket\""),
        code: 2,
        says: &["pipeline.toml:", "parket", "parquet"],
    },
    Case {
        name: "a variable that is not set",
        spoil: |_, text| text.replace("type = \"parquet\"\n", "type = \"parquet\"\nviews = [\"${NOT_SET_HERE}\"]\n"),
        code: 2,
        says: &["pipeline.toml:", "NOT_SET_HERE"],
    },
    Case {
        name: "an unknown table",
        spoil: |_, text| text.replace("lake.orders", "lake.ordres"),
        code: 2,
        says: &["big", "ordres", "orders"],
    },
    Case {
        name: "an unknown source",
        spoil: |_, text| text.replace("lake.orders", "leak.orders"),
        code: 2,
        says: &["big", "leak", "lake"],
    },
    Case {
        name: "an unknown column",
        spoil: |_, text| text.replace("SELECT id, amount", "SELECT id, amuont"),
        code: 2,
        says: &["big", "amuont", "amount"],
    },
    Case {
        name: "SQL that does not parse",
        spoil: |_, text| text.replace("WHERE amount > 10", "WHERE amount > > 10"),
        code: 2,
        says: &["big", ">"],
    },
    Case {
        name: "SQL that cannot be maintained",
        spoil: |_, text| text.replace("SELECT id, amount", "SELECT approx_quantile(id, 0.5) AS nr, amount"),
        code: 2,
        says: &["big", "approx_quantile"],
    },
    Case {
        name: "a volatile function",
        spoil: |_, text| text.replace("SELECT id, amount", "SELECT random() AS r, amount"),
        code: 2,
        says: &["big", "random"],
    },
    Case {
        name: "a view of an unknown view",
        spoil: |_, text| format!("{text}\n[views.over]\nsql = \"SELECT * FROM bigg\"\n"),
        code: 2,
        says: &["over", "bigg", "big"],
    },
    Case {
        name: "a sink of an unknown view",
        spoil: |_, text| text.replace("type = \"parquet\"\n", "type = \"parquet\"\nviews = [\"bog\"]\n"),
        code: 2,
        says: &["bog", "big"],
    },
    Case {
        name: "a catalog that is not there",
        spoil: |_, text| text.replace("lake.ducklake", "lost.ducklake"),
        code: 2,
        says: &["lake", "lost.ducklake"],
    },
    Case {
        name: "a catalog of a newer version",
        spoil: |scene, text| {
            let duck = Duck::open(&scene.catalog_file(), &Options::default()).unwrap();
            duck.execute("UPDATE ducklake_metadata SET value = '9.0' WHERE key = 'version'").unwrap();
            text
        },
        code: 2,
        says: &["lake", "9.0", "1.0"],
    },
    Case {
        name: "a catalog that is another file",
        spoil: |scene, text| {
            fs::write(scene.catalog_file(), "this is not a database").unwrap();
            text
        },
        code: 2,
        says: &["lake", "lake.ducklake"],
    },
];

#[test]
fn faults_in_what_people_write() {
    for case in CASES {
        println!("bad input: {}", case.name);
        let scene = Scene::new();
        let text = fs::read_to_string(scene.pipeline.file()).unwrap();
        let spoilt = (case.spoil)(&scene, text);
        fs::write(scene.pipeline.file(), spoilt).unwrap();
        for command in [scene.pipeline.command("check", &[]), scene.pipeline.once()] {
            let finished = command.run().expect(case.code).says(case.says);
            check_message(&finished);
            assert_eq!(scene.written(), Vec::<PathBuf>::new(), "{}: nothing is written", case.name);
        }
    }
}

/// An error is told once, without a stack, a panic, or what only a programmer reads.
fn check_message(finished: &Finished) {
    for noise in ["panicked", "stack backtrace", "RUST_BACKTRACE", "Err(", "Some("] {
        assert!(!finished.stderr.contains(noise), "{noise}: {}", finished.stderr);
    }
    // What only follows from the fault says so.
    let follows = |line: &&str| line.contains("it cannot be planned before what it reads is sound");
    let errors = finished.stderr.lines().filter(|line| line.starts_with("error: ") && !follows(line)).count();
    assert_eq!(errors, 1, "one fault makes one error: {}", finished.stderr);
}

#[test]
fn one_check_shows_all_faults() {
    let scene = Scene::new();
    let mut spec = scene.spec.clone();
    spec = spec.view("second", "SELECT nothing FROM lake.orders").view("third", "SELECT id FROM lake.nowhere");
    scene.pipeline.rewrite(&spec);
    let finished = scene.pipeline.command("check", &["--json"]).run().expect(2);
    let answer = finished.json();
    assert_eq!(answer["ok"], false);
    assert_eq!((&answer["views"]["big"]["ok"], &answer["views"]["big"]["mode"]), (&true.into(), &"incremental".into()));
    for (view, named) in [("second", "nothing"), ("third", "nowhere")] {
        assert_eq!(answer["views"][view]["ok"], false);
        let error = answer["views"][view]["error"].as_str().unwrap();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lost.toml");
    for verb in ["check", "run", "status"] {
        let finished = tidegate(&[verb, &file.to_string_lossy()]).run().expect(2);
        check_message(&finished.says(&["lost.toml"]));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn wrong_usage() {
    tidegate(&[]).run().expect(2);
    tidegate(&["fly"]).run().expect(2).says(&["fly"]);
    let scene = Scene::new();
    scene.pipeline.command("run", &["--until", "yesterday"]).run().expect(2).says(&["yesterday", "snapshot_id"]);
    scene.pipeline.command("explain", &["bog"]).run().expect(2).says(&["bog", "big"]);
    scene.pipeline.command("resync", &["marth"]).run().expect(2).says(&["marth", "mart"]);
    assert_eq!(scene.written(), Vec::<PathBuf>::new());
}

#[test]
fn a_catalog_that_another_process_holds() {
    let scene = Scene::new();
    let held = Duck::open(&scene.catalog_file(), &Options::default()).unwrap();
    let pid = std::process::id().to_string();
    let finished = scene.pipeline.once().run().expect(1).says(&["lake.ducklake", &pid]);
    check_message(&finished);
    assert_eq!(scene.written_outputs(), Vec::<PathBuf>::new());
    drop(held);
    scene.pipeline.catch_up();
}

impl Scene {
    /// What sinks wrote.
    fn written_outputs(&self) -> Vec<PathBuf> {
        let mut files = self.written();
        files.retain(|file| !file.starts_with(self.pipeline.state()));
        files
    }
}

#[test]
fn a_data_file_that_is_missing() {
    let scene = Scene::new();
    scene.lake.execute("CALL ducklake_flush_inlined_data('lake')");
    let mut files = Vec::new();
    walk(scene.lake.data_path(), &mut files);
    let lost = files.into_iter().find(|file| file.extension().is_some_and(|e| e == "parquet")).unwrap();
    let aside = scene.folder.path().join("aside");
    fs::rename(&lost, &aside).unwrap();
    let name = lost.file_name().unwrap().to_string_lossy();
    let finished = scene.pipeline.once().run().expect(3).says(&[&name, "restore"]);
    check_message(&finished);
    assert_eq!(scene.written_outputs(), Vec::<PathBuf>::new());
    // The way out that the message names.
    fs::rename(&aside, &lost).unwrap();
    scene.pipeline.catch_up();
}

#[test]
fn a_damaged_log() {
    let scene = Scene::new();
    scene.pipeline.catch_up();
    scene.lake.execute("DELETE FROM lake.orders WHERE id > 900");
    let before = Outputs::read(&scene.pipeline);
    let died = scene.pipeline.once().variable(failpoint::VARIABLE, "log.appended").run();
    assert!(died.aborted(), "{died:?}");
    let mut files = Vec::new();
    walk(&scene.pipeline.state().join("log"), &mut files);
    let mut logs: Vec<_> = files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    let segment = logs.pop().expect("the log has a segment");
    let sound = fs::read(&segment).unwrap();
    let mut damaged = sound.clone();
    // Within the last record, and not at its end: no append is ever torn there.
    let place = damaged.len() - 40;
    damaged[place] ^= 0xFF;
    fs::write(&segment, damaged).unwrap();
    let name = segment.file_name().unwrap().to_string_lossy();
    let finished = scene.pipeline.once().run().expect(3).says(&[&name, "tidegate resync"]);
    check_message(&finished);
    Outputs::read(&scene.pipeline).assert_equals(&before, "a run that stopped to protect data wrote nothing");
    // The first way out that the message names.
    fs::write(&segment, sound).unwrap();
    scene.pipeline.catch_up();
    // The second.
    fs::remove_dir_all(scene.pipeline.state()).unwrap();
    scene.pipeline.once().run().expect(3).says(&["tidegate resync"]);
    for sink in ["changes", "mart"] {
        scene.pipeline.command("resync", &[sink]).run().expect(0);
    }
    scene.pipeline.catch_up();
}

#[test]
fn the_state_of_another_pipeline() {
    let scene = Scene::new();
    scene.pipeline.catch_up();
    let before = Outputs::read(&scene.pipeline);
    let mut other = scene.spec.clone();
    other.name = "bank".to_owned();
    scene.pipeline.rewrite(&other);
    let finished = scene.pipeline.once().run().expect(2).says(&["\"shop\"", "\"bank\"", "state_dir"]);
    check_message(&finished);
    Outputs::read(&scene.pipeline).assert_equals(&before, "nothing is written");
}

#[test]
fn a_state_folder_that_is_in_use() {
    let scene = Scene::new();
    scene.pipeline.catch_up();
    let running = scene.pipeline.command("run", &[]).start();
    // It takes a moment until the other process has the folder.
    let started = std::time::Instant::now();
    let holder = || fs::read_to_string(scene.pipeline.state().join("lock")).unwrap_or_default();
    while !holder().contains(&running.id().to_string()) {
        assert!(started.elapsed().as_secs() < 60, "the program does not take its state folder: {}", running.stderr());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let refused = scene.pipeline.once().run();
    check_message(&refused.expect(1).says(&["in use", "state", &running.id().to_string()]));
    running.terminate().expect(0);
}
