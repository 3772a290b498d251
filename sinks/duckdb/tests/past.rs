//! The suite for histories, and what is the file's own about them: macros, stops, what other hands did, and many versions.

use std::path::Path;

use arrow::array::AsArray;
use tidegate_core::{
    Commit, ConnectorError, Epoch, ErrorKind, History, Micros, RowIdentity, Sink, ViewInfo, failpoint,
};
use tidegate_duck::{Duck, Options, quote_ident};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::conformance::{HistoryReader, Version, history};
use tidegate_testkit::{Multiset, seed};

use crate::history::History as Changing;
use crate::random::reader;
use crate::stops::{another, part_of_another};
use crate::suite::sink;

/// How a test sees a mart.
struct Mart;

fn rows(duck: &Duck, sql: &str) -> Result<Multiset, String> {
    duck.query(sql).map(|(_, batches)| Multiset::of_batches(&batches)).map_err(|error| error.to_string())
}

impl HistoryReader for Mart {
    fn versions(&self, folder: &Path, view: &ViewInfo) -> Vec<Version> {
        let name = quote_ident(&format!("{}_history", view.name));
        Version::of_batches(view, &reader(folder).query(&format!("FROM {name}")).unwrap().1)
    }

    fn as_of(&self, folder: &Path, view: &ViewInfo, epochs: &[u64]) -> Option<Vec<Result<Multiset, String>>> {
        let (duck, name) = (reader(folder), quote_ident(&format!("{}_asof", view.name)));
        Some(epochs.iter().map(|epoch| rows(&duck, &format!("FROM {name}({epoch})"))).collect())
    }

    fn as_of_times(&self, folder: &Path, view: &ViewInfo, micros: &[i64]) -> Option<Vec<Result<Multiset, String>>> {
        let (duck, name) = (reader(folder), quote_ident(&format!("{}_asof_ts", view.name)));
        Some(micros.iter().map(|time| rows(&duck, &format!("FROM {name}('{}')", Micros(*time)))).collect())
    }
}

#[test]
fn histories_conform() {
    history(|folder| Box::new(sink(folder)), &Mart);
}

const FOR_EVER: Option<History> = Some(History { retention: None });

fn view(name: &str) -> ViewModel {
    let columns = [("epoch", "BIGINT"), ("ts", "VARCHAR")];
    ViewModel::new(name, &columns, RowIdentity::Key(vec![0])).with_history(FOR_EVER)
}

async fn commit(folder: &Path, view: &mut ViewModel, epoch: u64, rows: &str) -> Result<(), ConnectorError> {
    let mut sink = sink(folder);
    sink.open(&[view.info().clone()]).await?;
    let delta = view.change_to(rows);
    let views = vec![view.changes([(header(epoch), delta)])];
    sink.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.map(drop)
}

fn number(duck: &Duck, sql: &str) -> i64 {
    duck.connection().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn alter(folder: &Path, sql: &str) {
    Duck::open(&folder.join("mart.duckdb"), &Options::default()).unwrap().execute(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn macros_answer_under_any_name_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = view("a \"v\" of 'mine'");
    for (epoch, rows) in [(1, "(1, 'a'), (2, 'b')"), (2, "(1, 'A'), (2, 'b')"), (3, "(2, 'b')")] {
        commit(folder.path(), &mut view, epoch, rows).await.unwrap();
    }
    let name = |end: &str| quote_ident(&format!("a \"v\" of 'mine'{end}"));
    let counts = |duck: &Duck| {
        let count = |what: String| number(duck, &format!("SELECT count(*) FROM {what} WHERE epoch = 1"));
        let time = header(2).time;
        [
            count(format!("{}(2)", name("_asof"))),
            count(format!("{}(epoch := 3)", name("_asof"))),
            count(format!("{}('{time}')", name("_asof_ts"))),
            count(format!("{}(TIMESTAMPTZ '{time}' + INTERVAL 1 HOUR)", name("_asof_ts"))),
            count(name("_history")),
        ]
    };
    assert_eq!(counts(&reader(folder.path())), [1, 0, 1, 0, 2]);
    let duck = Duck::open_in_memory().unwrap();
    let path = folder.path().join("mart.duckdb");
    duck.execute(&format!("ATTACH '{}' AS \"other name\" (READ_ONLY)", path.display())).unwrap();
    assert_eq!(number(&duck, &format!("SELECT count(*) FROM \"other name\".{}", name("_history"))), 3);
    duck.execute("USE \"other name\"").unwrap();
    assert_eq!(counts(&duck), [1, 0, 1, 0, 2]);
    for (what, fact) in [
        (format!("{}(0)", name("_asof")), "answers for epochs 1 to 3, and not for 0"),
        (format!("{}(4)", name("_asof")), "answers for epochs 1 to 3, and not for 4"),
        (format!("{}(NULL)", name("_asof")), "not for what was before"),
        (format!("{}('2001-01-01')", name("_asof_ts")), "not for what was before"),
    ] {
        let error = duck.query(&format!("FROM {what}")).unwrap_err().to_string();
        assert!(error.contains("the history of a \"v\" of 'mine'") && error.contains(fact), "{what}: {error}");
    }
    let standing = "SELECT count(*) FROM _tidegate_history WHERE view = 'a \"v\" of ''mine''' AND key = ['epoch'] \
                    AND since_epoch = 1 AND epoch = 3 AND since = make_timestamp(1700000000000001)";
    assert_eq!(number(&duck, standing), 1);
    assert_eq!(number(&duck, "SELECT count(*) FROM _tidegate_time WHERE epoch IN (1, 2, 3)"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_somebody_elses_is_left_alone() {
    let taken = [
        ("CREATE TABLE v_history (x INTEGER)", "v_history"),
        ("CREATE VIEW V_HISTORY AS SELECT 1 AS x", "v_history"),
        ("CREATE MACRO v_asof(x) AS TABLE SELECT x", "v_asof"),
        ("CREATE MACRO v_asof_ts(x) AS TABLE SELECT x", "v_asof_ts"),
        ("CREATE TABLE _tidegate_open_v (x INTEGER)", "_tidegate_open_v"),
        ("CREATE VIEW V AS SELECT 1 AS x", "v"),
    ];
    for (sql, name) in taken {
        let folder = tempfile::tempdir().unwrap();
        alter(folder.path(), sql);
        let error = commit(folder.path(), &mut view("v"), 1, "(1, 'a')").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        let fact = format!("already has a table, view or macro named {name} that Tidegate did not write");
        assert!(error.to_string().contains(&fact), "{sql}: {error}");
        let duck = reader(folder.path());
        assert_eq!(
            number(&duck, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'v'"),
            0,
            "nothing is written"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_came_or_went_by_another_hand_stop_the_sink() {
    let cases = [
        (
            "DELETE FROM _tidegate_open_v WHERE epoch = 2; INSERT INTO _tidegate_open_v VALUES (9, 'x', now(), 1)",
            "(1, 'a')",
            "0 of 1 versions that epoch 2 ends are open",
            "DROP VIEW v",
        ),
        (
            "INSERT INTO _tidegate_open_v FROM _tidegate_open_v",
            "(1, 'a')",
            "2 of 1 versions that epoch 2 ends are open",
            "DROP VIEW v",
        ),
        (
            "ALTER TABLE _tidegate_open_v DROP COLUMN valid_from",
            "(1, 'a')",
            "its columns are not the view's",
            "DROP VIEW v; DROP TABLE _tidegate_open_v; DROP TABLE _tidegate_recent_v; DROP TABLE _tidegate_past_v",
        ),
        // Stored twice, as by earlier versions.
        (
            "DROP VIEW v; CREATE TABLE v AS SELECT epoch, ts FROM _tidegate_open_v WHERE epoch = 1",
            "(1, 'a'), (2, 'b'), (3, 'c')",
            "1 rows, and 2 open versions",
            "DROP TABLE v",
        ),
    ];
    for (sql, rows, fact, way_out) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut view = view("v");
        commit(folder.path(), &mut view, 1, "(1, 'a'), (2, 'b')").await.unwrap();
        alter(folder.path(), sql);
        let error = commit(folder.path(), &mut view, 2, rows).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(error.to_string().contains(fact), "{error}");
        // The way out that the message names.
        alter(folder.path(), way_out);
        let mut target = sink(folder.path());
        let found = target.open(&[view.info().clone()]).await.unwrap();
        assert_eq!(found[&view.info().name], None);
        let views = vec![view.replacement(header(2))];
        target.commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap();
        let asked = Mart.as_of(folder.path(), view.info(), &[2]).unwrap().remove(0).unwrap();
        asked.assert_equals(&view.multiset(), "the history");
        let open = Mart.versions(folder.path(), view.info()).into_iter().filter(|v| v.epochs.1.is_none()).count();
        assert_eq!(open as i64, view.multiset().len());
    }
}

/// Earlier versions stored the rows in a table of the view's name, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_mart_with_a_table_beside_the_history_goes_on() {
    const FORMER: &str = "DROP VIEW v; CREATE TABLE v AS SELECT epoch, ts FROM _tidegate_open_v";
    let kind = |folder: &Path| {
        let sql = "SELECT table_type FROM information_schema.tables WHERE table_name = 'v'";
        reader(folder).connection().query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
    };
    for replaced in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut view = view("v");
        commit(folder.path(), &mut view, 1, "(1, 'a'), (2, 'b')").await.unwrap();
        let mut past = vec![view.multiset()];
        alter(folder.path(), FORMER);
        if replaced {
            view.change_to("(1, 'c'), (2, 'b')");
            let views = vec![view.replacement(header(2))];
            let commit = Commit { after: Epoch(1), header: header(2), views };
            sink(folder.path()).commit(commit).await.unwrap();
        } else {
            commit(folder.path(), &mut view, 2, "(1, 'c'), (2, 'b')").await.unwrap();
        }
        assert_eq!(kind(folder.path()), "VIEW");
        past.push(view.multiset());
        commit(folder.path(), &mut view, 3, "(2, 'b')").await.unwrap();
        past.push(view.multiset());
        let asked = Mart.as_of(folder.path(), view.info(), &[1, 2, 3]).unwrap();
        for (rows, expected) in asked.into_iter().zip(&past) {
            rows.unwrap().assert_equals(expected, "as of");
        }
        assert_eq!(Mart.versions(folder.path(), view.info()).len(), 3, "what did not change stays open");
        // Without a history it is a table again, of what was there and what comes.
        alter(folder.path(), if replaced { FORMER } else { "" });
        view.set_history(None);
        commit(folder.path(), &mut view, 4, "(2, 'b'), (4, 'd')").await.unwrap();
        assert_eq!(kind(folder.path()), "BASE TABLE");
        rows(&reader(folder.path()), "FROM v").unwrap().assert_equals(&view.multiset(), "the table");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_without_its_tables_begins_anew() {
    for kept in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut view = view("v");
        commit(folder.path(), &mut view, 1, "(1, 'a'), (2, 'b')").await.unwrap();
        alter(folder.path(), "DROP TABLE _tidegate_open_v; DROP TABLE _tidegate_recent_v; DROP TABLE _tidegate_past_v");
        if !kept {
            view.set_history(None);
        }
        let mut target = sink(folder.path());
        let found = target.open(&[view.info().clone()]).await.unwrap();
        assert_eq!(found[&view.info().name], None, "its rows are gone");
        let views = vec![view.replacement(header(2))];
        target.commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap();
        rows(&reader(folder.path()), "FROM v").unwrap().assert_equals(&view.multiset(), "the view");
        if kept {
            assert_eq!(number(&reader(folder.path()), "SELECT since_epoch FROM _tidegate_history"), 2);
            assert_eq!(Mart.versions(folder.path(), view.info()).len(), 2);
        }
    }
}

/// Two marts of one pipeline, as a branch makes them: each view reads its own.
#[tokio::test(flavor = "multi_thread")]
async fn marts_beside_one_another_show_their_own_rows() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let duck = Duck::open_in_memory().unwrap();
    for (index, folder) in folders.iter().enumerate() {
        let mut view = view("v");
        commit(folder.path(), &mut view, 1, &format!("({index}, 'a')")).await.unwrap();
        let path = folder.path().join("mart.duckdb");
        duck.execute(&format!("ATTACH '{}' AS m{index} (READ_ONLY)", path.display())).unwrap();
    }
    for used in ["m0", "m1", "memory"] {
        duck.execute(&format!("USE {used}")).unwrap();
        let keys = "SELECT a.epoch * 10 + b.epoch FROM m0.v a, m1.v b WHERE a.ts = b.ts";
        assert_eq!(number(&duck, keys), 1, "in {used}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_numbers_of_epochs_are_not_mixed_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut ours = view("v");
    for epoch in 1..=3 {
        commit(folder.path(), &mut ours, epoch, &format!("({epoch}, 'a')")).await.unwrap();
    }
    // The view was dropped, and the pipeline begins again at epoch 1.
    alter(folder.path(), "DROP VIEW v");
    let error = commit(folder.path(), &mut view("v"), 1, "(1, 'a')").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    let error = error.to_string();
    assert!(error.contains("holds epoch 3, and epoch 1 is to be written"), "{error}");
    // What the error proposes.
    let tables = error.split_once("drop the tables ").and_then(|(_, rest)| rest.split_once(", and the next run"));
    let drops: Vec<_> = tables.unwrap().0.split(", ").map(|table| format!("DROP TABLE {table}")).collect();
    alter(folder.path(), &drops.join("; "));
    let mut again = view("v");
    for epoch in 1..=2 {
        commit(folder.path(), &mut again, epoch, &format!("({epoch}, 'b')")).await.unwrap();
    }
    rows(&reader(folder.path()), "FROM v").unwrap().assert_equals(&again.multiset(), "the view");
    assert_eq!(Mart.versions(folder.path(), again.info()).len(), 2);
    assert_eq!(number(&reader(folder.path()), "SELECT epoch FROM v_asof(1)"), 1);
    // Another pipeline, whose epochs have other times.
    let mut theirs = view("w");
    let delta = theirs.change_to("(1, 'a')");
    let mut header = header(2);
    header.latest_commit = Some(Micros(5));
    let commit = Commit { after: Epoch(0), header: header.clone(), views: vec![theirs.changes([(header, delta)])] };
    let error = sink(folder.path()).commit(commit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("_tidegate_time"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_with_other_columns_stays_beside() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = view("v");
    commit(folder.path(), &mut before, 1, "(1, 'a'), (2, 'b')").await.unwrap();
    commit(folder.path(), &mut before, 2, "(1, 'c'), (2, 'b')").await.unwrap();
    let mut after = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow).with_history(FOR_EVER);
    after.change_to("(1)");
    let mut target = sink(folder.path());
    let views = vec![after.replacement(header(3))];
    target.commit(Commit { after: Epoch(2), header: header(3), views }).await.unwrap();
    let duck = reader(folder.path());
    let closed = "SELECT count(*) FROM v_history_until_3 WHERE _valid_to_epoch <= 3 AND valid_to > valid_from";
    assert_eq!(number(&duck, closed), 3);
    assert_eq!(number(&duck, "SELECT count(*) FROM v_history_until_3"), 3);
    assert_eq!(number(&duck, "SELECT count(*) FROM v_asof(3)"), 1);
    assert_eq!(number(&duck, "SELECT count(*) FROM _tidegate_history WHERE key IS NULL AND since_epoch = 3"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_the_view_and_its_history_at_one_epoch() {
    let states = ["(1, 'a'), (2, 'b')", "(1, 'c')"];
    if let Some(folder) = part_of_another() {
        let mut view = view("v");
        view.change_to(states[0]);
        let _ = commit(&folder, &mut view, 2, states[1]).await;
        panic!("the failpoint was passed");
    }
    for (point, epoch) in [("sink.duckdb.before_commit", 1), ("sink.duckdb.committed", 2)] {
        let folder = tempfile::tempdir().unwrap();
        let mut view = view("v");
        commit(folder.path(), &mut view, 1, states[0]).await.unwrap();
        let test = "past::a_stop_leaves_the_view_and_its_history_at_one_epoch";
        let ended = another(test, folder.path()).variable(failpoint::VARIABLE, point).run();
        assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
        let duck = reader(folder.path());
        let shown = rows(&duck, "FROM v").unwrap();
        let open = rows(&duck, "SELECT epoch, ts FROM v_history WHERE valid_to IS NULL").unwrap();
        open.assert_equals(&shown, point);
        assert_eq!(number(&duck, "SELECT epoch FROM _tidegate_history"), epoch, "{point}");
        assert_eq!(number(&duck, "SELECT max(epoch) FROM _tidegate_epochs"), epoch, "{point}");
        assert_eq!(number(&duck, "SELECT max(epoch) FROM _tidegate_time"), epoch, "{point}");
        drop(duck);
        let changed = view.change_to(states[1]);
        if epoch == 1 {
            let views = vec![view.changes([(header(2), changed)])];
            sink(folder.path()).commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap();
        }
        let asked = Mart.as_of(folder.path(), view.info(), &[2]).unwrap().remove(0).unwrap();
        asked.assert_equals(&view.multiset(), point);
        assert_eq!(Mart.versions(folder.path(), view.info()).len(), 3, "{point}");
    }
}

/// So many versions that they are put in the order of their keys.
#[tokio::test(flavor = "multi_thread")]
async fn many_versions_are_found_by_their_key() {
    const KEYS: u64 = 255_000;
    let folder = tempfile::tempdir().unwrap();
    let mut target = sink(folder.path());
    let mut view = view("v");
    let text = |epoch: u64| {
        let duck = Duck::open_in_memory().unwrap();
        let sql = format!("SELECT range::BIGINT AS epoch, 'at {epoch}' AS ts FROM range({KEYS})");
        let batches = duck.query(&sql).unwrap().1;
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    for epoch in 1..=3 {
        let rows = text(epoch);
        let rows = arrow::array::RecordBatch::try_new(view.schema().clone(), rows.columns().to_vec()).unwrap();
        let delta = view.change_to_batch(&rows);
        let views = vec![view.changes([(header(epoch), delta)])];
        target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.unwrap();
    }
    let duck = reader(folder.path());
    let count = |sql: &str| number(&duck, sql) as u64;
    assert_eq!(count("SELECT count(*) FROM _tidegate_past_v"), 2 * KEYS, "what ended lately is put in order");
    assert_eq!(count("SELECT count(*) FROM _tidegate_recent_v"), 0);
    let ordered = "SELECT count(*) FROM _tidegate_past_v WHERE rowid = epoch * 2 + _valid_from_epoch - 1";
    assert_eq!(count(ordered), 2 * KEYS);
    assert_eq!(count("SELECT count(*) FROM v_history WHERE epoch = 4711"), 3);
    for epoch in 1..=3 {
        assert_eq!(count(&format!("SELECT count(*) FROM v_asof({epoch}) WHERE ts = 'at {epoch}'")), KEYS);
    }
}

/// Every statement of the book's chapter, with what it shows.
#[tokio::test(flavor = "multi_thread")]
async fn the_chapter_in_the_book() {
    let folder = tempfile::tempdir().unwrap();
    let columns = [("region", "VARCHAR"), ("orders", "BIGINT"), ("revenue", "HUGEINT")];
    let mut view = ViewModel::new("revenue_by_region", &columns, RowIdentity::Key(vec![0])).with_history(FOR_EVER);
    let mut target = sink(folder.path());
    // 2026-03-03 14:00 UTC, and the two hours after it.
    let hour = |epoch: u64| Micros(1_772_542_800_000_000 + epoch as i64 * 3_600_000_000);
    for (epoch, rows) in [
        (1, "('north', 2, 70), ('south', 1, 20)"),
        (2, "('north', 3, 95), ('south', 1, 20)"),
        (3, "('north', 3, 95), ('west', 1, 10)"),
    ] {
        let mut header = header(epoch);
        (header.time, header.latest_commit) = (hour(epoch), Some(hour(epoch)));
        let delta = view.change_to(rows);
        let views = vec![view.changes([(header.clone(), delta)])];
        target.commit(Commit { after: Epoch(epoch - 1), header, views }).await.unwrap();
    }
    let direct = reader(folder.path());
    let attached = Duck::open_in_memory().unwrap();
    let chapter = include_str!("../../../docs/src/history.md");
    let mut shown = 0;
    for part in chapter.split("```sql held=sinks/duckdb/tests/past.rs\n").skip(1) {
        let (sql, rest) = part.split_once("```").unwrap();
        let (_, expected) = rest.split_once("```text\n").unwrap();
        let (expected, _) = expected.split_once("```").unwrap();
        let path = folder.path().join("mart.duckdb");
        let sql = sql.trim().trim_end_matches(';').replace("'mart.duckdb'", &format!("'{}'", path.display()));
        let (before, query) = sql.rsplit_once(";\n").unwrap_or(("", &sql));
        let duck = if before.is_empty() { &direct } else { &attached };
        duck.execute(before).unwrap();
        let rows = format!("SELECT coalesce(CAST(COLUMNS(*) AS VARCHAR), 'NULL') FROM ({query})");
        let (_, batches) = duck.query(&rows).unwrap_or_else(|error| panic!("{query}: {error}"));
        let mut found = String::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let texts = batch.columns().iter().map(|column| column.as_string::<i32>().value(row));
                found.push_str(&format!("{}\n", texts.collect::<Vec<_>>().join(" | ")));
            }
        }
        assert_eq!(found, expected, "{query}");
        shown += 1;
    }
    assert_eq!(shown, 6);
}

/// Rows of every type, under names that the statements use themselves.
#[tokio::test(flavor = "multi_thread")]
async fn histories_of_every_type() {
    let seed = seed::seed("histories_of_every_type");
    for sequence in 0..seed::sequences(2) {
        for keyed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let mut history = Changing::new("A View", seed.wrapping_add(sequence), keyed);
            history.view.set_history(FOR_EVER);
            let info = history.view.info().clone();
            let mut target = sink(folder.path());
            // A first epoch without rows is not told: the history begins with the content.
            let first = history.replace();
            target.commit(Commit { after: Epoch(0), header: history.header(), views: vec![first] }).await.unwrap();
            for _ in 0..8 {
                let after = history.header().epoch;
                let views = vec![if history.below(6) == 0 { history.replace() } else { history.advance() }];
                target.commit(Commit { after, header: history.header(), views }).await.unwrap();
                if history.below(3) == 0 {
                    target = sink(folder.path());
                }
            }
            let epochs: Vec<u64> = (1..=history.header().epoch.0).collect();
            let asked = Mart.as_of(folder.path(), &info, &epochs).unwrap();
            for (epoch, rows) in epochs.iter().zip(asked) {
                rows.unwrap().assert_equals(&history.past[*epoch as usize], &format!("keyed {keyed}, as of {epoch}"));
            }
            let versions = Mart.versions(folder.path(), &info);
            let open = versions.iter().filter(|version| version.epochs.1.is_none());
            assert_eq!(open.count() as i64, history.view.multiset().len());
            assert!(versions.iter().all(|version| version.epochs.1.is_none_or(|end| end > version.epochs.0)));
        }
    }
}
