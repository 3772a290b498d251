//! Backups are taken while a pipeline runs, and what is made of one goes on exactly where it was, although sources and
//! sinks have gone on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::memory::InMemory;
use tidegate_core::{Epoch, ErrorKind, OnExpired, ZSet};
use tidegate_runtime::{
    Backup, BackupLocation, BackupSummary, LogLocation, RestorePlaces, RestoreSummary, RunUntil, RuntimeError,
    StopSignal, backup,
};
use tidegate_testkit::{MemorySink, MemorySource, SinkFault, SourceFault};

use crate::harness::{Harness, batch, keyed, name, rows, table, upsert, view};

/// A place for backups beside the pipeline.
fn place(h: &Harness) -> BackupLocation {
    BackupLocation::Folder(h.dir.path().join("backups"))
}

async fn take(h: &Harness, keep: Option<usize>) -> Result<BackupSummary, RuntimeError> {
    take_to(h, place(h), keep).await
}

async fn take_to(h: &Harness, to: BackupLocation, keep: Option<usize>) -> Result<BackupSummary, RuntimeError> {
    let (file, sql) = (h.dir.path().join("pipeline.toml"), h.dir.path().join("views/a.sql"));
    fs::create_dir_all(sql.parent().unwrap()).unwrap();
    fs::write(&file, "# ${SECRET}").unwrap();
    fs::write(&sql, "SELECT * FROM lake.t").unwrap();
    backup(&h.config(), &file, &[sql], to, keep).await
}

/// The same sources and sinks, with a state of its own that is still to be made.
fn elsewhere(h: &Harness) -> Harness {
    Harness {
        dir: tempfile::tempdir().unwrap(),
        source: h.source.clone(),
        more: h.more.clone(),
        sinks: h.sinks.clone(),
        views: h.views.clone(),
        log: h.log.clone(),
        ..Harness::new()
    }
}

async fn restore_from(h: &Harness, from: BackupLocation, at: Option<&str>) -> Result<RestoreSummary, RuntimeError> {
    let backup = Backup::open(from, at).await?;
    let site = backup.begin(&h.dir.path().join("restored")).await?;
    assert!(fs::read_to_string(site.pipeline_file()).unwrap().contains("${SECRET}"), "variables stay variables");
    backup.finish(site, RestorePlaces { state_dir: h.state_dir(), log: h.log.clone() }).await
}

/// A copy of the pipeline as it was when the newest backup was taken.
async fn restored(h: &Harness) -> Harness {
    let other = elsewhere(h);
    restore_from(&other, place(h), None).await.unwrap();
    other
}

fn mark(h: &Harness) -> serde_json::Value {
    let state = fs::read(h.state_dir().join("state.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&state).unwrap()["restored"].clone()
}

async fn change(h: &Harness, id: i64) {
    h.source.commit([rows("t", &[id], 1)]);
    h.once().await.unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_happened_since() {
    let h = Harness::new();
    change(&h, 70).await;
    change(&h, 71).await;
    let taken = take(&h, None).await.unwrap();
    assert_eq!((taken.epoch, taken.kept.len()), (Epoch(2), 1));
    assert!(!h.state_dir().join("backup.tmp").exists(), "nothing is left in the state folder");
    let other = restored(&h).await;
    assert_eq!(mark(&other)["backup"], taken.backup.as_str());
    let commits = h.commits().len();
    let summary = other.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch), (0, Epoch(2)));
    assert_eq!((h.commits().len(), h.source.calls().1), (commits, 1), "nothing is written, nothing loaded again");
    assert_eq!(mark(&other), serde_json::Value::Null);
    change(&other, 72).await;
    other.assert_current();
    assert_eq!(h.commits().last(), Some(&(2, 3, false)));
    assert!(other.dir.path().join("restored/views/a.sql").exists());
}

/// The sinks are ahead, by epochs that nobody knows any more: they get what differs, and never go back.
#[tokio::test(flavor = "multi_thread")]
async fn sinks_that_ran_ahead_get_the_difference() {
    let mut h = Harness::new();
    h.sinks.push(MemorySink::new("other"));
    change(&h, 70).await;
    take(&h, None).await.unwrap();
    for id in 80..83 {
        change(&h, id).await;
    }
    h.source.commit([rows("t", &[90, 91], 1)]);
    let other = restored(&h).await;
    let before = h.commits().len();
    let summary = other.once().await.unwrap();
    other.assert_current();
    let sinks: Vec<_> = summary.resynced.keys().map(String::as_str).collect();
    assert_eq!(sinks, ["mart", "other"]);
    assert!(summary.resynced.values().all(|views| views.values().all(|rows| *rows == 2)), "{:?}", summary.resynced);
    assert!(summary.recopied.is_empty());
    assert!(h.commits()[before..].iter().all(|(after, _, replaced)| *after >= 4 && !replaced), "{:?}", h.commits());
    assert_eq!(mark(&other), serde_json::Value::Null);
    // From here on another history stops it, as always.
    other.sinks[0].overwrite_committed(
        &"a".into(),
        tidegate_core::Committed { epoch: Epoch(99), ..h.sinks[1].committed(&"a".into()).unwrap() },
    );
    let error = other.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("our history ends"), "{error}");
}

/// The process dies between the comparison and the note of it, or the sink fails on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_that_is_cut_short_is_made_again() {
    for fault in
        [SinkFault::Before(ErrorKind::Bug), SinkFault::After(ErrorKind::Bug), SinkFault::Before(ErrorKind::Retry)]
    {
        let h = Harness::new();
        change(&h, 70).await;
        take(&h, None).await.unwrap();
        change(&h, 80).await;
        let other = restored(&h).await;
        h.source.commit([rows("t", &[90], 1)]);
        other.sinks[0].inject(fault);
        if other.once().await.is_err() {
            assert_ne!(mark(&other), serde_json::Value::Null, "{fault:?}");
            other.once().await.unwrap();
        }
        other.assert_current();
        assert_eq!(mark(&other), serde_json::Value::Null, "{fault:?}");
        change(&other, 91).await;
        other.assert_current();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_is_compared_when_it_is_back() {
    let mut h = Harness::new();
    h.sinks.push(MemorySink::new("other"));
    change(&h, 70).await;
    take(&h, None).await.unwrap();
    change(&h, 80).await;
    let other = restored(&h).await;
    other.sinks[1].set_available(false);
    h.source.commit([rows("t", &[90], 1)]);
    assert_eq!(other.once().await.unwrap_err().kind(), ErrorKind::Retry);
    assert_eq!(mark(&other)["sinks"], serde_json::json!(["mart"]));
    other.sinks[1].set_available(true);
    let summary = other.once().await.unwrap();
    assert_eq!(summary.resynced.keys().collect::<Vec<_>>(), ["other"]);
    other.assert_current();
    assert_eq!(mark(&other), serde_json::Value::Null);
}

/// While it runs on: the sinks are compared when the sources have been read to their ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_runs_on_compares_too() {
    let h = Harness::new();
    change(&h, 70).await;
    take(&h, None).await.unwrap();
    change(&h, 80).await;
    let other = restored(&h).await;
    h.source.commit([rows("t", &[90], 1)]);
    let mut pipeline = other.open().await.unwrap();
    let stop = StopSignal::new();
    let signal = stop.clone();
    let running = tokio::spawn(async move { pipeline.run(RunUntil::Stopped, signal).await });
    let started = std::time::Instant::now();
    while mark(&other) != serde_json::Value::Null {
        assert!(started.elapsed().as_secs() < 60, "the mark stays: {}", mark(&other));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.stop();
    running.await.unwrap().unwrap();
    other.assert_current();
}

/// Whatever `on_slot_lost` says: whoever restores a backup has decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_past_is_gone_is_copied_again() {
    let t = keyed("t", &[]);
    let source = MemorySource::new("lake", [t.clone()]).present_only().on_expired(OnExpired::Stop);
    source.commit([upsert(&t, &[1, 2, 3])]);
    let h = Harness { source, views: vec![view("a", "SELECT * FROM lake.t")], ..Harness::new() };
    h.once().await.unwrap();
    take(&h, None).await.unwrap();
    h.source.commit([upsert(&t, &[4])]);
    h.once().await.unwrap();
    h.source.commit([upsert(&t, &[5])]);
    let other = restored(&h).await;
    h.source.inject(SourceFault::Expire);
    let summary = other.once().await.unwrap();
    assert_eq!(summary.recopied, BTreeSet::from(["lake".to_owned()]));
    assert_eq!(summary.resynced["mart"][&"a".into()], 1, "the sink has had the others");
    other.assert_current();
    assert_eq!(mark(&other), serde_json::Value::Null);
    h.source.inject(SourceFault::Expire);
    let error = other.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop, "the next time a person decides: {error}");
}

/// A target that was set back to an earlier epoch of ours, as by a restore of its database.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_was_set_back_gets_the_difference() {
    let h = Harness::new();
    change(&h, 70).await;
    let early = ["a", "b"].map(|view| h.sinks[0].committed(&view.into()).unwrap());
    change(&h, 71).await;
    change(&h, 72).await;
    let gone = ZSet::uniform(batch(&table("t", &[]), &[71, 72]), -1);
    for (view, committed) in ["a", "b"].into_iter().zip(early) {
        h.sinks[0].tamper(&view.into(), &gone);
        h.sinks[0].overwrite_committed(&view.into(), committed);
    }
    h.source.commit([rows("t", &[73], 1)]);
    let summary = h.once().await.unwrap();
    assert_eq!(summary.resynced["mart"].values().copied().collect::<Vec<_>>(), [3, 3]);
    h.assert_current();
    assert_eq!(h.commits().last().map(|(after, ..)| *after), Some(1), "{:?}", h.commits());
    change(&h, 74).await;
    h.assert_current();
    // Another history under a number of ours is nobody's business but a person's.
    let other = tidegate_core::Committed { hash: tidegate_core::EpochHash([7; 32]), ..early[0] };
    h.sinks[0].overwrite_committed(&"a".into(), other);
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("our epoch 1 has hash"), "{error}");
}

/// The same under a pipeline that runs, which has forgotten that epoch: the log knows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_set_back_meanwhile_gets_the_difference() {
    let h = Harness::new();
    change(&h, 70).await;
    let early = ["a", "b"].map(|view| h.sinks[0].committed(&view.into()).unwrap());
    for id in 71..74 {
        change(&h, id).await;
    }
    let mut pipeline = h.open().await.unwrap();
    let stop = StopSignal::new();
    let signal = stop.clone();
    let running = tokio::spawn(async move { pipeline.run(RunUntil::Stopped, signal).await });
    let wait_for = async |ids: &[i64]| {
        let started = std::time::Instant::now();
        let expected = h.source.contents(&name("t"), None).unwrap().multiset();
        while h.sinks[0].contents(&"b".into()).unwrap() != expected {
            assert!(started.elapsed().as_secs() < 60, "{ids:?} do not arrive: {:?}", running.is_finished());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    h.source.commit([rows("t", &[80], 1)]);
    wait_for(&[80]).await;
    let gone = ZSet::uniform(batch(&table("t", &[]), &[71, 72, 73, 80]), -1);
    for (view, committed) in ["a", "b"].into_iter().zip(early) {
        h.sinks[0].tamper(&view.into(), &gone);
        h.sinks[0].overwrite_committed(&view.into(), committed);
    }
    h.source.commit([rows("t", &[81], 1)]);
    wait_for(&[81]).await;
    stop.stop();
    let summary = running.await.unwrap().unwrap();
    assert_eq!(summary.resynced["mart"][&"a".into()], 5);
    h.assert_current();
    assert!(h.commits().iter().skip(1).all(|(.., replaced)| !replaced));
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_taken_while_the_pipeline_runs() {
    let mut h = Harness::new();
    h.tune = |config| {
        config.checkpoint_interval = std::time::Duration::from_millis(3);
        config.log_retention = std::time::Duration::ZERO;
    };
    h.once().await.unwrap();
    let mut pipeline = h.open().await.unwrap();
    let stop = StopSignal::new();
    let signal = stop.clone();
    let running = tokio::spawn(async move { pipeline.run(RunUntil::Stopped, signal).await });
    let feeding = {
        let (source, stop) = (h.source.clone(), stop.clone());
        tokio::spawn(async move {
            for id in 1000.. {
                if stop.is_stopped() {
                    break;
                }
                source.commit([rows("t", &[id], 1)]);
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
    };
    let mut taken = Vec::new();
    for _ in 0..6 {
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        taken.push(take(&h, None).await.unwrap());
    }
    stop.stop();
    feeding.await.unwrap();
    running.await.unwrap().unwrap();
    assert!(
        taken.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch && pair[0].backup < pair[1].backup),
        "{taken:?}"
    );
    assert!(taken[0].epoch < taken[5].epoch, "{taken:?}");
    for backup in &taken {
        // With a sink of its own, so that every epoch of the backup's is followed.
        let other = Harness { sinks: vec![MemorySink::new("mart")], ..elsewhere(&h) };
        let done = restore_from(&other, place(&h), Some(&backup.backup)).await.unwrap();
        assert_eq!(done.epoch, backup.epoch);
        let until = other.open().await.unwrap().epoch();
        assert_eq!(until, backup.epoch, "it goes on exactly where it was");
        other.once().await.unwrap();
        other.assert_current();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_share_what_has_not_changed_and_old_ones_go() {
    let h = Harness::new();
    h.source.commit([rows("t", &(100..20_000).collect::<Vec<_>>(), 1)]);
    h.once().await.unwrap();
    let first = take(&h, None).await.unwrap();
    change(&h, 70).await;
    let second = take(&h, None).await.unwrap();
    assert!(second.new_bytes * 3 < first.new_bytes, "{} bytes after {}", second.new_bytes, first.new_bytes);
    let unchanged = take(&h, None).await.unwrap();
    assert_eq!((unchanged.new_files, unchanged.kept.len()), (0, 3));
    let named = |name: &str| Some(name.to_owned());
    let other = elsewhere(&h);
    let done = restore_from(&other, place(&h), named(&first.backup).as_deref()).await.unwrap();
    assert_eq!((done.epoch, done.backup), (Epoch(1), first.backup.clone()));
    let kept = take(&h, Some(1)).await.unwrap();
    assert_eq!(kept.kept, std::slice::from_ref(&kept.backup));
    let error = restore_from(&elsewhere(&h), place(&h), Some(&first.backup)).await.unwrap_err();
    assert!(error.to_string().contains("has no backup") && error.to_string().contains(&kept.backup), "{error}");
    let other = restored(&h).await;
    other.once().await.unwrap();
    other.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_is_refused_by_name() {
    let h = Harness::new();
    change(&h, 70).await;
    take(&h, None).await.unwrap();
    let all = files(&h.dir.path().join("backups"));
    assert!(all.len() > 10, "{all:?}");
    for path in &all {
        let whole = fs::read(path).unwrap();
        let mut damaged = whole.clone();
        match damaged.len() {
            0 => damaged.push(1),
            len => damaged[len / 2] ^= 1,
        }
        fs::write(path, damaged).unwrap();
        let other = elsewhere(&h);
        let error = restore_from(&other, place(&h), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(error.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
        assert_eq!(fs::read_dir(other.dir.path()).unwrap().count(), 0, "nothing is left of it");
        fs::write(path, whole).unwrap();
    }
    restored(&h).await.once().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_overwritten() {
    let h = Harness::new();
    change(&h, 70).await;
    take(&h, None).await.unwrap();
    let other = restored(&h).await;
    for (occupied, what) in [("restored", "pipeline.toml"), ("state", "state.json")] {
        let place_of = other.dir.path().join(occupied);
        let before = fs::read(place_of.join(what)).unwrap();
        let error = restore_from(&other, place(&h), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains(place_of.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(place_of.join(what)).unwrap(), before);
        // Next time it is the state folder alone.
        let _ = fs::remove_dir_all(other.dir.path().join("restored"));
    }
    let mut bank = elsewhere(&h);
    bank.tune = |config| config.name = "bank".to_owned();
    bank.sinks = vec![MemorySink::new("mart")];
    bank.once().await.unwrap();
    let error = take_to(&bank, place(&h), None).await.unwrap_err();
    assert!(error.to_string().contains("\"shop\"") && error.to_string().contains("\"bank\""), "{error}");
    let inside = BackupLocation::Folder(h.state_dir().join("backups"));
    assert!(take_to(&h, inside, None).await.unwrap_err().to_string().contains("lies in the state folder"));
    let none = Backup::open(BackupLocation::Folder(h.dir.path().join("none")), None).await.unwrap_err();
    assert!(none.to_string().contains("holds no backup"), "{none}");
    assert!(take(&elsewhere(&h), None).await.unwrap_err().to_string().contains("holds no state yet"));
}

/// Backup and log in object stores. A log that went on is taken as it is; one that is gone is put there again.
#[tokio::test(flavor = "multi_thread")]
async fn in_object_stores() {
    let store = || -> Arc<InMemory> { Arc::new(InMemory::new()) };
    let (logs, backups) = (store(), store());
    let log = |store: &Arc<InMemory>| LogLocation::ObjectStore {
        store: store.clone(),
        prefix: "log".into(),
        url: "s3://bucket/log".into(),
    };
    let to = || BackupLocation::ObjectStore { store: backups.clone(), prefix: "b".into(), url: "s3://bucket/b".into() };
    let mut h = Harness::new();
    h.log = log(&logs);
    h.source.commit([rows("t", &(100..2000).collect::<Vec<_>>(), 1)]);
    h.once().await.unwrap();
    take_to(&h, to(), None).await.unwrap();
    change(&h, 70).await;
    change(&h, 71).await;
    let taken = take_to(&h, to(), None).await.unwrap();
    change(&h, 80).await;
    h.source.commit([rows("t", &[81], 1)]);
    // The log is there and has more: it is replayed, and the sink is where the log ends.
    let goes_on = elsewhere(&h);
    let done = restore_from(&goes_on, to(), None).await.unwrap();
    assert_eq!((done.epoch, done.log_put), (taken.epoch, false));
    let summary = goes_on.once().await.unwrap();
    assert_eq!((summary.epoch, summary.resynced.len()), (Epoch(5), 0));
    goes_on.assert_current();
    // It is gone.
    let mut afresh = elsewhere(&h);
    afresh.log = log(&store());
    assert!(restore_from(&afresh, to(), None).await.unwrap().log_put);
    h.source.commit([rows("t", &[82], 1)]);
    let summary = afresh.once().await.unwrap();
    assert_eq!(summary.resynced["mart"][&"a".into()], 1);
    afresh.assert_current();
    // Somebody else's.
    let mut foreign = elsewhere(&h);
    foreign.sinks = vec![MemorySink::new("mart")];
    foreign.log = log(&store());
    foreign.once().await.unwrap();
    let mut other = elsewhere(&h);
    other.log = foreign.log.clone();
    let error = restore_from(&other, to(), None).await.unwrap_err();
    assert!(error.to_string().contains("s3://bucket/log"), "{error}");
    assert_eq!(fs::read_dir(other.dir.path()).unwrap().count(), 0, "nothing is left of it");
}
