//! Rows that are equal and not the same, rows that should be there and are not, contents of many rows.

use arrow::array::{Int64Array, RecordBatch};
use futures::StreamExt;
use tidegate_core::{
    ChangeType, Commit, CommitOutcome, ConnectorError, DeltaBatch, Epoch, EpochBatch, ErrorKind, RowIdentity, Sink,
    ViewCommit, ViewContent,
};
use tidegate_sink_ducklake::DucklakeSink;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::rows;

use crate::lakes::{KINDS, Kind, catalog, reader, sink, texts};

/// A delta with the weights as they are given.
pub fn delta(view: &ViewModel, values: &str, weights: &[i64], before: &[i64]) -> DeltaBatch {
    let change = |weight: &i64| if *weight > 0 { ChangeType::Insert } else { ChangeType::Delete };
    DeltaBatch {
        rows: rows::batch(view.schema(), values),
        weights: weights.to_vec().into(),
        change: weights.iter().map(change).collect(),
        copies_before: before.to_vec().into(),
    }
}

pub async fn commit(sink: &mut DucklakeSink, epoch: u64, view: ViewCommit) -> Result<CommitOutcome, ConnectorError> {
    sink.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views: vec![view] }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_rows_are_told_apart_by_their_bits() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let look = |sql: &str| texts(&reader(&catalog(kind, folder.path())), sql);
        let mut sink = sink(kind, folder.path());
        let view = ViewModel::new("v", &[("k", "INTEGER"), ("i", "INTERVAL")], RowIdentity::WholeRow);
        let text = "SELECT k || ' ' || i AS t FROM lake.v ORDER BY t";
        let rows = "(1, '30 days'::INTERVAL), (1, '1 month'::INTERVAL), (2, '30 days'::INTERVAL)";
        let first = delta(&view, rows, &[2, 1, 1], &[0, 0, 0]);
        commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
        let second = delta(&view, "(1, '1 month'::INTERVAL), (1, '30 days'::INTERVAL)", &[-1, -1], &[1, 2]);
        commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap();
        assert_eq!(look(text), ["1 30 days", "2 30 days"]);
        let third = delta(&view, "(1, '30 days'::INTERVAL), (1, '1 month'::INTERVAL)", &[-1, 1], &[1, 0]);
        commit(&mut sink, 3, view.changes([(header(3), third)])).await.unwrap();
        assert_eq!(look(text), ["1 1 month", "2 30 days"]);
        // An equal row goes where the same one is not there.
        let fourth = delta(&view, "(1, '30 days'::INTERVAL)", &[-1], &[1]);
        commit(&mut sink, 4, view.changes([(header(4), fourth)])).await.unwrap();
        assert_eq!(look(text), ["2 30 days"]);
        // One comes and an equal one goes, within a range.
        let come = delta(&view, "(3, '30 days'::INTERVAL)", &[1], &[0]);
        let go = delta(&view, "(3, '1 month'::INTERVAL)", &[-1], &[1]);
        let views = vec![view.changes([(header(5), come), (header(6), go)])];
        sink.commit(Commit { after: Epoch(4), header: header(6), views }).await.unwrap();
        assert_eq!(look(text), ["2 30 days"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_and_nans_are_found_whatever_their_sign() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = sink(kind, folder.path());
        let view = ViewModel::new("v", &[("x", "DOUBLE"), ("l", "FLOAT[]")], RowIdentity::WholeRow);
        let rows = "('-0.0'::DOUBLE, [0.0, NULL]), ('nan', ['-0.0']), (NULL, ['nan'::FLOAT]), (NULL, NULL)";
        let first = delta(&view, rows, &[1, 2, 1, 3], &[0, 0, 0, 0]);
        commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
        let rows = "(0.0::DOUBLE, ['-0.0', NULL]), (-'nan'::DOUBLE, [0.0]), (NULL, [-'nan'::FLOAT]), (NULL, NULL)";
        let second = delta(&view, rows, &[-1, -1, -1, -2], &[1, 2, 1, 3]);
        commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap();
        let left = "SELECT concat_ws(' ', isnan(x), count(*)) AS t FROM lake.v GROUP BY x, l ORDER BY t";
        assert_eq!(texts(&reader(&catalog(kind, folder.path())), left), ["1", "true 1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_zeros_intervals_and_nothing_are_found() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = sink(kind, folder.path());
        let columns = [("x", "DOUBLE"), ("i", "INTERVAL"), ("v", "VARCHAR")];
        let view = ViewModel::new("v", &columns, RowIdentity::Key(vec![0, 1]));
        let rows = "('-0.0'::DOUBLE, '1 month'::INTERVAL, 'a'), (NULL, NULL, 'b'), ('nan', '1 day', 'c')";
        let first = delta(&view, rows, &[1, 1, 1], &[0, 0, 0]);
        commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
        let rows = "(0.0::DOUBLE, '30 days'::INTERVAL, 'a'), (NULL, NULL, 'b')";
        let second = delta(&view, rows, &[-1, -1], &[1, 1]);
        commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap();
        assert_eq!(texts(&reader(&catalog(kind, folder.path())), "SELECT v FROM lake.v"), ["c"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_removed_stop_the_sink() {
    for identity in [RowIdentity::WholeRow, RowIdentity::Key(vec![0])] {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(Kind::Sqlite, folder.path());
        let mut sink = sink(Kind::Sqlite, folder.path());
        let view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], identity);
        let first = delta(&view, "(1, 'a'), (2, 'b')", &[1, 1], &[0, 0]);
        commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
        reader(&lake).execute("DELETE FROM lake.v WHERE k = 2").unwrap();
        let second = delta(&view, "(1, 'a'), (2, 'b'), (3, 'c')", &[-1, -1, 1], &[1, 1, 0]);
        let error = commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(error.to_string().contains("1 of 2 rows that epoch 2 removes"), "{error}");
        assert_eq!(texts(&reader(&lake), "SELECT v FROM lake.v"), ["a"], "nothing was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_tables_are_named() {
    let alterations = [
        ("ALTER TABLE lake.v ADD COLUMN note VARCHAR", "column note is not one of the view's"),
        ("ALTER TABLE lake.v DROP COLUMN v", "column v is missing"),
        ("ALTER TABLE lake.v ALTER k TYPE BIGINT", "column k BIGINT stands where the view has k INTEGER"),
        ("UPDATE lake._tidegate_epochs SET hash = 'x'", "its row in _tidegate_epochs is not one of ours"),
    ];
    for (sql, fact) in alterations {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = sink(Kind::DuckDb, folder.path());
        let mut view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::WholeRow);
        let delta = view.change_to("(1, 'a')");
        commit(&mut sink, 1, view.changes([(header(1), delta)])).await.unwrap();
        reader(&catalog(Kind::DuckDb, folder.path())).execute(sql).unwrap();
        let delta = view.change_to("(1, 'b')");
        let error = commit(&mut sink, 2, view.changes([(header(2), delta)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        assert!(error.to_string().contains(fact), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_not_held_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let lake = catalog(Kind::DuckDb, folder.path());
    let mut sink = sink(Kind::DuckDb, folder.path());
    let mut view = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow);
    let first = view.change_to("(1), (1)");
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    reader(&lake).execute("DROP TABLE lake.v").unwrap();
    let found = sink.open(&[view.info().clone()]).await.unwrap();
    assert_eq!(found[&view.info().name], None);
    commit(&mut sink, 2, view.replacement(header(2))).await.unwrap();
    assert_eq!(texts(&reader(&lake), "SELECT count(*) AS n FROM lake.v"), ["2"]);
    assert_eq!(texts(&reader(&lake), "SELECT epoch FROM lake._tidegate_epochs"), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_left_alone() {
    for sql in ["CREATE TABLE lake.\"V\" (mine INTEGER)", "CREATE VIEW lake.v AS SELECT 1 AS mine"] {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(Kind::Sqlite, folder.path());
        let mut sink = sink(Kind::Sqlite, folder.path());
        let mut other = ViewModel::new("other", &[("k", "INTEGER")], RowIdentity::WholeRow);
        let first = other.change_to("(1)");
        commit(&mut sink, 1, other.changes([(header(1), first)])).await.unwrap();
        reader(&lake).execute(sql).unwrap();
        let mut view = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow);
        assert_eq!(sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name], None);
        let delta = view.change_to("(1)");
        for part in [view.changes([(header(1), delta)]), view.replacement(header(1))] {
            let error = commit(&mut sink, 1, part).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
            assert!(error.to_string().contains("already has a table, view or macro named v"), "{error}");
        }
        texts(&reader(&lake), "SELECT mine FROM lake.v");
    }
}

/// Rows `0..rows` as one content, in batches; every 10,000th has three copies.
fn content(view: &ViewModel, rows: i64, epoch: u64) -> ViewCommit {
    const BATCH: i64 = 10_000;
    let schema = view.schema().clone();
    let batches = futures::stream::iter(0..rows / BATCH).map(move |batch| {
        let keys = Int64Array::from_iter_values(batch * BATCH..(batch + 1) * BATCH);
        let rows = RecordBatch::try_new(schema.clone(), vec![std::sync::Arc::new(keys)]).unwrap();
        let weights: Int64Array = (0..BATCH).map(|row| if row == 0 { 3 } else { 1 }).collect();
        let (change, copies_before) = (vec![ChangeType::Insert; BATCH as usize], vec![0; BATCH as usize].into());
        Ok(EpochBatch { header: header(epoch), batch: DeltaBatch { rows, weights, change, copies_before } })
    });
    ViewCommit { view: view.info().clone(), content: ViewContent::Replace(batches.boxed()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_go_into_one_large_file() {
    let folder = tempfile::tempdir().unwrap();
    let lake = catalog(Kind::Sqlite, folder.path());
    let mut sink = sink(Kind::Sqlite, folder.path());
    let view = ViewModel::new("v", &[("k", "BIGINT")], RowIdentity::WholeRow);
    let outcome = commit(&mut sink, 7, content(&view, 1_000_000, 7)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed { rows: 1_000_200 });
    let sql = "SELECT concat_ws(' ', count(*), count(DISTINCT k), max(k)) AS t FROM lake.v";
    assert_eq!(texts(&reader(&lake), sql), ["1000200 1000000 999999"]);
    let files = "SELECT count(*) AS n FROM ducklake_list_files('lake', 'v')";
    assert_eq!(texts(&reader(&lake), files), ["1"]);
    // The same table with another content.
    commit(&mut sink, 8, content(&view, 20_000, 8)).await.unwrap();
    assert_eq!(texts(&reader(&lake), sql), ["20004 20000 19999"]);
}
