//! What the sources know of the tables that a program reads, for estimates. Reads only.

use std::collections::BTreeMap;

use tidegate_core::{SourceId, Statistics, TableName, TableSchema, TableStatistics};

use crate::patience::Patience;
use crate::{Connectors, PipelineConfig, RuntimeError};

/// What is known of each table, and of each source's commits a day.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownTables {
    /// By table; those of which nothing is known are empty.
    pub tables: BTreeMap<TableName, TableStatistics>,
    /// Commits a day by the source's name, where they are known.
    pub commits_per_day: BTreeMap<String, f64>,
}

/// Asks every source for the tables that it has among these.
pub async fn statistics(
    config: &PipelineConfig,
    connectors: &mut Connectors,
    tables: &[TableSchema],
) -> Result<KnownTables, RuntimeError> {
    let patience = Patience::with(config);
    let mut known = KnownTables::default();
    for slot in &mut connectors.sources {
        let id: SourceId = slot.source.id().clone();
        let of_source: Vec<TableSchema> = tables.iter().filter(|table| table.name.source == id.name).cloned().collect();
        if of_source.is_empty() {
            continue;
        }
        let asked = patience.wait_for(async || slot.source.statistics(&of_source).await).await;
        let Statistics { tables, commits_per_day } = asked.map_err(RuntimeError::source(&id))?;
        known.tables.extend(of_source.into_iter().map(|table| table.name).zip(tables));
        known.commits_per_day.extend(commits_per_day.map(|commits| (id.name, commits)));
    }
    Ok(known)
}
