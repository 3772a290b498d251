//! Events of OpenLineage: one job a view, its tables, targets and columns, by the specification 2-0-2; runs that fail, runs
//! without an end, another pipeline file while one runs, and servers that are away. No password is in any event.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_duck::{Duck, Options};
use tidegate_testkit::Lake;

use crate::database_faults::{SETUP, Shop, server};
use crate::pipeline::{PipelineFolder, Spec};
use crate::receiver::Receiver;
use crate::serving::{LARGE, Served, TOTALS, orders};

const ROUTE: &str = "/api/v1/lineage";

/// A lake, and a pipeline over it whose file says this of OpenLineage.
fn shop(said: &str) -> (TempDir, Lake, PipelineFolder, Spec) {
    let folder = tempfile::tempdir().unwrap();
    let lake = orders(&folder.path().join("lake"));
    let views = [("totals", TOTALS), ("large", LARGE)];
    let views = views.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
    let settings = vec!["retry_for = \"1s\"".to_owned()];
    let spec = Spec { views, settings, ..Spec::new(&lake) };
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    say(&pipeline, said);
    (folder, lake, pipeline, spec)
}

fn say(pipeline: &PipelineFolder, said: &str) {
    let mut file = OpenOptions::new().append(true).open(pipeline.file()).unwrap();
    write!(file, "\n[openlineage]\n{said}\n").unwrap();
}

/// The events of a file, each as the specification wants it.
fn written(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().map(|line| checked(serde_json::from_str(line).unwrap())).collect()
}

/// The events that a server was given.
fn posted(receiver: &Receiver) -> Vec<Value> {
    receiver.posted(ROUTE).iter().map(|posted| checked(serde_json::from_slice(&posted.body).unwrap())).collect()
}

/// What each facet must have, by its schema.
const FACETS: [(&str, &str, &[&str]); 7] = [
    ("processing_engine", "1-1-1/ProcessingEngineRunFacet", &["version", "name"]),
    ("errorMessage", "1-0-1/ErrorMessageRunFacet", &["message", "programmingLanguage"]),
    ("sql", "1-1-0/SQLJobFacet", &["query", "dialect"]),
    ("jobType", "2-0-4/JobTypeJobFacet", &["processingType", "integration", "jobType"]),
    ("schema", "1-2-0/SchemaDatasetFacet", &["fields"]),
    ("columnLineage", "1-2-0/ColumnLineageDatasetFacet", &["fields"]),
    ("outputStatistics", "1-0-2/OutputStatisticsOutputDatasetFacet", &["rowCount"]),
];

fn has_facets(facets: &Value) {
    for (name, facet) in facets.as_object().expect("facets are an object") {
        let known = FACETS.iter().find(|(known, ..)| known == name);
        let (_, schema, keys) = known.unwrap_or_else(|| panic!("{name} is no facet of the specification"));
        let of = schema.split('/').next_back().unwrap();
        assert_eq!(facet["_schemaURL"], format!("https://openlineage.io/spec/facets/{schema}.json#/$defs/{of}"));
        assert!(facet["_producer"].as_str().unwrap().starts_with("urn:tidegate:"), "{facet}");
        keys.iter().for_each(|key| assert!(!facet[*key].is_null(), "{name} has no {key}: {facet}"));
        let known: BTreeSet<&str> = keys.iter().copied().chain(["_schemaURL", "_producer"]).collect();
        facet.as_object().unwrap().keys().for_each(|key| assert!(known.contains(key.as_str()), "{name}: {key}"));
    }
}

fn checked(event: Value) -> Value {
    assert_eq!(event["schemaURL"], "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent");
    assert!(event["producer"].as_str().unwrap().starts_with("urn:tidegate:"));
    let time = event["eventTime"].as_str().unwrap();
    chrono::DateTime::parse_from_rfc3339(time).unwrap_or_else(|error| panic!("{time}: {error}"));
    uuid::Uuid::parse_str(event["run"]["runId"].as_str().unwrap()).unwrap();
    let known = ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL"];
    assert!(known.contains(&event["eventType"].as_str().unwrap()), "{event}");
    has_facets(&event["run"]["facets"]);
    has_facets(&event["job"]["facets"]);
    for dataset in event["inputs"].as_array().unwrap().iter().chain(event["outputs"].as_array().unwrap()) {
        assert!(dataset["namespace"].is_string() && dataset["name"].is_string(), "{dataset}");
        has_facets(&dataset["facets"]);
        if !dataset["outputFacets"].is_null() {
            has_facets(&dataset["outputFacets"]);
        }
    }
    event
}

/// The types of the events of each view's runs, in order: `view` and what happened to each of its runs.
fn runs(events: &[Value]) -> BTreeMap<&str, Vec<Vec<&str>>> {
    let mut runs: BTreeMap<&str, Vec<(&Value, Vec<&str>)>> = BTreeMap::new();
    for event in events {
        let of_view = runs.entry(event["job"]["name"].as_str().unwrap()).or_default();
        let (id, kind) = (&event["run"]["runId"], event["eventType"].as_str().unwrap());
        match of_view.iter_mut().find(|(known, _)| *known == id) {
            Some((_, kinds)) => kinds.push(kind),
            None => of_view.push((id, vec![kind])),
        }
    }
    runs.into_iter().map(|(view, runs)| (view, runs.into_iter().map(|(_, kinds)| kinds).collect())).collect()
}

fn last<'a>(events: &'a [Value], view: &str) -> &'a Value {
    events.iter().rfind(|event| event["job"]["name"] == view).unwrap()
}

#[test]
fn a_run_tells_where_data_comes_from_and_goes_to() {
    let (folder, lake, pipeline, _) = shop("path = \"told/lineage.jsonl\"");
    let file = folder.path().join("pipeline/told/lineage.jsonl");
    let summary = pipeline.catch_up().json();
    let events = written(&file);
    let one = || vec![vec!["START", "COMPLETE"]];
    assert_eq!(runs(&events), BTreeMap::from([("large", one()), ("totals", one())]));
    let ids: BTreeSet<&str> = events.iter().map(|event| event["run"]["runId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2, "a run is of one job");

    let event = last(&events, "totals");
    assert_eq!(event["job"]["namespace"], "shop");
    assert_eq!(event["job"]["facets"]["sql"]["query"], TOTALS);
    assert_eq!(event["job"]["facets"]["jobType"]["processingType"], "BATCH");
    let [input] = &event["inputs"].as_array().unwrap()[..] else { panic!("one table: {event}") };
    let catalog = input["namespace"].as_str().unwrap();
    assert!(catalog.starts_with("ducklake:/") && catalog.contains("/lake/"), "{catalog}");
    assert_eq!(input["name"], "main.orders");
    let fields = json!([{ "name": "customer", "type": "VARCHAR" }, { "name": "amount", "type": "DECIMAL(10,2)" }]);
    assert_eq!(input["facets"]["schema"]["fields"], fields);
    let outputs = event["outputs"].as_array().unwrap();
    let named = |dataset: &Value| (dataset["namespace"].to_string(), dataset["name"].to_string());
    let (changes, mart) = (pipeline.changes().join("totals"), pipeline.mart());
    let text = |text: &str| Value::from(text).to_string();
    let expected = [
        (text("file"), text(&changes.to_string_lossy())),
        (text(&format!("duckdb://{}", mart.display())), text("mart.main.totals")),
    ];
    assert_eq!(outputs.iter().map(named).collect::<Vec<_>>(), expected);
    for output in outputs {
        assert_eq!(output["facets"]["schema"]["fields"][2]["name"], "total");
        let lineage = &output["facets"]["columnLineage"]["fields"];
        assert_eq!(lineage["n"]["inputFields"], json!([]), "count(*) is of no column");
        let [field] = &lineage["total"]["inputFields"].as_array().unwrap()[..] else { panic!("{lineage}") };
        let from = json!([field["namespace"], field["name"], field["field"], field["transformations"]]);
        assert_eq!(from, json!([catalog, "main.orders", "amount", [{ "type": "DIRECT" }]]));
        assert_eq!(output["outputFacets"]["outputStatistics"]["rowCount"], summary["view_rows"]["totals"]);
    }
    // What is read of another view is what that reads.
    let event = last(&events, "large");
    assert_eq!(event["inputs"][0]["name"], "main.orders");
    let from = &event["outputs"][0]["facets"]["columnLineage"]["fields"]["customer"]["inputFields"];
    assert_eq!((&from[0]["name"], &from[0]["field"]), (&json!("main.orders"), &json!("customer")));

    // The same file goes on; a run that stops because a reader holds the mart fails in the words of the log.
    fs::remove_file(&file).unwrap();
    lake.execute("INSERT INTO lake.orders VALUES ('a value of a row', 500)");
    let reader = Duck::open(&pipeline.mart(), &Options::default()).expect("the mart is held by a reader");
    let failed = pipeline.once().run().expect(1);
    drop(reader);
    let told = failed.stderr.lines().find_map(|line| line.strip_prefix("error: ")).unwrap();
    let events = written(&file);
    let failed = || vec![vec!["START", "FAIL"]];
    assert_eq!(runs(&events), BTreeMap::from([("large", failed()), ("totals", failed())]));
    for view in ["large", "totals"] {
        assert_eq!(last(&events, view)["run"]["facets"]["errorMessage"]["message"], told);
    }
    assert!(!fs::read_to_string(&file).unwrap().contains("a value of a row"));
}

#[test]
fn an_endless_run_tells_a_server() {
    let receiver = Receiver::start(StatusCode::CREATED);
    let said =
        format!("url = \"{}/\"\napi_key = \"${{LINEAGE_KEY:-sesame}}\"\nnamespace = \"production\"", receiver.url);
    let (_folder, lake, pipeline, spec) = shop(&said);
    let served = Served::begin(&pipeline.command("run", &["--http", "127.0.0.1:0"]));
    served.caught_up(lake.snapshot());
    // Once the views are loaded, everything about them is known.
    receiver.until(ROUTE, |posted| posted.len() >= 4);
    pipeline.rewrite(&spec.view("large", "SELECT customer, total FROM totals WHERE total > 5"));
    say(&pipeline, &said);
    pipeline.command("apply", &["--yes"]).run().expect(0);
    served.running.terminate().expect(0);

    let events = posted(&receiver);
    let of = runs(&events);
    assert_eq!(of["large"].len(), 2, "another SQL is another run: {of:?}");
    assert_eq!((of["large"][0][0], of["large"][0].last()), ("START", Some(&"COMPLETE")));
    for run in of.values().flatten() {
        assert_eq!((run[0], run.last()), ("START", Some(&"COMPLETE")), "{of:?}");
        assert!(run[1..run.len() - 1].iter().all(|kind| *kind == "RUNNING") && run.len() > 2, "{of:?}");
    }
    let running = events.iter().find(|event| event["eventType"] == "RUNNING").unwrap();
    assert_eq!(running["inputs"][0]["name"], "main.orders");
    assert_eq!(running["job"]["namespace"], "production");
    assert_eq!(running["job"]["facets"]["jobType"]["processingType"], "STREAMING");
    let last = last(&events, "large");
    assert!(last["job"]["facets"]["sql"]["query"].as_str().unwrap().contains("total > 5"));
    for posted in receiver.posted(ROUTE) {
        assert_eq!(posted.headers["authorization"], "Bearer sesame");
        assert_eq!(posted.headers["content-type"], "application/json");
        assert!(!String::from_utf8_lossy(&posted.body).contains("sesame"));
    }
}

#[test]
fn a_run_that_is_stopped_before_its_goal_is_aborted() {
    let (folder, lake, pipeline, _) = shop("path = \"lineage.jsonl\"");
    pipeline.catch_up();
    let file = folder.path().join("pipeline/lineage.jsonl");
    fs::remove_file(&file).unwrap();
    let running = pipeline.run_until(lake.snapshot() + 100).start();
    let started = Instant::now();
    while !file.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "{}", running.stderr());
        std::thread::sleep(Duration::from_millis(10));
    }
    running.terminate().expect(1);
    let aborted = || vec![vec!["START", "ABORT"]];
    assert_eq!(runs(&written(&file)), BTreeMap::from([("large", aborted()), ("totals", aborted())]));
}

#[test]
fn a_server_that_is_away_changes_nothing() {
    let failing = Receiver::start(StatusCode::SERVICE_UNAVAILABLE);
    let refusing = Receiver::start(StatusCode::UNPROCESSABLE_ENTITY);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let (hanging, gone) = (silent.local_addr().unwrap(), nobody.local_addr().unwrap());
    drop(nobody);
    let said = [
        (format!("url = \"{}\"", failing.url), 1),
        (format!("url = \"{}\"", refusing.url), 1),
        (format!("url = \"http://{gone}\""), 1),
        // It is not known to be away before a request's time is over.
        (format!("url = \"http://{hanging}\""), 0),
        ("path = \"/proc/nowhere/lineage.jsonl\"".to_owned(), 1),
    ];
    let (_folder, lake, pipeline, spec) = shop("path = \"lineage.jsonl\"");
    let started = Instant::now();
    pipeline.catch_up();
    let usual = started.elapsed();
    for (said, warnings) in said {
        pipeline.rewrite(&spec);
        say(&pipeline, &said);
        lake.execute("INSERT INTO lake.orders VALUES ('east', 7)");
        let started = Instant::now();
        let ended = pipeline.once().arguments(["--log-format", "json"]).run().expect(0);
        let took = started.elapsed();
        // Three seconds of patience at the end; the rest is for a machine that is busy.
        assert!(took < usual * 3 + Duration::from_secs(6), "{said}: {took:?}, usually {usual:?}");
        assert_eq!(ended.json()["source_rows"], 1);
        let events: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let named = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
        assert_eq!(named("lineage_undelivered").len(), warnings, "{said}: {}", ended.stderr);
        let [lost] = &named("lineage_lost")[..] else { panic!("{said}: {}", ended.stderr) };
        assert_eq!(lost["events"], 4, "{said}");
    }
    // An event that is refused is not tried again; the others are, in their order.
    assert_eq!(posted(&refusing).len(), 4);
    assert!(posted(&failing).iter().all(|event| event["eventType"] == "START"), "the first is not taken yet");
}

#[test]
fn databases_are_named_without_passwords() {
    let shop = Shop::new(server(), &format!("{SETUP}; CREATE SCHEMA marts"));
    let url = shop.url().replace("postgres@", "postgres:sesame@");
    assert!(url.contains("sesame"), "{url}");
    let more = format!(
        "\n[openlineage]\npath = \"lineage.jsonl\"\n\n[sinks.db]\ntype = \"postgres\"\nurl = \"{url}\"\nschema = \"marts\"\n"
    );
    shop.write(&url, &more, "SELECT id, upper(v) AS u FROM app.t");
    shop.once().expect(0);
    let file = shop.folder().join("lineage.jsonl");
    let events = written(&file);
    let last = events.last().unwrap();
    let (place, database) = url.rsplit_once('/').unwrap();
    let database = database.split('?').next().unwrap();
    let namespace = format!("postgres://{}", place.rsplit_once('@').unwrap().1);
    let input = &last["inputs"][0];
    assert_eq!((&input["namespace"], &input["name"]), (&json!(namespace), &json!(format!("{database}.public.t"))));
    let output = last["outputs"].as_array().unwrap().iter().find(|output| output["namespace"] == namespace).unwrap();
    assert_eq!(output["name"], format!("{database}.marts.v"));
    assert_eq!(output["facets"]["columnLineage"]["fields"]["u"]["inputFields"][0]["field"], "v");

    // Nor are they in what is said of a server that is gone.
    shop.write(&url.replace(&shop.port().to_string(), "1"), &more, "SELECT id, upper(v) AS u FROM app.t");
    shop.once().expect(1);
    let events = written(&file);
    assert_eq!(events.last().unwrap()["eventType"], "FAIL");
    assert!(!fs::read_to_string(&file).unwrap().contains("sesame"));
}
