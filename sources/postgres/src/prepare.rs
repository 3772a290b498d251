//! Before a copy: the publication, the locks, the slot, and what is remembered of the server.

use tidegate_core::{TableName, TableSchema};

use crate::catalog::{Publication, Table, memberships};
use crate::error::PostgresError;
use crate::identity::Identity;
use crate::setup;
use crate::slot::{self, Lifetime};
use crate::snapshot::{self, Copy};
use crate::source::PostgresSource;

impl PostgresSource {
    /// Makes the publication and a slot with a snapshot, and remembers the server.
    pub(crate) async fn prepare(&mut self, schemas: &[TableSchema]) -> Result<Copy, PostgresError> {
        let names: Vec<TableName> = schemas.iter().map(|schema| schema.name.clone()).collect();
        let (publication, tables) = self.describe(&names).await?;
        let settings = self.settings.clone();
        setup::publish(self.session().await?, &settings, publication.as_ref(), &tables).await?;
        let locks = self.settings.connection.session(&self.settings.name).await?;
        snapshot::lock(&locks, &tables).await?;
        // Locked, the tables stay as they are found now.
        let (publication, tables) = self.describe(&names).await?;
        if let Some(table) = tables.iter().zip(schemas).find(|(table, schema)| table.schema != **schema) {
            return Err(PostgresError::Moved { database: self.id.name.clone(), table: table.1.name.to_string() });
        }
        let found = self.slot().await?;
        let is_lost = found.as_ref().is_some_and(|slot| slot.lost.is_some());
        if is_lost {
            self.release().await?;
        }
        let lifetime = if found.is_none() || is_lost { Lifetime::Permanent } else { Lifetime::Temporary };
        let exported = slot::create(self.session().await?, &settings, lifetime).await?;
        let taken_at = snapshot::clock(&locks).await?;
        self.remember(exported.timeline, publication.as_ref(), &tables)?;
        Ok(Copy { policy: self.policy(), settings, tables, exported, taken_at, _locks: locks })
    }

    /// Writes down which server the tables were copied from, before anything is read from it.
    fn remember(
        &self,
        timeline: u32,
        publication: Option<&Publication>,
        tables: &[Table],
    ) -> Result<(), PostgresError> {
        let system = self.opened()?.1.to_owned();
        let mut known = match self.identity.read()? {
            Some(identity) if identity.system == system => identity.memberships,
            _ => Default::default(),
        };
        known.extend(memberships(tables));
        self.identity.write(&Identity {
            system,
            timeline,
            publication: publication.map_or(0, |publication| publication.oid),
            memberships: known,
            released: false,
        })
    }
}
