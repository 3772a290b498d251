//! What a pipeline has written, read with DuckDB alone, in a form that can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tidegate_duck::{Access, Duck, Options, quote_ident, quote_literal};
use tidegate_testkit::{Multiset, Tolerance, Value, ViewRows};

use crate::pipeline::PipelineFolder;

/// Both sinks of a pipeline.
#[derive(Debug)]
pub struct Outputs {
    /// Each view's table in the mart.
    pub mart: BTreeMap<String, ViewRows>,
    /// `_tidegate_epochs` without the wall time.
    pub mart_epochs: Multiset,
    /// The rows of each view's delta files, with the files' names.
    pub changes: BTreeMap<String, ViewRows>,
    /// Frontier and hash of each delta file.
    pub marks: BTreeMap<String, Multiset>,
    /// What the Parquet sink says it has committed.
    pub manifest: serde_json::Value,
}

impl Outputs {
    /// Reads what is there.
    pub fn read(pipeline: &PipelineFolder) -> Self {
        Self::read_from(pipeline, None)
    }

    /// The same where the mart lies elsewhere.
    pub fn read_from(pipeline: &PipelineFolder, mart: Option<&Path>) -> Self {
        let (mart, mart_epochs) = read_mart(mart.unwrap_or(&pipeline.mart()));
        let (changes, manifest) = Self::read_changes(pipeline);
        let duck = Duck::open_in_memory().unwrap();
        let marks = changes.keys().map(|view| {
            let files = quote_literal(&format!("{}/*.parquet", pipeline.changes().join(view).display()));
            let kept = format!(
                "SELECT parse_filename(file_name), decode(key), decode(value) FROM parquet_kv_metadata({files}) \
                 WHERE decode(key) IN ('tidegate.frontier', 'tidegate.hash')"
            );
            (view.clone(), read(&duck, &kept).rows)
        });
        let marks = marks.collect();
        Outputs { mart, mart_epochs, changes, marks, manifest }
    }

    /// The rows of the delta files by view, and what the sink says it has committed.
    pub fn read_changes(pipeline: &PipelineFolder) -> (BTreeMap<String, ViewRows>, serde_json::Value) {
        let duck = Duck::open_in_memory().unwrap();
        let mut changes = BTreeMap::new();
        for view in folders(&pipeline.changes()) {
            let files = quote_literal(&format!("{}/*.parquet", pipeline.changes().join(&view).display()));
            let rows = format!(
                "SELECT * EXCLUDE (filename), parse_filename(filename) AS filename \
                 FROM read_parquet({files}, filename = true, union_by_name = true)"
            );
            changes.insert(view, read(&duck, &rows));
        }
        let manifest = fs::read(pipeline.changes().join("_tidegate/manifest.json"));
        let manifest = manifest.map_or(serde_json::Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
        (changes, manifest)
    }

    /// Fails the test unless both pipelines have written the same: rows, epochs, hashes.
    #[track_caller]
    pub fn assert_equals(&self, expected: &Outputs, what: &str) {
        same_keys(&self.mart, &expected.mart, what);
        for (view, rows) in &self.mart {
            rows.assert_equals(&expected.mart[view], &Tolerance::exact(), &format!("{what}: {view} in the mart"));
        }
        // A commit may hold several epochs, and how many depends on when it was made; but what the
        // mart stands at is the same, and no epoch is of another history.
        let (found, wanted) = (by_epoch(&self.mart_epochs), by_epoch(&expected.mart_epochs));
        for ((view, epoch), mark) in &found {
            let same = wanted.get(&(view.clone(), epoch.clone())).is_none_or(|known| known == mark);
            assert!(same, "{what}: epoch {epoch} of {view} in the mart has another hash or frontier");
        }
        assert_eq!(last_epochs(&found), last_epochs(&wanted), "{what}: the last epochs in the mart");
        same_keys(&self.changes, &expected.changes, what);
        for (view, rows) in &self.changes {
            rows.assert_equals(&expected.changes[view], &Tolerance::exact(), &format!("{what}: deltas of {view}"));
            self.marks[view].assert_equals(&expected.marks[view], &format!("{what}: hashes of {view}"));
        }
        assert_eq!(self.manifest, expected.manifest, "{what}: the manifest of the deltas");
    }

    /// Fails the test unless the mart and the sum of the deltas both hold the views as recomputed.
    #[track_caller]
    pub fn assert_holds(&self, pipeline: &PipelineFolder, views: &[String], expected: &[ViewRows], what: &str) {
        let duck = Duck::open_in_memory().unwrap();
        for (view, expected) in views.iter().zip(expected) {
            let found = self.mart.get(view).unwrap_or_else(|| panic!("{what}: the mart has no table {view}"));
            found.assert_equals(expected, &Tolerance::exact(), &format!("{what}: {view} in the mart"));
            sum_of_deltas(&duck, pipeline, view)
                .assert_equals(&expected.rows, &format!("{what}: the sum of the deltas of {view}"));
        }
    }
}

/// `_tidegate_epochs` by view and epoch.
fn by_epoch(epochs: &Multiset) -> BTreeMap<(Value, Value), Vec<Value>> {
    let entry = |row: &Vec<Value>| ((row[0].clone(), row[1].clone()), row[2..].to_vec());
    epochs.iter().map(|(row, copies)| (copies == 1).then(|| entry(row)).expect("an epoch is recorded once")).collect()
}

/// The last epoch of each view.
fn last_epochs(epochs: &BTreeMap<(Value, Value), Vec<Value>>) -> BTreeMap<Value, (Value, Vec<Value>)> {
    epochs.iter().map(|((view, epoch), mark)| (view.clone(), (epoch.clone(), mark.clone()))).collect()
}

#[track_caller]
fn same_keys<V>(found: &BTreeMap<String, V>, expected: &BTreeMap<String, V>, what: &str) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}: views");
}

/// A view as the `views.sql` beside the deltas makes it.
pub fn sum_of_deltas(duck: &Duck, pipeline: &PipelineFolder, view: &str) -> Multiset {
    let definitions = fs::read_to_string(pipeline.changes().join("views.sql")).unwrap();
    duck.execute(&definitions).unwrap_or_else(|error| panic!("views.sql: {error}"));
    read(duck, &format!("FROM {}", quote_ident(view))).rows
}

fn read_mart(file: &Path) -> (BTreeMap<String, ViewRows>, Multiset) {
    if !file.exists() {
        return (BTreeMap::new(), Multiset::new());
    }
    let duck = Duck::open(file, &Options { access: Access::ReadOnly, ..Options::default() }).unwrap();
    let names = read(&duck, "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND schema_name = 'main'");
    let mut tables = BTreeMap::new();
    for (name, _) in names.rows.iter() {
        let Value::Text(name) = &name[0] else { panic!("a table's name is text") };
        if !name.starts_with("_tidegate") {
            tables.insert(name.clone(), read(&duck, &format!("FROM {}", quote_ident(name))));
        }
    }
    let epochs = read(&duck, "SELECT view, epoch, hash, frontier FROM _tidegate_epochs");
    (tables, epochs.rows)
}

fn folders(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let holds_deltas = |path: &Path| {
        path.is_dir()
            && fs::read_dir(path).unwrap().any(|file| file.unwrap().path().extension().is_some_and(|e| e == "parquet"))
    };
    let mut folders: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| holds_deltas(path))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    folders
}

fn read(duck: &Duck, query: &str) -> ViewRows {
    ViewRows::read(duck, query).unwrap_or_else(|error| panic!("{query}: {error}"))
}
