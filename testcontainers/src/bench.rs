//! Bench reports: a table on standard output, `target/bench/<name>.json`, and gates that fail the
//! process when they do not hold.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

/// A limit that a measurement must keep.
#[derive(Debug, Clone, Serialize)]
pub struct Gate {
    /// What is limited.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// The greatest value allowed.
    pub limit: f64,
    /// Whether `value <= limit`.
    pub holds: bool,
}

/// One row of a bench: what was measured, and the figures by name (units last in the name).
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// The case.
    pub case: String,
    /// Figures in the order of the table's columns.
    pub figures: Vec<(String, f64)>,
}

/// What a bench found.
#[derive(Debug, Serialize)]
pub struct Report {
    name: String,
    machine: Machine,
    versions: Vec<(String, String)>,
    measurements: Vec<Measurement>,
    gates: Vec<Gate>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    os: String,
}

impl Report {
    /// An empty report of the bench `name`; `versions` are those of the libraries that matter.
    pub fn new(name: &str, versions: &[(&str, &str)]) -> Self {
        let versions = versions.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
        Report { name: name.to_owned(), machine: machine(), versions, measurements: Vec::new(), gates: Vec::new() }
    }

    /// Adds a row.
    pub fn measure(&mut self, case: impl Into<String>, figures: &[(&str, f64)]) {
        let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.measurements.push(Measurement { case: case.into(), figures });
    }

    /// Adds a gate: `value` must not exceed `limit`.
    pub fn gate(&mut self, name: impl Into<String>, value: f64, limit: f64) {
        self.gates.push(Gate { name: name.into(), value, limit, holds: value <= limit });
    }

    /// Prints the table, writes the JSON, and answers what the process ends with: 0 when all gates hold, else 1. It is for `main` to
    /// return, so that what it has made is cleared away.
    pub fn finish(self) -> ExitCode {
        println!(
            "\n{} on {} ({} cores, {:.0} GiB)",
            self.name, self.machine.cpu, self.machine.cores, self.machine.memory_gib
        );
        for (name, version) in &self.versions {
            println!("  {name} {version}");
        }
        let width = self.measurements.iter().map(|m| m.case.len()).max().unwrap_or(4);
        let mut columns: Vec<&str> = Vec::new();
        for measurement in &self.measurements {
            let names: Vec<&str> = measurement.figures.iter().map(|(name, _)| name.as_str()).collect();
            if names != columns {
                columns = names;
                let header: Vec<String> = columns.iter().map(|name| format!("{name:>16}")).collect();
                println!("\n{:width$} {}", "case", header.join(" "));
            }
            let row: Vec<String> = measurement.figures.iter().map(|(_, value)| format!("{value:>16.3}")).collect();
            println!("{:width$} {}", measurement.case, row.join(" "));
        }
        println!();
        for gate in &self.gates {
            let verdict = if gate.holds { "holds" } else { "DOES NOT HOLD" };
            println!("gate {}: {:.3} (limit {:.3}) {verdict}", gate.name, gate.value, gate.limit);
        }
        let path = target_dir().join("bench").join(format!("{}.json", self.name));
        let json = serde_json::to_string_pretty(&self).expect("a report is plain data");
        let folder = path.parent().expect("the path has a folder");
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, json)).expect("the report can be written");
        println!("written to {}", path.display());
        ExitCode::from(u8::from(self.gates.iter().any(|gate| !gate.holds)))
    }
}

/// The target folder that the running bench was built into.
fn target_dir() -> PathBuf {
    let binary = std::env::current_exe().expect("a process has a binary");
    let is_target = |dir: &&std::path::Path| dir.join("CACHEDIR.TAG").exists() || dir.ends_with("target");
    binary.ancestors().find(is_target).map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split(':').nth(1).unwrap_or_default().trim().to_owned()
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let memory_kib: f64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let os = read("/etc/os-release");
    let os = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or(std::env::consts::OS);
    Machine {
        cpu: field(&read("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_gib: memory_kib / 1024.0 / 1024.0,
        os: os.trim_matches('"').to_owned(),
    }
}

/// Milliseconds of a duration.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The median of some figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The figure that a share of some figures, which stand in order, does not exceed.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share) as usize).copied().unwrap_or(f64::NAN)
}

/// Has the system write what earlier measurements left to be written, so that it is not written during the next one.
pub fn settle() {
    rustix::fs::sync();
}

/// How long `work` takes, in milliseconds, and what it answers.
pub fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let answer = work();
    (ms(start.elapsed()), answer)
}
