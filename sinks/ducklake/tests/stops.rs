//! Stops in the middle of a commit, and a process that holds the catalog. Each test runs itself again
//! as the other process, with its part of the play in variables.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use tidegate_core::{Commit, Committed, ErrorKind, RowIdentity, Sink, failpoint};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::lake::Catalog;
use tidegate_testkit::process::Program;

use crate::lakes::{KINDS, Kind, catalog, reader, sink_with, table};

/// The folder of the lake, for the other process.
const FOLDER: &str = "TIDEGATE_TEST_FOLDER";
/// The database with its catalog, if it is in PostgreSQL.
const DATABASE: &str = "TIDEGATE_TEST_DATABASE";
/// Which kind it is.
const KIND: &str = "TIDEGATE_TEST_KIND";

/// The folder and the lake, in the other process.
pub fn part_of_another() -> Option<(PathBuf, Catalog)> {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from)?;
    let catalog = match std::env::var(KIND).unwrap().as_str() {
        "DuckDb" => Catalog::duckdb(&folder),
        "Sqlite" => Catalog::sqlite(&folder),
        _ => Catalog::Postgres(std::env::var(DATABASE).unwrap()),
    };
    Some((folder, catalog))
}

/// The variables of the other process.
pub fn variables(kind: Kind, folder: &Path) -> Vec<(&'static str, String)> {
    let mut variables = vec![(FOLDER, folder.to_string_lossy().into_owned()), (KIND, format!("{kind:?}"))];
    if let Catalog::Postgres(connection) = catalog(kind, folder) {
        variables.push((DATABASE, connection));
    }
    variables
}

fn views() -> [ViewModel; 2] {
    let columns = [("k", "INTEGER"), ("v", "VARCHAR")];
    [
        ViewModel::new("whole", &columns, RowIdentity::WholeRow),
        ViewModel::new("keyed", &columns, RowIdentity::Key(vec![0])),
    ]
}

/// The commits of a small history: number 0 makes the views, number 1 changes one and replaces
/// the other.
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
        after: tidegate_core::Epoch(number),
        header: header(epoch),
        views: vec![whole.changes([(header(epoch), deltas[0].clone())]), second],
    }
}

fn check(catalog: &Catalog, views: &[ViewModel]) {
    for view in views {
        let (_, rows) = table(&reader(catalog), &view.info().name, None);
        rows.assert_equals(&view.multiset(), &format!("{}", view.info().name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_stops_happened_or_not() {
    let mut views = views();
    let infos = [views[0].info().clone(), views[1].info().clone()];
    if let Some((folder, catalog)) = part_of_another() {
        commit(&mut views, 0);
        let mut sink = sink_with(&catalog, &folder, &json!({}));
        sink.open(&infos).await.unwrap();
        let _ = sink.commit(commit(&mut views, 1)).await;
        panic!("the failpoint was passed");
    }
    for kind in KINDS {
        for (point, done) in [("sink.ducklake.before_commit", false), ("sink.ducklake.committed", true)] {
            let mut views = self::views();
            let folder = tempfile::tempdir().unwrap();
            let lake = catalog(kind, folder.path());
            let mut target = sink_with(&lake, folder.path(), &json!({}));
            target.open(&infos).await.unwrap();
            target.commit(commit(&mut views, 0)).await.unwrap();
            let test = "stops::a_commit_that_stops_happened_or_not";
            let arguments = ["--exact", test, "--nocapture", "--test-threads=1"];
            let program = Program::new(std::env::current_exe().unwrap()).arguments(arguments);
            let program = variables(kind, folder.path()).into_iter().fold(program, |p, (n, v)| p.variable(n, v));
            let ended = program.variable(failpoint::VARIABLE, point).run();
            assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
            let mut target = sink_with(&lake, folder.path(), &json!({}));
            let expected = header(if done { 2 } else { 1 });
            for found in target.open(&infos).await.unwrap().into_values() {
                let expected = Committed { epoch: expected.epoch, hash: expected.hash };
                assert_eq!(found, Some(expected), "{kind:?} {point}");
            }
            if !done {
                check(&lake, &views);
            }
            let again = commit(&mut views, 1);
            if !done {
                target.commit(again).await.unwrap();
            }
            check(&lake, &views);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_catalogs_file_delays_the_commit() {
    let mut views = views();
    let infos = [views[0].info().clone(), views[1].info().clone()];
    if let Some((_, catalog)) = part_of_another() {
        let _duck = reader(&catalog);
        println!("held");
        // Until the other side closes the pipe.
        std::io::stdin().lines().for_each(drop);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lake = catalog(Kind::DuckDb, folder.path());
    let mut target = sink_with(&lake, folder.path(), &json!({}));
    target.open(&infos).await.unwrap();
    target.commit(commit(&mut views, 0)).await.unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stops::a_reader_of_the_catalogs_file_delays_the_commit", "--nocapture"])
        .envs(variables(Kind::DuckDb, folder.path()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("held")), "the reader opens the lake");
    let mut ahead = views.clone();
    let error = target.commit(commit(&mut ahead, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    let Catalog::DuckDb(file) = &lake else { unreachable!() };
    let fact = format!("sink lake: the catalog {} is held by another process (PID {})", file.display(), holder.id());
    assert!(error.to_string().starts_with(&fact), "{error}");
    drop(holder.stdin.take());
    lines.for_each(drop);
    assert!(holder.wait().unwrap().success());
    target.commit(commit(&mut views, 1)).await.unwrap();
    check(&lake, &views);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_this_process_and_the_sink_wait_for_each_other() {
    use tidegate_duck::Gate;
    let mut views = views();
    let folder = tempfile::tempdir().unwrap();
    let lake = catalog(Kind::DuckDb, folder.path());
    let Catalog::DuckDb(file) = &lake else { unreachable!() };
    let mut target = sink_with(&lake, folder.path(), &json!({}));
    let reading = Gate::of(file).share();
    let began = std::time::Instant::now();
    let writing = tokio::spawn(async move {
        target.commit(commit(&mut views, 0)).await.unwrap();
        views
    });
    while began.elapsed().as_millis() < 300 {
        tokio::task::yield_now().await;
    }
    assert!(!file.exists(), "nothing is written while a reader has the file");
    drop(reading);
    check(&lake, &writing.await.unwrap());
}
