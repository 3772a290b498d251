//! Files of a local folder, made durable with fsync: the content before the name, the name before
//! anything that relies on it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::{Published, Replaced, Version};
use crate::blocking::blocking;
use crate::error::ParquetSinkError;
use crate::layout;

/// A folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// A file in the stage folder.
pub(crate) struct FolderUpload {
    file: Arc<File>,
    path: PathBuf,
}

impl Folder {
    /// `root` is made absolute, so that what is written about it holds in every working folder.
    pub(super) fn new(root: PathBuf) -> Self {
        Folder { root: std::path::absolute(&root).unwrap_or(root) }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn check(&self) -> Result<(), ParquetSinkError> {
        match fs::metadata(&self.root) {
            Ok(found) if !found.is_dir() => Err(ParquetSinkError::File {
                path: self.root.display().to_string(),
                action: "used as a folder",
                fact: "it is a file: give the sink the path of a folder".to_owned(),
                kind: tidegate_core::ErrorKind::Reconfigure,
            }),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(fault(&self.root, "read", error)),
            _ => Ok(()),
        }
    }

    pub(super) async fn prepare(&self) -> Result<(), ParquetSinkError> {
        let folder = self.clone();
        blocking(move || {
            folder.check()?;
            let stage = folder.path(layout::STAGE);
            let left = match fs::read_dir(&stage) {
                Err(error) if error.kind() == ErrorKind::NotFound => return create_folder(&stage),
                left => left.map_err(|error| fault(&stage, "read", error))?,
            };
            for entry in left {
                let path = entry.map_err(|error| fault(&stage, "read", error))?.path();
                fs::remove_file(&path).map_err(|error| fault(&path, "removed", error))?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn read_small(&self, name: &str) -> Result<Option<(Bytes, Version)>, ParquetSinkError> {
        let path = self.path(name);
        blocking(move || match fs::read(&path) {
            Ok(content) => {
                let content = Bytes::from(content);
                Ok(Some((content.clone(), Version::Content(content))))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault(&path, "read", error)),
        })
        .await
    }

    /// Two processes that write one folder are kept apart by the pipeline's lock; the comparison
    /// here only tells when that was circumvented.
    pub(super) async fn replace_small(
        &self,
        name: &str,
        content: Vec<u8>,
        expected: Option<Version>,
    ) -> Result<Replaced, ParquetSinkError> {
        let (path, staged) = (self.path(name), self.staged(name));
        blocking(move || {
            let mut file = File::create(&staged).map_err(|error| fault(&staged, "written", error))?;
            file.write_all(&content).map_err(|error| fault(&staged, "written", error))?;
            file.sync_all().map_err(|error| fault(&staged, "made durable", error))?;
            let present = match fs::read(&path) {
                Ok(present) => Some(present),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(fault(&path, "read", error)),
            };
            let same = match (&present, &expected) {
                (None, None) => true,
                (Some(present), Some(Version::Content(expected))) => present[..] == expected[..],
                _ => false,
            };
            if !same {
                return Ok(Replaced::Raced);
            }
            fs::rename(&staged, &path).map_err(|error| fault(&path, "replaced", error))?;
            sync_parent(&path)?;
            Ok(Replaced::Done)
        })
        .await
    }

    pub(super) async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<String>, ParquetSinkError> {
        let (path, after) = (self.path(folder), after.map(str::to_owned));
        blocking(move || {
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(fault(&path, "read", error)),
            };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry.map_err(|error| fault(&path, "read", error))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if after.as_ref().is_none_or(|after| name > *after) {
                    names.push(name);
                }
            }
            Ok(names)
        })
        .await
    }

    pub(super) async fn sizes(&self, folder: &str) -> Result<Vec<(String, u64)>, ParquetSinkError> {
        let names = self.list(folder, None).await?;
        let path = self.path(folder);
        blocking(move || {
            let mut sizes = Vec::with_capacity(names.len());
            for name in names {
                let path = path.join(&name);
                match fs::metadata(&path) {
                    Ok(found) => sizes.push((name, found.len())),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(fault(&path, "read", error)),
                }
            }
            Ok(sizes)
        })
        .await
    }

    pub(super) async fn tree(&self, folder: &str) -> Result<Vec<(String, u64)>, ParquetSinkError> {
        let (path, folder) = (self.path(folder), folder.to_owned());
        blocking(move || {
            let mut names = Vec::new();
            walk(&path, &folder, &mut names)?;
            Ok(names)
        })
        .await
    }

    pub(super) async fn remove_folders(&self, folder: &str) -> Result<(), ParquetSinkError> {
        let path = self.path(folder);
        blocking(move || {
            remove_empty(&path)?;
            sync_parent(&path)
        })
        .await
    }

    pub(super) async fn share(&self, name: &str, second: &str) -> Result<Published, ParquetSinkError> {
        let (path, second) = (self.path(name), self.path(second));
        blocking(move || {
            create_folder(second.parent().expect("a file has a folder"))?;
            match fs::hard_link(&path, &second) {
                Ok(()) => sync_parent(&second).map(|()| Published::Done),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Published::Exists),
                Err(error) => Err(fault(&second, "made a second name", error)),
            }
        })
        .await
    }

    pub(super) fn exists(&self, name: &str) -> Result<bool, ParquetSinkError> {
        let path = self.path(name);
        path.try_exists().map_err(|error| fault(&path, "read", error))
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), ParquetSinkError> {
        let path = self.path(name);
        blocking(move || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(fault(&path, "removed", error)),
                _ => {}
            }
            sync_parent(&path)
        })
        .await
    }

    pub(super) async fn open(&self, name: &str) -> Result<Box<dyn AsyncFileReader>, ParquetSinkError> {
        let path = self.path(name);
        let opened = blocking(move || {
            let file = File::open(&path).map_err(|error| fault(&path, "read", error))?;
            let size = file.metadata().map_err(|error| fault(&path, "read", error))?.len();
            Ok(FolderReader { file: Arc::new(file), size })
        });
        Ok(Box::new(opened.await?))
    }

    fn staged(&self, name: &str) -> PathBuf {
        let name = name.replace('%', "%25").replace('/', "%2F");
        self.path(layout::STAGE).join(name)
    }

    pub(super) async fn upload(&self, name: &str) -> Result<FolderUpload, ParquetSinkError> {
        let path = self.staged(name);
        blocking(move || {
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
            let file = Arc::new(file.map_err(|error| fault(&path, "written", error))?);
            Ok(FolderUpload { file, path })
        })
        .await
    }

    /// A hard link fails where a rename would overwrite.
    pub(super) async fn publish(&self, staged: PathBuf, name: &str) -> Result<Published, ParquetSinkError> {
        let path = self.path(name);
        blocking(move || {
            create_folder(path.parent().expect("a view's file is in the view's folder"))?;
            let published = match fs::hard_link(&staged, &path) {
                Ok(()) => Published::Done,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Published::Exists,
                Err(error) => return Err(fault(&path, "made visible", error)),
            };
            fs::remove_file(&staged).map_err(|error| fault(&staged, "removed", error))?;
            sync_parent(&path)?;
            Ok(published)
        })
        .await
    }
}

impl FolderUpload {
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ParquetSinkError> {
        let (file, path) = (self.file.clone(), self.path.clone());
        blocking(move || (&*file).write_all(&bytes).map_err(|error| fault(&path, "written", error))).await
    }

    pub(super) async fn finish(self) -> Result<PathBuf, ParquetSinkError> {
        blocking(move || {
            self.file.sync_all().map_err(|error| fault(&self.path, "made durable", error))?;
            Ok(self.path)
        })
        .await
    }

    /// What stays behind is removed by the next commit.
    pub(super) fn abort(self) {
        drop(fs::remove_file(&self.path));
    }
}

/// Adds the files below a folder under the names that begin with `prefix`.
fn walk(folder: &Path, prefix: &str, names: &mut Vec<(String, u64)>) -> Result<(), ParquetSinkError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| fault(folder, "read", error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| fault(folder, "read", error))?;
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        let found = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found.map_err(|error| fault(folder, "read", error))?,
        };
        match found.is_dir() {
            true => walk(&entry.path(), &name, names)?,
            false => names.push((name, found.len())),
        }
    }
    Ok(())
}

/// Removes a folder with the folders in it; one that holds a file stays.
fn remove_empty(folder: &Path) -> Result<(), ParquetSinkError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| fault(folder, "read", error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| fault(folder, "read", error))?;
        if entry.file_type().map_err(|error| fault(folder, "read", error))?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(fault(folder, "removed", error))
        }
        _ => Ok(()),
    }
}

fn fault(path: &Path, action: &'static str, error: io::Error) -> ParquetSinkError {
    ParquetSinkError::io(&path.display().to_string(), action, &error)
}

/// Makes a folder and those above it, durably.
fn create_folder(folder: &Path) -> Result<(), ParquetSinkError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(fault(folder, "created", error)),
        _ => {}
    }
    sync_parent(folder)
}

fn sync_parent(path: &Path) -> Result<(), ParquetSinkError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    match File::open(parent).and_then(|folder| folder.sync_all()) {
        // A folder that never existed has lost no name.
        Err(error) if error.kind() != ErrorKind::NotFound => Err(fault(parent, "made durable", error)),
        _ => Ok(()),
    }
}

struct FolderReader {
    file: Arc<File>,
    size: u64,
}

impl AsyncFileReader for FolderReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let file = self.file.clone();
        blocking(move || {
            let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        })
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let size = self.size;
        async move { Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(self, size).await?)) }.boxed()
    }
}
