//! The content of tables at one snapshot. All tables are read at the same snapshot id, so that they
//! are one consistent cut however long it takes.

use tidegate_core::{ConnectorError, Micros, Snapshot, TableSchema};

use crate::catalog::Catalog;
use crate::error::LakeError;
use crate::position::position_of;
use crate::stream::{Message, Outlet, Shared, events, start};

/// What is known before the first row is read.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// The snapshot.
    pub snapshot: u64,
    /// When it was committed.
    pub commit_time: Micros,
    /// About how many rows there are.
    pub rows_estimate: Option<u64>,
}

impl Opened {
    /// What the catalog tells of some tables at a snapshot (`None`: the newest).
    pub fn of(catalog: &dyn Catalog, tables: &[TableSchema], at: Option<u64>) -> Result<Self, LakeError> {
        let snapshot = catalog.resolve(at)?;
        let ids: Vec<u64> = tables.iter().map(|table| table.incarnation).collect();
        Ok(Opened {
            snapshot,
            commit_time: catalog.snapshot(snapshot)?.time,
            rows_estimate: catalog.rows_estimate(&ids)?,
        })
    }
}

/// Sends every row of some tables at a snapshot (`None`: the newest).
pub type Read<L> = fn(&mut L, &[TableSchema], Option<u64>, &Outlet<Opened>) -> Result<Opened, LakeError>;

/// Starts reading `tables` at a snapshot (`None`: the newest).
pub async fn snapshot<L: Send + 'static>(
    lake: &Shared<L>,
    name: &str,
    tables: Vec<TableSchema>,
    at: Option<u64>,
    read: Read<L>,
) -> Result<Snapshot, ConnectorError> {
    let mut receiver = start(lake, move |lake, outlet| read(lake, &tables, at, outlet));
    let opened = match receiver.recv().await {
        Some(Message::Settled(opened)) => opened,
        Some(Message::End(Err(error))) => return Err(error.into()),
        _ => return Err(LakeError::Abandoned { lake: name.to_owned() }.into()),
    };
    Ok(Snapshot {
        position: position_of(opened.snapshot),
        commit_time: Some(opened.commit_time),
        rows_estimate: opened.rows_estimate,
        events: events(Vec::new(), receiver, name),
    })
}
