//! libpq's password file: lines of `host:port:database:user:password`, `*` for anything.
//!
//! Source: PostgreSQL's manual, "The Password File".

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What a password is looked up for.
pub(crate) struct Entry<'a> {
    pub host: &'a str,
    pub port: u16,
    pub database: &'a str,
    pub user: &'a str,
}

/// `$PGPASSFILE`, else `~/.pgpass`.
pub(crate) fn default_file() -> Option<PathBuf> {
    let set = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    set.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pgpass")))
}

/// The password of the first line that fits. A file that others may read is refused.
pub(crate) fn password(file: &Path, entry: &Entry<'_>) -> Result<Option<String>, String> {
    let failed = |error: std::io::Error| format!("the password file {}: {error}", file.display());
    let mode = fs::metadata(file).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = file.display();
        return Err(format!("the password file {path} can be read by others: run 'chmod 600 {path}'"));
    }
    let text = fs::read_to_string(file).map_err(failed)?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).find_map(|line| fits(line, entry)))
}

fn fits(line: &str, entry: &Entry<'_>) -> Option<String> {
    let port = entry.port.to_string();
    let mut rest = line;
    for wanted in [entry.host, &port, entry.database, entry.user] {
        let (field, after) = field(rest)?;
        if field != "*" && unescape(field) != wanted {
            return None;
        }
        rest = after;
    }
    Some(unescape(field(rest).map_or(rest, |(password, _)| password)))
}

/// The text up to the next colon that is not escaped.
fn field(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == ':' && !escaped {
            return Some((&text[..at], &text[at + 1..]));
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pass");
        let lines = ["# db:5432:shop:ali:no", "db:5432:shop:bob:b", r"db:*:shop:ali:it\:s\\", "*:*:*:*:any"];
        fs::write(&file, lines.join("\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let look = |user, port| password(&file, &Entry { host: "db", port, database: "shop", user }).unwrap();
        assert_eq!(look("bob", 5432).as_deref(), Some("b"));
        assert_eq!(look("bob", 5433).as_deref(), Some("any"));
        assert_eq!(look("ali", 1).as_deref(), Some(r"it:s\"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let entry = Entry { host: "db", port: 1, database: "shop", user: "ali" };
        assert!(password(&file, &entry).unwrap_err().contains("chmod 600"));
    }
}
