//! `remove`, and `apply --remove-dropped`: what sinks hold of views that are gone goes, beside a process and without one, and
//! nothing else does.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tidegate_core::failpoint;
use tidegate_duck::{Access, Duck, DuckError, Options, quote_ident, quote_literal};
use tidegate_testkit::{Catalog, Lake, Oracle, Tolerance, ViewRows, lake};

use crate::applying::Stage;
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};
use crate::serving::{LARGE, TOTALS, orders};

const MANY: &str = "SELECT customer, n FROM totals WHERE n > 3";

/// A DuckDB sink that gives readers copies, a Delta sink, one on another lake and one that writes lines, all below the pipeline's
/// folder.
const MORE: &str = "\n[sinks.board]\ntype = \"duckdb\"\npath = \"board.duckdb\"\npublish = \"atomic-copy\"\ncommit_interval = \"50ms\"\n\n\
                    [sinks.tables]\ntype = \"delta\"\npath = \"tables\"\ncommit_interval = \"100ms\"\n\n\
                    [sinks.house]\ntype = \"ducklake\"\ncatalog = \"ducklake:sqlite:house.sqlite\"\ndata_path = \"house\"\n\n\
                    [sinks.lines]\ntype = \"jsonl\"\npath = \"lines.jsonl\"\n";

/// A reader of a file, which the process may hold for a commit.
fn reader(file: &Path) -> Duck {
    let options = Options { access: Access::ReadOnly, ..Options::default() };
    let mut opened = None;
    crate::recovery::wait("the file is free", Duration::from_millis(10), || {
        opened = match Duck::open(file, &options) {
            Err(DuckError::Locked { .. }) => None,
            found => Some(found.unwrap()),
        };
        opened.is_some()
    });
    opened.expect("it was waited for")
}

/// Everything that a database has in which a view's name occurs.
fn named_after(duck: &Duck, database: &str, view: &str) -> Vec<String> {
    let sql = format!(
        "SELECT name FROM (SELECT table_name AS name, database_name FROM duckdb_tables() \
         UNION ALL SELECT view_name, database_name FROM duckdb_views() \
         UNION ALL SELECT DISTINCT function_name, database_name FROM duckdb_functions()) \
         WHERE database_name = {} AND contains(name, {})",
        quote_literal(database),
        quote_literal(view)
    );
    let mut statement = duck.connection().prepare(&sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// What the sinks of a pipeline have that bears a view's name.
fn left(pipeline: &PipelineFolder, view: &str) -> Vec<String> {
    let folder = pipeline.file().parent().unwrap().to_owned();
    let mut left = Vec::new();
    let noted = |duck: &Duck, table: &str| {
        let sql = format!("SELECT count(*) FROM {table} WHERE view = {}", quote_literal(view));
        duck.connection().query_row(&sql, [], |row| row.get::<_, u64>(0)).unwrap() > 0
    };
    for name in ["mart", "board"] {
        let file = folder.join(format!("{name}.duckdb"));
        if name == "mart" || file.exists() {
            let duck = reader(&file);
            left.extend(named_after(&duck, name, view));
            left.extend(noted(&duck, "_tidegate_epochs").then(|| format!("{name}: epochs")));
        }
    }
    if folder.join("house.sqlite").exists() {
        let duck = Duck::open_in_memory().unwrap();
        lake::attach(&duck, &Catalog::Sqlite(folder.join("house.sqlite")), "house", &[]).unwrap();
        left.extend(named_after(&duck, "house", view));
        left.extend(noted(&duck, "house._tidegate_epochs").then(|| "house: epochs".to_owned()));
    }
    for place in [pipeline.changes(), folder.join("tables")] {
        let entries = fs::read_dir(&place).into_iter().flatten().map(|entry| entry.unwrap().path());
        left.extend(
            entries.filter(|path| path.to_string_lossy().contains(view)).map(|path| path.display().to_string()),
        );
    }
    for file in ["views.sql", "_tidegate/manifest.json"] {
        let told =
            fs::read_to_string(pipeline.changes().join(file)).unwrap_or_default().contains(&format!("\"{view}\""));
        left.extend(told.then(|| file.to_owned()));
    }
    left
}

#[test]
fn dropped_views_go_while_changes_stream() {
    let mut stage = Stage::new(None);
    stage.spec.mart_settings.push(MORE.to_owned());
    stage.set("many", MANY);
    stage.apply(&["--yes"]).expect(0);
    stage.check("two sinks and a view come");
    assert!(left(&stage.pipeline, "many").len() >= 6, "{:?}", left(&stage.pipeline, "many"));

    // While the file has the view, or the process does, it is not removed.
    stage.meanwhile("remove", &["many", "--yes"]).expect(2).says(&["view many", "sink mart takes", "apply"]);
    stage.drop("many");
    stage.pipeline.rewrite(&stage.spec);
    stage.meanwhile("remove", &["many", "--yes"]).expect(2).says(&["still in force in sink mart", "apply"]);
    stage.pipeline.command("remove", &["many", "--sink", "mrt"]).run().expect(2).says(&["mrt", "did you mean `mart`"]);
    stage.pipeline.command("remove", &["none"]).run().expect(2).says(&["--yes", "--plan"]);

    let said = stage.apply(&["--plan"]).expect(0).stdout;
    assert!(said.contains("stays there, until `tidegate remove`"), "{said}");
    let said = stage.apply(&["--plan", "--remove-dropped"]).expect(0).stdout;
    assert!(said.contains("is kept up to date no more; removed from board, changes, house, mart, tables"), "{said}");
    let all =
        json!({ "board": ["many"], "changes": ["many"], "house": ["many"], "mart": ["many"], "tables": ["many"] });
    let plan = stage.apply(&["--plan", "--json", "--remove-dropped"]).expect(0).json();
    assert_eq!((&plan["removed"], &plan["applied"]), (&all, &json!(false)), "{plan}");
    let done = stage.apply(&["--yes", "--json", "--remove-dropped"]).expect(0).json();
    assert_eq!((&done["removed"], &done["views"]["many"]), (&all, &json!("dropped")), "{done}");
    assert_eq!(left(&stage.pipeline, "many"), Vec::<String>::new());
    stage.check("a view went with what sinks had of it");

    // There is nothing left to do, but for what takes nothing back.
    let again = stage.meanwhile("remove", &["many", "--yes", "--json"]).expect(0).json();
    assert_eq!((&again["removed"], &again["done"]), (&json!({}), &json!(true)), "{again}");
    assert_eq!(again["nothing"]["tables"], json!(["many"]), "{again}");
    assert!(again["kept"]["lines"]["many"].as_str().unwrap().contains("lines"), "{again}");

    // Later, by a command of its own.
    stage.drop("large");
    stage.apply(&["--yes"]).expect(0);
    assert!(!left(&stage.pipeline, "large").is_empty());
    let plan = stage.meanwhile("remove", &["large", "--plan", "--json", "--sink", "mart"]).expect(0).json();
    assert_eq!(plan, json!({ "planned": { "mart": ["large"] }, "done": false }));
    let one = stage.meanwhile("remove", &["large", "--yes", "--json", "--sink", "mart"]).expect(0).json();
    assert_eq!(one["removed"], json!({ "mart": ["large"] }), "{one}");
    let said = stage.meanwhile("remove", &["large", "--yes"]).expect(0).stdout;
    for part in ["large  sink tables   removed", "sink mart     there was nothing of it", "sink lines    stays: lines"]
    {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    assert_eq!(left(&stage.pipeline, "large"), Vec::<String>::new());
    stage.check("a view was removed later");

    // They come again, under the same names.
    stage.set("many", "SELECT customer, total FROM totals WHERE n > 2");
    stage.set("large", LARGE);
    stage.apply(&["--yes"]).expect(0);
    stage.check("two views come again");
    stage.served.running.terminate().expect(0);
}

/// A pipeline that no process runs, caught up.
fn at_rest(folder: &Path, settings: &str) -> (Lake, PipelineFolder, Spec) {
    let lake = orders(&folder.join("lake"));
    let views = vec![("totals".to_owned(), TOTALS.to_owned()), ("many".to_owned(), LARGE.to_owned())];
    let spec = Spec { views, mart_settings: vec![settings.to_owned()], ..Spec::new(&lake) };
    let pipeline = PipelineFolder::create(&folder.join("pipeline"), &spec);
    pipeline.catch_up();
    (lake, pipeline, spec)
}

/// Compares what the mart and the deltas show with a recompute.
#[track_caller]
fn check(lake: &Lake, pipeline: &PipelineFolder, spec: &Spec, what: &str) {
    let views = oracle_views(&spec.views);
    let expected = Oracle::new().unwrap().views_over_lake(lake, None, &views);
    let changes = Duck::open_in_memory().unwrap();
    changes.execute(&fs::read_to_string(pipeline.changes().join("views.sql")).unwrap()).unwrap();
    for (sink, duck) in [("mart", reader(&pipeline.mart())), ("changes", changes)] {
        for ((view, _), expected) in views.iter().zip(&expected) {
            let found = ViewRows::read(&duck, &format!("FROM {view}")).unwrap();
            found.assert_equals(expected, &Tolerance::exact(), &format!("{what}: {view} in {sink}"));
        }
    }
}

#[test]
fn without_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline, mut spec) = at_rest(folder.path(), "");
    spec.views.retain(|(name, _)| name != "many");
    pipeline.rewrite(&spec);
    pipeline
        .command("remove", &["MANY", "--yes"])
        .run()
        .expect(2)
        .says(&["view MANY is still in force", "tidegate run"]);
    // The file comes in force though nothing changed at the source.
    pipeline.catch_up();
    let theirs = Duck::open(&pipeline.mart(), &Options::default()).unwrap();
    theirs.execute("CREATE TABLE theirs AS SELECT 42 AS answer").unwrap();
    drop(theirs);
    let refused = pipeline.command("remove", &["many", "theirs", "--yes", "--json"]).run().expect(2);
    let said = refused.json();
    assert_eq!(said["removed"], json!({ "changes": ["many"], "mart": ["many"] }), "{said}");
    assert_eq!((&said["nothing"], &said["done"]), (&json!({ "changes": ["theirs"] }), &json!(false)), "{said}");
    refused.says(&["sink mart", "theirs", "drop it yourself"]);
    assert_eq!(left(&pipeline, "many"), Vec::<String>::new());
    let answer = "SELECT answer FROM theirs";
    assert_eq!(reader(&pipeline.mart()).connection().query_row(answer, [], |row| row.get::<_, u64>(0)).unwrap(), 42);
    check(&lake, &pipeline, &spec, "after a removal");

    // A view that stays, in a sink that takes it no more.
    spec.views.push(("many".to_owned(), LARGE.to_owned()));
    pipeline.rewrite(&spec);
    pipeline.catch_up();
    spec.mart_settings = vec!["views = [\"totals\"]".to_owned()];
    pipeline.rewrite(&spec);
    pipeline.command("remove", &["many", "--yes"]).run().expect(2).says(&["sink changes takes", "--sink"]);
    let said = pipeline.command("remove", &["many", "--yes", "--sink", "mart"]).run().expect(0).stdout;
    assert!(said.contains("removed"), "{said}");
    lake.execute("INSERT INTO lake.orders VALUES ('north', 300)");
    pipeline.catch_up();
    assert!(Outputs::read(&pipeline).changes.contains_key("many"));
    assert!(!Outputs::read(&pipeline).mart.contains_key("many"));
}

#[test]
fn a_reader_that_holds_the_mart_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (_lake, pipeline, mut spec) = at_rest(folder.path(), "");
    spec.views.retain(|(name, _)| name != "many");
    pipeline.rewrite(&spec);
    pipeline.catch_up();
    let held = reader(&pipeline.mart());
    let running = pipeline.command("remove", &["many", "--yes", "--json", "--sink", "mart"]).start();
    let running = running.wait_for(Duration::from_secs(2)).expect_err("it waits for the reader");
    drop(held);
    let done = running.wait().expect(0).json();
    assert_eq!(done["removed"], json!({ "mart": ["many"] }), "{done}");
}

#[test]
fn a_killed_removal_is_finished_by_another_or_by_the_view_that_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline, whole) = at_rest(folder.path(), MORE);
    let mut without = whole.clone();
    without.views.retain(|(name, _)| name != "many");
    let whole = Spec { view_settings: vec!["temporal = true".to_owned()], ..whole };
    for (round, name) in failpoint::OF_REMOVALS.iter().enumerate() {
        lake.execute(&format!("INSERT INTO lake.orders VALUES ('c{round}', {}), ('north', 7)", 95 + round));
        pipeline.rewrite(&whole);
        pipeline.catch_up();
        check(&lake, &pipeline, &whole, &format!("before {name}"));
        pipeline.rewrite(&without);
        pipeline.catch_up();
        let killed = pipeline.command("remove", &["many", "--yes"]).variable(failpoint::VARIABLE, *name).run();
        assert!(killed.aborted(), "failpoint {name} was never passed: {killed:?}");
        if round % 2 == 0 {
            let done = pipeline.command("remove", &["many", "--yes", "--json"]).run().expect(0).json();
            assert_eq!(done["done"], json!(true), "{name}: {done}");
            assert_eq!(left(&pipeline, "many"), Vec::<String>::new(), "{name}");
            let again = pipeline.command("remove", &["many", "--yes", "--json"]).run().expect(0).json();
            assert_eq!(again["removed"], json!({}), "{name}: {again}");
        }
        check(&lake, &pipeline, &without, &format!("after {name}"));
    }
    pipeline.rewrite(&whole);
    pipeline.catch_up();
    check(&lake, &pipeline, &whole, "at the end");
    for sink in ["board", "changes", "house", "mart", "tables"] {
        let rows = pipeline.command("resync", &[sink, "--json"]).run().expect(0).json();
        assert_eq!(rows["view_rows"], json!({ "many": 0, "totals": 0 }), "sink {sink}: {rows}");
    }
    let duck = reader(&pipeline.mart());
    assert!(!named_after(&duck, "mart", "many").is_empty());
    let versions = format!("SELECT count(*) FROM {}", quote_ident("many_history"));
    assert!(duck.connection().query_row(&versions, [], |row| row.get::<_, u64>(0)).unwrap() > 0);
}
