//! The suite for sources: a snapshot and the changes after it are the next snapshot, whatever is
//! asked in which steps, and as often as it is asked.

use std::path::Path;

use futures::TryStreamExt;
use tidegate_core::{ConnectorError, Micros, Polled, Position, Snapshots, Source, TableName, TableSchema};

use super::block_on;
use super::sink::full;
use crate::contents::TableContents;
use crate::dml::{Dml, Mix};
use crate::lake::{Catalog, Lake};
use crate::seed::seed;

/// A source under test, and the hand that changes it.
pub trait SourceFixture {
    /// A new connector to the same source, as after a restart.
    fn connect(&self) -> Box<dyn Source>;
    /// The tables that are followed; they exist.
    fn wanted(&self) -> Vec<TableName>;
    /// One source transaction, or some upkeep that changes no row.
    fn change(&mut self);
    /// Progress of the source that changes no row of a wanted table.
    fn progress(&mut self);
}

/// Runs the suite. `make` makes a source in an empty folder.
///
/// # Panics
/// When a law is broken.
pub fn source<F: SourceFixture>(make: impl Fn(&Path, u64) -> F) {
    let seed = seed("source conformance");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fixture = make(folder.path(), seed);
    block_on(async {
        println!("source conformance: names and schemas");
        let (mut source, tables) = names(&fixture).await;
        println!("source conformance: snapshots and polls");
        let history = history(&mut fixture, source.as_mut(), &tables).await;
        println!("source conformance: any range of the history");
        // One connector at a time may follow a source that keeps one reader's place.
        drop(source);
        ranges(&fixture, &tables, &history).await;
        println!("source conformance: a source that is idle");
        let mut source = fixture.connect();
        idle(&mut fixture, source.as_mut(), &tables).await;
    });
}

/// A position of the source and what its tables held there.
struct Point {
    position: Position,
    contents: Vec<TableContents>,
}

async fn names(fixture: &impl SourceFixture) -> (Box<dyn Source>, Vec<TableSchema>) {
    let mut source = fixture.connect();
    let wanted = fixture.wanted();
    let head = ok(source.head().await);
    let listed = ok(source.list(None).await);
    assert!(wanted.iter().all(|table| listed.contains(table)), "{wanted:?} are not all among {listed:?}");
    assert_eq!(listed, ok(source.list(Some(&head)).await), "what exists now exists at the head");
    let tables = ok(source.tables(&wanted, None).await);
    assert_eq!(tables, ok(source.tables(&wanted, Some(&head)).await), "the schemas of now are those of the head");
    assert_eq!(tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>(), wanted, "schemas in the order asked");
    let reversed: Vec<_> = wanted.iter().rev().cloned().collect();
    let backwards: Vec<_> = tables.iter().rev().cloned().collect();
    assert_eq!(ok(source.tables(&reversed, None).await), backwards, "schemas in the order asked");
    for field in tables.iter().flat_map(|table| table.columns.fields()) {
        let named = tidegate_core::schema::duckdb_type(field);
        let arrow = named.and_then(|name| tidegate_core::duckdb_type::arrow_type(name).ok());
        assert_eq!(arrow.as_ref(), Some(field.data_type()), "{}: {named:?} and its Arrow type", field.name());
    }
    let missing = TableName { table: "no such table".to_owned(), ..wanted[0].clone() };
    let error = source.tables(&[missing], None).await.expect_err("a table that is not there is an error");
    assert!(error.to_string().contains("no such table"), "the error names the table: {error}");
    (source, tables)
}

/// Changes the source step by step and follows it. Each snapshot is the one before it and what
/// was polled in between.
///
/// Of a source that reads the present only nothing is acknowledged here: it forgets what was.
async fn history(fixture: &mut impl SourceFixture, source: &mut dyn Source, tables: &[TableSchema]) -> Vec<Point> {
    let first = ok(source.head().await);
    let any_position = source.snapshots() == Snapshots::AnyPosition;
    let mut history = vec![snapshot(source, tables, Some(&first)).await];
    for step in 0..30 {
        (0..=step % 3).for_each(|_| fixture.change());
        let last = history.last().expect("there is a first point");
        let head = ok(source.head().await);
        let mut contents = last.contents.clone();
        let reached = follow(source, tables, &last.position, None, u64::MAX, &mut contents).await;
        if !any_position {
            assert!(is_at_least(&reached, &head), "polling ends at {reached}, before the head {head}");
            let point = snapshot(source, tables, None).await;
            let reached = follow(source, tables, &reached, Some(&point.position), u64::MAX, &mut contents).await;
            assert_eq!(reached, point.position, "polling ends at the snapshot");
            same(&contents, &point.contents, &format!("step {step}: snapshot and changes up to {reached}"));
            history.push(point);
            continue;
        }
        assert_eq!(reached, head, "polling ends at the head");
        let point = snapshot(source, tables, Some(&head)).await;
        assert_eq!(point.position, head, "a snapshot has the position asked for");
        same(&contents, &point.contents, &format!("step {step}: snapshot and changes up to {head}"));
        ok(source.acknowledge(&last.position).await);
        if step % 10 == 9 {
            let now = snapshot(fixture.connect().as_mut(), tables, None).await;
            assert_eq!(now.position, head, "a snapshot of now has the head's position");
            same(&now.contents, &point.contents, "a snapshot of now");
        }
        history.push(point);
    }
    history
}

/// Reads old ranges again, whole and in small pieces, from a connector that knows nothing.
async fn ranges(fixture: &impl SourceFixture, tables: &[TableSchema], history: &[Point]) {
    let mut source = fixture.connect();
    for (from, until) in [(0, history.len() - 1), (3, 17), (11, 12), (20, history.len() - 2)] {
        let (from, until) = (&history[from], &history[until]);
        for rows_max in [u64::MAX, 1, 5] {
            let what = format!("from {} to {}, {rows_max} rows at a time", from.position, until.position);
            let mut contents = from.contents.clone();
            let reached =
                follow(source.as_mut(), tables, &from.position, Some(&until.position), rows_max, &mut contents).await;
            assert_eq!(reached, until.position, "{what}: the end");
            same(&contents, &until.contents, &what);
        }
        if source.snapshots() == Snapshots::AnyPosition {
            let again = snapshot(source.as_mut(), tables, Some(&until.position)).await;
            same(&again.contents, &until.contents, &format!("the snapshot at {} again", until.position));
        }
        // One table alone changes as it does among the others.
        let mut contents = vec![from.contents[0].clone()];
        follow(source.as_mut(), &tables[..1], &from.position, Some(&until.position), u64::MAX, &mut contents).await;
        same(&contents, &until.contents[..1], "one table alone");
    }
}

async fn idle(fixture: &mut impl SourceFixture, source: &mut dyn Source, tables: &[TableSchema]) {
    let head = ok(source.head().await);
    // The position of a source that is shared with others moves on without us.
    let any_position = source.snapshots() == Snapshots::AnyPosition;
    for _ in 0..3 {
        let polled = ok(source.poll(tables, &head, None, u64::MAX).await);
        let is_idle = matches!(polled, Polled::Idle) || (!any_position && matches!(polled, Polled::Advanced { .. }));
        assert!(is_idle, "nothing happened after {head}");
    }
    ok(source.acknowledge(&head).await);
    ok(source.acknowledge(&head).await);
    let polled = ok(source.poll(tables, &head, Some(&head), u64::MAX).await);
    assert!(matches!(polled, Polled::Idle), "nothing lies between {head} and itself");
    fixture.progress();
    let moved = ok(source.head().await);
    let mut contents = snapshot(source, tables, Some(&head)).await.contents;
    let before = contents.clone();
    let mut from = head;
    while !is_at_least(&from, &moved) {
        match ok(source.poll(tables, &from, None, u64::MAX).await) {
            Polled::Advanced { to } => from = to,
            Polled::Idle => panic!("a poll from {from} is idle though the source stands at {moved}"),
            _ => panic!("progress that changes no wanted row was offered as changes"),
        }
    }
    follow(source, tables, &head, None, u64::MAX, &mut contents).await;
    same(&contents, &before, "progress that changes no wanted row");
}

/// Polls until the source is idle, applying what it offers; each poll is asked twice.
async fn follow(
    source: &mut dyn Source,
    tables: &[TableSchema],
    from: &Position,
    until: Option<&Position>,
    rows_max: u64,
    contents: &mut [TableContents],
) -> Position {
    let (mut at, mut time) = (*from, None);
    loop {
        let Some((to, events_time, events)) = poll(source, tables, &at, until, rows_max).await else { return at };
        let mut repeated = contents.to_vec();
        apply(contents, &events);
        if source.snapshots() == Snapshots::AnyPosition {
            let second = poll(source, tables, &at, until, rows_max).await;
            let Some((again, time_again, events_again)) = second else {
                panic!("a poll from {at} found something, and nothing when it was asked twice");
            };
            assert_eq!((to, events_time), (again, time_again), "a poll from {at} asked twice");
            apply(&mut repeated, &events_again);
        } else {
            // A stream has as much as has arrived; up to one position it always says the same.
            let mut reached = at;
            while reached != to {
                let Some((next, _, events)) = poll(source, tables, &reached, Some(&to), rows_max).await else {
                    panic!("a poll from {reached} to {to}, which was polled before, is idle");
                };
                apply(&mut repeated, &events);
                reached = next;
            }
        }
        assert!(to.compare(&at).is_some_and(|order| order.is_gt()), "a poll from {at} went to {to}");
        assert!(
            until.is_none_or(|until| to.compare(until).is_some_and(|order| order.is_le())),
            "{to} is beyond {until:?}"
        );
        same(&repeated, contents, &format!("a poll from {at} asked twice"));
        time = time.max(events_time);
        at = to;
    }
}

type Found = Option<(Position, Option<Micros>, Vec<(TableName, tidegate_core::TableEvent)>)>;

/// One poll; `None` when the source is idle.
async fn poll(
    source: &mut dyn Source,
    tables: &[TableSchema],
    from: &Position,
    until: Option<&Position>,
    rows_max: u64,
) -> Found {
    match ok(source.poll(tables, from, until, rows_max).await) {
        Polled::Idle => None,
        Polled::Advanced { to } => Some((to, None, Vec::new())),
        Polled::Changes { to, commit_time, events } => {
            let events: Vec<_> = ok(events.try_collect().await);
            let wanted = |name: &TableName| tables.iter().any(|table| table.name == *name);
            assert!(events.iter().all(|(name, _)| wanted(name)), "an event of a table that was not asked for");
            Some((to, commit_time, events))
        }
        Polled::SchemaChanged { reason, .. } => panic!("the schema did not change: {reason}"),
        Polled::Expired { reason } => panic!("nothing expired: {reason}"),
    }
}

async fn snapshot(source: &mut dyn Source, tables: &[TableSchema], at: Option<&Position>) -> Point {
    let snapshot = ok(source.snapshot(tables, at).await);
    let mut contents: Vec<_> = tables.iter().cloned().map(TableContents::new).collect();
    let events: Vec<_> = ok(snapshot.events.try_collect().await);
    apply(&mut contents, &events);
    Point { position: snapshot.position, contents }
}

fn apply(contents: &mut [TableContents], events: &[(TableName, tidegate_core::TableEvent)]) {
    for (name, event) in events {
        let table = contents.iter_mut().find(|table| table.schema().name == *name);
        table.unwrap_or_else(|| panic!("an event of {name}, which was not asked for")).apply(event);
    }
}

fn is_at_least(position: &Position, other: &Position) -> bool {
    position.compare(other).is_some_and(|order| order.is_ge())
}

fn same(found: &[TableContents], expected: &[TableContents], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        let what = format!("{what}, table {}", expected.schema().name);
        found.multiset().assert_equals(&expected.multiset(), &what);
    }
}

fn ok<T>(result: Result<T, ConnectorError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", full(&error)))
}

/// A random lake as a source under test.
pub struct LakeFixture<C> {
    lake: Lake,
    dml: Dml,
    connect: C,
}

impl<C: Fn(&Lake) -> Box<dyn Source>> LakeFixture<C> {
    /// A lake with random content; `connect` makes the connector, whose name for the lake is
    /// [`Lake::name`].
    pub fn new(dir: &Path, catalog: Catalog, seed: u64, connect: C) -> Self {
        // Any range of the history is read again, so none of it may be expired or damaged.
        let mix = Mix { expire: 0, schema: 0, damage: false, ..Mix::default() };
        let (lake, mut dml) = Lake::generated(dir, catalog, seed, mix);
        lake.execute("CREATE TABLE lake.unwanted (n INTEGER)");
        for _ in 0..5 {
            lake.take(&dml.step());
        }
        LakeFixture { lake, dml, connect }
    }
}

impl<C: Fn(&Lake) -> Box<dyn Source>> SourceFixture for LakeFixture<C> {
    fn connect(&self) -> Box<dyn Source> {
        (self.connect)(&self.lake)
    }

    fn wanted(&self) -> Vec<TableName> {
        self.dml.tables().into_iter().map(|table| TableName::new(self.lake.name(), "main", table)).collect()
    }

    fn change(&mut self) {
        self.lake.take(&self.dml.step());
    }

    fn progress(&mut self) {
        self.lake.execute("INSERT INTO lake.unwanted VALUES (1)");
        self.lake.execute("CALL ducklake_flush_inlined_data('lake')");
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use tidegate_core::{KeyedChanges, KeyedOp, RowIdentity, TableEvent, schema};

    use super::*;
    use crate::memory_source::MemorySource;
    use crate::rows;

    /// A keyed and a keyless table in memory.
    struct MemoryFixture {
        source: MemorySource,
        tables: Vec<TableSchema>,
        rng: StdRng,
    }

    fn table(name: &str, identity: RowIdentity) -> TableSchema {
        let columns = schema::columns([("k", "INTEGER", true), ("v", "VARCHAR", true)]).unwrap();
        TableSchema {
            name: TableName::new("m", "main", name),
            incarnation: 1,
            columns,
            identity,
            integral: tidegate_core::Integral::Source,
        }
    }

    impl SourceFixture for MemoryFixture {
        fn connect(&self) -> Box<dyn Source> {
            Box::new(self.source.clone())
        }

        fn wanted(&self) -> Vec<TableName> {
            self.tables.iter().map(|table| table.name.clone()).collect()
        }

        fn change(&mut self) {
            let (k, v) = (self.rng.random_range(0..4), self.rng.random_range(0..3));
            let columns = self.tables[0].columns.clone();
            let upsert = |values: &str, op| {
                TableEvent::Keyed(KeyedChanges {
                    ops: vec![op],
                    rows: rows::batch(&columns, values),
                    unchanged: vec![None, None],
                })
            };
            let keyed = match v {
                0 => upsert(&format!("({k}, NULL)"), KeyedOp::Delete),
                _ => upsert(&format!("({k}, 'v{v}')"), KeyedOp::Upsert),
            };
            let mut events = vec![(self.tables[0].name.clone(), keyed)];
            let whole = |event| (self.tables[1].name.clone(), event);
            match k {
                0 => events.push(whole(TableEvent::Truncate)),
                1 => {}
                _ => events.push(whole(rows::inserted(&columns, &format!("({k}, NULL), ({k}, NULL)")))),
            }
            self.source.commit(events);
        }

        fn progress(&mut self) {
            self.source.progress();
        }
    }

    #[test]
    fn the_source_in_memory_conforms() {
        source(|_, seed| {
            let tables = vec![table("keyed", RowIdentity::Key(vec![0])), table("whole", RowIdentity::WholeRow)];
            MemoryFixture { source: MemorySource::new("m", tables.clone()), tables, rng: StdRng::seed_from_u64(seed) }
        });
    }
}
