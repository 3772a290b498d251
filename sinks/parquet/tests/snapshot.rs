//! The whole content, from time to time, for tools that only read files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::TryStreamExt;
use tidegate_core::{Commit, CommitOutcome, Epoch, ErrorKind, RowIdentity, Sink, ZSet, failpoint};
use tidegate_duck::quote_ident;
use tidegate_sink_parquet::ParquetSink;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::{Multiset, seed};

use crate::compaction::{commit, keyed};
use crate::files::{texts, tree};
use crate::history::History;
use crate::interrupted::{another, part_of_another};
use crate::random::{columns, reader, rows, types};
use crate::suite::{SNAPSHOT, options, sink};

fn snapshots(folder: &Path, json: &str) -> ParquetSink {
    sink(folder).with_options(options(json))
}

fn digits(epoch: u64) -> String {
    format!("{epoch:020}")
}

/// The files of the view's folder, with short epochs.
fn data(folder: &Path) -> Vec<String> {
    let names = tree(&folder.join("out/changes/v"));
    names.into_iter().map(|name| name.replace("0000000000000000", "").replace("part-00000", "part-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_laid_out_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = snapshots(folder.path(), r#"{"path": ".", "mode": "snapshot", "keep_snapshots": 2}"#);
    let mut view = keyed();
    sink.open(&[view.info().clone()]).await.unwrap();
    let latest = || fs::read_to_string(folder.path().join("out/changes/v/_latest")).unwrap();
    commit(&mut sink, &mut view, 1, "").await;
    assert_eq!(
        (data(folder.path()), latest()),
        (vec!["0001/part-000.parquet".into(), "_latest".into()], digits(1) + "\n")
    );
    assert_eq!(types(&reader(folder.path()), "FROM v"), ["k INTEGER", "v VARCHAR"]);
    commit(&mut sink, &mut view, 2, "(2, 'b'), (1, 'a')").await;
    commit(&mut sink, &mut view, 3, "(2, 'b'), (1, 'a')").await;
    assert_eq!(
        data(folder.path()),
        ["0001/part-000.parquet", "0002/part-000.parquet", "_latest"],
        "nothing has changed"
    );
    commit(&mut sink, &mut view, 4, "(2, 'b'), (1, 'a'), (0, 'c')").await;
    assert_eq!(data(folder.path()), ["0002/part-000.parquet", "0004/part-000.parquet", "_latest"]);
    assert_eq!(latest(), digits(4) + "\n");
    let read = |epoch| {
        let files = folder.path().join("out/changes/v").join(digits(epoch));
        texts(&format!("SELECT concat_ws(' ', k, v) AS t FROM '{}/*.parquet'", files.display()))
    };
    assert_eq!(read(2), ["1 a", "2 b"]);
    assert_eq!(read(4), ["0 c", "1 a", "2 b"], "rows are in order of the key");
    rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), "now");
    assert!(!folder.path().join("out/changes/v").join(digits(1)).exists());
    // Keys of the present are those of the manifest, also after a restart.
    let mut sink = snapshots(folder.path(), r#"{"path": ".", "mode": "snapshot", "keep_snapshots": 2}"#);
    let found = sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name].unwrap();
    assert_eq!((found.epoch, found.hash), (Epoch(4), header(4).hash));
    commit(&mut sink, &mut view, 5, "(1, 'z')").await;
    rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), "now");
}

fn inodes(folder: &Path, epoch: u64) -> BTreeSet<u64> {
    let files = fs::read_dir(folder.join("out/changes/v").join(digits(epoch))).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().ino()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_changes_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let json = r#"{"path": ".", "mode": "snapshot", "file_bytes": "100KB"}"#;
    let mut sink = snapshots(folder.path(), json);
    let mut view = keyed();
    let noise =
        |k: u64| format!("{:x}{:x}", k.wrapping_mul(0x9E37_79B9_7F4A_7C15), k.wrapping_mul(0xD1B5_4A32_D192_ED03));
    let values = |changed: u64| {
        let text = |k| if k == changed { "changed".to_owned() } else { noise(k) };
        (0..60_000).map(|k| format!("({k}, '{}')", text(k))).collect::<Vec<_>>().join(", ")
    };
    sink.open(&[view.info().clone()]).await.unwrap();
    commit(&mut sink, &mut view, 1, &values(u64::MAX)).await;
    let parts = inodes(folder.path(), 1).len();
    assert!(parts > 5, "{parts} files");
    let delta = view.change_to(&values(30_000));
    let views = vec![view.changes([(header(2), delta)])];
    let outcome = sink.commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap();
    let CommitOutcome::Committed { rows: written } = outcome else { panic!("{outcome:?}") };
    assert_eq!(inodes(folder.path(), 1).intersection(&inodes(folder.path(), 2)).count(), parts - 1);
    assert!(written < 60_000 / (parts as u64 - 2), "{written} rows written of 60000 in {parts} files");
    rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), "now");
    let mut zsets: Vec<ZSet> = sink.read(view.info()).await.unwrap().try_collect().await.unwrap();
    Multiset::of_zsets(&zsets).assert_equals(&view.multiset(), "as the sink reads it");
    zsets.clear();
    // Where only few rows are left, files do not stay small.
    commit(&mut sink, &mut view, 3, "(1, 'a'), (59999, 'z')").await;
    rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), "now");
    assert_eq!(inodes(folder.path(), 3).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_folders() {
    let folder = tempfile::tempdir().unwrap();
    let json = r#"{"path": ".", "mode": "snapshot", "partition_by": ["Region", "day"]}"#;
    let mut sink = snapshots(folder.path(), json);
    let columns = [("k", "INTEGER"), ("region", "VARCHAR"), ("day", "DATE"), ("v", "HUGEINT")];
    let mut view = ViewModel::new("v", &columns, RowIdentity::Key(vec![0]));
    sink.open(&[view.info().clone()]).await.unwrap();
    let values = "(1, 'EU', '2024-01-01', 1), (2, 'EU', NULL, 2), (3, 'a/b=%', '2024-01-02', NULL), (4, NULL, NULL, 4), \
                  (5, 'null', '0001-01-01', 5), (6, '', '2024-01-01', 6), (7, '__HIVE_DEFAULT_PARTITION__', NULL, 7), \
                  (8, 'EU', '2024-01-01', 8), (9, 'Ü [1]*?', '9999-12-31', 9)";
    commit(&mut sink, &mut view, 1, values).await;
    let mut folders: Vec<_> = tree(&folder.path().join("out/changes/v").join(digits(1)))
        .iter()
        .map(|n| n.rsplit_once('/').unwrap().0.to_owned())
        .collect();
    folders.sort();
    let nothing = "__HIVE_DEFAULT_PARTITION__";
    let expected = [
        format!("region=%5F_HIVE_DEFAULT_PARTITION__/day={nothing}"),
        "region=%6Eull/day=0001-01-01".to_owned(),
        "region=/day=2024-01-01".to_owned(),
        "region=EU/day=2024-01-01".to_owned(),
        format!("region=EU/day={nothing}"),
        format!("region={nothing}/day={nothing}"),
        "region=a%2Fb%3D%25/day=2024-01-02".to_owned(),
        "region=Ü %5B1%5D%2A%3F/day=9999-12-31".to_owned(),
    ];
    assert_eq!(folders, expected);
    let check = |view: &ViewModel| {
        let duck = reader(folder.path());
        assert_eq!(types(&duck, "FROM v"), ["k INTEGER", "region VARCHAR", "day DATE", "v HUGEINT"]);
        rows(&duck, "FROM v").assert_equals(&view.multiset(), "by DuckDB");
    };
    check(&view);
    // A row changes its partition; one partition ends, and one begins.
    commit(&mut sink, &mut view, 2, &values.replace("(8, 'EU'", "(8, 'US'").replace("(3, 'a/b=%'", "(3, 'EU'")).await;
    check(&view);
    let mut sink = snapshots(folder.path(), json);
    sink.open(&[view.info().clone()]).await.unwrap();
    commit(&mut sink, &mut view, 3, "(4, NULL, NULL, 4)").await;
    check(&view);
    commit(&mut sink, &mut view, 4, "").await;
    check(&view);
    let read: Vec<ZSet> = sink.read(view.info()).await.unwrap().try_collect().await.unwrap();
    Multiset::of_zsets(&read).assert_equals(&view.multiset(), "as the sink reads it");
    // Other partitions mean another layout: the whole content is asked for.
    let mut sink = snapshots(folder.path(), r#"{"path": ".", "mode": "snapshot", "partition_by": ["day"]}"#);
    assert_eq!(sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name], None);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_cannot_be_are_refused() {
    let columns = [("k", "INTEGER"), ("d", "DOUBLE"), ("a=b", "INTEGER"), ("day", "DATE")];
    let cases = [
        (r#"["nope"]"#, "partition_by names nope, which is none of its columns"),
        (r#"["d"]"#, "partition_by names d, of type DOUBLE"),
        (r#"["a=b"]"#, "it is no name for a folder"),
        (r#"["k", "k"]"#, "names k twice"),
        (r#"["day"]"#, "a value to partition by does not come back from a folder's name: cast the column"),
    ];
    for (columns_by, fact) in cases {
        let folder = tempfile::tempdir().unwrap();
        let json = format!(r#"{{"path": ".", "mode": "snapshot", "partition_by": {columns_by}}}"#);
        let mut view = ViewModel::new("v", &columns, RowIdentity::WholeRow);
        let mut sink = snapshots(folder.path(), &json);
        sink.open(&[view.info().clone()]).await.unwrap();
        let delta = view.change_to("(1, 2.0, 3, 'infinity')");
        let views = vec![view.changes([(header(1), delta)])];
        let error = sink.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().contains(fact), "{error}");
        assert!(!folder.path().join("out/changes/v/_latest").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_somebody_changed_stop_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = snapshots(folder.path(), SNAPSHOT);
    let mut view = keyed();
    sink.open(&[view.info().clone()]).await.unwrap();
    commit(&mut sink, &mut view, 1, "(1, 'a')").await;
    // The sink is told to remove a row that was never there.
    view.change_to("(1, 'other')");
    let delta = view.change_to("(2, 'b')");
    let views = vec![view.changes([(header(2), delta)])];
    let error = sink.commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("do not hold rows that the changes of view v remove"), "{error}");
    assert_eq!(fs::read_to_string(folder.path().join("out/changes/v/_latest")).unwrap(), digits(1) + "\n");
    // Files that are gone: the content is asked for anew.
    let file = folder.path().join("out/changes/v").join(digits(1)).join("part-00000000.parquet");
    fs::remove_file(file).unwrap();
    let mut sink = snapshots(folder.path(), SNAPSHOT);
    assert_eq!(sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name], None);
    let views = vec![view.replacement(header(2))];
    sink.commit(Commit { after: Epoch(0), header: header(2), views }).await.unwrap();
    rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), "now");
}

async fn run(seed: u64, keyed: bool, json: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::new("A \"View\" = 1/2", seed, keyed);
    let view = [history.view.info().clone()];
    let mut target = snapshots(folder.path(), json);
    target.open(&view).await.unwrap();
    for _ in 0..10 {
        let after = history.header().epoch;
        let views = vec![if history.below(9) == 0 { history.replace() } else { history.advance() }];
        let outcome = target.commit(Commit { after, header: history.header(), views }).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        if history.below(3) == 0 {
            target = snapshots(folder.path(), json);
            let found = target.open(&view).await.unwrap()[&view[0].name].map(|found| found.epoch);
            assert_eq!(found, Some(history.header().epoch));
        }
        let duck = reader(folder.path());
        let now = format!("FROM {}", quote_ident(view[0].name.as_str()));
        assert_eq!(types(&duck, &now), columns(&history));
        rows(&duck, &now).assert_equals(&history.view.multiset(), &format!("at epoch {}", history.header().epoch));
        let read: Vec<ZSet> = target.read(&view[0]).await.unwrap().try_collect().await.unwrap();
        Multiset::of_zsets(&read).assert_equals(&history.view.multiset(), "as the sink reads it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_of_snapshots() {
    let seed = seed::seed("random_histories_of_snapshots");
    // One row a file, and one part of the rows a folder.
    let tiny = r#"{"path": ".", "mode": "snapshot", "file_bytes": "1B", "keep_snapshots": 1}"#;
    let partitioned = r#"{"path": ".", "mode": "snapshot", "partition_by": ["epoch"]}"#;
    for sequence in 0..seed::sequences(2) {
        for keyed in [false, true] {
            for json in [tiny, partitioned] {
                run(seed.wrapping_add(sequence), keyed, json).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_may_stop_at_every_step() {
    let next = |view: &mut ViewModel| {
        let delta = view.change_to("(1, 'b'), (3, 'c')");
        Commit { after: Epoch(1), header: header(2), views: vec![view.changes([(header(2), delta)])] }
    };
    let first = async |folder: &Path| {
        let mut view = keyed();
        let mut sink = snapshots(folder, SNAPSHOT);
        sink.open(&[view.info().clone()]).await.unwrap();
        (sink, view.change_to("(1, 'a'), (2, 'b')"), view)
    };
    if let Some(folder) = part_of_another() {
        let (mut sink, _, mut view) = first(&folder).await;
        let _ = sink.commit(next(&mut view)).await;
        panic!("the failpoint was passed");
    }
    for (point, held) in [("sink.parquet.staged", 1), ("sink.parquet.published", 2)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut sink, delta, mut view) = first(folder.path()).await;
        let views = vec![view.changes([(header(1), delta)])];
        sink.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
        let before = view.multiset();
        let program = another("snapshot::a_snapshot_may_stop_at_every_step", folder.path());
        let ended = program.variable(failpoint::VARIABLE, point).run();
        assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
        assert_eq!(fs::read_to_string(folder.path().join("out/changes/v/_latest")).unwrap(), digits(1) + "\n");
        rows(&reader(folder.path()), "FROM v").assert_equals(&before, point);
        let mut sink = snapshots(folder.path(), SNAPSHOT);
        let found = sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name].unwrap();
        assert_eq!(found.epoch, Epoch(held), "{point}");
        let commit_again = next(&mut view);
        if held == 1 {
            sink.commit(commit_again).await.unwrap();
        } else {
            commit(&mut sink, &mut view, 3, "(1, 'b'), (3, 'd')").await;
        }
        rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), point);
        let latest = fs::read_to_string(folder.path().join("out/changes/v/_latest")).unwrap();
        let files = tree(&folder.path().join("out/changes/v").join(latest.trim()));
        assert!(!files.is_empty(), "{latest}");
        // What was left of the first attempt is gone.
        let folders: BTreeSet<_> =
            data(folder.path()).into_iter().filter_map(|n| Some(n.split_once('/')?.0.to_owned())).collect();
        assert_eq!(folders.len(), 2, "{folders:?}");
    }
}

/// Runs a program of Python with pyarrow and answers what it prints.
fn python(program: &str) -> String {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))).unwrap();
    let pyarrow = caches.join("tidegate/pyarrow-26.0.1");
    assert!(
        pyarrow.join("pyarrow/__init__.py").is_file(),
        "there is no {}: run 'cargo xtask setup'",
        pyarrow.display()
    );
    let mut command = Command::new("python3");
    command.args(["-c", program]).env("PYTHONPATH", pyarrow).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pyarrow_reads_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let columns = [
        ("k", "INTEGER"),
        ("region", "VARCHAR"),
        ("total", "DECIMAL(9,2)"),
        ("at", "TIMESTAMP"),
        ("tags", "VARCHAR[]"),
    ];
    let values = "(1, 'EU', 1.50, '2024-01-01 12:00:00', ['a', NULL]), (2, NULL, NULL, NULL, NULL), (3, 'a/b', -0.01, '1969-12-31', [])";
    for (json, folders, read) in [
        (r#"{"path": ".", "mode": "snapshot"}"#, 0, "pq.read_table(folder)"),
        (r#"{"path": ".", "mode": "snapshot", "partition_by": ["region"]}"#, 1, "pq.read_table(folder)"),
    ] {
        let folder = folder.path().join(folders.to_string());
        let mut view = ViewModel::new("v", &columns, RowIdentity::Key(vec![0]));
        let mut sink = snapshots(&folder, json);
        sink.open(&[view.info().clone()]).await.unwrap();
        commit(&mut sink, &mut view, 1, values).await;
        let printed = python(&format!(
            "import pyarrow.parquet as pq\nroot = '{}/v'\nfolder = root + '/' + open(root + '/_latest').read().strip()\n\
             for row in sorted({read}.to_pylist(), key=lambda row: row['k']):\n    \
             print(row['k'], row['region'], row['total'], row['at'], row['tags'])",
            folder.join("out/changes").display()
        ));
        let expected =
            "1 EU 1.50 2024-01-01 12:00:00 ['a', None]\n2 None None None None\n3 a/b -0.01 1969-12-31 00:00:00 []\n";
        assert_eq!(printed, expected, "{json}");
    }
    let deltas = folder.path().join("deltas");
    let mut view = keyed();
    let mut sink = sink(&deltas).with_options(options(r#"{"path": ".", "compaction_files": 2}"#));
    sink.open(&[view.info().clone()]).await.unwrap();
    commit(&mut sink, &mut view, 1, "(2, 'b'), (1, 'a')").await;
    commit(&mut sink, &mut view, 2, "(1, 'A')").await;
    sink.maintain().await.unwrap();
    let printed = python(&format!(
        "import pyarrow.parquet as pq\nfile = pq.ParquetFile('{}/v/{}-{}.parquet')\nfor row in file.read().to_pylist():\n    \
         print(row['k'], row['v'], row['_change_type'], row['_commit_version'])\n\
         print(file.metadata.metadata[b'tidegate.epoch'].decode(), file.metadata.row_group(0).column(0).statistics.max)",
        deltas.join("out/changes").display(),
        digits(1),
        digits(2)
    ));
    let expected = "1 a insert 1\n1 a update_preimage 2\n1 A update_postimage 2\n2 b insert 1\n2 b delete 2\n2 2\n";
    assert_eq!(printed, expected);
}
