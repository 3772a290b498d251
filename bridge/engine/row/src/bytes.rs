//! Byte strings as words: seven bytes of data and one marker byte a word, so that comparing
//! words as numbers compares the strings by bytes, and a string ends without a length before it.
//!
//! The marker is 8 where the string goes on in the next word, else the number of data bytes used
//! (0 to 7). A string that is a prefix of another is smaller: at the word where it ends its unused
//! bytes are zero and its marker is the smaller one.

const CONTINUES: u64 = 8;
const DATA: usize = 7;

/// Words that a string of `length` bytes takes: one for up to seven bytes, the empty one included.
#[inline]
pub(crate) fn word_count(length: usize) -> usize {
    length.div_ceil(DATA).max(1)
}

/// Writes `bytes` to the start of `out`, which has [`word_count`] words or more, and returns that count.
#[inline]
pub(crate) fn write(bytes: &[u8], out: &mut [u64]) -> usize {
    let mut count = 0;
    let mut rest = bytes;
    while let Some((eight, _)) = rest.split_first_chunk::<8>() {
        out[count] = (u64::from_be_bytes(*eight) & !0xff) | CONTINUES;
        count += 1;
        rest = &rest[DATA..];
    }
    let tail = match bytes.last_chunk::<8>() {
        // One load that ends where the string ends; bytes before the rest, which is 1 to 7 bytes
        // long in a string of 8 and more, are shifted out.
        Some(eight) => u64::from_be_bytes(*eight) << (8 * (8 - rest.len())),
        None => {
            let mut eight = [0; 8];
            eight[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(eight)
        }
    };
    out[count] = tail | rest.len() as u64;
    count + 1
}

/// Appends the string at the start of `words` to `out` and returns its word count; `None`, and
/// nothing appended, when no string ends within `words`.
#[inline]
pub(crate) fn read(words: &[u64], out: &mut Vec<u8>) -> Option<usize> {
    let start = out.len();
    for (index, word) in words.iter().enumerate() {
        let length = out.len();
        out.extend_from_slice(&word.to_be_bytes());
        match word & 0xff {
            CONTINUES => out.truncate(length + DATA),
            used if used < CONTINUES => {
                out.truncate(length + used as usize);
                return Some(index + 1);
            }
            _ => break,
        }
    }
    out.truncate(start);
    None
}

/// Word count of the string at the start of `words`.
#[inline]
pub(crate) fn skip(words: &[u64]) -> Option<usize> {
    words.iter().position(|word| word & 0xff != CONTINUES).map(|last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> Vec<u64> {
        let mut out = vec![0; word_count(bytes.len())];
        assert_eq!(write(bytes, &mut out), out.len());
        out
    }

    #[test]
    fn order_and_round_trip_at_every_length() {
        let mut strings: Vec<Vec<u8>> = vec![vec![]];
        for length in 1..40 {
            for fill in [0u8, 1, 7, 8, 9, 127, 128, 255] {
                strings.push(vec![fill; length]);
                let mut ends_in_zero = vec![fill; length];
                ends_in_zero[length - 1] = 0;
                strings.push(ends_in_zero);
            }
        }
        for left in &strings {
            let mut back = Vec::new();
            assert_eq!(read(&words(left), &mut back), Some(words(left).len()));
            assert_eq!(&back, left);
            assert_eq!(skip(&words(left)), Some(words(left).len()));
            for right in &strings {
                assert_eq!(left.cmp(right), words(left).cmp(&words(right)), "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn a_string_without_an_end_is_found() {
        assert_eq!(read(&[CONTINUES], &mut Vec::new()), None);
        assert_eq!(read(&[9], &mut Vec::new()), None);
        assert_eq!(read(&[], &mut Vec::new()), None);
    }
}
