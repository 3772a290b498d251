//! A text with a path: turns byte offsets into lines and columns, and collects what is wrong with
//! it, so that one run shows all faults.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something that is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    path: PathBuf,
    line: usize,
    column: usize,
    message: String,
}

impl Fault {
    /// A fault at a line and a column, both counted from one.
    pub fn new(path: &Path, (line, column): (usize, usize), message: impl Into<String>) -> Self {
        Fault { path: path.to_owned(), line, column, message: message.into() }
    }

    /// A fault of a file as a whole.
    pub fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Fault::new(path, (0, 0), message)
    }
}

/// `shop.toml:12:1: what is wrong`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The text of a file and its faults.
pub struct Document {
    path: PathBuf,
    text: String,
    faults: RefCell<Vec<Fault>>,
}

impl Document {
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Document { path: path.into(), text: text.into(), faults: RefCell::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset, both counted from one; columns are characters.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..offset.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// Notes a fault at a byte offset.
    pub fn fault(&self, offset: usize, message: impl Into<String>) {
        self.faults.borrow_mut().push(Fault::new(&self.path, self.place(offset), message));
    }

    /// Notes a fault that stands nowhere: something is missing.
    pub fn fault_of_file(&self, message: impl Into<String>) {
        self.faults.borrow_mut().push(Fault::of_file(&self.path, message));
    }

    /// The faults found so far, in the order of the text.
    pub fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort();
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let document = Document::new("a.toml", "é = 1\nb = 2\n");
        assert_eq!(document.place(0), (1, 1));
        assert_eq!(document.place(3), (1, 3));
        assert_eq!(document.place(7), (2, 1));
        assert_eq!(document.place(99), (3, 1));
    }

    #[test]
    fn faults_come_in_the_order_of_the_text() {
        let document = Document::new("a.toml", "x\ny\n");
        document.fault(2, "second");
        document.fault(0, "first");
        let lines: Vec<String> = document.into_faults().iter().map(Fault::to_string).collect();
        assert_eq!(lines, ["a.toml:1:1: first", "a.toml:2:1: second"]);
    }
}
