//! The table of epochs in the lake: one row a view, which every commit takes out and writes anew.
//!
//! That is more than a note: two writers who commit at the same time both remove from this table, and
//! DuckLake lets only one of them do that. Earlier rows are there by time travel, and each snapshot
//! has them in its `extra_info`.

use std::collections::BTreeMap;

use tidegate_core::{Committed, Epoch, EpochHash, EpochHeader, Micros, ViewName};

use crate::error::DucklakeSinkError;
use crate::lake::{Lake, Survey};

/// The table's name.
pub(crate) const EPOCHS: &str = "_tidegate_epochs";
/// Rows of an insert into it that stay in the catalog: those of every view.
pub(crate) const EPOCH_ROWS_INLINED: u64 = 10_000;

/// What the table says, by views in lower case.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    rows: BTreeMap<String, (i64, String)>,
}

impl Epochs {
    /// Reads the table, where it is.
    pub(crate) fn read(lake: &Lake<'_>, survey: &Survey) -> Result<Epochs, DucklakeSinkError> {
        if survey.relation(EPOCHS).is_none() {
            return Ok(Epochs::default());
        }
        let sql = format!("SELECT lower(view), epoch, hash FROM {} ORDER BY epoch", lake.table(EPOCHS));
        let rows = lake.rows(&sql, [], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        Ok(Epochs { rows: rows.into_iter().collect() })
    }

    /// Whether the table says anything about a view, be its table there or not.
    pub(crate) fn knows(&self, view: &ViewName) -> bool {
        self.rows.contains_key(&view.as_str().to_lowercase())
    }

    /// The epoch and the hash that the table has of a view, be its table there or not.
    pub(crate) fn noted(&self, view: &ViewName) -> Option<(u64, String)> {
        let (epoch, hash) = self.rows.get(&view.as_str().to_lowercase())?;
        Some((u64::try_from(*epoch).ok()?, hash.clone()))
    }

    /// What the lake holds of a view. One whose table is gone is not held.
    pub(crate) fn committed(
        &self,
        lake: &Lake<'_>,
        survey: &Survey,
        view: &ViewName,
    ) -> Result<Option<Committed>, DucklakeSinkError> {
        let is_there = survey.relation(view.as_str()).is_some_and(|relation| relation.table.is_some());
        let Some((epoch, hash)) = self.rows.get(&view.as_str().to_lowercase()).filter(|_| is_there) else {
            return Ok(None);
        };
        let committed = u64::try_from(*epoch).ok().zip(hash.parse::<EpochHash>().ok());
        let (epoch, hash) = committed.ok_or_else(|| DucklakeSinkError::Altered {
            lake: lake.place.shown.clone(),
            view: view.clone(),
            difference: format!("its row in {EPOCHS} is not one of ours"),
        })?;
        Ok(Some(Committed { epoch: Epoch(epoch), hash }))
    }
}

/// Makes the table where it is missing.
pub(crate) fn create(lake: &Lake<'_>) -> Result<(), DucklakeSinkError> {
    lake.execute(&format!(
        "CREATE TABLE IF NOT EXISTS {} \
         (view VARCHAR, epoch BIGINT, hash VARCHAR, frontier JSON, committed_at TIMESTAMP WITH TIME ZONE)",
        lake.table(EPOCHS)
    ))
}

/// Notes that the lake holds views up to an epoch.
pub(crate) fn note<'v>(
    lake: &Lake<'_>,
    views: impl IntoIterator<Item = &'v ViewName>,
    header: &EpochHeader,
    at: Micros,
) -> Result<(), DucklakeSinkError> {
    lake.execute("CREATE OR REPLACE TEMP TABLE noted (view VARCHAR)")?;
    for view in views {
        lake.change("INSERT INTO noted VALUES (?)", [view.as_str()])?;
    }
    let table = lake.table(EPOCHS);
    lake.change(&format!("DELETE FROM {table} WHERE lower(view) IN (SELECT lower(view) FROM noted)"), [])?;
    let (hash, frontier) = (header.hash.to_string(), header.frontier.to_string());
    lake.change(
        &format!("INSERT INTO {table} SELECT view, ?, ?, ?, make_timestamp(?)::TIMESTAMP WITH TIME ZONE FROM noted"),
        tidegate_duck::duckdb::params![header.epoch.0, hash, frontier, at.0],
    )?;
    Ok(())
}
