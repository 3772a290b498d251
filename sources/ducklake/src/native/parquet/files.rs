//! All files of a lake: their stores, the footers that were read lately, and every byte that is fetched.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::{Error, ObjectStoreExt, coalesce_ranges};
use tidegate_core::{ErrorKind, chain};
use tidegate_duck::lake::Storage;
use tokio::runtime::Handle;

use super::cast::Caster;
use super::file::DataFile;
use super::place::{self, Place, Store};
use super::sealed::Key;
use super::{FileError, Meter};
use crate::native::latest::Latest;

/// Footers that are kept.
const FOOTERS: usize = 1024;
/// Bytes at the end of a file that are fetched where the catalog does not know the size of its footer.
const TAIL_BYTES: u64 = 64 << 10;
/// What follows a footer: its length in four bytes, and the magic in four.
const END_BYTES: u64 = 8;

/// A file as the catalog describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileEntry<'a> {
    /// The full path: absolute, `file://` or `s3://bucket/key`.
    pub(crate) path: &'a str,
    /// Its bytes.
    pub(crate) size: u64,
    /// Bytes of the footer without length and magic, where the catalog knows.
    pub(crate) footer_size: Option<u64>,
    /// The key, where the file is encrypted.
    pub(crate) encryption_key: Option<&'a str>,
}

/// The files of a lake.
pub(crate) struct Files {
    storage: Storage,
    pub(in crate::native) runtime: Handle,
    meter: Arc<Meter>,
    stores: Mutex<HashMap<String, Store>>,
    footers: Mutex<Latest<(String, u64), Arc<DataFile>>>,
    pub(super) caster: Caster,
}

impl Files {
    /// Files that are reached as `storage` says. `runtime` drives the requests; calls block, and must not be made
    /// on its own worker threads.
    pub(crate) fn new(storage: Storage, runtime: Handle) -> Files {
        Files {
            storage,
            runtime,
            meter: Arc::default(),
            stores: Mutex::default(),
            footers: Mutex::new(Latest::new(FOOTERS)),
            caster: Caster::default(),
        }
    }

    /// What drives the requests.
    #[cfg(test)]
    pub(super) fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    /// What was read so far.
    pub(crate) fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }

    /// Reads the footer of a file, unless it is known. Files of a lake never change.
    pub(crate) fn open(&self, entry: &FileEntry<'_>) -> Result<Arc<DataFile>, FileError> {
        let key = (entry.path.to_owned(), entry.size);
        if let Some(known) = self.footers.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known);
        }
        let sealed = Key::of(entry)?;
        let place = place::place(entry.path)?;
        let store = self.store(entry.path, &place)?;
        let footer = self.footer(entry, &place, &store, sealed.as_ref())?;
        let opened = Arc::new(DataFile::decode(entry.path, place, store, sealed, &footer)?);
        self.footers.lock().unwrap_or_else(PoisonError::into_inner).insert(key, opened.clone(), 1);
        Ok(opened)
    }

    /// Bytes of a file that the catalog does not tell the size of.
    pub(crate) fn size(&self, path: &str) -> Result<u64, FileError> {
        let place = place::place(path)?;
        let store = self.store(path, &place)?;
        match self.runtime.block_on(store.store.head(&place.key)) {
            Ok(head) => Ok(head.size),
            Err(Error::NotFound { .. }) => Err(FileError::Gone { file: path.to_owned() }),
            Err(error) => Err(self.refused(path, &error)),
        }
    }

    /// Fetches parts of a file.
    pub(super) fn fetch(&self, file: &DataFile, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, FileError> {
        self.get(&file.path, &file.place, &file.store, ranges)
    }

    /// All bytes of a file.
    pub(super) fn whole(&self, entry: &FileEntry<'_>) -> Result<Bytes, FileError> {
        let place = place::place(entry.path)?;
        let store = self.store(entry.path, &place)?;
        self.tail(entry, &place, &store, entry.size)
    }

    fn footer(
        &self,
        entry: &FileEntry<'_>,
        place: &Place,
        store: &Store,
        key: Option<&Key>,
    ) -> Result<Bytes, FileError> {
        let contradiction = |fact: String| FileError::Contradiction { file: entry.path.to_owned(), fact };
        let wanted = entry.footer_size.map_or(TAIL_BYTES, |footer| footer.saturating_add(END_BYTES)).min(entry.size);
        let tail = self.tail(entry, place, store, wanted)?;
        let too_short = || contradiction(format!("it has {} bytes, too few for a Parquet file", entry.size));
        let (rest, magic) = tail.split_last_chunk::<4>().ok_or_else(too_short)?;
        let (_, length) = rest.split_last_chunk::<4>().ok_or_else(too_short)?;
        match (magic, key) {
            (b"PAR1", None) | (b"PARE", Some(_)) => {}
            (b"PARE", None) => {
                let fact = "the catalog has no key for it".to_owned();
                return Err(FileError::Encrypted { file: entry.path.to_owned(), fact });
            }
            (b"PAR1", Some(_)) => {
                return Err(contradiction("it is not encrypted, and the catalog has a key for it".to_owned()));
            }
            _ => return Err(contradiction(format!("no Parquet file ends at its byte {}", entry.size))),
        }
        let length = u64::from(u32::from_le_bytes(*length));
        if let Some(told) = entry.footer_size.filter(|told| *told != length) {
            return Err(contradiction(format!("its footer has {length} bytes, the catalog says {told}")));
        }
        let whole = length + END_BYTES;
        if whole > entry.size {
            return Err(contradiction("its footer is longer than the file".to_owned()));
        }
        let tail = if whole > tail.len() as u64 { self.tail(entry, place, store, whole)? } else { tail };
        let begin = (tail.len() as u64 - whole) as usize;
        let footer = tail.slice(begin..tail.len() - END_BYTES as usize);
        match key {
            Some(key) => Ok(key.footer(entry.path, &footer)?.into()),
            None => Ok(footer),
        }
    }

    /// The last bytes of a file.
    fn tail(&self, entry: &FileEntry<'_>, place: &Place, store: &Store, bytes: u64) -> Result<Bytes, FileError> {
        let range = entry.size - bytes..entry.size;
        let found = self.get(entry.path, place, store, std::slice::from_ref(&range))?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// Parts of a file, each as long as it was asked for.
    fn get(&self, path: &str, place: &Place, store: &Store, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, FileError> {
        let fetch = |range: Range<u64>| {
            self.meter.count(range.end - range.start);
            let (store, key) = (store.store.clone(), place.key.clone());
            async move {
                let found = store.get_range(&key, range.clone()).await.map_err(Fault::Store)?;
                if found.len() as u64 == range.end - range.start { Ok(found) } else { Err(Fault::Short) }
            }
        };
        let end = ranges.iter().map(|range| range.end).max().unwrap_or_default();
        let short =
            || FileError::Contradiction { file: path.to_owned(), fact: format!("it is shorter than {end} bytes") };
        match self.runtime.block_on(coalesce_ranges(ranges, fetch, store.gap)) {
            Ok(found) => Ok(found),
            Err(Fault::Short) => Err(short()),
            Err(Fault::Store(Error::NotFound { .. })) => Err(FileError::Gone { file: path.to_owned() }),
            // A store's answer to a range beyond the end is an error like any other.
            Err(Fault::Store(error)) => match self.runtime.block_on(store.store.head(&place.key)) {
                Ok(head) if head.size < end => Err(short()),
                _ => Err(self.refused(path, &error)),
            },
        }
    }

    /// A store may repeat a request's headers, and a session token is one.
    fn refused(&self, path: &str, error: &Error) -> FileError {
        let kind = match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::UnknownConfigurationKey { .. } => {
                ErrorKind::Reconfigure
            }
            _ => ErrorKind::Retry,
        };
        let fact = self.storage.secrets().fold(chain(error), |text, secret| text.replace(secret, "***"));
        FileError::Store { file: path.to_owned(), fact, kind }
    }

    fn store(&self, path: &str, place: &Place) -> Result<Store, FileError> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let client = place::client(path, place, &self.storage);
        if let Some(store) = stores.get(&client) {
            return Ok(store.clone());
        }
        let store = place::open(path, place, &self.storage)?;
        stores.insert(client, store.clone());
        Ok(store)
    }
}

/// Why a part of a file is not there.
enum Fault {
    Store(Error),
    Short,
}
