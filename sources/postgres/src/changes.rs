//! From transactions to events: the changes of each table in order, many transactions in one batch.

use std::collections::{HashMap, VecDeque};

use tidegate_core::{ConnectorError, TableEvent, TableName};

use crate::batch::TableBatch;
use crate::catalog::Table;
use crate::error::PostgresError;
use crate::pgoutput::{self, Message};
use crate::transaction::{Messages, Transaction};
use crate::types::Policy;

/// Decodes transactions as it is asked for events.
pub(crate) struct Changes {
    source: String,
    transactions: VecDeque<Transaction>,
    current: Option<Messages>,
    tables: HashMap<u32, TableBatch>,
    /// The tables in the order in which their last events come.
    order: Vec<u32>,
    ready: VecDeque<(TableName, TableEvent)>,
    ended: bool,
}

impl Changes {
    /// Changes of `tables` in `transactions`.
    pub fn new(source: &str, tables: &[Table], policy: &Policy, transactions: Vec<Transaction>) -> Self {
        Changes {
            source: source.to_owned(),
            transactions: transactions.into(),
            current: None,
            tables: tables.iter().map(|table| (table.oid, TableBatch::new(source, table, policy))).collect(),
            order: tables.iter().map(|table| table.oid).collect(),
            ready: VecDeque::new(),
            ended: false,
        }
    }

    /// Decodes until an event is complete or nothing is left.
    fn advance(&mut self) -> Result<(), PostgresError> {
        while self.ready.is_empty() && !self.ended {
            let Some(messages) = &mut self.current else {
                match self.transactions.pop_front() {
                    Some(transaction) => {
                        let messages = transaction.into_messages();
                        self.current = Some(messages.map_err(|error| not_read(&self.source, error))?);
                    }
                    None => self.finish()?,
                }
                continue;
            };
            // Many messages at a time, so that little is done for each.
            for _ in 0..1024 {
                let next = messages.next().map_err(|error| not_read(&self.source, error))?;
                let Some(message) = next else {
                    self.current = None;
                    break;
                };
                if let Some(oid) = apply(&self.source, &mut self.tables, message)? {
                    let Some(batch) = self.tables.get_mut(&oid) else { continue };
                    let name = &batch.table().schema.name.clone();
                    self.ready.extend(batch.take().into_iter().map(|event| (name.clone(), event)));
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), PostgresError> {
        self.ended = true;
        for oid in &self.order {
            let Some(batch) = self.tables.get_mut(oid) else { continue };
            let name = batch.table().schema.name.clone();
            self.ready.extend(batch.finish()?.into_iter().map(|event| (name.clone(), event)));
        }
        Ok(())
    }
}

/// Applies one message; says whose batch has events now, if it is one.
fn apply(source: &str, tables: &mut HashMap<u32, TableBatch>, message: &[u8]) -> Result<Option<u32>, PostgresError> {
    let malformed = |error: pgoutput::Malformed| PostgresError::Stream {
        database: source.to_owned(),
        table: "of the replication stream".to_owned(),
        fact: error.fact,
    };
    let oid = match pgoutput::decode(message).map_err(malformed)? {
        Message::Insert { relation, new } => {
            if let Some(batch) = tables.get_mut(&relation) {
                batch.insert(new)?;
            }
            relation
        }
        Message::Update { relation, old, new } => {
            if let Some(batch) = tables.get_mut(&relation) {
                batch.update(old, new)?;
            }
            relation
        }
        Message::Delete { relation, old } => {
            if let Some(batch) = tables.get_mut(&relation) {
                batch.delete(old)?;
            }
            relation
        }
        Message::Truncate { relations } => {
            for oid in pgoutput::truncated(relations) {
                if let Some(batch) = tables.get_mut(&oid) {
                    batch.truncate()?;
                }
            }
            return Ok(None);
        }
        Message::Relation(_) | Message::Other => return Ok(None),
    };
    Ok(tables.get(&oid).is_some_and(TableBatch::has_events).then_some(oid))
}

fn not_read(source: &str, error: std::io::Error) -> PostgresError {
    let path = "a transaction that was put aside".to_owned();
    PostgresError::File { database: source.to_owned(), path, doing: "read", error }
}

impl Iterator for Changes {
    type Item = Result<(TableName, TableEvent), ConnectorError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.advance() {
            self.ended = true;
            self.transactions.clear();
            self.current = None;
            self.ready.clear();
            return Some(Err(error.into()));
        }
        self.ready.pop_front().map(Ok)
    }
}
