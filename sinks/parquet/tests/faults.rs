//! Paths and views that cannot be what they should be.

use std::fs;
use std::path::Path;

use tidegate_core::{Commit, ConnectorError, Epoch, ErrorKind, RowIdentity, Sink};
use tidegate_sink_parquet::{Location, ParquetConfig, ParquetSink};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::files::tree;
use crate::suite::options;

async fn first_commit(path: &Path, view: &ViewModel) -> Result<(), ConnectorError> {
    let mut sink = ParquetSink::new("changes", Location::Folder(path.to_owned()));
    sink.open(&[view.info().clone()]).await?;
    let views = vec![view.replacement(header(1))];
    sink.commit(Commit { after: Epoch(0), header: header(1), views }).await.map(|_| ())
}

fn one(column: &str) -> ViewModel {
    ViewModel::new("v", &[(column, "INTEGER")], RowIdentity::WholeRow)
}

async fn refused(path: &Path, view: &ViewModel, kind: ErrorKind, fact: &str) {
    let before = tree(path);
    let error = first_commit(path, view).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().starts_with("sink changes: ") && error.to_string().contains(fact), "{error}");
    assert_eq!(tree(path), before, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_paths_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let mut sink = ParquetSink::new("changes", Location::Folder(file.clone()));
    let error = sink.open(&[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    let fact = "file cannot be used as a folder: it is a file: give the sink the path of a folder";
    assert!(error.to_string().ends_with(fact), "{error}");
    let error = first_commit(&file.join("below"), &one("k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_others_are_left_alone() {
    for name in ["part-0.parquet", "00000000000000000001.parquet"] {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("v").join(name);
        fs::create_dir(folder.path().join("v")).unwrap();
        let copy = format!("COPY (SELECT 1 AS k) TO '{}' (FORMAT parquet)", theirs.display());
        tidegate_duck::Duck::open_in_memory().unwrap().execute(&copy).unwrap();
        refused(folder.path(), &one("k"), ErrorKind::Reconfigure, "was not written by Tidegate").await;
        // What no reader takes for ours does not matter.
        fs::rename(&theirs, folder.path().join("v/notes.txt")).unwrap();
        first_commit(folder.path(), &one("k")).await.unwrap();
        assert!(folder.path().join("v/notes.txt").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_the_sink_adds_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let fact = "its column _Commit_Version is one that the sink adds: rename the column";
    refused(folder.path(), &one("_Commit_Version"), ErrorKind::Reconfigure, fact).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_are_not_ours_are_named() {
    let cases = [
        (
            "{\"format\": 7, \"views\": []}",
            ErrorKind::Reconfigure,
            "manifest.json has format 7, this version knows up to 1",
        ),
        ("{\"format\": 1", ErrorKind::Stop, "manifest.json is damaged"),
    ];
    for (text, kind, fact) in cases {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("_tidegate")).unwrap();
        fs::write(folder.path().join("_tidegate/manifest.json"), text).unwrap();
        refused(folder.path(), &one("k"), kind, fact).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_with_other_columns_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    first_commit(folder.path(), &one("k")).await.unwrap();
    let mut sink = ParquetSink::new("changes", Location::Folder(folder.path().to_owned()));
    let mut view = one("other");
    let delta = view.change_to("(1)");
    let views = vec![view.changes([(header(2), delta)])];
    let error = sink.commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("have other columns than the view"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_modes_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let options = |mode: &str| options(&format!("{{\"path\": \".\", \"mode\": \"{mode}\"}}"));
    for (first, second) in [("deltas", "snapshot"), ("snapshot", "deltas")] {
        let path = folder.path().join(first);
        let sink = |mode: &str| ParquetSink::new("changes", Location::Folder(path.clone())).with_options(options(mode));
        let view = one("k");
        let mut written = sink(first);
        written.open(&[view.info().clone()]).await.unwrap();
        let views = vec![view.replacement(header(1))];
        written.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
        let error = sink(second).open(&[view.info().clone()]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains("holds what a sink of another mode wrote"), "{error}");
    }
}

#[test]
fn unknown_keys_are_refused() {
    let parse = |json: &str| serde_json::from_str::<ParquetConfig>(json);
    assert_eq!(parse(r#"{"path": "s3://bucket/x"}"#).unwrap().path, "s3://bucket/x");
    assert!(parse(r#"{"path": ".", "codec": "zstd"}"#).unwrap_err().to_string().contains("unknown field"));
}
