//! That everybody tells a failure in the same words, and what `doctor` says to do about it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_testkit::{Finished, Program};

use crate::browser::opened;
use crate::pipeline::tidegate;
use crate::serving::{PATIENCE, Served};

pub type Command<'a> = &'a dyn Fn(&str, &[&str]) -> Program;

/// The faults that `doctor` tells.
#[track_caller]
pub fn faults(command: Command<'_>) -> Vec<Value> {
    let doctor = command("doctor", &["--json"]).run().expect(2).json();
    assert_eq!(doctor["ok"], false);
    let checks = doctor["checks"].as_array().expect("checks");
    checks.iter().filter(|check| check["severity"] == "fault").cloned().collect()
}

/// A run failed. The log, `status` and `doctor` say so in its words; what `doctor` says to do.
#[track_caller]
pub fn fix_told_alike(command: Command<'_>, failed: &Finished) -> String {
    let message = failed.stderr.lines().find_map(|line| line.strip_prefix("error: ")).expect("an error is told");
    let status = command("status", &["--json"]).run().expect(0).json();
    let told: Vec<&str> = status["ending"]["messages"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((told, status["ending"]["exit_code"].as_i64()), (vec![message], failed.code().map(i64::from)));
    let shown = command("status", &[]).run().expect(0).stdout;
    assert!(shown.contains(message), "{shown}");
    let found = faults(command);
    let last = found.iter().find(|check| check["check"] == "last run").expect("the last run is looked at");
    assert!(last["fact"].as_str().unwrap().contains(message), "{last}");
    let fix = last["fix"].as_str().unwrap_or_else(|| panic!("it is not said what to do: {last}")).to_owned();
    assert!(shown.contains(&fix), "{shown} says no {fix}");
    fix
}

/// A run works again, and nobody tells of the failure any more.
#[track_caller]
pub fn runs_again(command: Command<'_>) {
    command("run", &["--once"]).run().expect(0);
    assert!(command("status", &["--json"]).run().expect(0).json()["ending"].is_null());
    command("doctor", &[]).run().expect(0);
}

/// A run failed. Everybody says so in its words; the commands of `doctor` are done until it finds nothing more.
#[track_caller]
pub fn is_mended_by_doctor(command: Command<'_>, failed: &Finished, commands: &[&str]) {
    let mut fix = fix_told_alike(command, failed);
    let mut done = Vec::new();
    loop {
        for line in fix.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words[0], "tidegate", "{fix}");
            tidegate(&words[1..]).run().expect(0);
            done.push(words[1].to_owned());
        }
        if command("run", &["--once"]).run().code() == Some(0) {
            break;
        }
        assert!(done.len() < 5, "{done:?} do not mend it");
        let found = faults(command);
        let last = found.iter().find(|check| check["check"] == "last run").expect("the last run is looked at");
        fix = last["fix"].as_str().unwrap_or_else(|| panic!("it is not said what to do: {last}")).to_owned();
    }
    assert_eq!(done, commands);
    runs_again(command);
}

/// A source or a sink (`sink mart`) of a running pipeline fails, as it does from moment to moment. Once the log, the API, `status`,
/// the metrics and `doctor` agree, and the page in a browser, this is what they say, and what `doctor` says to do.
#[track_caller]
pub fn is_told_while_it_fails(command: Command<'_>, served: &Served, what: &str, state: &str) -> (String, String) {
    let (kind, name) = what.split_once(' ').expect("it is named by its kind and its name");
    let of = |status: &Value| {
        let found = &status[format!("{kind}s")][name];
        (found["state"] == state).then(|| found["error"].as_str().map(str::to_owned)).flatten()
    };
    let gauge = format!("tidegate_{kind}_up{{{kind}=\"{name}\"}} 0");
    let mut page = opened(served);
    let started = Instant::now();
    loop {
        let api = served.status();
        let told = of(&api);
        let errors = api["errors"].as_array().expect("errors");
        let open = errors.iter().find(|error| error["what"] == what && error["resolved_at"].is_null());
        let noted = open.and_then(|error| error["message"].as_str().map(str::to_owned));
        let asked = of(&command("status", &["--json"]).run().expect(0).json());
        let doctor = command("doctor", &["--json"]).run().json();
        let checks = doctor["checks"].as_array().into_iter().flatten();
        let fault = checks.into_iter().find(|check| check["check"] == what && check["severity"] == "fault").cloned();
        let fact = fault.as_ref().and_then(|fault| fault["fact"].as_str());
        let fact = fact.map(|fact| fact.strip_prefix("it is detached: ").unwrap_or(fact).to_owned());
        let metrics = served.ask("GET", "/metrics", &[]).body;
        let log = served.running.stderr();
        let shown = page.text("#problems");
        if let Some(message) = &told
            && [&noted, &asked, &fact].iter().all(|other| other.as_ref() == Some(message))
            && message.lines().all(|line| log.contains(line) && shown.contains(line.trim()))
            && shown.contains(what)
            && metrics.lines().any(|line| line == gauge)
        {
            let fix = fault.as_ref().and_then(|fault| fault["fix"].as_str()).expect("it is said what to do");
            assert_eq!(page.complaints(), Vec::<String>::new());
            return (message.clone(), fix.to_owned());
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{what} is not told alike: {told:?} by the API, {noted:?} among its errors, {asked:?} by status, {fact:?} by doctor, \
             {shown:?} on the page\n{log}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
