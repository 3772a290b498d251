//! Where a lake's catalog is.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Extension;
use crate::error::conceal;
use crate::gate::real_path;

/// Where a lake's catalog is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LakeCatalog {
    /// A DuckDB file: one process at a time.
    DuckDb(PathBuf),
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its connection string.
    Postgres(String),
}

/// What tells one lake from another, however its catalog is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LakeIdentity {
    catalog: String,
    metadata_schema: String,
}

impl LakeCatalog {
    /// Reads what one writes in DuckDB's `ATTACH`: `ducklake:FILE`, `ducklake:sqlite:FILE` or
    /// `ducklake:postgres:dbname=… host=…`. Relative files are relative to `base`. The error says what to
    /// write instead.
    pub fn parse(text: &str, base: &Path) -> Result<LakeCatalog, String> {
        let forms = "write ducklake:FILE, ducklake:sqlite:FILE or ducklake:postgres:dbname=… host=…";
        let rest =
            text.strip_prefix("ducklake:").ok_or_else(|| format!("`catalog` does not begin with ducklake: {forms}"))?;
        if let Some(connection) = rest.strip_prefix("postgres:") {
            return Ok(LakeCatalog::Postgres(connection.to_owned()));
        }
        let (kind, file) = match rest.split_once(':') {
            Some((kind @ ("sqlite" | "duckdb"), file)) => (kind, file),
            Some((kind, _)) if kind.len() > 1 && kind.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                return Err(format!("catalogs of kind `{kind}` are not supported: {forms}"));
            }
            _ => ("duckdb", rest),
        };
        if file.is_empty() {
            return Err(format!("`catalog` names no file: {forms}"));
        }
        let file = base.join(file);
        Ok(if kind == "sqlite" { LakeCatalog::Sqlite(file) } else { LakeCatalog::DuckDb(file) })
    }

    /// What stands in `ATTACH`, passwords included.
    pub fn uri(&self) -> String {
        match self {
            LakeCatalog::DuckDb(file) => format!("ducklake:{}", file.display()),
            LakeCatalog::Sqlite(file) => format!("ducklake:sqlite:{}", file.display()),
            LakeCatalog::Postgres(connection) => format!("ducklake:postgres:{connection}"),
        }
    }

    /// The extension that opens it, besides `ducklake`.
    pub fn extension(&self) -> Option<Extension> {
        match self {
            LakeCatalog::DuckDb(_) => None,
            LakeCatalog::Sqlite(_) => Some(Extension::SqliteScanner),
            LakeCatalog::Postgres(_) => Some(Extension::PostgresScanner),
        }
    }

    /// The catalog's file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            LakeCatalog::DuckDb(file) | LakeCatalog::Sqlite(file) => Some(file),
            LakeCatalog::Postgres(_) => None,
        }
    }

    /// Whether a reader may miss rows, or see them twice, while somebody moves them from the catalog into
    /// files (`ducklake_flush_inlined_data`): seen with SQLite, and with no other.
    pub fn tears_reads(&self) -> bool {
        matches!(self, LakeCatalog::Sqlite(_))
    }

    /// Texts in it that must not be shown, as written and as meant.
    pub fn secrets(&self) -> Vec<String> {
        let LakeCatalog::Postgres(connection) = self else { return Vec::new() };
        let mut secrets = passwords(connection);
        // As it stands inside a quoted literal, too.
        let doubled = secrets.iter().map(|secret| secret.replace('\'', "''")).collect::<Vec<_>>();
        secrets.extend(doubled);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        secrets
    }

    /// Which lake this is; `metadata_schema` is the `METADATA_SCHEMA` of `ATTACH`.
    pub fn identity(&self, metadata_schema: Option<&str>) -> LakeIdentity {
        let (catalog, default) = match self {
            LakeCatalog::DuckDb(file) | LakeCatalog::Sqlite(file) => (real_path(file).display().to_string(), "main"),
            LakeCatalog::Postgres(connection) => (server_and_database(connection), "public"),
        };
        LakeIdentity { catalog, metadata_schema: metadata_schema.unwrap_or(default).to_owned() }
    }
}

impl LakeIdentity {
    /// The same as a URI, without passwords: `ducklake:/a/lake.sqlite`, `ducklake:postgres:host:port/database`. A schema of
    /// the catalog tables that is not the default one is in it.
    pub fn uri(&self) -> String {
        let default = if self.catalog.starts_with("postgres:") { "public" } else { "main" };
        match self.metadata_schema == default {
            true => format!("ducklake:{}", self.catalog),
            false => format!("ducklake:{}?metadata_schema={}", self.catalog, self.metadata_schema),
        }
    }
}

/// Without passwords.
impl fmt::Display for LakeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ducklake:{} ({})", self.catalog, self.metadata_schema)
    }
}

/// The catalog without its passwords.
impl fmt::Display for LakeCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&conceal(&self.uri(), &self.secrets()))
    }
}

/// The database that a libpq connection string leads to. What it leaves out comes from libpq's own
/// variables, or is what libpq assumes.
fn server_and_database(connection: &str) -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let of = |key: &str, name: &str| parameter(connection, key).or_else(|| variable(name));
    let host = of("host", "PGHOST").or_else(|| of("hostaddr", "PGHOSTADDR")).unwrap_or_default();
    let host = match host.to_ascii_lowercase().as_str() {
        "127.0.0.1" | "::1" | "[::1]" => "localhost".to_owned(),
        host => host.trim_end_matches('/').to_owned(),
    };
    let port = of("port", "PGPORT").unwrap_or_else(|| "5432".to_owned());
    let user = || of("user", "PGUSER").or_else(|| variable("USER")).unwrap_or_default();
    let database = of("dbname", "PGDATABASE").unwrap_or_else(user);
    format!("postgres:{host}:{port}/{database}")
}

/// A parameter of a libpq connection string, `key=value` or URI.
fn parameter(connection: &str, key: &str) -> Option<String> {
    if let Some((_, rest)) = connection.split_once("://") {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        // A colon within brackets belongs to the address.
        let (host, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (host, ""),
        };
        let user = user.split(':').next().unwrap_or_default();
        let found = match key {
            "host" => host,
            "port" => port,
            "dbname" => database,
            "user" => user,
            _ => "",
        };
        let query = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key);
        return Some(query.map_or(found, |(_, value)| value)).filter(|found| !found.is_empty()).map(str::to_owned);
    }
    let (name, value) = (key.len(), connection.to_ascii_lowercase());
    for (at, _) in value.match_indices(key) {
        let begins = at == 0 || connection[..at].ends_with(char::is_whitespace);
        let Some(value) = connection[at + name..].trim_start().strip_prefix('=').filter(|_| begins) else { continue };
        return Some(meant(written(value.trim_start()))).filter(|found| !found.is_empty());
    }
    None
}

/// The passwords in a libpq connection string, `key=value` or URI, as written and as meant.
fn passwords(connection: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((_, rest)) = connection.split_once("://") {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if let Some((_, password)) = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
            found.push(password.to_owned());
        }
    }
    for (at, _) in connection.to_ascii_lowercase().match_indices("password") {
        let Some(value) = connection[at + "password".len()..].trim_start().strip_prefix('=') else { continue };
        let written = written(value.trim_start());
        found.push(written.to_owned());
        found.push(meant(written));
    }
    found.retain(|password| !password.is_empty());
    found
}

/// A value as it stands at the beginning of a text, without its quotes.
fn written(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(quoted) => &quoted[..closing_quote(quoted)],
        None => text.split(|c: char| c.is_whitespace() || c == '&').next().unwrap_or_default(),
    }
}

fn meant(written: &str) -> String {
    written.replace("\\'", "'").replace("\\\\", "\\")
}

fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == '\'' && !escaped {
            return at;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogs_are_what_attach_takes() {
        let base = Path::new("/pipelines");
        let parse = |text| LakeCatalog::parse(text, base);
        assert_eq!(parse("ducklake:x.db"), Ok(LakeCatalog::DuckDb("/pipelines/x.db".into())));
        assert_eq!(parse("ducklake:duckdb:/y/x.db"), Ok(LakeCatalog::DuckDb("/y/x.db".into())));
        assert_eq!(parse("ducklake:sqlite:./x.sqlite").unwrap().uri(), "ducklake:sqlite:/pipelines/./x.sqlite");
        let postgres = "ducklake:postgres:dbname=lake host=localhost";
        assert_eq!(parse(postgres).unwrap().uri(), postgres);
        for text in ["x.db", "ducklake:", "ducklake:sqlite:", "ducklake:mysql:db=x", "ducklake:md:x"] {
            assert!(parse(text).unwrap_err().contains("ducklake:sqlite:FILE"), "{text}");
        }
    }

    #[test]
    fn passwords_are_found_however_they_are_written() {
        assert_eq!(passwords("dbname=x password=hush host=y")[0], "hush");
        assert_eq!(passwords(r"password = 'a b\'c' host=y"), [r"a b\'c", "a b'c"]);
        assert_eq!(passwords("postgres://ali:open%20sesame@host:5432/x?sslmode=require"), ["open%20sesame"]);
        assert_eq!(passwords("postgresql:///x?host=y&password=hush&user=z")[0], "hush");
        assert!(passwords("dbname=x host=y").is_empty());
        let shown = LakeCatalog::Postgres("dbname=x password='hu sh'".into()).to_string();
        assert_eq!(shown, "ducklake:postgres:dbname=x password='***'");
    }

    #[test]
    fn a_lake_has_a_uri_without_passwords() {
        let uri = |text: &str, schema| LakeCatalog::parse(text, Path::new("/p")).unwrap().identity(schema).uri();
        let postgres = "ducklake:postgres:dbname=lake host=h user=a password=hush";
        assert_eq!(uri(postgres, None), "ducklake:postgres:h:5432/lake");
        assert_eq!(uri(postgres, Some("mine")), "ducklake:postgres:h:5432/lake?metadata_schema=mine");
        assert_eq!(uri("ducklake:sqlite:/nowhere/x.sqlite", Some("main")), "ducklake:/nowhere/x.sqlite");
    }

    #[test]
    fn a_lake_is_the_same_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let same = |texts: &[&str]| {
            let identity = |text: &&str| LakeCatalog::parse(text, folder.path()).unwrap().identity(None);
            let identities: Vec<_> = texts.iter().map(identity).collect();
            identities.windows(2).all(|pair| pair[0] == pair[1])
        };
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let elsewhere = format!("ducklake:duckdb:{}/a/../x.db", folder.path().display());
        assert!(same(&["ducklake:x.db", "ducklake:./x.db", &elsewhere]));
        assert!(!same(&["ducklake:x.db", "ducklake:a/x.db"]));
        assert!(same(&[
            "ducklake:postgres:dbname=lake host=localhost user=a password=x",
            "ducklake:postgres: host = 127.0.0.1  port=5432 dbname='lake'",
            "ducklake:postgres:postgres://b:c@localhost/lake",
            "ducklake:postgres:postgresql:///lake?host=localhost&port=5432",
        ]));
        assert!(!same(&["ducklake:postgres:dbname=lake host=h", "ducklake:postgres:dbname=lake host=h port=5433"]));
        assert!(!same(&["ducklake:postgres:dbname=lake host=h", "ducklake:postgres:dbname=mylake host=h"]));
        let catalog = LakeCatalog::parse("ducklake:x.db", folder.path()).unwrap();
        assert_eq!(catalog.identity(None), catalog.identity(Some("main")));
        assert_ne!(catalog.identity(None), catalog.identity(Some("other")));
    }
}
