//! What readers find under the name while commits go on: with copies always a complete state, in
//! other processes and after stops at every point.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tidegate_core::{Commit, Committed, Epoch, ErrorKind, RowIdentity, Sink, ViewInfo, failpoint};
use tidegate_duck::Duck;
use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink, Publish};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::random::{reader, table};
use crate::stops::{FOLDER, another, part_of_another};
use crate::suite::{clock, copying_sink, sink};

/// Rows of the view at an epoch; all of them have the epoch's number.
const ROWS: u64 = 3_000;

fn view() -> ViewModel {
    ViewModel::new("v", &[("k", "BIGINT"), ("epoch", "BIGINT"), ("text", "VARCHAR")], RowIdentity::Key(vec![0]))
}

fn commit(view: &mut ViewModel, epoch: u64) -> Commit {
    let row = |k: u64| format!("({k}, {epoch}, 'text of row {k} at epoch {epoch}')");
    let delta = view.change_to(&(0..ROWS + epoch).map(row).collect::<Vec<_>>().join(", "));
    let views = vec![view.changes([(header(epoch), delta)])];
    Commit { after: Epoch(epoch - 1), header: header(epoch), views }
}

/// The epoch that a reader sees, all of it.
fn seen(duck: &Duck) -> u64 {
    let sql = "SELECT (SELECT max(epoch) FROM _tidegate_epochs), count(*), min(epoch), max(epoch), \
               count(*) FILTER (WHERE text = 'text of row ' || k || ' at epoch ' || epoch) FROM v";
    let found: [u64; 5] = duck
        .connection()
        .query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]))
        .unwrap();
    let epoch = found[0];
    assert_eq!(found, [epoch, ROWS + epoch, epoch, epoch, ROWS + epoch], "a state that never was");
    epoch
}

/// This test as a reader in another process, and the lines it prints.
fn start(test: &str, folder: &Path, part: &str) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder)
        .env("TIDEGATE_TEST_PART", part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines)
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_commits_never_meet() {
    const LAST: u64 = 20;
    if let Some(folder) = part_of_another() {
        if std::env::var("TIDEGATE_TEST_PART").unwrap() == "hold" {
            let duck = reader(&folder);
            let first = seen(&duck);
            println!("held");
            // Until the other side closes the pipe.
            std::io::stdin().lines().for_each(drop);
            assert_eq!(seen(&duck), first, "an open file stays what it was");
            return;
        }
        let mut last = 0;
        while last < LAST {
            let epoch = seen(&reader(&folder));
            assert!(epoch >= last, "epoch {epoch} after epoch {last}");
            last = epoch;
        }
        println!("\nlooked");
        return;
    }
    let test = "publish::readers_and_commits_never_meet";
    let folder = tempfile::tempdir().unwrap();
    let mut view = view();
    let mut target = copying_sink(folder.path());
    target.open(&[view.info().clone()]).await.unwrap();
    target.commit(commit(&mut view, 1)).await.unwrap();
    let (mut holder, mut held) = start(test, folder.path(), "hold");
    assert!(held.any(|line| line.ends_with("held")), "the reader opens the mart");
    let (mut looker, mut looked) = start(test, folder.path(), "look");
    for epoch in 2..=LAST {
        target.commit(commit(&mut view, epoch)).await.unwrap();
        assert_eq!(seen(&reader(folder.path())), epoch, "a commit is there when it says so");
    }
    assert!(looked.any(|line| line == "looked"), "the reader comes to the last epoch");
    assert!(looker.wait().unwrap().success());
    drop(holder.stdin.take());
    held.for_each(drop);
    assert!(holder.wait().unwrap().success());
    assert_eq!(names(folder.path()), BTreeSet::from(["mart.duckdb".to_owned(), "mart.duckdb.tidegate".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_a_complete_file_and_the_next_start_the_newest() {
    let mut view = view();
    let infos = [view.info().clone()];
    if let Some(folder) = part_of_another() {
        commit(&mut view, 1);
        let mut sink = copying_sink(&folder);
        sink.open(&infos).await.unwrap();
        let _ = sink.commit(commit(&mut view, 2)).await;
        panic!("the failpoint was passed");
    }
    let points = [
        ("sink.duckdb.before_commit", 1, 1),
        ("sink.duckdb.committed", 2, 1),
        ("sink.duckdb.copied", 2, 1),
        ("sink.duckdb.published", 2, 2),
    ];
    for (point, held, shown) in points {
        let folder = tempfile::tempdir().unwrap();
        let mut view = self::view();
        let mut target = copying_sink(folder.path());
        target.open(&infos).await.unwrap();
        target.commit(commit(&mut view, 1)).await.unwrap();
        let test = "publish::a_stop_leaves_a_complete_file_and_the_next_start_the_newest";
        let ended = another(test, folder.path()).variable(failpoint::VARIABLE, point).run();
        assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
        assert_eq!(seen(&reader(folder.path())), shown, "{point}");
        let mut target = copying_sink(folder.path());
        let expected = Committed { epoch: header(held).epoch, hash: header(held).hash };
        assert_eq!(target.open(&infos).await.unwrap()[&infos[0].name], Some(expected), "{point}");
        assert_eq!(seen(&reader(folder.path())), shown, "looking at it changes nothing");
        target.maintain().await.unwrap();
        assert_eq!(seen(&reader(folder.path())), held, "{point}");
        let mut again = self::view();
        for epoch in 1..=held {
            commit(&mut again, epoch);
        }
        target.commit(commit(&mut again, held + 1)).await.unwrap();
        assert_eq!(seen(&reader(folder.path())), held + 1, "{point}");
        let expected = ["mart.duckdb", "mart.duckdb.tidegate"].map(str::to_owned);
        assert_eq!(names(folder.path()), BTreeSet::from(expected), "{point}");
    }
}

async fn held(sink: &mut DuckdbSink, info: &ViewInfo) -> Option<u64> {
    sink.open(std::slice::from_ref(info)).await.unwrap()[&info.name].map(|held| held.epoch.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_publishing_can_change() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = view();
    let info = view.info().clone();
    let mut target = sink(folder.path());
    target.commit(commit(&mut view, 1)).await.unwrap();
    let mut target = copying_sink(folder.path());
    assert_eq!(held(&mut target, &info).await, Some(1));
    target.commit(commit(&mut view, 2)).await.unwrap();
    assert_eq!(seen(&reader(folder.path())), 2);
    target.commit(commit(&mut view, 3)).await.unwrap();
    let mut target = sink(folder.path());
    assert_eq!(held(&mut target, &info).await, Some(3));
    target.commit(commit(&mut view, 4)).await.unwrap();
    assert_eq!(names(folder.path()), BTreeSet::from(["mart.duckdb".to_owned()]), "the private file goes");
    let mut target = copying_sink(folder.path());
    assert_eq!(held(&mut target, &info).await, Some(4));
    target.commit(commit(&mut view, 5)).await.unwrap();
    assert_eq!(seen(&reader(folder.path())), 5);
    // Somebody removed what readers open.
    fs::remove_file(folder.path().join("mart.duckdb")).unwrap();
    assert_eq!(held(&mut target, &info).await, Some(5));
    target.maintain().await.unwrap();
    assert_eq!(seen(&reader(folder.path())), 5);
    // And what is ours.
    fs::remove_file(folder.path().join("mart.duckdb.tidegate")).unwrap();
    assert_eq!(held(&mut target, &info).await, Some(5));
    target.commit(commit(&mut view, 6)).await.unwrap();
    assert_eq!(seen(&reader(folder.path())), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_to_the_copy_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = view();
    let info = view.info().clone();
    let mut target = copying_sink(folder.path());
    target.commit(commit(&mut view, 1)).await.unwrap();
    let log = folder.path().join("mart.duckdb.wal");
    fs::write(&log, "the log of a program that is still at it").unwrap();
    let error = target.commit(commit(&mut view, 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    let fact = format!("sink mart: {} shows that a program opened", log.display());
    assert!(error.to_string().starts_with(&fact), "{error}");
    assert_eq!(held(&mut target, &info).await, Some(2), "it is committed");
    fs::remove_file(&log).unwrap();
    target.maintain().await.unwrap();
    assert_eq!(seen(&reader(folder.path())), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_keeps_the_permissions_of_the_file_before() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mart.duckdb");
    let mut view = view();
    let config = DuckdbConfig::new(&file).publish(Publish::AtomicCopy);
    let mut target = DuckdbSink::new("mart", config, clock());
    target.commit(commit(&mut view, 1)).await.unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    target.commit(commit(&mut view, 2)).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o604);
    let (_, rows) = table(&reader(folder.path()), &view.info().name);
    rows.assert_equals(&view.multiset(), "the copy");
}
