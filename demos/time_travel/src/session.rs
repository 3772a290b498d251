//! A session at a terminal: commands are shown as typed, run by the shell, and what they say is shown.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cast::Cast;

/// The session so far.
pub struct Session {
    folder: PathBuf,
    /// Where the shell looks for programs.
    path: OsString,
    cast: Cast,
    /// Whether a remark was the last.
    remarked: bool,
}

impl Session {
    /// Begins in a folder, with an empty recording. `tidegate` lies beside this program, or in the folder that is given.
    pub fn begin(folder: &Path, programs: Option<&Path>, cast: Cast) -> Result<Self> {
        let own = std::env::current_exe().context("this program's place is not known")?;
        let programs = match programs {
            Some(programs) => std::path::absolute(programs)?,
            None => own.parent().context("the program lies in a folder")?.to_owned(),
        };
        let program = programs.join("tidegate");
        ensure!(program.is_file(), "{} is not there: `cargo xtask demo time-travel` builds it", program.display());
        let others = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&others)))?;
        Ok(Session { folder: folder.to_owned(), path, cast, remarked: false })
    }

    /// What somebody thinks, as a comment.
    pub fn remark(&mut self, text: &str) {
        self.blank();
        for line in text.lines() {
            println!("# {line}");
            self.cast.remark(&format!("# {line}"));
        }
        self.cast.pause(0.4 + text.len() as f64 * 0.015);
        self.remarked = true;
    }

    /// A blank line, but not at the beginning.
    fn blank(&mut self) {
        if !self.cast.events.is_empty() {
            self.cast.pause(0.5);
            self.cast.print("\n");
            println!();
        }
    }

    /// Runs a command line, which must succeed; what it says is returned as well.
    pub fn command(&mut self, line: &str) -> Result<String> {
        self.typed("$ ", line);
        let (mut reader, writer) = io::pipe()?;
        let mut child = Command::new("sh")
            .args(["-c", line])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env_remove("TIDEGATE_LOG")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()
            .context("sh cannot be started")?;
        let mut said = String::new();
        reader.read_to_string(&mut said)?;
        print!("{said}");
        let status = child.wait()?;
        if !status.success() {
            bail!("`{line}` failed ({status})");
        }
        self.cast.pause(0.4);
        self.cast.print(&said);
        self.cast.pause(1.0 + said.lines().count() as f64 * 0.1);
        Ok(said)
    }

    /// Shows a statement at DuckDB's prompt, while it is run there.
    pub fn statement(&mut self, sql: &str, run: impl FnOnce(&str) -> Result<()>) -> Result<()> {
        self.typed("D ", sql);
        run(sql)?;
        self.cast.pause(1.0);
        Ok(())
    }

    fn typed(&mut self, prompt: &str, line: &str) {
        if !std::mem::take(&mut self.remarked) {
            self.blank();
        }
        for (number, line) in line.lines().enumerate() {
            let prompt = if number == 0 { prompt } else { "> " };
            println!("{prompt}{line}");
            self.cast.typed(prompt, line);
        }
        // A command may take its time.
        let _ = io::stdout().flush();
    }

    /// The recording.
    pub fn end(mut self) -> Cast {
        self.cast.pause(4.0);
        self.cast
    }
}
