//! Rows that are equal and not the same, rows that should be there and are not.

use std::path::Path;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use tidegate_core::{
    ChangeType, Commit, CommitOutcome, ConnectorError, DeltaBatch, Epoch, EpochBatch, ErrorKind, RowIdentity, Sink,
    ViewCommit, ViewContent,
};
use tidegate_duck::{Duck, Options};
use tidegate_sink_duckdb::DuckdbSink;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::rows;

use crate::random::reader;
use crate::stops::{another, part_of_another};
use crate::suite::sink;

/// A delta with the weights as they are given.
fn delta(view: &ViewModel, values: &str, weights: &[i64], before: &[i64]) -> DeltaBatch {
    let change = |weight: &i64| if *weight > 0 { ChangeType::Insert } else { ChangeType::Delete };
    DeltaBatch {
        rows: rows::batch(view.schema(), values),
        weights: weights.to_vec().into(),
        change: weights.iter().map(change).collect(),
        copies_before: before.to_vec().into(),
    }
}

async fn commit(sink: &mut DuckdbSink, epoch: u64, view: ViewCommit) -> Result<CommitOutcome, ConnectorError> {
    sink.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views: vec![view] }).await
}

fn texts(folder: &Path, sql: &str) -> Vec<String> {
    let (_, batches) = reader(folder).query(sql).unwrap();
    let all = |batch: &RecordBatch| {
        batch.column(0).as_string::<i32>().iter().map(|t| t.unwrap().to_owned()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(all).collect()
}

fn alter(folder: &Path, sql: &str) {
    Duck::open(&folder.join("mart.duckdb"), &Options::default()).unwrap().execute(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_rows_are_told_apart_by_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let view = ViewModel::new("v", &[("k", "INTEGER"), ("i", "INTERVAL")], RowIdentity::WholeRow);
    let text = "SELECT k || ' ' || i::VARCHAR AS t FROM v ORDER BY t";
    let rows = "(1, '30 days'::INTERVAL), (1, '1 month'::INTERVAL), (2, '30 days'::INTERVAL)";
    let first = delta(&view, rows, &[2, 1, 1], &[0, 0, 0]);
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    let second = delta(&view, "(1, '1 month'::INTERVAL), (1, '30 days'::INTERVAL)", &[-1, -1], &[1, 2]);
    commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap();
    assert_eq!(texts(folder.path(), text), ["1 30 days", "2 30 days"]);
    let third = delta(&view, "(1, '30 days'::INTERVAL), (1, '1 month'::INTERVAL)", &[-1, 1], &[1, 0]);
    commit(&mut sink, 3, view.changes([(header(3), third)])).await.unwrap();
    assert_eq!(texts(folder.path(), text), ["1 1 month", "2 30 days"]);
    // An equal row goes where the same one is not there.
    let fourth = delta(&view, "(1, '30 days'::INTERVAL)", &[-1], &[1]);
    commit(&mut sink, 4, view.changes([(header(4), fourth)])).await.unwrap();
    assert_eq!(texts(folder.path(), text), ["2 30 days"]);
    // One comes and an equal one goes, within a range.
    let come = delta(&view, "(3, '30 days'::INTERVAL)", &[1], &[0]);
    let go = delta(&view, "(3, '1 month'::INTERVAL)", &[-1], &[1]);
    let views = vec![view.changes([(header(5), come), (header(6), go)])];
    sink.commit(Commit { after: Epoch(4), header: header(6), views }).await.unwrap();
    assert_eq!(texts(folder.path(), text), ["2 30 days"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_and_nans_are_found_whatever_their_sign() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let view = ViewModel::new("v", &[("x", "DOUBLE"), ("l", "FLOAT[]")], RowIdentity::WholeRow);
    let rows = "('-0.0'::DOUBLE, [0.0, NULL]), ('nan', ['-0.0']), (NULL, ['nan'::FLOAT]), (NULL, NULL)";
    let first = delta(&view, rows, &[1, 2, 1, 3], &[0, 0, 0, 0]);
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    let rows = "(0.0::DOUBLE, ['-0.0', NULL]), (-'nan'::DOUBLE, [0.0]), (NULL, [-'nan'::FLOAT]), (NULL, NULL)";
    let second = delta(&view, rows, &[-1, -1, -1, -2], &[1, 2, 1, 3]);
    commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap();
    let left = "SELECT concat_ws(' ', isnan(x), count(*)) AS t FROM v GROUP BY x, l ORDER BY t";
    assert_eq!(texts(folder.path(), left), ["1", "true 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_removed_stop_the_sink() {
    for identity in [RowIdentity::WholeRow, RowIdentity::Key(vec![0])] {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = sink(folder.path());
        let view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], identity);
        let first = delta(&view, "(1, 'a'), (2, 'b')", &[1, 1], &[0, 0]);
        commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
        alter(folder.path(), "DELETE FROM v WHERE k = 2");
        let second = delta(&view, "(1, 'a'), (2, 'b'), (3, 'c')", &[-1, -1, 1], &[1, 1, 0]);
        let error = commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(error.to_string().contains("1 of 2 rows that epoch 2 removes"), "{error}");
        assert_eq!(texts(folder.path(), "SELECT v FROM v"), ["a"], "nothing was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_does_not_stand_in_for_a_row_that_somebody_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::WholeRow);
    let first = delta(&view, "(1, 'a'), (2, 'b')", &[1, 1], &[0, 0]);
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    alter(folder.path(), "DELETE FROM v WHERE k = 2; INSERT INTO v VALUES (1, 'a')");
    let second = delta(&view, "(1, 'a'), (2, 'b')", &[-1, -1], &[1, 1]);
    let error = commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("1 of 2 rows that epoch 2 removes"), "{error}");
    assert_eq!(texts(folder.path(), "SELECT v FROM v"), ["a", "a"], "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_copies_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::WholeRow);
    let first = delta(&view, "(1, 'a'), (2, NULL), (3, 'c')", &[3, 2, 1], &[0, 0, 0]);
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    let second = delta(&view, "(1, 'a'), (2, NULL), (3, 'c'), (4, 'd')", &[-1, -1, -1, 1], &[3, 2, 1, 0]);
    commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap();
    let left = "SELECT concat(k, v) AS t FROM v ORDER BY ALL";
    assert_eq!(texts(folder.path(), left), ["1a", "1a", "2", "4d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_tables_are_named() {
    let alterations = [
        ("ALTER TABLE v ADD COLUMN note VARCHAR", "column note is not one of the view's"),
        ("ALTER TABLE v DROP COLUMN v", "column v is missing"),
        ("ALTER TABLE v ALTER k TYPE BIGINT", "column k BIGINT stands where the view has k INTEGER"),
        ("UPDATE _tidegate_epochs SET hash = 'x'", "its row in _tidegate_epochs is not one of ours"),
    ];
    for (sql, fact) in alterations {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = sink(folder.path());
        let mut view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::WholeRow);
        // From the second commit on the sink knows what it left.
        for (epoch, row) in [(1, "(1, 'a')"), (2, "(2, 'a')"), (3, "(3, 'a')")] {
            let delta = view.change_to(row);
            commit(&mut sink, epoch, view.changes([(header(epoch), delta)])).await.unwrap();
        }
        alter(folder.path(), sql);
        let delta = view.change_to("(1, 'b')");
        let error = commit(&mut sink, 4, view.changes([(header(4), delta)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        assert!(error.to_string().contains(fact), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_put_back_is_noticed_between_two_commits() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let mut view = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow);
    let (mart, backup) = (folder.path().join("mart.duckdb"), folder.path().join("backup"));
    for epoch in 1..=4 {
        if epoch == 3 {
            std::fs::copy(&mart, &backup).unwrap();
        }
        let delta = view.change_to(&format!("({epoch})"));
        let outcome = commit(&mut sink, epoch, view.changes([(header(epoch), delta)])).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }
    std::fs::copy(&backup, &mart).unwrap();
    let delta = view.change_to("(5)");
    let outcome = commit(&mut sink, 5, view.changes([(header(5), delta)])).await.unwrap();
    let CommitOutcome::Conflict { found: Some(found), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(found.epoch, Epoch(2));
}

/// A program that died leaves what it wrote in a log, and the file as it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_logged_is_noticed_between_two_commits() {
    if let Some(folder) = part_of_another() {
        let duck = Duck::open(&folder.join("mart.duckdb"), &Options::default()).unwrap();
        duck.execute("SET checkpoint_threshold = '1GB'; ALTER TABLE v ADD COLUMN note VARCHAR").unwrap();
        std::process::abort();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let mut view = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow);
    for epoch in 1..=3 {
        let delta = view.change_to(&format!("({epoch})"));
        commit(&mut sink, epoch, view.changes([(header(epoch), delta)])).await.unwrap();
    }
    let test = "rows::what_another_program_logged_is_noticed_between_two_commits";
    assert!(another(test, folder.path()).run().aborted());
    assert!(folder.path().join("mart.duckdb.wal").exists(), "it left a log");
    let delta = view.change_to("(4)");
    let error = commit(&mut sink, 4, view.changes([(header(4), delta)])).await.unwrap_err();
    assert!(error.to_string().contains("column note is not one of the view's"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_not_held_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let mut view = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow);
    let first = view.change_to("(1), (1)");
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    alter(folder.path(), "DROP TABLE v");
    let found = sink.open(&[view.info().clone()]).await.unwrap();
    assert_eq!(found[&view.info().name], None);
    commit(&mut sink, 2, view.replacement(header(2))).await.unwrap();
    let (_, batches) = reader(folder.path()).query("SELECT count(*) AS n FROM v").unwrap();
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>(), &Int64Array::from(vec![2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_left_alone() {
    for sql in ["CREATE TABLE \"V\" (mine INTEGER)", "CREATE VIEW v AS SELECT 1 AS mine"] {
        let folder = tempfile::tempdir().unwrap();
        alter(folder.path(), sql);
        let mut sink = sink(folder.path());
        let mut view = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow);
        assert_eq!(sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name], None);
        let delta = view.change_to("(1)");
        for part in [view.changes([(header(1), delta)]), view.replacement(header(1))] {
            let error = commit(&mut sink, 1, part).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Reconfigure);
            assert!(error.to_string().contains("already has a table, view or macro named v"), "{error}");
        }
        reader(folder.path()).query("SELECT mine FROM v").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_of_many_batches_with_copies() {
    const BATCHES: i64 = 40;
    const ROWS: i64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let view = ViewModel::new("v", &[("k", "BIGINT")], RowIdentity::WholeRow);
    let schema = view.schema().clone();
    let batches = futures::stream::iter(0..BATCHES).map(move |batch| {
        let keys = Int64Array::from_iter_values(batch * ROWS..(batch + 1) * ROWS);
        let rows = RecordBatch::try_new(schema.clone(), vec![std::sync::Arc::new(keys)]).unwrap();
        let weights: Int64Array = (0..ROWS).map(|row| if row == 0 { 3 } else { 1 }).collect();
        let (change, copies_before) = (vec![ChangeType::Insert; ROWS as usize], vec![0; ROWS as usize].into());
        Ok(EpochBatch { header: header(7), batch: DeltaBatch { rows, weights, change, copies_before } })
    });
    let part = ViewCommit { view: view.info().clone(), content: ViewContent::Replace(batches.boxed()) };
    let outcome = commit(&mut sink, 7, part).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed { rows: (BATCHES * (ROWS + 2)) as u64 });
    let sql = "SELECT concat_ws(' ', count(*), count(DISTINCT k), max(k)) AS t FROM v";
    assert_eq!(
        texts(folder.path(), sql),
        [format!("{} {} {}", BATCHES * (ROWS + 2), BATCHES * ROWS, BATCHES * ROWS - 1)]
    );
}
