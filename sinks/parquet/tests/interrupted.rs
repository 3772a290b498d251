//! Commits that end in the middle, at every step, and come again.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_core::{Commit, CommitOutcome, Committed, Epoch, EpochHeader, ErrorKind, RowIdentity, Sink, failpoint};
use tidegate_sink_parquet::ParquetSink;
use tidegate_testkit::conformance::model::{ViewModel, header, header_of};
use tidegate_testkit::process::{Limit, Program};

use crate::files::tree;
use crate::random::{reader, rows};
use crate::suite::sink;

/// The folder, for the other process.
const FOLDER: &str = "TIDEGATE_TEST_FOLDER";

fn views() -> [ViewModel; 2] {
    let columns = [("k", "INTEGER"), ("v", "VARCHAR")];
    [ViewModel::new("one", &columns, RowIdentity::WholeRow), ViewModel::new("two", &columns, RowIdentity::Key(vec![0]))]
}

async fn opened(folder: &Path) -> ParquetSink {
    let mut sink = sink(folder);
    let [one, two] = views();
    sink.open(&[one.info().clone(), two.info().clone()]).await.unwrap();
    sink
}

/// Epoch 1: both views have rows.
fn first(views: &mut [ViewModel; 2]) -> Commit {
    let parts = views.iter_mut().map(|view| {
        let delta = view.change_to("(1, 'a'), (2, 'b')");
        view.changes([(header(1), delta)])
    });
    Commit { after: Epoch(0), header: header(1), views: parts.collect() }
}

/// Epochs 2 to 4: view one changes in all of them, view two in 2 and 4.
fn second(views: &mut [ViewModel; 2]) -> Commit {
    let [one, two] = views;
    let contents = ["(1, 'a'), (1, 'a')", "(3, 'c')", "(1, 'a'), (3, 'c')"];
    let deltas: Vec<_> = (2..).map(header).zip(contents.map(|values| one.change_to(values))).collect();
    let others = vec![(header(2), two.change_to("(1, 'z')")), (header(4), two.change_to("(1, 'y'), (5, 'x')"))];
    Commit { after: Epoch(1), header: header(4), views: vec![one.changes(deltas), two.changes(others)] }
}

/// Epoch 5: view one is replaced, view two changes.
fn third(views: &mut [ViewModel; 2]) -> Commit {
    let [one, two] = views;
    one.change_to("(9, 'nine'), (9, 'nine')");
    let delta = two.change_to("(9, 'nine')");
    let parts = vec![one.replacement(header(5)), two.changes([(header(5), delta)])];
    Commit { after: Epoch(4), header: header(5), views: parts }
}

fn check(folder: &Path, views: &[ViewModel]) {
    let duck = reader(folder);
    for view in views {
        let found = rows(&duck, &format!("FROM {}", view.info().name));
        found.assert_equals(&view.multiset(), &format!("view {}", view.info().name));
    }
}

async fn holds(folder: &Path, expected: [Option<&EpochHeader>; 2]) {
    let mut sink = sink(folder);
    for (view, expected) in views().iter().zip(expected) {
        let found = sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name];
        assert_eq!(found, expected.map(|h| Committed { epoch: h.epoch, hash: h.hash }), "view {}", view.info().name);
    }
}

fn copy(from: &Path, names: &[String], to: &Path) {
    for name in names {
        let target = to.join("out/changes").join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join("out/changes").join(name), target).unwrap();
    }
}

/// A folder at epoch 1, one at epoch 4, and the files that the second has and the first has not,
/// in the order in which they are published. The views are those of epoch 1.
async fn two_steps(views: &mut [ViewModel; 2]) -> (tempfile::TempDir, tempfile::TempDir, Vec<String>) {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    opened(before.path()).await.commit(first(views)).await.unwrap();
    let old = tree(&before.path().join("out/changes"));
    copy(before.path(), &old, after.path());
    // The range is there already: nothing happens.
    let outcome = opened(after.path()).await.commit(first(&mut self::views())).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }));
    opened(after.path()).await.commit(second(&mut views.clone())).await.unwrap();
    let mut new = tree(&after.path().join("out/changes"));
    new.retain(|name| !old.contains(name));
    new.sort_by_key(|name| name.rsplit('/').next().map(str::to_owned));
    (before, after, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_a_manifest_are_adopted() {
    let mut model = views();
    let (before, after, new) = two_steps(&mut model).await;
    assert_eq!(new.len(), 5);
    for published in 0..=new.len() {
        let folder = tempfile::tempdir().unwrap();
        copy(before.path(), &tree(&before.path().join("out/changes")), folder.path());
        copy(after.path(), &new[..published], folder.path());
        holds(folder.path(), [Some(&header(1)), Some(&header(1))]).await;
        let mut views = model.clone();
        let times = |names: &[String]| {
            let path = |name: &String| folder.path().join("out/changes").join(name);
            names.iter().map(|name| fs::metadata(path(name)).unwrap().modified().unwrap()).collect::<Vec<_>>()
        };
        let written = times(&new[..published]);
        opened(folder.path()).await.commit(second(&mut views)).await.unwrap();
        assert_eq!(times(&new[..published]), written, "files that are there are not written again");
        check(folder.path(), &views);
        holds(folder.path(), [Some(&header(4)), Some(&header(4))]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_range_may_be_cut_differently_the_second_time() {
    let mut model = views();
    let (before, after, new) = two_steps(&mut model).await;
    let folder = tempfile::tempdir().unwrap();
    copy(before.path(), &tree(&before.path().join("out/changes")), folder.path());
    copy(after.path(), &new, folder.path());
    let [mut one, mut two] = model;
    let mut sink = opened(folder.path()).await;
    let deltas = (one.change_to("(1, 'a'), (1, 'a')"), two.change_to("(1, 'z')"));
    let parts = vec![one.changes([(header(2), deltas.0)]), two.changes([(header(2), deltas.1)])];
    sink.commit(Commit { after: Epoch(1), header: header(2), views: parts }).await.unwrap();
    let deltas = (one.change_to("(3, 'c')"), one.change_to("(1, 'a'), (3, 'c')"), two.change_to("(1, 'y'), (5, 'x')"));
    let parts = vec![one.changes([(header(3), deltas.0), (header(4), deltas.1)]), two.changes([(header(4), deltas.2)])];
    sink.commit(Commit { after: Epoch(2), header: header(4), views: parts }).await.unwrap();
    check(folder.path(), &[one, two]);
    holds(folder.path(), [Some(&header(4)), Some(&header(4))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_history_stop_the_sink() {
    let mut model = views();
    let (before, after, new) = two_steps(&mut model).await;
    let folder = tempfile::tempdir().unwrap();
    copy(before.path(), &tree(&before.path().join("out/changes")), folder.path());
    copy(after.path(), &new[..1], folder.path());
    let present = tree(&folder.path().join("out/changes"));
    let [mut one, two] = model;
    let theirs = header_of(2, 2);
    let delta = one.change_to("(7, 'other')");
    // Another hash, and no file at all where one is.
    for parts in [vec![one.changes([(theirs.clone(), delta)]), two.changes([])], vec![one.changes([]), two.changes([])]]
    {
        let commit = Commit { after: Epoch(1), header: theirs.clone(), views: parts };
        let error = opened(folder.path()).await.commit(commit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        assert!(error.to_string().contains("holds epoch 2 of view one as another history wrote it"), "{error}");
        assert_eq!(tree(&folder.path().join("out/changes")), present);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_may_stop_at_every_step() {
    let mut model = views();
    let (_, after, _) = two_steps(&mut model).await;
    second(&mut model);
    let old = tree(&after.path().join("out/changes"));
    let files_of_one: Vec<_> = old.iter().filter(|name| name.starts_with("one/")).rev().cloned().collect();
    let done = tempfile::tempdir().unwrap();
    copy(after.path(), &old, done.path());
    let mut views = model.clone();
    opened(done.path()).await.commit(third(&mut views)).await.unwrap();
    check(done.path(), &views);
    let new = "one/00000000000000000005.parquet".to_owned();
    assert_eq!(tree(&done.path().join("out/changes/one")), ["00000000000000000005.parquet"]);
    for removed in 0..=files_of_one.len() + 1 {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out/changes");
        copy(after.path(), &old, folder.path());
        let manifest = fs::read_to_string(root.join("_tidegate/manifest.json")).unwrap();
        let (one, two) = manifest.split_once("\"two\"").unwrap();
        let manifest = format!("{}\"two\"{two}", one.replace("\"complete\"", "\"replacing\""));
        fs::write(root.join("_tidegate/manifest.json"), manifest).unwrap();
        files_of_one.iter().take(removed).for_each(|name| fs::remove_file(root.join(name)).unwrap());
        if removed > files_of_one.len() {
            copy(done.path(), std::slice::from_ref(&new), folder.path());
        }
        holds(folder.path(), [None, Some(&header(4))]).await;
        let mut views = model.clone();
        opened(folder.path()).await.commit(third(&mut views)).await.unwrap();
        check(folder.path(), &views);
        assert_eq!(tree(&root.join("one")), ["00000000000000000005.parquet"]);
        holds(folder.path(), [Some(&header(5)), Some(&header(5))]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_somebody_removed_are_not_held() {
    let mut model = views();
    let (_, after, _) = two_steps(&mut model).await;
    second(&mut model);
    fs::remove_dir_all(after.path().join("out/changes/one")).unwrap();
    holds(after.path(), [None, Some(&header(4))]).await;
    opened(after.path()).await.commit(third(&mut model)).await.unwrap();
    check(after.path(), &model);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_manifest_means_nothing_is_held() {
    let mut model = views();
    let (_, after, _) = two_steps(&mut model).await;
    second(&mut model);
    let root = after.path().join("out/changes");
    fs::remove_file(root.join("_tidegate/manifest.json")).unwrap();
    holds(after.path(), [None, None]).await;
    let parts = model.iter().map(|view| view.replacement(header(5))).collect();
    let mut sink = opened(after.path()).await;
    sink.commit(Commit { after: Epoch(0), header: header(5), views: parts }).await.unwrap();
    check(after.path(), &model);
    assert_eq!(tree(&root.join("one")), ["00000000000000000005.parquet"]);
}

/// The folder, in the other process.
pub fn part_of_another() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

pub fn another(test: &str, folder: &Path) -> Program {
    Program::new(std::env::current_exe().unwrap())
        .arguments(["--exact", test, "--nocapture", "--test-threads=1"])
        .variable(FOLDER, folder.to_string_lossy())
}

#[tokio::test(flavor = "multi_thread")]
async fn failpoints_leave_what_can_be_continued() {
    let mut model = views();
    first(&mut model);
    if let Some(folder) = part_of_another() {
        let _ = opened(&folder).await.commit(second(&mut model)).await;
        panic!("the failpoint was passed");
    }
    for point in ["sink.parquet.staged", "sink.parquet.published"] {
        let folder = tempfile::tempdir().unwrap();
        opened(folder.path()).await.commit(first(&mut views())).await.unwrap();
        let root = folder.path().join("out/changes");
        let before = tree(&root);
        let program = another("interrupted::failpoints_leave_what_can_be_continued", folder.path());
        let ended = program.variable(failpoint::VARIABLE, point).run();
        assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
        let mut visible = tree(&root);
        visible.retain(|name| !name.starts_with("_tidegate/stage/"));
        assert_eq!(visible.len() - before.len(), if point.ends_with("staged") { 0 } else { 5 }, "{point}");
        holds(folder.path(), [Some(&header(1)), Some(&header(1))]).await;
        let mut views = model.clone();
        opened(folder.path()).await.commit(second(&mut views)).await.unwrap();
        check(folder.path(), &views);
        assert!(!tree(&root).iter().any(|name| name.starts_with("_tidegate/stage/")), "nothing stays behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_nothing_visible() {
    let mut view = ViewModel::new("one", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::WholeRow);
    let values: Vec<_> =
        (0..20_000u64).map(|row| format!("({row}, '{:x}')", row.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let delta = view.change_to(&values.join(", "));
    let commit =
        || Commit { after: Epoch(0), header: header(1), views: vec![view.changes([(header(1), delta.clone())])] };
    if let Some(folder) = part_of_another() {
        let error = opened(&folder).await.commit(commit()).await.unwrap_err();
        println!("failed as it should: {error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = another("interrupted::a_full_disk_leaves_nothing_visible", folder.path());
    let ended = program.limit(Limit::FileSize(100_000)).run().expect(0);
    assert!(ended.stdout.contains("failed as it should: sink changes: "), "{}", ended.stdout);
    assert_eq!(tree(&folder.path().join("out/changes")), Vec::<String>::new());
    opened(folder.path()).await.commit(commit()).await.unwrap();
    check(folder.path(), &[view]);
}
