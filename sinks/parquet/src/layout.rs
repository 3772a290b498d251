//! Names of files and folders.

use tidegate_core::{Epoch, ViewName};

/// The folder with everything that is not a view's data.
pub(crate) const OWN: &str = "_tidegate";
/// What the sink has committed.
pub(crate) const MANIFEST: &str = "_tidegate/manifest.json";
/// Where files are written before they are made visible.
pub(crate) const STAGE: &str = "_tidegate/stage";
/// Views and macros for DuckDB.
pub(crate) const VIEWS_SQL: &str = "views.sql";

const EXTENSION: &str = ".parquet";
const DIGITS: usize = 20;

/// The folder of a view: its name, with the characters that file systems, object stores or globs
/// take for something else written as `%` and two hexadecimal digits.
pub(crate) fn folder(view: &ViewName) -> String {
    let mut folder = String::new();
    for (at, c) in view.as_str().char_indices() {
        let own = at == 0 && (c == '.' || view.as_str().to_ascii_lowercase().starts_with(OWN));
        if own || c.is_control() || "%/\\:*?\"'<>|[]{}~#^`=".contains(c) {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| folder.push_str(&format!("%{byte:02X}")));
        } else {
            folder.push(c);
        }
    }
    folder
}

/// The file of an epoch, relative to the sink's path.
pub(crate) fn file(view: &ViewName, epoch: Epoch) -> String {
    format!("{}/{}{EXTENSION}", folder(view), epoch.digits())
}

/// What a file in a view's folder is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// One of ours.
    Epoch(Epoch),
    /// A Parquet file that readers would take for one of ours.
    Foreign,
    /// Something that no reader looks at.
    Other,
}

/// Tells a file by its name.
pub(crate) fn entry(name: &str) -> Entry {
    let Some(stem) = name.strip_suffix(EXTENSION) else { return Entry::Other };
    if stem.len() == DIGITS && stem.bytes().all(|byte| byte.is_ascii_digit()) {
        return stem.parse().map_or(Entry::Foreign, |epoch| Entry::Epoch(Epoch(epoch)));
    }
    Entry::Foreign
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        let cases = [
            ("orders", "orders"),
            ("Größe 1", "Größe 1"),
            ("a/b", "a%2Fb"),
            ("..", "%2E."),
            ("_tidegate", "%5Ftidegate"),
            ("_other", "_other"),
            ("k=v*", "k%3Dv%2A"),
        ];
        for (view, expected) in cases {
            assert_eq!(folder(&ViewName::from(view)), expected);
        }
    }

    #[test]
    fn files() {
        assert_eq!(file(&"v".into(), Epoch(7)), "v/00000000000000000007.parquet");
        assert_eq!(entry("00000000000000000007.parquet"), Entry::Epoch(Epoch(7)));
        assert_eq!(entry("part-0.parquet"), Entry::Foreign);
        assert_eq!(entry("99999999999999999999.parquet"), Entry::Foreign);
        assert_eq!(entry("notes.txt"), Entry::Other);
    }
}
