//! What a lake keeps, in times: where it stood at a moment, and how to expire without harm. Writers' clocks may go backwards.

use tidegate_core::{Finding, Micros, Position, Severity, SnapshotId, Source};
use tidegate_source_ducklake::{DucklakeSource, Stood};
use tidegate_testkit::Lake;

use crate::follower::{Answer, Follower, block_on, connect, on_every_catalog};

const HOUR: i64 = 3_600_000_000;
/// 2026-03-01 00:00 UTC.
const MIDNIGHT: i64 = 1_772_323_200_000_000;

/// That many hours after midnight.
fn hour(hours: i64) -> Micros {
    Micros(MIDNIGHT + hours * HOUR)
}

/// Makes a table and a row a snapshot, and has the snapshots committed at some hours after midnight, from snapshot 0 on.
fn committed_at(lake: &Lake, hours: &[i64]) {
    lake.execute("CREATE TABLE lake.orders (id INTEGER)");
    for id in 2..hours.len() {
        lake.execute(&format!("INSERT INTO lake.orders VALUES ({id})"));
    }
    let update = |(id, hours): (usize, &i64)| {
        format!(
            "UPDATE __ducklake_metadata_lake.ducklake_snapshot SET snapshot_time = '{}' WHERE snapshot_id = {id};",
            hour(*hours).to_string().replace('T', " ").replace('Z', "+00")
        )
    };
    lake.execute(&hours.iter().enumerate().map(update).collect::<String>());
}

fn position(snapshot: u64) -> Position {
    Position::SnapshotId(SnapshotId(snapshot))
}

fn at(source: &mut DucklakeSource, time: Micros) -> Stood {
    block_on(source.at(time)).unwrap()
}

fn findings(lake: &Lake, reader: &str, read: u64) -> Vec<Finding> {
    block_on(connect(lake, reader).retention(&position(read))).unwrap()
}

/// The command that a finding gives.
fn call(finding: &Finding) -> String {
    let fix = finding.fix.as_deref().expect("there is something to do");
    let call = &fix[fix.find("CALL ducklake_expire").expect("a call")..];
    call[..=call.find(')').expect("its end")].to_owned()
}

#[test]
fn a_lake_tells_where_it_stood_at_a_moment() {
    // Snapshot 3 was committed by a clock that was ahead, 4 and 5 at the same time. There are days in between, for the sake of a
    // catalog in SQLite: DuckLake compares its times as texts.
    const HOURS: [i64; 8] = [0, 24, 48, 480, 96, 96, 720, 744];
    on_every_catalog(|lake, reader| {
        committed_at(lake, &HOURS);
        let mut source = connect(lake, reader);
        let stood = |id| Stood::At(SnapshotId(id));
        assert_eq!(at(&mut source, Micros(hour(0).0 - 1)), Stood::NotYet);
        let answers = [(0, 0), (24, 1), (48, 2), (96, 2), (479, 2), (480, 5), (719, 5), (720, 6), (744, 7), (9999, 7)];
        for (hours, id) in answers {
            assert_eq!(at(&mut source, hour(hours)), stood(id), "hour {hours}");
        }
        assert_eq!(at(&mut source, Micros(hour(720).0 - 1)), stood(5));
        let horizon = block_on(source.horizon(&position(6))).unwrap().expect("a lake forgets");
        assert_eq!((horizon.oldest, horizon.oldest_at), (position(0), Some(hour(0))));
        assert_eq!(horizon.read_at, Some(hour(720)));

        // 0, 1, 2, 4 and 5 go; what is left answers as before, or that it is gone.
        lake.execute(&format!("CALL ducklake_expire_snapshots('lake', older_than => TIMESTAMPTZ '{}')", hour(200)));
        for (hours, id) in answers {
            let expected = if id < 3 { Stood::Gone { kept_from: SnapshotId(3) } } else { stood(id) };
            let expected = if id == 5 { Stood::Gone { kept_from: SnapshotId(6) } } else { expected };
            assert_eq!(at(&mut source, hour(hours)), expected, "hour {hours} after expiry");
        }
        let horizon = block_on(source.horizon(&position(5))).unwrap().expect("a lake forgets");
        assert_eq!((horizon.oldest, horizon.oldest_at, horizon.read_at), (position(6), Some(hour(720)), None));
    });
}

#[test]
fn what_a_pipeline_needs_survives_the_call_that_it_names() {
    on_every_catalog(|lake, reader| {
        // 6 was committed by a clock that was behind: `older_than => the time of 5` would remove it.
        committed_at(lake, &[0, 1, 2, 3, 4, 150, 130, 160]);
        let mut follower = Follower::load(lake, reader, &["orders"]);
        (follower.at, follower.contents) = follower.snapshot(Some(position(5)));
        let found = findings(lake, reader, 5);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Good), "{found:?}");
        let fact = "snapshot 5 was read last, committed at 2026-03-07T06:00:00.000000Z; everything from snapshot 0 on is kept, \
                    committed 6 d 6 h before, and what is before snapshot 5 may go";
        assert_eq!(found[0].fact, fact);
        assert!(found[0].fix.as_ref().unwrap().ends_with("`versions` must name none from 5 on"), "{found:?}");
        lake.execute(&call(&found[0]));
        follower.expect(Answer::Changes);
        let [found] = &findings(lake, reader, 5)[..] else { panic!("one finding") };
        assert!(found.fact.contains("everything from snapshot 5 on is kept, and"), "{found:?}");

        // Without what was read last there is nothing to go on from.
        lake.execute("CALL ducklake_expire_snapshots('lake', versions => [5])");
        let [found] = &findings(lake, reader, 5)[..] else { panic!("one finding") };
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.fact.contains("snapshot 5 was read last, and what came next is gone"), "{found:?}");
    });
}

#[test]
fn a_horizon_that_is_close_is_told() {
    on_every_catalog(|lake, reader| {
        committed_at(lake, &[0, 100, 123, 126]);
        // Nothing has expired: the lake is as young as that.
        assert_eq!(findings(lake, reader, 1)[0].severity, Severity::Good);
        lake.execute("CALL ducklake_expire_snapshots('lake', versions => [0])");
        let told = |read: u64| findings(lake, reader, read).into_iter().map(|found| (found.severity, found.fact));
        let [(severity, fact)] = &told(2).collect::<Vec<_>>()[..] else { panic!("one finding") };
        assert_eq!(*severity, Severity::Warning, "{fact}");
        assert!(fact.contains("everything from snapshot 1 on is kept, committed 23 h before"), "{fact}");
        assert_eq!(told(3).map(|(severity, _)| severity).collect::<Vec<_>>(), [Severity::Good]);

        // Expiring as the lake's option says keeps two days, which snapshot 3 is the first not to be within.
        lake.execute("CALL lake.set_option('expire_older_than', '2 days')");
        assert_eq!(told(3).count(), 1);
        lake.execute("CALL lake.set_option('expire_older_than', '4 hours')");
        let [_, (severity, fact)] = &told(3).collect::<Vec<_>>()[..] else { panic!("two findings") };
        assert_eq!(*severity, Severity::Warning);
        assert!(fact.contains("expire_older_than is '4 hours': a pipeline that is away"), "{fact}");
        let [_, (_, fact)] = &told(1).collect::<Vec<_>>()[..] else { panic!("two findings") };
        assert!(fact.contains("would remove what this pipeline needs: snapshot 1 and all after it"), "{fact}");
        // It does: by now they are older still.
        lake.execute("CALL ducklake_expire_snapshots('lake')");
        assert!(told(1).next().unwrap().1.contains("what came next is gone"));
    });
}
