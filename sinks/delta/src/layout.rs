//! Names of folders and files.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_core::{EpochHeader, ViewName};

/// The folder of the log in a table's folder.
pub(crate) const LOG: &str = "_delta_log";
/// The folder of the change data files in a table's folder.
pub(crate) const CHANGES: &str = "_change_data";
/// The file in a table's folder that says that the table is being removed.
pub(crate) const REMOVING: &str = "_tidegate_removing";

/// The folder of a view's table: its name, with every character that is neither a letter, a digit, nor one of
/// `_`, `-` and `.` written as `!` and two hexadecimal digits a byte. Percent signs would be taken for an escape
/// by readers that turn the folder into a URL and back.
pub(crate) fn folder(view: &ViewName) -> String {
    let mut folder = String::new();
    for (at, c) in view.as_str().char_indices() {
        if c.is_alphanumeric() || c == '-' || (at > 0 && c == '.') || (c == '_' && (at > 0 || view.as_str() != LOG)) {
            folder.push(c);
        } else {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| folder.push_str(&format!("!{byte:02X}")));
        }
    }
    folder
}

/// The log entry of a version.
pub(crate) fn entry(version: u64) -> String {
    format!("{LOG}/{version:020}.json")
}

/// What the files of a commit are called, each told from the others by a number: the epoch, the
/// beginning of its hash and a part that no other attempt at the same commit has.
#[derive(Debug)]
pub(crate) struct FileNames {
    stem: String,
    data: AtomicUsize,
    changes: AtomicUsize,
}

impl FileNames {
    /// Names for the files of a commit of this epoch.
    pub(crate) fn of(header: &EpochHeader, attempt: &str) -> Self {
        FileNames::new(format!("epoch-{}-{}", header.epoch, attempt))
    }

    /// Names for files with merged rows, which belong to no epoch.
    pub(crate) fn merged(attempt: &str) -> Self {
        FileNames::new(format!("merged-{attempt}"))
    }

    fn new(stem: String) -> Self {
        FileNames { stem, data: AtomicUsize::new(0), changes: AtomicUsize::new(0) }
    }

    /// The next data file.
    pub(crate) fn data(&self) -> String {
        let number = self.data.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:05}.zstd.parquet", self.stem)
    }

    /// The next change data file.
    pub(crate) fn changes(&self) -> String {
        let number = self.changes.fetch_add(1, Ordering::Relaxed);
        format!("{CHANGES}/{}-{number:05}.zstd.parquet", self.stem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        let cases = [
            ("orders", "orders"),
            ("Größe 1", "Größe!201"),
            ("a/b", "a!2Fb"),
            ("..", "!2E."),
            ("_delta_log", "!5Fdelta_log"),
            ("_other", "_other"),
            ("per%cent", "per!25cent"),
            ("🦆", "!F0!9F!A6!86"),
        ];
        for (view, expected) in cases {
            assert_eq!(folder(&ViewName::from(view)), expected);
        }
    }
}
