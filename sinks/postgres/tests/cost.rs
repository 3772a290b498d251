//! What a commit costs follows its changes and not the table: the server itself counts the rows that were read.

use std::time::Instant;

use tidegate_core::{Commit, Epoch, RowIdentity, Sink};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::{Postgres, PostgresVersion};

use crate::rows::{commit, delta, million};
use crate::suite::{database, shared, sink_to};

/// Sequential scans of a table and the rows they read, once all sessions have told.
fn scans(server: &Postgres, name: &str, changed: i64) -> (i64, i64) {
    let started = Instant::now();
    loop {
        let sql = "SELECT seq_scan, seq_tup_read, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables \
                   WHERE relname = 'v'";
        let row: Vec<i64> =
            server.query(name, sql).remove(0).into_iter().map(|value| value.unwrap().parse().unwrap()).collect();
        if row[2] >= changed {
            return (row[0], row[1]);
        }
        assert!(started.elapsed().as_secs() < 30, "the server counts {row:?} instead of {changed} changes");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_reads_the_whole_table() {
    let cases = [
        (PostgresVersion::V15, RowIdentity::WholeRow),
        (PostgresVersion::V18, RowIdentity::WholeRow),
        (PostgresVersion::V15, RowIdentity::Key(vec![0])),
        (PostgresVersion::V18, RowIdentity::Key(vec![0])),
        // Two columns, of which the second is NULL in some rows.
        (PostgresVersion::V18, RowIdentity::Key(vec![1, 0])),
    ];
    for (version, identity) in cases {
        let server = shared(version);
        let name = database(&server);
        let url = server.url(&name);
        let mut sink = sink_to(&url);
        let view = ViewModel::new("v", &[("k", "BIGINT"), ("t", "VARCHAR")], identity.clone());
        let started = Instant::now();
        commit(&mut sink, 1, million(&view, 1)).await.unwrap();
        let loaded = started.elapsed();
        // A session tells what it has read when it ends.
        drop(sink);
        let before = scans(&server, &name, 1_000_000);
        let mut sink = sink_to(&url);
        let mut changed = 1_000_000;
        let mut fastest = std::time::Duration::MAX;
        for round in 0..20_u64 {
            let (old, new) = (round * 50_021 + 7, 2_000_000 + round);
            let values = format!("({old}, 'row {}'), (NULL, 'n'), ({new}, 'new'), ({new}, NULL)", old % 1000);
            let weights: &[i64] = if round % 2 == 0 { &[-1, 1, 1, 1] } else { &[-1, -1, 1, 1] };
            let second = if identity == RowIdentity::Key(vec![0]) { 3 } else { 4 };
            let mut delta = delta(&view, &values, weights, &[1, (round % 2) as i64, 0, 0]);
            if second == 3 {
                // One row a key.
                delta.rows = delta.rows.slice(0, 3);
                delta.weights = delta.weights.slice(0, 3);
                delta.change.truncate(3);
                delta.copies_before = delta.copies_before.slice(0, 3);
            }
            changed += second;
            let started = Instant::now();
            let views = vec![view.changes([(header(round + 2), delta)])];
            sink.commit(Commit { after: Epoch(round + 1), header: header(round + 2), views }).await.unwrap();
            fastest = fastest.min(started.elapsed());
        }
        drop(sink);
        let after = scans(&server, &name, changed);
        println!(
            "{version:?} {identity:?}: 1 M rows loaded in {} ms, a commit of 4 rows in {} µs",
            loaded.as_millis(),
            fastest.as_micros()
        );
        assert_eq!(after, before, "{version:?} {identity:?}: sequential scans and rows read by them");
        server.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    }
}
