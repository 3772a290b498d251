//! Small files that become larger ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidegate_core::{Commit, Epoch, Micros, RowIdentity, Sink};
use tidegate_duck::Duck;
use tidegate_sink_parquet::ParquetSink;
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::files::{texts, tree};
use crate::random::{reader, rows};
use crate::suite::{options, sink};

/// A clock that stands until it is moved.
#[derive(Clone)]
pub struct Hands(Arc<AtomicI64>);

impl Hands {
    pub fn new() -> Self {
        Hands(Arc::new(AtomicI64::new(header(1).time.0)))
    }

    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_micros() as i64, Ordering::Relaxed);
    }

    pub fn sink(&self, folder: &Path, json: &str) -> ParquetSink {
        let hands = self.0.clone();
        let clock = Arc::new(move || Micros(hands.load(Ordering::Relaxed)));
        sink(folder).with_options(options(json)).with_clock(clock)
    }
}

pub fn keyed() -> ViewModel {
    ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]))
}

/// Commits an epoch.
pub async fn commit(sink: &mut ParquetSink, view: &mut ViewModel, epoch: u64, values: &str) {
    let delta = view.change_to(values);
    let views = vec![view.changes(Some((header(epoch), delta)).filter(|(_, delta)| !delta.is_empty()))];
    sink.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.unwrap();
}

/// The data files of the view.
pub fn data(folder: &Path) -> Vec<String> {
    let mut names = tree(&folder.join("out/changes/v"));
    names.iter_mut().for_each(|name| name.truncate(name.len() - ".parquet".len()));
    names.into_iter().map(|name| name.replace("0000000000000000", "")).collect()
}

const FOUR: &str = r#"{"path": ".", "compaction_files": 4, "compaction_grace": "10m"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn files_are_merged_and_go_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut sink = hands.sink(folder.path(), FOUR);
    let mut view = keyed();
    sink.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=3 {
        commit(&mut sink, &mut view, epoch, &format!("(1, 'a'), (2, '{epoch}')")).await;
    }
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path()), ["0001", "0002", "0003"], "too few for a merge");
    commit(&mut sink, &mut view, 4, "(1, 'a')").await;
    commit(&mut sink, &mut view, 5, "(1, 'a')").await;
    commit(&mut sink, &mut view, 6, "(0, 'z'), (1, 'a')").await;
    let before = rows(&reader(folder.path()), "FROM v_changes(0, 9)");
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path()), ["0001-0006", "0001", "0002", "0003", "0004", "0006"]);
    let check = |view: &ViewModel| {
        let duck = reader(folder.path());
        rows(&duck, "FROM v").assert_equals(&view.multiset(), "now");
        rows(&duck, "FROM v_changes(0, 6)").assert_equals(&before, "the same changes");
        assert_eq!(rows(&duck, "FROM v_asof(4)").len(), 1);
        assert_eq!(rows(&duck, "FROM v_asof(2)").len(), 2);
    };
    check(&view);
    hands.advance(Duration::from_secs(599));
    // A restart does not begin the time anew.
    let mut sink = hands.sink(folder.path(), FOUR);
    let found = sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name].unwrap();
    assert_eq!((found.epoch, found.hash), (Epoch(6), header(6).hash));
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path()).len(), 6);
    hands.advance(Duration::from_secs(1));
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path()), ["0001-0006"]);
    check(&view);
    let mut sink = hands.sink(folder.path(), FOUR);
    let found = sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name].unwrap();
    assert_eq!(found.epoch, Epoch(6), "the view is held, though its first file is gone");
    // Merged files are merged again.
    for epoch in 7..=9 {
        commit(&mut sink, &mut view, epoch, &format!("(1, '{epoch}')")).await;
    }
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path()), ["0001-0006", "0001-0009", "0007", "0008", "0009"]);
    rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), "now");
    hands.advance(Duration::from_secs(600));
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path()), ["0001-0009"]);
    // A new content takes the place of all.
    view.change_to("(7, 'seven')");
    let views = vec![view.replacement(header(10))];
    sink.commit(Commit { after: Epoch(9), header: header(10), views }).await.unwrap();
    assert_eq!(data(folder.path()), ["0010"]);
    rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), "replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_file_has_the_same_rows_in_order_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let json = r#"{"path": ".", "compaction_files": 3, "compaction_grace": "1s", "row_group_rows": 4}"#;
    let mut sink = hands.sink(folder.path(), json);
    let mut view = keyed();
    sink.open(&[view.info().clone()]).await.unwrap();
    commit(&mut sink, &mut view, 1, "(9, 'i'), (3, 'c'), (5, 'e'), (4, 'd'), (1, 'a')").await;
    commit(&mut sink, &mut view, 2, "(9, 'i'), (3, 'C'), (5, 'e'), (4, 'd')").await;
    commit(&mut sink, &mut view, 3, "(9, 'i'), (3, 'c'), (5, 'e'), (4, 'D'), (0, 'o')").await;
    sink.maintain().await.unwrap();
    let file = folder.path().join("out/changes/v/00000000000000000001-00000000000000000003.parquet");
    let file = file.display();
    let found = texts(&format!(
        "SELECT concat_ws(' ', k, v, _change_type, _commit_version, epoch_us(_commit_timestamp)) AS t FROM '{file}'"
    ));
    let expected = [
        (0, "o insert", 3),
        (1, "a insert", 1),
        (1, "a delete", 2),
        (3, "c insert", 1),
        (3, "c update_preimage", 2),
        (3, "C update_postimage", 2),
        (3, "C update_preimage", 3),
        (3, "c update_postimage", 3),
        (4, "d insert", 1),
        (4, "d update_preimage", 3),
        (4, "D update_postimage", 3),
        (5, "e insert", 1),
        (9, "i insert", 1),
    ];
    let expected = expected.map(|(k, text, epoch)| format!("{k} {text} {epoch} {}", header(epoch).time.0));
    assert_eq!(found, expected);
    let metadata = texts(&format!(
        "SELECT decode(key) || '=' || decode(value) AS t FROM parquet_kv_metadata('{file}') \
         WHERE decode(key) LIKE 'tidegate%' ORDER BY t"
    ));
    let expected = [
        "tidegate.epoch=3".to_owned(),
        format!("tidegate.frontier={}", header(3).frontier),
        format!("tidegate.hash={}", header(3).hash),
        format!("tidegate.latest_commit={}", header(3).latest_commit.unwrap().0),
        "tidegate.pipeline=shop".to_owned(),
        "tidegate.runs=0".to_owned(),
        format!("tidegate.time={}", header(3).time.0),
    ];
    assert_eq!(metadata, expected);
    let groups = texts(&format!(
        "SELECT concat_ws(' ', row_group_id, row_group_num_rows, stats_min, stats_max) AS t FROM parquet_metadata('{file}') \
         WHERE path_in_schema = 'k' ORDER BY t"
    ));
    assert_eq!(groups, ["0 4 0 3", "1 4 3 3", "2 4 4 5", "3 1 9 9"]);
    // The bloom filter of the key tells that 2, which lies between the statistics, is not there.
    let excluded = texts(&format!(
        "SELECT string_agg(bloom_filter_excludes::VARCHAR, ' ' ORDER BY row_group_id) AS t FROM parquet_bloom_probe('{file}', 'k', 2)"
    ));
    assert_eq!(excluded, ["true true true true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_as_the_options_say() {
    let cases = [
        (r#"{"path": "."}"#, "ZSTD true true"),
        (r#"{"path": ".", "compression": "snappy", "bloom_filters": "none"}"#, "SNAPPY false true"),
        (r#"{"path": ".", "compression": "none", "statistics": "none"}"#, "UNCOMPRESSED true false"),
        (r#"{"path": ".", "compression_level": 19, "statistics": "chunk"}"#, "ZSTD true true"),
    ];
    for (json, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = Hands::new().sink(folder.path(), json);
        let mut view = keyed();
        sink.open(&[view.info().clone()]).await.unwrap();
        commit(&mut sink, &mut view, 1, "(1, 'a'), (2, 'b')").await;
        let file = folder.path().join("out/changes/v/00000000000000000001.parquet");
        let found = texts(&format!(
            "SELECT concat_ws(' ', compression, bloom_filter_offset IS NOT NULL, stats_max_value IS NOT NULL) AS t \
             FROM parquet_metadata('{}') WHERE path_in_schema = 'k'",
            file.display()
        ));
        assert_eq!(found, [expected], "{json}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_off_nothing_is_merged() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = Hands::new().sink(folder.path(), r#"{"path": ".", "compaction": "off"}"#);
    let mut view = keyed();
    sink.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=40 {
        commit(&mut sink, &mut view, epoch, &format!("({epoch}, 'x')")).await;
    }
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path()).len(), 40);
}

/// Whoever reads the files without `views.sql` follows the names alone.
#[tokio::test(flavor = "multi_thread")]
async fn names_alone_tell_which_files_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = Hands::new().sink(folder.path(), FOUR);
    let mut view = keyed();
    sink.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=6 {
        commit(&mut sink, &mut view, epoch, &format!("({epoch}, 'x')")).await;
        sink.maintain().await.unwrap();
    }
    let files = data(folder.path());
    assert_eq!(files, ["0001-0004", "0001", "0002", "0003", "0004", "0005", "0006"]);
    let greatest = files.iter().filter_map(|name| name.split_once('-')).map(|(_, to)| to).max().unwrap();
    let counts = files.iter().filter(|name| name.contains('-') || name.as_str() > greatest);
    let long = |name: &String| {
        let stem: Vec<_> = name.split('-').map(|epoch| format!("0000000000000000{epoch}")).collect();
        format!("'{}'", folder.path().join(format!("out/changes/v/{}.parquet", stem.join("-"))).display())
    };
    let list: Vec<_> = counts.map(long).collect();
    let sum = format!(
        "SELECT k, v FROM (SELECT k, v, sum(CASE WHEN _change_type IN ('insert', 'update_postimage') THEN 1 ELSE -1 END) AS n \
         FROM read_parquet([{}]) GROUP BY k, v) WHERE n > 0",
        list.join(", ")
    );
    let (_, batches) = Duck::open_in_memory().unwrap().query(&sum).unwrap();
    Multiset::of_batches(&batches).assert_equals(&view.multiset(), "by name");
}

/// Merging 200 files of 50 rows each writes every row few times.
#[tokio::test(flavor = "multi_thread")]
async fn few_files_stay_and_rows_are_written_few_times() {
    let folder = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut sink = hands.sink(folder.path(), r#"{"path": ".", "compaction_files": 8, "compaction_grace": "0s"}"#);
    let mut view = keyed();
    sink.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=200u64 {
        let values: Vec<_> = (0..50).map(|k| format!("({k}, '{epoch}')")).collect();
        commit(&mut sink, &mut view, epoch, &values.join(", ")).await;
        sink.maintain().await.unwrap();
    }
    sink.maintain().await.unwrap();
    assert!(data(folder.path()).len() <= 8, "{:?}", data(folder.path()));
    let duck = reader(folder.path());
    rows(&duck, "FROM v").assert_equals(&view.multiset(), "now");
    assert_eq!(rows(&duck, "FROM v_changes(0, 200)").len(), 50 + 199 * 100);
    assert!(fs::metadata(folder.path().join("out/changes/views.sql")).unwrap().len() < 20_000);
}
