//! Where a server runs: in a container or as a process, and who decides that.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use super::container;
use super::programs::PostgresVersion;

/// The environment variable that says where servers run: `process`, `docker` or `auto`.
pub const VARIABLE: &str = "TIDEGATE_POSTGRES";

/// Where a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// On this machine, from programs that are installed here.
    Process,
    /// In a Docker container.
    Container,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Process => "as a process",
            Backend::Container => "in a container",
        })
    }
}

/// What the variable of a kind of server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Process,
    Docker,
    Auto,
}

impl Wish {
    pub(crate) fn parse(variable: &str, value: &str) -> Result<Self, String> {
        match value {
            "process" => Ok(Wish::Process),
            "docker" => Ok(Wish::Docker),
            "" | "auto" => Ok(Wish::Auto),
            other => Err(format!("{variable} is '{other}': set it to process, docker or auto")),
        }
    }
}

/// Decides where a server of this version runs, unless the test does, and says so once. What was
/// decided holds for the whole process: an engine that comes later is not asked for.
///
/// # Panics
/// When a container is asked for and cannot be had.
pub(super) fn choose(version: PostgresVersion, asked: Option<Backend>) -> Backend {
    static DECIDED: Mutex<BTreeMap<(PostgresVersion, Option<Backend>), Backend>> = Mutex::new(BTreeMap::new());
    // Held while it is decided: nobody else pulls the same image meanwhile.
    let mut decided = DECIDED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(backend) = decided.get(&(version, asked)) {
        return *backend;
    }
    let wish = match asked {
        Some(Backend::Process) => Wish::Process,
        Some(Backend::Container) => Wish::Docker,
        None => Wish::parse(VARIABLE, &std::env::var(VARIABLE).unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}")),
    };
    let image = || container::have_image(version, &say);
    let (backend, reason) = decide(wish, image)
        .unwrap_or_else(|reason| panic!("PostgreSQL {} cannot run {}: {reason}", version.major(), Backend::Container));
    say(&format!("PostgreSQL {} runs {backend}: {reason}", version.major()));
    decided.insert((version, asked), backend);
    backend
}

/// The rule, with its reason. `image` makes sure that an engine has the image, or says why not.
fn decide(wish: Wish, image: impl FnOnce() -> Result<String, String>) -> Result<(Backend, String), String> {
    match wish {
        Wish::Process => Ok((Backend::Process, "that was asked for".to_owned())),
        Wish::Docker => image().map(|image| (Backend::Container, format!("that was asked for; the image is {image}"))),
        Wish::Auto => Ok(match image() {
            Ok(image) => (Backend::Container, format!("Docker has the image {image}")),
            Err(reason) => (Backend::Process, reason),
        }),
    }
}

/// Writes a line past the capture of the test harness, which would keep it to itself.
pub(crate) fn say(line: &str) {
    // A closed standard error has no reader who misses it.
    let _ = writeln!(std::io::stderr().lock(), "tidegate-testkit: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auto_falls_back_and_says_why() {
        let there = || Ok("postgres:18".to_owned());
        let absent = || Err("no engine answers".to_owned());
        let never = || panic!("a process needs no image");
        assert_eq!(decide(Wish::Process, never).unwrap().0, Backend::Process);
        assert_eq!(decide(Wish::Docker, there).unwrap().0, Backend::Container);
        assert_eq!(decide(Wish::Docker, absent).unwrap_err(), "no engine answers");
        assert_eq!(decide(Wish::Auto, there).unwrap().0, Backend::Container);
        assert_eq!(decide(Wish::Auto, absent).unwrap(), (Backend::Process, "no engine answers".to_owned()));
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for (value, wish) in
            [("process", Wish::Process), ("docker", Wish::Docker), ("auto", Wish::Auto), ("", Wish::Auto)]
        {
            assert_eq!(Wish::parse(VARIABLE, value), Ok(wish));
        }
        let refused = Wish::parse(VARIABLE, "podman").unwrap_err();
        assert!(refused.contains("'podman'") && refused.contains("process, docker or auto"), "{refused}");
    }
}
