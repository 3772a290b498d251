//! The files of a mart: the one that readers open, and those of ours beside it.
//!
//! With [`Publish::AtomicCopy`] commits go into a private file, and what readers open is a copy of
//! it, which takes the place of the one before by a rename: an open reader keeps the file it has,
//! a new one gets the new file, and at no moment is there none or half of one. Whether the copy is
//! of today is seen in the headers of both files, because every checkpoint of DuckDB changes a
//! header: nothing else has to be written down, and a copy that was never made, or that somebody
//! changed, is made anew by the next commit or the next maintenance.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tidegate_core::{ErrorKind, failpoint};
use tidegate_duck::{Access, Duck};

use crate::config::{DuckdbConfig, Publish};
use crate::error::DuckdbSinkError;
use crate::mart::Mart;

/// DuckDB's main header and its two database headers, of which the newer one counts.
const HEADERS_BYTES: u64 = 3 * 4096;

/// The right to write to the private file and to copy it, which one process has at a time. DuckDB's own lock of the file ends
/// with a commit, before the copy is made.
pub(crate) struct Turn {
    _file: File,
}

/// The names of a mart's files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    shown: PathBuf,
    publish: Publish,
}

impl Files {
    pub(crate) fn new(config: DuckdbConfig) -> Files {
        Files { shown: config.path, publish: config.publish }
    }

    /// The file that commits are written to.
    pub(crate) fn working(&self) -> PathBuf {
        match self.publish {
            Publish::InPlace => self.shown.clone(),
            Publish::AtomicCopy => self.private(),
        }
    }

    /// The file that says what the mart holds: what readers open as long as no private file is there.
    pub(crate) fn held(&self) -> PathBuf {
        let working = self.working();
        if working.exists() { working } else { self.shown.clone() }
    }

    /// Where large commits spill to.
    pub(crate) fn spill(&self) -> PathBuf {
        with_name(&self.shown, "", ".tidegate.tmp")
    }

    /// A database that is being made and has no name yet.
    pub(crate) fn unfinished(&self) -> PathBuf {
        with_name(&self.shown, ".", ".tidegate-new")
    }

    fn private(&self) -> PathBuf {
        with_name(&self.shown, "", ".tidegate")
    }

    fn copy(&self) -> PathBuf {
        with_name(&self.shown, ".", ".tidegate-copy")
    }

    /// Takes the turn; the sink and `tidegate remove` may be at work at the same time. `None` where there is no private file. It is
    /// taken before the file is attached and given back after that, because whoever closes a file gives up all locks that the process has
    /// on it, DuckDB's too.
    pub(crate) fn turn(&self) -> Result<Option<Turn>, DuckdbSinkError> {
        let private = self.private();
        if self.publish == Publish::InPlace || !private.exists() {
            return Ok(None);
        }
        let file = File::open(&private).map_err(|error| DuckdbSinkError::io(&private, "opened", &error))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(DuckdbSinkError::Held { file: private.display().to_string(), holder: String::new() })
            }
            // A file system without such locks has none between its processes either way.
            Err(TryLockError::Error(_)) | Ok(()) => Ok(Some(Turn { _file: file })),
        }
    }

    /// Makes the folder.
    pub(crate) fn prepare_folder(&self) -> Result<(), DuckdbSinkError> {
        let folder = folder_of(&self.shown);
        fs::create_dir_all(&folder).map_err(|error| DuckdbSinkError::io(&folder, "created", &error))
    }

    /// Brings the working file in order before a commit: without a private file the mart that
    /// readers open becomes one, and a private file that the way of publishing has no use for
    /// any more goes, lest it be taken for the mart one day.
    pub(crate) fn settle(&self, duck: &Duck) -> Result<(), DuckdbSinkError> {
        match self.publish {
            Publish::InPlace => remove(&self.private()),
            Publish::AtomicCopy if self.private().exists() || !self.shown.exists() => Ok(()),
            Publish::AtomicCopy => self.adopt(duck),
        }
    }

    /// Makes the private file from the one that readers open.
    fn adopt(&self, duck: &Duck) -> Result<(), DuckdbSinkError> {
        // Nobody else writes to it, and its log is in it.
        Mart::attach(duck, &self.shown, &self.shown, Access::ReadWrite, None)?.detach()?;
        let before = self.headers(&self.shown)?;
        let unfinished = self.unfinished();
        self.duplicate(&self.shown, &unfinished)?;
        if self.headers(&self.shown)? != before || wal(&self.shown).exists() {
            remove(&unfinished)?;
            return Err(self.written());
        }
        self.rename(&unfinished, &self.private())
    }

    /// Gives a database that was made under the unfinished name its own.
    pub(crate) fn finish(&self) -> Result<(), DuckdbSinkError> {
        let working = self.working();
        if working.exists() {
            let fact = "it was made by another program in the meantime".to_owned();
            let path = working.display().to_string();
            return Err(DuckdbSinkError::File { path, action: "created", fact, kind: ErrorKind::Retry });
        }
        self.rename(&self.unfinished(), &working)
    }

    /// Removes what an attempt to make a database left behind.
    pub(crate) fn discard_unfinished(&self) -> Result<(), DuckdbSinkError> {
        let unfinished = self.unfinished();
        remove(&unfinished)?;
        remove(&wal(&unfinished))
    }

    /// Gives readers what the private file holds, if they do not have it.
    pub(crate) fn publish(&self) -> Result<(), DuckdbSinkError> {
        let private = self.private();
        if self.publish == Publish::InPlace || !private.exists() {
            return Ok(());
        }
        if self.headers(&private)? == self.headers(&self.shown)? {
            return Ok(());
        }
        if wal(&self.shown).exists() {
            return Err(self.written());
        }
        let copy = self.copy();
        let made = self.duplicate(&private, &copy);
        if made.is_err() {
            // It is in nobody's way, and the next attempt writes over it.
            let _ = remove(&copy);
        }
        made?;
        failpoint::hit("sink.duckdb.copied");
        self.rename(&copy, &self.shown)?;
        failpoint::hit("sink.duckdb.published");
        Ok(())
    }

    fn written(&self) -> DuckdbSinkError {
        DuckdbSinkError::CopyWritten {
            file: self.shown.display().to_string(),
            log: wal(&self.shown).display().to_string(),
        }
    }

    /// The headers of a database file; nothing where there is none.
    fn headers(&self, file: &Path) -> Result<Vec<u8>, DuckdbSinkError> {
        let mut headers = Vec::new();
        match File::open(file).and_then(|file| file.take(HEADERS_BYTES).read_to_end(&mut headers)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DuckdbSinkError::io(file, "read", &error)),
            _ => Ok(headers),
        }
    }

    /// A durable copy of a database. The kernel shares the blocks where the file system can do that;
    /// elsewhere it copies them.
    fn duplicate(&self, from: &Path, to: &Path) -> Result<(), DuckdbSinkError> {
        let copied = || {
            let (mut source, mut target) = (File::open(from)?, File::create(to)?);
            io::copy(&mut source, &mut target)?;
            // Who may read is for those to say who own the file.
            let shown = if self.shown.exists() { &self.shown } else { from };
            target.set_permissions(fs::metadata(shown)?.permissions())?;
            target.sync_all()
        };
        copied().map_err(|error| DuckdbSinkError::io(to, "written", &error))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DuckdbSinkError> {
        fs::rename(from, to).map_err(|error| DuckdbSinkError::io(to, "created", &error))?;
        let folder = folder_of(to);
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| DuckdbSinkError::io(&folder, "made durable", &error))
    }
}

/// The same folder, and the name with something before and after it.
fn with_name(file: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = OsString::from(before);
    name.push(file.file_name().unwrap_or_default());
    name.push(after);
    file.with_file_name(name)
}

/// DuckDB's log of a database file.
pub(crate) fn wal(file: &Path) -> PathBuf {
    with_name(file, "", ".wal")
}

fn remove(file: &Path) -> Result<(), DuckdbSinkError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DuckdbSinkError::io(file, "removed", &error)),
        _ => Ok(()),
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
