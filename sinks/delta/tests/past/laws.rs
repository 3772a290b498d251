//! The laws of histories, in a folder and in an object store, for rows of every type, and as other programs see them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_core::{Commit, Epoch, RowIdentity, Sink, ViewInfo};
use tidegate_sink_delta::DeltaConfig;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::conformance::{HistoryReader, Version, history};
use tidegate_testkit::{Multiset, seed};

use super::{FOR_EVER, Seen, as_of, commit_each, epochs, history_table, next, pairs, told, versions_in};
use crate::history::History as Changing;
use crate::python::python;
use crate::random::{query, reader, rows, table};
use crate::suite::{configured, remote, sink};

#[test]
fn histories_conform_in_a_folder() {
    history(|folder| Box::new(sink(folder)), &Seen);
}

/// The same where each commit meets many files, some of them merged.
#[test]
fn histories_conform_in_small_files() {
    let config = || DeltaConfig { target_file_size: 1 << 10, optimize_after: 2, ..DeltaConfig::new("out/lake") };
    history(|folder| Box::new(configured(folder, config())), &Seen);
}

/// Tables in an object store, which are copied to be read.
struct Copied(Arc<dyn ObjectStore>);

fn prefix(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

impl HistoryReader for Copied {
    fn versions(&self, folder: &Path, view: &ViewInfo) -> Vec<Version> {
        let (store, prefix) = (self.0.clone(), prefix(folder));
        let copy = tempfile::tempdir().unwrap();
        let to = copy.path().to_owned();
        let copying = async move {
            let found: Vec<_> = store.list(Some(&prefix.as_str().into())).try_collect().await.unwrap();
            for object in found {
                let content = store.get(&object.location).await.unwrap().bytes().await.unwrap();
                let path: PathBuf = to.join("out/lake").join(&object.location.as_ref()[prefix.len() + 1..]);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
        };
        // The suite asks within a runtime.
        std::thread::scope(|scope| {
            let runtime = || tokio::runtime::Runtime::new().unwrap().block_on(copying);
            scope.spawn(runtime).join().unwrap();
        });
        Seen.versions(copy.path(), view)
    }

    fn as_of(&self, _: &Path, _: &ViewInfo, _: &[u64]) -> Option<Vec<Result<Multiset, String>>> {
        None
    }

    fn as_of_times(&self, _: &Path, _: &ViewInfo, _: &[i64]) -> Option<Vec<Result<Multiset, String>>> {
        None
    }
}

#[test]
fn histories_conform_in_s3() {
    let s3 = tidegate_testkit::S3::start();
    let store = s3.store();
    let seen = Copied(s3.store());
    history(|folder| Box::new(remote(store.clone(), &prefix(folder))), &seen);
}

/// Rows of every type, in small files that are merged meanwhile, by the sink and by others.
#[tokio::test(flavor = "multi_thread")]
async fn histories_of_every_type() {
    let seed = seed::seed("histories_of_every_type");
    for sequence in 0..seed::sequences(2) {
        for keyed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let mut history = Changing::new("a_view", seed.wrapping_add(sequence), keyed);
            history.view.set_history(FOR_EVER);
            let info = history.view.info().clone();
            let config = DeltaConfig { target_file_size: 20_000, optimize_after: 3, ..DeltaConfig::new("out/lake") };
            let open = || configured(folder.path(), config.clone());
            let mut target = open();
            target.open(std::slice::from_ref(&info)).await.unwrap();
            // A first epoch without rows is not told: the history begins with the content.
            let first = history.replace();
            target.commit(Commit { after: Epoch(0), header: history.header(), views: vec![first] }).await.unwrap();
            for _ in 0..8 {
                let after = history.header().epoch;
                let views = vec![if history.below(6) == 0 { history.replace() } else { history.advance() }];
                target.commit(Commit { after, header: history.header(), views }).await.unwrap();
                match history.below(4) {
                    0 => target.maintain().await.unwrap(),
                    1 => {
                        target = open();
                        target.open(std::slice::from_ref(&info)).await.unwrap();
                    }
                    _ => {}
                }
            }
            for epoch in 1..=history.header().epoch.0 {
                let what = format!("keyed {keyed}, as of {epoch}");
                as_of(folder.path(), &info, epoch).assert_equals(&history.past[epoch as usize], &what);
            }
            let versions = Seen.versions(folder.path(), &info);
            let open = versions.iter().filter(|version| version.epochs.1.is_none());
            assert_eq!(open.count() as i64, history.view.multiset().len());
            assert!(versions.iter().all(|version| version.epochs.1.is_none_or(|end| end > version.epochs.0)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_read_a_history() {
    let folder = tempfile::tempdir().unwrap();
    let (mut view, mut target) = (pairs(), sink(folder.path()));
    target.open(&[view.info().clone()]).await.unwrap();
    commit_each(&mut target, &mut view, 1, &["(1, 'a'), (2, 'b')", "(1, 'A'), (2, 'b')", "(1, 'A')"]).await;
    let place = history_table(folder.path(), view.info());
    let then = format!("TIMESTAMP '{}'", header(2).time.to_string().trim_end_matches('Z'));
    let sql =
        format!("SELECT k, v FROM t WHERE valid_from <= {then} AND (valid_to IS NULL OR valid_to > {then}) ORDER BY k");
    let found = python("query", &place, Some(&sql));
    assert_eq!(found, serde_json::json!([{"k": 1, "v": "A"}, {"k": 2, "v": "b"}]));
    let log = python("history", &place, None);
    assert_eq!(log[0]["tidegate"]["epoch"], 3, "{log}");
    assert_eq!(epochs(folder.path(), &view), told(&[("A", 2, None), ("a", 1, Some(2)), ("b", 1, Some(3))]));
    // Each version of the table is a state of the history.
    let old = format!("SELECT v FROM delta_scan('{}', version => 0)", place.display());
    assert_eq!(rows(&reader(), &old).len(), 2);
    rows(&reader(), &query(folder.path(), &view)).assert_equals(&view.multiset(), "the view");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_and_curves() {
    for identity in [RowIdentity::Key(vec![0]), RowIdentity::WholeRow] {
        let folder = tempfile::tempdir().unwrap();
        let config = DeltaConfig {
            partition_by: vec!["region".to_owned()],
            z_order: vec!["k".to_owned(), "v".to_owned()],
            optimize_after: 2,
            ..DeltaConfig::new("out/lake")
        };
        let columns = [("k", "BIGINT"), ("v", "VARCHAR"), ("region", "VARCHAR")];
        let mut view = ViewModel::new("pairs", &columns, identity).with_history(FOR_EVER);
        let mut target = configured(folder.path(), config);
        target.open(&[view.info().clone()]).await.unwrap();
        let mut past = Vec::new();
        let contents = [
            "(1, 'a', 'EU'), (2, 'b', 'US'), (3, 'c', NULL)",
            "(1, 'A', 'EU'), (2, 'b', 'EU'), (3, 'c', NULL)",
            "(2, 'B', 'EU'), (3, 'c', 'US')",
            "(2, 'B', 'US')",
        ];
        for (epoch, values) in (1..).zip(contents) {
            target.commit(next(&mut view, epoch, values)).await.unwrap();
            target.maintain().await.unwrap();
            past.push(view.multiset());
        }
        let views = vec![view.replacement(header(5))];
        target.commit(Commit { after: Epoch(4), header: header(5), views }).await.unwrap();
        for (epoch, rows) in (1..).zip(&past) {
            as_of(folder.path(), view.info(), epoch).assert_equals(rows, &format!("as of {epoch}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_of_other_columns_stays_beside_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (mut view, mut target) = (pairs(), sink(folder.path()));
    target.open(&[view.info().clone()]).await.unwrap();
    commit_each(&mut target, &mut view, 1, &["(1, 'a'), (2, 'b')", "(1, 'A'), (2, 'b')"]).await;
    let columns = [("k", "BIGINT"), ("odd name", "STRUCT(a INTEGER)")];
    let mut wider = ViewModel::new("pairs", &columns, RowIdentity::WholeRow).with_history(FOR_EVER);
    wider.change_to("(1, {'a': 1})");
    let views = vec![wider.replacement(header(3))];
    target.commit(Commit { after: Epoch(2), header: header(3), views }).await.unwrap();
    let aside = versions_in(&table(folder.path(), "pairs_history_until_3"), view.info());
    let mut ends: Vec<_> = aside.iter().map(|version| version.epochs).collect();
    ends.sort();
    assert_eq!(ends, [(1, Some(2)), (1, Some(3)), (2, Some(3))]);
    assert!(aside.iter().all(|version| version.times.1.is_some_and(|end| end > version.times.0)));
    let versions = Seen.versions(folder.path(), wider.info());
    assert_eq!(versions.iter().map(|version| version.epochs).collect::<Vec<_>>(), [(3, None)]);
    target.commit(next(&mut wider, 4, "(2, {'a': NULL})")).await.unwrap();
    as_of(folder.path(), wider.info(), 4).assert_equals(&wider.multiset(), "the new columns");
}
