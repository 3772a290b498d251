//! The tables of keys are what the readers know, take, refuse and do without; and the schema says the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::assembly::assemble_text;
use crate::file::fields;
use crate::file::schema::schema;
use validator::faults;

#[path = "../../../tests/book/validator.rs"]
mod validator;

/// A table of the pipeline file: its heading, what it needs beside a key, and its keys.
struct Place {
    heading: &'static str,
    needs: &'static str,
    keys: Vec<Key>,
}

/// A file to which every table can be added, and which has the view `v`.
const BASE: &str = "[pipeline]\nname = \"p\"\nstate_dir = \"s\"\n\n[sources.lake]\ntype = \"ducklake\"\ncatalog = \"ducklake:l\"\n\n\
                    [views.v]\nsql = \"SELECT 1 AS a\"\n\n[sinks.mart]\ntype = \"duckdb\"\npath = \"m\"\n";

/// Every table; those that the base has are in its place there.
fn places() -> Vec<Place> {
    let place = |heading, needs, keys: &[Key]| Place { heading, needs, keys: keys.to_vec() };
    let of = |types: Types, name: &str| {
        let found = types.iter().find(|(known, _)| *known == name);
        found.map(|(_, keys)| *keys).unwrap_or_else(|| panic!("{name} is a type"))
    };
    let sink = |heading, needs, name| {
        let keys = SINK.iter().chain(of(SINKS, name)).copied().collect();
        Place { heading, needs, keys }
    };
    vec![
        place("[pipeline]", "", PIPELINE),
        place("[sources.one]", "type = \"ducklake\"\ncatalog = \"ducklake:one\"", of(SOURCES, "ducklake")),
        place("[sources.two]", "type = \"postgres\"\nurl = \"postgres://u@h/d\"", of(SOURCES, "postgres")),
        place("[storage.\"s3://b\"]", "", STORAGE),
        place("[views.w]", "sql = \"SELECT 1 AS a\"", VIEW),
        place("[track.\"lake.t\"]", "key = [\"a\"]", TRACK),
        place("[openlineage]", "path = \"l\"", OPENLINEAGE),
        sink("[sinks.a]", "type = \"parquet\"\npath = \"a\"", "parquet"),
        sink("[sinks.b]", "type = \"duckdb\"\npath = \"b\"", "duckdb"),
        sink("[sinks.c]", "type = \"delta\"\npath = \"c\"", "delta"),
        sink("[sinks.d]", "type = \"ducklake\"\ncatalog = \"ducklake:d\"", "ducklake"),
        place("[sinks.e.tables.v]", "", sinks::TABLE),
        place("[sinks.e.maintenance]", "", sinks::MAINTENANCE),
        sink("[sinks.f]", "type = \"postgres\"\nurl = \"postgres://u@h/d\"", "postgres"),
        sink("[sinks.g]", "type = \"jsonl\"\npath = \"g\"", "jsonl"),
    ]
}

/// What some keys need beside them, or take the place of.
fn companion(place: &Place, key: &str) -> &'static str {
    match (place.heading, key) {
        (_, "access_key_id") => "secret_access_key = \"x\"",
        (_, "secret_access_key") => "access_key_id = \"x\"",
        (_, "history_retention") => "temporal = true",
        (_, "commit_timezone") => "commit_schedule = \"@daily\"",
        ("[sinks.a]", "keep_snapshots" | "partition_by" | "file_bytes") => "mode = \"snapshot\"",
        ("[openlineage]", "api_key") => "url = \"http://h\"",
        _ => "",
    }
}

/// What does not go together with a key.
fn is_in_the_way(place: &Place, key: &str, line: &str) -> bool {
    let name = line.split(' ').next().unwrap_or_default();
    name == key
        || matches!((place.heading, key, name), ("[openlineage]", "url" | "api_key", "path") | (_, "sql_file", "sql"))
}

/// The file with a line in a table.
fn with(place: &Place, key: &str, line: &str) -> String {
    let needs: Vec<&str> = place.needs.lines().filter(|line| !is_in_the_way(place, key, line)).collect();
    let lines = format!("{}\n{line}\n{}\n", needs.join("\n"), companion(place, key));
    if place.heading == "[pipeline]" {
        let base: Vec<&str> = BASE.lines().filter(|line| !line.starts_with(&format!("{key} = "))).collect();
        return base.join("\n").replacen("[pipeline]", &format!("[pipeline]\n{lines}"), 1);
    }
    let parent = match place.heading.starts_with("[sinks.e.") {
        true => "[sinks.e]\ntype = \"ducklake\"\ncatalog = \"ducklake:e\"\n\n",
        false => "",
    };
    format!("{BASE}\n{parent}{}\n{lines}", place.heading)
}

/// What the key may be, and what it may not.
fn samples(key: &Key) -> (String, Vec<&'static str>) {
    let quoted = |text: &str| format!("\"{text}\"");
    let one_of = |words: &[&str]| quoted(words[words.len() - 1]);
    let good = match (key.name, key.kind) {
        ("log", _) => quoted("log"),
        ("endpoint" | "url", Kind::Text) if key.meaning.contains("postgres") => quoted("postgres://u@h/d"),
        ("endpoint" | "url", _) => quoted("http://h"),
        ("catalog", _) => quoted("ducklake:x"),
        ("commit_schedule", _) => quoted("@daily"),
        ("commit_timezone", _) => quoted("Europe/Berlin"),
        ("numeric", _) => quoted("double"),
        ("views", _) => "[\"v\"]".to_owned(),
        ("sql", _) => quoted("SELECT 2 AS a"),
        ("sql_file", _) => quoted("w.sql"),
        ("views_dir", _) => quoted("views"),
        ("branch_of", _) => quoted("original.toml"),
        // What is less than another key's default is refused for that.
        ("slot_lag_critical", _) => quoted("20GiB"),
        (_, Kind::Text) => quoted("x"),
        (_, Kind::Duration) => quoted("2h"),
        (_, Kind::Size) => quoted("2MiB"),
        (_, Kind::Boolean) => "true".to_owned(),
        (_, Kind::Integer(least, _)) => least.to_string(),
        (_, Kind::Texts) => "[\"a\"]".to_owned(),
        (_, Kind::Choice(words)) => one_of(words),
        (_, Kind::Options) => "{ meta_busy_timeout = 1, encrypted = true }".to_owned(),
        (_, Kind::Table(_)) => "{}".to_owned(),
        (_, Kind::Tables(_)) => "{ v = {} }".to_owned(),
    };
    let bad: &[&str] = match key.kind {
        Kind::Text | Kind::Texts => &["1", "true"],
        Kind::Duration => &["\"soon\"", "5", "\"5 GiB\""],
        Kind::Size => &["\"big\"", "5", "\"5s\""],
        Kind::Boolean => &["\"yes\"", "1"],
        Kind::Integer(..) => &["\"many\"", "-1", "1.5"],
        Kind::Choice(_) => &["\"nonsense\"", "1"],
        Kind::Options | Kind::Table(_) | Kind::Tables(_) => &["\"x\"", "1"],
    };
    (good, bad.to_vec())
}

/// A folder with the files that keys name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("views")).unwrap();
    for file in ["w.sql", "views/u.sql"] {
        fs::write(folder.path().join(file), "SELECT 1 AS a").unwrap();
    }
    fs::write(folder.path().join("original.toml"), BASE).unwrap();
    folder
}

/// Whether the program reads it: what it says against it.
fn read(folder: &Path, text: &str) -> Vec<String> {
    match assemble_text(&folder.join("p.toml"), text.to_owned()) {
        Ok(_) => Vec::new(),
        Err(failure) => failure.messages().to_vec(),
    }
}

#[test]
fn readers_and_schema_take_and_refuse_the_same() {
    let folder = folder();
    let (mut good, mut bad, mut beyond) = (vec![BASE.to_owned()], Vec::new(), Vec::new());
    for place in places() {
        for key in &place.keys {
            let (sample, wrong) = samples(key);
            let mut whole = with(&place, key.name, &format!("{} = {sample}", key.name));
            if key.name == "branch_of" {
                // A branch has the sources of its original.
                whole = whole.replace("[sources.lake]\ntype = \"ducklake\"\ncatalog = \"ducklake:l\"\n", "");
            }
            good.push(whole);
            if let Kind::Integer(1.., _) = key.kind {
                beyond.push(with(&place, key.name, &format!("{} = 0", key.name)));
            }
            bad.extend(wrong.iter().map(|wrong| with(&place, key.name, &format!("{} = {wrong}", key.name))));
        }
        bad.push(with(&place, "", "no_such_key = 1"));
        for key in place.keys.iter().filter(|key| matches!(key.without, Without::Required)) {
            bad.push(with(&place, key.name, ""));
        }
    }
    let told = |files: &[String]| files.iter().map(|file| read(folder.path(), file)).collect::<Vec<_>>();
    for (faults, who) in [(told(&good), "reader"), (faults(&schema(), &good), "schema")] {
        for (file, faults) in good.iter().zip(faults) {
            assert!(faults.is_empty(), "the {who} refuses this: {faults:?}\n{file}");
        }
    }
    for (faults, who) in [(told(&bad), "reader"), (faults(&schema(), &bad), "schema")] {
        for (file, faults) in bad.iter().zip(faults) {
            assert!(!faults.is_empty(), "the {who} takes this:\n{file}");
        }
    }
    // Some sinks look at what is too small when they are opened.
    assert!(faults(&schema(), &beyond).iter().all(|faults| !faults.is_empty()), "the schema takes one of {beyond:#?}");
    println!("{} good files, {} bad ones", good.len(), bad.len());
}

#[test]
fn connectors_know_these_keys() {
    let names = |keys: &[Key]| keys.iter().map(|key| key.name).collect::<Vec<_>>();
    let of = |types: Types, name: &str| {
        let found = types.iter().find(|(known, _)| *known == name);
        found.map(|(_, keys)| names(keys)).unwrap_or_default()
    };
    assert_eq!(of(SOURCES, "ducklake"), fields::of::<tidegate_source_ducklake::Config>());
    assert_eq!(of(SOURCES, "postgres"), fields::of::<tidegate_source_postgres::Config>());
    assert_eq!(of(SINKS, "parquet"), fields::of::<tidegate_sink_parquet::ParquetConfig>());
    assert_eq!(of(SINKS, "duckdb"), fields::of::<tidegate_sink_duckdb::DuckdbConfig>());
    assert_eq!(of(SINKS, "delta"), fields::of::<tidegate_sink_delta::DeltaConfig>());
    assert_eq!(of(SINKS, "ducklake"), fields::of::<tidegate_sink_ducklake::DucklakeConfig>());
    assert_eq!(of(SINKS, "postgres"), fields::of::<tidegate_sink_postgres::PostgresConfig>());
    assert_eq!(of(SINKS, "jsonl"), fields::of::<tidegate_sink_jsonl::JsonlConfig>());
    let registered = |types: Types| types.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let built = crate::registry::SOURCES.built.iter().map(|(name, _)| *name);
    assert_eq!(registered(SOURCES), built.collect::<Vec<_>>());
    let built = crate::registry::SINKS.built.iter().map(|(name, _)| *name);
    assert_eq!(registered(SINKS), built.collect::<Vec<_>>());
}

/// What the readers of the tables without a `type` ask for, as their text has it.
#[test]
fn the_other_tables_have_these_keys() {
    let mut asked = BTreeSet::new();
    for text in [
        include_str!("../mod.rs"),
        include_str!("../commits.rs"),
        include_str!("../openlineage.rs"),
        include_str!("../past.rs"),
        include_str!("../storage.rs"),
        include_str!("../track.rs"),
        include_str!("../views.rs"),
    ] {
        for call in ["text", "texts", "duration", "size", "boolean", "integer"] {
            let call = format!("{call}(\"");
            let calls = text.split(&call).skip(1).filter_map(|rest| rest.split('"').next());
            asked.extend(calls.map(str::to_owned));
        }
    }
    let tables = [PIPELINE, STORAGE, VIEW, TRACK, OPENLINEAGE, SINK];
    let listed: BTreeSet<String> = tables.into_iter().flatten().map(|key| key.name.to_owned()).collect();
    asked.remove("type");
    assert_eq!(asked, listed);
}

/// The pages of the book that are read before the reference.
#[test]
fn every_key_is_explained_in_the_book() {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let page = |name: &str| fs::read_to_string(book.join(name)).unwrap();
    let of_file = page("pipeline-file.md");
    let explains =
        |page: &str, key: &Key| page.contains(&format!("`{}`", key.name)) || page.contains(&format!(".{}`", key.name));
    for (_, keys) in SOURCES {
        keys.iter().for_each(|key| assert!(explains(&of_file, key), "{}", key.name));
    }
    for key in [PIPELINE, STORAGE, VIEW, TRACK, OPENLINEAGE, SINK].into_iter().flatten() {
        assert!(explains(&of_file, key), "{}", key.name);
    }
    for (name, keys) in SINKS {
        let of_sink = page(&format!("sinks/{name}.md"));
        for key in *keys {
            let inner = match key.kind {
                Kind::Table(inner) | Kind::Tables(inner) => inner,
                _ => std::slice::from_ref(key),
            };
            inner.iter().for_each(|key| assert!(explains(&of_sink, key), "{name}: {}", key.name));
        }
    }
}

/// Of what is the same with and without its default, nobody can tell whether it is there.
#[test]
fn defaults_are_those_of_the_program() {
    let folder = folder();
    let pipeline = |line: &str| {
        let text = with(&places()[0], "", line);
        let made = assemble_text(&folder.path().join("p.toml"), text).unwrap_or_else(|failure| panic!("{failure:?}"));
        format!("{:?} {:?}", made.config, made.stop_timeout)
    };
    for key in PIPELINE {
        if let Without::Default(value) = key.without {
            let value = if matches!(key.kind, Kind::Integer(..)) { value.to_owned() } else { format!("\"{value}\"") };
            assert_eq!(pipeline(""), pipeline(&format!("{} = {value}", key.name)), "{}", key.name);
        }
    }
    fn same<C: serde::de::DeserializeOwned>(keys: &[Key], needs: &str, shown: impl Fn(C) -> String) {
        let read = |line: &str| shown(toml::from_str(&format!("{needs}\n{line}\n")).unwrap());
        for key in keys {
            if let Without::Default(value) = key.without {
                let bare = matches!(key.kind, Kind::Integer(..) | Kind::Boolean);
                let value = if bare { value.to_owned() } else { format!("\"{value}\"") };
                assert_eq!(read(""), read(&format!("{} = {value}", key.name)), "{}", key.name);
            }
        }
    }
    let keys = |types: Types, name: &str| {
        types.iter().find(|(known, _)| *known == name).map(|(_, keys)| keys.to_vec()).unwrap_or_default()
    };
    let (lake, url, path) = ("catalog = \"ducklake:x\"", "url = \"postgres://u@h/d\"", "path = \"x\"");
    same(&keys(SOURCES, "ducklake"), lake, |config: tidegate_source_ducklake::Config| format!("{config:?}"));
    same(&keys(SOURCES, "postgres"), url, |config: tidegate_source_postgres::Config| format!("{config:?}"));
    same(&keys(SINKS, "parquet"), path, |config: tidegate_sink_parquet::ParquetConfig| {
        format!("{:?}", config.options())
    });
    same(&keys(SINKS, "duckdb"), path, |config: tidegate_sink_duckdb::DuckdbConfig| format!("{config:?}"));
    same(&keys(SINKS, "delta"), path, |config: tidegate_sink_delta::DeltaConfig| format!("{config:?}"));
    same(&keys(SINKS, "ducklake"), lake, |config: tidegate_sink_ducklake::DucklakeConfig| format!("{config:?}"));
    let nested = format!("{lake}\n[maintenance]");
    same(sinks::MAINTENANCE, &nested, |config: tidegate_sink_ducklake::DucklakeConfig| format!("{config:?}"));
    same(&keys(SINKS, "postgres"), url, |config: tidegate_sink_postgres::PostgresConfig| format!("{config:?}"));
}
