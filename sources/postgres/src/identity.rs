//! Which server was read, remembered in the state folder: the same positions of another server, or of
//! another history of the same server, mean nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::PostgresError;

/// What is remembered of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// `system_identifier`, which `initdb` chooses.
    pub system: String,
    /// The timeline, which a promotion begins anew.
    pub timeline: u32,
    /// The publication's OID.
    pub publication: u32,
    /// By the OID of a table, what puts it into the publication.
    pub memberships: BTreeMap<u32, u32>,
    /// Whether the slot was dropped here because it held too much WAL.
    #[serde(default)]
    pub released: bool,
}

/// Where it is kept.
#[derive(Debug, Clone)]
pub(crate) struct IdentityFile {
    source: String,
    path: PathBuf,
}

impl IdentityFile {
    /// The file of a source; `folder` is made when it is first written.
    pub fn new(source: &str, folder: &Path) -> Self {
        IdentityFile { source: source.to_owned(), path: folder.join(format!("{source}.json")) }
    }

    /// What is remembered; `None` before anything was read, or when the folder is gone.
    pub fn read(&self) -> Result<Option<Identity>, PostgresError> {
        match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", error)),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|error| self.failed("read", io::Error::other(error)))
            }
        }
    }

    /// Durable when it returns.
    pub fn write(&self, identity: &Identity) -> Result<(), PostgresError> {
        self.put(identity).map_err(|error| self.failed("written", error))
    }

    fn put(&self, identity: &Identity) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = self.path.with_extension("json.tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(identity).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(folder)?.sync_all()
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> PostgresError {
        PostgresError::File { database: self.source.clone(), path: self.path.display().to_string(), doing, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdentityFile::new("app", &folder.path().join("sources"));
        assert_eq!(file.read().unwrap(), None);
        let memberships = BTreeMap::from([(1, 2)]);
        let identity = Identity { system: "7".to_owned(), timeline: 3, publication: 4, memberships, released: false };
        file.write(&identity).unwrap();
        assert_eq!(file.read().unwrap(), Some(identity));
        fs::write(folder.path().join("sources/app.json"), "{").unwrap();
        assert!(file.read().unwrap_err().to_string().contains("app.json"));
    }
}
