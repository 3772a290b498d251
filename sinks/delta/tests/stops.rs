//! Stops in the middle of a commit. Each test runs itself again as the other process, with its part of the play in
//! a variable.

use std::path::{Path, PathBuf};

use tidegate_core::{Commit, Committed, Epoch, RowIdentity, Sink, failpoint};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::process::{Limit, Program};

use crate::random::{query, reader, rows};
use crate::suite::sink;

/// The folder, for the other process.
const FOLDER: &str = "TIDEGATE_TEST_FOLDER";

/// The folder, in the other process.
pub fn part_of_another() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// This test as another process.
pub fn another(test: &str, folder: &Path) -> Program {
    Program::new(std::env::current_exe().unwrap())
        .arguments(["--exact", test, "--nocapture", "--test-threads=1"])
        .variable(FOLDER, folder.to_string_lossy())
}

fn views() -> [ViewModel; 2] {
    let columns = [("k", "INTEGER"), ("v", "VARCHAR")];
    [
        ViewModel::new("whole", &columns, RowIdentity::WholeRow),
        ViewModel::new("keyed", &columns, RowIdentity::Key(vec![0])),
    ]
}

/// The commits of a small history: number 0 makes the views, number 1 changes one and replaces the other.
fn commit(views: &mut [ViewModel; 2], number: u64) -> Commit {
    let epoch = number + 1;
    let contents = ["(1, 'a'), (2, 'b')", "(1, 'c'), (3, 'b')"];
    let deltas: Vec<_> = views.iter_mut().map(|view| view.change_to(contents[number as usize])).collect();
    let [whole, keyed] = views;
    let second = if number == 1 {
        keyed.replacement(header(epoch))
    } else {
        keyed.changes([(header(epoch), deltas[1].clone())])
    };
    Commit {
        after: Epoch(number),
        header: header(epoch),
        views: vec![whole.changes([(header(epoch), deltas[0].clone())]), second],
    }
}

fn check(folder: &Path, views: &[ViewModel]) {
    for view in views {
        let found = rows(&reader(), &query(folder, view));
        found.assert_equals(&view.multiset(), &view.info().name.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_stops_happened_or_not() {
    let mut views = views();
    let infos = [views[0].info().clone(), views[1].info().clone()];
    if let Some(folder) = part_of_another() {
        commit(&mut views, 0);
        let mut sink = sink(&folder);
        sink.open(&infos).await.unwrap();
        let _ = sink.commit(commit(&mut views, 1)).await;
        panic!("the failpoint was passed");
    }
    for (point, done) in [("sink.delta.before_commit", false), ("sink.delta.committed", true)] {
        let mut views = self::views();
        let folder = tempfile::tempdir().unwrap();
        let mut target = sink(folder.path());
        target.open(&infos).await.unwrap();
        target.commit(commit(&mut views, 0)).await.unwrap();
        let test = "stops::a_commit_that_stops_happened_or_not";
        let ended = another(test, folder.path()).variable(failpoint::VARIABLE, point).run();
        assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
        let mut target = sink(folder.path());
        let expected = header(if done { 2 } else { 1 });
        for found in target.open(&infos).await.unwrap().into_values() {
            assert_eq!(found, Some(Committed { epoch: expected.epoch, hash: expected.hash }), "{point}");
        }
        if done {
            commit(&mut views, 1);
        } else {
            check(folder.path(), &views);
            target.commit(commit(&mut views, 1)).await.unwrap();
        }
        check(folder.path(), &views);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_nothing_behind() {
    let view = ViewModel::new("v", &[("k", "BIGINT"), ("text", "VARCHAR")], RowIdentity::WholeRow);
    let infos = [view.info().clone()];
    let content = |rows: usize, epoch: u64| {
        let mut view = view.clone();
        // Digits that do not compress away.
        let values = (0..rows).map(|row| format!("({row}, '{}')", digits(row)));
        let delta = view.change_to(&values.collect::<Vec<_>>().join(", "));
        let views = vec![view.changes([(header(epoch), delta)])];
        (Commit { after: Epoch(epoch - 1), header: header(epoch), views }, view)
    };
    if let Some(folder) = part_of_another() {
        let mut sink = sink(&folder);
        sink.open(&infos).await.unwrap();
        let error = sink.commit(content(20_000, 1).0).await.unwrap_err();
        assert_eq!(error.kind(), tidegate_core::ErrorKind::Retry, "{error}");
        println!("failed as it should: {error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = another("stops::a_full_disk_leaves_nothing_behind", folder.path()).limit(Limit::FileSize(100_000));
    let ended = program.run().expect(0);
    assert!(ended.stdout.contains("failed as it should"), "{}", ended.stdout);
    let mut target = sink(folder.path());
    assert_eq!(target.open(&infos).await.unwrap()[&infos[0].name], None);
    let (commit, after) = content(20_000, 1);
    target.commit(commit).await.unwrap();
    check(folder.path(), &[after]);
}

/// Digits that differ from those of every other number.
fn digits(row: usize) -> String {
    let mut state = row as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    };
    (0..3).map(|_| format!("{:016x}", next())).collect()
}
