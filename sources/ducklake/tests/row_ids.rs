//! `rowid` and `snapshot_id`: what a reader holds who follows a lake is what DuckDB shows at that snapshot at that time, upkeep
//! or not. Only the native reader has them.

use std::path::Path;

use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::schema::is_virtual;
use tidegate_core::{ErrorKind, Polled, Position, SnapshotId, Source, TableName, TableSchema};
use tidegate_source_ducklake::DucklakeSource;
use tidegate_testkit::dml::{Mix, Outcome};
use tidegate_testkit::seed::histories;
use tidegate_testkit::{Catalog, Lake, TableContents};

use crate::follower::{SERVER, apply, block_on, connect, on_every_catalog};

/// A reader of tables with their virtual columns.
struct Reader {
    source: DucklakeSource,
    tables: Vec<TableSchema>,
    contents: Vec<TableContents>,
    at: u64,
    /// Polls that answered with changes.
    changes: u64,
    /// Contents that were read anew because of upkeep, and because of anything else.
    moved: u64,
    others: u64,
}

impl Reader {
    /// At the newest snapshot. Tables that hide one of the columns are read with the other.
    fn load(lake: &Lake, reader: &str) -> Reader {
        let source = connect(lake, reader);
        let mut reader =
            Reader { source, tables: Vec::new(), contents: Vec::new(), at: 0, changes: 0, moved: 0, others: 0 };
        reader.reload(None);
        reader
    }

    fn reload(&mut self, at: Option<u64>) {
        let at = at.map(position);
        let offered = self.source.virtual_columns();
        let source = &mut self.source;
        (self.tables, self.contents, self.at) = block_on(async {
            let names = source.list(at.as_ref()).await.unwrap();
            let names: Vec<TableName> = names.into_iter().filter(|name| name.schema == "main").collect();
            let tables = source.tables(&names, at.as_ref()).await.unwrap();
            let with = |table: TableSchema| {
                let wanted = offered.iter().filter(|column| column.refused.is_none());
                wanted.fold(table, |table, column| table.with_virtual_column(column).unwrap())
            };
            let tables: Vec<TableSchema> = tables.into_iter().map(with).collect();
            let snapshot = source.snapshot(&tables, at.as_ref()).await.unwrap();
            let events: Vec<_> = snapshot.events.try_collect().await.unwrap();
            let mut contents: Vec<_> = tables.iter().cloned().map(TableContents::new).collect();
            apply(&mut contents, &events);
            (tables, contents, id(snapshot.position))
        });
    }

    /// Polls once; `false`: there was nothing.
    fn poll(&mut self, until: Option<u64>, rows_max: u64) -> bool {
        let until = until.map(position);
        let (source, contents) = (&mut self.source, &mut self.contents);
        let polled = block_on(async {
            match source.poll(&self.tables, &position(self.at), until.as_ref(), rows_max).await.unwrap() {
                Polled::Changes { to, commit_time, events } => {
                    let events: Vec<_> = events.try_collect().await.unwrap();
                    apply(contents, &events);
                    Polled::Changes { to, commit_time, events: Box::pin(futures::stream::empty()) }
                }
                other => other,
            }
        });
        match polled {
            Polled::Idle => return false,
            Polled::Advanced { to } => self.at = id(to),
            Polled::Changes { to, .. } => {
                self.changes += 1;
                self.at = id(to);
            }
            Polled::SchemaChanged { at, reason } => {
                let at = id(at);
                assert!(at > self.at && until.is_none_or(|until| at <= id(until)), "from {} to {at}", self.at);
                *(if reason.contains("row ids") { &mut self.moved } else { &mut self.others }) += 1;
                self.reload(Some(at));
            }
            Polled::Expired { .. } => {
                self.others += 1;
                self.reload(None);
            }
        }
        true
    }

    /// What is held is what DuckDB shows there now.
    #[track_caller]
    fn agree(&self, lake: &Lake) {
        lake.held(|| self.contents.iter().for_each(|contents| self.agree_on(contents, lake)));
    }

    #[track_caller]
    fn agree_on(&self, contents: &TableContents, lake: &Lake) {
        let schema = contents.schema();
        let columns: Vec<String> = schema.columns.fields().iter().map(|f| format!("\"{}\"", f.name())).collect();
        let (columns, table) = (columns.join(", "), &schema.name.table);
        let sql = format!("SELECT {columns} FROM {}.\"{table}\" AT (VERSION => {})", lake.name(), self.at);
        let what = format!("{table} at {}", self.at);
        contents.multiset().assert_equals(&lake.query(&sql).rows, &what);
    }

    fn rows(&self) -> i64 {
        self.contents.iter().map(|table| table.multiset().len()).sum()
    }
}

fn position(snapshot: u64) -> Position {
    Position::SnapshotId(SnapshotId(snapshot))
}

fn id(position: Position) -> u64 {
    let Position::SnapshotId(SnapshotId(id)) = position else { panic!("{position} is no snapshot") };
    id
}

/// Everything but what makes DuckLake itself tell the past in two ways, or lose values: overlapping writers, rewrites before
/// flushes, and flushes in one transaction with deletes.
fn mix(rng: &mut StdRng) -> Mix {
    let (alter, schema) = if rng.random() { (6, 0) } else { (0, 4) };
    Mix {
        maintenance: 40,
        expire: if rng.random_ratio(1, 4) { 2 } else { 0 },
        schema,
        rollback: 2,
        damage: false,
        entangled: 14,
        alter,
        tables: 2,
        files: 8,
        layout: 4,
        upkeep: 0,
        forget: 0,
        concurrent: 0,
        vectors: 0,
        inlining: &[0, 10, 1000],
    }
}

const STEPS: u32 = 20;

fn history(seed: u64, catalog: Catalog, folder: &Path) -> (u64, u64, u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (lake, mut dml) = Lake::generated(folder, catalog, seed, mix(&mut rng));
    let mut reader = Reader::load(&lake, "native");
    reader.agree(&lake);
    for _ in 0..STEPS {
        let step = dml.step();
        println!("{}", step.sql());
        if lake.take(&step) == Outcome::Refused {
            dml.undo();
        }
        if rng.random_ratio(1, 2) {
            let rows_max = if rng.random_ratio(1, 4) { 3 } else { u64::MAX };
            let newest = lake.snapshot();
            let until = rng.random_ratio(1, 4).then(|| rng.random_range(reader.at..=newest));
            while reader.poll(until, rows_max) {
                reader.agree(&lake);
            }
        }
    }
    while reader.poll(None, u64::MAX) {
        reader.agree(&lake);
    }
    assert_eq!(reader.at, lake.snapshot());
    reader.agree(&lake);
    (reader.changes, reader.moved, reader.others)
}

fn run_many(catalog_name: &str, number: u64, catalog: impl Fn(&Path) -> Catalog) {
    let test = format!("row ids in {catalog_name}");
    let (mut changes, mut moved, mut others) = (0, 0, 0);
    let sequences = histories(&test, number, |seed, folder| {
        let (c, m, o) = history(seed, catalog(folder), folder);
        (changes, moved, others) = (changes + c, moved + m, others + o);
    });
    println!(
        "{test}: {changes} polls with changes, {moved} contents read anew after upkeep, {others} for other reasons"
    );
    assert!(sequences < number || (changes > 15 && moved > 1), "{test}: {changes}, {moved}");
}

#[test]
fn histories_with_row_ids_in_duckdb_files() {
    run_many("DuckDB files", 6, Catalog::duckdb);
}

#[test]
fn histories_with_row_ids_in_sqlite() {
    run_many("SQLite", 6, Catalog::sqlite);
}

#[test]
fn histories_with_row_ids_in_postgres() {
    run_many("PostgreSQL", 6, |_: &Path| Catalog::postgres(&SERVER));
}

/// Ranges without upkeep are read as changes; a merge, or a rewrite, is where the content is read anew; a flush is neither.
#[test]
fn only_upkeep_that_moves_row_ids_is_a_barrier() {
    on_every_catalog(|lake, reader| {
        if reader != "native" {
            return;
        }
        for inlining in [0, 10] {
            lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {inlining})"));
            lake.execute(&format!("CREATE TABLE lake.t{inlining} (a INTEGER, b VARCHAR)"));
            let t = format!("lake.t{inlining}");
            lake.execute(&format!("INSERT INTO {t} VALUES (1, 'x'), (1, 'x'), (2, 'y'), (7, 's'), (8, 't')"));
            let mut follower = Reader::load(lake, reader);
            let mut follow = |sql: &str, moves: u64| {
                lake.execute(sql);
                let before = (follower.moved, follower.others);
                while follower.poll(None, u64::MAX) {}
                follower.agree(lake);
                assert_eq!((follower.moved, follower.others), (before.0 + moves, before.1), "{sql}");
                assert_eq!(follower.at, lake.snapshot());
            };
            follow(&format!("UPDATE {t} SET b = 'z' WHERE a = 2; INSERT INTO {t} VALUES (3, 'w')"), 0);
            follow(&format!("INSERT INTO {t} VALUES (4, 'v'); UPDATE {t} SET b = 'q' WHERE a = 2"), 0);
            follow("CALL ducklake_flush_inlined_data('lake')", 0);
            follow(&format!("DELETE FROM {t} WHERE a = 1; CALL ducklake_flush_inlined_data('lake')"), 0);
            follow(&format!("INSERT INTO {t} VALUES (5, 'v'); CALL ducklake_flush_inlined_data('lake')"), 0);
            follow(&format!("INSERT INTO {t} VALUES (6, 'v'); CALL ducklake_flush_inlined_data('lake')"), 0);
            follow(&format!("CALL ducklake_rewrite_data_files('lake', 't{inlining}', delete_threshold => 0.0)"), 1);
            follow(&format!("CALL ducklake_merge_adjacent_files('lake', 't{inlining}')"), 1);
            follow(&format!("UPDATE {t} SET b = 'last' WHERE a = 4"), 0);
            follow(&format!("DELETE FROM {t} WHERE a = 5"), 0);
            assert!(follower.rows() > 3);
            lake.execute(&format!("DROP TABLE {t}"));
        }
    });
}

/// A range whose end is before the upkeep ends at its own end: the files that had the old row ids are gone.
#[test]
fn a_range_before_upkeep_does_not_go_beyond_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::sqlite(dir.path()));
    lake.execute("CALL lake.set_option('data_inlining_row_limit', 0)");
    lake.execute("CREATE TABLE lake.t (a INTEGER); INSERT INTO lake.t VALUES (1), (2)");
    let mut reader = Reader::load(&lake, "native");
    lake.execute("INSERT INTO lake.t VALUES (3)");
    let until = lake.snapshot();
    lake.execute("UPDATE lake.t SET a = 4 WHERE a = 1; INSERT INTO lake.t VALUES (5); CALL ducklake_merge_adjacent_files('lake')");
    assert!(reader.poll(Some(until), u64::MAX));
    assert_eq!((reader.at, reader.moved), (until, 1));
    reader.agree(&lake);
    while reader.poll(None, u64::MAX) {
        reader.agree(&lake);
    }
    assert_eq!((reader.at, reader.moved), (lake.snapshot(), 2));
}

/// Tables that are wanted without them are read as ever; columns of the same name hide them.
#[test]
fn nobody_else_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::duckdb(dir.path()));
    lake.execute("CREATE TABLE lake.t (a INTEGER, \"RowID\" VARCHAR)");
    let mut source = connect(&lake, "native");
    let table = TableName::new(lake.name(), "main", "t");
    let table = block_on(source.tables(&[table], None)).unwrap().remove(0);
    assert!(table.columns.fields().iter().all(|field| !is_virtual(field)));
    let offered = source.virtual_columns();
    let names: Vec<_> = offered.iter().filter(|column| column.refused.is_none()).map(|column| column.name).collect();
    assert_eq!(names, ["rowid", "snapshot_id"]);
    assert_eq!(table.clone().with_virtual_column(&offered[0]).unwrap(), table);
    lake.execute("CALL lake.set_option('data_inlining_row_limit', 0)");
    lake.execute("INSERT INTO lake.t VALUES (1, 'x'); INSERT INTO lake.t VALUES (2, 'y')");
    let from = position(lake.snapshot());
    lake.execute("INSERT INTO lake.t VALUES (3, 'z'); CALL ducklake_merge_adjacent_files('lake')");
    let polled = |source: &mut DucklakeSource, table: &TableSchema| {
        block_on(source.poll(std::slice::from_ref(table), &from, None, u64::MAX)).unwrap()
    };
    assert!(matches!(polled(&mut source, &table), Polled::Changes { to, .. } if to == position(lake.snapshot())));
    let with = table.with_virtual_column(&offered[1]).unwrap();
    assert!(matches!(polled(&mut source, &with), Polled::SchemaChanged { .. }));
}

/// The other reader says so, wherever it is asked.
#[test]
fn the_extension_refuses_them() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::sqlite(dir.path()));
    lake.execute("CREATE TABLE lake.t (a INTEGER); INSERT INTO lake.t VALUES (1)");
    let mut source = connect(&lake, "extension");
    let offered = source.virtual_columns();
    assert!(offered.iter().all(|column| column.refused.is_some()));
    let table = TableName::new(lake.name(), "main", "t");
    let table = block_on(source.tables(&[table], None)).unwrap().remove(0).with_virtual_column(&offered[0]).unwrap();
    let refused = block_on(source.snapshot(std::slice::from_ref(&table), None)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Reconfigure);
    assert!(refused.to_string().contains("rowid") && refused.to_string().contains("reader = \"native\""), "{refused}");
    assert!(block_on(source.poll(&[table], &position(1), None, u64::MAX)).is_err());
}
