//! The release as it is handed out: `cargo xtask dist` packs this program, and a bare Debian root without network unpacks it and
//! does with it what the quickstart says.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_testkit::{Finished, Running};

use crate::bare_root::BareRoot;
use crate::serving::PATIENCE;

const HOME: &str = "/opt/tidegate";

/// Packs this program by `cargo xtask dist`.
fn pack(folder: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo told this program about its package is not meant for that one: build scripts watch it.
    for (name, _) in std::env::vars_os() {
        let known = name.to_string_lossy();
        if known.starts_with("CARGO_PKG_") || known.starts_with("CARGO_MANIFEST_") || known.starts_with("CARGO_BIN_") {
            cargo.env_remove(&name);
        }
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().expect("the program lies in a folder");
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let packed = cargo.args(["xtask", "dist", "--pack", "fast"]).arg(folder).arg("--programs").arg(programs).output();
    let packed = packed.expect("cargo can be started");
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
}

/// The file in a folder whose name ends so.
fn named(folder: &Path, end: &str) -> String {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.into_iter().find(|name| name.ends_with(end)).unwrap_or_else(|| panic!("there is no {end}"))
}

/// The quickstart's calls of the program.
fn quickstart() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/quickstart.md");
    let page = fs::read_to_string(page).unwrap();
    let calls = page.lines().filter_map(|line| line.strip_prefix("target/release/tidegate "));
    calls.map(|call| call.split('#').next().unwrap_or_default().trim().to_owned()).collect()
}

#[track_caller]
fn tidegate(root: &BareRoot, program: &str, arguments: &str) -> Finished {
    let words: Vec<&str> = std::iter::once(program).chain(arguments.split(' ')).collect();
    root.program(&words).run().expect(0)
}

/// Waits until a process says something.
#[track_caller]
fn until_said(running: &Running, words: &str) {
    let started = Instant::now();
    while !running.stderr().contains(words) {
        assert!(started.elapsed() < PATIENCE, "{words} is not said: {}", running.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_release_runs_in_a_bare_debian_root() {
    let dist = tempfile::tempdir().unwrap();
    pack(dist.path());
    let (archive, package) = (named(dist.path(), ".tar.gz"), named(dist.path(), ".deb"));
    let root = BareRoot::create(&dist.path().join(&package));
    for file in [archive.as_str(), &package, "SHA256SUMS", &named(dist.path(), ".cdx.json")] {
        fs::rename(dist.path().join(file), root.path().join("root").join(file)).unwrap();
    }
    let run = |words: &[&str]| root.program(words).run().expect(0);
    run(&["sha256sum", "--check", "SHA256SUMS"]);
    fs::create_dir_all(root.path().join("opt/tidegate")).unwrap();
    run(&["tar", "xzf", &archive, "-C", HOME, "--strip-components=1"]);
    fs::remove_file(root.path().join("root").join(&archive)).unwrap();
    let program = format!("{HOME}/bin/tidegate");

    // Its own library, and what every Debian has of C and C++.
    let linked = run(&["ldd", &program]).stdout;
    let theirs =
        ["libgcc_s.so.1", "libm.so.6", "libc.so.6", "libdl.so.2", "libpthread.so.0", "libstdc++.so.6", "librt.so.1"];
    for line in linked.lines().filter(|line| line.contains("=>")) {
        let (library, found) = line.trim().split_once(" => ").unwrap();
        let is_own = library == "libduckdb.so" && found.starts_with(&format!("{HOME}/"));
        assert!(is_own || theirs.contains(&library) && found.starts_with("/lib/"), "{line}");
    }
    assert!(linked.contains("libduckdb.so => /opt/tidegate/"), "{linked}");

    let calls = quickstart();
    assert!(calls.len() > 3, "{calls:?}");
    let told: Vec<Finished> = calls.iter().map(|call| tidegate(&root, &program, call)).collect();
    let status = &told.last().unwrap().stdout;
    assert!(status.contains("shop: epoch 1, not running") && status.contains("revenue_by_region"), "{status}");
    assert_views(&root, &program);
    is_run_and_drained(&root, &program);

    let page = tidegate(&root, &program, "man").stdout;
    assert_eq!(page, fs::read_to_string(root.path().join("opt/tidegate/share/man/man1/tidegate.1")).unwrap());
    for (shell, file) in [("bash", "tidegate.bash"), ("zsh", "_tidegate"), ("fish", "tidegate.fish")] {
        let script = tidegate(&root, &program, &format!("completions {shell}")).stdout;
        let kept = root.path().join("opt/tidegate/share/completions").join(file);
        assert_eq!(script, fs::read_to_string(kept).unwrap());
    }
    run(&["bash", "-n", "/opt/tidegate/share/completions/tidegate.bash"]);
    fs::remove_dir_all(root.path().join("opt/tidegate")).unwrap();

    // The package, on the pipeline that the archive's program made.
    run(&["dpkg", "--install", &package]);
    assert_views(&root, "tidegate");
    tidegate(&root, "tidegate", "run shop/pipeline.toml --once");
    run(&["dpkg", "--remove", "tidegate"]);
    assert!(!root.path().join("usr/lib/tidegate").exists() && !root.path().join("usr/bin/tidegate").exists());
    // What the program keeps at home is what it was told to keep.
    let mut at_home: Vec<_> =
        fs::read_dir(root.path().join("root")).unwrap().map(|file| file.unwrap().file_name()).collect();
    at_home.retain(|name| ![".bashrc", ".profile", "SHA256SUMS"].iter().any(|known| name == *known));
    at_home.retain(|name| !name.to_string_lossy().starts_with("tidegate"));
    assert_eq!(at_home, ["shop"]);
}

/// The views that `init` writes, over its sample.
#[track_caller]
fn assert_views(root: &BareRoot, program: &str) {
    let query = "SELECT count(*) AS regions, sum(orders) AS orders FROM revenue_by_region";
    let answer = root.program(&[program, "sql", "shop/pipeline.toml", query, "--format", "json"]).run().expect(0);
    assert_eq!(answer.json(), serde_json::json!({ "rows": [{ "regions": 4, "orders": 2000 }] }));
}

/// A process keeps the views fresh, another asks it and has it end.
fn is_run_and_drained(root: &BareRoot, program: &str) {
    let running = root.program(&[program, "run", "shop/pipeline.toml", "--http", "127.0.0.1:0"]).start();
    until_said(&running, "http://127.0.0.1:");
    let started = Instant::now();
    loop {
        let status = tidegate(root, program, "status shop/pipeline.toml --json").json();
        // The process itself answers: it says what it does just now.
        if status["phase"]["name"].is_string() && status["sinks"]["mart"]["state"] == "attached" {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{status:#}\n{}", running.stderr());
    }
    tidegate(root, program, "drain shop/pipeline.toml");
    running.wait().expect(0);
    let status = tidegate(root, program, "status shop/pipeline.toml --json").json();
    assert_eq!((&status["running"], &status["ending"]), (&false.into(), &serde_json::Value::Null), "{status:#}");
}
