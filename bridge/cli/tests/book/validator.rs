//! Another program's word on documents and the schema of the pipeline file: jsonschema from Python.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/schema.py");

/// What the schema has against each of these pipeline files.
pub fn faults(schema: &Value, files: &[String]) -> Vec<Vec<String>> {
    let documents: Vec<Value> = files.iter().map(|file| document(file)).collect();
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let place = caches.expect("XDG_CACHE_HOME or HOME is set").join("tidegate/jsonschema-4.26.0");
    assert!(place.is_dir(), "there is no {}: run 'cargo xtask setup'", place.display());
    let mut command = Command::new("python3");
    command.arg(SCRIPT).env("PYTHONPATH", place).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 can be started");
    let asked = json!({ "schema": schema, "documents": documents }).to_string();
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(asked.as_bytes()).expect("the script listens");
    drop(input);
    let output = child.wait_with_output().expect("an own child can be waited for");
    assert!(output.status.success(), "the script failed");
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

/// A pipeline file as JSON.
fn document(file: &str) -> Value {
    let table: toml::Table = file.parse().unwrap_or_else(|error| panic!("{error}: {file}"));
    serde_json::to_value(table).expect("tables are objects")
}
