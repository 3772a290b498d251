//! The file: only ever appended to, locked while a commit runs, and cut back to its last commit line before the next.
//!
//! What a process that died left behind its last commit line has never counted. The lines of a commit are durable
//! before its commit line is written, and that is durable before the commit is reported.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::JsonlSinkError;
use crate::line::{COMMIT, Held, VIEW, parse_commit};

/// Bytes that are read at once on the way back from the end.
const BLOCK: usize = 256 << 10;

/// What a file says it holds.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) held: Held,
    /// The bytes up to the end of the last commit line.
    pub(crate) end: u64,
}

/// A file that nobody else writes to.
pub(crate) struct Locked {
    file: File,
    path: PathBuf,
    pub(crate) state: State,
    is_new: bool,
}

/// What the file says; nothing, when there is none.
pub(crate) fn state(path: &Path) -> Result<State, JsonlSinkError> {
    let Some(mut file) = open(path)? else { return Ok(State::default()) };
    find_state(&mut file, path)
}

/// The file for reading, if it is there.
pub(crate) fn open(path: &Path) -> Result<Option<File>, JsonlSinkError> {
    match File::open(path) {
        Ok(file) => {
            let found = file.metadata().map_err(|error| JsonlSinkError::io(path, "opened", &error))?;
            if !found.is_file() {
                return Err(JsonlSinkError::File {
                    path: path.display().to_string(),
                    action: "written",
                    fact: "it is not a plain file: give the sink the path of a file, or - for standard output"
                        .to_owned(),
                    kind: tidegate_core::ErrorKind::Reconfigure,
                });
            }
            Ok(Some(file))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(JsonlSinkError::io(path, "opened", &error)),
    }
}

/// In so many words: a child that another thread has just forked has the open file too, and the
/// lock with it, until it executes its program (`flock(2)`).
impl Drop for Locked {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(name: "lock_left", file = %self.path.display(), %error, "the lock is given back when the process ends");
        }
    }
}

impl Locked {
    /// Opens the file, which is made when it is not there, and keeps others out.
    pub(crate) fn open(path: &Path) -> Result<Locked, JsonlSinkError> {
        let is_new = open(path)?.is_none();
        let folder = folder_of(path);
        fs::create_dir_all(&folder).map_err(|error| JsonlSinkError::io(&folder, "created", &error))?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(|error| JsonlSinkError::io(path, "opened", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JsonlSinkError::Held { file: path.display().to_string() }),
            Err(TryLockError::Error(error)) => return Err(JsonlSinkError::io(path, "locked", &error)),
        }
        let state = find_state(&mut file, path)?;
        Ok(Locked { file, path: path.to_owned(), state, is_new })
    }

    /// Drops what is behind the last commit line; appending begins there.
    pub(crate) fn cut(&mut self) -> Result<(), JsonlSinkError> {
        let failed = |error| JsonlSinkError::io(&self.path, "cut back to its last commit", &error);
        let length = self.file.metadata().map_err(failed)?.len();
        if length > self.state.end {
            self.file.set_len(self.state.end).map_err(failed)?;
            tracing::info!(name: "lines_cut", file = %self.path.display(), bytes = length - self.state.end, "removed lines without a commit");
        }
        self.file.seek(SeekFrom::Start(self.state.end)).map_err(failed)?;
        Ok(())
    }

    /// Appends.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), JsonlSinkError> {
        self.file.write_all(text.as_bytes()).map_err(|error| JsonlSinkError::io(&self.path, "written", &error))
    }

    /// Makes durable what was appended.
    pub(crate) fn sync(&mut self) -> Result<(), JsonlSinkError> {
        self.file.sync_data().map_err(|error| JsonlSinkError::io(&self.path, "made durable", &error))?;
        if std::mem::take(&mut self.is_new) {
            let folder = folder_of(&self.path);
            let synced = File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| JsonlSinkError::io(&folder, "made durable", &error))?;
        }
        Ok(())
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Finds the last commit line from the end of the file, so that the work does not follow the file's length.
fn find_state(file: &mut File, path: &Path) -> Result<State, JsonlSinkError> {
    let failed = |error| JsonlSinkError::io(path, "read", &error);
    let length = file.metadata().map_err(failed)?.len();
    let mut tail: Vec<u8> = Vec::new();
    let mut start = length;
    // Where nothing that begins a commit line has been looked for yet.
    let mut unseen = 0;
    loop {
        while let Some(at) = last_commit(&tail[..unseen], start == 0) {
            let line = &tail[at..];
            if let Some(newline) = line.iter().position(|byte| *byte == b'\n') {
                let text = std::str::from_utf8(&line[..newline]).ok();
                let held = text.and_then(parse_commit).ok_or_else(|| JsonlSinkError::Altered {
                    file: path.display().to_string(),
                    difference: format!("the commit line at byte {} is not one of ours", start + at as u64),
                })?;
                return Ok(State { held, end: start + (at + newline + 1) as u64 });
            }
            // A commit line that is torn is none.
            unseen = at;
        }
        if start == 0 {
            break;
        }
        let block = BLOCK.min(usize::try_from(start).unwrap_or(BLOCK));
        start -= block as u64;
        let mut bytes = vec![0; block];
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        file.read_exact(&mut bytes).map_err(failed)?;
        // What begins in the block may end behind it; a commit line itself may be longer than a block.
        unseen = block + COMMIT.len().min(tail.len());
        bytes.append(&mut tail);
        tail = bytes;
    }
    let is_ours = length == 0 || [VIEW, COMMIT].iter().any(|begin| begins_with(&tail, begin));
    if !is_ours {
        return Err(JsonlSinkError::Foreign { file: path.display().to_string() });
    }
    Ok(State::default())
}

/// Whether the text begins with another one, as far as it goes.
fn begins_with(text: &[u8], begin: &str) -> bool {
    let length = text.len().min(begin.len());
    text[..length] == begin.as_bytes()[..length]
}

/// Where the last line begins that is a commit line by its beginning.
fn last_commit(text: &[u8], is_start: bool) -> Option<usize> {
    let begin = COMMIT.as_bytes();
    let at = (0..text.len().checked_sub(begin.len() - 1)?).rev();
    at.filter(|at| text[*at..].starts_with(begin)).find(|at| if *at == 0 { is_start } else { text[at - 1] == b'\n' })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::{Committed, EpochHash, EpochHeader, Frontier, Micros, ViewName};

    fn commit(epoch: u64, view: &str) -> String {
        let header = EpochHeader {
            epoch: tidegate_core::Epoch(epoch),
            hash: EpochHash([7; 32]),
            frontier: Frontier::new(),
            time: Micros(0),
            latest_commit: None,
        };
        let mut line = String::new();
        crate::line::commit(&header, Micros(0), &[ViewName::new(view)], &Held::new(), &mut line);
        line
    }

    fn found(text: &[u8]) -> Result<State, JsonlSinkError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, text).unwrap();
        state(&path)
    }

    #[test]
    fn the_last_whole_commit_line_counts_wherever_the_file_ends() {
        let row = format!("{{\"view\":\"v\",\"row\":\"{}\"}}\n", "x".repeat(90_000));
        let text = format!("{row}{}{row}{row}{row}{}{}", commit(1, "v"), row.repeat(7), commit(2, "v"));
        let (first, second) = (row.len() + commit(1, "v").len(), text.len());
        for length in (0..=text.len()).filter(|n| n % 4_999 == 0 || text.len() - n < 300 || n.abs_diff(first) < 300) {
            let state = found(&text.as_bytes()[..length]).unwrap();
            let (epoch, end) = match length {
                length if length == second => (Some(2), second),
                length if length >= first => (Some(1), first),
                _ => (None, 0),
            };
            let held = state.held.get(&ViewName::new("v")).map(|held: &Committed| held.epoch.0);
            assert_eq!((held, state.end), (epoch, end as u64), "{length} bytes");
        }
    }

    #[test]
    fn a_commit_line_longer_than_a_block_is_found() {
        let name = "n".repeat(2 * BLOCK + 17);
        for before in [0, 1, COMMIT.len() - 1, COMMIT.len(), BLOCK] {
            let text = format!("{VIEW}{}\n{}", "z".repeat(before), commit(3, &name));
            assert_eq!(found(text.as_bytes()).unwrap().held.len(), 1, "{before} bytes before");
        }
        assert_eq!(found(commit(3, &name).as_bytes()).unwrap().held.len(), 1);
    }

    #[test]
    fn other_files_are_refused_and_altered_ones_too() {
        assert!(matches!(found(b"id,name\n1,a\n"), Err(JsonlSinkError::Foreign { .. })));
        assert!(matches!(found(b"{\"commit\":1,\"hash\":2}\n"), Err(JsonlSinkError::Altered { .. })));
        assert_eq!(found(b"{\"vi").unwrap().end, 0);
        assert_eq!(found(b"").unwrap().end, 0);
    }
}
