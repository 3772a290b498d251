//! Encrypted files: Parquet modular encryption (Parquet specification, "Parquet Modular Encryption") as DuckDB does it: AES-GCM with one
//! key for the footer and all columns, and without the additional data that the specification demands, which is why no other library
//! reads such files.
//!
//! The footer and each header and body of a page are a module: length (4 bytes, little-endian), nonce (12), ciphertext, tag (16). A column
//! chunk is opened module by module, and decoded like any other.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::file::{Group, leaf_of};
use super::files::Files;
use super::{DataFile, FileEntry, FileError, schema};

/// What stands before an encrypted footer, in Thrift's compact protocol: `FileCryptoMetaData` with the algorithm `AES_GCM_V1` and nothing else.
const PLAIN_GCM: &[u8] = &[0x1c, 0x1c, 0, 0, 0];
/// The bytes of a module's length.
const LENGTH_LEN: usize = 4;
/// The bytes before the first chunk. No page begins at zero.
const BEGIN: usize = 4;

/// The key of a file.
pub(super) struct Key(LessSafeKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Some columns of a row group, decrypted.
pub(super) struct Unsealed {
    /// How they are decoded: a file with one row group.
    pub(super) reader: ArrowReaderMetadata,
    bytes: Bytes,
}

impl Unsealed {
    /// Parts of it.
    pub(super) fn fetch(&self, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        let part = |range: &Range<u64>| {
            let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
            (range.start <= range.end && range.end <= self.bytes.len()).then(|| self.bytes.slice(range))
        };
        ranges.iter().map(part).collect()
    }
}

impl Key {
    /// The key that the catalog has for a file.
    pub(super) fn of(entry: &FileEntry<'_>) -> Result<Option<Key>, FileError> {
        let Some(written) = entry.encryption_key.filter(|key| !key.is_empty()) else { return Ok(None) };
        let refuse = || FileError::Encrypted {
            file: entry.path.to_owned(),
            fact: "the catalog's key for it is not 16 or 32 bytes in base64".to_owned(),
        };
        let key = BASE64_STANDARD.decode(written).map_err(|_| refuse())?;
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return Err(refuse()),
        };
        let key = UnboundKey::new(algorithm, &key).map_err(|_| refuse())?;
        Ok(Some(Key(LessSafeKey::new(key))))
    }

    /// Decrypts a footer.
    pub(super) fn footer(&self, path: &str, footer: &[u8]) -> Result<Vec<u8>, FileError> {
        let refuse = |fact: &str| FileError::Encrypted { file: path.to_owned(), fact: fact.to_owned() };
        let module = footer.strip_prefix(PLAIN_GCM);
        let module = module.ok_or_else(|| refuse("it is encrypted in another way than DuckLake 1.0 encrypts"))?;
        let opened = self.open(module).filter(|(_, length)| *length == module.len());
        let closed = "the catalog's key does not open it, because it is damaged or encrypted in another way";
        Ok(opened.ok_or_else(|| refuse(closed))?.0)
    }

    /// Decrypts the module that some bytes begin with, and says how long it is.
    fn open(&self, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        let (length, rest) = bytes.split_first_chunk::<LENGTH_LEN>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (nonce, sealed) = rest.get(..length)?.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut sealed).ok()?.len();
        sealed.truncate(plain);
        Some((sealed, LENGTH_LEN + length))
    }
}

impl Files {
    /// Decrypts some top-level columns of a row group.
    pub(super) fn unseal(
        &self,
        file: &DataFile,
        key: &Key,
        group: &Group,
        roots: &[usize],
    ) -> Result<Unsealed, FileError> {
        let metadata = file.reader.metadata();
        let row_group = metadata.row_group(group.at).clone();
        let fields = file.fields();
        let leaves = roots.iter().flat_map(|root| {
            let first = leaf_of(fields, *root);
            first..first + fields.get(*root).map_or(0, |field| schema::leaves(field.data_type()))
        });
        let mut columns = row_group.columns().to_vec();
        let chunk = |leaf: usize| Some((leaf, range(columns.get(leaf)?)?));
        let chunks = leaves.map(chunk).collect::<Option<Vec<_>>>();
        let chunks = chunks.ok_or_else(|| file.contradiction("a column does not lie where its footer says"))?;
        let ranges: Vec<_> = chunks.iter().map(|(_, range)| range.clone()).collect();
        let mut plain = vec![0; BEGIN];
        for ((leaf, range), sealed) in chunks.iter().zip(self.fetch(file, &ranges)?) {
            let begin = plain.len();
            // Where each module was and is.
            let mut moved: BTreeMap<u64, usize> = BTreeMap::new();
            let mut at = 0;
            while at < sealed.len() {
                let opened = key.open(&sealed[at..]);
                let (module, length) = opened.ok_or_else(|| file.contradiction("a page of it cannot be decrypted"))?;
                moved.insert(range.start + at as u64, plain.len());
                plain.extend(module);
                at += length;
            }
            let Some(column) = columns.get_mut(*leaf) else { continue };
            let data = u64::try_from(column.data_page_offset()).ok().and_then(|offset| moved.get(&offset));
            let data = data.ok_or_else(|| file.contradiction("its pages do not begin where its footer says"))?;
            let builder = column.clone().into_builder().set_data_page_offset(*data as i64);
            let builder = builder.set_dictionary_page_offset(column.dictionary_page_offset().map(|_| begin as i64));
            let built = builder.set_total_compressed_size((plain.len() - begin) as i64).build();
            *column = built.map_err(|error| file.undecodable(&error))?;
        }
        let undecodable = |error: ParquetError| file.undecodable(&error);
        let row_group = row_group.into_builder().set_column_metadata(columns).build().map_err(undecodable)?;
        let metadata = ParquetMetaData::new(metadata.file_metadata().clone(), vec![row_group]);
        Ok(Unsealed { reader: schema::prepare(metadata).map_err(undecodable)?, bytes: plain.into() })
    }
}

/// Where a column chunk lies.
fn range(column: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let start = u64::try_from(start).ok()?;
    Some(start..start.checked_add(u64::try_from(column.compressed_size()).ok()?)?)
}
