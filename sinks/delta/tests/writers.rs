//! Others who write the same table, and stores that fail at the worst moment.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tidegate_core::{Commit, CommitOutcome, Committed, Epoch, ErrorKind, RowIdentity, Sink, ViewCommit};
use tidegate_sink_delta::{DeltaConfig, DeltaSink, Location};
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header, header_of};

use crate::python::{content, python};
use crate::random::table;
use crate::stores::{Call, Fate, Watched};
use crate::suite::{clock, remote, sink};

fn pairs() -> ViewModel {
    ViewModel::new("pairs", &[("k", "BIGINT"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]))
}

fn next(view: &mut ViewModel, epoch: u64, values: &str) -> Commit {
    let delta = view.change_to(values);
    commit(view.changes([(header(epoch), delta)]), epoch)
}

fn commit(part: ViewCommit, epoch: u64) -> Commit {
    Commit { after: Epoch(epoch - 1), header: header(epoch), views: vec![part] }
}

async fn rows(sink: &mut DeltaSink, view: &ViewModel) -> Multiset {
    use futures::TryStreamExt;
    let zsets: Vec<_> = sink.read(view.info()).await.unwrap().try_collect().await.unwrap();
    Multiset::of_zsets(&zsets)
}

async fn holds(sink: &mut DeltaSink, view: &ViewModel, epoch: u64) {
    let found = sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name];
    assert_eq!(found, Some(Committed { epoch: Epoch(epoch), hash: header(epoch).hash }));
    rows(sink, view).await.assert_equals(&view.multiset(), "the table");
}

/// A sink on a folder that has three epochs, each with a file of its own.
async fn three_epochs(folder: &Path) -> (DeltaSink, ViewModel) {
    let mut view = pairs();
    let mut target = sink(folder);
    target.open(&[view.info().clone()]).await.unwrap();
    for (epoch, values) in [(1, "(1, 'a')"), (2, "(1, 'a'), (2, 'b')"), (3, "(1, 'a'), (2, 'b'), (3, 'c')")] {
        target.commit(next(&mut view, epoch, values)).await.unwrap();
    }
    (target, view)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_others_maintain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut target, mut view) = three_epochs(folder.path()).await;
    let place = table(folder.path(), "pairs");
    let merged = python("optimize", &place, None);
    assert_eq!(merged["numFilesRemoved"], 3, "{merged}");
    python("checkpoint", &place, None);
    // The sink that has the table open, and one that opens it anew.
    target.commit(next(&mut view, 4, "(1, 'A'), (3, 'c')")).await.unwrap();
    content(&place).assert_equals(&view.multiset(), "the table as delta-rs reads it");
    python("optimize", &place, None);
    let mut target = sink(folder.path());
    holds(&mut target, &view, 4).await;
    target.commit(next(&mut view, 5, "(3, 'C'), (9, 'n')")).await.unwrap();
    content(&place).assert_equals(&view.multiset(), "the table as delta-rs reads it");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_change_stop_the_sink() {
    for (command, argument) in [("delete", "k = 2"), ("append", "7")] {
        let folder = tempfile::tempdir().unwrap();
        let (mut target, mut view) = three_epochs(folder.path()).await;
        python(command, &table(folder.path(), "pairs"), Some(argument));
        let error = sink(folder.path()).open(&[view.info().clone()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        assert!(error.to_string().contains("was altered by somebody else (it holds"), "{error}");
        let error = target.commit(next(&mut view, 4, "(1, 'z')")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_between_the_files_and_the_entry_is_no_conflict() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let watched = Watched::new(store.clone());
    let mut view = pairs();
    let mut target = remote(watched.clone(), "lake");
    target.open(&[view.info().clone()]).await.unwrap();
    for (epoch, values) in [(1, "(1, 'a')"), (2, "(1, 'a'), (2, 'b')"), (3, "(1, 'a'), (2, 'b'), (3, 'c')")] {
        target.commit(next(&mut view, epoch, values)).await.unwrap();
    }
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
    let entries =
        watched.take().into_iter().filter(|call| matches!(call, Call::Put { path, .. } if path.ends_with("04.json")));
    assert_eq!(entries.count(), 1, "the entry was put again under the next version");
    holds(&mut remote(watched, "lake"), &view, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_commits_one_is_told() {
    let s3 = tidegate_testkit::S3::start();
    let watched = Watched::new(s3.store());
    let mut view = pairs();
    let mut target = remote(watched.clone(), "lake");
    target.open(&[view.info().clone()]).await.unwrap();
    target.commit(next(&mut view, 1, "(1, 'a')")).await.unwrap();
    let (store, mut theirs) = (s3.store(), view.clone());
    // The other one commits between our files and our entry.
    watched.invite(move || {
        async move {
            let mut other = remote(store, "lake");
            other.open(&[theirs.info().clone()]).await.unwrap();
            let delta = theirs.change_to("(1, 'theirs')");
            let part = theirs.changes([(header_of(2, 2), delta)]);
            let commit = Commit { after: Epoch(1), header: header_of(2, 2), views: vec![part] };
            other.commit(commit).await.unwrap();
        }
        .boxed()
    });
    let outcome = target.commit(next(&mut view.clone(), 2, "(1, 'ours')")).await.unwrap();
    let found = Some(Committed { epoch: Epoch(2), hash: header_of(2, 2).hash });
    assert_eq!(outcome, CommitOutcome::Conflict { view: view.info().name.clone(), found });
    view.change_to("(1, 'theirs')");
    rows(&mut remote(s3.store(), "lake"), &view).await.assert_equals(&view.multiset(), "the table");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_leaves_all_or_nothing() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let watched = Watched::new(store.clone());
    let mut view = pairs();
    let mut target = remote(watched.clone(), "lake");
    target.open(&[view.info().clone()]).await.unwrap();
    target.commit(next(&mut view, 1, "(1, 'a'), (2, 'b')")).await.unwrap();
    watched.take();
    let mut trial = view.clone();
    target.commit(next(&mut trial, 2, "(1, 'A'), (3, 'c')")).await.unwrap();
    let calls = watched.take().len();
    assert!(calls > 4, "{calls}");
    view = trial;
    let mut epoch = 2;
    // Each call of a commit fails in turn, before it is done and after.
    for fate in [Fate::Lost, Fate::Unanswered] {
        for call in 0..calls {
            let contents = [format!("(1, 'x{epoch}')"), format!("(1, 'y{epoch}'), (2, 'z'), (3, 'c')")];
            let mut ahead = view.clone();
            let next = next(&mut ahead, epoch + 1, &contents[call % 2]);
            watched.take();
            let seen = watched.clone();
            watched.decide(move |_| {
                if seen.calls.try_lock().is_ok_and(|calls| calls.len() == call) { fate } else { Fate::Done }
            });
            let outcome = target.commit(next).await;
            watched.decide(|_| Fate::Done);
            if let Err(error) = &outcome {
                assert_eq!(error.kind(), ErrorKind::Retry, "call {call}: {error}");
            }
            target = remote(watched.clone(), "lake");
            let found = target.open(&[view.info().clone()]).await.unwrap()[&view.info().name];
            let done = found.is_some_and(|found| found.epoch == Epoch(epoch + 1));
            assert!(done || outcome.is_err(), "call {call}: a commit that was told is there");
            if !done {
                holds(&mut target, &view, epoch).await;
                target.commit(self::next(&mut view, epoch + 1, &contents[call % 2])).await.unwrap();
            }
            view = ahead;
            epoch += 1;
            holds(&mut target, &view, epoch).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_, view) = three_epochs(folder.path()).await;
    let location = Location::Folder(folder.path().join("out/lake"));
    let mut other = DeltaSink::new("lake", "another", location, DeltaConfig::new("out/lake"), clock());
    let error = other.open(&[view.info().clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("already holds a Delta table that pipeline shop wrote"), "{error}");
    let theirs = tempfile::tempdir().unwrap();
    let place = table(theirs.path(), "pairs");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    python("append", &place, Some("1"));
    let error = sink(theirs.path()).open(&[view.info().clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("that another program wrote: give the sink another path"), "{error}");
}
