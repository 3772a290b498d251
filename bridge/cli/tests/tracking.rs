//! `track` and `untrack`: the pipeline file before and after, and what is refused.

use std::fs;

use serde_json::json;
use tempfile::TempDir;
use tidegate_testkit::{Catalog, Finished, Lake};

use crate::pipeline::{PipelineFolder, Spec};

fn scene() -> (TempDir, PipelineFolder) {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
    lake.execute("CREATE TABLE lake.orders (id INTEGER, name VARCHAR); INSERT INTO lake.orders VALUES (1, 'one')");
    lake.execute("CREATE TABLE lake.\"Order Items\" (id INTEGER, n INTEGER)");
    let mut spec = Spec::new(&lake);
    spec.views = vec![("v".to_owned(), "SELECT id FROM lake.orders".to_owned())];
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    let text = fs::read_to_string(pipeline.file()).unwrap().replace("[sinks.mart]", "# The mart.\n[sinks.mart] # here");
    fs::write(pipeline.file(), text).unwrap();
    (folder, pipeline)
}

#[test]
fn tables_are_tracked_and_the_rest_of_the_file_stays() {
    let (_folder, pipeline) = scene();
    // A blank line at the end stays there.
    let text = || fs::read_to_string(pipeline.file()).unwrap().trim_end().to_owned();
    let run = |verb: &str, arguments: &[&str]| pipeline.command(verb, arguments).run().expect(0);
    let track = |arguments: &[&str]| run("track", arguments);
    let before = text();
    track(&["lake.orders", "--key", "id", "--retention", "90d"]).says_too(&[
        "as the view lake_orders, by id",
        "kept for 90d",
        "the next `tidegate run",
    ]);
    let added = "\n[track.\"lake.orders\"]\nkey = [\"id\"]\nretention = \"90d\"";
    assert_eq!(text(), format!("{before}\n{added}"));
    track(&["LAKE.Orders", "--key", "id", "--retention", "90d"])
        .says_too(&["lake.orders is tracked like this already"]);
    assert_eq!(text(), format!("{before}\n{added}"));
    track(&["lake.orders", "--key", "id,name"]).says_too(&["lake.orders is now tracked", "kept for ever"]);
    assert_eq!(text(), format!("{before}\n\n[track.\"lake.orders\"]\nkey = [\"id\", \"name\"]"));
    track(&["lake.main.\"Order Items\"", "--key", "id", "--key", "n"]);
    assert!(
        text().contains("'lake.main.\"Order Items\"'") || text().contains("lake.main.\\\"Order Items\\\""),
        "{}",
        text()
    );
    pipeline.catch_up();
    let status = run("status", &[]).stdout;
    assert!(
        status.contains("tracked table") && status.contains("lake.orders") && status.contains("for ever"),
        "{status}"
    );
    let status = run("status", &["--json"]).json();
    assert_eq!(status["tracked"]["lake.orders"]["view"], "lake_orders");
    assert_eq!(status["tracked"]["lake.orders"]["key"][1], "name");
    assert_eq!(status["views"]["lake_main_Order_Items"]["rows"], 0);
    run("sql", &["SELECT orders.name FROM lake.orders", "--format", "csv"]).says_too(&["one"]);
    run("untrack", &["lake.orders"]).says_too(&["lake.orders is no longer tracked"]);
    run("untrack", &["lake.main.\"Order Items\""]);
    assert_eq!(text(), before);
    run("untrack", &["lake.orders"]).says_too(&["lake.orders is not tracked"]);
    pipeline.catch_up();
}

#[test]
fn what_check_would_refuse_is_not_written() {
    let (_folder, pipeline) = scene();
    let before = fs::read_to_string(pipeline.file()).unwrap();
    let refused = |arguments: &[&str], words: &[&str]| {
        pipeline.command("track", arguments).run().expect(2).says(words);
        assert_eq!(fs::read_to_string(pipeline.file()).unwrap(), before);
    };
    refused(&["lake.ordres", "--key", "id"], &["lake.ordres"]);
    refused(&["lake.orders", "--key", "idd"], &["idd"]);
    refused(&["orders", "--key", "id"], &["`orders` is no table of a source"]);
    refused(&["lake.orders", "--key", "id", "--retention", "long"], &["is not a duration"]);
    refused(&["sea.orders", "--key", "id"], &["sea"]);
    let text = before.replace("[views.v]", "[views.lake_orders]");
    fs::write(pipeline.file(), &text).unwrap();
    pipeline
        .command("track", &["lake.orders", "--key", "id"])
        .run()
        .expect(2)
        .says(&["there is a view of that name already"]);
    assert_eq!(fs::read_to_string(pipeline.file()).unwrap(), text);
}

#[test]
fn what_is_kept_of_a_view_is_said_before_it_runs() {
    let (_folder, pipeline) = scene();
    pipeline.command("track", &["lake.orders", "--key", "id", "--retention", "90d"]).run().expect(0);
    let text = fs::read_to_string(pipeline.file()).unwrap();
    let more = text.replace("[views.v]", "[views.v]\ntemporal = true")
        + "\n[sinks.second]\ntype = \"duckdb\"\npath = \"second.duckdb\"\nviews = [\"v\"]\n\
           [views.plain]\nsql = \"SELECT name FROM lake.orders\"\n";
    fs::write(pipeline.file(), more).unwrap();
    let run = |verb: &str, arguments: &[&str]| pipeline.command(verb, arguments).run().expect(0);
    run("check", &[]).says_too(&["history kept for 90 d, in mart\n", "history kept for ever, in mart, second\n"]);
    run("explain", &["lake_orders"]).says_too(&["kept for 90 d, in mart\n"]);
    let checked = run("check", &["--json"]).json();
    for (view, history) in [
        ("lake_orders", json!({ "retention_ms": 7_776_000_000u64, "sinks": ["mart"] })),
        ("v", json!({ "retention_ms": null, "sinks": ["mart", "second"] })),
        ("plain", json!(null)),
    ] {
        assert_eq!(checked["views"][view]["history"], history, "{checked}");
        assert_eq!(run("explain", &[view, "--format", "json"]).json()["history"], history, "{view}");
    }
}

/// What is said on the standard output.
trait Told {
    fn says_too(self, words: &[&str]) -> Self;
}

impl Told for Finished {
    #[track_caller]
    fn says_too(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "{word}: {}", self.stdout);
        }
        self
    }
}
