//! The few things the sink asks of a place for files; a folder and an object store do them
//! differently.

mod folder;
mod remote;

use bytes::Bytes;
use parquet::arrow::async_reader::AsyncFileReader;

use crate::config::Location;
use crate::error::ParquetSinkError;
use folder::{Folder, FolderUpload};
use remote::{Remote, RemoteStaged, RemoteUpload};

/// Where the files are. Names are relative to the sink's path.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Folder(Folder),
    Remote(Remote),
}

/// What a small file was when it was read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Version {
    Content(Bytes),
    Tag(object_store::UpdateVersion),
}

/// How replacing a small file ended.
#[derive(Debug)]
pub(crate) enum Replaced {
    Done,
    /// Somebody else had replaced it.
    Raced,
}

/// How making a file visible ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Done,
    /// There is a file of that name; it was left alone, and the staged one is gone.
    Exists,
}

/// A file being written that nobody sees.
pub(crate) enum Upload {
    Folder(FolderUpload),
    Remote(RemoteUpload),
}

/// A file written whole that nobody sees.
pub(crate) enum Staged {
    Folder(std::path::PathBuf),
    Remote(RemoteStaged),
}

impl Store {
    pub(crate) fn new(location: Location) -> Self {
        match location {
            Location::Folder(root) => Store::Folder(Folder::new(root)),
            Location::Store { store, prefix, url } => Store::Remote(Remote::new(store, prefix, url)),
        }
    }

    /// The full path or URL of a file, for messages and for DuckDB.
    pub(crate) fn path(&self, name: &str) -> String {
        match self {
            Store::Folder(folder) => folder.path(name).display().to_string(),
            Store::Remote(remote) => remote.url(name),
        }
    }

    /// Fails where the sink's path cannot be what it must be.
    pub(crate) async fn check(&self) -> Result<(), ParquetSinkError> {
        match self {
            Store::Folder(folder) => folder.check(),
            Store::Remote(_) => Ok(()),
        }
    }

    /// Makes the folders that a commit needs, and removes what an interrupted one left behind
    /// unseen.
    pub(crate) async fn prepare(&self) -> Result<(), ParquetSinkError> {
        match self {
            Store::Folder(folder) => folder.prepare().await,
            Store::Remote(_) => Ok(()),
        }
    }

    /// The content of a small file.
    pub(crate) async fn read_small(&self, name: &str) -> Result<Option<(Bytes, Version)>, ParquetSinkError> {
        match self {
            Store::Folder(folder) => folder.read_small(name).await,
            Store::Remote(remote) => remote.read_small(name).await,
        }
    }

    /// Replaces a small file as a whole, unless it is no longer the expected one (`None`: absent).
    pub(crate) async fn replace_small(
        &self,
        name: &str,
        content: Vec<u8>,
        expected: Option<Version>,
    ) -> Result<Replaced, ParquetSinkError> {
        match self {
            Store::Folder(folder) => folder.replace_small(name, content, expected).await,
            Store::Remote(remote) => remote.replace_small(name, content, expected).await,
        }
    }

    /// The names of the files in a folder, with their bytes, in order.
    pub(crate) async fn sizes(&self, folder: &str) -> Result<Vec<(String, u64)>, ParquetSinkError> {
        let mut sizes = match self {
            Store::Folder(root) => root.sizes(folder).await?,
            Store::Remote(remote) => remote.sizes(folder).await?,
        };
        sizes.sort_unstable();
        Ok(sizes)
    }

    /// The names of the files in a folder, those after `after` if given, in order.
    pub(crate) async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<String>, ParquetSinkError> {
        let mut names = match self {
            Store::Folder(root) => root.list(folder, after).await?,
            Store::Remote(remote) => remote.list(folder, after).await?,
        };
        names.sort_unstable();
        Ok(names)
    }

    /// The names of all files below a folder, relative to the sink's path, with their bytes, in order.
    pub(crate) async fn tree(&self, folder: &str) -> Result<Vec<(String, u64)>, ParquetSinkError> {
        let mut names = match self {
            Store::Folder(root) => root.tree(folder).await?,
            Store::Remote(remote) => remote.tree(folder).await?,
        };
        names.sort_unstable();
        Ok(names)
    }

    /// Removes the empty folders below a folder, and itself. An object store has none.
    pub(crate) async fn remove_folders(&self, folder: &str) -> Result<(), ParquetSinkError> {
        match self {
            Store::Folder(root) => root.remove_folders(folder).await,
            Store::Remote(_) => Ok(()),
        }
    }

    /// Gives a file that never changes a second name, without reading it where the store can. False when
    /// the second name was there.
    pub(crate) async fn share(&self, name: &str, second: &str) -> Result<Published, ParquetSinkError> {
        match self {
            Store::Folder(folder) => folder.share(name, second).await,
            Store::Remote(remote) => remote.share(name, second).await,
        }
    }

    /// Whether there is a file of that name.
    pub(crate) async fn exists(&self, name: &str) -> Result<bool, ParquetSinkError> {
        match self {
            Store::Folder(folder) => folder.exists(name),
            Store::Remote(remote) => remote.exists(name).await,
        }
    }

    /// Removes a file; the removal is durable when this returns.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), ParquetSinkError> {
        match self {
            Store::Folder(folder) => folder.remove(name).await,
            Store::Remote(remote) => remote.remove(name).await,
        }
    }

    /// Opens a Parquet file.
    pub(crate) async fn open(&self, name: &str) -> Result<Box<dyn AsyncFileReader>, ParquetSinkError> {
        match self {
            Store::Folder(folder) => folder.open(name).await,
            Store::Remote(remote) => remote.open(name).await,
        }
    }

    /// Begins a file that [`publish`](Store::publish) will make visible as `name`.
    pub(crate) async fn upload(&self, name: &str) -> Result<Upload, ParquetSinkError> {
        Ok(match self {
            Store::Folder(folder) => Upload::Folder(folder.upload(name).await?),
            Store::Remote(remote) => Upload::Remote(remote.upload(name)),
        })
    }

    /// Makes a staged file visible under its name; durable when this returns. Never overwrites.
    pub(crate) async fn publish(&self, staged: Staged, name: &str) -> Result<Published, ParquetSinkError> {
        match (self, staged) {
            (Store::Folder(folder), Staged::Folder(staged)) => folder.publish(staged, name).await,
            (Store::Remote(remote), Staged::Remote(staged)) => remote.publish(staged, name).await,
            _ => unreachable!("a store publishes what it staged"),
        }
    }

    /// Throws a staged file away. Failing to do so harms nobody.
    pub(crate) async fn discard(&self, staged: Staged) {
        match staged {
            Staged::Folder(path) => drop(std::fs::remove_file(path)),
            Staged::Remote(staged) => staged.abort().await,
        }
    }
}

impl Upload {
    /// Appends bytes.
    pub(crate) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ParquetSinkError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self {
            Upload::Folder(upload) => upload.write(bytes).await,
            Upload::Remote(upload) => upload.write(bytes).await,
        }
    }

    /// The file is complete; its content is durable when this returns.
    pub(crate) async fn finish(self) -> Result<Staged, ParquetSinkError> {
        Ok(match self {
            Upload::Folder(upload) => Staged::Folder(upload.finish().await?),
            Upload::Remote(upload) => Staged::Remote(upload.finish().await?),
        })
    }

    /// Throws the file away.
    pub(crate) async fn abort(self) {
        match self {
            Upload::Folder(upload) => upload.abort(),
            Upload::Remote(upload) => upload.abort().await,
        }
    }
}
