//! Reading the content of tables at one snapshot.

use tidegate_core::TableSchema;
use tidegate_duck::Flow;

use crate::error::LakeError;
use crate::extension::connection::Lake;
use crate::snapshot::Opened;
use crate::stream::Outlet;

/// Sends every row of some tables.
pub fn read(
    lake: &mut Lake,
    tables: &[TableSchema],
    at: Option<u64>,
    outlet: &Outlet<Opened>,
) -> Result<Opened, LakeError> {
    lake.prepare_for_writers();
    lake.attached_anew(|session| {
        let opened = Opened::of(session, tables, at)?;
        let mut flow = outlet.settled(opened);
        for table in tables {
            if flow == Flow::Stop {
                break;
            }
            session.rows_at(table, opened.snapshot, &mut |rows, weight| {
                flow = outlet.rows(&table.name, rows, weight);
                Ok(flow)
            })?;
        }
        Ok(opened)
    })
}
