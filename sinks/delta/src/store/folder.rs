//! The local disk as an object store whose finished puts are durable, as those of S3 are: content is fsynced
//! before it gets its name, and the name before anybody is told. object_store's own local store, which does
//! all the rest here, never calls fsync: after a power cut a log entry could be there without its content.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::blocking::blocking;

/// The whole file system, as URLs with the scheme `file` name it.
#[derive(Debug)]
pub(crate) struct DurableFolder {
    inner: LocalFileSystem,
    /// Tells apart the unfinished files of concurrent puts.
    puts: AtomicU64,
}

impl DurableFolder {
    pub(crate) fn new() -> Self {
        DurableFolder { inner: LocalFileSystem::new(), puts: AtomicU64::new(0) }
    }

    /// The name under which a file is written until it is whole. The inner store lists no files whose names end
    /// in `#` and digits.
    fn unfinished(&self, path: &FilePath) -> PathBuf {
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{}{number:06}", std::process::id()));
        PathBuf::from(name)
    }
}

impl fmt::Display for DurableFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableFolder({})", self.inner)
    }
}

pub(super) fn fault(error: io::Error) -> Error {
    Error::Generic { store: "folder", source: Box::new(error) }
}

/// Makes a folder and those above it, durably.
fn create_folder(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_parent(folder)
}

/// Removes a folder with the folders in it, durably; one that holds a file stays.
pub(super) fn remove_empty(folder: &FilePath) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => sync_parent(folder),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => File::open(folder)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_parent(path: &FilePath) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes the content under another name first; a hard link fails where a rename would overwrite.
fn put(path: &FilePath, unfinished: &FilePath, payload: &PutPayload, mode: &PutMode) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(unfinished)?;
    let written = payload.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
    drop(file);
    let named = written.and_then(|()| match mode {
        PutMode::Overwrite => fs::rename(unfinished, path),
        _ => fs::hard_link(unfinished, path),
    });
    if !matches!(mode, PutMode::Overwrite) || named.is_err() {
        // What stays behind is never listed, and vacuum of the file system is somebody else's.
        let _ = fs::remove_file(unfinished);
    }
    named?;
    sync_parent(path)
}

#[async_trait]
impl ObjectStore for DurableFolder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if matches!(opts.mode, PutMode::Update(_)) || !opts.attributes.is_empty() {
            return self.inner.put_opts(location, payload, opts).await;
        }
        let path = self.inner.path_to_filesystem(location)?;
        let unfinished = self.unfinished(&path);
        let (shown, mode) = (location.to_string(), opts.mode);
        blocking(move || put(&path, &unfinished, &payload, &mode)).await.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: shown, source: error.into() },
            _ => fault(error),
        })?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let path = self.inner.path_to_filesystem(location)?;
        let upload = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { upload, path }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let path = self.inner.path_to_filesystem(to)?;
        self.inner.copy_opts(from, to, options).await?;
        blocking(move || File::open(&path)?.sync_all().and_then(|()| sync_parent(&path))).await.map_err(fault)
    }
}

/// An upload in parts whose end is durable.
#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    path: PathBuf,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        let path = self.path.clone();
        blocking(move || File::open(&path)?.sync_all().and_then(|()| sync_parent(&path))).await.map_err(fault)?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

/// A store that makes local puts durable.
pub(crate) fn durable() -> Arc<dyn ObjectStore> {
    Arc::new(DurableFolder::new())
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn a_put_may_ask_for_an_absent_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableFolder::new();
        let path = Path::from_absolute_path(folder.path().join("a")).unwrap();
        let place = Path::from(format!("{path}/b/c.json"));
        store.put_opts(&place, "one".into(), PutMode::Create.into()).await.unwrap();
        let error = store.put_opts(&place, "two".into(), PutMode::Create.into()).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        assert_eq!(store.get(&place).await.unwrap().bytes().await.unwrap(), "one");
        store.put(&place, "three".into()).await.unwrap();
        assert_eq!(store.get(&place).await.unwrap().bytes().await.unwrap(), "three");
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1, "nothing unfinished stays behind");
    }
}
