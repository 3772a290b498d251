//! What the pipeline file may say, and what is answered when it says something else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tidegate_runtime::Commits;

use super::{PipelineFile, parse};

const GOOD: &str = r#"
[pipeline]
name = "shop"
state_dir = "./state"
workers = 2
memory_limit = "4GiB"
epoch_interval = "200ms"

[sources.lake]
type = "ducklake"
catalog = "ducklake:lake.ducklake"
poll_interval = "3s"

[views.big]
sql = """
SELECT id
FROM lake.orders
"""
key = ["id"]

[sinks.changes]
type = "parquet"
path = "out/changes"

[sinks.mart]
type = "duckdb"
path = "${DIR:-out}/mart.duckdb"
views = ["BIG"]
commit_interval = "5s"
"#;

fn read_in(path: &Path, text: &str) -> Result<PipelineFile, String> {
    let variable = |name: &str| (name == "HOST").then(|| "localhost".to_owned());
    parse(path, text.to_owned(), &variable)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn read(text: &str) -> Result<PipelineFile, String> {
    read_in(Path::new("/pipelines/shop.toml"), text)
}

/// The faults of the good file after one replacement.
fn faults_after(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from} is in the good file");
    match read(&GOOD.replacen(from, to, 1)) {
        Ok(_) => panic!("{to} was accepted"),
        Err(faults) => faults,
    }
}

#[test]
fn a_good_file() {
    let file = read(GOOD).unwrap();
    assert_eq!((file.name.as_str(), file.workers, file.memory_limit), ("shop", Some(2), Some(4 << 30)));
    assert_eq!(file.state_dir, Path::new("/pipelines/./state"));
    assert_eq!(file.epoch_interval, Some(Duration::from_millis(200)));
    assert_eq!(file.sources[0].poll_interval, Duration::from_secs(3));
    assert_eq!(file.views[0].def.sql, "SELECT id\nFROM lake.orders");
    assert_eq!(file.views[0].def.key.as_deref(), Some(&["id".to_owned()][..]));
    let mart = file.sinks.iter().find(|slot| slot.sink.name() == "mart").unwrap();
    assert_eq!(mart.views.as_ref().unwrap()[0].as_str(), "big", "the name has the case of its definition");
    assert!(matches!(mart.commits, Some(Commits::Every(interval)) if interval == Duration::from_secs(5)));
}

#[test]
fn a_sink_commits_by_a_schedule() {
    let interval = "commit_interval = \"5s\"";
    let scheduled = "commit_schedule = \"30 6 * * mon-fri\"\ncommit_timezone = \"Europe/Berlin\"";
    let file = read(&GOOD.replace(interval, scheduled)).unwrap();
    let mart = file.sinks.iter().find(|slot| slot.sink.name() == "mart").unwrap();
    assert!(matches!(mart.commits, Some(Commits::At(_))));
    for (lines, fault) in [
        ("commit_schedule = \"30 6 * *\"", "`30 6 * *` is no schedule"),
        ("commit_schedule = \"0 0 30 2 *\"", "the schedule `0 0 30 2 *` has no moment, ever"),
        ("commit_schedule = \"@daily\"\ncommit_timezone = \"Berlin\"", "the time zone `Berlin` is not known"),
        ("commit_timezone = \"UTC\"", "`commit_timezone` says nothing here"),
        ("commit_interval = \"5s\"\ncommit_schedule = \"@daily\"", "exclude each other"),
    ] {
        let found = faults_after(interval, lines);
        assert!(found.contains(fault) && found.contains("shop.toml:"), "{found}");
    }
}

#[test]
fn toml_errors_have_line_and_column() {
    let fault = faults_after("workers = 2", "workers = 2 3");
    assert!(fault.starts_with("/pipelines/shop.toml:5:11: "), "{fault}");
    let fault = faults_after("name = \"shop\"", "name = \"shop\"\nname = \"shop\"");
    assert!(fault.starts_with("/pipelines/shop.toml:4:1: ") && fault.contains("duplicate key"), "{fault}");
}

#[test]
fn unknown_keys_are_named_with_a_near_match() {
    for (from, to, expected) in [
        ("workers", "worker", "5:1: unknown key `worker` in [pipeline]; did you mean `workers`?"),
        ("[views.big]", "[view.big]", "14:2: unknown key `view` in the pipeline file; did you mean `views`?"),
        ("catalog = ", "catalogue = ", "11:1: unknown key `catalogue` in [sources.lake]; did you mean `catalog`?"),
        ("path = \"out/changes\"", "pth = \"x\"", "23:1: unknown key `pth` in [sinks.changes]; did you mean `path`?"),
        ("poll_interval", "poll_intervall", "did you mean `poll_interval`?"),
        ("\nkey = ", "\nzzzz = ", "19:1: unknown key `zzzz` in [views.big]"),
    ] {
        let faults = faults_after(from, to);
        assert!(faults.contains(expected), "{faults}\nexpected: {expected}");
    }
}

#[test]
fn what_is_not_built_yet_says_so() {
    for (from, to, expected) in [
        ("type = \"ducklake\"", "type = \"mysql\"", "the type `mysql` is not known; known here: ducklake, postgres"),
        ("key = [\"id\"]", "mode = \"full\"", "mode `full` is not built yet"),
        ("key = [\"id\"]", "temporal = 1", "`temporal` is true or false, found: integer"),
        ("key = [\"id\"]", "history_retention = \"9d\"", "add `temporal = true`"),
        ("key = [\"id\"]", "temporal = true\nhistory_retention = \"9\"", "`9` is not a duration"),
        ("key = [\"id\"]", "keep_state = false", "`keep_state` is not built yet"),
    ] {
        let faults = faults_after(from, to);
        assert!(faults.contains(expected), "{faults}\nexpected: {expected}");
    }
}

#[test]
fn a_storage_is_a_place_with_credentials() {
    for (section, expected) in [
        ("[storage.bucket]", "named by what it is for: [storage.\"s3://bucket\"]"),
        ("[storage.\"s3://me:hush@b\"]", "credentials do not belong into the URL"),
        ("[storage.\"s3://b\"]\nendpoint = \"localhost:9000\"", "`endpoint` is a URL"),
        ("[storage.\"s3://b\"]\naccess_key_id = \"me\"", "an `access_key_id` needs its `secret_access_key`"),
        ("[storage.\"s3://b\"]\nsecret_access_key = \"hush\"", "a `secret_access_key` needs its `access_key_id`"),
        ("[storage.\"s3://b\"]\nregoin = \"r\"", "unknown key `regoin` in [storage.s3://b]; did you mean `region`?"),
    ] {
        let faults = faults_after("[views.big]", &format!("{section}\n[views.big]"));
        assert!(faults.contains(expected) && !faults.contains("hush"), "{faults}\nexpected: {expected}");
    }
}

#[test]
fn missing_variables_are_named_where_they_stand() {
    let fault = faults_after("ducklake:lake.ducklake", "ducklake:postgres:host=${HOST} password=${LAKE_PASSWORD}");
    let expected = "/pipelines/shop.toml:11:52: the environment variable LAKE_PASSWORD is not set: set it, or write \
                    `${LAKE_PASSWORD:-default}`";
    assert_eq!(fault, expected);
}

#[test]
fn values_of_the_wrong_kind() {
    for (from, to, expected) in [
        ("workers = 2", "workers = 0", "5:11: `workers` is a number from 1 to 256"),
        ("workers = 2", "workers = \"2\"", "5:11: `workers` is a whole number, found: string"),
        ("\"200ms\"", "\"200\"", "7:18: `200` is not a duration"),
        ("\"4GiB\"", "\"lots\"", "6:16: `lots` is not a size"),
        (
            "\"duckdb\"",
            "\"duckbd\"",
            "the type `duckbd` is not known; known here: parquet, duckdb, delta, ducklake, postgres, jsonl; did you mean `duckdb`?",
        ),
        ("state_dir = ", "on_sink_failure = \"shrug\"\nstate_dir = ", "`on_sink_failure` is \"pause\" or \"detach\""),
        ("state_dir = ", "sink_lag_max = \"much\"\nstate_dir = ", "`much` is not a size"),
        ("[\"BIG\"]", "[\"bigg\"]", "there is no view `bigg`; did you mean `big`?"),
        ("[\"BIG\"]", "\"big\"", "`views` is a list of strings, found: string"),
        ("name = \"shop\"", "", "2:2: [pipeline] has no `name`"),
        ("path = \"out/changes\"", "", "[sinks.changes]: missing field `path`"),
        ("[views.big]", "[views.\"a/b\"]", "`a/b` cannot name a view"),
    ] {
        let faults = faults_after(from, to);
        assert!(faults.contains(expected), "{faults}\nexpected: {expected}");
    }
}

#[test]
fn one_run_shows_all_faults_in_order() {
    let text = GOOD.replace("workers = 2", "workers = 0").replace("\"duckdb\"", "\"x\"").replace("key = ", "keys = ");
    let faults = read(&text).err().unwrap();
    let lines: Vec<&str> = faults.lines().map(|fault| fault.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["5", "19", "26"], "{faults}");
}

#[test]
fn an_empty_file_says_what_belongs_into_it() {
    let faults = read("").err().unwrap();
    for needed in ["[pipeline]", "[sources.NAME]", "[views.NAME]", "[sinks.NAME]"] {
        assert!(faults.contains(needed), "{faults}");
    }
    assert!(faults.starts_with("/pipelines/shop.toml: there is no"), "{faults}");
}

#[test]
fn one_fault_makes_one_message() {
    for (from, to) in [("[views.big]", "[view.big]"), ("[pipeline]", "[pipelin]"), ("[sources.lake]", "[source.lake]")]
    {
        let text = GOOD.replace(from, to).replace("views = [\"BIG\"]\n", "");
        let faults = read(&text).err().unwrap();
        assert_eq!(faults.lines().count(), 1, "{faults}");
    }
}

#[test]
fn views_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let views = folder.path().join("views");
    fs::create_dir(&views).unwrap();
    fs::write(views.join("alone.sql"), "-- one view\nSELECT 1 AS a FROM lake.t;\n").unwrap();
    fs::write(
        views.join("two.sql"),
        "CREATE MATERIALIZED VIEW One AS SELECT a FROM alone;\nCREATE MATERIALIZED VIEW two AS\n  SELECT a FROM one;",
    )
    .unwrap();
    fs::write(folder.path().join("revenue.sql"), "SELECT 2 AS b FROM lake.t").unwrap();
    let text = GOOD
        .replace("name = \"shop\"", "name = \"shop\"\nviews_dir = \"views\"")
        .replace("[views.big]", "[views.revenue]\nsql_file = \"revenue.sql\"\n[views.big]");
    let path = folder.path().join("shop.toml");
    let file = read_in(&path, &text).unwrap();
    let views: Vec<_> = file.views.iter().map(|view| (view.def.name.as_str(), view.def.sql.as_str())).collect();
    let expected = [
        ("big", "SELECT id\nFROM lake.orders"),
        ("revenue", "SELECT 2 AS b FROM lake.t"),
        ("alone", "SELECT 1 AS a FROM lake.t"),
        ("One", "SELECT a FROM alone"),
        ("two", "SELECT a FROM one"),
    ];
    assert_eq!(views, expected);
    let place = file.views[4].origin.fault(Some((1, 10)), "no such column").to_string();
    assert!(place.ends_with("views/two.sql:3:12: no such column"), "{place}");

    fs::write(folder.path().join("views/big.sql"), "SELECT 1").unwrap();
    let faults = read_in(&path, &text).err().unwrap();
    let there = format!("{}:17:8: rename `big`", path.display());
    assert!(faults.contains("big.sql:1:1: there is a view `big` already, at "), "{faults}");
    assert!(faults.contains(&there), "{faults}\nexpected: {there}");
    fs::write(folder.path().join("views/big.sql"), "DROP TABLE x; SELECT 'a").unwrap();
    let faults = read_in(&path, &text.replace("revenue.sql", "gone.sql")).err().unwrap();
    assert!(faults.contains("sql_file `gone.sql` cannot be read"), "{faults}");
    assert!(faults.contains("big.sql:1:22: the string is not closed"), "{faults}");
}

#[test]
fn places_in_a_view_are_places_in_the_file() {
    let file = read(GOOD).unwrap();
    let fault = |file: &PipelineFile, at| file.views[0].origin.fault(at, "m").to_string();
    assert_eq!(fault(&file, Some((2, 6))), "/pipelines/shop.toml:17:6: m");
    assert_eq!(fault(&file, None), "/pipelines/shop.toml:16:1: m");
    let one_line =
        read(&GOOD.replace("\"\"\"\nSELECT id\nFROM lake.orders\n\"\"\"", "\"SELECT id FROM lake.orders\"")).unwrap();
    assert_eq!(fault(&one_line, Some((1, 8))), "/pipelines/shop.toml:15:15: m");
    let escaped = read(&GOOD.replace("\nSELECT id", "\nSELECT \\\"id\\\"")).unwrap();
    assert_eq!(fault(&escaped, Some((2, 6))), "/pipelines/shop.toml:15:7: m (line 2, column 6 of the SQL)");
}

#[test]
fn views_are_given_once() {
    let both = faults_after("key = [\"id\"]", "sql_file = \"x.sql\"");
    assert!(both.contains("[views.big] has both `sql` and `sql_file`"), "{both}");
    let neither = faults_after("sql = \"\"\"\nSELECT id\nFROM lake.orders\n\"\"\"", "");
    assert!(
        neither.contains("[views.big] has neither `sql` and `sql_file`") || neither.contains("has neither"),
        "{neither}"
    );
    let twice = faults_after("[views.big]", "[views.BIG]\nsql = \"SELECT 1\"\n[views.big]");
    assert!(twice.contains("differ by case alone"), "{twice}");
    let other = faults_after("SELECT id", "CREATE MATERIALIZED VIEW huge AS SELECT id");
    assert!(other.contains("the SQL creates `huge`, the view is called `big`"), "{other}");
}

#[test]
fn histories_and_tracked_tables() {
    let text = GOOD.replace("key = [\"id\"]", "key = [\"id\"]\ntemporal = true\nhistory_retention = \"90d\"")
        + "\n[track.\"lake.main.Order Items\"]\nkey = [\"id\", \"n\"]\nretention = \"1d\"\n\n[track.\"lake.orders\"]\nkey = [\"id\"]\n";
    let fault = read(&text).err().unwrap();
    assert!(fault.contains("is no table of a source"), "{fault}");
    let text = text.replace("lake.main.Order Items", "lake.main.\\\"Order Items\\\"");
    let fault = read(&text).err().unwrap();
    assert!(
        fault.contains(":37:8: no sink keeps the history of `lake_orders`: add `lake_orders` to the `views` of"),
        "{fault}"
    );
    assert_eq!(fault.lines().count(), 2, "{fault}");
    let file = read(&text.replace("views = [\"BIG\"]\n", "")).unwrap();
    let views: Vec<_> = file
        .views
        .iter()
        .map(|view| {
            (view.def.name.as_str(), view.def.sql.as_str(), view.history.as_ref().map(|kept| kept.history.retention))
        })
        .collect();
    let days = |days: u64| Some(Some(Duration::from_secs(days * 86_400)));
    let expected = [
        ("big", "SELECT id\nFROM lake.orders", days(90)),
        ("lake_main_Order_Items", "SELECT * FROM lake.main.\"Order Items\"", days(1)),
        ("lake_orders", "SELECT * FROM lake.orders", Some(None)),
    ];
    assert_eq!(views, expected);
    assert_eq!(file.views[1].def.key.as_deref(), Some(&["id".to_owned(), "n".to_owned()][..]));
    assert_eq!((file.marts.len(), file.marts[0].sink.as_str()), (1, "mart"));
}

#[test]
fn lineage_goes_to_a_server_or_a_file() {
    use super::Target;

    let read_lineage =
        |lines: &str| read(&format!("{GOOD}\n[openlineage]\n{lines}\n")).map(|file| file.openlineage.unwrap());
    let said = read_lineage("path = \"out/lineage.jsonl\"\nnamespace = \"mine\"").unwrap();
    assert_eq!(said.namespace.as_deref(), Some("mine"));
    assert!(matches!(said.target, Target::File(path) if path == Path::new("/pipelines/out/lineage.jsonl")));
    let said = read_lineage("url = \"http://${HOST}:5000\"\napi_key = \"a key\"").unwrap();
    let Target::Url { url, authorization } = said.target else { panic!("a server") };
    assert_eq!((url.as_str(), authorization.unwrap().to_str().unwrap()), ("http://localhost:5000/", "Bearer a key"));
    for (lines, words) in [
        ("", ":31:2: [openlineage] says not where events go: add a `url` or a `path`"),
        ("url = \"http://a\"\npath = \"b\"", ":33:8: [openlineage] has a `url` and a `path`"),
        ("path = \"b\"\napi_key = \"c\"", ":33:11: an `api_key` is for a server"),
        ("url = \"http://ann:hush@a\"", ":32:7: `url` has more in it than an address: a key goes into `api_key`"),
        ("url = \"a:5000\"", "`url` is the address of a server"),
        ("url = \"http://a\"\nnamespace = \" \"", "`namespace` is empty"),
        ("url = \"http://a\"\napi_key = \"a\\nb\"", "`api_key` has characters that no HTTP header may have"),
        ("url = \"http://a\"\napi_kee = \"a\"", "unknown key `api_kee` in [openlineage]; did you mean `api_key`?"),
        ("url = \"http://${NOWHERE}\"", "the environment variable NOWHERE is not set"),
    ] {
        let fault = read_lineage(lines).err().unwrap_or_else(|| panic!("{lines} was accepted"));
        assert!(fault.contains(words) && fault.lines().count() == 1 && !fault.contains("hush"), "{lines}: {fault}");
    }
}

#[test]
fn faults_of_histories_and_tracked_tables() {
    let duckdb = "type = \"duckdb\"\npath = \"${DIR:-out}/mart.duckdb\"\nviews = [\"BIG\"]\n";
    let lines = "type = \"jsonl\"\npath = \"x.jsonl\"\n";
    let temporal = GOOD.replace("key = [\"id\"]", "temporal = true").replace(duckdb, lines);
    let fault = read(&temporal).err().unwrap();
    assert!(
        fault.contains(":19:12: no sink keeps the history of `big`: add a sink of one of the types duckdb"),
        "{fault}"
    );
    for (track, words) in [
        ("[track.orders]\nkey = [\"id\"]", ":30:8: `orders` is no table of a source: write \"source.table\""),
        (
            "[track.lake.orders]\nkey = [\"id\"]",
            "`lake` is no table of a source: write \"source.table\" or \"source.schema.table\", in quotes, as in",
        ),
        ("[track.\"a.b.c.d\"]\nkey = [\"id\"]", "`a.b.c.d` is no table of a source"),
        ("[track.\"lake.orders\"]", ":30:8: a tracked table is asked for by its key: add key = [\"id\"]"),
        ("[track.\"lake.orders\"]\nkey = []", "a tracked table is asked for by its key"),
        ("[track.\"lake.orders\"]\nkey = \"id\"", "`key` is a list of strings, found: string"),
        ("[track.\"lake.orders\"]\nkey = [\"id\"]\nretain = \"1d\"", "unknown key `retain` in [track.lake.orders]"),
        (
            "[track.\"lake.orders\"]\nkey = [\"id\"]\n[views.Lake_Orders]\nsql = \"SELECT 1\"",
            ":30:8: the tracked table `lake.orders` is kept as `lake_orders`, and there is a view of that name already, at",
        ),
    ] {
        let text = format!("{}\n{track}\n", GOOD.replace("views = [\"BIG\"]\n", ""));
        let fault = read(&text).err().unwrap_or_else(|| panic!("{track} was accepted"));
        assert!(fault.contains(words) && fault.lines().count() == 1, "{track}: {fault}");
    }
}
