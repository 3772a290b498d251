//! What happened to a source in memory, and what its tables were at any time.

use std::collections::BTreeMap;

use tidegate_core::{Micros, Position, SnapshotId, TableEvent, TableName, TableSchema};

use crate::contents::TableContents;

/// One transaction.
pub struct Transaction {
    pub time: Micros,
    pub events: Vec<(TableName, TableEvent)>,
    /// Tables with their schema from here on; `None`: dropped.
    pub schemas: BTreeMap<TableName, Option<TableSchema>>,
}

/// All transactions, and the tables before them.
pub struct History {
    pub initial: BTreeMap<TableName, TableSchema>,
    pub transactions: Vec<Transaction>,
}

impl History {
    /// The present end.
    pub fn len(&self) -> u64 {
        self.transactions.len() as u64
    }

    pub fn last_time(&self) -> Micros {
        self.transactions.last().map_or(Micros(0), |transaction| transaction.time)
    }

    pub fn time_at(&self, at: u64) -> Option<Micros> {
        at.checked_sub(1).map(|index| self.transactions[index as usize].time)
    }

    pub fn tables(&self, at: u64) -> BTreeMap<TableName, TableSchema> {
        let mut tables = self.initial.clone();
        for (name, schema) in self.transactions[..at as usize].iter().flat_map(|t| &t.schemas) {
            match schema {
                Some(schema) => tables.insert(name.clone(), schema.clone()),
                None => tables.remove(name),
            };
        }
        tables
    }

    pub fn contents(&self, table: &TableName, at: u64) -> Option<TableContents> {
        let mut contents = self.initial.get(table).cloned().map(TableContents::new);
        for transaction in &self.transactions[..at as usize] {
            match transaction.schemas.get(table) {
                Some(Some(schema)) => contents = Some(TableContents::new(schema.clone())),
                Some(None) => contents = None,
                None => {}
            }
            for (_, event) in transaction.events.iter().filter(|(name, _)| name == table) {
                contents.as_mut().expect("events are committed for tables that exist").apply(event);
            }
        }
        contents
    }
}

pub fn position_of(index: u64) -> Position {
    Position::SnapshotId(SnapshotId(index))
}

pub fn index_of(position: &Position) -> u64 {
    match position {
        Position::SnapshotId(SnapshotId(index)) => *index,
        Position::Lsn(lsn) => panic!("the source in memory never offered the position LSN {lsn}"),
    }
}
