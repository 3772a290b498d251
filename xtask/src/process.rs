//! Child processes: they get no standard input, so that nothing ever waits for a person, and a
//! failed one ends the task with its command line.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A command to be run.
pub struct Child(Command);

/// A command by its program name.
pub fn child(program: impl AsRef<OsStr>) -> Child {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    Child(command)
}

/// The cargo that started this task, in the root of the checkout. What cargo told this task about
/// its own package is not passed on: build scripts of dependencies watch these variables, and
/// everything would be compiled again after a direct call of cargo or in another clone.
pub fn cargo<const N: usize>(arguments: [&str; N]) -> Child {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = child(program).args(arguments).current_dir(checkout());
    let of_this_package =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| of_this_package.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.0.env_remove(&name);
        }
    }
    cargo
}

/// The root of the checkout. Cargo says where it is each time: checkouts that share a target folder share this program, too.
pub fn checkout() -> PathBuf {
    let own_folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let own_folder = own_folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    own_folder.parent().expect("the manifest of xtask lies in a folder of the checkout").to_owned()
}

impl Child {
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn current_dir(mut self, folder: impl AsRef<std::path::Path>) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Runs it with the output of this task.
    pub fn run(mut self) -> Result<()> {
        let status = self.0.status().with_context(|| format!("`{self}` could not be started"))?;
        if !status.success() {
            bail!("`{self}` failed ({status})");
        }
        Ok(())
    }

    /// Runs it and returns what it wrote to standard output; what it wrote to standard error is
    /// part of the message when it fails.
    pub fn output(mut self) -> Result<String> {
        let output = self.0.output().with_context(|| format!("`{self}` could not be started"))?;
        if !output.status.success() {
            bail!("`{self}` failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{self}` wrote something that is not UTF-8"))
    }

    /// Runs it with the standard error of this task, and returns what it wrote to standard output.
    pub fn output_shown(mut self) -> Result<String> {
        let output =
            self.0.stderr(Stdio::inherit()).output().with_context(|| format!("`{self}` could not be started"))?;
        if !output.status.success() {
            bail!("`{self}` failed ({})", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{self}` wrote something that is not UTF-8"))
    }

    /// Runs it and returns whether it succeeded; what it writes goes into a file. A pipe would also wait for whatever it
    /// leaves running.
    pub fn run_into(mut self, file: &std::path::Path) -> Result<bool> {
        let output = std::fs::File::create(file).with_context(|| file.display().to_string())?;
        let errors = output.try_clone().with_context(|| file.display().to_string())?;
        let status = self.0.stdout(output).stderr(errors).status();
        Ok(status.with_context(|| format!("`{self}` could not be started"))?.success())
    }

    /// Whether it can be started and succeeds.
    pub fn succeeds(mut self) -> bool {
        self.0.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

/// The command line.
impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", PathBuf::from(self.0.get_program()).display())?;
        self.0.get_args().try_for_each(|argument| write!(f, " {}", argument.to_string_lossy()))
    }
}
