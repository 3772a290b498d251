//! What the stream does not tell: tables, partitions and publications that are not as they were.

use std::time::{Duration, Instant};

use tidegate_core::{ErrorKind, Lsn, Polled, Position, TableName, TableSchema};

use crate::error::PostgresError;
use crate::opening::{changed, unpublished};
use crate::slot;
use crate::source::PostgresSource;

impl PostgresSource {
    /// Looks for what the stream does not tell. Answers what a poll then says.
    pub(crate) async fn look(&mut self, schemas: &[TableSchema], from: Lsn) -> Result<Option<Polled>, PostgresError> {
        let names: Vec<TableName> = schemas.iter().map(|schema| schema.name.clone()).collect();
        let remembered = self.identity.read()?;
        let at = Position::Lsn(from);
        let (publication, tables) = match self.describe(&names).await {
            Ok(described) => described,
            Err(PostgresError::NoTable { table, .. }) => {
                return Ok(Some(Polled::SchemaChanged {
                    at,
                    reason: format!("table {table} is gone, or has another name"),
                }));
            }
            Err(error) => return Err(error),
        };
        if let Some(reason) = changed(&tables, schemas) {
            return Ok(Some(Polled::SchemaChanged { at, reason }));
        }
        if let Some(reason) = unpublished(&tables, publication.as_ref(), remembered.as_ref()) {
            return Ok(Some(Polled::Expired { reason }));
        }
        Ok(None)
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
