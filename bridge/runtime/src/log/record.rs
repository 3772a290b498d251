//! The framing of one record, the same in the input log, the delta log and log objects.
//!
//! ```text
//! preamble  32 bytes   magic "TGREC\0\0\1" · header length u64 · payload length u64 · check
//! header    JSON
//! hash      32 bytes   BLAKE3 of the header
//! payload
//! hash      32 bytes   BLAKE3 of the payload
//! ```
//!
//! Numbers are little-endian. The check is the first 8 bytes of the BLAKE3 of the 24 bytes before
//! it: a record is only ever taken for incomplete on the word of lengths that are themselves
//! checked, so no flipped bit can pass for a torn tail.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

const MAGIC: [u8; 8] = *b"TGREC\0\0\x01";
const HASH: u64 = 32;

/// Length of the preamble.
pub const PREAMBLE: u64 = 32;

/// The bytes before the payload.
pub fn encode_head(header: &[u8], payload_len: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity((PREAMBLE + HASH) as usize + header.len());
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&(header.len() as u64).to_le_bytes());
    head.extend_from_slice(&payload_len.to_le_bytes());
    let check = check(&head);
    head.extend_from_slice(&check);
    head.extend_from_slice(header);
    head.extend_from_slice(blake3::hash(header).as_bytes());
    head
}

fn check(lengths: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    check.copy_from_slice(&blake3::hash(lengths).as_bytes()[..8]);
    check
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte of the record.
    pub offset: u64,
    /// First byte of the payload.
    pub payload: u64,
    /// Length of the payload.
    pub payload_len: u64,
}

impl Extent {
    /// The byte after the record.
    pub fn end(&self) -> u64 {
        self.payload + self.payload_len + HASH
    }
}

/// What stands at an offset.
#[derive(Debug)]
pub enum Found {
    /// A record with an undamaged header; its payload has not been looked at.
    Record {
        /// The header's JSON.
        header: Vec<u8>,
        /// Where it lies.
        extent: Extent,
    },
    /// The end.
    End,
    /// The beginning of a record that was never completely written, with everything after it.
    Torn,
    /// Bytes that were not written like this.
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong.
        fact: &'static str,
    },
}

/// Something that can be read at an offset.
pub trait ReadAt {
    /// Fills `buffer` from `offset`.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset))?;
        self.read_exact(buffer)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = usize::try_from(offset).ok().and_then(|from| self.get(from..from.checked_add(buffer.len())?));
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Looks at the record that begins at `offset` of a file of `len` bytes.
pub fn look(file: &mut dyn ReadAt, len: u64, offset: u64) -> io::Result<Found> {
    let rest = len - offset;
    if rest == 0 {
        return Ok(Found::End);
    }
    if rest < PREAMBLE {
        return Ok(Found::Torn);
    }
    let mut preamble = [0; PREAMBLE as usize];
    file.read_at(offset, &mut preamble)?;
    if preamble[..8] != MAGIC || preamble[24..] != check(&preamble[..24]) {
        // A power cut can leave a file longer than what was written to it.
        return Ok(match only_zeros(file, offset, len)? {
            true => Found::Torn,
            false => Found::Damaged { offset, fact: "no record begins here" },
        });
    }
    let length = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| preamble[at + i]));
    let (header_len, payload_len) = (length(8), length(16));
    let payload = offset + PREAMBLE + header_len + HASH;
    let extent = Extent { offset, payload, payload_len };
    if extent.end() > len {
        return Ok(Found::Torn);
    }
    let mut header = vec![0; header_len as usize];
    file.read_at(offset + PREAMBLE, &mut header)?;
    let mut hash = [0; HASH as usize];
    file.read_at(payload - HASH, &mut hash)?;
    if *blake3::hash(&header).as_bytes() == hash {
        return Ok(Found::Record { header, extent });
    }
    Ok(match never_finished(file, &extent, len)? {
        true => Found::Torn,
        false => Found::Damaged { offset, fact: "the header does not match its hash" },
    })
}

/// Whether a payload is what was written.
pub fn verify_payload(file: &mut dyn ReadAt, extent: &Extent) -> io::Result<bool> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let (mut at, end) = (extent.payload, extent.payload + extent.payload_len);
    while at < end {
        let part = &mut buffer[..(end - at).min(1 << 20) as usize];
        file.read_at(at, part)?;
        hasher.update(part);
        at += part.len() as u64;
    }
    let mut hash = [0; HASH as usize];
    file.read_at(end, &mut hash)?;
    Ok(*hasher.finalize().as_bytes() == hash)
}

/// Whether a record that does not match its hashes is the last one and its end was never written:
/// a power cut can write the pages of a file in any order.
pub fn never_finished(file: &mut dyn ReadAt, extent: &Extent, len: u64) -> io::Result<bool> {
    Ok(extent.end() == len && only_zeros(file, len - HASH, len)?)
}

fn only_zeros(file: &mut dyn ReadAt, mut from: u64, to: u64) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    while from < to {
        let part = &mut buffer[..(to - from).min(4096) as usize];
        file.read_at(from, part)?;
        if part.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        from += part.len() as u64;
    }
    Ok(true)
}

/// Writes a record; `payload` is read to its end.
pub fn write(out: &mut dyn Write, header: &[u8], payload: &mut dyn Read, payload_len: u64) -> io::Result<u64> {
    let head = encode_head(header, payload_len);
    out.write_all(&head)?;
    let mut hasher = blake3::Hasher::new();
    let mut written = 0;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = payload.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        out.write_all(&buffer[..count])?;
        written += count as u64;
    }
    assert_eq!(written, payload_len, "the payload is as long as it was said to be");
    out.write_all(hasher.finalize().as_bytes())?;
    Ok(head.len() as u64 + payload_len + HASH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(header: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, header, &mut &payload[..], payload.len() as u64).unwrap();
        bytes
    }

    fn look_at(bytes: &[u8], offset: u64) -> Found {
        look(&mut &bytes[..], bytes.len() as u64, offset).unwrap()
    }

    #[test]
    fn every_cut_of_the_last_record_is_torn() {
        let first = record(b"{\"a\":1}", b"payload one");
        let both = [first.clone(), record(b"{}", b"two")].concat();
        for len in first.len() + 1..both.len() {
            assert!(matches!(look_at(&both[..len], 0), Found::Record { .. }));
            assert!(matches!(look_at(&both[..len], first.len() as u64), Found::Torn), "cut at {len}");
        }
        assert!(matches!(look_at(&both[..first.len()], first.len() as u64), Found::End));
    }

    #[test]
    fn no_flipped_bit_passes() {
        let bytes = record(b"{\"a\":1}", b"payload");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let seen = match look_at(&flipped, 0) {
                    Found::Damaged { .. } => false,
                    Found::Record { extent, .. } => verify_payload(&mut &flipped[..], &extent).unwrap(),
                    other => panic!("bit {bit} of byte {at} passes for {other:?}"),
                };
                assert!(!seen, "bit {bit} of byte {at} goes unseen");
            }
        }
    }

    #[test]
    fn a_tail_of_zeros_was_never_written() {
        let mut bytes = record(b"{}", b"one");
        let end = bytes.len() as u64;
        bytes.extend(vec![0; 5000]);
        assert!(matches!(look_at(&bytes, end), Found::Torn));
        bytes[6000 - 2000] = 1;
        assert!(matches!(look_at(&bytes, end), Found::Damaged { .. }));
    }
}
