//! Paths and views that cannot be what they should be.

use std::fs;
use std::path::Path;

use tidegate_core::{Commit, ConnectorError, Epoch, ErrorKind, RowIdentity, Sink};
use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink, Publish};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::suite::clock;

async fn first_commit(path: &Path, mut view: ViewModel) -> Result<(), ConnectorError> {
    let mut sink = DuckdbSink::new("mart", DuckdbConfig::new(path), clock());
    sink.open(&[view.info().clone()]).await?;
    let delta = view.change_to("(1)");
    let views = vec![view.changes([(header(1), delta)])];
    sink.commit(Commit { after: Epoch(0), header: header(1), views }).await.map(|_| ())
}

fn one(name: &str, column: &str) -> ViewModel {
    ViewModel::new(name, &[(column, "INTEGER")], RowIdentity::WholeRow)
}

/// The file as a later DuckDB would write it: the storage version is in the second word of the
/// header, whose checksum, in the first, is the XOR of all other words times a constant.
fn newer(file: &[u8]) -> Vec<u8> {
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let product = |word: u64| word.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mut newer = file.to_vec();
    newer[12] = 200;
    let changed = u64::from_le_bytes(newer[8..16].try_into().unwrap());
    newer[..8].copy_from_slice(&(word(0) ^ product(word(8)) ^ product(changed)).to_le_bytes());
    newer
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_paths_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("text"), "not a database, but long enough to look like one ".repeat(500)).unwrap();
    fs::write(path("empty"), "").unwrap();
    first_commit(&path("real"), one("v", "k")).await.unwrap();
    let real = fs::read(path("real")).unwrap();
    fs::write(path("newer"), newer(&real)).unwrap();
    let mut torn = real;
    torn[100] ^= 1;
    fs::write(path("torn"), torn).unwrap();
    let cases = [
        ("folder", "folder cannot be opened as a database: it is a folder"),
        ("text", "text is not a DuckDB database: give the sink another path"),
        ("empty", "empty is not a DuckDB database"),
        ("newer", "newer was written by a newer DuckDB than 1.5.5"),
        ("torn", "torn is damaged"),
        ("text/below/mart", "text/below cannot be created: Not a directory"),
    ];
    for (name, fact) in cases {
        let error = first_commit(&path(name), one("v", "k")).await.unwrap_err();
        let kind = if name == "torn" { ErrorKind::Stop } else { ErrorKind::Reconfigure };
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().starts_with("sink mart: ") && error.to_string().contains(fact), "{name}: {error}");
    }
    assert_eq!(fs::read_to_string(path("empty")).unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_folders_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/mart.duckdb");
    first_commit(&path, one("v", "k")).await.unwrap();
    let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["mart.duckdb"], "nothing else stays behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_do_not_fit_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mart.duckdb");
    let cases = [
        (one("_Tidegate_epochs", "k"), "the name is taken by the table of epochs"),
        (one("v", "RowID"), "its column rowid hides DuckDB's row id"),
    ];
    for (view, fact) in cases {
        let error = first_commit(&path, view).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains(fact), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn unknown_keys_are_refused() {
    let parse = |json: &str| serde_json::from_str::<DuckdbConfig>(json);
    assert_eq!(parse(r#"{"path": "./m.duckdb"}"#).unwrap().path, Path::new("./m.duckdb"));
    assert_eq!(parse(r#"{"path": "./m.duckdb"}"#).unwrap().publish, Publish::InPlace);
    let copies = parse(r#"{"path": "./m.duckdb", "publish": "atomic-copy"}"#).unwrap();
    assert_eq!(copies, DuckdbConfig::new("./m.duckdb").publish(Publish::AtomicCopy));
    let error = parse(r#"{"path": "./m.duckdb", "publish": "copy"}"#).unwrap_err().to_string();
    assert!(error.contains("unknown variant `copy`, expected `in-place` or `atomic-copy`"), "{error}");
    assert!(parse(r#"{"path": "./m.duckdb", "pth": 1}"#).unwrap_err().to_string().contains("unknown field `pth`"));
}
