//! Names of files and folders, and which of a view's files count.

use std::cmp::Reverse;

use tidegate_core::{Epoch, ViewName};

/// The folder with everything that is not a view's data.
pub(crate) const OWN: &str = "_tidegate";
/// What the sink has committed.
pub(crate) const MANIFEST: &str = "_tidegate/manifest.json";
/// Where files are written before they are made visible.
pub(crate) const STAGE: &str = "_tidegate/stage";
/// Sorted parts of a content that is too large for the memory, while it is written.
pub(crate) const SPILL: &str = "_tidegate/spill";
/// Views and macros for DuckDB.
pub(crate) const VIEWS_SQL: &str = "views.sql";
/// Within a view's folder: the name of the folder of its newest snapshot.
pub(crate) const LATEST: &str = "_latest";

/// How every file of ours ends.
pub(crate) const EXTENSION: &str = ".parquet";
const DIGITS: usize = 20;

/// Both ends included: the epochs whose changes a file holds. A file that begins at epoch 0, which has
/// no changes, holds the content at the end of its last epoch instead: the base of what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) from: Epoch,
    pub(crate) to: Epoch,
}

impl Span {
    /// One epoch.
    pub(crate) fn single(epoch: Epoch) -> Span {
        Span { from: epoch, to: epoch }
    }

    /// Everything up to an epoch, as the content that it comes to.
    pub(crate) fn base(to: Epoch) -> Span {
        Span { from: Epoch::ZERO, to }
    }

    pub(crate) fn is_single(self) -> bool {
        self.from == self.to
    }

    pub(crate) fn is_base(self) -> bool {
        self.from == Epoch::ZERO
    }

    /// The file's name without its ending.
    pub(crate) fn stem(self) -> String {
        if self.is_single() { self.to.digits() } else { format!("{}-{}", self.from.digits(), self.to.digits()) }
    }

    /// The file's name, relative to the sink's path.
    pub(crate) fn file(self, view: &ViewName) -> String {
        format!("{}/{}{EXTENSION}", folder(view), self.stem())
    }

    /// Reads [`stem`](Span::stem).
    pub(crate) fn parse(stem: &str) -> Option<Span> {
        let epoch = |digits: &str| {
            let is_epoch = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_epoch.then(|| digits.parse().ok().map(Epoch)).flatten()
        };
        match stem.split_once('-') {
            None => epoch(stem).map(Span::single),
            Some((from, to)) => Some(Span { from: epoch(from)?, to: epoch(to)? }).filter(|span| span.from < span.to),
        }
    }
}

/// The files that readers take, in order, and those whose epochs are in one of them. Merged files never
/// overlap but one within the other, so the greatest `to` so far tells.
pub(crate) fn chosen(spans: impl IntoIterator<Item = Span>) -> (Vec<Span>, Vec<Span>) {
    let mut spans: Vec<Span> = spans.into_iter().collect();
    spans.sort_by_key(|span| (span.from, Reverse(span.to)));
    let mut reached = None;
    spans.into_iter().partition(|span| {
        let counts = reached.is_none_or(|reached| span.to > reached);
        reached = reached.max(Some(span.to));
        counts
    })
}

/// The folder of a view: its name, with the characters that file systems, object stores or globs
/// take for something else written as `%` and two hexadecimal digits.
pub(crate) fn folder(view: &ViewName) -> String {
    let mut folder = String::new();
    for (at, c) in view.as_str().char_indices() {
        let own = at == 0 && (c == '.' || view.as_str().to_ascii_lowercase().starts_with(OWN));
        if own || c.is_control() || "%/\\:*?\"'<>|[]{}~#^`=".contains(c) {
            escape(&mut folder, c);
        } else {
            folder.push(c);
        }
    }
    folder
}

/// Writes a character as the bytes of its UTF-8, each as `%` and two hexadecimal digits.
pub(crate) fn escape(text: &mut String, c: char) {
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes).bytes().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
}

/// What a file in a view's folder is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// One of ours.
    Data(Span),
    /// A Parquet file that readers would take for one of ours.
    Foreign,
    /// Something that no reader looks at.
    Other,
}

/// Tells a file by its name.
pub(crate) fn entry(name: &str) -> Entry {
    let Some(stem) = name.strip_suffix(EXTENSION) else { return Entry::Other };
    Span::parse(stem).map_or(Entry::Foreign, Entry::Data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: u64, to: u64) -> Span {
        Span { from: Epoch(from), to: Epoch(to) }
    }

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
        assert_eq!(Span::single(Epoch(7)).file(&"v".into()), "v/00000000000000000007.parquet");
        let merged = "v/00000000000000000007-00000000000000000012.parquet";
        assert_eq!(span(7, 12).file(&"v".into()), merged);
        assert_eq!(entry("00000000000000000007.parquet"), Entry::Data(span(7, 7)));
        assert_eq!(entry(&merged[2..]), Entry::Data(span(7, 12)));
        assert_eq!(entry("part-0.parquet"), Entry::Foreign);
        assert_eq!(entry("99999999999999999999.parquet"), Entry::Foreign);
        assert_eq!(entry("00000000000000000012-00000000000000000007.parquet"), Entry::Foreign);
        assert_eq!(entry("notes.txt"), Entry::Other);
    }

    #[test]
    fn the_widest_files_count() {
        let all = [span(1, 1), span(2, 2), span(1, 2), span(3, 4), span(1, 4), span(3, 3), span(4, 4), span(5, 5)];
        let (counts, covered) = chosen(all);
        assert_eq!(counts, [span(1, 4), span(5, 5)]);
        assert_eq!(covered.len(), 6);
        let (counts, _) = chosen([span(0, 4), span(5, 9), span(0, 2), span(1, 4), span(10, 10)]);
        assert_eq!(counts, [span(0, 4), span(5, 9), span(10, 10)]);
        assert_eq!(chosen([]), (vec![], vec![]));
    }
}
