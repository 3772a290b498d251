//! Random histories over rows of every type, compared after every commit through the sink, and with time
//! travel at the end; maintenance comes at random moments.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use serde_json::json;
use tidegate_core::{Commit, CommitOutcome, Sink, ZSet};
use tidegate_testkit::{Multiset, seed};

use crate::history::History;
use crate::lakes::{KINDS, Kind, catalog, reader, sink_with, snapshot, table, texts};

async fn run(kind: Kind, seed: u64, keyed: bool) {
    println!("{kind:?}, seed {seed}, keyed {keyed}");
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(kind, folder.path());
    let make = || {
        let maintenance = json!({ "maintenance": { "flush_rows": 8, "merge_files": 2 } });
        sink_with(&catalog, folder.path(), &maintenance)
    };
    let mut history = History::new("A View", seed, keyed);
    let view = [history.view.info().clone()];
    let mut target = make();
    target.open(&view).await.unwrap();
    let mut past = BTreeMap::new();
    for _ in 0..8 {
        let after = history.header().epoch;
        let views = vec![if history.below(8) == 0 { history.replace() } else { history.advance() }];
        let outcome = target.commit(Commit { after, header: history.header(), views }).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        let duck = reader(&catalog);
        past.insert(snapshot(&duck), (history.header().epoch, table(&duck, &view[0].name, None)));
        drop(duck);
        if history.below(3) == 0 {
            target.maintain().await.unwrap();
        }
        if history.below(3) == 0 {
            target = make();
            let found = target.open(&view).await.unwrap()[&view[0].name].map(|found| found.epoch);
            assert_eq!(found, Some(history.header().epoch));
        }
        let rows: Vec<ZSet> = target.read(&view[0]).await.unwrap().try_collect().await.unwrap();
        let what = format!("the table at epoch {}", history.header().epoch);
        Multiset::of_zsets(&rows).assert_equals(&history.view.multiset(), &what);
        let duck = reader(&catalog);
        let epochs = "SELECT concat_ws('|', view, epoch, hash, frontier) FROM lake._tidegate_epochs";
        let header = history.header();
        assert_eq!(texts(&duck, epochs), [format!("A View|{}|{}|{}", header.epoch, header.hash, header.frontier)]);
    }
    // Whatever was flushed and merged since then.
    let duck = reader(&catalog);
    for (snapshot, (epoch, expected)) in past {
        let found = table(&duck, &view[0].name, Some(snapshot));
        assert_eq!(found.0, expected.0, "columns at snapshot {snapshot}");
        found.1.assert_equals(&expected.1, &format!("the table at snapshot {snapshot}"));
        let at = format!("SELECT epoch FROM lake._tidegate_epochs AT (VERSION => {snapshot})");
        assert_eq!(texts(&duck, &at), [epoch.to_string()], "the epoch at snapshot {snapshot}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories() {
    let seed = seed::seed("random_histories");
    for kind in KINDS {
        for sequence in 0..seed::sequences(1) {
            run(kind, seed.wrapping_add(sequence), false).await;
            run(kind, seed.wrapping_add(sequence), true).await;
        }
    }
}
