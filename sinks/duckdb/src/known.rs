//! What a file is known to hold, for as long as nobody else writes to it: commits that follow one another do not look for what the
//! commit before has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use filetime::FileTime;
use tidegate_core::{Committed, Epoch, ViewInfo, ViewName};
use tidegate_duck::history::STANDINGS;

use crate::files::wal;
use crate::history::names::Names;

/// What was seen in a file, names in small letters.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Its tables.
    pub(crate) tables: BTreeSet<String>,
    /// Views of the pipeline that stand in it as SQL views over their open versions.
    pub(crate) shown: BTreeSet<String>,
    /// What it says that it holds of views, and the columns that their tables have.
    views: BTreeMap<String, (Committed, SchemaRef)>,
    /// Up to where it holds the histories of views; `None` where that was not read.
    pub(crate) histories: Option<BTreeMap<String, Committed>>,
    /// The last epoch whose latest commit is noted.
    pub(crate) last_time: Option<Epoch>,
    /// Versions that ended lately, of each history whose were counted.
    recent: BTreeMap<String, u64>,
}

impl Known {
    /// What is seen at first.
    pub(crate) fn of(tables: BTreeSet<String>, shown: BTreeSet<String>) -> Known {
        Known { tables, shown, ..Known::default() }
    }

    /// What the file holds of a view, where that is known.
    pub(crate) fn committed(&self, view: &ViewName) -> Option<Committed> {
        self.views.get(&view.as_str().to_lowercase()).map(|(committed, _)| *committed)
    }

    /// Whether the tables of a view are known to have the view's columns.
    pub(crate) fn has_columns_of(&self, view: &ViewInfo) -> bool {
        self.views.get(&view.name.as_str().to_lowercase()).is_some_and(|(_, columns)| *columns == view.schema)
    }

    /// How many versions of a view ended lately and are not in order yet, where that is known.
    pub(crate) fn recent_of(&self, view: &ViewName) -> Option<u64> {
        self.recent.get(&view.as_str().to_lowercase()).copied()
    }

    /// How many versions of a view ended lately; `None` where that was not counted.
    pub(crate) fn note_recent(&mut self, view: &ViewName, recent: Option<u64>) {
        let name = view.as_str().to_lowercase();
        match recent {
            Some(recent) => self.recent.insert(name, recent),
            None => self.recent.remove(&name),
        };
    }

    /// A view was committed, and its tables have the view's columns.
    pub(crate) fn note(&mut self, view: &ViewInfo, committed: Committed) {
        let name = view.name.as_str().to_lowercase();
        if view.history.is_none() {
            self.tables.insert(name.clone());
            self.shown.remove(&name);
        } else {
            self.tables.remove(&name);
            self.shown.insert(name.clone());
            self.tables.extend(Names::of(&view.name).tables().map(str::to_lowercase));
            self.tables.insert(STANDINGS.to_owned());
            if let Some(histories) = &mut self.histories {
                histories.insert(name.clone(), committed);
            }
        }
        self.views.insert(name, (committed, view.schema.clone()));
    }
}

/// What the file system says of a file that nobody else has written to since.
///
/// The kernel's clock goes in steps of milliseconds, within which somebody could write unseen. So the file is left with a time of its
/// own: the present microsecond, and some nanoseconds more.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Trace {
    /// Leaves one. `None` where the file system does not keep such a time.
    fn leave(file: &Path) -> io::Result<Option<Trace>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or_default();
        let nanos = now.subsec_micros() * 1_000 + 1 + now.subsec_micros() % 997;
        // By path: to close a file gives up all locks that this process has on it.
        filetime::set_file_mtime(file, FileTime::from_unix_time(seconds, nanos))?;
        let trace = Trace::of(file)?;
        Ok((trace.modified == (seconds, i64::from(nanos))).then_some(trace))
    }

    /// Of a file as it is.
    fn of(file: &Path) -> io::Result<Trace> {
        let found = fs::metadata(file)?;
        Ok(Trace {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// What a commit left behind.
#[derive(Debug)]
pub(crate) struct Left {
    known: Known,
    trace: Trace,
}

impl Left {
    /// By a commit that still has the file to itself, and writes nothing more. `None` where it cannot be told whether somebody else
    /// writes.
    pub(crate) fn by(file: &Path, known: Known) -> Option<Left> {
        let trace = Trace::leave(file).ok().flatten()?;
        Some(Left { known, trace })
    }

    /// What is known of a file that one has to oneself; `None` where somebody wrote to it, or to a log beside it.
    pub(crate) fn still(self, file: &Path) -> Option<Known> {
        let unchanged = Trace::of(file).is_ok_and(|trace| trace == self.trace);
        (unchanged && !wal(file).exists()).then_some(self.known)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    #[test]
    fn whoever_writes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"before").unwrap();
        let left = || Left::by(&file, Known::default()).unwrap();
        let untouched = left();
        fs::read(&file).unwrap();
        assert!(untouched.still(&file).is_some(), "reading is no writing");
        let writers: [fn(&Path); 5] = [
            |file| fs::write(file, b"before").unwrap(),
            |file| {
                let mut open = OpenOptions::new().write(true).open(file).unwrap();
                open.seek(SeekFrom::Start(2)).unwrap();
                open.write_all(b"f").unwrap();
            },
            |file| {
                let other = file.with_file_name("other");
                fs::copy(file, &other).unwrap();
                fs::rename(&other, file).unwrap();
            },
            |file| fs::write(wal(file), b"more").unwrap(),
            |file| fs::remove_file(file).unwrap(),
        ];
        for (at, write) in writers.iter().enumerate() {
            // At once: within the same step of the kernel's clock.
            let trace = left();
            write(&file);
            assert!(trace.still(&file).is_none(), "{at}");
            let _ = fs::remove_file(wal(&file));
        }
    }
}
