//! Readers that never stop, while files are written, merged and removed under them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tidegate_core::{RowIdentity, Sink};
use tidegate_duck::Duck;
use tidegate_testkit::conformance::model::ViewModel;

use crate::compaction::{commit, data};
use crate::random::reader;
use crate::suite::{options, sink};

/// Rows of the view in every epoch; all have the epoch as their value.
const ROWS: i64 = 5;

fn numbers(duck: &Duck, query: &str) -> Vec<i64> {
    let (_, batches) = duck.query(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let row = |batch: &RecordBatch| {
        batch.columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect::<Vec<_>>()
    };
    batches.iter().filter(|batch| batch.num_rows() > 0).map(row).next().unwrap()
}

/// One look at everything; what it must find does not depend on when the files change.
fn look(duck: &Duck, committed: &AtomicU64, seen: &mut i64) {
    let all = "count(*)::BIGINT, min(v)::BIGINT, max(v)::BIGINT";
    let before = committed.load(Ordering::SeqCst) as i64;
    let now = numbers(duck, &format!("SELECT {all} FROM v"));
    assert_eq!((now[0], now[1]), (ROWS, now[2]), "the rows of one epoch, each once");
    assert!(now[2] >= before && now[2] >= *seen, "epoch {} after {before} and {seen}", now[2]);
    *seen = now[2];
    let then = 1 + before / 2;
    assert_eq!(numbers(duck, &format!("SELECT {all} FROM v_asof({then})")), [ROWS, then, then]);
    let changes = numbers(duck, &format!("SELECT count(*)::BIGINT FROM v_changes({then}, {before})"));
    assert_eq!(changes, [2 * ROWS * (before - then)]);
}

/// The grace of the sink is as short as a busy machine lets a query be; the readers must not notice more
/// than that files come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_see_every_row_once_while_files_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let json = r#"{"path": ".", "compaction_files": 3, "compaction_grace": "2500ms"}"#;
    let mut sink = sink(folder.path()).with_options(options(json));
    let mut view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "BIGINT")], RowIdentity::Key(vec![0]));
    let values = |epoch: u64| (0..ROWS).map(|k| format!("({k}, {epoch})")).collect::<Vec<_>>().join(", ");
    sink.open(&[view.info().clone()]).await.unwrap();
    commit(&mut sink, &mut view, 1, &values(1)).await;
    let (committed, ended) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (committed, ended, duck) = (committed.clone(), ended.clone(), reader(folder.path()));
            thread::spawn(move || {
                let (mut looks, mut seen) = (0, 0);
                while !ended.load(Ordering::SeqCst) {
                    look(&duck, &committed, &mut seen);
                    looks += 1;
                }
                looks
            })
        })
        .collect();
    let (started, mut epoch, mut merged) = (Instant::now(), 1, 0);
    while started.elapsed() < Duration::from_secs(7) {
        epoch += 1;
        commit(&mut sink, &mut view, epoch, &values(epoch)).await;
        committed.store(epoch, Ordering::SeqCst);
        let files = data(folder.path());
        sink.maintain().await.unwrap();
        merged += u64::from(data(folder.path()) != files);
        assert!(!readers.iter().any(thread::JoinHandle::is_finished), "a reader has failed");
    }
    ended.store(true, Ordering::SeqCst);
    let looks: Vec<i32> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    println!(
        "{epoch} epochs, {merged} times files merged or removed, looks {looks:?}, files {}",
        data(folder.path()).len()
    );
    assert!(merged > 5 && looks.iter().all(|looks| *looks > 5), "{merged} {looks:?}");
}
