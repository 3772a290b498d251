//! `cargo xtask test`: all test programs of the workspace. Many tests wait, for servers, disks and each other's processes,
//! so that as many programs run at a time as there are cores; what one prints is shown when it has ended.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{cargo, child};

/// The profile that tests are built in.
const PROFILE: &str = "tests";

/// The packages whose tests take longest, in this order. They begin first, lest one of them is left alone at the end.
const LONGEST: [&str; 5] = ["sources/ducklake", "bridge/cli", "sinks/ducklake", "bridge/engine", "sinks/delta"];

/// Runs all tests; with arguments, those that `cargo test` runs with them, in its way.
pub fn run(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        let names_package = |argument: &String| argument == "-p" || argument.starts_with("--package");
        let own = arguments.split(|argument| argument == "--").next().unwrap_or_default();
        let scope = (!own.iter().any(names_package)).then_some("--workspace");
        return cargo(["test", "--profile", PROFILE]).args(scope).args(arguments).run();
    }
    let programs = build()?;
    let count = programs.len();
    let (begin, queue) = (Instant::now(), Mutex::new(VecDeque::from(programs)));
    let failed = Mutex::new(Vec::new());
    let at_a_time = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some(program) = next(&queue) {
                    match program.run() {
                        Ok(true) => {}
                        Ok(false) => lock(&failed).push(program),
                        Err(error) => {
                            eprintln!("error: {error:#}");
                            lock(&failed).push(program);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() {
        println!("all {count} test programs passed, within {}", shown(begin.elapsed()));
        return Ok(());
    }
    // What failed comes last.
    for program in &failed {
        program.show()?;
    }
    let names: Vec<_> = failed.iter().map(|program| program.name.as_str()).collect();
    bail!("of {count} test programs these failed: {}", names.join(", "))
}

fn next(queue: &Mutex<VecDeque<TestProgram>>) -> Option<TestProgram> {
    lock(queue).pop_front()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program with tests.
struct TestProgram {
    /// The package, and what of it is tested.
    name: String,
    /// The package's folder in the checkout.
    package: String,
    file: PathBuf,
    /// The folder of the package, in which its tests run.
    folder: PathBuf,
}

impl TestProgram {
    /// Runs it and says whether it passed; then what it printed is shown, too.
    fn run(&self) -> Result<bool> {
        let begin = Instant::now();
        println!("testing {}", self.name);
        let program = child(&self.file).current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        let passed = program.run_into(&self.output())?;
        if passed {
            self.show()?;
        }
        println!("{} {} after {}", self.name, if passed { "passed" } else { "FAILED" }, shown(begin.elapsed()));
        Ok(passed)
    }

    /// Where its output lies: beside it.
    fn output(&self) -> PathBuf {
        self.file.with_extension("output")
    }

    fn show(&self) -> Result<()> {
        let output = self.output();
        let written = std::fs::read(&output).with_context(|| output.display().to_string())?;
        println!("\n--- {}\n{}", self.name, String::from_utf8_lossy(&written));
        Ok(())
    }
}

fn shown(duration: Duration) -> String {
    format!("{}:{:02} min", duration.as_secs() / 60, duration.as_secs() % 60)
}

/// Builds them, and says where they are.
fn build() -> Result<Vec<TestProgram>> {
    // No examples, and no tests in documentation: there are none.
    let build = cargo(["test", "--no-run", "--profile", PROFILE, "--workspace", "--lib", "--bins", "--tests"]);
    let messages = build.args(["--message-format", "json-render-diagnostics"]).output_shown()?;
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("a message of cargo")?;
        if message["reason"] == "compiler-artifact" && message["profile"]["test"] == true {
            programs.extend(read(&message));
        }
    }
    if programs.is_empty() {
        bail!("cargo names no test programs");
    }
    programs.sort_by_key(|program: &TestProgram| {
        LONGEST.iter().position(|package| program.package == *package).unwrap_or(LONGEST.len())
    });
    Ok(programs)
}

/// A test program that cargo's message tells of.
fn read(message: &Value) -> Option<TestProgram> {
    let file = PathBuf::from(message["executable"].as_str()?);
    let folder = PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_owned();
    let (kind, target) = (message["target"]["kind"][0].as_str()?, message["target"]["name"].as_str()?);
    let package = folder.strip_prefix(crate::process::checkout()).unwrap_or(&folder).display().to_string();
    Some(TestProgram { name: format!("{package} ({kind} {target})"), package, file, folder })
}
