//! Servers that stop, connections that are cut, and writers that are two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use tidegate_core::{Commit, CommitOutcome, Committed, Epoch, ErrorKind, Sink};
use tidegate_sink_postgres::PostgresSink;
use tidegate_testkit::conformance::model::{ViewModel, header_of};
use tidegate_testkit::{FaultProxy, Postgres, PostgresVersion, Shutdown, seed};

use crate::history::History;
use crate::random::read;
use crate::suite::{database, shared, sink_to};

/// Commits the next epochs of a history as the program does: after an error of kind `Retry` it asks what the target
/// holds, and commits again unless that is what it was to hold.
async fn insist(sink: &mut PostgresSink, history: &mut History) -> u32 {
    let (after, before) = (history.header().epoch, history.view.clone());
    let first = history.advance();
    let header = history.header();
    let info = history.view.info().clone();
    let mut parts = vec![first];
    let started = Instant::now();
    let mut failures = 0;
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "the commit of {} does not end", header.epoch);
        if let Some(part) = parts.pop() {
            match sink.commit(Commit { after, header: header.clone(), views: vec![part] }).await {
                Ok(CommitOutcome::Committed { .. }) => return failures,
                // What was cut off came through after all.
                Ok(CommitOutcome::Conflict { .. }) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                    failures += 1;
                }
            }
        }
        match sink.open(std::slice::from_ref(&info)).await {
            Ok(held) => match held[&info.name] {
                Some(Committed { epoch, hash }) if epoch == header.epoch => {
                    assert_eq!(hash, header.hash);
                    return failures;
                }
                held => {
                    assert_eq!(held.map_or(Epoch(0), |held| held.epoch), after);
                    // The whole range as one epoch.
                    let delta = before.clone().change_to_batch(&copies(&history.view));
                    parts.push(history.view.changes([(header.clone(), delta)]));
                }
            },
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// The rows of a view, each as often as it is there.
fn copies(view: &ViewModel) -> RecordBatch {
    let whole = view.whole();
    let each = whole.weights.values().iter().enumerate();
    let indices: UInt64Array = each.flat_map(|(row, n)| std::iter::repeat_n(row as u64, *n as usize)).collect();
    take_record_batch(&whole.rows, &indices).unwrap()
}

async fn check(url: &str, history: &History, what: &str) {
    read(&mut sink_to(url), history.view.info()).await.assert_equals(&history.view.multiset(), what);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_and_double_nothing() {
    let seed = seed::seed("cut_connections");
    for (version, keyed) in [(PostgresVersion::V15, true), (PostgresVersion::V18, false)] {
        let server = shared(version);
        let name = database(&server);
        let proxy = Arc::new(FaultProxy::start(server.port()));
        let url = server.url_via(proxy.port(), &name);
        let mut history = History::new("v", seed, keyed);
        let mut sink = sink_to(&url);
        let ended = Arc::new(AtomicBool::new(false));
        let cutter = std::thread::spawn({
            let (proxy, ended) = (Arc::clone(&proxy), Arc::clone(&ended));
            move || {
                // At a byte of the conversation that differs from time to time.
                let mut next = 30_000;
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
        for _ in 0..40 {
            failures += insist(&mut sink, &mut history).await;
        }
        ended.store(true, Ordering::Relaxed);
        cutter.join().unwrap();
        println!("{version:?}: {failures} of 40 commits were cut");
        assert!(failures > 3, "connections were cut during commits");
        check(&server.url(&name), &history, "after all cuts").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_lose_and_double_nothing() {
    let server = Arc::new(Postgres::start_version(PostgresVersion::V18));
    let name = database(&server);
    let url = server.url(&name);
    let mut history = History::new("v", seed::seed("restarts"), true);
    let mut sink = sink_to(&url);
    insist(&mut sink, &mut history).await;
    for round in 0..4 {
        let restarting = std::thread::spawn({
            let server = Arc::clone(&server);
            move || match round {
                0 => server.restart(Shutdown::Fast),
                1 => server.restart(Shutdown::Immediate),
                _ => {
                    server.kill9();
                    server.start_again();
                }
            }
        });
        while !restarting.is_finished() {
            insist(&mut sink, &mut history).await;
        }
        restarting.join().unwrap();
        insist(&mut sink, &mut history).await;
        check(&url, &history, &format!("after restart {round}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_given_up() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let proxy = FaultProxy::start(server.port());
    let url = format!("{}&connect_timeout=1", server.url_via(proxy.port(), &name));
    let mut history = History::new("v", 1, true);
    let mut sink = sink_to(&url).with_answer_within(Duration::from_millis(500));
    insist(&mut sink, &mut history).await;
    proxy.stall(true);
    let after = history.header().epoch;
    let views = vec![history.advance()];
    let started = Instant::now();
    let error = sink.commit(Commit { after, header: history.header(), views }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains("did not answer"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_long_is_waited_for() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let url = server.url(&name);
    let mut history = History::new("v", 2, true);
    let mut sink = sink_to(&url).with_answer_within(Duration::from_millis(100));
    insist(&mut sink, &mut history).await;
    let holder = server.client(&name);
    holder.execute("BEGIN; LOCK TABLE v IN SHARE MODE");
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        holder.execute("COMMIT");
    });
    assert_eq!(insist(&mut sink, &mut history).await, 0, "the commit did not fail");
    release.join().unwrap();
    check(&url, &history, "after the wait").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_commits_and_the_other_sees_it() {
    for version in PostgresVersion::ALL {
        let server = shared(version);
        let name = database(&server);
        let url = server.url(&name);
        let history = History::new("v", 3, false);
        let mut view = history.view.clone();
        let mut after = Epoch(0);
        for epoch in 1..=20 {
            let header = |writer: u8| header_of(writer, epoch);
            let mut next = view.clone();
            let rows = format!("({epoch}{})", ", NULL".repeat(view.schema().fields().len() - 1));
            let delta = next.change_to(&rows);
            let write = |writer: u8| {
                let (url, header) = (url.clone(), header(writer));
                let views = vec![view.changes([(header.clone(), delta.clone())])];
                tokio::spawn(async move { sink_to(&url).commit(Commit { after, header, views }).await })
            };
            let (one, two) = (write(1), write(2));
            let outcomes = [one.await.unwrap().unwrap(), two.await.unwrap().unwrap()];
            let winner = outcomes.iter().position(|outcome| matches!(outcome, CommitOutcome::Committed { .. }));
            let winner = winner.expect("one of them commits");
            let found = header(winner as u8 + 1);
            let expected = Some(Committed { epoch: found.epoch, hash: found.hash });
            let CommitOutcome::Conflict { found, .. } = &outcomes[1 - winner] else { panic!("both committed") };
            assert_eq!(*found, expected);
            view = next;
            after = Epoch(epoch);
        }
        read(&mut sink_to(&url), view.info()).await.assert_equals(&view.multiset(), "every commit once");
    }
}
