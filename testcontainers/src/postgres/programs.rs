//! PostgreSQL's programs on this machine: where each version of them lies, and as whom they run. The server
//! refuses to run as root, and so root's tests run it under another account.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::cache;

/// Whom the server runs as when the test is root.
const UNPRIVILEGED: &str = "nobody";
/// The folder in the cache with version 18, from an npm package; it has no client programs.
const PLACE_18: &str = "postgres-18.4";
/// Where Debian's packages put a version, and its libraries where they are not installed.
const DEBIAN: &str = "usr/lib/postgresql";
const DEBIAN_LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The versions that the tests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PostgresVersion {
    /// The oldest that Tidegate reads from.
    V15,
    /// One between. No test needs its programs on this machine: it is for containers.
    V17,
    /// The newest.
    V18,
}

impl PostgresVersion {
    /// Those that a test runs on which is for every version. One that does not choose gets the last.
    pub const ALL: VersionsUnderTest = VersionsUnderTest;

    /// The number before the dot.
    pub fn major(self) -> u32 {
        match self {
            PostgresVersion::V15 => 15,
            PostgresVersion::V17 => 17,
            PostgresVersion::V18 => 18,
        }
    }

    /// A command that runs one of the programs of this version, such as `psql` or
    /// `pg_recvlogical`. Version 18 has the server's own alone; the clients of 15 talk to it too.
    ///
    /// # Panics
    /// When the version is not installed or has no such program.
    pub fn command(self, name: &str) -> Command {
        let programs = Programs::locate(self);
        let path = programs.path(name);
        assert!(path.is_file(), "PostgreSQL {} has no '{name}' here: there is no {}", self.major(), path.display());
        let mut command = Command::new(path);
        programs.lend_libraries(&mut command);
        command
    }
}

/// The environment variable that names other versions to test, `17` or `15,17,18`.
const VERSIONS: &str = "TIDEGATE_POSTGRES_VERSIONS";

/// The oldest version and the newest, unless the environment variable `TIDEGATE_POSTGRES_VERSIONS`
/// names others.
#[derive(Debug, Clone, Copy)]
pub struct VersionsUnderTest;

impl IntoIterator for VersionsUnderTest {
    type Item = PostgresVersion;
    type IntoIter = std::vec::IntoIter<PostgresVersion>;

    fn into_iter(self) -> Self::IntoIter {
        let named = std::env::var(VERSIONS).unwrap_or_default();
        versions(&named).unwrap_or_else(|error| panic!("{error}")).into_iter()
    }
}

fn versions(named: &str) -> Result<Vec<PostgresVersion>, String> {
    if named.is_empty() {
        return Ok(vec![PostgresVersion::V15, PostgresVersion::V18]);
    }
    let version = |name: &str| match name.trim() {
        "15" => Ok(PostgresVersion::V15),
        "17" => Ok(PostgresVersion::V17),
        "18" => Ok(PostgresVersion::V18),
        other => Err(format!("{VERSIONS} names '{other}': the versions are 15, 17 and 18, with commas between")),
    };
    named.split(',').map(version).collect()
}

/// The programs of one version.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    /// With `bin` in it.
    folder: PathBuf,
    /// What the programs need beside the system's libraries.
    libraries: Option<PathBuf>,
}

impl Programs {
    /// Finds them where they are installed.
    pub(super) fn locate(version: PostgresVersion) -> Self {
        if version == PostgresVersion::V18 {
            return Programs { folder: cache::place(PLACE_18, Path::new("bin/postgres")), libraries: None };
        }
        let major = version.major();
        // One that was unpacked into the cache finds its files by its own path.
        let cached = cache::path(&format!("postgres-{major}"));
        [(PathBuf::from("/"), None), (cached.clone(), Some(cached.join(DEBIAN_LIBRARIES)))]
            .into_iter()
            .map(|(root, libraries)| Programs { folder: root.join(DEBIAN).join(major.to_string()), libraries })
            .find(|programs| programs.path("postgres").is_file())
            .unwrap_or_else(|| {
                panic!(
                    "PostgreSQL {major} is not installed: 'apt-get install postgresql-{major}', or start a Docker \
                     engine that has or gets the image postgres:{major}"
                )
            })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    fn lend_libraries(&self, command: &mut Command) {
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
    }
}

/// Whom the server runs as.
#[derive(Debug, Clone)]
pub(super) enum Account {
    /// The account of the test.
    Own,
    /// Another one, because the test is root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    pub(super) fn choose() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Account::Own;
        }
        let id = |option: &str| {
            let output = Command::new("id").args([option, UNPRIVILEGED]).output().expect("'id' can be started");
            let text = String::from_utf8_lossy(&output.stdout);
            text.trim().parse().unwrap_or_else(|_| panic!("there is no account '{UNPRIVILEGED}'"))
        };
        Account::Other { uid: id("-u"), gid: id("-g") }
    }

    /// A command under this account. The process that it starts is the program itself.
    pub(super) fn command(&self, programs: &Programs, name: &str) -> Command {
        let program = programs.path(name);
        let mut command = match self {
            Account::Own => Command::new(program),
            Account::Other { uid, gid } => {
                let mut command = Command::new("setpriv");
                let (uid, gid) = (uid.to_string(), gid.to_string());
                command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "--"]).arg(program);
                command
            }
        };
        programs.lend_libraries(&mut command);
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Hands a file or folder over.
    pub(super) fn give(&self, path: &Path) {
        if let Account::Other { uid, gid } = self {
            std::os::unix::fs::chown(path, Some(*uid), Some(*gid)).expect("root may give a file away");
        }
    }

    /// The programs where the account can reach them. What lies in a cache folder below root's
    /// home, which is closed to others, appears as hard links below the folder of temporary files.
    /// These stay for the next test: a link takes no room, and making them all takes longer than
    /// looking whether they are there.
    pub(super) fn reachable(&self, programs: Programs) -> Programs {
        static MIRRORED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
        let cache = cache::path("");
        let Ok(within) = programs.folder.strip_prefix(&cache) else { return programs };
        if matches!(self, Account::Own) {
            return programs;
        }
        let mirror = std::env::temp_dir().join("tidegate-programs");
        let place = PathBuf::from(within.components().next().expect("programs have a place of their own").as_os_str());
        let mut mirrored = MIRRORED.lock().unwrap_or_else(PoisonError::into_inner);
        if !mirrored.contains(&place) {
            create_own_folder(&mirror);
            mirror_folder(&cache.join(&place), &mirror.join(&place));
            mirrored.push(place);
        }
        let moved = |path: &Path| mirror.join(path.strip_prefix(&cache).expect("it lies in the cache folder"));
        Programs { folder: moved(&programs.folder), libraries: programs.libraries.as_deref().map(moved) }
    }
}

/// Its name is known to everyone: what another account has put there is not run.
fn create_own_folder(folder: &Path) {
    create_folder(folder);
    let found = fs::symlink_metadata(folder).expect("the folder is there");
    assert!(
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0,
        "{} is not a folder that this account alone can write to: remove it",
        folder.display()
    );
}

fn create_folder(folder: &Path) {
    match fs::create_dir(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("own folders can be opened"),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => panic!("{} cannot be made: {error}", folder.display()),
    }
}

/// Links what is not there yet. Another process may do the same at the same time.
fn mirror_folder(from: &Path, to: &Path) {
    create_folder(to);
    for entry in fs::read_dir(from).expect("installed folders can be read") {
        let entry = entry.expect("installed folders can be read");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("a file has a kind");
        if kind.is_dir() {
            mirror_folder(&source, &target);
            continue;
        }
        let made = if kind.is_symlink() {
            fs::read_link(&source).and_then(|link| symlink(link, &target))
        } else {
            fs::hard_link(&source, &target).or_else(|error| match error.kind() {
                ErrorKind::CrossesDevices => copy_whole(&source, &target),
                _ => Err(error),
            })
        };
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.unwrap_or_else(|error| panic!("{} cannot be made: {error}", target.display())),
        }
    }
}

/// Copies a file so that nobody ever sees a part of it under its name.
fn copy_whole(source: &Path, target: &Path) -> std::io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    let part = target.with_added_extension(format!("part-{}", std::process::id()));
    fs::copy(source, &part)?;
    fs::rename(part, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_named() {
        assert_eq!(versions(""), Ok(vec![PostgresVersion::V15, PostgresVersion::V18]));
        assert_eq!(versions("17, 18"), Ok(vec![PostgresVersion::V17, PostgresVersion::V18]));
        assert!(versions("16").unwrap_err().contains("'16'"));
    }
}
