//! The suite for sources.

use std::fs;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{ErrorKind, Polled, Position, SnapshotId, Source, TableName, chain};
use tidegate_example_connectors::numbered_files::NumberedFiles;
use tidegate_testkit::conformance::{self, SourceFixture};

// ANCHOR: fixture
/// A folder, and the hand that writes files into it.
struct Folder {
    path: PathBuf,
    files: u64,
    /// The rows that are there, as the lines have them.
    rows: Vec<String>,
    rng: StdRng,
}

impl Folder {
    fn new(path: &Path, seed: u64) -> Self {
        let tables = r#"{"orders": [["id", "INTEGER"], ["no te\"s", "VARCHAR"]], "days": [["day", "DATE"]], "unwanted": [["n", "INTEGER"]]}"#;
        fs::write(path.join("tables.json"), tables).unwrap();
        Folder { path: path.to_owned(), files: 0, rows: Vec::new(), rng: StdRng::seed_from_u64(seed) }
    }

    fn commit(&mut self, lines: &[String]) {
        self.files += 1;
        let (fresh, file) = (self.path.join("fresh"), self.path.join(format!("{:08}.jsonl", self.files)));
        fs::write(&fresh, lines.join("\n") + "\n").unwrap();
        fs::rename(fresh, file).unwrap();
    }
}

fn line(table_and_row: &str, copies: i64) -> String {
    format!("{{\"copies\": {copies}, {table_and_row}}}")
}

impl SourceFixture for Folder {
    fn connect(&self) -> Box<dyn Source> {
        Box::new(NumberedFiles::new("files", &self.path))
    }

    fn wanted(&self) -> Vec<TableName> {
        ["orders", "days"].map(|table| TableName::new("files", "main", table)).into()
    }

    fn change(&mut self) {
        let mut lines = Vec::new();
        for _ in 0..self.rng.random_range(0..6) {
            if self.rng.random_range(0..3) == 0 && !self.rows.is_empty() {
                let row = self.rows.swap_remove(self.rng.random_range(0..self.rows.len()));
                lines.push(line(&row, -1));
                continue;
            }
            let n = self.rng.random_range(1..9);
            let row = match n % 3 {
                0 => format!(r#""table": "days", "row": {{"day": "2026-03-0{n}"}}"#),
                1 => format!(r#""table": "orders", "row": {{"id": {n}, "no te\"s": "it's {n}"}}"#),
                _ => r#""table": "orders", "row": {"id": null, "no te\"s": ""}"#.to_owned(),
            };
            lines.push(line(&row, 1));
            self.rows.push(row);
        }
        self.commit(&lines);
    }

    fn progress(&mut self) {
        self.commit(&[line(r#""table": "unwanted", "row": {"n": 1}"#, 1)]);
    }
}

#[test]
fn the_source_conforms() {
    conformance::source(Folder::new);
}
// ANCHOR_END: fixture

/// A line that does not fit stops the pipeline, which says where it is and keeps to itself what is in it.
#[tokio::test]
async fn a_line_that_does_not_fit_is_told_without_its_values() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Folder::new(folder.path(), 0);
    let mut source = files.connect();
    let tables = source.tables(&files.wanted(), None).await.unwrap();
    files.commit(&[line(r#""table": "orders", "row": {"id": 1, "no te\"s": null}"#, 1)]);
    files.commit(&[line(r#""table": "orders", "row": {"id": "secret"}"#, 1)]);
    files.commit(&["{ secret".to_owned()]);
    let at = |number| Position::SnapshotId(SnapshotId(number));
    let polled = source.poll(&tables, &at(0), Some(&at(1)), u64::MAX).await.unwrap();
    assert!(matches!(polled, Polled::Changes { to, .. } if to == at(1)));
    for (bad, name) in [(2, "00000002.jsonl"), (3, "00000003.jsonl")] {
        let polled =
            source.poll(&tables, &at(bad - 1), Some(&at(bad)), u64::MAX).await.err().expect("the line does not fit");
        let loaded = source.snapshot(&tables, Some(&at(bad))).await.unwrap();
        let loaded = loaded.events.try_collect::<Vec<_>>().await.expect_err("a snapshot reads it, too");
        assert!(chain(&polled).contains(name), "{}", chain(&polled));
        for error in [polled, loaded] {
            assert_eq!(error.kind(), ErrorKind::Stop);
            assert!(!chain(&error).contains("secret"), "{}", chain(&error));
        }
    }
    let missing = source.tables(&[TableName::new("files", "main", "nowhere")], None).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Reconfigure);
}
