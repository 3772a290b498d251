//! Files under names, in a folder or under a prefix of an object store: what checkpoints beside a log and backups are
//! made of. What counts as put is durable and whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::Hash;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};

use crate::log::object::failed;
use crate::{RuntimeError, blocking, durable};

/// Files up to this size are put in one piece, larger ones in parts of it.
const PART_BYTES: usize = 8 << 20;

/// Parts under way at a time.
const PARTS: usize = 4;

/// Where the files lie. Names have `/` between folders.
#[derive(Debug, Clone)]
pub(crate) enum Contents {
    Folder(PathBuf),
    Store {
        store: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
        /// What messages call the prefix.
        url: String,
    },
}

impl Contents {
    /// What messages call the file of a name.
    pub fn name(&self, name: &str) -> String {
        match self {
            Contents::Folder(folder) => folder.join(name).display().to_string(),
            Contents::Store { url, .. } => format!("{}/{name}", url.trim_end_matches('/')),
        }
    }

    /// Puts the first `bytes` bytes of a file, and answers their hash.
    pub async fn put(&self, name: &str, from: &Path, bytes: u64) -> Result<Hash, RuntimeError> {
        let file = blocking(|| File::open(from)).map_err(RuntimeError::io("open", from))?;
        let mut reader = Hashing { inner: file.take(bytes), hasher: blake3::Hasher::new() };
        match self {
            Contents::Folder(folder) => {
                let to = folder.join(name);
                blocking(|| put_in_folder(&mut reader, from, &to))?;
            }
            Contents::Store { store, prefix, .. } => {
                let to = object(prefix, name);
                self.put_object(&**store, &mut reader, from, &to, name).await?;
            }
        }
        Ok(reader.hasher.finalize())
    }

    async fn put_object(
        &self,
        store: &dyn ObjectStore,
        reader: &mut (dyn Read + Send),
        from: &Path,
        to: &ObjectPath,
        name: &str,
    ) -> Result<(), RuntimeError> {
        let refused = |error| failed("write", self.name(name), error);
        let mut next = || {
            blocking(|| {
                let mut part = Vec::new();
                (&mut *reader).take(PART_BYTES as u64).read_to_end(&mut part).map(|_| Bytes::from(part))
            })
            .map_err(|error| RuntimeError::io("read", from)(error))
        };
        let first = next()?;
        if first.len() < PART_BYTES {
            return store.put(to, first.into()).await.map(drop).map_err(refused);
        }
        let upload = store.put_multipart(to).await.map_err(refused)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut part = first;
        while !part.is_empty() {
            writer.wait_for_capacity(PARTS).await.map_err(refused)?;
            writer.put(part);
            part = next()?;
        }
        writer.finish().await.map(drop).map_err(refused)
    }

    /// Puts a small file, or replaces it as one step.
    pub async fn put_bytes(&self, name: &str, content: Vec<u8>) -> Result<(), RuntimeError> {
        match self {
            Contents::Folder(folder) => {
                let path = folder.join(name);
                blocking(|| {
                    create_parent(&path)?;
                    durable::write(&path, &content)
                })
            }
            Contents::Store { store, prefix, .. } => {
                let put = store.put(&object(prefix, name), content.into()).await;
                put.map(drop).map_err(|error| failed("write", self.name(name), error))
            }
        }
    }

    /// Writes a file's content to the local file `to`, flushed, and answers its hash; `None` when there is no such file.
    /// The folder of `to` is there.
    pub async fn get(&self, name: &str, to: &Path) -> Result<Option<Hash>, RuntimeError> {
        let create = || File::create(to).map_err(RuntimeError::io("create", to));
        let mut hasher = blake3::Hasher::new();
        let file = match self {
            Contents::Folder(folder) => {
                let from = folder.join(name);
                let read = match File::open(&from) {
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(RuntimeError::io("open", &from)(error)),
                };
                let mut file = create()?;
                blocking(|| copy(&mut Hashing { inner: read, hasher: blake3::Hasher::new() }, &from, &mut file, to))
                    .map(|done| hasher = done)?;
                file
            }
            Contents::Store { store, prefix, .. } => {
                let unread = |error| failed("read", self.name(name), error);
                let got = match store.get(&object(prefix, name)).await {
                    Ok(got) => got,
                    Err(object_store::Error::NotFound { .. }) => return Ok(None),
                    Err(error) => return Err(unread(error)),
                };
                let mut parts = got.into_stream();
                let mut file = create()?;
                while let Some(part) = parts.try_next().await.map_err(unread)? {
                    hasher.update(&part);
                    blocking(|| file.write_all(&part)).map_err(RuntimeError::io("write", to))?;
                }
                file
            }
        };
        blocking(|| file.sync_all()).map_err(RuntimeError::io("flush", to))?;
        Ok(Some(hasher.finalize()))
    }

    /// The content of a small file; `None` when there is none.
    pub async fn get_bytes(&self, name: &str) -> Result<Option<Bytes>, RuntimeError> {
        match self {
            Contents::Folder(folder) => match fs::read(folder.join(name)) {
                Ok(content) => Ok(Some(content.into())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(RuntimeError::io("read", &folder.join(name))(error)),
            },
            Contents::Store { store, prefix, .. } => {
                let path = object(prefix, name);
                let read = async { store.get(&path).await?.bytes().await };
                match read.await {
                    Ok(content) => Ok(Some(content)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(failed("read", self.name(name), error)),
                }
            }
        }
    }

    /// The names of the files right in a folder; none when there is no such folder.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, RuntimeError> {
        match self {
            Contents::Folder(root) => {
                let dir = root.join(folder);
                let entries = match fs::read_dir(&dir) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                    Err(error) => return Err(RuntimeError::io("list", &dir)(error)),
                };
                let mut names = Vec::new();
                for entry in entries {
                    let entry = entry.map_err(RuntimeError::io("list", &dir))?;
                    let is_file = entry.file_type().map_err(RuntimeError::io("list", &dir))?.is_file();
                    names.extend(entry.file_name().into_string().ok().filter(|_| is_file));
                }
                Ok(names)
            }
            Contents::Store { store, prefix, .. } => {
                let path = if folder.is_empty() { prefix.clone() } else { object(prefix, folder) };
                let listed = store.list_with_delimiter(Some(&path)).await;
                let listed = listed.map_err(|error| failed("list", self.name(folder), error))?;
                Ok(listed.objects.iter().filter_map(|found| found.location.filename().map(str::to_owned)).collect())
            }
        }
    }

    /// Removes a file that may be gone already.
    pub async fn remove(&self, name: &str) -> Result<(), RuntimeError> {
        match self {
            Contents::Folder(folder) => durable::remove(&folder.join(name)),
            Contents::Store { store, prefix, .. } => match store.delete(&object(prefix, name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(failed("remove", self.name(name), error)),
            },
        }
    }
}

fn object(prefix: &ObjectPath, name: &str) -> ObjectPath {
    name.split('/').fold(prefix.clone(), |path, part| path.join(part))
}

fn create_parent(path: &Path) -> Result<(), RuntimeError> {
    path.parent().map_or(Ok(()), durable::create_dir)
}

/// A file gets its name when it is whole and flushed.
fn put_in_folder<R: Read>(reader: &mut Hashing<R>, from: &Path, to: &Path) -> Result<(), RuntimeError> {
    create_parent(to)?;
    let staged = to.with_extension("tmp");
    let mut file = File::create(&staged).map_err(RuntimeError::io("create", &staged))?;
    let put = copy(reader, from, &mut file, &staged)
        .and_then(|_| file.sync_all().map_err(RuntimeError::io("flush", &staged)))
        .and_then(|()| fs::rename(&staged, to).map_err(RuntimeError::io("replace", to)));
    if put.is_err() {
        // Nobody knows this name; on a full disk its bytes are wanted.
        let _ = fs::remove_file(&staged);
    }
    put?;
    to.parent().map_or(Ok(()), durable::sync_dir)
}

/// Copies everything; errors say on which side they happened. Answers the hasher.
fn copy<R: Read>(
    reader: &mut Hashing<R>,
    from: &Path,
    file: &mut File,
    to: &Path,
) -> Result<blake3::Hasher, RuntimeError> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = reader.read(&mut buffer).map_err(RuntimeError::io("read", from))?;
        if count == 0 {
            return Ok(reader.hasher.clone());
        }
        file.write_all(&buffer[..count]).map_err(RuntimeError::io("write", to))?;
    }
}

/// Hashes what is read.
struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
