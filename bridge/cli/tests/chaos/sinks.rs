//! Sinks that fail while the pipeline goes on, and sinks that are detached.

use tidegate_duck::{Duck, Options};

use super::{is_exact, is_mended_by_doctor, is_told_while_it_fails, pipeline, pipeline_of};
use crate::pipeline::{Spec, tidegate};
use crate::serving::Served;

#[test]
fn a_mart_that_somebody_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline(folder.path(), &[]);
    let served = Served::start(&pipeline, None);
    served.caught_up(lake.snapshot());
    let reader = Duck::open(&pipeline.mart(), &Options::default()).expect("the mart is held by a reader");
    lake.execute("INSERT INTO lake.orders VALUES ('west', 500)");
    let command = |verb: &str, more: &[&str]| pipeline.command(verb, more);
    let (message, fix) = is_told_while_it_fails(&command, &served, "sink mart", "failing");
    assert!(fix.contains("by itself"), "{fix}");
    // The words name the process that holds the file: this one. It lets go.
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    drop(reader);
    served.until("the sink takes commits again", |status| status["sinks"]["mart"]["state"] == "attached");
    served.caught_up(lake.snapshot());
    pipeline.command("doctor", &[]).run().expect(0);
    served.running.terminate().expect(0);
    is_exact(&pipeline, &lake);
}

/// What is kept for a sink is next to nothing, and it is detached when it lacks more.
fn impatient(spec: Spec) -> Spec {
    let settings = ["sink_lag_max = \"1KiB\"", "on_sink_failure = \"detach\"", "retry_for = \"200ms\""];
    Spec { settings: settings.map(str::to_owned).to_vec(), ..spec }
}

const MANY: &str = "INSERT INTO lake.orders SELECT 'customer ' || i, i FROM range(1000) r(i)";

#[test]
fn a_sink_that_is_detached_while_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline_of(folder.path(), impatient);
    let served = Served::start(&pipeline, None);
    served.caught_up(lake.snapshot());
    let reader = Duck::open(&pipeline.mart(), &Options::default()).expect("the mart is held by a reader");
    lake.execute(MANY);
    let command = |verb: &str, more: &[&str]| pipeline.command(verb, more);
    let (_, fix) = is_told_while_it_fails(&command, &served, "sink mart", "detached");
    drop(reader);
    let steps: Vec<Vec<&str>> = fix.lines().map(|line| line.split(' ').skip(1).collect()).collect();
    assert_eq!(steps.iter().map(|step| step[0]).collect::<Vec<_>>(), ["drain", "resync", "run"], "{fix}");
    tidegate(&steps[0]).run().expect(0);
    served.running.wait().expect(0);
    tidegate(&steps[1]).run().expect(0);
    let running = tidegate(&steps[2]).start();
    lake.execute("INSERT INTO lake.orders VALUES ('west', 500)");
    crate::recovery::wait("the sink takes commits again", std::time::Duration::from_millis(50), || {
        let status = pipeline.command("status", &["--json"]).run().expect(0).json();
        let at = status["sources"]["lake"]["position"]["snapshot_id"].as_u64();
        let mart = &status["sinks"]["mart"];
        at >= Some(lake.snapshot()) && mart["state"] == "attached" && mart["behind"] == 0
    });
    pipeline.command("doctor", &[]).run().expect(0);
    running.terminate().expect(0);
    is_exact(&pipeline, &lake);
}

#[test]
fn a_sink_that_a_run_has_detached() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = pipeline_of(folder.path(), impatient);
    let reader = Duck::open(&pipeline.mart(), &Options::default()).expect("the mart is held by a reader");
    lake.execute(MANY);
    let mut failed = pipeline.once().run();
    // What one epoch lacks is kept; with the next one it is too much.
    if failed.code() == Some(1) {
        lake.execute("INSERT INTO lake.orders VALUES ('west', 500)");
        failed = pipeline.once().run();
    }
    let failed = failed.expect(3).says(&["is detached"]);
    drop(reader);
    is_mended_by_doctor(&|verb, more| pipeline.command(verb, more), &failed, &["resync"]);
    is_exact(&pipeline, &lake);
}
