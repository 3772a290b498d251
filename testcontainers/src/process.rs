//! Running the program under test: with limits, killed on purpose, and asked how it ended.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A limit of the system on one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of address space: allocations fail beyond it.
    Memory(u64),
    /// Bytes of any one file: writes fail beyond it, as on a full disk.
    FileSize(u64),
}

/// A program with arguments, not yet started.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    limits: Vec<Limit>,
}

impl Program {
    /// A program by its path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Program { path: path.into(), arguments: Vec::new(), variables: Vec::new(), limits: Vec::new() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a limit.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    fn command(&self) -> Command {
        let mut words = Vec::new();
        if !self.limits.is_empty() {
            words.push("prlimit".to_owned());
            words.extend(self.limits.iter().map(|limit| match limit {
                Limit::Memory(bytes) => format!("--as={bytes}"),
                Limit::FileSize(bytes) => format!("--fsize={bytes}"),
            }));
            // Writing beyond the limit shall fail and not kill.
            words.extend(["env", "--ignore-signal=XFSZ"].map(str::to_owned));
        }
        words.push(self.path.to_string_lossy().into_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(&self.arguments).stdin(Stdio::null());
        // What the caller's environment says about failpoints, logs and collectors is not meant for this one.
        command.env_remove("TIDEGATE_FAILPOINT").env_remove("TIDEGATE_LOG").env("RUST_BACKTRACE", "0");
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.filter(|name| name.starts_with("OTEL_")).for_each(|name| _ = command.env_remove(name));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self) -> Finished {
        self.start().wait()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self) -> Running {
        // Files, because pipes that nobody reads would hold the program up.
        let output = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| File::create(output.path().join(name)).expect("a file in a temporary folder");
        let child = self.command().stdout(file("stdout")).stderr(file("stderr")).spawn();
        let child = child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.path.display()));
        Running { what: format!("{} {}", self.path.display(), self.arguments.join(" ")), child, output }
    }
}

/// A program at work. It is killed when it is dropped.
pub struct Running {
    what: String,
    child: Child,
    output: TempDir,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: nothing of it runs any more.
    pub fn kill(mut self) -> Finished {
        self.child.kill().expect("an own child can be killed");
        self.wait()
    }

    /// SIGTERM: it is asked to end.
    pub fn terminate(self) -> Finished {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.expect("'kill' can be started").success(), "{} is gone already", self.what);
        self.wait()
    }

    /// Waits for its end, so long at the most; `Err` when it still runs.
    pub fn wait_for(mut self, time: Duration) -> Result<Finished, Running> {
        let started = std::time::Instant::now();
        while started.elapsed() < time {
            if self.child.try_wait().expect("an own child can be asked").is_some() {
                return Ok(self.wait());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(self)
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Finished {
        let status = self.child.wait().expect("an own child can be waited for");
        Finished { what: self.what.clone(), status, stdout: self.read("stdout"), stderr: self.read("stderr") }
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        let mut text = Vec::new();
        let file = File::open(self.output.path().join(name)).and_then(|mut file| file.read_to_end(&mut text));
        file.expect("the output of a child can be read");
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Finished {
    what: String,
    status: ExitStatus,
    /// Everything it wrote to standard output.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Whether it stopped at a failpoint.
    pub fn aborted(&self) -> bool {
        self.signal() == Some(6)
    }

    /// Fails the test unless the exit code is this one.
    ///
    /// # Panics
    /// With everything the program wrote.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            Some(code),
            "{}\nended with {}\nstdout: {}\nstderr: {}",
            self.what,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails the test unless standard error has all of these texts.
    ///
    /// # Panics
    /// With everything the program wrote.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{}\ndoes not say {text:?}\nstderr: {}", self.what, self.stderr);
        }
        self
    }

    /// The one JSON value on standard output.
    ///
    /// # Panics
    /// When there is another thing.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("{}\n{error} in stdout: {}", self.what, self.stdout))
    }
}

/// A disk of a few megabytes that can be filled up.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one. `Err` says why that is impossible here (it takes root).
    pub fn mount(bytes: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let size = format!("size={bytes}");
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tidegate-test"]).arg(folder.path()).output();
        let output = output.map_err(|error| format!("'mount' cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(SmallDisk { folder });
        }
        Err(format!("a small disk cannot be mounted: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it up but for so many bytes.
    ///
    /// # Panics
    /// When it has less than that already.
    pub fn fill(&self, free: u64) {
        self.clear();
        let available = self.available();
        let size = available.checked_sub(free).unwrap_or_else(|| panic!("only {available} bytes are free"));
        let status = Command::new("fallocate").arg("-l").arg(size.max(1).to_string()).arg(self.filler()).status();
        assert!(status.expect("'fallocate' can be started").success(), "the disk cannot be filled with {size} bytes");
    }

    /// Gives the space back.
    pub fn clear(&self) {
        let _ = fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    fn available(&self) -> u64 {
        let output = Command::new("df").args(["--output=avail", "-B1"]).arg(self.path()).output();
        let output = output.expect("'df' can be started");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().nth(1).and_then(|line| line.trim().parse().ok()).expect("df answers with a number")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Program {
        Program::new("/bin/sh").arguments(["-c", script])
    }

    #[test]
    fn ends_are_told_apart() {
        let ended = sh("echo out; echo err >&2; exit 3").run().expect(3).says(&["err"]);
        assert_eq!(ended.stdout, "out\n");
        assert!(sh("kill -ABRT $$").run().aborted());
        assert_eq!(sh("sleep 60").start().kill().signal(), Some(9));
        let asked = sh("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done").start();
        while asked.read("stdout").is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(asked.terminate().code(), Some(7));
    }

    #[test]
    fn limits_hold() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let program = sh("head -c 100000 /dev/zero > \"$FILE\"").variable("FILE", file.to_string_lossy());
        let ended = program.limit(Limit::FileSize(1000)).run();
        assert_ne!(ended.code(), Some(0));
        assert_eq!(fs::metadata(file).unwrap().len(), 1000);
    }
}
