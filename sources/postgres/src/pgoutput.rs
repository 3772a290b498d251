//! The messages of PostgreSQL's `pgoutput` plugin, protocol version 1, decoded in place.
//!
//! Source: PostgreSQL's manual, "Logical Replication Message Formats". Every length and every offset is
//! checked: no bytes whatever make the decoder panic or allocate more than they are long.

use std::fmt;

/// A message that is not what the protocol says. Holds no bytes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a replication message is malformed: {fact}")]
pub struct Malformed {
    /// What is wrong with it.
    pub fact: &'static str,
}

/// One message. Tuples and names are slices of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A relation as the changes that follow know it.
    Relation(Relation),
    /// A row was inserted.
    Insert {
        /// The relation's OID.
        relation: u32,
        /// The new row.
        new: Tuple<'a>,
    },
    /// A row was updated.
    Update {
        /// The relation's OID.
        relation: u32,
        /// What is known of the old row; `None` when its key stayed as it was.
        old: Option<Old<'a>>,
        /// The new row.
        new: Tuple<'a>,
    },
    /// A row was deleted.
    Delete {
        /// The relation's OID.
        relation: u32,
        /// What is known of it.
        old: Old<'a>,
    },
    /// Tables were emptied.
    Truncate {
        /// Their OIDs, four bytes each, most significant first.
        relations: &'a [u8],
    },
    /// Types, origins, messages, and the boundaries of transactions: nothing that changes a row.
    Other,
}

/// What the server sends of an old row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old<'a> {
    /// The columns of the replica identity; the others are NULL and mean nothing.
    Key(Tuple<'a>),
    /// All columns (`REPLICA IDENTITY FULL`).
    Full(Tuple<'a>),
}

impl<'a> Old<'a> {
    /// The tuple.
    pub fn tuple(&self) -> Tuple<'a> {
        match self {
            Old::Key(tuple) | Old::Full(tuple) => *tuple,
        }
    }
}

/// A relation and its published columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The OID of the table.
    pub oid: u32,
    /// The schema's name; empty for `pg_catalog`.
    pub schema: String,
    /// The table's name.
    pub name: String,
    /// The published columns, in the table's order.
    pub columns: Vec<RelationColumn>,
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// The column's name.
    pub name: String,
    /// The OID of its type.
    pub type_oid: u32,
    /// The type's modifier (`atttypmod`).
    pub modifier: i32,
}

/// The values of a row; their bounds have been checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    columns: u16,
    bytes: &'a [u8],
}

impl fmt::Debug for Tuple<'_> {
    /// Row values reach no logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tuple({} columns)", self.columns)
    }
}

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL; in a key tuple, that the column is not part of the key.
    Null,
    /// Stored out of line and not changed, so the server did not read it.
    Unchanged,
    /// The value in its type's text form.
    Text(&'a [u8]),
}

impl<'a> Tuple<'a> {
    /// Number of values.
    pub fn len(&self) -> usize {
        usize::from(self.columns)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The values in order.
    pub fn values(&self) -> Values<'a> {
        Values { left: self.columns, bytes: self.bytes }
    }
}

/// Iterates over a [`Tuple`].
#[derive(Clone)]
pub struct Values<'a> {
    left: u16,
    bytes: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (kind, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(match kind {
            b'n' => Value::Null,
            b'u' => Value::Unchanged,
            _ => {
                let (length, rest) = self.bytes.split_first_chunk::<4>()?;
                let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                self.bytes = rest;
                Value::Text(text)
            }
        })
    }
}

/// Decodes one message.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut reader = Reader { bytes };
    let message = match reader.byte()? {
        b'R' => Message::Relation(reader.relation()?),
        b'I' => {
            let relation = reader.u32()?;
            reader.expect(b'N', "an insert has no new row")?;
            Message::Insert { relation, new: reader.tuple()? }
        }
        b'U' => {
            let relation = reader.u32()?;
            let mut kind = reader.byte()?;
            let old = reader.old(kind)?;
            if old.is_some() {
                kind = reader.byte()?;
            }
            if kind != b'N' {
                return Err(Malformed { fact: "an update has no new row" });
            }
            Message::Update { relation, old, new: reader.tuple()? }
        }
        b'D' => {
            let relation = reader.u32()?;
            let kind = reader.byte()?;
            let old = reader.old(kind)?.ok_or(Malformed { fact: "a delete has no old row" })?;
            Message::Delete { relation, old }
        }
        b'T' => {
            let count = reader.u32()? as usize;
            reader.byte()?;
            let bytes = count.checked_mul(4).ok_or(Malformed { fact: "a truncate names too many tables" })?;
            Message::Truncate { relations: reader.take(bytes)? }
        }
        b'B' | b'C' | b'O' | b'Y' | b'M' => return Ok(Message::Other),
        _ => return Err(Malformed { fact: "its kind is not known" }),
    };
    match reader.bytes {
        [] => Ok(message),
        _ => Err(Malformed { fact: "it is longer than it says" }),
    }
}

/// The OIDs that a [`Message::Truncate`] lists.
pub fn truncated(relations: &[u8]) -> impl Iterator<Item = u32> + '_ {
    relations.as_chunks::<4>().0.iter().map(|oid| u32::from_be_bytes(*oid))
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(Malformed { fact: "it ends too early" })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(Malformed { fact: "it ends too early" })?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn expect(&mut self, kind: u8, fact: &'static str) -> Result<(), Malformed> {
        if self.byte()? == kind { Ok(()) } else { Err(Malformed { fact }) }
    }

    /// A text that ends with a zero byte.
    fn text(&mut self) -> Result<String, Malformed> {
        let end = self.bytes.iter().position(|byte| *byte == 0).ok_or(Malformed { fact: "a name does not end" })?;
        let text = std::str::from_utf8(self.take(end)?).map_err(|_| Malformed { fact: "a name is not UTF-8" })?;
        self.byte()?;
        Ok(text.to_owned())
    }

    fn relation(&mut self) -> Result<Relation, Malformed> {
        let (oid, schema, name) = (self.u32()?, self.text()?, self.text()?);
        self.byte()?;
        let columns = (0..self.u16()?).map(|_| {
            self.byte()?;
            let name = self.text()?;
            let (type_oid, modifier) = (self.u32()?, i32::from_be_bytes(self.array()?));
            Ok(RelationColumn { name, type_oid, modifier })
        });
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(Relation { oid, schema, name, columns })
    }

    fn old(&mut self, kind: u8) -> Result<Option<Old<'a>>, Malformed> {
        Ok(match kind {
            b'K' => Some(Old::Key(self.tuple()?)),
            b'O' => Some(Old::Full(self.tuple()?)),
            _ => None,
        })
    }

    /// Walks over a tuple, so that reading its values later cannot fail.
    fn tuple(&mut self) -> Result<Tuple<'a>, Malformed> {
        let columns = self.u16()?;
        let start = self.bytes;
        for _ in 0..columns {
            match self.byte()? {
                b'n' | b'u' => {}
                b't' => {
                    let length = self.u32()? as usize;
                    self.take(length)?;
                }
                b'b' => return Err(Malformed { fact: "a value is in binary form, which was not asked for" }),
                _ => return Err(Malformed { fact: "a value's kind is not known" }),
            }
        }
        let length = start.len() - self.bytes.len();
        Ok(Tuple { columns, bytes: &start[..length] })
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn text(value: &str) -> Vec<u8> {
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        [&b"t"[..], &length, value.as_bytes()].concat()
    }

    fn tuple(values: &[Vec<u8>]) -> Vec<u8> {
        let count = u16::try_from(values.len()).unwrap().to_be_bytes();
        [&count[..], &values.concat()].concat()
    }

    /// One message of each kind, as servers send them.
    fn corpus() -> Vec<Vec<u8>> {
        let id = 7u32.to_be_bytes();
        let row = tuple(&[text("1"), b"n".to_vec(), b"u".to_vec(), text("")]);
        let key = tuple(&[text("0"), b"n".to_vec(), b"n".to_vec(), b"n".to_vec()]);
        let relation =
            [&b"R"[..], &id, b"public\0t\0d", &2u16.to_be_bytes(), b"\x01id\0", &20u32.to_be_bytes(), &[255; 4]];
        let relation = [&relation.concat()[..], b"\0v\0", &25u32.to_be_bytes(), &[255; 4]].concat();
        vec![
            relation,
            [&b"I"[..], &id, b"N", &row].concat(),
            [&b"U"[..], &id, b"N", &row].concat(),
            [&b"U"[..], &id, b"K", &key, b"N", &row].concat(),
            [&b"U"[..], &id, b"O", &row, b"N", &row].concat(),
            [&b"D"[..], &id, b"K", &key].concat(),
            [&b"T"[..], &2u32.to_be_bytes(), b"\x01", &id, &8u32.to_be_bytes()].concat(),
            [&b"B"[..], &[0; 20]].concat(),
            [&b"Y"[..], &id, b"public\0mood\0"].concat(),
        ]
    }

    #[test]
    fn every_kind_is_decoded() {
        let corpus = corpus();
        let decoded: Vec<_> = corpus.iter().map(|bytes| decode(bytes).unwrap()).collect();
        let Message::Relation(relation) = &decoded[0] else { panic!("{:?}", decoded[0]) };
        assert_eq!((relation.oid, relation.schema.as_str(), relation.name.as_str()), (7, "public", "t"));
        assert_eq!(relation.columns[1], RelationColumn { name: "v".to_owned(), type_oid: 25, modifier: -1 });
        let Message::Insert { relation: 7, new } = decoded[1] else { panic!("{:?}", decoded[1]) };
        let values: Vec<_> = new.values().collect();
        assert_eq!(values, [Value::Text(b"1"), Value::Null, Value::Unchanged, Value::Text(b"")]);
        assert!(matches!(decoded[2], Message::Update { old: None, .. }));
        assert!(matches!(decoded[3], Message::Update { old: Some(Old::Key(_)), .. }));
        assert!(matches!(decoded[4], Message::Update { old: Some(Old::Full(_)), .. }));
        let Message::Delete { old, .. } = decoded[5] else { panic!("{:?}", decoded[5]) };
        assert_eq!((old.tuple().len(), old.tuple().values().next()), (4, Some(Value::Text(&b"0"[..]))));
        let Message::Truncate { relations } = decoded[6] else { panic!("{:?}", decoded[6]) };
        assert_eq!(truncated(relations).collect::<Vec<_>>(), [7, 8]);
        assert_eq!((&decoded[7], &decoded[8]), (&Message::Other, &Message::Other));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for whole in corpus().iter().filter(|bytes| !b"BY".contains(&bytes[0])) {
            for length in 0..whole.len() {
                assert!(decode(&whole[..length]).is_err(), "{length} of {whole:?}");
            }
            assert!(decode(&[&whole[..], b"x"].concat()).is_err(), "{whole:?} and more");
        }
    }

    /// The fuzz test: what is sent, with bytes changed, left out and put in, and bytes of no meaning.
    /// `TIDEGATE_FUZZ` says how many there are.
    #[test]
    fn no_bytes_make_it_panic() {
        let rounds = std::env::var("TIDEGATE_FUZZ").map_or(300_000, |rounds| rounds.parse().unwrap());
        let (corpus, mut rng) = (corpus(), StdRng::seed_from_u64(0x70_67_6f_75));
        let mut decoded = 0u32;
        for _ in 0..rounds {
            let mut bytes = corpus.choose(&mut rng).unwrap().clone();
            for _ in 0..rng.random_range(0..4) {
                let at = rng.random_range(0..=bytes.len());
                match rng.random_range(0..5) {
                    0 => bytes.insert(at, rng.random()),
                    1 => bytes.truncate(at),
                    2 if at < bytes.len() => bytes[at] = *[0, 1, 127, 128, 255].choose(&mut rng).unwrap(),
                    3 if at < bytes.len() => bytes[at] = rng.random(),
                    _ => bytes.splice(at..at, (0..rng.random_range(0..9)).map(|_| 0xff)).for_each(drop),
                }
            }
            let Ok(message) = decode(&bytes) else { continue };
            decoded += 1;
            let tuples = match message {
                Message::Insert { new, .. } => vec![new],
                Message::Update { old, new, .. } => old.iter().map(Old::tuple).chain([new]).collect(),
                Message::Delete { old, .. } => vec![old.tuple()],
                _ => continue,
            };
            for tuple in tuples {
                assert_eq!(tuple.values().count(), tuple.len(), "every value of a tuple that was accepted is there");
            }
        }
        assert!(decoded > rounds / 10, "{decoded} of {rounds} messages were sound");
    }
}
