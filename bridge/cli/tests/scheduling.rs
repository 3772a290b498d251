//! Pipelines that work at set times: a sink with a schedule, runs as jobs, and the examples of the book.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::Value;
use tidegate_testkit::{Lake, Oracle};

use crate::database_faults::{SETUP, Shop, server};
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};
use crate::serving::{PATIENCE, TOTALS, orders};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn example(name: &str) -> String {
    fs::read_to_string(docs().join("scheduling").join(name)).unwrap()
}

fn shop(folder: &Path, mart_settings: &[&str]) -> (Lake, PipelineFolder) {
    let lake = orders(&folder.join("lake"));
    let views = vec![("totals".to_owned(), TOTALS.to_owned())];
    let mart_settings = mart_settings.iter().map(|line| (*line).to_owned()).collect();
    let pipeline = PipelineFolder::create(&folder.join("etc"), &Spec { views, mart_settings, ..Spec::new(&lake) });
    (lake, pipeline)
}

/// A command line of the book as it would run there, with the program, the pipeline and the folders of this test.
fn shell(line: &str, folder: &Path, pipeline: &PipelineFolder) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
    let path = format!("{}:{}", program.display(), env::var("PATH").unwrap());
    let line = line.replace("/usr/bin/tidegate", "tidegate");
    let line = line.replace("/etc/shop/pipeline.toml", &pipeline.file().to_string_lossy());
    let line = line.replace("/var/", &format!("{}/", folder.display()));
    Command::new("sh").args(["-c", &line]).env("PATH", path).output().expect("there is a shell")
}

/// The status, once it is as it shall be.
fn told(pipeline: &PipelineFolder, holds: impl Fn(&Value) -> bool) -> Value {
    let since = Instant::now();
    loop {
        let status = pipeline.command("status", &["--json"]).run().expect(0).json();
        if holds(&status) {
            return status;
        }
        assert!(since.elapsed() < PATIENCE, "{status}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_examples_are_those_of_the_book() {
    let page = fs::read_to_string(docs().join("src/scheduling.md")).unwrap();
    for file in fs::read_dir(docs().join("scheduling")).unwrap().map(Result::unwrap) {
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(page.contains(&format!("\n{text}```\n")), "{} is another one in the book", file.path().display());
    }
}

#[test]
fn the_line_of_the_crontab_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, pipeline) = shop(folder.path(), &[]);
    for made in ["lib/shop", "log/shop"] {
        fs::create_dir_all(folder.path().join(made)).unwrap();
    }
    let crontab = example("crontab");
    let line = crontab.lines().find_map(|line| line.strip_prefix("*/15 * * * * ")).expect("a quarter of an hour");
    let run = || shell(line, folder.path(), &pipeline);
    assert!(run().status.success());
    lake.execute("INSERT INTO lake.orders VALUES ('x', 5)");
    assert!(run().status.success());
    assert!(run().status.success(), "a run with nothing to do is one too");
    // While a run is at work, another one is left out.
    let lock = folder.path().join("lib/shop/run.lock");
    let mut holder = Command::new("flock");
    holder.arg("-n").arg(&lock).args(["sh", "-c", "echo held; read _"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut held = holder.spawn().expect("flock is in Debian's package util-linux");
    let mut said = [0; 5];
    held.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(run().status.code(), Some(1));
    drop(held.stdin.take());
    held.wait().unwrap();
    let told = fs::read_to_string(folder.path().join("log/shop/runs.jsonl")).unwrap();
    let runs: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let epochs: Vec<_> = runs.iter().map(|run| (run["epoch"].as_u64().unwrap(), run["epochs"].as_u64())).collect();
    assert_eq!(epochs, [(1, Some(1)), (2, Some(1)), (2, Some(0))]);
    let views = [("totals".to_owned(), TOTALS.to_owned())];
    let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&views));
    Outputs::read(&pipeline).assert_holds(&pipeline, &["totals".to_owned()], &expected, "after the jobs");
}

#[test]
fn the_commands_of_systemd_and_kubernetes_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let (_, pipeline) = shop(folder.path(), &[]);
    let unit = example("shop-views.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let job = example("cronjob.yaml");
    let arguments = job.lines().find_map(|line| line.trim().strip_prefix("args: ")).expect("arguments");
    let arguments: Vec<String> = serde_json::from_str(arguments).expect("a list in the form of JSON");
    for line in [start.to_owned(), format!("tidegate {}", arguments.join(" "))] {
        let run = shell(&line, folder.path(), &pipeline);
        assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
        let summary: Value = serde_json::from_slice(&run.stdout).expect("one object and nothing else");
        assert_eq!(summary["epoch"], 1, "{line}");
        let log = String::from_utf8(run.stderr).unwrap();
        assert!(
            log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object())),
            "{log}"
        );
    }
}

#[test]
fn a_sink_follows_its_schedule() {
    let folder = tempfile::tempdir().unwrap();
    // Every second one. What it looks like at other paces is tested with a clock that can be set.
    let (lake, pipeline) =
        shop(folder.path(), &["commit_schedule = '*/2 * * * * *'", "commit_timezone = 'Asia/Tokyo'"]);
    pipeline.catch_up();
    let running = pipeline.command("run", &[]).start();
    lake.execute("INSERT INTO lake.orders VALUES ('x', 5)");
    let status = told(&pipeline, |status| status["running"] == true && status["sinks"]["mart"]["epoch"] == 2);
    let next = status["sinks"]["mart"]["next_commit"].as_str().expect("when it commits next").to_owned();
    let second: u32 = next["2026-11-23T23:05:".len()..][..2].parse().unwrap();
    assert_eq!(second % 2, 0, "{next}");
    assert!(status["sinks"]["changes"].get("next_commit").is_none(), "{status}");
    assert!(pipeline.command("status", &[]).run().expect(0).stdout.contains(&next[..14]));
    pipeline.command("drain", &[]).run().expect(0);
    running.wait().expect(0);
    let views = [("totals".to_owned(), TOTALS.to_owned())];
    let expected = Oracle::new().unwrap().views_over_lake(&lake, None, &oracle_views(&views));
    Outputs::read(&pipeline).assert_holds(&pipeline, &["totals".to_owned()], &expected, "after its moment");
}

#[test]
fn a_frontier_that_nobody_can_reach_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (_, pipeline) = shop(folder.path(), &[]);
    let until = |frontier| pipeline.command("run", &["--until", frontier]).run().expect(2).stderr;
    let said = until(r#"{"ducklake:lak": {"snapshot_id": 1}}"#);
    assert!(said.contains("there is no source `ducklake:lak`; did you mean `ducklake:lake`?"), "{said}");
    assert!(!pipeline.state().exists(), "nothing was begun");
}

#[test]
fn a_run_waits_for_a_position_of_the_log() {
    let shop = Shop::new(server(), SETUP);
    let loaded = shop.once().expect(0).json();
    let lsn = loaded["frontier"]["postgres:app"]["lsn"].as_str().expect("a position").to_owned();
    let (high, low) = lsn.split_once('/').unwrap();
    let [high, low] = [high, low].map(|part| u64::from_str_radix(part, 16).unwrap());
    // Two MiB further on, of which there is nothing yet.
    let bound = (high << 32) + low + (2 << 20);
    let frontier = format!("{{\"postgres:app\": {{\"lsn\": \"{:X}/{:X}\"}}}}", bound >> 32, bound as u32);
    let running = shop.program("run", &["--json", "--until", &frontier]).start();
    let status = || shop.program("status", &["--json"]).run().expect(0).json();
    let since = Instant::now();
    shop.sql("INSERT INTO t VALUES (2, 'b')");
    while !(status()["sinks"]["mart"]["epoch"] == 2 && status()["running"] == true) {
        assert!(since.elapsed() < PATIENCE, "{}", running.stderr());
    }
    shop.sql("INSERT INTO t VALUES (3, 'c')");
    shop.sql("CREATE TABLE other AS SELECT repeat(md5(i::text), 30) FROM generate_series(1, 5000) t(i)");
    let summary = running.wait_for(PATIENCE).unwrap_or_else(|running| panic!("{}", running.stderr())).expect(0);
    assert_eq!(summary.json()["source_rows"], 2);
    assert!(shop.mart().contains("'v': c"), "{}", shop.mart());
}
