//! Files of an object store. A finished put is durable there, and nobody sees an object before it
//! is whole. Small files are created with one conditional put. Larger ones are uploaded in parts
//! under their own name and completed when they shall be visible; the stores have no condition for
//! that, so the name is looked up just before, and the manifest's own condition tells if another
//! writer got in between.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::{Published, Replaced, Version};
use crate::error::ParquetSinkError;

/// Bytes of a part; all parts but the last have the same size, which some stores demand.
const PART_BYTES: usize = 16 << 20;

/// Bytes at the end of an object that are fetched at once, in which most files have their metadata.
const METADATA_BYTES: usize = 64 << 10;

/// A prefix of an object store.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
}

/// An object on its way: in memory until it fills a part.
pub(crate) struct RemoteUpload {
    remote: Remote,
    name: String,
    pending: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
}

/// An object that only has to be made visible.
pub(crate) enum RemoteStaged {
    Small(Bytes),
    Parts(Box<dyn MultipartUpload>),
}

impl Remote {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: Path, url: String) -> Self {
        Remote { store, prefix, url: url.trim_end_matches('/').to_owned() }
    }

    pub(super) fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// Names are taken as they are: [`crate::layout::folder`] has dealt with what an object store
    /// would not take.
    fn key(&self, name: &str) -> Result<Path, ParquetSinkError> {
        let key = if self.prefix.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(key).map_err(|error| self.fault(name, "named", &error.into()))
    }

    fn fault(&self, name: &str, action: &'static str, error: &Error) -> ParquetSinkError {
        ParquetSinkError::store(&self.url(name), action, error)
    }

    pub(super) async fn read_small(&self, name: &str) -> Result<Option<(Bytes, Version)>, ParquetSinkError> {
        let fault = |error: Error| self.fault(name, "read", &error);
        let found = match self.store.get(&self.key(name)?).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(fault)?,
        };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        Ok(Some((found.bytes().await.map_err(fault)?, Version::Tag(version))))
    }

    pub(super) async fn replace_small(
        &self,
        name: &str,
        content: Vec<u8>,
        expected: Option<Version>,
    ) -> Result<Replaced, ParquetSinkError> {
        let mode = match expected {
            Some(Version::Tag(version)) => PutMode::Update(version),
            _ => PutMode::Create,
        };
        match self.store.put_opts(&self.key(name)?, content.into(), mode.into()).await {
            Ok(_) => Ok(Replaced::Done),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. }) => {
                Ok(Replaced::Raced)
            }
            Err(error) => Err(self.fault(name, "replaced under a condition", &error)),
        }
    }

    pub(super) async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<String>, ParquetSinkError> {
        let prefix = self.key(folder)?;
        let found = match after {
            Some(after) => self.store.list_with_offset(Some(&prefix), &self.key(&format!("{folder}/{after}"))?),
            None => self.store.list(Some(&prefix)),
        };
        let found: Vec<_> = found.try_collect().await.map_err(|error| self.fault(folder, "listed", &error))?;
        Ok(found.iter().filter_map(|object| name_in(&prefix, &object.location)).collect())
    }

    pub(super) async fn sizes(&self, folder: &str) -> Result<Vec<(String, u64)>, ParquetSinkError> {
        let prefix = self.key(folder)?;
        let found: Vec<_> =
            self.store.list(Some(&prefix)).try_collect().await.map_err(|e| self.fault(folder, "listed", &e))?;
        Ok(found.iter().filter_map(|object| Some((name_in(&prefix, &object.location)?, object.size))).collect())
    }

    pub(super) async fn tree(&self, folder: &str) -> Result<Vec<(String, u64)>, ParquetSinkError> {
        let prefix = self.key(folder)?;
        let found: Vec<_> =
            self.store.list(Some(&prefix)).try_collect().await.map_err(|e| self.fault(folder, "listed", &e))?;
        let root = prefix.as_ref().len();
        let name = |location: &Path| format!("{folder}{}", &location.as_ref()[root..]);
        Ok(found.iter().map(|object| (name(&object.location), object.size)).collect())
    }

    pub(super) async fn share(&self, name: &str, second: &str) -> Result<Published, ParquetSinkError> {
        // The stores have no condition for copies.
        if self.exists(second).await? {
            return Ok(Published::Exists);
        }
        let copied = self.store.copy(&self.key(name)?, &self.key(second)?).await;
        copied.map(|()| Published::Done).map_err(|error| self.fault(second, "written", &error))
    }

    pub(super) async fn exists(&self, name: &str) -> Result<bool, ParquetSinkError> {
        match self.store.head(&self.key(name)?).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.fault(name, "looked up", &error)),
        }
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), ParquetSinkError> {
        match self.store.delete(&self.key(name)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.fault(name, "removed", &error)),
        }
    }

    pub(super) async fn open(&self, name: &str) -> Result<Box<dyn AsyncFileReader>, ParquetSinkError> {
        let key = self.key(name)?;
        let found = self.store.head(&key).await.map_err(|error| self.fault(name, "read", &error))?;
        Ok(Box::new(RemoteReader { store: self.store.clone(), key, size: found.size }))
    }

    pub(super) fn upload(&self, name: &str) -> RemoteUpload {
        RemoteUpload { remote: self.clone(), name: name.to_owned(), pending: Vec::new(), parts: None }
    }

    pub(super) async fn publish(&self, staged: RemoteStaged, name: &str) -> Result<Published, ParquetSinkError> {
        let fault = |error: Error| self.fault(name, "written", &error);
        match staged {
            RemoteStaged::Small(content) => {
                match self.store.put_opts(&self.key(name)?, content.into(), PutMode::Create.into()).await {
                    Ok(_) => Ok(Published::Done),
                    Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Published::Exists),
                    Err(error) => Err(fault(error)),
                }
            }
            RemoteStaged::Parts(mut parts) => {
                if self.exists(name).await? {
                    RemoteStaged::Parts(parts).abort().await;
                    return Ok(Published::Exists);
                }
                parts.complete().await.map_err(fault)?;
                Ok(Published::Done)
            }
        }
    }
}

/// The name of an object that is in a folder itself, and not below it.
fn name_in(folder: &Path, location: &Path) -> Option<String> {
    let mut parts = location.prefix_match(folder)?;
    let name = parts.next()?;
    parts.next().is_none().then(|| name.as_ref().to_owned())
}

impl RemoteStaged {
    /// Stores charge for parts of uploads that were neither completed nor aborted.
    pub(super) async fn abort(self) {
        if let RemoteStaged::Parts(mut parts) = self
            && let Err(error) = parts.abort().await
        {
            tracing::debug!(%error, "an unfinished upload stays behind");
        }
    }
}

impl RemoteUpload {
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ParquetSinkError> {
        self.pending.extend_from_slice(&bytes);
        while self.pending.len() > PART_BYTES {
            let rest = self.pending.split_off(PART_BYTES);
            let part = std::mem::replace(&mut self.pending, rest);
            self.put_part(part).await?;
        }
        Ok(())
    }

    async fn put_part(&mut self, part: Vec<u8>) -> Result<(), ParquetSinkError> {
        if self.parts.is_none() {
            let key = self.remote.key(&self.name)?;
            let parts = self.remote.store.put_multipart(&key).await;
            self.parts = Some(parts.map_err(|error| self.remote.fault(&self.name, "written", &error))?);
        }
        let parts = self.parts.as_mut().expect("the upload was begun above");
        parts.put_part(PutPayload::from(part)).await.map_err(|error| self.remote.fault(&self.name, "written", &error))
    }

    pub(super) async fn finish(mut self) -> Result<RemoteStaged, ParquetSinkError> {
        let rest = std::mem::take(&mut self.pending);
        if self.parts.is_none() {
            return Ok(RemoteStaged::Small(rest.into()));
        }
        match self.put_part(rest).await {
            Ok(()) => Ok(RemoteStaged::Parts(self.parts.take().expect("the upload has parts"))),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    pub(super) async fn abort(self) {
        if let Some(parts) = self.parts {
            RemoteStaged::Parts(parts).abort().await;
        }
    }
}

struct RemoteReader {
    store: Arc<dyn ObjectStore>,
    key: Path,
    size: u64,
}

impl AsyncFileReader for RemoteReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            self.store.get_range(&self.key, range).await.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let found = self.store.get_ranges(&self.key, &ranges).await;
            found.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let size = self.size;
        let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(METADATA_BYTES));
        async move { Ok(Arc::new(reader.load_and_finish(self, size).await?)) }.boxed()
    }
}
