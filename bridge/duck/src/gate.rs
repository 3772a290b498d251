//! Who in this process may have a database file open: any number of readers, or one writer. The lock on
//! the file keeps other processes out but not a second DuckDB in the same one (such locks belong to
//! the process), so that everybody who attaches a file of which another part of the program may
//! know passes its gate first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static LATCHES: LazyLock<Mutex<HashMap<PathBuf, Arc<Latch>>>> = LazyLock::new(Mutex::default);

#[derive(Debug, Default)]
struct Latch {
    holders: Mutex<Holders>,
    freed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Holders {
    #[default]
    None,
    Readers(usize),
    Writer,
}

impl Holders {
    fn with_reader(self) -> Option<Holders> {
        match self {
            Holders::None => Some(Holders::Readers(1)),
            Holders::Readers(readers) => Some(Holders::Readers(readers + 1)),
            Holders::Writer => None,
        }
    }

    fn with_writer(self) -> Option<Holders> {
        (self == Holders::None).then_some(Holders::Writer)
    }

    fn with_one_less(self) -> Holders {
        match self {
            Holders::Readers(readers) if readers > 1 => Holders::Readers(readers - 1),
            _ => Holders::None,
        }
    }
}

/// The gate of one file. Waiting blocks the thread.
#[derive(Debug, Clone)]
pub struct Gate {
    latch: Arc<Latch>,
}

impl Gate {
    /// The gate that everybody in this process shares for a file, be it there already or not.
    pub fn of(file: &Path) -> Gate {
        Gate { latch: locked(&LATCHES).entry(real_path(file)).or_default().clone() }
    }

    /// Waits until nobody else of this process writes the file, which then stays so until the pass is
    /// dropped. For those who only read; nobody may wait for them while he has a pass himself.
    pub fn share(&self) -> Pass {
        let mut holders = locked(&self.latch.holders);
        loop {
            if let Some(more) = holders.with_reader() {
                *holders = more;
                return Pass { latch: self.latch.clone() };
            }
            holders = self.latch.freed.wait(holders).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits, for at most so long, until nobody else of this process has the file open; it then stays so
    /// until the pass is dropped. A reader may have it for as long as somebody takes to consume the rows.
    pub fn pass_within(&self, patience: Duration) -> Option<Pass> {
        let until = Instant::now() + patience;
        let mut holders = locked(&self.latch.holders);
        loop {
            if let Some(more) = holders.with_writer() {
                *holders = more;
                return Some(Pass { latch: self.latch.clone() });
            }
            let left = until.checked_duration_since(Instant::now())?;
            holders = self.latch.freed.wait_timeout(holders, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The right to have the file open.
#[derive(Debug)]
pub struct Pass {
    latch: Arc<Latch>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut holders = locked(&self.latch.holders);
        *holders = holders.with_one_less();
        self.latch.freed.notify_all();
    }
}

/// What is behind these locks is right whenever they are free, whoever panicked.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file under one name, however it was reached; what of the path is not there yet stays as it is
/// written.
pub(crate) fn real_path(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut missing = Vec::new();
    let mut present = absolute.as_path();
    loop {
        if let Ok(real) = present.canonicalize() {
            return missing.iter().rev().fold(real, |path, name| path.join(name));
        }
        match (present.parent(), present.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name.to_owned());
                present = parent;
            }
            _ => return absolute,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_or_many_readers_pass_whatever_the_file_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, roundabout) = (folder.path().join("x.db"), folder.path().join("./y/../x.db"));
        std::fs::create_dir(folder.path().join("y")).unwrap();
        std::fs::write(&plain, "").unwrap();
        let soon = Duration::from_millis(5);
        let readers = [Gate::of(&plain).share(), Gate::of(&roundabout).share()];
        assert!(Gate::of(&roundabout).pass_within(soon).is_none());
        assert!(Gate::of(&folder.path().join("other.db")).pass_within(Duration::ZERO).is_some());
        drop(readers);
        let writer = Gate::of(&plain).pass_within(Duration::ZERO).unwrap();
        assert!(Gate::of(&roundabout).pass_within(soon).is_none());
        let waiting = std::thread::spawn(move || drop(Gate::of(&roundabout).share()));
        drop(writer);
        waiting.join().unwrap();
        assert!(Gate::of(&plain).pass_within(Duration::ZERO).is_some());
    }
}
