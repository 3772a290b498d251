//! Another program that reads and writes Delta tables: delta-rs from Python.

use std::path::Path;
use std::process::Command;

use tidegate_testkit::multiset::Row;
use tidegate_testkit::{Multiset, Value};

use crate::random::cached;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/delta.py");

/// Runs a command of the script on a table; answers the JSON that it prints.
pub fn python(command: &str, table: &Path, argument: Option<&str>) -> serde_json::Value {
    let output = Command::new("python3")
        .arg(SCRIPT)
        .arg(command)
        .arg(table)
        .args(argument)
        .env("PYTHONPATH", cached("deltalake-1.6.6"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 can be started");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

/// Rows of columns `k` BIGINT and `v` VARCHAR as the script prints them, which also have the label and version of a
/// change.
pub struct Fed {
    pub row: Row,
    pub change: String,
    pub version: u64,
}

/// The change data feed from a version on.
pub fn feed(table: &Path, from: u64) -> Vec<Fed> {
    let found = python("feed", table, Some(&from.to_string()));
    let fed = |row: &serde_json::Value| Fed {
        row: pair(row),
        change: row["_change_type"].as_str().unwrap().to_owned(),
        version: row["_commit_version"].as_u64().unwrap(),
    };
    found.as_array().unwrap().iter().map(fed).collect()
}

/// All rows.
pub fn content(table: &Path) -> Multiset {
    let found = python("query", table, Some("SELECT k, v FROM t"));
    let mut rows = Multiset::new();
    found.as_array().unwrap().iter().for_each(|row| rows.add(pair(row), 1));
    rows
}

fn pair(row: &serde_json::Value) -> Row {
    let key = row["k"].as_i64().map_or(Value::Null, |key| Value::Integer(key.into()));
    let value = row["v"].as_str().map_or(Value::Null, |text| Value::Text(text.to_owned()));
    vec![key, value]
}
