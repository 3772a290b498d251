//! The input log on an object store: one object a record, in the same framing as on disk.
//!
//! A finished put is durable and whole, so there are no torn tails. The put is conditional: of two
//! processes that append the same epoch, one is told. Records are put in one piece and therefore
//! held in memory.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tidegate_core::{Epoch, ErrorKind};

use super::record::{self, Extent, Found};
use crate::RuntimeError;

/// Log objects under a prefix.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
}

/// A record's payload in memory.
#[derive(Debug, Clone)]
pub struct Fetched {
    object: Bytes,
    extent: Extent,
    url: String,
}

impl Objects {
    /// `url` is what messages call the prefix.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, url: String) -> Self {
        Objects { store, prefix, url }
    }

    /// What messages call the log.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn path(&self, epoch: Epoch) -> Path {
        self.prefix.clone().join(format!("input-{}.log", epoch.digits()))
    }

    fn name(&self, path: &Path) -> String {
        format!("{}/{}", self.url.trim_end_matches('/'), path.filename().unwrap_or_default())
    }

    /// Puts a record where there is none yet.
    pub async fn append(
        &self,
        epoch: Epoch,
        header: &[u8],
        payload: &mut (dyn Read + Send),
        payload_len: u64,
    ) -> Result<u64, RuntimeError> {
        let mut record = Vec::new();
        record::write(&mut record, header, payload, payload_len)
            .map_err(RuntimeError::io("read", std::path::Path::new("staging.tmp")))?;
        let record = Bytes::from(record);
        let path = self.path(epoch);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&path, record.clone().into(), options).await {
            Ok(_) => Ok(record.len() as u64),
            // A put whose answer was lost is repeated by the client, and then finds itself.
            Err(object_store::Error::AlreadyExists { .. }) if self.get(&path).await? == record => {
                Ok(record.len() as u64)
            }
            Err(object_store::Error::AlreadyExists { .. }) => Err(RuntimeError::LogForeign {
                log: self.url.clone(),
                fact: format!("already holds another epoch {epoch}"),
                way_out: "another process appends to this log; give each pipeline its own log URL and state_dir",
            }),
            Err(error) => Err(self.failed("write", &path, error)),
        }
    }

    /// The objects from `from` on, in order.
    pub async fn list(&self, from: Epoch) -> Result<Vec<(Epoch, Path)>, RuntimeError> {
        let found = self.list_objects(from).await?;
        Ok(found.into_iter().map(|(epoch, object)| (epoch, object.location)).collect())
    }

    /// The same with what the store says of each.
    pub async fn list_objects(&self, from: Epoch) -> Result<Vec<(Epoch, ObjectMeta)>, RuntimeError> {
        let offset = self.path(Epoch(from.0.saturating_sub(1)));
        let found: Vec<_> = self
            .store
            .list_with_offset(Some(&self.prefix), &offset)
            .try_collect()
            .await
            .map_err(|error| self.failed("list", &self.prefix, error))?;
        let mut epochs: Vec<_> = found
            .into_iter()
            .filter_map(|object| {
                let digits = object.location.filename()?.strip_prefix("input-")?.strip_suffix(".log")?;
                Some((Epoch(digits.parse().ok()?), object))
            })
            .filter(|(epoch, _)| *epoch >= from)
            .collect();
        epochs.sort_by_key(|(epoch, _)| *epoch);
        Ok(epochs)
    }

    /// A record as it lies there; `None` when there is none (any more).
    pub async fn whole(&self, epoch: Epoch) -> Result<Option<Bytes>, RuntimeError> {
        let path = self.path(epoch);
        let read = async { self.store.get(&path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", &path, error)),
        }
    }

    /// The header of a record, and its verified payload.
    pub async fn read(&self, path: &Path) -> Result<(Vec<u8>, Fetched), RuntimeError> {
        let object = self.get(path).await?;
        let url = self.name(path);
        let damaged =
            |offset, fact: &str| RuntimeError::LogDamaged { file: url.clone(), offset, fact: fact.to_owned() };
        let in_memory = |_| damaged(0, "the object ends within a record");
        let len = object.len() as u64;
        match record::look(&mut &object[..], len, 0).map_err(in_memory)? {
            Found::Record { header, extent } if extent.end() == len => {
                if !record::verify_payload(&mut &object[..], &extent).map_err(in_memory)? {
                    return Err(damaged(extent.payload, "the payload does not match its hash"));
                }
                Ok((header, Fetched { object, extent, url }))
            }
            Found::Damaged { offset, fact } => Err(damaged(offset, fact)),
            _ => Err(damaged(0, "the object is not one whole record")),
        }
    }

    /// Removes a record.
    pub async fn remove(&self, path: &Path) -> Result<(), RuntimeError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", path, error)),
        }
    }

    async fn get(&self, path: &Path) -> Result<Bytes, RuntimeError> {
        let read = async { self.store.get(path).await?.bytes().await };
        read.await.map_err(|error| self.failed("read", path, error))
    }

    fn failed(&self, action: &'static str, path: &Path, source: object_store::Error) -> RuntimeError {
        failed(action, self.name(path), source)
    }
}

/// What a store refused to do with the object at `url`.
pub(crate) fn failed(action: &'static str, url: String, source: object_store::Error) -> RuntimeError {
    use object_store::Error as E;
    let kind = match source {
        E::PermissionDenied { .. }
        | E::Unauthenticated { .. }
        | E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::UnknownConfigurationKey { .. }
        | E::InvalidPath { .. } => ErrorKind::Reconfigure,
        _ => ErrorKind::Retry,
    };
    RuntimeError::ObjectStore { action, url, kind, source }
}

impl Fetched {
    /// A part of the payload.
    pub fn read(&self, from: u64, len: u64) -> &[u8] {
        assert!(from + len <= self.extent.payload_len, "sections lie within the payload");
        let from = (self.extent.payload + from) as usize;
        &self.object[from..from + len as usize]
    }

    /// For messages: the object and where its payload begins.
    pub fn place(&self) -> (String, u64) {
        (self.url.clone(), self.extent.payload)
    }
}
