//! A reader of one range, and what it may answer: the judge of `ranges`.

use std::collections::BTreeSet;
use std::fmt;

use futures::TryStreamExt;
use tidegate_core::{Polled, Position, SnapshotId, Source, TableSchema};
use tidegate_source_ducklake::DucklakeSource;
use tidegate_testkit::{Chronicle, Lake, TableContents};

use crate::follower::{apply, block_on};

/// What was checked.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Ranges.
    pub ranges: u64,
    /// Polls of them.
    pub polls: u64,
    /// Those that answered with changes.
    pub changes: u64,
    /// Those that answered with a change of schema, each at the snapshot where there was one.
    pub schema_changes: u64,
    /// Those that answered that something has expired because a snapshot is gone.
    pub expired: u64,
    /// The same because a snapshot is damaged.
    pub damaged: u64,
    /// The same because writers who overlapped left no account of what they did.
    pub unaccounted: u64,
    /// The same because deletion vectors have erased what happened.
    pub erased: u64,
}

/// What a reader says where deletion vectors have erased what happened.
const ERASED: &str = "keep no history of deletes";

/// What a reader says where the lake does not tell what writers did who overlapped.
const UNACCOUNTED: [&str; 5] = [
    "flushed the table in one transaction",
    "which brought them back",
    "no longer tells which rows",
    "deleted rows of which the lake has kept nothing",
    "and the lake says snapshot",
];

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Tally) {
        self.ranges += other.ranges;
        self.polls += other.polls;
        self.changes += other.changes;
        self.schema_changes += other.schema_changes;
        self.expired += other.expired;
        self.damaged += other.damaged;
        self.unaccounted += other.unaccounted;
        self.erased += other.erased;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { ranges, polls, changes, schema_changes, expired, damaged, unaccounted, erased } = self;
        write!(
            f,
            "{ranges} ranges in {polls} polls ({changes} with changes), {schema_changes} schema changes, \
             {expired} ended at a gap, {damaged} at damage, {unaccounted} at what the lake does not tell, {erased} at what was erased"
        )
    }
}

/// What is left of a lake's past.
pub struct Remains {
    snapshots: BTreeSet<u64>,
    /// Table and snapshot where one of its files has two delete files, of which only one is applied.
    damaged: BTreeSet<(u64, u64)>,
    /// Whether deletion vectors were ever switched on.
    vectors: bool,
}

impl Remains {
    /// What is left now.
    pub fn of(lake: &Lake) -> Remains {
        let catalog = |table: &str| format!("__ducklake_metadata_{}.ducklake_{table}", lake.name());
        let (snapshot, data, delete) = (catalog("snapshot"), catalog("data_file"), catalog("delete_file"));
        let valid = |alias: &str| {
            format!("{alias}.begin_snapshot <= s.snapshot_id AND coalesce({alias}.end_snapshot > s.snapshot_id, true)")
        };
        let damaged = format!(
            "SELECT DISTINCT CAST(f.table_id AS UBIGINT), CAST(s.snapshot_id AS UBIGINT) \
             FROM {snapshot} s, {data} f, {delete} d WHERE d.data_file_id = f.data_file_id AND {} AND {} \
             GROUP BY f.table_id, s.snapshot_id, f.data_file_id HAVING count(*) > 1",
            valid("f"),
            valid("d")
        );
        let vectors = format!("SELECT count(*) > 0 FROM {} WHERE key = 'write_deletion_vectors'", catalog("metadata"));
        let read = |duck: &tidegate_duck::Duck| {
            let run = || {
                let connection = duck.connection();
                let ids = format!("SELECT CAST(snapshot_id AS UBIGINT) FROM {snapshot}");
                let snapshots = connection.prepare(&ids)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                let pair = |row: &tidegate_duck::duckdb::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                let damaged = connection.prepare(&damaged)?.query_map([], pair)?.collect::<Result<_, _>>()?;
                let vectors = connection.query_row(&vectors, [], |row| row.get(0))?;
                Ok(Remains { snapshots, damaged, vectors })
            };
            run().map_err(|error| duck.error(&error))
        };
        lake.attached(read).unwrap()
    }

    /// A snapshot of a range, its ends included, that is gone.
    fn gap(&self, from: u64, to: u64) -> Option<u64> {
        (from..=to).find(|id| !self.snapshots.contains(id))
    }

    /// A snapshot of a range, its ends included, at which one of the tables is damaged.
    fn damage(&self, tables: &[TableSchema], from: u64, to: u64) -> Option<u64> {
        let mut damaged = self.damaged.iter();
        let found = damaged.find(|(table, snapshot)| {
            (from..=to).contains(snapshot) && tables.iter().any(|wanted| wanted.incarnation == *table)
        });
        found.map(|(_, snapshot)| *snapshot)
    }
}

/// A reader: where it stands, and what it holds.
pub struct Reading {
    /// The snapshot.
    pub at: u64,
    tables: Vec<TableSchema>,
    contents: Vec<TableContents>,
}

impl Reading {
    /// A reader that holds what the tables held at a snapshot; which of them is said by their place.
    pub fn at(chronicle: &Chronicle, at: u64, wanted: impl Fn(usize) -> bool) -> Reading {
        let tables = chronicle.at(at).unwrap().iter().enumerate().filter(|(place, _)| wanted(*place));
        let contents: Vec<_> = tables.map(|(_, table)| table.contents.clone()).collect();
        Reading { at, tables: contents.iter().map(|table| table.schema().clone()).collect(), contents }
    }

    /// Polls until `until`; panics with what is wrong. Says whether it came there.
    pub fn follow(
        &mut self,
        source: &mut DucklakeSource,
        chronicle: &Chronicle,
        remains: &Remains,
        until: u64,
        rows_max: u64,
        tally: &mut Tally,
    ) -> bool {
        let range = format!("range ({}, {until}]", self.at);
        tally.ranges += 1;
        while self.at < until {
            let before = self.at;
            let ids: Vec<_> = self.tables.iter().map(|table| table.incarnation).collect();
            // A range may be continued from where nothing was written down; nothing changed shape since then.
            let written = chronicle.snapshots().take_while(|id| *id <= before).last().unwrap();
            let barrier = chronicle.barrier(&ids, written, until);
            tally.polls += 1;
            let polled = self.poll(source, until, rows_max);
            tally.changes += u64::from(matches!(polled, Polled::Changes { .. }));
            match polled {
                Polled::Idle => panic!("{range}: idle at {before}"),
                Polled::Advanced { to } | Polled::Changes { to, .. } => {
                    let Position::SnapshotId(SnapshotId(to)) = to else { panic!("{range}: {to} is no snapshot") };
                    assert!(before < to && to <= until, "{range}: from {before} to {to}");
                    if let Some(barrier) = barrier {
                        assert!(to < barrier, "{range}: from {before} to {to}, across the barrier at {barrier}");
                    }
                    self.at = to;
                    self.agree(chronicle, &range);
                }
                Polled::SchemaChanged { at, reason } => {
                    let Position::SnapshotId(SnapshotId(at)) = at else { panic!("{range}: {at} is no snapshot") };
                    assert_eq!(Some(at), barrier, "{range}: from {before}, {reason}");
                    *self = Reading::at(chronicle, at, |_| true);
                    tally.schema_changes += 1;
                }
                Polled::Expired { reason } => {
                    if remains.gap(before, until).is_some() {
                        tally.expired += 1;
                    } else if remains.damage(&self.tables, before, until).is_some() {
                        tally.damaged += 1;
                    } else if remains.vectors && reason.contains(ERASED) {
                        tally.erased += 1;
                    } else if UNACCOUNTED.iter().any(|text| reason.contains(text)) {
                        println!("{range}: {reason}");
                        tally.unaccounted += 1;
                    } else {
                        panic!("{range}: nothing of it has expired after {before}, and yet: {reason}");
                    }
                    return false;
                }
            }
        }
        true
    }

    /// One poll, whose events are applied.
    fn poll(&mut self, source: &mut DucklakeSource, until: u64, rows_max: u64) -> Polled {
        let position = |id| Position::SnapshotId(SnapshotId(id));
        block_on(async {
            let polled = source.poll(&self.tables, &position(self.at), Some(&position(until)), rows_max).await;
            match polled.unwrap_or_else(|error| panic!("({}, {until}]: {error}", self.at)) {
                Polled::Changes { to, commit_time, events } => {
                    let events: Vec<_> = events.try_collect().await.unwrap();
                    apply(&mut self.contents, &events);
                    Polled::Changes { to, commit_time, events: Box::pin(futures::stream::empty()) }
                }
                other => other,
            }
        })
    }

    /// The tables hold what they held, wherever that was written down.
    fn agree(&self, chronicle: &Chronicle, range: &str) {
        let Some(truth) = chronicle.at(self.at) else { return };
        for found in &self.contents {
            let schema = found.schema();
            let expected = truth.iter().find(|table| table.contents.schema().incarnation == schema.incarnation);
            let what = format!("{range}: {} at {}", schema.name, self.at);
            let expected = expected.unwrap_or_else(|| panic!("{what} does not exist"));
            assert_eq!(schema.columns, expected.contents.schema().columns, "{what}");
            found.multiset().assert_equals(&expected.contents.multiset(), &what);
        }
    }
}
