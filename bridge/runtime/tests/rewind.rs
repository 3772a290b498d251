//! Going back: what sinks hold then, and what comes of the past afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Epoch, EpochHeader, ErrorKind, Frontier, Micros, TableName, ViewName};
use tidegate_runtime::{
    Moment, Pipeline, PipelineConfig, RewindOptions, RewindSummary, RewindWay, RunUntil, RuntimeError, Silent,
    StopSignal, branch, rewind,
};
use tidegate_testkit::{MemorySink, MemorySource, Multiset, SinkFault, seed};

use crate::harness::{Harness, delete, keyed, name, of, rows, table, upsert, view};

/// A lake and a database, and views over both.
fn both() -> Harness {
    let app = MemorySource::new("app", [of("app", keyed("k", &[]))]).present_only();
    app.commit([upsert(&of("app", keyed("k", &[])), &[1, 2])]);
    let mut h = Harness::new();
    h.more.push(app);
    h.views.push(view("c", "SELECT * FROM app.k"));
    h
}

async fn back(h: &Harness, target: Moment, options: RewindOptions) -> Result<RewindSummary, RuntimeError> {
    rewind(h.config(), h.connectors(), &target, &options, Arc::new(Silent)).await
}

fn to(epoch: u64) -> Moment {
    Moment::Epoch(Epoch(epoch))
}

fn by(way: RewindWay) -> RewindOptions {
    RewindOptions { way: Some(way), ..RewindOptions::default() }
}

/// `run --once`, and where it ended. A fault that waits for the next commit stops one run.
async fn once(h: &Harness) -> EpochHeader {
    let mut pipeline = h.open().await.unwrap();
    if pipeline.run_once().await.is_err() {
        drop(pipeline);
        pipeline = h.open().await.unwrap();
        pipeline.run_once().await.unwrap();
    }
    pipeline.header().unwrap().clone()
}

/// The views are what the tables were at a frontier.
fn assert_at(h: &Harness, frontier: &Frontier, what: &str) {
    let of_table = |source: &MemorySource, table: &TableName| {
        let at = frontier.iter().find(|(id, _)| id.name == table.source).map(|(_, at)| at);
        Multiset::of_batches([&source.contents(table, at).unwrap().batch()])
    };
    for sink in &h.sinks {
        for definition in &h.views {
            let (source, table) = match definition.name.as_str() {
                "c" => (&h.more[0], TableName::new("app", "main", "k")),
                _ => (&h.source, name("t")),
            };
            let held = sink.contents(&definition.name).unwrap_or_default();
            held.assert_equals(&of_table(source, &table), &format!("{what}: view {}", definition.name));
        }
    }
}

/// The changes of every epoch, as the first sink got them.
fn changes(h: &Harness, of: &str) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    for commit in h.sinks[0].log() {
        for (epoch, changes) in commit.changes.get(&ViewName::from(of)).into_iter().flatten() {
            all.insert(epoch.0, format!("{changes:?}"));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_lead_to_the_same() {
    let mut seen = Vec::new();
    for way in [RewindWay::Undo, RewindWay::Replay] {
        let h = Harness::new();
        let first = once(&h).await;
        h.source.commit([rows("t", &[5, 6], 1)]);
        let second = once(&h).await;
        h.source.commit([rows("t", &[1, 5], -1), rows("t", &[7], 1)]);
        once(&h).await;
        let summary = back(&h, to(2), by(way)).await.unwrap();
        assert_eq!((summary.to, summary.epoch, summary.replays, summary.way), (Epoch(2), Epoch(4), 1, way));
        assert_eq!(
            (summary.frontier.clone(), summary.distance),
            (second.frontier.clone(), usize::from(way == RewindWay::Undo))
        );
        assert_eq!(summary.view_rows[&"a".into()], 3, "only what differs");
        assert_at(&h, &second.frontier, "back");
        let again = back(&h, to(1), by(RewindWay::Replay)).await.unwrap();
        assert_eq!((again.epoch, again.replays), (Epoch(5), 2), "and further back");
        assert_at(&h, &first.frontier, "back again");
        let end = once(&h).await;
        assert_eq!(end.epoch, Epoch(7), "two epochs of the past");
        h.assert_current();
        let of_a = changes(&h, "a");
        assert_eq!((&of_a[&6], &of_a[&7]), (&of_a[&2], &of_a[&3]), "the same content");
        let taken = h.sinks[0].committed(&"a".into()).unwrap();
        seen.push((taken, of_a, h.commits()));
        assert_eq!(once(&h).await.epoch, Epoch(7), "the past is gone through once");
    }
    assert_eq!(seen[0], seen[1], "hashes and changes do not tell the ways apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_database_said_comes_from_the_log_alone() {
    let h = both();
    once(&h).await;
    let k = of("app", keyed("k", &[]));
    h.more[0].commit([upsert(&k, &[3]), delete(&k, &[1])]);
    let second = once(&h).await;
    h.more[0].commit([delete(&k, &[3])]);
    h.source.commit([rows("t", &[9], 1)]);
    once(&h).await;
    let app = &h.more[0];
    app.expire_before(&app.acknowledged().unwrap());
    let refused = back(&h, to(2), by(RewindWay::Undo)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Reconfigure);
    assert!(refused.to_string().contains("changes by key"), "{refused}");
    let summary = back(&h, to(2), RewindOptions { discard_after: true, way: None }).await.unwrap();
    assert_eq!((summary.way, summary.replays), (RewindWay::Replay, 1));
    assert_at(&h, &second.frontier, "back");
    let snapshots = app.snapshots_taken().len();
    once(&h).await;
    let heads = Frontier::new();
    assert_at(&h, &heads, "the lake was read again, the database was not");
    assert_eq!(app.snapshots_taken().len(), snapshots);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_without_an_event_is_not_asked_for_again() {
    for (target, discard_after) in [(1, false), (1, true), (2, false)] {
        let h = both();
        once(&h).await;
        h.source.commit([rows("t", &[9], 1)]);
        h.more[0].commit([upsert(&of("app", keyed("k", &[])), &[7])]);
        once(&h).await;
        let app = &h.more[0];
        app.progress();
        once(&h).await;
        app.expire_before(&app.acknowledged().unwrap());
        back(&h, to(target), RewindOptions { discard_after, way: None }).await.unwrap();
        for _ in 0..2 {
            once(&h).await;
            assert_at(&h, &Frontier::new(), &format!("back to {target}, and on"));
        }
        assert_eq!(app.snapshots_taken().len(), 1, "nothing was copied again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_view_is_computed_over_the_past() {
    let mut h = both();
    once(&h).await;
    let k = of("app", keyed("k", &[]));
    for id in 3..6 {
        h.more[0].commit([upsert(&k, &[id]), delete(&k, &[id - 2])]);
        h.source.commit([rows("t", &[id], 1)]);
        once(&h).await;
    }
    let app = &h.more[0];
    app.expire_before(&app.acknowledged().unwrap());
    back(&h, to(2), RewindOptions::default()).await.unwrap();
    h.views.push(view("d", "SELECT * FROM app.k"));
    let end = once(&h).await;
    assert_eq!(end.epoch, Epoch(8), "a rewind, a rebuild and two epochs of the past");
    h.views.pop();
    assert_at(&h, &Frontier::new(), "the present");
    assert_eq!(h.sinks[0].contents(&"d".into()), h.sinks[0].contents(&"c".into()));
    let (of_c, of_d) = (changes(&h, "c"), changes(&h, "d"));
    assert_eq!((&of_d[&7], &of_d[&8]), (&of_c[&3], &of_c[&4]), "as if it had been there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_with_another_table_than_is_read_now_is_refused() {
    let mut h = Harness::new();
    h.source.alter(table("u", &[]), [rows("u", &[1], 1).1]);
    once(&h).await;
    h.source.commit([rows("u", &[2], 1), rows("t", &[8], 1)]);
    once(&h).await;
    back(&h, to(1), RewindOptions::default()).await.unwrap();
    h.views.push(view("u", "SELECT * FROM lake.u"));
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    let text = error.to_string();
    assert!(text.contains("lake.main.u") && text.contains("--discard-after"), "{text}");
    back(&h, to(1), RewindOptions { discard_after: true, way: None }).await.unwrap();
    once(&h).await;
    h.assert_at_heads();
}

impl Harness {
    fn assert_at_heads(&self) {
        let contents = |table: &str| Multiset::of_batches([&self.source.contents(&name(table), None).unwrap().batch()]);
        for (view, table) in [("a", "t"), ("b", "t"), ("u", "u")] {
            let held = self.sinks[0].contents(&view.into()).unwrap_or_default();
            held.assert_equals(&contents(table), &format!("view {view}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_changed_in_the_past_change_again() {
    let h = Harness::new();
    once(&h).await;
    h.source.commit([rows("t", &[4], 1)]);
    once(&h).await;
    let wider = table("t", &["note"]);
    let content = crate::harness::batch(&wider, &[1, 2, 4]);
    h.source.alter(wider, [tidegate_core::TableEvent::Rows(tidegate_core::ZSet::uniform(content, 1))]);
    let third = once(&h).await;
    assert_eq!(h.sinks[0].info(&"a".into()).unwrap().schema.fields().len(), 3);
    let summary = back(&h, to(1), RewindOptions::default()).await.unwrap();
    assert_eq!(summary.way, RewindWay::Replay);
    assert_eq!(h.sinks[0].info(&"a".into()).unwrap().schema.fields().len(), 2, "as it was");
    let end = once(&h).await;
    assert_eq!(end.frontier, third.frontier);
    h.assert_current();
}

/// The checkpoint before a damaged one is further from the target, and the log brings it there.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_passed_over() {
    let h = Harness::new();
    let mut headers = vec![once(&h).await];
    for id in 5..9 {
        h.source.commit([rows("t", &[id], 1)]);
        headers.push(once(&h).await);
    }
    h.damage_checkpoint(4, |path| path.extension().is_some_and(|extension| extension == "dat"));
    let summary = back(&h, to(4), by(RewindWay::Replay)).await.unwrap();
    assert_eq!((summary.to, summary.distance), (Epoch(4), 3), "from the first checkpoint");
    assert_at(&h, &headers[3].frontier, "back");
    once(&h).await;
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_reach_is_refused() {
    let h = Harness::new();
    h.source.commit_at(Micros(50), [rows("t", &[3], 1)]);
    let first = once(&h).await;
    let position = h.source.commit([rows("t", &[4], 1)]);
    let second = once(&h).await;
    let early = Moment::Timestamp(Micros(first.latest_commit.unwrap().0 - 1));
    let error = back(&h, early, RewindOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("is before epoch 1"), "{error}");
    let before = Frontier::new().with(first.frontier.iter().next().unwrap().0.clone(), h.source_start());
    assert!(back(&h, Moment::Frontier(before), RewindOptions::default()).await.is_err());
    assert_eq!(once(&h).await, second, "nothing happened");
    let beyond = Frontier::new().with(first.frontier.iter().next().unwrap().0.clone(), position);
    let summary = back(&h, Moment::Frontier(beyond), RewindOptions::default()).await.unwrap();
    assert_eq!((summary.to, summary.replays), (Epoch(2), 0), "the present is an epoch like any other");
}

impl Harness {
    fn source_start(&self) -> tidegate_core::Position {
        tidegate_core::Position::SnapshotId(tidegate_core::SnapshotId(0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_reads_the_log_and_nothing_else() {
    let h = both();
    once(&h).await;
    let k = of("app", keyed("k", &[]));
    let mut headers = Vec::new();
    for id in 3..7 {
        h.more[0].commit([upsert(&k, &[id]), delete(&k, &[id - 2])]);
        h.source.commit([rows("t", &[id], 1)]);
        headers.push(once(&h).await);
    }
    h.more[0].expire_before(&h.more[0].acknowledged().unwrap());
    let before = (h.commits(), h.sinks[0].opened());
    let dir = h.dir.path().join("branch");
    let make = |at| {
        let (config, connectors) = (h.config(), h.connectors());
        let dir = dir.clone();
        async move { branch(config, connectors, &to(at), "look", &dir, Arc::new(Silent)).await }
    };
    let summary = make(3).await.unwrap();
    assert_eq!((summary.epoch, summary.replays), (Epoch(3), 2));
    let twice = make(3).await.unwrap_err();
    assert!(twice.to_string().contains("is there already"), "{twice}");
    // What happens now does not concern the branch.
    h.source.commit([rows("t", &[100], 1)]);
    let polls = h.source.calls();
    let mut b = both();
    (b.source, b.more) = (h.source.clone(), h.more.clone());
    b.sinks[0] = MemorySink::new("look");
    let open = |b: &Harness| {
        let config = PipelineConfig { name: "look".to_owned(), state_dir: dir.clone(), is_branch: true, ..b.config() };
        let connectors = b.connectors();
        async move { Pipeline::open(config, connectors, Arc::new(Silent)).await.unwrap() }
    };
    open(&b).await.run(RunUntil::Epoch(Epoch(3)), StopSignal::new()).await.unwrap();
    assert_at(&b, &summary.frontier, "the branch at its point");
    open(&b).await.run(RunUntil::Epoch(Epoch(4)), StopSignal::new()).await.unwrap();
    assert_at(&b, &headers[2].frontier, "one epoch on");
    let mut end = open(&b).await;
    end.run_once().await.unwrap();
    assert_eq!(end.header().unwrap(), &headers[3], "the same epochs with the same hashes");
    assert_at(&b, &headers[3].frontier, "its end");
    drop(end);
    assert_eq!((h.source.calls(), (h.commits(), h.sinks[0].opened())), (polls, before), "nobody else was asked");
    let last = once(&h).await;
    assert_eq!(last.epoch, Epoch(6), "the original goes on");
    assert_at(&h, &Frontier::new(), "the original");
}

/// Random histories with random rewinds, interrupted anywhere: right after a rewind the sinks hold what the tables were at
/// its frontier, and in the end what they are.
async fn random_history(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut h = both();
    if rng.random() {
        h.tune = |config| config.checkpoint_epochs = 2;
    }
    let mut discarded = false;
    let k = of("app", keyed("k", &[]));
    let (mut in_t, mut in_k) = (vec![1, 2, 2], vec![1, 2]);
    let mut epochs: BTreeMap<u64, EpochHeader> = BTreeMap::new();
    let mut rewound = 0;
    for step in 0..14 {
        let what = format!("seed {seed}, step {step}");
        let id = rng.random_range(0..9);
        if rng.random_ratio(2, 3) {
            match in_t.iter().position(|held| *held == id) {
                Some(at) if rng.random() => h.source.commit([rows("t", &[in_t.remove(at)], -1)]),
                _ => {
                    in_t.push(id);
                    h.source.commit([rows("t", &[id], 1)])
                }
            };
        }
        if rng.random() {
            match in_k.iter().position(|held| *held == id) {
                Some(at) => h.more[0].commit([delete(&k, &[in_k.remove(at)])]),
                None => {
                    in_k.push(id);
                    h.more[0].commit([upsert(&k, &[id])])
                }
            };
        }
        if rng.random_ratio(1, 4) {
            h.more[0].progress();
        }
        if rng.random_ratio(3, 4) {
            let header = once(&h).await;
            assert_at(&h, &header.frontier, &what);
            assert_at(&h, &Frontier::new(), &what);
            epochs.insert(header.epoch.0, header);
            let app = &h.more[0];
            app.expire_before(&app.acknowledged().unwrap());
        }
        if !epochs.is_empty() && rng.random_ratio(1, 3) {
            let chosen = epochs.values().nth(rng.random_range(0..epochs.len())).unwrap().clone();
            let target = match rng.random_range(0..3) {
                0 => Moment::Frontier(chosen.frontier.clone()),
                1 => Moment::Timestamp(chosen.latest_commit.unwrap()),
                _ => Moment::Epoch(chosen.epoch),
            };
            let options = RewindOptions { discard_after: rng.random(), way: None };
            discarded |= options.discard_after;
            if rng.random() {
                let time = Duration::from_micros(rng.random_range(0..30_000));
                let _ = tokio::time::timeout(time, back(&h, target.clone(), options.clone())).await;
            }
            if rng.random_ratio(1, 4) {
                h.sinks[0].inject([SinkFault::Before, SinkFault::After][rng.random_range(0..2)](ErrorKind::Bug));
            }
            let mut attempts = 0;
            let summary = loop {
                match back(&h, target.clone(), options.clone()).await {
                    Ok(summary) => break Some(summary),
                    // What a lake was read again for has other boundaries than what was taken back.
                    Err(RuntimeError::NoPast { .. }) if discarded => break None,
                    Err(error) => assert!(attempts < 4, "{what}: {error}"),
                }
                attempts += 1;
            };
            let Some(summary) = summary else { continue };
            rewound += 1;
            assert_at(&h, &summary.frontier, &format!("{what}, back to {}", summary.to));
            if let Moment::Epoch(epoch) = target {
                assert_eq!(summary.to, epoch, "{what}");
            }
        }
    }
    let end = once(&h).await;
    assert_at(&h, &Frontier::new(), &format!("seed {seed}, after {rewound} rewinds"));
    assert_at(&h, &end.frontier, &format!("seed {seed}, its frontier"));
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_with_rewinds_end_where_those_without_do() {
    let seed = seed::seed("histories_with_rewinds_end_where_those_without_do");
    for sequence in 0..seed::sequences(3) {
        random_history(seed.wrapping_add(sequence)).await;
    }
}
