//! Docker Compose: a project of a demo, what it takes, and that nothing of it stays.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::script::{Demo, Step};
use crate::process::{Child, checkout, child};

/// Its input ends when this process ends, however that happens; what there is of the project goes then.
const KEEPER: &str = r#"
trap '' INT TERM HUP
read -r _
exec docker compose --project-name "$1" --profile '*' down --volumes --remove-orphans --timeout 10
"#;

/// Whether Docker can be used; else one message says what is missing.
pub fn check() -> Result<()> {
    let what = "the demos with Docker Compose need Docker 23 or newer with its plugins `compose` and `buildx`, on Linux x86-64";
    let called = |arguments: &[&str]| child("docker").args(arguments).succeeds();
    ensure!(
        called(&["--version"]),
        "{what}: there is no command `docker`; https://docs.docker.com/engine/install says how to install it"
    );
    ensure!(
        called(&["compose", "version"]),
        "{what}: `docker compose version` fails; on Debian: apt-get install docker-compose"
    );
    ensure!(
        called(&["buildx", "version"]),
        "{what}: `docker buildx version` fails; on Debian: apt-get install docker-buildx"
    );
    if let Err(error) = child("docker").args(["info"]).output() {
        bail!("{what}: the engine does not answer. Start it, or add yourself to the group `docker`\n{error:#}");
    }
    Ok(())
}

/// A demo's services under a name of this process.
pub struct Project {
    name: String,
    folder: PathBuf,
    keeper: process::Child,
}

impl Project {
    pub fn of(demo: Demo) -> Result<Self> {
        let name = format!("tidegate-{}-check-{}", demo.name(), process::id());
        let folder = checkout().join("demos").join(demo.folder());
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper", &name]).current_dir(&folder);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let keeper = keeper.spawn().context("`sh` cannot be started")?;
        Ok(Project { name, folder, keeper })
    }

    /// A call of compose. Published ports are any that are free.
    fn compose(&self, arguments: &[&str]) -> Child {
        child("docker")
            .args(["compose", "--project-name", &self.name])
            .args(arguments)
            .current_dir(&self.folder)
            .env("DEMO_PORT", "0")
            .env("DEMO_STATUS_PORT", "0")
    }

    /// Builds all images.
    pub fn build(&self) -> Result<()> {
        self.compose(&["--profile", "*", "build", "--quiet"]).run()
    }

    /// Brings services up, and waits until they are healthy.
    pub fn up(&self, services: &[&str]) -> Result<()> {
        self.compose(&["up", "--build", "--quiet-pull", "--wait", "--wait-timeout", "300"]).args(services).run()
    }

    /// Does a step; what it writes to standard output is shown, and returned.
    pub fn step(&self, step: &Step) -> Result<String> {
        // Nobody sits at a terminal here.
        let (call, arguments): (&[&str], _) = match step {
            Step::Run(arguments) => (&["run", "--rm", "--no-TTY"], *arguments),
            Step::Exec(arguments) => (&["exec", "--no-TTY"], *arguments),
            Step::Stop(arguments) => (&["stop"], *arguments),
            Step::Start(arguments) => (&["start"], *arguments),
        };
        println!("\n$ docker compose {} {}", call[0], arguments.join(" "));
        let said = self.compose(call).args(arguments).output_shown()?;
        print!("{said}");
        Ok(said)
    }

    /// Asks a service's port 8080 as published, which must answer with 200.
    pub fn get(&self, service: &str, path: &str) -> Result<()> {
        let address = self.compose(&["port", service, "8080"]).output()?;
        let address = address.trim();
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = asked().with_context(|| format!("{service} at {address}"))?;
        let status = answer.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200 "), "{service} answers {path} with: {status}");
        Ok(())
    }

    /// What services wrote last.
    pub fn show_logs(&self) {
        // Something failed already, and is told.
        let _ = self.compose(&["ps", "--all"]).run();
        let _ = self.compose(&["logs", "--no-color", "--tail", "40"]).run();
    }

    /// Stops and removes all of it, volumes too.
    pub fn remove(mut self) -> Result<()> {
        self.compose(&["--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "30"]).run()?;
        for kind in ["container", "volume", "network"] {
            let all: &[&str] = if kind == "container" { &["--all"] } else { &[] };
            let label = format!("label=com.docker.compose.project={}", self.name);
            let left = child("docker").args([kind, "ls", "--quiet", "--filter", &label]).args(all).output()?;
            ensure!(left.trim().is_empty(), "a {kind} of {} is left: {}", self.name, left.trim());
        }
        // Waiting would close its input, which is what it waits for.
        self.keeper.kill()?;
        self.keeper.wait()?;
        Ok(())
    }

    /// What the images of the demo come to; a layer that several have counts once.
    pub fn images(&self) -> Result<Bytes> {
        let names = self.compose(&["--profile", "*", "config", "--images"]).output()?;
        let mut layers = BTreeSet::new();
        for name in names.lines() {
            // Images do not name the layers below them, but the same layer has the same line.
            let format = "{{.Size}} {{.CreatedAt}} {{.CreatedBy}}";
            let history = child("docker").args(["history", "--no-trunc", "--human=false", "--format", format, name]);
            layers.extend(history.output()?.lines().map(str::to_owned));
        }
        let size = |layer: &String| {
            let size = layer.split(' ').next().unwrap_or_default();
            size.parse::<u64>().with_context(|| format!("the size of the layer {layer}"))
        };
        Ok(Bytes(layers.iter().map(size).sum::<Result<u64>>()?))
    }

    /// What the volumes hold.
    pub fn volumes(&self) -> Result<Bytes> {
        let answer = child("docker").args(["system", "df", "--verbose", "--format", "{{json .Volumes}}"]).output()?;
        let volumes: Value = serde_json::from_str(&answer).context("the answer of `docker system df`")?;
        let label = format!("com.docker.compose.project={}", self.name);
        let own = volumes.as_array().into_iter().flatten().filter(|volume| {
            volume["Labels"].as_str().is_some_and(|labels| labels.split(',').any(|found| found == label))
        });
        let sizes = own.map(|volume| {
            let size = volume["Size"].as_str().unwrap_or_default();
            Bytes::parse(size).with_context(|| format!("the size {size} of a volume"))
        });
        Ok(Bytes(sizes.map(|size| Ok(size?.0)).sum::<Result<u64>>()?))
    }
}

/// A size, as Docker writes sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Docker's units, and what they are.
const UNITS: [(&str, f64); 5] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)];

impl Bytes {
    fn parse(text: &str) -> Option<Self> {
        let (unit, bytes) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit))?;
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        Some(Bytes((number * bytes).round() as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        let (unit, size) = UNITS.into_iter().find(|(_, size)| bytes >= *size).unwrap_or(("B", 1.0));
        let digits = usize::from(bytes / size < 10.0 && size > 1.0);
        write!(f, "{:.digits$} {unit}", bytes / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, shown) in [
            ("0B", 0, "0 B"),
            ("12.3kB", 12_300, "12 kB"),
            ("4.56MB", 4_560_000, "4.6 MB"),
            ("1.2GB", 1_200_000_000, "1.2 GB"),
        ] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
        assert_eq!(Bytes::parse("N/A"), None);
    }
}
