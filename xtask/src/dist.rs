//! `cargo xtask dist`: a release for Linux on x86-64, as an archive that can be unpacked anywhere and as a Debian package, with
//! its bill of materials (CycloneDX 1.5) and checksums. Neither needs Rust, a registry or the internet where it is installed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::packages::DUCKDB;
use crate::process::{cargo, checkout, child};
use crate::runtime;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const LICENSES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// How archives are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pack {
    /// As small as it gets, to be handed out
    Small,
    /// Larger within a tenth of the time, to be tried
    Fast,
}

impl Pack {
    /// The program that packs the archive, for `tar`.
    fn archive(self) -> &'static str {
        match self {
            Pack::Small => "gzip --no-name",
            Pack::Fast => "gzip --no-name --fast",
        }
    }

    /// How `dpkg-deb` packs.
    fn package(self) -> &'static [&'static str] {
        match self {
            Pack::Small => &[],
            Pack::Fast => &["-Zgzip", "-z1"],
        }
    }
}

/// Writes everything into a folder, given the folder of the built programs.
pub fn run(folder: &Path, programs: &Path, pack: Pack) -> Result<()> {
    let name = format!("tidegate-{VERSION}-x86_64-linux");
    let scratch = folder.join("scratch");
    match fs::remove_dir_all(&scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let root = scratch.join(&name);
    lay_out(&root, programs)?;
    let bill = bill_of_materials()?;
    fs::write(root.join("tidegate.cdx.json"), &bill)?;
    fs::write(root.join("THIRD-PARTY.txt"), third_parties(&bill)?)?;
    let archive = format!("{name}.tar.gz");
    // The same tree makes the same archive.
    child("tar")
        .args([
            "--create",
            "--use-compress-program",
            pack.archive(),
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mtime=@0",
        ])
        .args(["--file".as_ref(), folder.join(&archive).as_os_str()])
        .args(["--directory".as_ref(), scratch.as_os_str(), name.as_ref()])
        .run()?;
    let package = debian_package(&scratch, &root, folder, pack)?;
    let bill_name = format!("{name}.cdx.json");
    fs::write(folder.join(&bill_name), &bill)?;
    let sums = child("sha256sum").args([&archive, &package, &bill_name]).current_dir(folder).output()?;
    fs::write(folder.join("SHA256SUMS"), sums)?;
    fs::remove_dir_all(&scratch)?;
    println!("{}", folder.display());
    for file in [&archive, &package, &bill_name] {
        println!("  {file}, {} MiB", fs::metadata(folder.join(file))?.len() >> 20);
    }
    Ok(())
}

/// The tree of a release: the program looks for the library in `../lib` and for the extensions in `../lib/tidegate/extensions`.
fn lay_out(root: &Path, programs: &Path) -> Result<()> {
    let (bin, share) = (root.join("bin"), root.join("share"));
    let (man, completions) = (share.join("man/man1"), share.join("completions"));
    for folder in [&bin, &man, &completions, &root.join("lib/tidegate")] {
        fs::create_dir_all(folder)?;
    }
    let program = bin.join("tidegate");
    fs::copy(programs.join("tidegate"), &program).context("the built program")?;
    child("strip").args([&program]).run().context("`strip` is in Debian's package binutils")?;
    runtime::run(runtime::Part::Tidegate, root)?;
    fs::rename(root.join("extensions"), root.join("lib/tidegate/extensions"))?;
    for license in LICENSES {
        fs::copy(checkout().join(license), root.join(license))?;
    }
    fs::copy(checkout().join("README.md"), root.join("README.md"))?;
    fs::copy(checkout().join("xtask/packaging/tidegate@.service"), share.join("tidegate@.service"))?;
    fs::write(man.join("tidegate.1"), child(&program).args(["man"]).output()?)?;
    for (shell, file) in [("bash", "tidegate.bash"), ("zsh", "_tidegate"), ("fish", "tidegate.fish")] {
        fs::write(completions.join(file), child(&program).args(["completions", shell]).output()?)?;
    }
    Ok(())
}

/// A package with the same tree below `/usr/lib/tidegate`, and what a Debian system expects in its places.
fn debian_package(scratch: &Path, release: &Path, folder: &Path, pack: Pack) -> Result<String> {
    let root = scratch.join("debian");
    let home = root.join("usr/lib/tidegate");
    let places = [
        ("share/man/man1/tidegate.1", "usr/share/man/man1/tidegate.1"),
        ("share/completions/tidegate.bash", "usr/share/bash-completion/completions/tidegate"),
        ("share/completions/_tidegate", "usr/share/zsh/vendor-completions/_tidegate"),
        ("share/completions/tidegate.fish", "usr/share/fish/vendor_completions.d/tidegate.fish"),
        ("share/tidegate@.service", "usr/lib/systemd/system/tidegate@.service"),
        ("LICENSE-MIT", "usr/share/doc/tidegate/copyright"),
    ];
    fs::create_dir_all(root.join("usr/bin"))?;
    fs::create_dir_all(&home)?;
    for part in ["bin", "lib"] {
        // Names of the same files: nothing is written a second time.
        child("cp")
            .args(["--recursive".as_ref(), "--link".as_ref(), release.join(part).as_os_str(), home.as_os_str()])
            .run()?;
    }
    symlink("../lib/tidegate/bin/tidegate", root.join("usr/bin/tidegate"))?;
    for (from, to) in places {
        let target = root.join(to);
        fs::create_dir_all(target.parent().context("a place in the package has a folder")?)?;
        fs::copy(release.join(from), &target)?;
    }
    child("gzip").args(["--no-name", "--best"]).args([root.join("usr/share/man/man1/tidegate.1")]).run()?;
    let size: u64 = child("du")
        .args(["--summarize", "--block-size=1K"])
        .args([&root])
        .output()?
        .split_whitespace()
        .next()
        .and_then(|size| size.parse().ok())
        .context("the size of the package's tree")?;
    // Programs run with the C library that they were linked with, and newer ones.
    let libc = child("getconf").args(["GNU_LIBC_VERSION"]).output()?;
    let libc = libc.trim().strip_prefix("glibc ").context("getconf names the version of glibc")?;
    fs::create_dir_all(root.join("DEBIAN"))?;
    let mut control = fs::File::create(root.join("DEBIAN/control"))?;
    write!(
        control,
        "Package: tidegate\nVersion: {VERSION}\nArchitecture: amd64\nMaintainer: The Tidegate developers <tidegate@localhost>\n\
         Section: database\nPriority: optional\nInstalled-Size: {size}\nDepends: libc6 (>= {libc}), libgcc-s1, libstdc++6, ca-certificates\n\
         Description: keeps SQL views over lakes and databases exactly up to date\n \
         Tidegate reads what changed in DuckLake and PostgreSQL tables, maintains SQL views over them\n \
         incrementally, and writes their changes and rows to Parquet, DuckDB, Delta Lake, DuckLake and PostgreSQL.\n"
    )?;
    let name = format!("tidegate_{VERSION}_amd64.deb");
    child("dpkg-deb")
        .args(pack.package())
        .args(["--root-owner-group", "--build"])
        .args([root.as_os_str(), folder.join(&name).as_os_str()])
        .env("SOURCE_DATE_EPOCH", "0")
        .output()?;
    Ok(name)
}

/// What the program is made of, as `cargo metadata` knows it, and DuckDB.
fn bill_of_materials() -> Result<String> {
    let target = "x86_64-unknown-linux-gnu";
    let metadata =
        cargo(["metadata", "--format-version=1", "--locked"]).args(["--filter-platform", target]).output()?;
    let metadata: Value = serde_json::from_str(&metadata).context("the output of `cargo metadata`")?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` lists packages")?;
    let nodes = metadata["resolve"]["nodes"].as_array().context("`cargo metadata` resolves them")?;
    let program =
        packages.iter().find(|package| package["name"] == "tidegate").context("there is a package tidegate")?;
    let mut found: Vec<&str> = vec![program["id"].as_str().context("a package has an id")?];
    let mut next = 0;
    while let Some(id) = found.get(next).copied() {
        next += 1;
        let node = nodes.iter().find(|node| node["id"] == id).context("a package is resolved")?;
        for dependency in node["deps"].as_array().into_iter().flatten() {
            // What is needed to build or to test it is not in it.
            let is_part = dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null());
            let id = dependency["pkg"].as_str().unwrap_or_default();
            if is_part && !found.contains(&id) {
                found.push(id);
            }
        }
    }
    let component = |package: &Value| {
        let (name, version) = (package["name"].as_str().unwrap_or("?"), package["version"].as_str().unwrap_or("?"));
        let license =
            package["license"].as_str().map(|license| json!([{ "expression": license.replace('/', " OR ") }]));
        json!({
            "type": "library",
            "bom-ref": format!("{name}@{version}"),
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "licenses": license.unwrap_or(json!([])),
        })
    };
    let duckdb = json!({
        "type": "library",
        "bom-ref": format!("duckdb@{DUCKDB}"),
        "name": "duckdb",
        "version": DUCKDB,
        "purl": format!("pkg:github/duckdb/duckdb@v{DUCKDB}"),
        "licenses": [{ "expression": "MIT" }],
    });
    let mut components: Vec<Value> =
        packages.iter().filter(|package| found[1..].iter().any(|id| package["id"] == *id)).map(component).collect();
    components.sort_by_key(|component| component["bom-ref"].to_string());
    components.push(duckdb);
    ensure!(components.len() > 100, "only {} parts were found", components.len());
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "application", "bom-ref": "tidegate", "name": "tidegate", "version": VERSION } },
        "components": components,
    });
    Ok(format!("{bill:#}\n"))
}

/// What the program is made of, with the licence of each part, for people.
fn third_parties(bill: &str) -> Result<String> {
    let bill: Value = serde_json::from_str(bill)?;
    let mut lines = vec!["Tidegate is made of these parts, under these licences:\n".to_owned()];
    for component in bill["components"].as_array().into_iter().flatten() {
        let (name, version) = (component["name"].as_str(), component["version"].as_str());
        let (name, version) = name.zip(version).context("a part has a name and a version")?;
        let license = component["licenses"][0]["expression"].as_str();
        let license = license.with_context(|| format!("{name} {version} names no licence"))?;
        lines.push(format!("{name} {version}: {license}"));
    }
    Ok(lines.join("\n") + "\n")
}

/// Where a release goes if nobody says otherwise.
pub fn folder() -> PathBuf {
    checkout().join("dist")
}
