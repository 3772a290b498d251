//! Questions that another command of this program answers, in a process of its own: a DuckDB file that a sink of this process
//! writes must not be opened here a second time, since closing it would give up the lock on it (`fcntl(2)`).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PAUSE: Duration = Duration::from_millis(5);

/// The JSON that `tidegate` answers with these arguments, the first of which is the command, or what it says is wrong. Blocks.
pub fn ask(arguments: &[&OsStr], patience: Duration) -> Result<Value, String> {
    let name = format!("`tidegate {}`", arguments.first().copied().unwrap_or_default().to_string_lossy());
    let program = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let failed = |error: std::io::Error| format!("{name} cannot be asked: {error}");
    let (stdout, stderr) = (tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().map_err(failed)?)
        .stderr(stderr.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if started.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} takes longer than {} s: ask it yourself", patience.as_secs()));
        }
        std::thread::sleep(PAUSE);
    };
    let read = |mut file: File| {
        let mut text = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut text)).map(|_| text).map_err(failed)
    };
    if !status.success() {
        let said = read(stderr)?;
        let said = String::from_utf8_lossy(&said);
        let said: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        return Err(if said.is_empty() { format!("{name} failed") } else { said.join("\n") });
    }
    serde_json::from_slice(&read(stdout)?).map_err(|error| format!("{name} answers no JSON: {error}"))
}
