//! Others who write the lake at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tidegate_core::{Commit, CommitOutcome, Committed, DeltaBatch, Epoch, ErrorKind, RowIdentity, Sink};
use tidegate_sink_ducklake::DucklakeSink;
use tidegate_testkit::conformance::model::{ViewModel, header, header_of};

use crate::lakes::{Kind, catalog, reader, sink, sink_with, table, texts};
use crate::rows::commit;

fn pairs(name: &str) -> ViewModel {
    ViewModel::new(name, &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]))
}

/// Catalogs that admit several processes.
const SHARED: [Kind; 2] = [Kind::Sqlite, Kind::Postgres];

/// Commits as the runtime does: what another writer was in the way of is tried again. `tries` are those of this epoch.
async fn commit_at_last(
    target: &mut DucklakeSink,
    epoch: u64,
    view: &ViewModel,
    delta: &DeltaBatch,
    tries: &AtomicU32,
) {
    for number in 0..10 {
        tries.store(number, Ordering::Relaxed);
        match commit(target, epoch, view.changes([(header(epoch), delta.clone())])).await {
            Err(error) if error.kind() == ErrorKind::Retry => println!("again: {error}"),
            outcome => {
                let outcome = outcome.unwrap();
                assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
                return;
            }
        }
    }
    panic!("epoch {epoch} does not get through");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_get_through_beside_writers_of_other_tables_and_of_our_own() {
    for kind in SHARED {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let mut target = sink(kind, folder.path());
        let mut view = pairs("v");
        let delta = view.change_to("(1, 'a')");
        commit(&mut target, 1, view.changes([(header(1), delta)])).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let tries = Arc::new(AtomicU32::new(0));
        let (stopped, other_lake, seen) = (stop.clone(), lake.clone(), tries.clone());
        let other = std::thread::spawn(move || {
            let duck = reader(&other_lake);
            while duck.execute("CREATE TABLE IF NOT EXISTS lake.other (n INTEGER)").is_err() {
                std::thread::sleep(Duration::from_millis(20));
            }
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) || written == 0 {
                written += usize::from(duck.execute("INSERT INTO lake.other VALUES (1)").is_ok());
                // Deletes nothing of ours, and flushes under our feet.
                let _ = duck.execute("CALL ducklake_flush_inlined_data('lake')");
                // With SQLite, a commit gets through only where no other one is within its own time, which is longer on a
                // busy machine.
                std::thread::sleep(Duration::from_millis(250) * 2_u32.pow(seen.load(Ordering::Relaxed).min(5)));
            }
            written
        });
        for epoch in 2..=10 {
            let delta = view.change_to(&format!("({epoch}, 'a'), (1, '{epoch}')"));
            commit_at_last(&mut target, epoch, &view, &delta, &tries).await;
        }
        stop.store(true, Ordering::Relaxed);
        let written = other.join().unwrap();
        let duck = reader(&lake);
        table(&duck, &view.info().name, None).1.assert_equals(&view.multiset(), "our table");
        assert_eq!(texts(&duck, "SELECT count(*) AS n FROM lake.other"), [written.to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sinks_that_write_a_view_one_is_told() {
    for kind in [Kind::DuckDb, Kind::Sqlite, Kind::Postgres] {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        let data = json!({ "data_path": folder.path().join("files") });
        let mut sinks = [sink_with(&lake, &ours, &data), sink_with(&lake, &theirs, &data)];
        let mut view = pairs("v");
        // First both make the table, then both change it; each time at the same moment.
        for epoch in 1..=4 {
            let before = view.multiset();
            let delta = view.change_to(&format!("({}, 'x'), (1, '{epoch}')", epoch + 100));
            let commits = [1, 2].map(|history| {
                let header = header_of(history, epoch);
                let views = vec![view.changes([(header.clone(), delta.clone())])];
                Commit { after: Epoch(epoch - 1), header, views }
            });
            for target in &mut sinks {
                target.open(&[view.info().clone()]).await.unwrap();
            }
            let [first, second] = &mut sinks;
            let [one, other] = commits;
            let (one, other) = tokio::join!(first.commit(one), second.commit(other));
            let outcomes = [one.unwrap(), other.unwrap()];
            let winner = outcomes.iter().position(|outcome| matches!(outcome, CommitOutcome::Committed { .. }));
            let winner = winner.unwrap_or_else(|| panic!("{kind:?}: nobody wrote: {outcomes:?}, before {before:?}"));
            let theirs = header_of(winner as u8 + 1, epoch);
            let found = Some(Committed { epoch: theirs.epoch, hash: theirs.hash });
            let told = CommitOutcome::Conflict { view: view.info().name.clone(), found };
            assert_eq!(outcomes[1 - winner], told, "{kind:?}");
            let duck = reader(&lake);
            table(&duck, &view.info().name, None).1.assert_equals(&view.multiset(), "the table");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_share_a_lake() {
    for kind in SHARED {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let data = json!({ "data_path": folder.path().join("files") });
        let tasks = ["ours", "theirs"].map(|name| {
            let mut target = sink_with(&lake, &folder.path().join(name), &data);
            tokio::spawn(async move {
                let mut view = pairs(name);
                for epoch in 1..=6 {
                    let delta = view.change_to(&format!("({}, 'x'), (1, '{epoch}')", epoch + 100));
                    commit_at_last(&mut target, epoch, &view, &delta, &AtomicU32::new(0)).await;
                }
                view
            })
        });
        for task in tasks {
            let view = task.await.unwrap();
            table(&reader(&lake), &view.info().name, None).1.assert_equals(&view.multiset(), "a table");
        }
    }
}
