//! A source transaction: its messages as they came, in memory up to a budget and in an unnamed file
//! beyond it.
//!
//! Protocol version 1 sends a transaction whole, after its commit; so it is kept whole until the
//! commit message has come, and handed on whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tidegate_core::{Lsn, Micros};

use crate::pgoutput::Relation;

/// A committed transaction.
#[derive(Debug)]
pub struct Transaction {
    /// Where its commit record begins: the position by which the server decides whether to send it.
    pub commit: Lsn,
    /// Where its commit record ends: the position of a source that has it.
    pub end: Lsn,
    /// When it was committed, by the server's clock.
    pub time: Micros,
    /// Changed rows.
    pub rows: u64,
    /// Bytes it takes in memory.
    pub bytes: usize,
    /// The relations that it describes, in order.
    pub relations: Vec<Relation>,
    messages: Payload,
}

#[derive(Debug)]
enum Payload {
    Memory(Vec<u8>),
    File(File),
}

/// A transaction in the making.
pub struct Builder {
    /// Where the commit record begins, as the first message says.
    pub commit: Lsn,
    folder: PathBuf,
    memory_max: usize,
    rows: u64,
    relations: Vec<Relation>,
    memory: Vec<u8>,
    file: Option<File>,
}

impl Builder {
    /// Beyond `memory_max` bytes the messages go to a file in `folder`.
    pub fn new(commit: Lsn, folder: &Path, memory_max: usize) -> Self {
        let (rows, relations, memory) = (0, Vec::new(), Vec::new());
        Builder { commit, folder: folder.to_owned(), memory_max, rows, relations, memory, file: None }
    }

    /// Takes a message that changes a row.
    pub fn push(&mut self, message: &[u8]) -> io::Result<()> {
        self.rows += 1;
        self.append(message)
    }

    /// Takes the description of a relation.
    pub fn describe(&mut self, relation: Relation) {
        self.relations.push(relation);
    }

    fn append(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(|_| io::Error::other("a message is longer than 4 GiB"))?;
        self.memory.extend_from_slice(&length.to_le_bytes());
        self.memory.extend_from_slice(message);
        if self.memory.len() > self.memory_max { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(unnamed(&self.folder)?),
        };
        file.write_all(&self.memory)?;
        self.memory.clear();
        Ok(())
    }

    /// The transaction is complete.
    pub fn finish(mut self, end: Lsn, time: Micros) -> io::Result<Transaction> {
        if self.file.is_some() {
            self.spill()?;
        }
        let bytes = self.memory.len() + std::mem::size_of::<Transaction>();
        let messages = match self.file {
            Some(file) => Payload::File(file),
            None => Payload::Memory(self.memory),
        };
        Ok(Transaction { commit: self.commit, end, time, rows: self.rows, bytes, relations: self.relations, messages })
    }
}

/// A file that is gone with the process.
fn unnamed(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("transaction-{}.tmp", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// The messages of a transaction, one after another.
pub enum Messages {
    /// From memory.
    Memory {
        /// Everything.
        bytes: Vec<u8>,
        /// What has been read of it.
        at: usize,
    },
    /// From a file.
    File {
        /// The file from here on.
        reader: Box<BufReader<File>>,
        /// The last message.
        message: Vec<u8>,
    },
}

impl Transaction {
    /// The messages in order.
    pub fn into_messages(self) -> io::Result<Messages> {
        Ok(match self.messages {
            Payload::Memory(bytes) => Messages::Memory { bytes, at: 0 },
            Payload::File(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Messages::File { reader: Box::new(BufReader::with_capacity(1 << 20, file)), message: Vec::new() }
            }
        })
    }
}

impl Messages {
    /// The next message; `None` after the last.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        match self {
            Messages::Memory { bytes, at } => {
                let rest = &bytes[*at..];
                let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
                let length = u32::from_le_bytes(*length) as usize;
                *at += 4 + length;
                Ok(Some(&rest[..length]))
            }
            Messages::File { reader, message } => {
                let mut length = [0; 4];
                match reader.read_exact(&mut length) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                    read => read?,
                }
                message.resize(u32::from_le_bytes(length) as usize, 0);
                reader.read_exact(message)?;
                Ok(Some(message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_from_memory_and_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let messages: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; usize::from(n) * 3]).collect();
        for memory_max in [usize::MAX, 1000, 0] {
            let mut builder = Builder::new(Lsn(1), folder.path(), memory_max);
            messages.iter().for_each(|message| builder.push(message).unwrap());
            let transaction = builder.finish(Lsn(2), Micros(3)).unwrap();
            assert_eq!(transaction.rows, 100);
            assert_eq!(transaction.bytes > 15_000, memory_max == usize::MAX, "{memory_max}");
            let mut read = transaction.into_messages().unwrap();
            for message in &messages {
                assert_eq!(read.next().unwrap(), Some(&message[..]));
            }
            assert_eq!(read.next().unwrap(), None);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files have no name");
    }
}
