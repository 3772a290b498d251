//! The reference of the book, written by the program: what its tables, its command line, its errors and its metrics say. `cargo
//! xtask docs --write` writes the pages anew; the tests compare them.

mod command;
mod errors;
mod metrics;
mod pipeline;

use std::fs;
use std::path::Path;

/// What stands at the head of each page, for whoever opens the file.
const WRITTEN: &str = "<!-- Written by `cargo xtask docs --write`: change what it is made of. -->\n\n";

/// Compares a page of `docs/src/reference` with what it shall be, or writes it.
fn hold(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        return;
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    let differs = |line: &&str| !known.lines().any(|known| known == *line);
    let found: Vec<&str> = text.lines().filter(differs).collect();
    assert!(
        known == text,
        "docs/src/reference/{name} is not what the program says: run `cargo xtask docs --write`. New: {found:#?}"
    );
}

/// A table of Markdown.
fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', "<br>")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(heads.iter().map(|head| (*head).to_owned()).collect());
    text += &format!("| {} |\n", vec!["---"; heads.len()].join(" | "));
    rows.into_iter().for_each(|row| text += &line(row));
    text
}

/// Code within a line.
fn code(text: impl AsRef<str>) -> String {
    format!("`{}`", text.as_ref())
}
