//! Opening the stream: only where the server still has everything after the position, and is the server
//! that was read.

use std::time::{Duration, Instant};

use pgwire_replication::ReplicationClient;
use tidegate_core::{Lsn, TableSchema};

use crate::catalog::{Publication, Table, memberships};
use crate::connection::Stream;
use crate::error::{PostgresError, replication};
use crate::follower::{self, Follower, Wanted};
use crate::identity::Identity;
use crate::lag::LagWatch;
use crate::source::{PostgresSource, Streaming};
use crate::watch::Described;

/// How long the last reader of the slot has to let it go.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);

/// Whether a stream could be opened.
pub(crate) enum Opened {
    Yes(Box<Streaming>),
    Lost(String),
    Changed(String),
}

impl PostgresSource {
    /// Opens a stream of everything after `from`, unless that cannot be had any more.
    pub(crate) async fn open(&mut self, schemas: &[TableSchema], from: Lsn) -> Result<Opened, PostgresError> {
        self.stream = None;
        let remembered = self.identity.read()?;
        if let Some(reason) = self.slot_lost(from, remembered.as_ref()).await? {
            return Ok(Opened::Lost(reason));
        }
        let (publication, tables) = match self.described(schemas, remembered.as_ref()).await? {
            Described::AsBefore(publication, tables) => (publication, tables),
            Described::Changed(reason) => return Ok(Opened::Changed(reason)),
            Described::Lost(reason) => return Ok(Opened::Lost(reason)),
        };
        let (name, slot) = (self.settings.name.clone(), self.settings.slot.clone());
        // Looked at anew: this is what the server is told at first, and one that heard of less than the slot has
        // confirmed might move it back, and hide that somebody moved it on while the tables were looked at.
        let acknowledged = self.slot().await?.map_or(from, |slot| slot.confirmed);
        let publication_name = self.settings.publication.clone();
        let stream = Stream { slot: &slot, publication: &publication_name, start: from, acknowledged };
        let mut client = self.settings.connection.replication(&name, stream).await?;
        if let Some(reason) = self.other_server(&mut client, from, remembered, publication.as_ref(), &tables).await? {
            return Ok(Opened::Lost(reason));
        }
        let failed = |error| replication(&name, "starting to stream", &error);
        client.start().await.map_err(failed)?;
        client.wait_started().await.map_err(|error| self.slot_in_use(failed(error)))?;
        // The slot is ours now, and nobody can move it any more; until now somebody might have.
        if let Some(slot) = self.slot().await?.filter(|slot| slot.confirmed > from) {
            return Ok(Opened::Lost(advanced(&self.settings.slot, slot.confirmed, from)));
        }
        let wanted = Wanted {
            oids: tables.iter().map(|table| table.oid).collect(),
            names: schemas.iter().map(|TableSchema { name, .. }| (name.schema.clone(), name.table.clone())).collect(),
        };
        let follower = Follower::start(
            client,
            follower::Setup {
                source: name,
                wanted,
                folder: self.folder.clone(),
                budget: usize::try_from(self.settings.config.buffer).unwrap_or(usize::MAX),
                start: from,
                durable: self.durable.clone(),
                wake: self.wake.clone(),
            },
        );
        Ok(Opened::Yes(Box::new(Streaming {
            _lag: LagWatch::start(self.settings.clone(), self.identity.clone()),
            follower,
            offered: from,
            tables,
            looked: Instant::now(),
        })))
    }

    /// Why the slot no longer has everything after `from`.
    async fn slot_lost(&mut self, from: Lsn, remembered: Option<&Identity>) -> Result<Option<String>, PostgresError> {
        let name = self.settings.slot.clone();
        if remembered.is_some_and(|identity| identity.released) {
            return Ok(Some(format!("replication slot {name} was dropped because it held too much WAL")));
        }
        let until = Instant::now() + LET_GO_WITHIN;
        loop {
            let Some(slot) = self.slot().await? else {
                return Ok(Some(format!("replication slot {name} does not exist (any more)")));
            };
            if let Some(why) = slot.lost {
                return Ok(Some(format!("replication slot {name} is lost: {why}")));
            }
            if slot.confirmed > from {
                return Ok(Some(advanced(&name, slot.confirmed, from)));
            }
            match slot.active_pid {
                None => return Ok(None),
                // The server takes a moment to see that our own last connection is gone.
                Some(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(10)).await,
                Some(pid) => {
                    return Err(PostgresError::SlotInUse { database: self.id.name.clone(), slot: name, pid });
                }
            }
        }
    }

    fn slot_in_use(&self, error: PostgresError) -> PostgresError {
        match &error {
            PostgresError::Server { message, .. } if message.contains("55006") => {
                // The server names the process: "replication slot … is active for PID 42".
                let digits = message.rsplit("PID ").next().unwrap_or_default();
                let pid = digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
                PostgresError::SlotInUse { database: self.id.name.clone(), slot: self.settings.slot.clone(), pid }
            }
            _ => error,
        }
    }

    /// Why the server is not the one that was read, or has lost what was read. Remembers one that is
    /// seen for the first time.
    async fn other_server(
        &mut self,
        client: &mut ReplicationClient,
        from: Lsn,
        remembered: Option<Identity>,
        publication: Option<&Publication>,
        tables: &[Table],
    ) -> Result<Option<String>, PostgresError> {
        let name = self.settings.name.clone();
        let failed = |error| replication(&name, "identifying the server", &error);
        let server = client.identify_system().await.map_err(failed)?;
        let end = Lsn(server.xlogpos.as_u64());
        if let Some(identity) = &remembered {
            if identity.system != server.system_id {
                let (was, is) = (&identity.system, &server.system_id);
                return Ok(Some(format!("the server is another one: its system identifier is {is}, it was {was}")));
            }
            if identity.timeline != server.timeline {
                let history = client.timeline_history(server.timeline).await.map_err(failed)?;
                let left = left_timeline(&String::from_utf8_lossy(&history.content), identity.timeline);
                if left.is_none_or(|left| left < from) {
                    return Ok(Some(format!(
                        "the server was promoted to timeline {} before {from}, which was read on timeline {}",
                        server.timeline, identity.timeline
                    )));
                }
            }
        }
        if end < from {
            return Ok(Some(format!(
                "the server stands at {end}, behind {from} that was read from it: it was restored"
            )));
        }
        let identity = Identity {
            system: server.system_id,
            timeline: server.timeline,
            publication: publication.map_or(0, |publication| publication.oid),
            memberships: match remembered.clone() {
                Some(identity) => identity.memberships,
                None => memberships(tables),
            },
            released: false,
        };
        if remembered.as_ref() != Some(&identity) {
            if remembered.is_none() {
                tracing::warn!(name: "server_unknown", source = %name, "what is known of the server was not in the state folder and is taken as it is now");
            }
            self.identity.write(&identity)?;
        }
        Ok(None)
    }
}

fn advanced(slot: &str, confirmed: Lsn, from: Lsn) -> String {
    format!("replication slot {slot} was moved on to {confirmed} by somebody else; what came after {from} is gone")
}

/// Where a timeline was left, by the history of a later one: lines of `timeline <tab> LSN <tab> reason`.
fn left_timeline(history: &str, timeline: u32) -> Option<Lsn> {
    history.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()?.parse::<u32>().ok()? == timeline).then(|| fields.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timelines_are_left_where_their_history_says() {
        let history = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000110\tbefore 2026-01-01\n";
        assert_eq!(left_timeline(history, 1), Some(Lsn(0x300_0000)));
        assert_eq!(left_timeline(history, 2), Some(Lsn(0x500_0110)));
        assert_eq!(left_timeline(history, 3), None);
        assert_eq!(left_timeline("1\tnonsense", 1), None);
    }
}
