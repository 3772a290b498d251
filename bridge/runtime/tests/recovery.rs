//! Stopping anywhere and starting again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Epoch, ErrorKind};
use tidegate_testkit::memory_sink::CommitRecord;
use tidegate_testkit::{SinkFault, SourceFault};

use crate::harness::{Harness, rows};

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn only_file(dir: &Path) -> PathBuf {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

/// An epoch that is in the log, but neither in a sink nor in a checkpoint.
async fn interrupted(h: &Harness) {
    h.once().await.unwrap();
    h.source.commit([rows("t", &[5, 6], 1)]);
    h.source.commit([rows("t", &[1], -1)]);
    h.sinks[0].inject(SinkFault::Before(ErrorKind::Bug));
    h.once().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn logged_epochs_are_replayed_with_the_same_hash() {
    let undisturbed = Harness::new();
    undisturbed.once().await.unwrap();
    undisturbed.source.commit([rows("t", &[5, 6], 1)]);
    undisturbed.source.commit([rows("t", &[1], -1)]);
    undisturbed.once().await.unwrap();

    let h = Harness::new();
    interrupted(&h).await;
    // What happens at the source meanwhile does not change the epoch that is in the log.
    h.source.commit([rows("t", &[9], 1)]);
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch), (1, Epoch(3)));
    h.assert_current();
    let second = h.sinks[0].log()[1].clone();
    assert_eq!(second.after, Epoch(1));
    let hash = undisturbed.sinks[0].committed(&"a".into()).unwrap().hash;
    let log = fs::read(only_file(&h.state_dir().join("log"))).unwrap();
    assert!(String::from_utf8_lossy(&log).contains(&hash.to_string()), "the epoch has the hash of the undisturbed run");
}

/// One history, undisturbed and with faults and cancellations everywhere: the same epochs with the
/// same hashes, and the same changes in each.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_interrupted_ends_the_same() {
    let seed = match std::env::var("TIDEGATE_SEED") {
        Ok(seed) => seed.parse().expect("TIDEGATE_SEED is a number"),
        Err(_) => rand::random::<u64>(),
    };
    eprintln!("TIDEGATE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (calm, rough) = (Harness::new(), Harness::new());
    let mut present: Vec<i64> = vec![1, 2, 2];
    for step in 0..12 {
        let mut events = Vec::new();
        for _ in 0..if step == 0 { 0 } else { random.random_range(1..4) } {
            let id = random.random_range(0..6);
            let at = present.iter().position(|held| *held == id).filter(|_| random.random_bool(0.5));
            match at {
                Some(at) => events.push(rows("t", &[present.remove(at)], -1)),
                None => {
                    present.push(id);
                    events.push(rows("t", &[id], 1));
                }
            }
        }
        if step > 0 {
            calm.source.commit(events.clone());
            rough.source.commit(events);
        }
        calm.once().await.unwrap();
        for _ in 0..random.random_range(0..4) {
            match random.random_range(0..5) {
                0 => rough.sinks[0].inject(SinkFault::Before(ErrorKind::Bug)),
                1 => rough.sinks[0].inject(SinkFault::After(ErrorKind::Bug)),
                2 => rough.source.inject(SourceFault::Fail(ErrorKind::Bug)),
                3 => rough.source.inject(SourceFault::FailAfter(random.random_range(0..3), ErrorKind::Bug)),
                _ => {
                    let time = Duration::from_micros(random.random_range(0..20_000));
                    let _ = tokio::time::timeout(time, rough.once()).await;
                }
            }
        }
        // A fault stops one run; some wait for a commit of a later step.
        for attempt in 0.. {
            match rough.once().await {
                Ok(_) => break,
                Err(error) => assert!(attempt < 36, "{error}"),
            }
        }
        rough.assert_current();
        let view = "a".into();
        assert_eq!(rough.sinks[0].committed(&view), calm.sinks[0].committed(&view), "step {step}");
    }
    let changes = |h: &Harness| -> Vec<_> {
        let log = h.sinks[0].log();
        let of = |commit: &CommitRecord| commit.changes[&"b".into()].clone().into_iter().collect::<Vec<_>>();
        log.iter().flat_map(of).map(|(epoch, changes)| (epoch, format!("{changes:?}"))).collect()
    };
    assert_eq!(changes(&rough), changes(&calm));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_record_was_never_there() {
    let h = Harness::new();
    interrupted(&h).await;
    let segment = only_file(&h.state_dir().join("log"));
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, &whole[..whole.len() - 10]).unwrap();
    h.once().await.unwrap();
    h.assert_current();
    assert_eq!(h.commits(), [(0, 1, true), (1, 2, false)], "the source is read again from the last epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_stops_everything_by_name() {
    let h = Harness::new();
    interrupted(&h).await;
    let segment = only_file(&h.state_dir().join("log"));
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() - 200;
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    let text = error.to_string();
    assert!(text.contains(segment.to_str().unwrap()) && text.contains("resync"), "{text}");
    assert_eq!(h.commits().len(), 1);
    assert_eq!(fs::read(&segment).unwrap(), bytes, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let h = Harness::new();
    h.once().await.unwrap();
    h.source.commit([rows("t", &[5], 1)]);
    h.once().await.unwrap();
    fs::write(only_file(&h.state_dir().join("checkpoints")), "{}").unwrap();
    h.source.commit([rows("t", &[6], 1)]);
    let summary = h.once().await.unwrap();
    assert_eq!(summary.epoch, Epoch(3));
    h.assert_current();
    assert_eq!(h.source.calls().1, 1, "nothing was loaded again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_without_its_state_falls_back_to_the_one_before() {
    for (damaged, only_content) in [(4, true), (4, false), (3, true), (3, false)] {
        let is_lost = |path: &Path| !only_content || path.extension().is_some_and(|extension| extension == "dat");
        let h = Harness::new();
        h.once().await.unwrap();
        for id in 5..8 {
            h.source.commit([rows("t", &[id], 1)]);
            h.once().await.unwrap();
        }
        h.damage_checkpoint(damaged, is_lost);
        h.source.commit([rows("t", &[8], 1)]);
        let summary = h.once().await.unwrap();
        assert_eq!(summary.epoch, Epoch(5));
        h.assert_current();
        assert_eq!(h.source.calls().1, 1, "nothing was loaded again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_cut_short_begins_again() {
    let h = Harness::new();
    h.source.inject(SourceFault::FailAfter(0, ErrorKind::Bug));
    h.once().await.unwrap_err();
    assert!(h.sinks[0].log().is_empty());
    h.source.commit([rows("t", &[4], 1)]);
    let summary = h.once().await.unwrap();
    assert_eq!(summary.epoch, Epoch(1));
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_amid_its_events_offers_them_again() {
    let h = Harness::new();
    h.once().await.unwrap();
    h.source.commit([rows("t", &[4], 1), rows("t", &[5], 1)]);
    h.source.inject(SourceFault::FailAfter(1, ErrorKind::Retry));
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.source_rows), (1, 2));
    h.assert_current();
    for _ in 0..20 {
        h.source.inject(SourceFault::Fail(ErrorKind::Retry));
    }
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains("source memory:lake"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_folder_is_noticed_and_repaired() {
    let h = Harness::new();
    interrupted(&h).await;
    h.once().await.unwrap();
    fs::remove_dir_all(h.state_dir()).unwrap();
    h.source.commit([rows("t", &[70], 1)]);
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("this state folder is new"), "{error}");
    assert!(!h.state_dir().exists(), "nothing was written");
    let summary = h.resync("mart").await.unwrap();
    assert_eq!(summary.epoch, Epoch(3));
    assert_eq!(summary.view_rows[&"a".into()], 1);
    h.assert_current();
    h.source.commit([rows("t", &[71], 1)]);
    assert_eq!(h.once().await.unwrap().epoch, Epoch(4));
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_state_folder_is_noticed_and_repaired() {
    let h = Harness::new();
    h.once().await.unwrap();
    let old = h.dir.path().join("old");
    copy_dir(&h.state_dir(), &old);
    for id in 80..83 {
        h.source.commit([rows("t", &[id], 1)]);
        h.once().await.unwrap();
    }
    fs::remove_dir_all(h.state_dir()).unwrap();
    copy_dir(&old, &h.state_dir());
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("our history ends with epoch 1"), "{error}");
    assert_eq!(h.resync("mart").await.unwrap().epoch, Epoch(5));
    h.once().await.unwrap();
    h.assert_current();
}
