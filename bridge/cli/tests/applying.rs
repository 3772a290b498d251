//! `apply`: views come, change and go while changes stream, without those that stay being built anew.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_core::{ViewName, failpoint};
use tidegate_duck::Duck;
use tidegate_testkit::{Finished, Lake, Oracle, Tolerance, ViewRows};

use crate::database_faults::{SETUP, Shop, server};
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};
use crate::serving::{self, LARGE, PATIENCE, Served, TOKEN, TOTALS, orders};

/// A pipeline that runs over a lake that changes.
pub struct Stage {
    _folder: TempDir,
    lake: Lake,
    pub pipeline: PipelineFolder,
    pub spec: Spec,
    pub served: Served,
    inserted: u64,
}

impl Stage {
    pub fn new(token: Option<&str>) -> Stage {
        let serving::Shop { _folder, lake, pipeline, spec, served } = serving::Shop::open(&[], token);
        Stage { _folder, lake, pipeline, spec, served, inserted: 0 }
    }

    fn change(&mut self) {
        self.inserted += 1;
        let n = self.inserted;
        self.lake.execute(&format!("INSERT INTO lake.orders VALUES ('c{}', {n}), ('north', -1.5)", n % 17));
        if n.is_multiple_of(5) {
            self.lake.execute(&format!("DELETE FROM lake.orders WHERE customer = 'c{}'", n % 13));
        }
    }

    /// Applies the file while changes go on.
    #[track_caller]
    pub fn apply(&mut self, arguments: &[&str]) -> Finished {
        self.pipeline.rewrite(&self.spec);
        self.meanwhile("apply", arguments)
    }

    /// Runs a command while changes go on.
    #[track_caller]
    pub fn meanwhile(&mut self, verb: &str, arguments: &[&str]) -> Finished {
        let mut running = self.pipeline.command(verb, arguments).start();
        loop {
            self.change();
            match running.wait_for(Duration::from_millis(5)) {
                Ok(finished) => return finished,
                Err(still) => running = still,
            }
        }
    }

    /// Applies the file, and says what became of each view.
    #[track_caller]
    fn applied(&mut self, what: &str, expected: &Value) {
        let done = self.apply(&["--yes", "--json"]).expect(0).json();
        assert_eq!((&done["views"], &done["applied"]), (expected, &json!(true)), "{what}: {done}");
        self.check(what);
    }

    /// How often each view was built.
    fn built(&self) -> BTreeMap<String, u64> {
        let status = self.served.status();
        let views = status["views"].as_object().expect("views");
        views.iter().map(|(name, view)| (name.clone(), view["full_steps"].as_u64().unwrap())).collect()
    }

    /// Lets the pipeline catch up, and compares the mart with a recompute.
    #[track_caller]
    pub fn check(&mut self, what: &str) {
        (0..3).for_each(|_| self.change());
        self.served.caught_up(self.lake.snapshot());
        let expected = Oracle::new().unwrap().views_over_lake(&self.lake, None, &oracle_views(&self.spec.views));
        let found = Outputs::read(&self.pipeline);
        for ((view, _), expected) in self.spec.views.iter().zip(&expected) {
            found.mart[view].assert_equals(expected, &Tolerance::exact(), &format!("{what}: {view}"));
        }
    }

    pub fn set(&mut self, name: &str, sql: &str) {
        self.spec = self.spec.clone().view(name, sql);
    }

    pub fn drop(&mut self, name: &str) {
        self.spec.views.retain(|(known, _)| known != name);
    }
}

#[test]
fn views_come_change_and_go_while_changes_stream() {
    let mut stage = Stage::new(None);
    stage.set("many", "SELECT customer FROM totals WHERE n > 3");
    stage.set("pairs", "SELECT a.customer, count(*) AS n FROM lake.orders a JOIN lake.orders b ON a.customer = b.customer GROUP BY ALL");
    let plan = stage.apply(&["--plan", "--json"]).expect(0).json();
    let added = json!({ "large": "untouched", "many": "added", "pairs": "added", "totals": "untouched" });
    assert_eq!((&plan["views"], &plan["applied"], &plan["running"]), (&added, &json!(false), &json!(true)));
    assert_eq!(stage.served.status()["views"].as_object().unwrap().len(), 2, "a plan changes nothing");
    stage.applied("two views come", &added);

    stage.set("large", "SELECT customer, total FROM totals WHERE total > 50");
    stage.drop("many");
    let built = stage.built();
    let changed = json!({ "large": "changed", "many": "dropped", "pairs": "untouched", "totals": "untouched" });
    stage.applied("one changes and one goes", &changed);
    let after = stage.built();
    assert_eq!(
        (after["pairs"], after["totals"]),
        (built["pairs"], built["totals"]),
        "built anew: {built:?}, {after:?}"
    );
    assert_eq!(after.keys().collect::<Vec<_>>(), ["large", "pairs", "totals"]);

    // What is only written otherwise is the same, and is shown as it is written.
    stage.set("totals", &TOTALS.replace("FROM", "FROM /* every customer */"));
    stage.applied("a comment", &json!({ "large": "untouched", "pairs": "untouched", "totals": "untouched" }));
    assert_eq!(stage.built(), after);
    assert!(stage.served.view("totals")["sql"].as_str().unwrap().contains("every customer"));

    // Of a file with a fault nothing is applied.
    stage.set("pairs", "SELECT custmer FROM lake.orders");
    stage.apply(&["--yes"]).expect(2).says(&["custmer", "customer", "pipeline.toml:"]);
    stage.drop("pairs");
    stage.set("late", "SELECT max(day) AS day FROM lake.days");
    stage.lake.execute("CREATE TABLE lake.days AS SELECT DATE '2026-01-01' + i::INTEGER AS day FROM range(9) r(i)");
    let expected = json!({ "large": "untouched", "late": "added", "pairs": "dropped", "totals": "untouched" });
    stage.applied("a view over a table that is newer than the frontier", &expected);
    let after_all = stage.built();
    assert_eq!((after_all["large"], after_all["totals"]), (after["large"], after["totals"]));

    // Sinks come and go.
    stage.spec.mart_settings.push("\n[sinks.more]\ntype = \"jsonl\"\npath = \"more\"\n".to_owned());
    let done = stage.apply(&["--yes", "--json"]).expect(0).json();
    assert_eq!(done["sinks"], json!({ "added": ["more"], "removed": [] }), "{done}");
    stage.check("a sink came");
    let more = stage.pipeline.file().with_file_name("more");
    assert!(std::fs::metadata(&more).unwrap().len() > 0, "the sink has written nothing");
    stage.spec.mart_settings.clear();
    let done = stage.apply(&["--yes", "--json"]).expect(0).json();
    assert_eq!(done["sinks"], json!({ "added": [], "removed": ["more"] }), "{done}");
    stage.check("a sink went");
    assert_eq!(stage.built(), after_all, "what sinks do is nothing to views");

    // Someone is asked, where someone is there.
    stage.pipeline.command("apply", &[]).run().expect(2).says(&["--yes", "--plan"]);
    stage.served.running.terminate().expect(0);
    let expected = Oracle::new().unwrap().views_over_lake(&stage.lake, None, &oracle_views(&stage.spec.views));
    let names: Vec<String> = stage.spec.views.iter().map(|(name, _)| name.clone()).collect();
    Outputs::read(&stage.pipeline).assert_holds(&stage.pipeline, &names, &expected, "at the end");
    every_epoch_holds(&stage.pipeline, &stage.lake, "totals", TOTALS);
    let idle = stage.pipeline.command("apply", &["--json"]).run().expect(0).json();
    assert_eq!((&idle["running"], &idle["applied"]), (&json!(false), &json!(false)));
}

/// Compares the rows that a view had at the end of each epoch with a recompute at that epoch's snapshot.
#[track_caller]
fn every_epoch_holds(pipeline: &PipelineFolder, lake: &Lake, view: &str, sql: &str) {
    let duck = Duck::open_in_memory().unwrap();
    duck.execute(&std::fs::read_to_string(pipeline.changes().join("views.sql")).unwrap()).unwrap();
    let files = pipeline.changes().join(view).join("*.parquet");
    let query = format!(
        "SELECT DISTINCT file_name, regexp_extract(decode(value), 'snapshot_id\\D*(\\d+)', 1) \
         FROM parquet_kv_metadata('{}') WHERE decode(key) = 'tidegate.frontier'",
        files.display()
    );
    let mut statement = duck.connection().prepare(&query).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
    let marks: Vec<(String, String)> = rows.collect::<Result<_, _>>().unwrap();
    assert!(marks.len() > 5, "{marks:?}");
    for (file, snapshot) in marks {
        let name = file.rsplit('/').next().unwrap();
        let epoch: u64 =
            name.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty()).unwrap().parse().unwrap();
        let snapshot = snapshot.parse().unwrap_or_else(|_| panic!("{name} has no snapshot"));
        let views = [(ViewName::new(view), sql.to_owned())];
        let expected = Oracle::new().unwrap().views_over_lake(lake, Some(snapshot), &views);
        let found = ViewRows::read(&duck, &format!("FROM {view}_asof({epoch})")).unwrap();
        found.rows.assert_equals(&expected[0].rows, &format!("epoch {epoch}, snapshot {snapshot}"));
    }
}

#[test]
fn a_page_with_the_token_applies_and_a_run_with_an_end_does_not() {
    let mut stage = Stage::new(Some(TOKEN));
    let bearer = format!("Bearer {TOKEN}");
    stage.set("many", "SELECT customer FROM totals WHERE n > 3");
    stage.pipeline.rewrite(&stage.spec);
    assert_eq!(stage.served.ask("POST", "/api/apply", &[]).status, 401);
    let taken = stage.served.ask("POST", "/api/apply", &[("Authorization", &bearer)]);
    assert_eq!((taken.status, &taken.json()["views"]["many"]), (202, &json!("added")), "{}", taken.body);
    stage.served.until("it is in force", |status| {
        status["phase"]["name"] != "applying" && status["views"]["many"]["rows"].is_number()
    });
    stage.check("by the page");
    // Another name is another pipeline.
    let renamed = Spec { name: "other".to_owned(), ..stage.spec.clone() };
    stage.pipeline.rewrite(&renamed);
    let refused = stage.served.ask("POST", "/api/apply", &[("Authorization", &bearer)]);
    assert_eq!(refused.status, 409, "{}", refused.body);
    stage.pipeline.rewrite(&stage.spec);
    stage.check("after a refusal");
    stage.served.running.terminate().expect(0);

    let run = stage.pipeline.command("run", &["--until", "1000000"]).start();
    let started = std::time::Instant::now();
    let refused = loop {
        let finished = stage.pipeline.command("apply", &["--yes"]).run();
        if finished.code() == Some(1) && finished.stderr.contains("an end of its own") {
            break finished;
        }
        assert!(started.elapsed() < PATIENCE, "{finished:?}");
    };
    refused.says(&["the next one"]);
    run.terminate().expect(0);
}

#[test]
fn a_replication_slot_goes_on() {
    let shop = Shop::new(server(), SETUP);
    shop.once().expect(0);
    let running = shop.program("run", &[]).start();
    let started = std::time::Instant::now();
    while shop.program("status", &["--json"]).run().expect(0).json()["phase"].is_null() {
        assert!(started.elapsed() < PATIENCE, "{}", running.stderr());
    }
    for (round, sql) in ["SELECT id FROM app.t", "SELECT id, upper(v) AS v FROM app.t"].into_iter().enumerate() {
        shop.write(&shop.url(), "", sql);
        shop.sql(&format!("INSERT INTO t VALUES ({}, 'b')", round + 2));
        let applied = shop.program("apply", &["--yes", "--json"]).run().expect(0).json();
        assert_eq!((&applied["views"], &applied["applied"]), (&json!({ "v": "changed" }), &json!(true)));
    }
    shop.sql("INSERT INTO t VALUES (9, 'c')");
    shop.program("drain", &[]).run().expect(0);
    running.wait().expect(0);
    assert_eq!(shop.mart(), "{'id': 1, 'v': A} {'id': 2, 'v': B} {'id': 3, 'v': B} {'id': 9, 'v': C}");
}

/// Whenever it comes, the load is begun again or is over: both are right.
#[test]
fn a_load_that_is_under_way_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let lake = orders(&folder.path().join("lake"));
    lake.execute("INSERT INTO lake.orders SELECT 'c' || i % 1000, i % 100 FROM range(1500000) r(i)");
    let views = vec![("totals".to_owned(), TOTALS.to_owned())];
    let spec = Spec { views, ..Spec::new(&lake) };
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    let served = Served::start(&pipeline, Some(TOKEN));
    served.until("it loads, or has loaded", |status| {
        status["phase"]["doing"] == "loading" || status["epoch"].as_u64() > Some(0)
    });
    let spec = spec.view("large", LARGE);
    pipeline.rewrite(&spec);
    let taken = served.ask("POST", "/api/apply", &[("Authorization", &format!("Bearer {TOKEN}"))]);
    assert_eq!(taken.status, 202, "{}", taken.body);
    served.until("it is in force", |status| {
        status["phase"]["name"] != "applying" && status["views"]["large"]["rows"].is_number()
    });
    served.caught_up(lake.snapshot());
    served.running.terminate().expect(0);
    let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&spec.views));
    let names: Vec<String> = spec.views.iter().map(|(name, _)| name.clone()).collect();
    Outputs::read(&pipeline).assert_holds(&pipeline, &names, &expected, "loaded as the file says");
}

#[test]
fn others_go_on_while_a_view_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let lake = orders(&folder.path().join("lake"));
    lake.execute("INSERT INTO lake.orders SELECT 'c' || i % 1000, (i * 7919) % 5003 FROM range(3000000) r(i)");
    let views = vec![("totals".to_owned(), TOTALS.to_owned())];
    let spec = Spec { views, ..Spec::new(&lake) };
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    let served = Served::start(&pipeline, Some(TOKEN));
    served.caught_up(lake.snapshot());
    // The rows of orders are not kept: they are read from the lake for it.
    let spec = spec.view(
        "amounts",
        "SELECT amount, count(DISTINCT customer) AS n, max(customer) AS last FROM lake.orders GROUP BY amount",
    );
    pipeline.rewrite(&spec);
    let taken = served.ask("POST", "/api/apply", &[("Authorization", &format!("Bearer {TOKEN}"))]);
    assert_eq!(taken.status, 202, "{}", taken.body);
    let refused = served.ask("POST", "/api/apply", &[("Authorization", &format!("Bearer {TOKEN}"))]);
    assert!(refused.status == 409 && refused.body.contains("on its way"), "{}", refused.body);
    let mut epochs = Vec::new();
    loop {
        lake.execute("INSERT INTO lake.orders VALUES ('c1', 7), ('new', 8)");
        lake.execute("DELETE FROM lake.orders WHERE customer = 'c2' AND amount = 2 AND rowid % 50 = 0");
        let status = served.status();
        if status["phase"]["name"] != "applying" {
            break;
        }
        if status["phase"]["building"] == true {
            epochs.push(status["epoch"].as_u64().unwrap());
        }
    }
    epochs.dedup();
    assert!(epochs.len() > 2, "epochs that were made while the view was built: {epochs:?}");
    served.caught_up(lake.snapshot());
    assert_eq!(served.status()["views"]["totals"]["full_steps"], 1);
    let ended = served.running.terminate().expect(0);
    assert!(ended.stderr.contains("takes the views that were built beside the others"), "{}", ended.stderr);
    let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&spec.views));
    let names: Vec<String> = spec.views.iter().map(|(name, _)| name.clone()).collect();
    Outputs::read(&pipeline).assert_holds(&pipeline, &names, &expected, "built beside");
    every_epoch_holds(&pipeline, &lake, "totals", TOTALS);
}

#[test]
fn a_process_that_dies_while_views_are_built_loses_nothing() {
    for name in failpoint::OF_BESIDE {
        let folder = tempfile::tempdir().unwrap();
        let lake = orders(&folder.path().join("lake"));
        let views = vec![("totals".to_owned(), TOTALS.to_owned())];
        let spec = Spec { views, ..Spec::new(&lake) };
        let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
        let program = pipeline.command("run", &["--http", "127.0.0.1:0"]).variable(failpoint::VARIABLE, *name);
        let served = Served::begin(&program);
        served.caught_up(lake.snapshot());
        let spec = spec.view("large", "SELECT customer FROM lake.orders WHERE amount > 10");
        pipeline.rewrite(&spec);
        let mut applying = pipeline.command("apply", &["--yes"]).start();
        let ended = loop {
            lake.execute("INSERT INTO lake.orders VALUES ('c1', 7), ('new', 80)");
            match applying.wait_for(Duration::from_millis(20)) {
                Ok(ended) => break ended,
                Err(still) => applying = still,
            }
        };
        assert_eq!(ended.code(), Some(1), "{name}: {}", ended.stderr);
        let died = served.running.wait();
        assert!(died.aborted(), "{name} was not passed: {}", died.stderr);
        pipeline.catch_up();
        assert!(!pipeline.state().join("beside").exists(), "{name}");
        let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&spec.views));
        let names: Vec<String> = spec.views.iter().map(|(name, _)| name.clone()).collect();
        Outputs::read(&pipeline).assert_holds(&pipeline, &names, &expected, name);
    }
}
