//! The folder that a page is run in, with the program, DuckDB and, if it needs one, a PostgreSQL server at hand, as somebody has
//! them who follows it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_testkit::{Postgres, Program};

/// How long a block may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// DuckDB's command line.
const DUCKDB: &str = "shell-1.5.5/duckdb";
/// The signed extensions.
const EXTENSIONS: &str = "extensions/1.5.5/linux_amd64";

/// A page that is being run. What it has started ends with it.
pub struct Session {
    /// `page` is where it begins; `home` and `bin` lie beside it.
    folder: TempDir,
    /// Where it stands: a block may go somewhere else, and the next one is there.
    place: PathBuf,
    path: OsString,
    database: Option<(Postgres, String)>,
    /// What the last block wrote to its standard output.
    said: String,
}

/// A place in the cache folder.
fn cached(name: &str) -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let place = caches.expect("XDG_CACHE_HOME or HOME is set").join("tidegate").join(name);
    assert!(place.exists(), "there is no {}: run 'cargo xtask setup'", place.display());
    place
}

impl Session {
    /// An empty folder.
    pub fn begin(needs_postgres: bool) -> Session {
        let folder = tempfile::tempdir().unwrap();
        let [place, home, bin] = ["page", "home", "bin"].map(|name| folder.path().join(name));
        let installed = home.join(".duckdb/extensions/v1.5.5");
        for made in [&place, &bin, &installed] {
            fs::create_dir_all(made).unwrap();
        }
        symlink(cached(EXTENSIONS), installed.join("linux_amd64")).unwrap();
        symlink(cached(DUCKDB), bin.join("duckdb")).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
        let mut path = OsString::from(format!("{}:{}:", bin.display(), program.display()));
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let database = needs_postgres.then(|| {
            let server = Postgres::start();
            let connection = server.create_database();
            let name = connection.split(' ').find_map(|part| part.strip_prefix("dbname="));
            let name = name.unwrap_or_else(|| panic!("{connection} names a database")).to_owned();
            (server, name)
        });
        Session { folder, place, path, database, said: String::new() }
    }

    /// The program under test, in the page's folder.
    pub fn tidegate(&self) -> Program {
        Program::new(env!("CARGO_BIN_EXE_tidegate"))
    }

    /// A file beside the page's folder, which the page does not see.
    fn scratch(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    /// Where the page stands.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Writes a file into the page's folder.
    pub fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let file = self.place.join(name);
        let folder = file.parent().unwrap_or(&self.place);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&file, text));
        written.map_err(|error| format!("{name} cannot be written: {error}"))
    }

    /// Runs a script.
    pub fn sh(&mut self, script: &str, exit: i32) -> Result<(), String> {
        let place = self.folder.path().join("place");
        // Where it ends is where the next one begins.
        let script = format!("set -euo pipefail\n{script}\npwd > '{}'\n", place.display());
        let code = self.run("bash", &["-c", &script], None)?;
        if code != Some(exit) {
            return Err(self.told(&format!("ended with exit code {code:?}, not {exit}")));
        }
        if let Ok(place) = fs::read_to_string(place) {
            self.place = PathBuf::from(place.trim_end());
        }
        Ok(())
    }

    /// Runs commands after `$ `, which may go on after `> `, and compares what each prints, where that is shown.
    pub fn console(&mut self, text: &str) -> Result<(), String> {
        let mut calls: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix("$ "), line.strip_prefix("> "), calls.last_mut()) {
                (Some(command), ..) => calls.push((command.to_owned(), String::new())),
                (None, Some(more), Some((command, shown))) if shown.is_empty() => *command += &format!("\n{more}"),
                (None, _, Some((_, shown))) => *shown += &format!("{line}\n"),
                (None, _, None) => return Err("a session begins with a command after `$ `".to_owned()),
            }
        }
        for (command, shown) in calls {
            self.sh(&command, 0)?;
            if !shown.trim().is_empty() {
                self.printed(&shown)?;
            }
        }
        Ok(())
    }

    /// Runs SQL with DuckDB's command line, on the file that a first line `-- duckdb FILE` names, else on one of the page's own.
    /// Where it attaches nothing itself, the lakes of the page's folder that it names are attached: `NAME.ducklake` as `NAME`.
    pub fn sql(&mut self, text: &str) -> Result<(), String> {
        let named = text.lines().next().and_then(|line| line.strip_prefix("-- duckdb "));
        let own = self.folder.path().join("own.duckdb").display().to_string();
        let database = named.map_or(own, |named| named.split_whitespace().next().unwrap_or_default().to_owned());
        let lakes = if text.contains("ATTACH ") { Vec::new() } else { self.lakes()? };
        let lakes =
            lakes.iter().filter(|lake| text.contains(&format!("{lake}.")) || text.contains(&format!("'{lake}'")));
        let attached: String = lakes.map(|lake| format!("ATTACH 'ducklake:{lake}.ducklake' AS {lake};\n")).collect();
        let statements = self.scratch("block.sql", &(attached + text));
        match self.run("duckdb", &["-bail", "-no-init", &database], Some(&statements))? {
            Some(0) => Ok(()),
            code => Err(self.told(&format!("DuckDB ended with exit code {code:?}"))),
        }
    }

    /// The lakes in the folder, by their names.
    fn lakes(&self) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(&self.place).map_err(|error| error.to_string())?.flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names.filter_map(|name| name.strip_suffix(".ducklake").map(str::to_owned)).collect())
    }

    /// Has the program check statements as views over the page's lakes: `NAME.ducklake` is the source `NAME`.
    pub fn views(&mut self, text: &str) -> Result<(), String> {
        let mut file = "[pipeline]\nname = \"book\"\nstate_dir = \"book\"\nviews_dir = \"../views\"\n\n[sinks.mart]\ntype = \"duckdb\"\npath = \"book.duckdb\"\n".to_owned();
        for lake in self.lakes()? {
            file += &format!("\n[sources.{lake}]\ntype = \"ducklake\"\ncatalog = \"ducklake:{lake}.ducklake\"\n");
        }
        let views = self.place.join("../views");
        let _ = fs::remove_dir_all(&views);
        if text.contains("CREATE ") {
            self.write("../views/block.sql", text)?;
        } else {
            for (number, statement) in text.split_inclusive(";").filter(|one| one.contains("SELECT")).enumerate() {
                self.write(&format!("../views/view_{number}.sql"), statement)?;
            }
        }
        self.write("book-views.toml", &file)?;
        match self.run("tidegate", &["check", "book-views.toml"], None)? {
            Some(0) => Ok(()),
            code => Err(self.told(&format!("`tidegate check` of these views ended with exit code {code:?}"))),
        }
    }

    /// Compares what the last block printed; `…` stands for anything.
    pub fn printed(&self, shown: &str) -> Result<(), String> {
        match is_like(&tidy(&self.said), &tidy(shown)) {
            true => Ok(()),
            false => Err(format!("what is printed is not what the page shows:\n{}\n  instead of\n{shown}", self.said)),
        }
    }

    fn told(&self, what: &str) -> String {
        let errors = fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
        format!("{what}\n{}\n{errors}", self.said)
    }

    /// Runs a program to its end; what it leaves running goes on until the page ends.
    fn run(&mut self, program: &str, arguments: &[&str], input: Option<&Path>) -> Result<Option<i32>, String> {
        // Files, because a pipe would wait for whatever is left running.
        let file = |name: &str| File::create(self.folder.path().join(name)).map_err(|error| error.to_string());
        let input = input.map_or_else(|| Ok(Stdio::null()), |input| File::open(input).map(Stdio::from));
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.place);
        command.stdin(input.map_err(|error| error.to_string())?).stdout(file("stdout")?).stderr(file("stderr")?);
        command.env("PATH", &self.path).env("HOME", self.folder.path().join("home"));
        command.env("XDG_CACHE_HOME", cached("").parent().unwrap()).env_remove("TIDEGATE_LOG");
        if let Some((server, database)) = &self.database {
            command.env("PGHOST", "127.0.0.1").env("PGPORT", server.port().to_string());
            command.env("PGUSER", "postgres").env("PGPASSWORD", "none").env("PGDATABASE", database);
        }
        let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        let begin = Instant::now();
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if begin.elapsed() > PATIENCE => {
                    self.said = fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default();
                    return Err(self.told(&format!("it does not end within {PATIENCE:?}")));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        self.said = fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default();
        Ok(status.code())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What blocks have left running is known by the home that it was given.
        let home = format!("HOME={}\0", self.folder.path().join("home").display());
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let environment = fs::read(process.path().join("environ")).unwrap_or_default();
            if String::from_utf8_lossy(&environment).contains(&home) {
                let id = process.file_name();
                // It may have ended meanwhile.
                let _ = Command::new("kill").arg("-KILL").arg(id).stderr(Stdio::null()).status();
            }
        }
    }
}

/// Lines without blanks at their ends, and no empty ones at the end.
fn tidy(text: &str) -> String {
    text.trim_end().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Whether a text is another one, in which `…` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_for_anything() {
        assert!(is_like("epoch 7: 3 rows", "epoch …: 3 rows"));
        assert!(is_like("a b c", "a…c") && is_like("a b c", "…") && is_like("a", "a…"));
        assert!(!is_like("epoch 7: 4 rows", "epoch …: 3 rows"));
        assert!(!is_like("a b", "a") && !is_like("b a", "a…"));
    }

    #[test]
    fn a_page_goes_on_where_it_was() {
        let mut session = Session::begin(false);
        session.sh("mkdir shop\ncd shop\nsleep 600 &", 0).unwrap();
        session.sh("basename \"$PWD\"", 0).unwrap();
        session.printed("shop\n").unwrap();
        assert!(session.sh("exit 3", 0).unwrap_err().contains("exit code Some(3)"));
        session.sql("-- duckdb a.duckdb\nCREATE TABLE t AS SELECT 1 AS one;").unwrap();
        session.console("$ duckdb -csv a.duckdb \\\n> 'FROM t'\none\n1\n").unwrap();
        assert!(session.console("$ echo 1\n2\n").unwrap_err().contains("not what the page shows"));
        assert!(session.sql("SELECT nothing;").unwrap_err().contains("nothing"));
    }
}
