//! Connections that are cut within commits: the view and its history are both old or both new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidegate_core::{Commit, CommitOutcome, Committed, DeltaBatch, Epoch, EpochHeader, ErrorKind, RowIdentity, Sink};
use tidegate_testkit::{FaultProxy, PostgresVersion};

use super::{Past, copies};
use crate::suite::{database, shared, sink_to};

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_leave_view_and_history_at_one_epoch() {
    for (version, identity) in
        [(PostgresVersion::V15, RowIdentity::Key(vec![0])), (PostgresVersion::V18, RowIdentity::WholeRow)]
    {
        let server = shared(version);
        let name = database(&server);
        let proxy = Arc::new(FaultProxy::start(server.port()));
        let url = server.url_via(proxy.port(), &name);
        let mut past = Past::new("v", &[("id", "INTEGER"), ("v", "VARCHAR")], identity);
        let mut sink = sink_to(&url);
        let ended = Arc::new(AtomicBool::new(false));
        let cutter = std::thread::spawn({
            let (proxy, ended) = (Arc::clone(&proxy), Arc::clone(&ended));
            move || {
                let mut next = 40_000;
                while !ended.load(Ordering::Relaxed) {
                    if proxy.bytes_sent() >= next {
                        proxy.cut();
                        next = proxy.bytes_sent() + 8_000 + next * 31 % 50_000;
                    }
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        let mut failures = 0;
        for round in 0..30_i32 {
            let after = past.last();
            let mut deltas: Vec<(EpochHeader, DeltaBatch)> = Vec::new();
            for step in 0..=round % 3 {
                let rows: Vec<_> = (0..40)
                    .filter(|id| (id * 7 + round + step) % 3 != 0)
                    .map(|id| format!("({id}, '{}')", round / 2))
                    .collect();
                let (header, delta) = past.becomes(&rows.join(", "));
                past.note(&copies(&past.view), &header);
                deltas.push((header, delta));
            }
            failures += insist(&mut sink, &past, after, &deltas).await;
        }
        ended.store(true, Ordering::Relaxed);
        cutter.join().unwrap();
        println!("{version:?}: {failures} of 30 commits were cut");
        assert!(failures > 3, "connections were cut during commits");
        past.check(&mut sink_to(&server.url(&name))).await;
    }
}

/// Commits until the target holds it, as the program does.
async fn insist(
    sink: &mut tidegate_sink_postgres::PostgresSink,
    past: &Past,
    after: Epoch,
    deltas: &[(EpochHeader, DeltaBatch)],
) -> u32 {
    let header = past.epochs.last().unwrap().0.clone();
    let (mut failures, started) = (0, Instant::now());
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "the commit of {} does not end", header.epoch);
        let views = vec![past.part(past.view.changes(deltas.to_vec()))];
        match sink.commit(Commit { after, header: header.clone(), views }).await {
            Ok(CommitOutcome::Committed { .. }) => return failures,
            Ok(CommitOutcome::Conflict { found, .. }) => {
                // What was cut off came through after all.
                assert_eq!(found, Some(Committed { epoch: header.epoch, hash: header.hash }));
                return failures;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                failures += 1;
            }
        }
    }
}
