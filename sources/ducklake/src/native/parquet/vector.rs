//! Deletion vectors: blobs of the type `deletion-vector-v1` (Puffin specification, Apache Iceberg). DuckLake 1.0 writes the blob
//! alone, without the container that the specification puts around it.
//!
//! The length of what follows but the checksum (4 bytes, big-endian), magic, a 64-bit Roaring bitmap in its portable format, and the
//! CRC-32 of magic and bitmap (4 bytes, big-endian).

use roaring::RoaringTreemap;

use super::files::Files;
use super::{FileEntry, FileError};

/// What a blob has after its length.
const MAGIC: &[u8] = &[0xd1, 0xd3, 0x39, 0x64];
/// What the container begins with.
const CONTAINER: &[u8] = b"PFA1";

impl Files {
    /// The positions that a deletion vector names, ascending; the catalog says how many there are.
    pub(crate) fn read_vector(&self, entry: &FileEntry<'_>, count: u64) -> Result<Vec<u64>, FileError> {
        let blob = self.whole(entry)?;
        if blob.starts_with(CONTAINER) {
            return Err(FileError::Container { file: entry.path.to_owned() });
        }
        let contradiction = |fact: String| FileError::Contradiction { file: entry.path.to_owned(), fact };
        let positions = decode(&blob).map_err(|fact| contradiction(fact.to_owned()))?;
        if positions.len() != count {
            return Err(contradiction(format!("it names {} rows, the catalog says {count}", positions.len())));
        }
        Ok(positions.into_iter().collect())
    }
}

fn decode(blob: &[u8]) -> Result<RoaringTreemap, &'static str> {
    let cut = "it is cut off, or longer than it says";
    let (length, rest) = blob.split_first_chunk::<4>().ok_or(cut)?;
    let (vector, checksum) = rest.split_last_chunk::<4>().ok_or(cut)?;
    if u32::from_be_bytes(*length) as usize != vector.len() {
        return Err(cut);
    }
    let mut bitmap = vector.strip_prefix(MAGIC).ok_or("it is no deletion vector")?;
    if u32::from_be_bytes(*checksum) != crc32fast::hash(vector) {
        return Err("its checksum is wrong");
    }
    let positions = RoaringTreemap::deserialize_from(&mut bitmap).map_err(|_| "its bitmap cannot be read")?;
    if !bitmap.is_empty() {
        return Err("something follows its bitmap");
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(positions: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut vector = MAGIC.to_vec();
        positions.into_iter().collect::<RoaringTreemap>().serialize_into(&mut vector).unwrap();
        let mut blob = (vector.len() as u32).to_be_bytes().to_vec();
        blob.extend(&vector);
        blob.extend(crc32fast::hash(&vector).to_be_bytes());
        blob
    }

    #[test]
    fn positions_of_any_size() {
        for positions in
            [vec![], vec![0], vec![1, 2, 70_000, u64::from(u32::MAX) + 3], (0..200_000).step_by(3).collect()]
        {
            assert_eq!(decode(&blob(positions.clone())), Ok(positions.into_iter().collect()));
        }
    }

    /// As DuckLake 1.0 wrote it for `DELETE … WHERE i = 1`.
    #[test]
    fn a_vector_of_ducklakes() {
        let written = "00000022d1d339640100000000000000000000003a3000000100000000000000100000000100eebd85f4";
        let bytes: Vec<u8> =
            (0..written.len() / 2).map(|at| u8::from_str_radix(&written[2 * at..2 * at + 2], 16).unwrap()).collect();
        assert_eq!(decode(&bytes), Ok([1].into_iter().collect()));
        assert_eq!(blob([1]), bytes);
    }

    #[test]
    fn damage_is_noticed() {
        let whole = blob([1, 2, 3]);
        for at in 0..whole.len() {
            assert!(decode(&whole[..at]).is_err(), "cut off at {at}");
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "damaged at {at}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(decode(&longer).is_err());
    }
}
