//! The log for programs: every line is an object with the fields that the documentation lists, and every event of ours has a
//! name there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_duck::{Duck, Options};

use crate::pipeline::{PipelineFolder, Spec};
use crate::serving::orders;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !["tests", "benches", "target"].contains(&name.as_str()) {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The names of events in the code. From INFO on each must have one.
fn names() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["bridge", "sources", "sinks"] {
        sources(&repository().join(folder), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for level in ["error", "warn", "info", "debug"] {
            for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                let name = call.trim_start().strip_prefix("name: \"").and_then(|rest| rest.split('"').next());
                match name {
                    Some(name) => _ = names.insert(name.to_owned()),
                    None => assert_eq!(
                        level,
                        "debug",
                        "{}: an event has no name: {:.60}",
                        file.display(),
                        call.trim_start()
                    ),
                }
            }
        }
    }
    // What tests alone make happen.
    names.remove("failpoint");
    names
}

#[test]
fn every_event_is_in_the_documentation() {
    let page = fs::read_to_string(repository().join("docs/src/logs.md")).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| event |")).skip(2);
    let listed: BTreeSet<String> = rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect();
    assert_eq!(listed, names());
}

fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn every_line_is_an_object_with_the_same_fields() {
    let folder = tempfile::tempdir().unwrap();
    let lake = orders(&folder.path().join("lake"));
    let views = vec![("all_of_it".to_owned(), "SELECT * FROM lake.orders".to_owned())];
    let spec = Spec { views, settings: vec!["retry_for = \"1s\"".to_owned()], ..Spec::new(&lake) };
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    let once =
        || pipeline.command("run", &["--once", "--log-format", "json"]).variable("TIDEGATE_LOG", "warn,tidegate=debug");
    let log = lines(&once().run().expect(0).stderr);
    for line in &log {
        let has = |key: &str| line[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(has("timestamp") && has("level") && has("message") && has("target"), "{line}");
    }
    let event = |log: &[Value], name: &str| {
        log.iter().find(|line| line["event"] == name).cloned().unwrap_or_else(|| panic!("no {name} in {log:#?}"))
    };
    assert_eq!(event(&log, "built")["epoch"], 1);
    assert!(event(&log, "committed")["duration_ms"].as_f64() > Some(0.0));

    lake.execute("INSERT INTO lake.orders VALUES ('a value of a row', 1)");
    let reader = Duck::open(&pipeline.mart(), &Options::default()).expect("the mart is held by a reader");
    let failed = once().run().expect(1);
    drop(reader);
    let log = lines(&failed.stderr);
    let sink = event(&log, "sink_failed");
    assert_eq!((sink["sink"].as_str(), sink["level"].as_str()), (Some("mart"), Some("WARN")));
    let told = event(&log, "failed");
    assert_eq!(told["exit_code"], 1);
    assert!(told["message"].as_str().unwrap().contains(sink["error"].as_str().unwrap()), "{told}");
    assert!(!failed.stderr.contains("a value of a row"));
}
