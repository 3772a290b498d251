//! Reading the content of tables at one snapshot.

use tidegate_core::TableSchema;
use tidegate_duck::Flow;

use super::erased::{erased, had_vectors};
use super::lake::NativeLake;
use super::plan::{Content, Planner};
use crate::catalog::Catalog;
use crate::error::LakeError;
use crate::snapshot::Opened;
use crate::stream::Outlet;
use crate::tables::refuse_deletion_vectors;

/// Sends every row of some tables.
pub fn read(
    lake: &mut NativeLake,
    tables: &[TableSchema],
    at: Option<u64>,
    outlet: &Outlet<Opened>,
) -> Result<Opened, LakeError> {
    lake.prepare_for_writers();
    let (opened, mut contents) = lake.reading(|session| {
        let opened = Opened::of(session, tables, at)?;
        refuse_deletion_vectors(session, tables)?;
        let data_path = session.data_path()?;
        let is_past = at.is_some() && had_vectors(session)?;
        for table in tables.iter().filter(|_| is_past) {
            if let Some(reason) = erased(session, table, &data_path, opened.snapshot)? {
                return Err(LakeError::Erased { lake: session.lake().to_owned(), reason });
            }
        }
        let content = |table| Planner::new(session, table, &data_path)?.content(opened.snapshot);
        Ok((opened, tables.iter().map(content).collect::<Result<Vec<Content>, _>>()?))
    })?;
    let settled = lake.rows().and_then(|rows| contents.iter_mut().try_for_each(|content| rows.settle_content(content)));
    lake.unread(settled)?;
    if outlet.settled(opened) == Flow::Stop {
        return Ok(opened);
    }
    for (table, content) in tables.iter().zip(&contents) {
        let mut each = |rows, weight, _| Ok(outlet.rows(&table.name, rows, weight));
        let sent = lake.rows()?.content(content, opened.snapshot, 1, &mut each);
        if lake.unread(sent)? == Flow::Stop {
            break;
        }
    }
    Ok(opened)
}
