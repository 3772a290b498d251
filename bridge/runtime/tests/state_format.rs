//! A state folder that an earlier build of this version has written is opened, and goes on. One of another format is refused
//! by its number.
//!
//! Before 1.0 the format may change: then its number does, and the stored folder is made anew by this test with
//! `TIDEGATE_WRITE_FIXTURES=1`.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_core::{Epoch, ErrorKind, TableSchema};
use tidegate_testkit::{MemorySink, MemorySource, SinkFault};

use crate::harness::{Harness, keyed, name, of, rows, upsert, view};

/// The format, as `state.json` has it.
const FORMAT: u32 = 2;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/state-v{FORMAT}"))
}

fn users() -> TableSchema {
    of("app", keyed("u", &[]))
}

/// A lake and a database, with the transactions that the stored folder has read.
fn sources() -> Harness {
    let mut h = Harness::new();
    h.source.commit([rows("t", &[70, 71], 1)]);
    h.more.push(MemorySource::new("app", [users()]).present_only());
    h.more[0].commit([upsert(&users(), &[1, 2, 3])]);
    h.views.push(view("c", "SELECT * FROM app.u"));
    h.sinks.push(MemorySink::new("away"));
    h
}

fn later(h: &Harness) {
    h.source.commit([rows("t", &[2], -1), rows("t", &[72], 1)]);
    h.more[0].commit([upsert(&users(), &[3, 4])]);
}

/// A load, an epoch whose deltas wait for a sink, and one that only the log has.
async fn write(h: &Harness) {
    h.sinks[1].set_available(false);
    h.once().await.unwrap_err();
    later(h);
    h.once().await.unwrap_err();
    h.source.commit([rows("t", &[73], 1)]);
    h.sinks[0].inject(SinkFault::Before(ErrorKind::Bug));
    h.once().await.unwrap_err();
    let _ = fs::remove_dir_all(fixture());
    copy(&h.state_dir(), &fixture());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if from.is_dir() {
            copy(&from, &to.join(name));
        } else if name != "lock" && name != "feldera.pidlock" && name != "status.json" {
            fs::copy(&from, to.join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_folder_is_opened() {
    if std::env::var_os("TIDEGATE_WRITE_FIXTURES").is_some() {
        write(&sources()).await;
    }
    let h = sources();
    later(&h);
    h.source.commit([rows("t", &[73], 1)]);
    copy(&fixture(), &h.state_dir());
    assert_eq!(h.open().await.unwrap().epoch(), Epoch(3));
    h.source.commit([rows("t", &[74], 1)]);
    h.more[0].commit([upsert(&users(), &[5])]);
    assert_eq!(h.once().await.unwrap().epoch, Epoch(4));
    let expected = [h.source.contents(&name("t"), None).unwrap(), h.more[0].contents(&users().name, None).unwrap()];
    for sink in &h.sinks {
        for (view, table) in [("a", 0), ("b", 0), ("c", 1)] {
            let held = sink.contents(&view.into()).unwrap();
            held.assert_equals(&expected[table].multiset(), &format!("view {view}"));
        }
    }
    assert_eq!((h.source.calls().1, h.more[0].calls().1), (0, 0), "nothing is loaded again");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_format_is_refused_by_its_number() {
    let h = sources();
    copy(&fixture(), &h.state_dir());
    let path = h.state_dir().join("state.json");
    let present = fs::read_to_string(&path).unwrap();
    for (format, words) in [(1, "move the state folder and the log away"), (FORMAT + 1, "or a later one")] {
        let other = present.replace(&format!("\"format\": {FORMAT}"), &format!("\"format\": {format}"));
        assert_ne!(other, present);
        fs::write(&path, &other).unwrap();
        let error = h.once().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        let text = error.to_string();
        assert!(text.contains(&format!("has format {format}")) && text.contains(words), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), other, "nothing is written");
    }
}
