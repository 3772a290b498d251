//! What other hands do to a history, and names that are taken.

use std::sync::Arc;

use futures::FutureExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tidegate_core::{Commit, CommitOutcome, Epoch, ErrorKind, RowIdentity, Sink};
use tidegate_sink_delta::{DeltaConfig, DeltaSink, Location};
use tidegate_testkit::conformance::model::{ViewModel, header, header_of};

use super::{FOR_EVER, as_of, commit_each, epochs, history_table, next, pairs, told};
use crate::python::python;
use crate::random::table;
use crate::stores::Watched;
use crate::suite::{clock, configured, remote, sink};

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_change_stop_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let (mut view, mut target) = (pairs(), sink(folder.path()));
    target.open(&[view.info().clone()]).await.unwrap();
    commit_each(&mut target, &mut view, 1, &["(1, 'a'), (2, 'b')", "(1, 'A'), (2, 'b')"]).await;
    python("delete", &history_table(folder.path(), view.info()), Some("k = 2"));
    let error = target.commit(next(&mut view, 3, "(1, 'z')")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
    assert!(error.to_string().contains("pairs_history was altered by somebody else (it holds"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_table_is_written_anew_and_the_history_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut view, mut target) = (pairs(), sink(folder.path()));
    target.open(&[view.info().clone()]).await.unwrap();
    commit_each(&mut target, &mut view, 1, &["(1, 'a'), (2, 'b')", "(1, 'A'), (2, 'b')"]).await;
    // At the same epoch, and at a later one.
    for (epoch, expected) in [
        (2, told(&[("A", 2, None), ("a", 1, Some(2)), ("b", 1, None)])),
        (5, told(&[("A", 2, None), ("a", 1, Some(2)), ("b", 1, Some(5))])),
    ] {
        std::fs::remove_dir_all(table(folder.path(), "pairs")).unwrap();
        let mut target = sink(folder.path());
        assert_eq!(target.open(&[view.info().clone()]).await.unwrap()[&view.info().name], None);
        if epoch == 5 {
            view.change_to("(1, 'A')");
        }
        let views = vec![view.replacement(header(epoch))];
        target.commit(Commit { after: Epoch(0), header: header(epoch), views }).await.unwrap();
        assert_eq!(epochs(folder.path(), &view), expected);
    }
    // A new state of the pipeline, whose epochs are others.
    std::fs::remove_dir_all(table(folder.path(), "pairs")).unwrap();
    let mut target = sink(folder.path());
    target.open(&[view.info().clone()]).await.unwrap();
    let views = vec![view.replacement(header_of(2, 1))];
    let error = target.commit(Commit { after: Epoch(0), header: header_of(2, 1), views }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
    assert!(error.to_string().contains("pairs_history holds epoch 5, and epoch 1 is to be written"), "{error}");
    std::fs::remove_dir_all(history_table(folder.path(), view.info())).unwrap();
    let views = vec![view.replacement(header_of(2, 1))];
    target.commit(Commit { after: Epoch(0), header: header_of(2, 1), views }).await.unwrap();
    assert_eq!(epochs(folder.path(), &view), told(&[("A", 1, None)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_others_maintain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = || DeltaConfig { optimize_after: 2, ..DeltaConfig::new("out/lake") };
    let (mut view, mut target) = (pairs(), configured(folder.path(), config()));
    target.open(&[view.info().clone()]).await.unwrap();
    let mut past = Vec::new();
    let contents = ["(1, 'a'), (2, 'b')", "(1, 'A'), (2, 'b')", "(1, 'A'), (3, 'c')", "(1, 'z')", "(1, 'y'), (2, 'b')"];
    for (epoch, rows) in (1..).zip(contents) {
        target.commit(next(&mut view, epoch, rows)).await.unwrap();
        past.push(view.multiset());
        let place = history_table(folder.path(), view.info());
        match epoch {
            2 | 4 => {
                // Open and ended versions in one file.
                let merged = python("optimize", &place, None);
                assert!(merged["numFilesRemoved"].as_u64().unwrap() > 1, "{merged}");
                python("checkpoint", &place, None);
            }
            3 => target.maintain().await.unwrap(),
            _ => {}
        }
        if epoch == 4 {
            target = configured(folder.path(), config());
            target.open(&[view.info().clone()]).await.unwrap();
        }
    }
    for (epoch, rows) in (1..).zip(&past) {
        as_of(folder.path(), view.info(), epoch).assert_equals(rows, &format!("as of {epoch}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_between_the_files_and_the_entry_is_no_conflict() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let watched = Watched::new(store.clone());
    let mut view = pairs();
    let mut target = remote(watched.clone(), "lake");
    target.open(&[view.info().clone()]).await.unwrap();
    commit_each(&mut target, &mut view, 1, &["(1, 'a')", "(1, 'a'), (2, 'b')", "(1, 'a'), (2, 'b'), (3, 'c')"]).await;
    let info = view.info().clone();
    watched.invite(move || {
        async move {
            let url = "s3://bucket/lake".to_owned();
            let config = DeltaConfig { optimize_after: 2, ..DeltaConfig::new(url.clone()) };
            let location = Location::Store { store, prefix: "lake".into(), url };
            let mut other = DeltaSink::new("other", "shop", location, config, clock());
            other.open(&[info]).await.unwrap();
            other.maintain().await.unwrap();
        }
        .boxed()
    });
    let outcome = target.commit(next(&mut view, 4, "(1, 'A'), (3, 'c'), (4, 'd')")).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    target.commit(next(&mut view, 5, "(4, 'd')")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = pairs();
    let mut plain = ViewModel::new("pairs_history", &[("k", "BIGINT")], RowIdentity::WholeRow);
    let mut target = sink(folder.path());
    target.open(&[plain.info().clone()]).await.unwrap();
    target.commit(next(&mut plain, 1, "(1)")).await.unwrap();
    let mut target = sink(folder.path());
    target.open(&[view.info().clone()]).await.unwrap();
    let error = target.commit(next(&mut view, 1, "(1, 'a')")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("already holds a Delta table that view pairs_history wrote"), "{error}");
    // And a view does not take a history's place.
    let folder = tempfile::tempdir().unwrap();
    let (mut view, mut target) = (pairs(), sink(folder.path()));
    target.open(&[view.info().clone()]).await.unwrap();
    target.commit(next(&mut view, 1, "(1, 'a')")).await.unwrap();
    let error = sink(folder.path()).open(&[plain.info().clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("that the history pairs_history of a view wrote"), "{error}");
    let own = ViewModel::new("v", &[("Valid_From", "DATE")], RowIdentity::WholeRow).with_history(FOR_EVER);
    let error = sink(folder.path()).open(&[own.info().clone()]).await.unwrap_err();
    assert!(error.to_string().contains("its column Valid_From is one that the history has of its own"), "{error}");
}
