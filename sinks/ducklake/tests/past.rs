//! The suite for histories, and what is the lake's own about them.

use std::path::Path;

use serde_json::json;
use tidegate_core::{Commit, Epoch, ErrorKind, History, Micros, RowIdentity, Sink, ViewInfo, failpoint};
use tidegate_duck::{Duck, quote_ident};
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::conformance::{HistoryReader, Version, history};
use tidegate_testkit::lake::Catalog;

use crate::lakes::{KINDS, Kind, Reader, catalog, reader, sink, sink_with, texts};
use crate::stops::{part_of_another, variables};

/// How a test sees a lake.
struct Seen(Kind);

fn rows(duck: &Duck, sql: &str) -> Result<Multiset, String> {
    duck.query(sql).map(|(_, batches)| Multiset::of_batches(&batches)).map_err(|error| error.to_string())
}

/// The lake as a reader uses it, while something is asked.
fn using<T>(lake: &Catalog, ask: impl FnOnce(&Reader) -> T) -> T {
    let duck = reader(lake);
    duck.execute("USE lake").unwrap();
    let answer = ask(&duck);
    duck.execute("USE memory").unwrap();
    answer
}

impl HistoryReader for Seen {
    fn versions(&self, folder: &Path, view: &ViewInfo) -> Vec<Version> {
        let duck = reader(&catalog(self.0, folder));
        let name = quote_ident(&format!("{}_history", view.name));
        Version::of_batches(view, &duck.query(&format!("FROM lake.main.{name}")).unwrap().1)
    }

    fn as_of(&self, folder: &Path, view: &ViewInfo, epochs: &[u64]) -> Option<Vec<Result<Multiset, String>>> {
        let name = quote_ident(&format!("{}_asof", view.name));
        Some(using(&catalog(self.0, folder), |duck| {
            epochs.iter().map(|epoch| rows(duck, &format!("FROM {name}({epoch})"))).collect()
        }))
    }

    fn as_of_times(&self, folder: &Path, view: &ViewInfo, micros: &[i64]) -> Option<Vec<Result<Multiset, String>>> {
        let name = quote_ident(&format!("{}_asof_ts", view.name));
        Some(using(&catalog(self.0, folder), |duck| {
            micros.iter().map(|time| rows(duck, &format!("FROM {name}('{}')", Micros(*time)))).collect()
        }))
    }
}

#[test]
fn histories_conform_with_a_catalog_in_duckdb() {
    history(|folder| Box::new(sink(Kind::DuckDb, folder)), &Seen(Kind::DuckDb));
}

#[test]
#[ignore = "takes minutes: the laws are the same with every catalog, and what differs is tested below"]
fn histories_conform_with_a_catalog_in_sqlite() {
    history(|folder| Box::new(sink(Kind::Sqlite, folder)), &Seen(Kind::Sqlite));
}

#[test]
#[ignore = "takes minutes: the laws are the same with every catalog, and what differs is tested below"]
fn histories_conform_with_a_catalog_in_postgres() {
    history(|folder| Box::new(sink(Kind::Postgres, folder)), &Seen(Kind::Postgres));
}

const FOR_EVER: Option<History> = Some(History { retention: None });

fn view() -> ViewModel {
    let columns = [("epoch", "BIGINT"), ("ts", "HUGEINT"), ("l", "VARCHAR[]"), ("i", "INTERVAL")];
    ViewModel::new("a \"v\"", &columns, RowIdentity::Key(vec![0])).with_history(FOR_EVER)
}

/// The commit of an epoch that brings these rows.
fn commit(view: &mut ViewModel, epoch: u64, rows: &str) -> Commit {
    let delta = view.change_to(rows);
    Commit { after: Epoch(epoch - 1), header: header(epoch), views: vec![view.changes([(header(epoch), delta)])] }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_has_the_lakes_types_and_says_what_it_holds() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let (mut view, mut target) = (view(), sink(kind, folder.path()));
        let states =
            ["(1, 1, ['a\"'], '1 month'), (2, 2, NULL, NULL)", "(1, 9, ['a\"'], '30 days'), (2, 2, NULL, NULL)"];
        for (index, rows) in states.iter().enumerate() {
            target.commit(commit(&mut view, index as u64 + 1, rows)).await.unwrap();
        }
        target.maintain().await.unwrap();
        let lake = catalog(kind, folder.path());
        let duck = reader(&lake);
        let standing = "SELECT concat_ws(' ', view, key, since_epoch, epoch) FROM lake.main._tidegate_history";
        assert_eq!(texts(&duck, standing), ["a \"v\" [epoch] 1 2"], "{kind:?}");
        let versions = "SELECT concat_ws(' ', epoch, ts, i, _valid_from_epoch, _valid_to_epoch) AS t \
                        FROM lake.main.\"a \"\"v\"\"_history\" ORDER BY t";
        assert_eq!(texts(&duck, versions), ["1 1 1 month 1 2", "1 9 30 days 2", "2 2 1"], "{kind:?}");
        drop(duck);
        let asked = "SELECT i FROM \"a \"\"v\"\"_asof\"(1) WHERE epoch = 1";
        assert_eq!(using(&lake, |duck| texts(duck, asked)), ["1 month"], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_somebody_elses_is_left_alone() {
    for (sql, name) in [
        ("CREATE TABLE lake.main.\"a \"\"v\"\"_history\" (x INTEGER)", "a \"v\"_history"),
        ("CREATE MACRO lake.main.\"a \"\"v\"\"_asof\"(x) AS TABLE SELECT x", "a \"v\"_asof"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut target = sink(Kind::DuckDb, folder.path());
        let other = ViewModel::new("other", &[("k", "INTEGER")], RowIdentity::WholeRow);
        let views = vec![other.changes([])];
        target.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
        reader(&catalog(Kind::DuckDb, folder.path())).execute(sql).unwrap();
        let error = target.commit(commit(&mut view(), 1, "(1, 1, NULL, NULL)")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().contains(&format!("macro named {name} that Tidegate did not write")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_begins_when_the_tables_that_are_named_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut ours = view();
    for epoch in 1..=3 {
        let commit = commit(&mut ours, epoch, &format!("({epoch}, 1, NULL, NULL)"));
        sink(Kind::DuckDb, folder.path()).commit(commit).await.unwrap();
    }
    let lake = catalog(Kind::DuckDb, folder.path());
    reader(&lake).execute("DROP TABLE lake.main.\"a \"\"v\"\"\"").unwrap();
    let again = commit(&mut view(), 1, "(1, 2, NULL, NULL)");
    let error = sink(Kind::DuckDb, folder.path()).commit(again).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    let error = error.to_string();
    assert!(error.contains("holds epoch 3, and epoch 1 is to be written"), "{error}");
    let tables = error.split_once("drop the tables ").and_then(|(_, rest)| rest.split_once(", and the next run"));
    for table in tables.unwrap().0.split(", ") {
        reader(&lake).execute(&format!("DROP TABLE lake.main.{table}")).unwrap();
    }
    let mut again = view();
    for epoch in 1..=2 {
        let commit = commit(&mut again, epoch, &format!("({epoch}, 2, NULL, NULL)"));
        sink(Kind::DuckDb, folder.path()).commit(commit).await.unwrap();
    }
    rows(&reader(&lake), "FROM lake.main.\"a \"\"v\"\"\"").unwrap().assert_equals(&again.multiset(), "the view");
    assert_eq!(Seen(Kind::DuckDb).versions(folder.path(), again.info()).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_went_by_another_hand_stop_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let (mut view, mut target) = (view(), sink(Kind::DuckDb, folder.path()));
    target.commit(commit(&mut view, 1, "(1, 1, NULL, NULL), (2, 2, NULL, NULL)")).await.unwrap();
    let lake = catalog(Kind::DuckDb, folder.path());
    reader(&lake).execute("DELETE FROM lake.main.\"a \"\"v\"\"\" WHERE epoch = 2").unwrap();
    let mut target = sink(Kind::DuckDb, folder.path());
    let error = target.commit(commit(&mut view, 2, "(1, 1, NULL, NULL), (2, 2, NULL, NULL), (3, 3, NULL, NULL)")).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("1 rows, and 2 open versions"), "{error}");
    // The way out that the message names.
    reader(&lake).execute("DROP TABLE lake.main.\"a \"\"v\"\"\"").unwrap();
    let views = vec![view.replacement(header(2))];
    target.commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap();
    let asked = Seen(Kind::DuckDb).as_of(folder.path(), view.info(), &[2]).unwrap().remove(0).unwrap();
    assert_eq!(asked.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_the_view_and_its_history_in_one_snapshot() {
    let states = ["(1, 1, NULL, NULL), (2, 2, NULL, NULL)", "(1, 3, NULL, NULL)"];
    if let Some((folder, lake)) = part_of_another() {
        let mut view = view();
        view.change_to(states[0]);
        let mut target = sink_with(&lake, &folder, &json!({}));
        target.open(&[view.info().clone()]).await.unwrap();
        let _ = target.commit(commit(&mut view, 2, states[1])).await;
        panic!("the failpoint was passed");
    }
    for (point, epoch) in [("sink.ducklake.before_commit", "1"), ("sink.ducklake.committed", "2")] {
        let folder = tempfile::tempdir().unwrap();
        let (mut view, kind) = (view(), Kind::Sqlite);
        sink(kind, folder.path()).commit(commit(&mut view, 1, states[0])).await.unwrap();
        let test = "past::a_stop_leaves_the_view_and_its_history_in_one_snapshot";
        let mut program = tidegate_testkit::process::Program::new(std::env::current_exe().unwrap())
            .arguments(["--exact", test, "--nocapture", "--test-threads=1"])
            .variable(failpoint::VARIABLE, point);
        for (name, value) in variables(kind, folder.path()) {
            program = program.variable(name, value);
        }
        let ended = program.run();
        assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
        let duck = reader(&catalog(kind, folder.path()));
        let shown = rows(&duck, "SELECT epoch, ts FROM lake.main.\"a \"\"v\"\"\"").unwrap();
        let open = "SELECT epoch, ts FROM lake.main.\"a \"\"v\"\"_history\" WHERE valid_to IS NULL";
        rows(&duck, open).unwrap().assert_equals(&shown, point);
        for table in ["_tidegate_history", "_tidegate_epochs", "_tidegate_time"] {
            assert_eq!(texts(&duck, &format!("SELECT max(epoch) FROM lake.main.{table}")), [epoch], "{point}: {table}");
        }
    }
}
