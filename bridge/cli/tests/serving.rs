//! What a running pipeline tells and takes: the status page's files, the JSON API, metrics, health, the token, draining.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidegate_duck::{Duck, Options};
use tidegate_testkit::{Catalog, Lake, Program, Running};

use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};

pub const TOKEN: &str = "0123456789abcdef";

/// Within this a change at a source, or a failure, is visible.
pub const SOON: Duration = Duration::from_secs(2);
/// Within this a process has started.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const TOTALS: &str = "SELECT customer, count(*) AS n, sum(amount) AS total FROM lake.orders GROUP BY customer";
pub const LARGE: &str = "SELECT customer FROM totals WHERE total > 100";
const VIEWS: [(&str, &str); 2] = [("totals", TOTALS), ("large", LARGE)];

pub fn orders(folder: &Path) -> Lake {
    orders_in(folder, Catalog::sqlite(folder))
}

fn orders_in(folder: &Path, catalog: Catalog) -> Lake {
    let lake = Lake::create(folder, catalog);
    lake.execute("CREATE TABLE lake.orders (customer VARCHAR, amount DECIMAL(10,2))");
    lake.execute("INSERT INTO lake.orders VALUES ('north', 10), ('south', 20)");
    lake
}

fn spec(lake: &Lake) -> Spec {
    let views = VIEWS.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
    Spec { views, ..Spec::new(lake) }
}

/// A lake, and a process that runs a pipeline over it and has caught up.
pub struct Shop {
    pub _folder: TempDir,
    pub lake: Lake,
    pub pipeline: PipelineFolder,
    pub spec: Spec,
    pub served: Served,
}

impl Shop {
    /// With these lines for every view.
    pub fn open(view_settings: &[&str], token: Option<&str>) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let lake = orders(&folder.path().join("lake"));
        let view_settings = view_settings.iter().map(|line| (*line).to_owned()).collect();
        let spec = Spec { view_settings, ..spec(&lake) };
        let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
        let served = Served::start(&pipeline, token);
        served.caught_up(lake.snapshot());
        Shop { _folder: folder, lake, pipeline, spec, served }
    }
}

/// A process that runs a pipeline, and the address that it serves.
pub struct Served {
    pub running: Running,
    pub address: String,
}

/// An answer: its status, its head and its body.
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Served {
    pub fn start(pipeline: &PipelineFolder, token: Option<&str>) -> Served {
        let mut program = pipeline.command("run", &["--http", "127.0.0.1:0"]);
        if let Some(token) = token {
            program = program.variable("TIDEGATE_HTTP_TOKEN", token);
        }
        Served::begin(&program)
    }

    /// Starts a program that tells the address it serves.
    pub fn begin(program: &Program) -> Served {
        let running = program.start();
        let started = Instant::now();
        loop {
            let said = running.stderr();
            if let Some(rest) = said.split("http://").nth(1)
                && let Some((address, _)) = rest.split_once('/')
            {
                return Served { running, address: address.to_owned() };
            }
            assert!(started.elapsed() < PATIENCE, "no address is told: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn ask(&self, method: &str, route: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("the address is listened at");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = headers.iter().find(|(name, _)| *name == "Host").map_or(self.address.as_str(), |(_, value)| value);
        let mut request =
            format!("{method} {route} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n");
        for (name, value) in headers.iter().filter(|(name, _)| *name != "Host") {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    #[track_caller]
    fn get(&self, route: &str) -> Answer {
        let answer = self.ask("GET", route, &[]);
        assert_eq!(answer.status, 200, "{route}: {}", answer.body);
        answer
    }

    pub fn status(&self) -> Value {
        self.get("/api/status").json()
    }

    pub fn view(&self, name: &str) -> Value {
        self.get(&format!("/api/views/{name}")).json()
    }

    /// Waits until the status is as wanted, and says how long that took.
    #[track_caller]
    pub fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Duration {
        let started = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return started.elapsed();
            }
            assert!(started.elapsed() < PATIENCE, "{what}: {status:#}\n{}", self.running.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every sink holds an epoch of a snapshot.
    #[track_caller]
    pub fn caught_up(&self, snapshot: u64) {
        self.until("caught up", |status| {
            let at = status["sources"]["lake"]["position"]["snapshot_id"].as_u64();
            let sinks = ["mart", "changes"].iter().all(|sink| status["sinks"][*sink]["behind"] == 0);
            at >= Some(snapshot) && sinks
        });
    }
}

#[test]
fn a_running_pipeline_shows_itself() {
    let Shop { _folder, lake, pipeline, served, .. } = Shop::open(&[], None);
    assert_eq!(served.get("/healthz").body, "ok\n");
    assert_eq!(served.get("/readyz").body, "ready\n");

    let epoch = served.status()["epoch"].as_u64().unwrap();
    lake.execute("INSERT INTO lake.orders VALUES ('north', 95), ('east', 1)");
    let took = served.until("a change is seen", |status| status["epoch"].as_u64() > Some(epoch));
    assert!(took < SOON, "a change is visible after {took:?}");
    served.caught_up(lake.snapshot());

    let status = served.status();
    assert_eq!(status["pipeline"], "shop");
    assert_eq!(status["sources"]["lake"]["type"], "ducklake");
    assert_eq!(status["sources"]["lake"]["state"], "ok");
    assert_eq!(status["sources"]["lake"]["tables"], serde_json::json!(["lake.main.orders"]));
    assert_eq!(status["sinks"]["mart"]["type"], "duckdb");
    assert_eq!(status["sinks"]["mart"]["views"], serde_json::json!(["large", "totals"]));
    assert_eq!(status["views"]["totals"]["rows"], 3);
    assert_eq!(status["views"]["totals"]["last_changed_rows"], 3, "an update and an insert");
    assert_eq!(status["views"]["totals"]["key"], serde_json::json!(["customer"]));
    assert_eq!(status["views"]["large"]["reads"], serde_json::json!(["totals"]));
    assert_eq!(status["errors"], serde_json::json!([]));

    let epochs = served.get("/api/epochs?limit=1").json();
    assert_eq!(epochs["epochs"][0]["source_rows"], 2);
    assert!(epochs["epochs"][0]["phases_ms"]["step"].as_f64() > Some(0.0), "{epochs}");

    let view = served.get("/api/views/totals").json();
    assert!(view["sql"].as_str().unwrap().contains("GROUP BY customer"));
    assert!(view["place"].as_str().unwrap().contains("pipeline.toml:"));
    assert_eq!(view["row_identity"], serde_json::json!({ "key": ["customer"] }));
    assert_eq!(view["columns"][2]["from"], serde_json::json!(["lake.main.orders.amount"]));
    assert!(view["plan"]["operator"].is_string());

    let sample = served.get("/api/views/totals/sample").json();
    assert_eq!((&sample["rows_total"], &sample["epoch"]), (&Value::from(3), &status["epoch"]));
    let mut rows: Vec<String> = sample["rows"].as_array().unwrap().iter().map(Value::to_string).collect();
    rows.sort();
    assert_eq!(rows, [r#"["east","1","1.00"]"#, r#"["north","2","105.00"]"#, r#"["south","1","20.00"]"#]);
    assert_eq!(served.get("/api/views/totals/sample?limit=2").json()["rows"].as_array().unwrap().len(), 2);

    let changes = served.get("/api/views/totals/changes").json();
    let labels: Vec<&str> =
        changes["changes"].as_array().unwrap().iter().map(|change| change["change"].as_str().unwrap()).collect();
    let pair = labels.windows(2).any(|pair| pair == ["update_preimage", "update_postimage"]);
    assert!(pair && labels.contains(&"insert"), "{labels:?}");
    assert_eq!(served.ask("GET", "/api/views/nothing", &[]).status, 404);
    assert_eq!(served.ask("GET", "/api/views/nothing/sample", &[]).status, 404);
    assert_eq!(served.ask("GET", "/nothing.js", &[]).status, 404);

    let page = served.get("/");
    assert!(page.head.contains("content-security-policy: default-src 'self'") && page.body.contains("<title>"));
    let refused = served.ask("GET", "/api/status", &[("Host", "evil.example")]);
    assert_eq!(refused.status, 403, "a page elsewhere may not read by a name of its own");

    // The command asks the process; the file is for when there is none.
    let shown = pipeline.command("status", &["--json"]).run().expect(0).json();
    assert_eq!((&shown["epoch"], &shown["running"]), (&status["epoch"], &Value::Bool(true)));
    assert!(shown["phase"]["name"].is_string());

    let finished = served.running.terminate().expect(0);
    assert!(finished.stdout.contains("frontier"), "{}", finished.stdout);
    let views: Vec<(String, String)> = VIEWS.iter().map(|(name, sql)| ((*name).into(), (*sql).into())).collect();
    let mut oracle = tidegate_testkit::Oracle::new().unwrap();
    let expected = oracle.views_over_lake(&lake, None, &oracle_views(&views));
    let names: Vec<String> = views.into_iter().map(|(name, _)| name).collect();
    Outputs::read(&pipeline).assert_holds(&pipeline, &names, &expected, "after a graceful stop");
}

#[test]
fn every_route_that_is_described_answers() {
    let Shop { _folder, served, .. } = Shop::open(&["temporal = true"], Some(TOKEN));
    let epoch = served.status()["epoch"].clone();
    let described = served.get("/api/openapi.json").json();
    let bearer = format!("Bearer {TOKEN}");
    let mut drains = None;
    for (route, methods) in described["paths"].as_object().unwrap() {
        let asked = route.replace("{view}", "totals");
        for (method, operation) in methods.as_object().unwrap() {
            if route == "/api/drain" {
                drains = Some((method.to_uppercase(), asked.clone()));
                continue;
            }
            let asked = if route.ends_with("/asof") { format!("{asked}?epoch={epoch}") } else { asked.clone() };
            let answer = served.ask(&method.to_uppercase(), &asked, &[("Authorization", &bearer)]);
            let known = &operation["responses"][answer.status.to_string()];
            assert!(answer.status < 300 && known.is_object(), "{method} {asked}: {} {}", answer.status, answer.body);
            if route == "/api/apply" {
                served.until("it is in force", |status| status["phase"]["name"] != "applying");
            }
            let schema = &known["content"]["application/json"]["schema"];
            if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
                let schema = &described["components"]["schemas"][name];
                let unknown: Vec<_> = answer.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
                let unknown: Vec<_> = unknown.into_iter().filter(|key| schema["properties"][key].is_null()).collect();
                assert!(unknown.is_empty(), "{asked} answers {unknown:?}, which {name} does not describe");
            }
        }
    }
    let (method, route) = drains.expect("draining is described");
    assert_eq!(served.ask(&method, &route, &[("Authorization", &bearer)]).status, 202);
    let finished = served.running.wait_for(PATIENCE);
    finished.unwrap_or_else(|_| panic!("it does not end")).expect(0);
}

#[test]
fn metrics_say_what_they_count() {
    let Shop { _folder, lake, served, .. } = Shop::open(&[], None);
    let epoch = served.status()["epoch"].as_u64().unwrap();
    lake.execute("INSERT INTO lake.orders VALUES ('north', 95), ('east', 1)");
    served.until("a change is seen", |status| status["epoch"].as_u64() > Some(epoch));
    served.caught_up(lake.snapshot());
    // The gauges follow within a second.
    let metrics = served.get("/metrics");
    assert!(metrics.head.contains("content-type: application/openmetrics-text"));
    let value = |name: &str| -> f64 {
        let line = metrics.body.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in\n{}", metrics.body))
    };
    assert!(value("tidegate_epochs_total") >= 2.0);
    assert_eq!(value("tidegate_source_up{source=\"lake\"}"), 1.0);
    assert_eq!(value("tidegate_sink_up{sink=\"mart\"}"), 1.0);
    assert_eq!(value("tidegate_view_rows{view=\"totals\"}"), 3.0);
    assert!(value("tidegate_view_changed_rows_total{view=\"totals\"}") >= 5.0);
    assert!(value("tidegate_epoch_phase_seconds_count{phase=\"step\"}") >= 2.0);
    assert!(value("tidegate_sink_commit_seconds_count{sink=\"mart\"}") >= 2.0);
    for line in metrics.body.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(metrics.body.contains(&format!("# HELP {name} ")), "{name} has no help");
        for unit in ["seconds", "bytes"].iter().filter(|unit| name.ends_with(*unit)) {
            assert!(metrics.body.contains(&format!("# UNIT {name} {unit}")), "{name} has no unit");
        }
    }
    served.running.terminate().expect(0);
}

#[test]
fn only_the_token_or_the_socket_changes_anything() {
    let Shop { _folder, lake, pipeline, served, .. } = Shop::open(&[], None);
    assert_eq!(served.status()["can_control"], false);
    for route in ["/api/drain", "/api/checkpoint"] {
        let answer = served.ask("POST", route, &[("Authorization", "Bearer ")]);
        assert_eq!(answer.status, 403, "{route}: {}", answer.body);
        assert!(answer.json()["error"].as_str().unwrap().contains("TIDEGATE_HTTP_TOKEN"));
        assert_eq!(served.ask("GET", route, &[]).status, 405);
    }
    // The command comes by the socket, which needs none.
    let drained = pipeline.command("drain", &["--json"]).run().expect(0).json();
    assert_eq!(drained["drained"], true);
    served.running.wait().expect(0);
    pipeline.command("drain", &[]).run().expect(0).says(&[]);
    let again = pipeline.command("drain", &["--json"]).run().expect(0).json();
    assert_eq!((&again["drained"], &again["epoch"]), (&Value::Bool(false), &drained["epoch"]));

    let served = Served::start(&pipeline, Some(TOKEN));
    served.caught_up(lake.snapshot());
    assert_eq!(served.status()["can_control"], true);
    for given in ["Bearer 0123456789abcdeg", "Bearer", "0123456789abcdef", "Basic 0123456789abcdef"] {
        assert_eq!(served.ask("POST", "/api/checkpoint", &[("Authorization", given)]).status, 401, "{given}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let saved = served.ask("POST", "/api/checkpoint", &[("Authorization", &bearer)]);
    assert_eq!((saved.status, &saved.json()["epoch"]), (202, &served.status()["epoch"]));
    assert!(!served.get("/api/status").body.contains(TOKEN));
    served.running.terminate().expect(0);

    let short = pipeline.command("run", &["--once"]).variable("TIDEGATE_HTTP_TOKEN", "short").run();
    short.expect(2).says(&["TIDEGATE_HTTP_TOKEN", "16"]);
}

#[test]
fn a_sink_that_fails_is_seen_at_once_with_the_same_words_everywhere() {
    let Shop { _folder, lake, pipeline, served, .. } = Shop::open(&[], None);
    let reader = Duck::open(&pipeline.mart(), &Options::default()).expect("the mart is held by a reader");
    lake.execute("INSERT INTO lake.orders VALUES ('west', 500)");
    let took = served.until("the sink fails", |status| status["sinks"]["mart"]["state"] == "failing");
    assert!(took < SOON, "a failing sink is visible after {took:?}");
    let status = served.status();
    let message = status["sinks"]["mart"]["error"].as_str().unwrap().to_owned();
    assert_eq!(
        (&status["errors"][0]["what"], &status["errors"][0]["message"]),
        (&"sink mart".into(), &message.clone().into())
    );
    assert!(served.running.stderr().contains(&message), "the log says it otherwise: {}", served.running.stderr());
    let shown = pipeline.command("status", &[]).run().expect(0).stdout;
    assert!(shown.contains(&message), "{shown}");
    assert!(served.get("/metrics").body.contains("tidegate_sink_up{sink=\"mart\"} 0"));
    assert!(served.get("/metrics").body.contains("tidegate_failures_total{sink=\"mart\"}"));
    drop(reader);
    served.until("the sink takes commits again", |status| status["sinks"]["mart"]["state"] == "attached");
    served.caught_up(lake.snapshot());
    assert!(served.status()["errors"][0]["resolved_at"].is_string());
    served.running.terminate().expect(0);
}

#[test]
fn a_source_that_fails_is_seen_at_once_with_the_same_words_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("lake");
    let lake = orders_in(&home, Catalog::duckdb(&home));
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec(&lake));
    let snapshot = lake.snapshot();
    let served = Served::start(&pipeline, None);
    served.caught_up(snapshot);
    // Nobody else can open a catalog in a DuckDB file meanwhile. The process does for the time of a poll.
    let catalog = lake.uri().trim_start_matches("ducklake:").to_owned();
    let started = Instant::now();
    let holder = loop {
        match Duck::open(Path::new(&catalog), &Options::default()) {
            Ok(holder) => break holder,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
    };
    let took = served.until("the source fails", |status| status["sources"]["lake"]["state"] == "failing");
    assert!(took < SOON, "a failing source is visible after {took:?}");
    let status = served.status();
    let message = status["sources"]["lake"]["error"].as_str().unwrap().to_owned();
    assert!(status["sources"]["lake"]["failing_since"].is_string());
    let first = &status["errors"][0];
    assert_eq!((first["what"].as_str(), first["message"].as_str()), (Some("source lake"), Some(message.as_str())));
    let log = served.running.stderr();
    assert!(log.contains(&message), "the log says it otherwise than {message:?}: {log}");
    let shown = pipeline.command("status", &[]).run().expect(0).stdout;
    assert!(shown.contains(&message), "{shown}");
    drop(holder);
    served.until("the source answers again", |status| status["sources"]["lake"]["state"] == "ok");
    assert!(served.status()["errors"][0]["resolved_at"].is_string());
    served.running.terminate().expect(0);
}

#[test]
fn the_past_of_a_view_is_asked_for() {
    let Shop { _folder, lake, served, .. } = Shop::open(&["temporal = true"], None);
    let first = served.status()["epoch"].as_u64().unwrap();
    lake.execute("UPDATE lake.orders SET amount = 1000 WHERE customer = 'north'");
    served.until("a change is seen", |status| status["epoch"].as_u64() > Some(first));
    served.caught_up(lake.snapshot());
    let range = served.get("/api/views/totals/epochs").json();
    assert_eq!(range, serde_json::json!({ "from": first, "to": served.status()["epoch"] }));
    let rows = |epoch: &Value| {
        let past = served.get(&format!("/api/views/totals/asof?epoch={epoch}")).json();
        assert_eq!(past["columns"], served.get("/api/views/totals/sample").json()["columns"]);
        past["rows"].to_string()
    };
    assert_eq!(rows(&range["from"]), r#"[["north","1","10.00"],["south","1","20.00"]]"#);
    assert_eq!(rows(&range["to"]), r#"[["north","1","1000.00"],["south","1","20.00"]]"#);
    let limited = served.get(&format!("/api/views/totals/asof?epoch={first}&limit=1")).json();
    assert_eq!(limited["rows"].as_array().unwrap().len(), 1);
    let before = served.ask("GET", "/api/views/totals/asof?epoch=0", &[]);
    assert!(before.status == 404 && before.json()["error"].as_str().unwrap().contains("begins"), "{}", before.body);
    served.running.terminate().expect(0);
}

#[test]
fn a_terminal_shows_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let lake = orders(&folder.path().join("lake"));
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec(&lake));
    pipeline.command("top", &[]).run().expect(2).says(&["terminal", "tidegate status"]);
    let served = Served::start(&pipeline, None);
    served.caught_up(lake.snapshot());
    // util-linux's `script` gives it a terminal.
    let command =
        format!("stty cols 120 rows 30; {} top {}", env!("CARGO_BIN_EXE_tidegate"), pipeline.file().display());
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` of Debian's bsdutils can be started");
    let mut shown = String::new();
    let mut output = child.stdout.take().unwrap();
    let mut chunk = [0; 4096];
    while !(shown.contains("q leaves") && shown.contains("attached")) {
        let count = output.read(&mut chunk).unwrap();
        assert!(count > 0, "it ended: {shown}");
        shown.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    child.stdin.take().unwrap().write_all(b"q").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(["shop", "lake", "totals", "mart"].iter().all(|name| shown.contains(name)), "{shown}");
    served.running.terminate().expect(0);
}

#[test]
fn an_address_that_is_taken_is_told_and_nothing_happens() {
    let folder = tempfile::tempdir().unwrap();
    let lake = orders(&folder.path().join("lake"));
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec(&lake));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    pipeline.command("run", &["--http", &taken]).run().expect(1).says(&[&taken, "another process"]);
    assert!(!pipeline.state().exists(), "nothing was begun");
}

#[test]
fn a_state_folder_with_a_long_path_has_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let lake = orders(&folder.path().join("lake"));
    let deep = folder.path().join("a_folder_with_a_name_that_is_long_enough".repeat(3));
    let pipeline = PipelineFolder::create(&deep, &spec(&lake));
    let served = Served::start(&pipeline, None);
    served.caught_up(lake.snapshot());
    pipeline.command("drain", &[]).run().expect(0).says(&[]);
    served.running.wait().expect(0);
}
