//! Rows that are equal and not the same, rows that should be there and are not, and a million of them.

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::{StreamExt, stream};
use tidegate_core::{
    ChangeType, Commit, CommitOutcome, ConnectorError, DeltaBatch, Epoch, EpochBatch, ErrorKind, RowIdentity, Sink,
    ViewCommit, ViewContent,
};
use tidegate_sink_postgres::PostgresSink;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::{PostgresVersion, rows};

use crate::random::read;
use crate::suite::{database, shared, sink_to};

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

pub async fn commit(sink: &mut PostgresSink, epoch: u64, view: ViewCommit) -> Result<CommitOutcome, ConnectorError> {
    sink.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views: vec![view] }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_rows_are_told_apart_by_what_they_show() {
    let server = shared(PostgresVersion::V18);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let view = ViewModel::new("v", &[("k", "INTEGER"), ("i", "INTERVAL")], RowIdentity::WholeRow);
    let texts = || {
        let rows = server.query(&name, "SELECT k || ' ' || i FROM v ORDER BY k, i::text");
        rows.into_iter().flatten().flatten().collect::<Vec<_>>()
    };
    let rows = "(1, '30 days'::INTERVAL), (1, '1 month'::INTERVAL), (2, '30 days'::INTERVAL)";
    let first = delta(&view, rows, &[2, 1, 1], &[0, 0, 0]);
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    let second = delta(&view, "(1, '1 month'::INTERVAL), (1, '30 days'::INTERVAL)", &[-1, -1], &[1, 2]);
    commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap();
    assert_eq!(texts(), ["1 30 days", "2 30 days"]);
    let third = delta(&view, "(1, '30 days'::INTERVAL), (1, '1 month'::INTERVAL)", &[-1, 1], &[1, 0]);
    commit(&mut sink, 3, view.changes([(header(3), third)])).await.unwrap();
    assert_eq!(texts(), ["1 1 mon", "2 30 days"]);
    // An equal row goes where the same one is not there.
    let fourth = delta(&view, "(1, '30 days'::INTERVAL)", &[-1], &[1]);
    commit(&mut sink, 4, view.changes([(header(4), fourth)])).await.unwrap();
    assert_eq!(texts(), ["2 30 days"]);
    // One comes and an equal one goes, within a range.
    let come = delta(&view, "(3, '30 days'::INTERVAL)", &[1], &[0]);
    let go = delta(&view, "(3, '1 month'::INTERVAL)", &[-1], &[1]);
    let views = vec![view.changes([(header(5), come), (header(6), go)])];
    sink.commit(Commit { after: Epoch(4), header: header(6), views }).await.unwrap();
    assert_eq!(texts(), ["2 30 days"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_and_nans_are_found_whatever_their_sign() {
    let server = shared(PostgresVersion::V15);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let view = ViewModel::new("v", &[("x", "DOUBLE"), ("l", "FLOAT[]")], RowIdentity::WholeRow);
    let rows = "('-0.0'::DOUBLE, [0.0, NULL]), ('nan', ['-0.0']), (NULL, ['nan'::FLOAT]), (NULL, NULL)";
    let first = delta(&view, rows, &[1, 2, 1, 3], &[0, 0, 0, 0]);
    commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
    let rows = "(0.0::DOUBLE, ['-0.0', NULL]), (-'nan'::DOUBLE, [0.0]), (NULL, [-'nan'::FLOAT]), (NULL, NULL)";
    let second = delta(&view, rows, &[-1, -1, -1, -2], &[1, 2, 1, 3]);
    commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap();
    let left = server.query(&name, "SELECT x, l, count(*) FROM v GROUP BY x, l ORDER BY 3, 1");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(left, [[text("NaN"), text("{-0}"), text("1")], [None, None, text("1")]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_changed_stop_the_sink() {
    let server = shared(PostgresVersion::V18);
    for identity in [RowIdentity::WholeRow, RowIdentity::Key(vec![0])] {
        let is_keyed = identity != RowIdentity::WholeRow;
        let name = database(&server);
        let mut sink = sink_to(&server.url(&name));
        let mut view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], identity);
        let first = view.change_to("(1, 'a'), (2, 'b')");
        commit(&mut sink, 1, view.changes([(header(1), first)])).await.unwrap();
        server.execute(&name, "DELETE FROM v WHERE k = 2");
        let second = delta(&view, "(1, 'a'), (2, 'b'), (3, 'c')", &[-1, -1, 1], &[1, 1, 0]);
        let error = commit(&mut sink, 2, view.changes([(header(2), second)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(error.to_string().contains("1 of 2 rows that epoch 2 removes are there"), "{error}");
        assert_eq!(server.value(&name, "SELECT v FROM v"), "a", "nothing was written");
        if is_keyed {
            let update = view.clone().change_to("(1, 'A'), (2, 'B')");
            let error = commit(&mut sink, 2, view.changes([(header(2), update)])).await.unwrap_err();
            assert!(error.to_string().contains("1 of 2 rows that epoch 2 updates are there"), "{error}");
            server.execute(&name, "INSERT INTO v VALUES (2, 'b'), (3, 'secret')");
            let more = view.clone().change_to("(1, 'a'), (2, 'b'), (3, 'c')");
            let error = commit(&mut sink, 2, view.changes([(header(2), more)])).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Stop);
            let text = error.to_string();
            assert!(text.contains("index v_k_idx already has a row that epoch 2 brings"), "{error}");
            assert!(!text.contains("secret") && !text.contains("(3)"), "{error}");
        }
    }
}

/// A million rows, made as they are read.
pub fn million(view: &ViewModel, epoch: u64) -> ViewCommit {
    const BATCHES: i64 = 100;
    const ROWS: i64 = 10_000;
    let schema = view.schema().clone();
    let batches = stream::iter(0..BATCHES).map(move |batch| {
        let keys = batch * ROWS..(batch + 1) * ROWS;
        let texts = StringArray::from_iter_values(keys.clone().map(|key| format!("row {}", key % 1000)));
        let columns: Vec<ArrayRef> =
            vec![std::sync::Arc::new(Int64Array::from_iter_values(keys)), std::sync::Arc::new(texts)];
        let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let count = rows.column(0).len();
        let (change, copies_before) = (vec![ChangeType::Insert; count], vec![0; count].into());
        let batch = DeltaBatch { rows, weights: vec![1; count].into(), change, copies_before };
        Ok(EpochBatch { header: header(epoch), batch })
    });
    ViewCommit { view: view.info().clone(), content: ViewContent::Replace(batches.boxed()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_as_large_as_the_table() {
    const ROWS: usize = 60_000;
    let server = shared(PostgresVersion::V18);
    let mut sink = sink_to(&server.url(&database(&server)));
    let columns = [("k", "BIGINT"), ("t", "VARCHAR")];
    for identity in [RowIdentity::Key(vec![0]), RowIdentity::WholeRow] {
        let name = if identity == RowIdentity::WholeRow { "whole" } else { "keyed" };
        let mut view = ViewModel::new(name, &columns, identity);
        let contents = |epoch: usize| {
            let keys: Vec<i64> = (0..ROWS as i64).map(|row| row * 2 / (1 + epoch as i64 % 2)).collect();
            let texts = StringArray::from_iter_values(keys.iter().map(|key| format!("{}", key % (5 + epoch as i64))));
            let columns: Vec<ArrayRef> = vec![std::sync::Arc::new(Int64Array::from(keys)), std::sync::Arc::new(texts)];
            RecordBatch::try_new(view.schema().clone(), columns).unwrap()
        };
        let deltas = [0, 1, 2].map(contents);
        for (index, rows) in deltas.iter().enumerate() {
            let epoch = index as u64 + 1;
            let delta = view.change_to_batch(rows);
            let part = view.changes([(header(epoch), delta)]);
            let views = vec![part];
            let started = std::time::Instant::now();
            let outcome = sink.commit(Commit { after: Epoch(index as u64), header: header(epoch), views }).await;
            println!("{name}: {:?} in {} ms", outcome.unwrap(), started.elapsed().as_millis());
        }
        assert_eq!(read(&mut sink, view.info()).await.len(), ROWS as i64);
        read(&mut sink, view.info()).await.assert_equals(&view.multiset(), name);
    }
}
