//! One process a state folder: an flock on `lock`, which also names the process that holds it.
//!
//! The lock belongs to the open file, so it goes with the process however that ends; a stale
//! file locks nobody out. It is given back in so many words: a child that another thread has
//! just forked has the open file too until it executes its program (`flock(2)`).

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::RuntimeError;

const FILE: &str = "lock";

/// The right to work on a state folder, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Whether a process works on a state folder.
pub fn is_running(state_dir: &Path) -> bool {
    Lock::is_held(state_dir)
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(name: "lock_left", %error, "the lock of the state folder is given back when the process ends");
        }
    }
}

impl Lock {
    /// Takes the lock of an existing folder, or says who holds it.
    pub fn acquire(dir: &Path) -> Result<Lock, RuntimeError> {
        let path = dir.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(RuntimeError::io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let named = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                let pid = if named { pid.trim().to_owned() } else { "unknown".to_owned() };
                return Err(RuntimeError::Locked { dir: dir.to_owned(), pid });
            }
            Err(error) => return Err(RuntimeError::io("lock", &path)(error.into())),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(RuntimeError::io("write", &path))?;
        Ok(Lock { file })
    }

    /// Whether a process holds the lock of a folder; takes nothing.
    pub fn is_held(dir: &Path) -> bool {
        let Ok(file) = File::open(dir.join(FILE)) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::ErrorKind;

    #[test]
    fn the_second_one_learns_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Lock::is_held(dir.path()));
        let first = Lock::acquire(dir.path()).unwrap();
        assert!(Lock::is_held(dir.path()));
        let refused = Lock::acquire(dir.path()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Retry);
        let message = refused.to_string();
        assert!(message.contains(&std::process::id().to_string()), "{message}");
        assert!(message.contains(&dir.path().display().to_string()), "{message}");
        drop(first);
        assert!(!Lock::is_held(dir.path()));
        Lock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn it_is_given_back_though_a_forked_child_still_has_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(dir.path()).unwrap();
        // What fork leaves to a child until it executes its program.
        let childs = lock.file.try_clone().unwrap();
        drop(lock);
        Lock::acquire(dir.path()).unwrap();
        drop(childs);
    }
}
