//! What lies in the folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, BinaryArray, Int64Array, RecordBatch};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::memory::InMemory;
use tidegate_core::{
    ChangeType, Commit, CommitOutcome, ConnectorError, DeltaBatch, Epoch, EpochBatch, ErrorKind, RowIdentity, Sink,
    ViewCommit, ViewContent, ZSet,
};
use tidegate_duck::Duck;
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::suite::{options, remote, sink};

/// The names of all files under a folder, in order.
pub fn tree(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() { walk(&entry.path(), &format!("{name}/"), names) } else { names.push(name) }
        }
    }
    let mut names = Vec::new();
    if folder.exists() {
        walk(folder, "", &mut names);
    }
    names.sort();
    names
}

pub fn texts(sql: &str) -> Vec<String> {
    let (_, batches) = Duck::open_in_memory().unwrap().query(sql).unwrap();
    let all = |batch: &RecordBatch| {
        batch.column(0).as_string::<i32>().iter().map(|t| t.unwrap().to_owned()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(all).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_laid_out_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("out/changes");
    let mut sink = sink(folder.path());
    let mut view = ViewModel::new("Orders", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]));
    let mut other = ViewModel::new("other", &[("n", "HUGEINT")], RowIdentity::WholeRow);
    let mut still = ViewModel::new("still", &[("n", "UUID")], RowIdentity::WholeRow);
    sink.open(&[view.info().clone(), other.info().clone()]).await.unwrap();
    assert!(!root.exists(), "opening leaves no trace");
    let first = view.change_to("(1, 'a'), (2, 'b')");
    let twice = other.change_to("(7), (7)");
    let views = vec![view.changes([(header(1), first)]), other.changes([(header(1), twice)]), still.changes([])];
    sink.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
    let (second, third) = (view.change_to("(1, 'A'), (2, 'b')"), view.change_to("(2, 'b')"));
    let none = still.change_to("");
    assert!(none.is_empty());
    let views = vec![view.changes([(header(2), second), (header(4), third)]), other.changes([]), still.changes([])];
    let outcome = sink.commit(Commit { after: Epoch(1), header: header(5), views }).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed { rows: 3 });
    let files = [
        "Orders/00000000000000000001.parquet",
        "Orders/00000000000000000002.parquet",
        "Orders/00000000000000000004.parquet",
        "_tidegate/manifest.json",
        "other/00000000000000000001.parquet",
        "still/00000000000000000001.parquet",
        "views.sql",
    ];
    assert_eq!(tree(&root), files);
    let file = |name: &str| format!("read_parquet('{}')", root.join(name).display());
    let labels = format!(
        "SELECT concat_ws(' ', k, v, _change_type, _commit_version, epoch_us(_commit_timestamp)) AS t FROM {}",
        file("Orders/*.parquet")
    );
    let time = |epoch: u64| header(epoch).time.0;
    let expected = [
        format!("1 a insert 1 {}", time(1)),
        format!("2 b insert 1 {}", time(1)),
        format!("1 a update_preimage 2 {}", time(2)),
        format!("1 A update_postimage 2 {}", time(2)),
        format!("1 A delete 4 {}", time(4)),
    ];
    assert_eq!(texts(&labels), expected);
    assert_eq!(texts(&format!("SELECT n::VARCHAR AS t FROM {}", file("other/*.parquet"))), ["7", "7"]);
    let metadata = format!(
        "SELECT decode(key) || '=' || decode(value) AS t FROM parquet_kv_metadata('{}') WHERE decode(key) LIKE 'tidegate%' ORDER BY t",
        root.join(files[1]).display()
    );
    let expected = [
        "tidegate.epoch=2".to_owned(),
        format!("tidegate.frontier={}", header(2).frontier),
        format!("tidegate.hash={}", header(2).hash),
        format!("tidegate.latest_commit={}", header(2).latest_commit.unwrap().0),
        "tidegate.pipeline=shop".to_owned(),
        "tidegate.runs=0".to_owned(),
        format!("tidegate.time={}", header(2).time.0),
    ];
    assert_eq!(texts(&metadata), expected);
    let compression =
        format!("SELECT DISTINCT compression AS t FROM parquet_metadata('{}')", root.join(files[1]).display());
    assert_eq!(texts(&compression), ["ZSTD"]);
}

/// Nothing is committed without it: a commit that is done is not done again, and so its readers would never find the view.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_views_sql_cannot_be_written_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("out/changes/views.sql");
    let mut sink = sink(folder.path());
    let mut view = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow);
    let infos = [view.info().clone()];
    sink.open(&infos).await.unwrap();
    fs::create_dir_all(in_the_way.join("x")).unwrap();
    let delta = view.change_to("(1)");
    let commit = || {
        let views = vec![view.changes([(header(1), delta.clone())])];
        Commit { after: Epoch(0), header: header(1), views }
    };
    sink.commit(commit()).await.unwrap_err();
    assert_eq!(sink.open(&infos).await.unwrap()[&infos[0].name], None);
    fs::remove_dir_all(&in_the_way).unwrap();
    sink.commit(commit()).await.unwrap();
    assert!(fs::read_to_string(&in_the_way).unwrap().contains("\"v\""));
    assert!(sink.open(&infos).await.unwrap()[&infos[0].name].is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_visible_before_everything_is_staged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("out/changes");
    let mut sink = sink(folder.path());
    let mut view = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow);
    sink.open(&[view.info().clone()]).await.unwrap();
    let delta = view.change_to("(1)");
    let views = vec![view.changes([(header(1), delta)])];
    sink.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
    let visible = || tree(&root).into_iter().filter(|name| !name.starts_with("_tidegate/stage/")).collect::<Vec<_>>();
    let before = visible();
    let (manifest, sql) = (fs::read(root.join("_tidegate/manifest.json")), fs::read(root.join("views.sql")));
    let (second, third) = (view.change_to("(2)"), view.change_to("(3)"));
    let looks = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let look = {
        let (before, root, looks) = (before.clone(), root.clone(), looks.clone());
        move || {
            let visible = tree(&root).into_iter().filter(|name| !name.starts_with("_tidegate/stage/"));
            assert_eq!(visible.collect::<Vec<_>>(), before);
            looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let items = vec![
        Ok(EpochBatch { header: header(2), batch: second }),
        Ok(EpochBatch { header: header(3), batch: third }),
        Err(ConnectorError::new(ErrorKind::Retry, "the delta cannot be read")),
    ];
    let stream = stream::iter(items).inspect(move |_| look()).boxed();
    let views = vec![ViewCommit { view: view.info().clone(), content: ViewContent::Changes(stream) }];
    let error = sink.commit(Commit { after: Epoch(1), header: header(3), views }).await.unwrap_err();
    assert_eq!(error.to_string(), "the delta cannot be read");
    assert_eq!(looks.load(std::sync::atomic::Ordering::Relaxed), 3);
    assert_eq!(tree(&root), before, "and nothing of it stays behind");
    assert_eq!(fs::read(root.join("_tidegate/manifest.json")).unwrap(), manifest.unwrap());
    assert_eq!(fs::read(root.join("views.sql")).unwrap(), sql.unwrap());
}

/// In which order the keys of a content come.
#[derive(Clone, Copy)]
enum Order {
    Upwards,
    Downwards,
}

/// A content that no compression makes small, in several batches.
fn noise(batches: usize, rows: usize, view: &ViewModel, order: Order) -> ViewCommit {
    let schema = view.schema().clone();
    let items = stream::iter(0..batches).map(move |batch| {
        let mut state = batch as u64 + 1;
        let mut blob = || {
            let mut bytes = Vec::with_capacity(1024);
            for _ in 0..128 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend(state.to_le_bytes());
            }
            bytes
        };
        let batch = if let Order::Downwards = order { batches - 1 - batch } else { batch };
        let keys = Int64Array::from_iter_values((batch * rows..(batch + 1) * rows).map(|key| key as i64));
        let blobs = BinaryArray::from_iter_values((0..rows).map(|_| blob()));
        let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(keys), Arc::new(blobs)]).unwrap();
        let entries = rows.num_rows();
        let delta = DeltaBatch {
            rows,
            weights: vec![1; entries].into(),
            change: vec![ChangeType::Insert; entries],
            copies_before: vec![0; entries].into(),
        };
        Ok(EpochBatch { header: header(1), batch: delta })
    });
    ViewCommit { view: view.info().clone(), content: ViewContent::Replace(items.boxed()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_contents_go_in_parts() {
    let view = ViewModel::new("v", &[("k", "BIGINT"), ("noise", "BLOB")], RowIdentity::Key(vec![0]));
    let (batches, rows) = (50, 1000);
    let store = Arc::new(InMemory::new());
    let folder = tempfile::tempdir().unwrap();
    let mut read = Vec::new();
    let mut targets = [remote(&store), sink(folder.path())];
    for target in &mut targets {
        target.open(&[view.info().clone()]).await.unwrap();
        let commit =
            Commit { after: Epoch(0), header: header(1), views: vec![noise(batches, rows, &view, Order::Upwards)] };
        let outcome = target.commit(commit).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Committed { rows: (batches * rows) as u64 });
        let zsets: Vec<ZSet> = target.read(view.info()).await.unwrap().try_collect().await.unwrap();
        read.push(Multiset::of_zsets(&zsets));
    }
    assert_eq!(read[0].len(), (batches * rows) as i64);
    read[0].assert_equals(&read[1], "both hold the same");
}

/// More rows than are sorted in memory at once, in the wrong order.
#[tokio::test(flavor = "multi_thread")]
async fn contents_larger_than_the_memory_are_sorted() {
    let mut view = ViewModel::new("v", &[("k", "BIGINT"), ("noise", "BLOB")], RowIdentity::Key(vec![0]));
    let (batches, rows) = (150, 1000);
    let folder = tempfile::tempdir().unwrap();
    let kept = r#"{"path": ".", "retention": "1s", "compaction_grace": "0s"}"#;
    let snapshot = r#"{"path": ".", "mode": "snapshot"}"#;
    let count = |files: &str| {
        let files = folder.path().join(files);
        let sorted = "SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE k < before)) AS t FROM (SELECT k, lag(k) OVER \
                      (ORDER BY filename, file_row_number) AS before FROM";
        texts(&format!("{sorted} read_parquet('{}', file_row_number = true, filename = true))", files.display()))
            .remove(0)
    };
    for (name, json) in [("deltas", kept), ("snapshot", snapshot)] {
        let mut target = sink(&folder.path().join(name)).with_options(options(json));
        target.open(&[view.info().clone()]).await.unwrap();
        let commit =
            Commit { after: Epoch(0), header: header(1), views: vec![noise(batches, rows, &view, Order::Downwards)] };
        target.commit(commit).await.unwrap();
        let delta = view.change_to("(-1, 'x')");
        let commit = Commit { after: Epoch(1), header: header(2), views: vec![view.changes([(header(2), delta)])] };
        target.commit(commit).await.unwrap();
        target.maintain().await.unwrap();
        view.change_to("");
        let zsets: Vec<ZSet> = target.read(view.info()).await.unwrap().try_collect().await.unwrap();
        assert_eq!(Multiset::of_zsets(&zsets).len(), (batches * rows) as i64 + 1, "{name}");
    }
    assert_eq!(count("deltas/out/changes/v/*0-*2.parquet"), "150001 0", "the base of both epochs is in order");
    assert_eq!(count("snapshot/out/changes/v/*2/*.parquet"), "150001 0");
    let left = tree(folder.path()).into_iter().filter(|name| name.contains("/spill/") || name.contains("/stage/"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
}
