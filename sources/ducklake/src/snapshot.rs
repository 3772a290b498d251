//! The content of tables at one snapshot. All tables are read at the same snapshot id, so that they
//! are one consistent cut however long it takes.

use tidegate_core::{ConnectorError, Micros, Snapshot, TableSchema};
use tidegate_duck::Flow;

use crate::connection::Lake;
use crate::error::LakeError;
use crate::position::position_of;
use crate::stream::{Message, Outlet, SharedLake, events, start};

/// What is known before the first row is read.
#[derive(Debug, Clone, Copy)]
struct Opened {
    snapshot: u64,
    commit_time: Micros,
    rows_estimate: Option<u64>,
}

/// Starts reading `tables` at a snapshot (`None`: the newest).
pub async fn snapshot(
    lake: &SharedLake,
    name: &str,
    tables: Vec<TableSchema>,
    at: Option<u64>,
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

fn read(
    lake: &mut Lake,
    tables: &[TableSchema],
    at: Option<u64>,
    outlet: &Outlet<Opened>,
) -> Result<Opened, LakeError> {
    lake.prepare_for_writers();
    lake.attached_anew(|session| {
        let snapshot = session.resolve(at)?;
        let ids: Vec<u64> = tables.iter().map(|table| table.incarnation).collect();
        let opened = Opened {
            snapshot,
            commit_time: session.snapshot(snapshot)?.time,
            rows_estimate: session.rows_estimate(&ids)?,
        };
        let mut flow = outlet.settled(opened);
        for table in tables {
            if flow == Flow::Stop {
                break;
            }
            session.rows_at(table, snapshot, &mut |rows, weight| {
                flow = outlet.rows(&table.name, rows, weight);
                Ok(flow)
            })?;
        }
        Ok(opened)
    })
}
