//! From the thread that reads to the stream that the caller consumes. DuckDB's calls block, so they
//! run on a thread of the runtime's blocking pool; a bounded channel holds the reader back when the
//! caller is slow, and a caller that goes away stops it.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use futures::stream::{self, StreamExt};
use tidegate_core::{ConnectorError, EventStream, Micros, Position, TableEvent, TableName, ZSet};
use tidegate_duck::Flow;
use tokio::sync::mpsc;

use crate::error::LakeError;

/// Batches on their way between reader and caller.
const CHANNEL_BATCHES: usize = 4;

/// What the reading thread says.
pub enum Message<T> {
    /// Some rows.
    Event(TableName, TableEvent),
    /// What the caller must know before the last event is read: everything that follows, up to the
    /// end, belongs to this.
    Settled(T),
    /// The end.
    End(Result<T, LakeError>),
}

/// Where changes end, and when that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The position.
    pub to: Position,
    /// The latest commit among the changes.
    pub commit_time: Option<Micros>,
}

/// The reading side.
pub struct Outlet<T>(mpsc::Sender<Message<T>>);

impl<T> Outlet<T> {
    /// Sends rows; says `Stop` when the caller has gone away.
    pub fn rows(&self, table: &TableName, rows: RecordBatch, weight: i64) -> Flow {
        self.send(Message::Event(table.clone(), TableEvent::Rows(ZSet::uniform(rows, weight))))
    }

    /// Sends what is certain already.
    pub fn settled(&self, what: T) -> Flow {
        self.send(Message::Settled(what))
    }

    fn send(&self, message: Message<T>) -> Flow {
        if self.0.blocking_send(message).is_ok() { Flow::Continue } else { Flow::Stop }
    }
}

/// A lake shared between calls and the threads that read for them.
pub type Shared<L> = Arc<Mutex<L>>;

/// Runs one blocking call on the lake.
pub async fn call<L: Send + 'static, T: Send + 'static>(
    lake: &Shared<L>,
    name: &str,
    run: impl FnOnce(&mut L) -> Result<T, LakeError> + Send + 'static,
) -> Result<T, ConnectorError> {
    let lake = lake.clone();
    let answer = tokio::task::spawn_blocking(move || run(&mut lake.lock().unwrap_or_else(PoisonError::into_inner)));
    match answer.await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LakeError::Abandoned { lake: name.to_owned() }.into()),
    }
}

/// Starts a reader on a thread of its own.
pub fn start<L: Send + 'static, T: Send + 'static>(
    lake: &Shared<L>,
    read: impl FnOnce(&mut L, &Outlet<T>) -> Result<T, LakeError> + Send + 'static,
) -> mpsc::Receiver<Message<T>> {
    let (sender, receiver) = mpsc::channel(CHANNEL_BATCHES);
    let lake = lake.clone();
    tokio::task::spawn_blocking(move || {
        let outlet = Outlet(sender);
        let result = read(&mut lake.lock().unwrap_or_else(PoisonError::into_inner), &outlet);
        // Without a receiver nobody wants to know.
        let _ = outlet.send(Message::End(result));
    });
    receiver
}

/// The events read so far and those still to come.
pub fn events<T: Send + 'static>(
    read: Vec<(TableName, TableEvent)>,
    rest: mpsc::Receiver<Message<T>>,
    name: &str,
) -> EventStream {
    let name = name.to_owned();
    let rest = stream::unfold(Some(rest), move |receiver| {
        let name = name.clone();
        async move {
            let mut receiver = receiver?;
            loop {
                return match receiver.recv().await {
                    Some(Message::Event(table, event)) => Some((Ok((table, event)), Some(receiver))),
                    Some(Message::Settled(_)) => continue,
                    Some(Message::End(Ok(_))) => None,
                    Some(Message::End(Err(error))) => Some((Err(error.into()), None)),
                    None => Some((Err(LakeError::Abandoned { lake: name }.into()), None)),
                };
            }
        }
    });
    stream::iter(read.into_iter().map(Ok)).chain(rest).boxed()
}
