//! Durable writes on a local disk: what counts as written has been flushed, its name included.
//!
//! `rename` alone survives a killed process but not a power cut: the file is flushed before it
//! gets its name, and the folder after.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::ErrorKind;

use crate::RuntimeError;

/// Replaces `path` by `content` as one step.
pub fn write(path: &Path, content: &[u8]) -> Result<(), RuntimeError> {
    let staged = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&staged)
        .map_err(RuntimeError::io("create", &staged))?;
    file.write_all(content).map_err(RuntimeError::io("write", &staged))?;
    file.sync_all().map_err(RuntimeError::io("flush", &staged))?;
    fs::rename(&staged, path).map_err(RuntimeError::io("replace", path))?;
    sync_parent(path)
}

/// Replaces `path` by a value as JSON, as one step.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RuntimeError> {
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|error| RuntimeError::Bug(format!("{} cannot be written as JSON: {error}", path.display())))?;
    json.push(b'\n');
    write(path, &json)
}

/// The value in a JSON file; `None` when there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path, way_out: &'static str) -> Result<Option<T>, RuntimeError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RuntimeError::io("read", path)(error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| RuntimeError::State {
        path: path.to_owned(),
        fact: format!("is not what this version of Tidegate wrote ({error})"),
        way_out,
        kind: ErrorKind::Stop,
    })
}

/// Makes names that were created, replaced or removed in a folder durable.
pub fn sync_dir(dir: &Path) -> Result<(), RuntimeError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(RuntimeError::io("flush", dir))
}

/// Creates a folder and its parents; the new names are durable.
pub fn create_dir(dir: &Path) -> Result<(), RuntimeError> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => sync_parent(dir),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(RuntimeError::io("create", dir)(error)),
    }
}

/// Removes a file that may be gone already.
pub fn remove(path: &Path) -> Result<(), RuntimeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RuntimeError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> Result<(), RuntimeError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips_and_says_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read_json::<u32>(&path, "remove it").unwrap(), None);
        write_json(&path, &7u32).unwrap();
        assert_eq!(read_json::<u32>(&path, "remove it").unwrap(), Some(7));
        write(&path, b"{").unwrap();
        let error = read_json::<u32>(&path, "remove it").unwrap_err();
        assert!(error.to_string().contains("a.json") && error.to_string().ends_with("remove it"), "{error}");
    }

    #[test]
    fn folders_are_made_with_their_parents() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir(&deep).unwrap();
        create_dir(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_dir(&dir.path().join("file/x")).is_err());
    }
}
