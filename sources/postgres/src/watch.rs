//! What the stream does not tell: tables, partitions and publications that are not as they were.

use std::time::{Duration, Instant};

use tidegate_core::{ErrorKind, Lsn, Polled, Position, TableName, TableSchema};

use crate::catalog::{Publication, Table};
use crate::error::PostgresError;
use crate::identity::Identity;
use crate::slot;
use crate::source::PostgresSource;

/// How the tables are found.
pub(crate) enum Described {
    /// As they were planned, in a publication that tells all that happens to them.
    AsBefore(Option<Publication>, Vec<Table>),
    /// One is another table now.
    Changed(String),
    /// What happened to one of them was not published, perhaps for a while.
    Lost(String),
}

impl PostgresSource {
    /// Looks for what the stream does not tell. Answers what a poll then says.
    pub(crate) async fn look(&mut self, schemas: &[TableSchema], from: Lsn) -> Result<Option<Polled>, PostgresError> {
        let remembered = self.identity.read()?;
        let at = Position::Lsn(from);
        Ok(match self.described(schemas, remembered.as_ref()).await? {
            Described::AsBefore(..) => None,
            Described::Changed(reason) => Some(Polled::SchemaChanged { at, reason }),
            Described::Lost(reason) => Some(Polled::Expired { reason }),
        })
    }

    /// Compares the tables and the publication with what was planned and what is remembered.
    pub(crate) async fn described(
        &mut self,
        schemas: &[TableSchema],
        remembered: Option<&Identity>,
    ) -> Result<Described, PostgresError> {
        let names: Vec<TableName> = schemas.iter().map(|schema| schema.name.clone()).collect();
        let (publication, tables) = match self.describe(&names).await {
            Ok(described) => described,
            Err(PostgresError::NoTable { table, .. }) => {
                return Ok(Described::Changed(format!("table {table} is gone, or has another name")));
            }
            Err(error) => return Err(error),
        };
        // A table that was made anew is copied, which puts it into the publication: so this comes first.
        if let Some(reason) = changed(&tables, schemas) {
            return Ok(Described::Changed(reason));
        }
        if let Some(reason) = unpublished(&tables, publication.as_ref(), remembered) {
            return Ok(Described::Lost(reason));
        }
        Ok(Described::AsBefore(publication, tables))
    }

    /// Drops the slot, which needs our own stream to have ended.
    pub(crate) async fn release(&mut self) -> Result<(), PostgresError> {
        self.stream = None;
        let name = self.settings.slot.clone();
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match slot::drop_slot(self.session().await?, &name).await {
                Err(error) if error.kind() == ErrorKind::Retry && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                dropped => return dropped,
            }
        }
    }
}

/// Which table is no longer as it was planned.
fn changed(tables: &[Table], schemas: &[TableSchema]) -> Option<String> {
    let (table, _) = tables.iter().zip(schemas).find(|(table, schema)| table.schema != **schema)?;
    Some(format!("table {} was changed: its columns, its identity or its partitions", table.schema.name))
}

/// Which table was taken out of the publication, perhaps for a while: what happened meanwhile is lost.
fn unpublished(tables: &[Table], publication: Option<&Publication>, remembered: Option<&Identity>) -> Option<String> {
    let Some(publication) = publication else { return Some("the publication does not exist (any more)".to_owned()) };
    if !publication.complete {
        return Some("the publication no longer has all of INSERT, UPDATE, DELETE and TRUNCATE".to_owned());
    }
    let remembered = remembered?;
    tables.iter().find_map(|table| {
        let name = &table.schema.name;
        match (remembered.memberships.get(&table.oid), table.membership) {
            (_, None) => Some(format!("table {name} is not in the publication (any more)")),
            (Some(was), Some(is)) if *was != is => {
                Some(format!("table {name} was taken out of the publication and put in again"))
            }
            _ => None,
        }
    })
}
