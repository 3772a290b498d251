//! A task beside the stream that watches how much WAL the server holds for the slot, and writes the heartbeat. It does so
//! whether or not anybody polls: a pipeline that stands still is when WAL piles up.

use std::time::{Duration, Instant};

use tidegate_core::ErrorKind;
use tidegate_core::units::size_text;
use tokio::task::JoinHandle;

use crate::config::{OnSlotLag, Settings};
use crate::connection::Session;
use crate::error::PostgresError;
use crate::identity::{Identity, IdentityFile};
use crate::slot;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(2);
/// How often it says the same again.
const AGAIN: Duration = Duration::from_secs(60);

/// The task; it ends with this.
pub(crate) struct LagWatch(JoinHandle<()>);

impl Drop for LagWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl LagWatch {
    /// Begins to watch.
    pub fn start(settings: Settings, identity: IdentityFile) -> Self {
        LagWatch(tokio::spawn(async move {
            let mut watch = Watch { settings, identity, session: None, told: None };
            let mut looks = tokio::time::interval(EVERY);
            let mut beats = watch.settings.config.heartbeat.map(tokio::time::interval);
            looks.tick().await;
            loop {
                let beat = async {
                    match &mut beats {
                        Some(beats) => drop(beats.tick().await),
                        None => std::future::pending().await,
                    }
                };
                let done = tokio::select! {
                    _ = looks.tick() => watch.look().await,
                    () = beat => watch.beat().await.map(|()| false),
                };
                match done {
                    Ok(true) => return,
                    Ok(false) => {}
                    // The stream has the same trouble, and tells it.
                    Err(error) => {
                        tracing::debug!(source = %watch.settings.name, %error, "the slot could not be looked at");
                        watch.session = None;
                    }
                }
            }
        }))
    }
}

struct Watch {
    settings: Settings,
    identity: IdentityFile,
    session: Option<Session>,
    told: Option<Instant>,
}

impl Watch {
    async fn session(&mut self) -> Result<Session, PostgresError> {
        match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => Ok(session),
            None => self.settings.connection.session(&self.settings.name).await,
        }
    }

    /// Writes a message that is no part of any transaction and changes nothing.
    async fn beat(&mut self) -> Result<(), PostgresError> {
        let session = self.session().await?;
        let sql = "SELECT pg_logical_emit_message(false, 'tidegate', '')";
        session.query("writing the heartbeat", sql, &[]).await?;
        self.session = Some(session);
        Ok(())
    }

    /// Looks once; says whether the slot was let go.
    async fn look(&mut self) -> Result<bool, PostgresError> {
        let session = self.session().await?;
        let session = self.session.insert(session);
        let (source, name, config) = (&self.settings.name, &self.settings.slot, &self.settings.config);
        let Some(slot) = slot::look(session, name).await? else { return Ok(false) };
        if slot.held >= config.slot_lag_critical && config.on_slot_lag == OnSlotLag::Release {
            let held = size_text(slot.held);
            tracing::error!(name: "slot_dropped", %source,
                slot = %name,
                held,
                "the slot holds too much WAL and is dropped; the tables will be copied again"
            );
            // Remembered first: a slot that is gone for a reason of ours is not a slot that was lost.
            if let Some(identity) = self.identity.read()? {
                self.identity.write(&Identity { released: true, ..identity })?;
            }
            release(session, name).await?;
            return Ok(true);
        }
        if slot.held >= config.slot_lag_warn && self.told.is_none_or(|told| told.elapsed() >= AGAIN) {
            tracing::warn!(name: "slot_behind", %source, slot = %name, held = size_text(slot.held), "the slot holds back much WAL on the server");
            self.told = Some(Instant::now());
        }
        Ok(false)
    }
}

/// Drops a slot although it may be in use: by our own stream, which stands still.
async fn release(session: &Session, name: &str) -> Result<(), PostgresError> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active";
        session.query("ending the stream of the slot", sql, &[&name]).await?;
        match slot::drop_slot(session, name).await {
            Err(error) if error.kind() == ErrorKind::Retry && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            dropped => return dropped,
        }
    }
}
