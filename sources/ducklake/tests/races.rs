//! Writers who overlap, and flushes within transactions: histories that DuckLake itself tells wrongly or not at all.
//! Each is written down commit by commit; then every range of it is read.
//!
//! | case | what DuckLake does | readers |
//! | --- | --- | --- |
//! | a delete file is replaced while another transaction commits | its deletes get the snapshot before | native reads them as they were, the extension says so |
//! | the same, and the file is replaced again | no delete file of the catalog tells | native reads the replaced file, while it is there |
//! | rows are deleted in the catalog while their file is rewritten | they live again | both compare |
//! | the same while it is merged | they live again, and nothing tells from when on | both say so |
//! | fields of a STRUCT change while rows are in the catalog | fields are found by id | both |
//! | all rows in the catalog are deleted and flushed in one transaction | nothing is left of them | both say so |

use std::path::Path;

use tidegate_testkit::{Catalog, Chronicle, Lake};

use crate::follower::{READERS, SERVER, connect};
use crate::reading::{Reading, Remains, Tally};

/// Statements of one connection, or of a second one.
#[derive(Clone, Copy)]
enum Do<'a> {
    One(&'a str),
    Other(&'a str),
}

use Do::{One, Other};

struct History {
    lake: Lake,
    chronicle: Chronicle,
    _folder: tempfile::TempDir,
}

impl History {
    fn of(catalog: &dyn Fn(&Path) -> Catalog, inlined: u32, steps: &[Do<'_>]) -> History {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(folder.path(), catalog(folder.path()));
        lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {inlined})"));
        let mut chronicle = Chronicle::new(lake.name());
        lake.attached(|duck| {
            let other = duck.try_clone()?;
            for step in steps {
                let (connection, sql) = match step {
                    One(sql) => (duck, sql),
                    Other(sql) => (&other, sql),
                };
                connection.execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
                chronicle.record(duck);
            }
            Ok(())
        })
        .unwrap();
        History { lake, chronicle, _folder: folder }
    }

    /// Reads every range of it; the extension, which takes its time, only those of one snapshot and those up to the newest.
    fn ranges(&self, reader: &str) -> Tally {
        let mut source = connect(&self.lake, reader);
        let remains = Remains::of(&self.lake);
        let snapshots: Vec<_> = self.chronicle.snapshots().collect();
        let mut tally = Tally::default();
        for (at, from) in snapshots.iter().enumerate() {
            for to in &snapshots[at + 1..] {
                let is_short = *to == snapshots[at + 1] || *to == self.chronicle.newest();
                if reader == "extension" && !is_short {
                    continue;
                }
                let mut reading = Reading::at(&self.chronicle, *from, |_| true);
                reading.follow(&mut source, &self.chronicle, &remains, *to, u64::MAX, &mut tally);
            }
        }
        println!("{reader}, {}: {tally}", self.lake.uri());
        tally
    }
}

/// The same with the native reader alone, on the catalogs that let writers overlap.
fn by_native(inlined: u32, steps: &[Do<'_>], check: impl Fn(&Tally)) {
    let catalogs: [&dyn Fn(&Path) -> Catalog; 2] = [&Catalog::duckdb, &|_| Catalog::postgres(&SERVER)];
    for catalog in catalogs {
        check(&History::of(catalog, inlined, steps).ranges("native"));
    }
}

/// Reads all ranges of a history with every reader on every catalog that lets writers overlap as they do in it: one in SQLite refuses
/// the second of them. `check` is told the reader and what came out.
fn on_catalogs(inlined: u32, steps: &[Do<'_>], check: impl Fn(&str, &Tally)) {
    let catalogs: [&dyn Fn(&Path) -> Catalog; 3] =
        [&Catalog::duckdb, &|_| Catalog::postgres(&SERVER), &Catalog::sqlite];
    let overlap = steps.iter().any(|step| matches!(step, Other(_)));
    for catalog in &catalogs[..if overlap { 2 } else { 3 }] {
        let history = History::of(catalog, inlined, steps);
        for reader in READERS {
            let tally = history.ranges(reader);
            assert!(tally.changes > 0 || reader == "extension", "{tally}");
            check(reader, &tally);
        }
    }
}

/// All of it is read as it was.
fn told(reader: &str, tally: &Tally) {
    assert_eq!(tally.unaccounted, 0, "{reader}: {tally}");
}

/// All of it is read as it was; the extension says what it cannot read.
fn told_by_native(reader: &str, tally: &Tally) {
    assert_eq!(tally.unaccounted == 0, reader == "native", "{reader}: {tally}");
}

const TABLES: Do<'static> = One("CREATE TABLE lake.t (i INTEGER); CREATE TABLE lake.u (i INTEGER); \
     INSERT INTO lake.t SELECT range FROM range(100)");

#[test]
fn deletes_with_the_snapshot_after_the_beginning_of_their_transaction() {
    for change in
        ["DELETE FROM lake.t WHERE i BETWEEN 40 AND 59", "UPDATE lake.t SET i = i + 1000 WHERE i BETWEEN 40 AND 59"]
    {
        let steps = [
            TABLES,
            One("DELETE FROM lake.t WHERE i < 20"),
            Other("BEGIN; FROM lake.t"),
            Other(change),
            One("INSERT INTO lake.u VALUES (1)"),
            One("INSERT INTO lake.u VALUES (2)"),
            Other("COMMIT"),
            One("INSERT INTO lake.u VALUES (3)"),
        ];
        on_catalogs(10, &steps, told_by_native);
    }
}

#[test]
fn two_who_delete_from_different_files() {
    let steps = [
        One("CREATE TABLE lake.t (i INTEGER); INSERT INTO lake.t SELECT range FROM range(100)"),
        One("INSERT INTO lake.t SELECT range + 1000 FROM range(100)"),
        One("DELETE FROM lake.t WHERE i = 1"),
        One("DELETE FROM lake.t WHERE i = 1001"),
        Other("BEGIN; FROM lake.t"),
        Other("DELETE FROM lake.t WHERE i = 2"),
        One("DELETE FROM lake.t WHERE i = 1003"),
        Other("COMMIT"),
    ];
    // The extension cannot see that; it is in the documentation.
    by_native(0, &steps, |tally| told("native", tally));
}

#[test]
fn a_replaced_delete_file_says_whose_its_deletes_were() {
    let steps = [
        TABLES,
        One("DELETE FROM lake.t WHERE i < 20"),
        Other("BEGIN; FROM lake.t"),
        Other("DELETE FROM lake.t WHERE i BETWEEN 40 AND 59"),
        One("INSERT INTO lake.u VALUES (1)"),
        Other("COMMIT"),
        One("DELETE FROM lake.t WHERE i BETWEEN 70 AND 89"),
        One("INSERT INTO lake.u VALUES (2)"),
        One("DELETE FROM lake.t WHERE i BETWEEN 20 AND 30"),
    ];
    by_native(0, &steps, |tally| told("native", tally));
    let clean = One("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)");
    by_native(0, &[&steps[..], &[clean]].concat(), |tally| assert!(tally.unaccounted > 0, "{tally}"));
}

/// What is done one after the other is not in doubt.
#[test]
fn replaced_delete_files_of_one_writer() {
    let mut steps = vec![TABLES, One("INSERT INTO lake.t SELECT range + 1000 FROM range(100)")];
    let deletes: Vec<String> = (0..4).map(|n| format!("DELETE FROM lake.t WHERE i IN ({n}, {n} + 10)")).collect();
    for delete in &deletes {
        steps.push(One(delete));
        steps.push(One("INSERT INTO lake.u VALUES (1)"));
    }
    steps.push(One("DELETE FROM lake.t WHERE i = 1050"));
    steps.push(One("UPDATE lake.t SET i = -i WHERE i IN (50, 1060)"));
    on_catalogs(0, &steps, told);
}

#[test]
fn rewriting_brings_back_what_was_deleted_meanwhile() {
    let steps = [
        TABLES,
        // The catalog's table of deletes must be there: two who make it at once end in a conflict.
        One("DELETE FROM lake.t WHERE i = 99"),
        One("DELETE FROM lake.t WHERE i < 50"),
        Other("BEGIN; CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)"),
        One("DELETE FROM lake.t WHERE i = 70"),
        One("INSERT INTO lake.u VALUES (1)"),
        Other("COMMIT"),
        One("DELETE FROM lake.t WHERE i = 71"),
    ];
    on_catalogs(10, &steps, told);
}

#[test]
fn deletes_that_come_after_the_rewriting_of_their_file_delete_nothing() {
    let steps = [
        TABLES,
        // The catalog's table of deletes must be there: two who make it at once end in a conflict.
        One("DELETE FROM lake.t WHERE i = 99"),
        One("DELETE FROM lake.t WHERE i < 50"),
        Other("BEGIN; FROM lake.t"),
        Other("DELETE FROM lake.t WHERE i = 70"),
        One("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)"),
        Other("COMMIT"),
        One("DELETE FROM lake.t WHERE i = 71"),
    ];
    on_catalogs(10, &steps, told);
}

#[test]
fn rewriting_what_was_deleted_in_the_catalog_is_no_change() {
    let steps = [
        TABLES,
        One("DELETE FROM lake.t WHERE i < 50"),
        One("DELETE FROM lake.t WHERE i = 70"),
        One("CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)"),
        One("INSERT INTO lake.t SELECT range + 1000 FROM range(100)"),
        One("DELETE FROM lake.t WHERE i = 71"),
        One("CALL ducklake_merge_adjacent_files('lake')"),
    ];
    on_catalogs(10, &steps, told);
}

#[test]
fn merging_brings_back_what_was_deleted_meanwhile() {
    let files = [
        TABLES,
        One("INSERT INTO lake.t SELECT range + 100 FROM range(100)"),
        One("INSERT INTO lake.t SELECT range + 200 FROM range(100)"),
        One("DELETE FROM lake.t WHERE i = 299"),
    ];
    let merge = "BEGIN; CALL ducklake_merge_adjacent_files('lake')";
    let delete = "DELETE FROM lake.t WHERE i = 5";
    let delete_first = [Other(merge), One(delete), Other("COMMIT")];
    let merge_first = [
        Other("BEGIN; FROM lake.t"),
        Other(delete),
        One("CALL ducklake_merge_adjacent_files('lake')"),
        Other("COMMIT"),
    ];
    let more = [One("INSERT INTO lake.u VALUES (1)")];
    let steps = [&files[..], &delete_first, &more].concat();
    on_catalogs(10, &steps, |_, tally| assert!(tally.unaccounted > 0, "{tally}"));
    // The merge is over when the delete comes: it never deletes anything.
    let steps = [&files[..], &merge_first, &more].concat();
    on_catalogs(10, &steps, told);
}

#[test]
fn fields_of_inlined_structs_are_found_by_id() {
    let steps = [
        One("CREATE TABLE lake.t (i INTEGER, s STRUCT(a INTEGER, b INTEGER), l STRUCT(a INTEGER, b VARCHAR)[], \
             m MAP(VARCHAR, STRUCT(a INTEGER)))"),
        One("INSERT INTO lake.t VALUES (1, {'a': 1, 'b': 2}, [{'a': 3, 'b': 'x'}, NULL], MAP {'k': {'a': 4}}), \
             (2, NULL, NULL, NULL), (3, {'a': NULL, 'b': 5}, [], MAP {})"),
        One("ALTER TABLE lake.t RENAME COLUMN s.b TO c"),
        One("DELETE FROM lake.t WHERE i = 3"),
        One("ALTER TABLE lake.t ADD COLUMN s.b INTEGER"),
        One("INSERT INTO lake.t VALUES (4, {'a': 1, 'c': 2, 'b': 3}, [{'a': 3, 'b': 'x'}], NULL)"),
        One("ALTER TABLE lake.t DROP COLUMN s.c"),
        One("ALTER TABLE lake.t ADD COLUMN s.d INTEGER DEFAULT 7"),
        One("ALTER TABLE lake.t ADD COLUMN l.element.n BIGINT"),
        One("UPDATE lake.t SET i = i + 10"),
        One("DELETE FROM lake.t WHERE i > 11"),
        One("CALL ducklake_flush_inlined_data('lake')"),
        One("DELETE FROM lake.t"),
    ];
    on_catalogs(10, &steps, told);
}

#[test]
fn deleting_all_inlined_rows_and_flushing_leaves_nothing() {
    let steps = [
        One("CREATE TABLE lake.t (i INTEGER)"),
        One("INSERT INTO lake.t VALUES (1), (2), (3)"),
        One("BEGIN; DELETE FROM lake.t; CALL ducklake_flush_inlined_data('lake'); COMMIT"),
        One("INSERT INTO lake.t VALUES (4)"),
        One("DELETE FROM lake.t"),
    ];
    on_catalogs(10, &steps, |_, tally| assert!(tally.unaccounted > 0, "{tally}"));
}

/// A flush says that it deletes from files; what it moves was deleted before. Inserts into the table show that it was one.
#[test]
fn flushed_deletes_are_of_the_snapshots_that_made_them() {
    let steps = [
        TABLES,
        One("DELETE FROM lake.t WHERE i = 1"),
        One("DELETE FROM lake.t WHERE i BETWEEN 20 AND 39"),
        One("DELETE FROM lake.t WHERE i IN (2, 40)"),
        One("INSERT INTO lake.t VALUES (200)"),
        One("CALL ducklake_flush_inlined_data('lake')"),
        One("DELETE FROM lake.t WHERE i = 3"),
        One("DELETE FROM lake.t WHERE i BETWEEN 50 AND 69"),
        One("INSERT INTO lake.t VALUES (201)"),
        One("CALL ducklake_flush_inlined_data('lake')"),
        One("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)"),
        One("DELETE FROM lake.t WHERE i = 4"),
        One("INSERT INTO lake.t VALUES (202)"),
        One("CALL ducklake_flush_inlined_data('lake')"),
        One("INSERT INTO lake.u VALUES (2)"),
    ];
    on_catalogs(10, &steps, told);
}

/// What the snapshot after the beginning did is known as long as it is there, whatever came before.
#[test]
fn deletes_with_the_oldest_snapshot_that_is_kept() {
    let steps = [
        TABLES,
        One("DELETE FROM lake.t WHERE i < 20"),
        Other("BEGIN; FROM lake.t"),
        Other("DELETE FROM lake.t WHERE i BETWEEN 40 AND 59"),
        One("INSERT INTO lake.u VALUES (1)"),
        One("CALL ducklake_expire_snapshots('lake', versions => [0, 1, 2, 3, 4])"),
        Other("COMMIT"),
        One("INSERT INTO lake.u VALUES (2)"),
    ];
    by_native(10, &steps, |tally| {
        assert_eq!(tally.unaccounted, 0, "{tally}");
        assert!(tally.expired > 0, "{tally}");
    });
}
