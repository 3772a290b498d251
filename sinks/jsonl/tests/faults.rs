//! Paths that cannot be what they should be, and files that somebody altered.

use std::fs::{self, File};
use std::path::Path;

use futures::TryStreamExt;
use tidegate_core::{Commit, CommitOutcome, ConnectorError, Epoch, ErrorKind, RowIdentity, Sink, ZSet};
use tidegate_sink_jsonl::JsonlConfig;
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::suite::sink_to;

fn view() -> ViewModel {
    ViewModel::new("v", &[("k", "INTEGER"), ("t", "VARCHAR")], RowIdentity::WholeRow)
}

async fn commit(path: &Path, view: &mut ViewModel, epoch: u64, values: &str) -> Result<CommitOutcome, ConnectorError> {
    let delta = view.change_to(values);
    let views = vec![view.changes([(header(epoch), delta)])];
    sink_to(path).commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_paths_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("text"), "id,name\n1,a\n").unwrap();
    let cases = [
        ("folder", "folder cannot be written: it is not a plain file"),
        ("text", "text was not written by this sink: give it another path"),
        ("text/below/lines", "text/below/lines cannot be opened: Not a directory"),
    ];
    for (name, fact) in cases {
        let opened = sink_to(&path(name)).open(&[view().info().clone()]).await.unwrap_err();
        let committed = commit(&path(name), &mut view(), 1, "(1, 'a')").await.unwrap_err();
        for error in [opened, committed] {
            assert_eq!(error.kind(), ErrorKind::Reconfigure, "{name}: {error}");
            assert!(error.to_string().starts_with("sink lines: ") && error.to_string().contains(fact), "{error}");
        }
    }
    assert_eq!(fs::read_to_string(path("text")).unwrap(), "id,name\n1,a\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_the_last_commit_never_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines");
    let mut view = view();
    commit(&path, &mut view, 1, "(1, 'a')").await.unwrap();
    let whole = fs::read(&path).unwrap();
    // Everything that a process may have left behind when it died in its second commit.
    commit(&path, &mut view.clone(), 2, "(2, 'b'), (3, 'c')").await.unwrap();
    let both = fs::read(&path).unwrap();
    for length in whole.len()..both.len() {
        fs::write(&path, &both[..length]).unwrap();
        let held = sink_to(&path).open(&[view.info().clone()]).await.unwrap()[&view.info().name].unwrap();
        assert_eq!(held.epoch, Epoch(1), "{length} bytes");
        if length % 50 == 0 {
            let zsets: Vec<ZSet> = sink_to(&path).read(view.info()).await.unwrap().try_collect().await.unwrap();
            assert_eq!(tidegate_testkit::Multiset::of_zsets(&zsets), view.multiset());
            commit(&path, &mut view.clone(), 2, "(2, 'b'), (3, 'c')").await.unwrap();
            // But for the columns, which every process writes once.
            let again = fs::read_to_string(&path).unwrap();
            let lines =
                |text: &str| text.lines().filter(|l| !l.contains("columns")).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(lines(&again), lines(std::str::from_utf8(&both).unwrap()), "{length} bytes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_files_stop_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines");
    let mut view = view();
    commit(&path, &mut view, 1, "(1, 'a'), (2, 'secret')").await.unwrap();
    commit(&path, &mut view, 2, "(1, 'a')").await.unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let insert = good.lines().find(|line| line.contains("secret")).unwrap().to_owned();
    let cases = [
        (good.replacen(&format!("{insert}\n"), "", 1), "removes rows that are not there"),
        (good.replacen(&insert, "nonsense", 1), "line 4 is not one of ours"),
        (good.replace("\"k\":1", "\"k\":true"), "a row does not have its columns' types"),
        (good.replace("\"hash\":\"", "\"hash\":\"x"), "is not one of ours"),
    ];
    for (text, fact) in cases {
        fs::write(&path, &text).unwrap();
        let read = async {
            let mut sink = sink_to(&path);
            sink.open(&[view.info().clone()]).await?;
            sink.read(view.info()).await?.try_collect::<Vec<ZSet>>().await
        };
        let error = read.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        assert!(error.to_string().contains(fact) && !error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_wait_for_each_other_and_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines");
    let mut view = view();
    commit(&path, &mut view, 1, "(1, 'a')").await.unwrap();
    let file = File::options().append(true).open(&path).unwrap();
    file.lock().unwrap();
    let error = commit(&path, &mut view.clone(), 2, "(2, 'b')").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains("is being written by another process"), "{error}");
    drop(file);
    commit(&path, &mut view.clone(), 2, "(2, 'b')").await.unwrap();
    let lost = commit(&path, &mut view.clone(), 2, "(3, 'c')").await.unwrap();
    assert!(matches!(lost, CommitOutcome::Conflict { found: Some(found), .. } if found.epoch == Epoch(2)));
}

#[test]
fn unknown_keys_are_refused() {
    let parse = |json: &str| serde_json::from_str::<JsonlConfig>(json);
    assert!(parse(r#"{"path": "-"}"#).unwrap().is_stdout());
    assert!(!parse(r#"{"path": "./-"}"#).unwrap().is_stdout());
    assert!(parse(r#"{"path": "x", "pth": 1}"#).unwrap_err().to_string().contains("unknown field `pth`"));
}
