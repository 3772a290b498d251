//! A source as the loop sees it: what it answered last, and the call that is under way.
//!
//! Polls and looks at a source's end run in tasks of their own that live on over rounds, so that a
//! source that hangs holds up nobody else. A lock keeps its calls from overlapping; before anything
//! else is asked of it, [`Feed::cancel`] ends what is under way, which leaves nothing behind by the
//! contract of [`Source`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tidegate_core::{
    ConnectorError, ErrorKind, Horizon, Micros, OnExpired, Polled, Position, Snapshots, Source, SourceId, TableSchema,
};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use crate::call::Call;
use crate::observer::Stretch;
use crate::retry::Backoff;
use crate::{RuntimeError, SourceSlot};

/// How long a source may take to say where it ends, or to take note of what is durable here.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause after which a source that said that nothing happened is asked again, when it is known
/// that something has.
const SHORT_PAUSE: Duration = Duration::from_millis(20);

/// The present end of a source, and from where on it can be read.
struct Ends {
    head: Position,
    horizon: Option<Horizon>,
    /// The position that the horizon was asked about.
    read: Position,
}

/// A failure of a source.
pub(crate) struct Trouble {
    /// When it is tried again.
    pub backoff: Backoff,
    /// What it said.
    pub error: String,
}

/// A source and how it fares.
pub(crate) struct Feed {
    id: SourceId,
    /// What to do when its changes are gone, by what is configured.
    on_expired: OnExpired,
    /// Whether it was not yet read since the state was restored from a backup.
    pub restored: bool,
    /// Where it can read whole tables.
    pub snapshots: Snapshots,
    /// The time between two polls that find nothing.
    pub poll_interval: Duration,
    /// Why it is left alone for a while.
    pub trouble: Option<Trouble>,
    /// When it last answered that nothing happened.
    pub idle_since: Option<Instant>,
    /// Whether it was polled in this run.
    pub asked: bool,
    /// Its end, as far as it was seen.
    pub head: Option<Position>,
    /// From where on it could be read, when that was last looked at.
    pub horizon: Option<Horizon>,
    /// A position, and when the source committed it, as far as that was told.
    committed: Option<(Position, Micros)>,
    source: Arc<Mutex<Box<dyn Source>>>,
    wake: Option<Wake>,
    /// Whether it called since its last poll began.
    woken: bool,
    asking: Option<Asking>,
    looking: Option<Call<Option<Ends>>>,
    /// What it was told last to be durable.
    told: Option<Position>,
}

/// What a poll answered.
pub(crate) struct Answer {
    /// The position that was asked about.
    pub from: Position,
    pub polled: Result<Polled, ConnectorError>,
    /// What to do if its changes are gone; that may depend on why.
    on_expired: OnExpired,
    /// When it was asked and when it answered.
    pub time: Stretch,
}

/// A poll.
enum Asking {
    UnderWay(Call<Answer>),
    Answered(Answer),
}

impl Feed {
    pub fn new(slot: SourceSlot) -> Feed {
        Feed {
            id: slot.source.id().clone(),
            on_expired: slot.source.on_expired(),
            restored: false,
            snapshots: slot.source.snapshots(),
            poll_interval: slot.poll_interval,
            trouble: None,
            idle_since: None,
            asked: false,
            head: None,
            horizon: None,
            committed: None,
            source: Arc::new(Mutex::new(slot.source)),
            wake: slot.wake.map(Wake::new),
            woken: false,
            asking: None,
            looking: None,
            told: None,
        }
    }

    pub fn id(&self) -> &SourceId {
        &self.id
    }

    /// What to do when its changes are gone. Whoever restores a backup has decided that already.
    pub fn on_expired(&self) -> OnExpired {
        if self.restored { OnExpired::Rebuild } else { self.on_expired }
    }

    /// Whether its tables can only be read as they are now.
    pub fn is_present_only(&self) -> bool {
        self.snapshots == Snapshots::PresentOnly
    }

    /// The connector, for calls of one's own, after [`cancel`](Feed::cancel).
    pub fn source(&self) -> impl Future<Output = OwnedMutexGuard<Box<dyn Source>>> + use<> {
        Arc::clone(&self.source).lock_owned()
    }

    /// Whether a poll is under way, or its answer was not taken yet.
    pub fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// How long until it is to be polled.
    pub fn due_in(&mut self) -> Duration {
        self.woken |= self.wake.as_mut().is_some_and(Wake::take);
        match (&self.trouble, self.idle_since) {
            (Some(trouble), _) => trouble.backoff.due_in(),
            (None, Some(since)) if !self.woken => self.poll_interval.saturating_sub(since.elapsed()),
            (None, _) => Duration::ZERO,
        }
    }

    /// Begins a poll. What wakes the feed from here on asks for the next one.
    pub fn ask(&mut self, tables: Vec<TableSchema>, from: Position, until: Option<Position>, rows_max: u64) {
        if let Some(wake) = &mut self.wake {
            wake.take();
        }
        self.woken = false;
        let source = Arc::clone(&self.source);
        let call = Call::new(async move {
            let started = Instant::now();
            let mut source = source.lock().await;
            let polled = source.poll(&tables, &from, until.as_ref(), rows_max).await;
            Answer { from, polled, on_expired: source.on_expired(), time: Stretch::since(started) }
        });
        self.asking = Some(Asking::UnderWay(call));
    }

    /// Ready when the poll under way has its answer.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.asking {
            None => return Poll::Pending,
            Some(Asking::Answered(_)) => {}
            Some(Asking::UnderWay(call)) => {
                let answer = ready!(call.poll(cx));
                self.asking = Some(Asking::Answered(answer));
            }
        }
        Poll::Ready(())
    }

    /// Ready when the source calls. One that is left alone for a while is not listened to, nor is one
    /// that has called already: both keep their call.
    pub fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let listens = !self.woken && self.trouble.is_none();
        let Some(wake) = self.wake.as_mut().filter(|_| listens) else { return Poll::Pending };
        ready!(wake.poll(cx));
        self.woken = true;
        Poll::Ready(())
    }

    /// The answer, if it is there.
    pub fn take_answer(&mut self) -> Option<Answer> {
        match self.asking.take()? {
            Asking::Answered(answer) => {
                self.on_expired = answer.on_expired;
                Some(answer)
            }
            under_way => {
                self.asking = Some(under_way);
                None
            }
        }
    }

    /// The error that says that its changes are gone.
    pub fn expired(&self, reason: String) -> RuntimeError {
        let source = &self.id.name;
        let way_out = match self.snapshots {
            Snapshots::AnyPosition => format!(
                "run 'tidegate resnapshot PIPELINE {source}' to rebuild the views from its present content, or set \
                 on_expired_snapshot = \"fallback\" for this source to have that done by itself"
            ),
            Snapshots::PresentOnly => format!(
                "run 'tidegate resnapshot PIPELINE {source}' to copy its tables again, or set on_slot_lost = \
                 \"resnapshot\" for this source to have that done by itself"
            ),
        };
        RuntimeError::Expired { source_id: self.id.clone(), reason, way_out }
    }

    /// Ends what is under way. A poll that was is due again.
    pub async fn cancel(&mut self) {
        if let Some(asking) = self.asking.take() {
            self.idle_since = None;
            if let Asking::UnderWay(call) = asking {
                call.cancel().await;
            }
        }
        if let Some(looking) = self.looking.take() {
            looking.cancel().await;
        }
    }

    /// Waits until it makes sense to ask once more for what must be there.
    pub async fn pause(&mut self) {
        self.idle_since = None;
        let call = async {
            match &mut self.wake {
                Some(wake) => std::future::poll_fn(|cx| wake.poll(cx)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = call => {}
            () = tokio::time::sleep(SHORT_PAUSE) => {}
        }
    }

    /// Takes note of when a position was committed, where that is told.
    pub fn note_commit(&mut self, position: Position, time: Option<Micros>) {
        if let Some(time) = time {
            self.committed = Some((position, time));
        }
    }

    /// When a position was committed, if that is known.
    pub fn committed_at(&self, position: &Position) -> Option<Micros> {
        self.committed.filter(|(known, _)| known == position).map(|(_, time)| time)
    }

    /// Looks where the source ends, for people, and takes note of what an earlier look found. A
    /// source that is busy, in trouble or slow keeps what was known.
    pub fn look_at_head(&mut self, read: Position) {
        if let Some(looking) = self.looking.take_if(|looking| looking.is_finished())
            && let Some(Some(ends)) = looking.now_or_never()
        {
            (self.head, self.horizon) = (Some(ends.head), ends.horizon);
            // Of what was read meanwhile, the poll told.
            if ends.read == read {
                self.note_commit(read, ends.horizon.and_then(|horizon| horizon.read_at));
            }
        }
        if self.looking.is_none() && self.asking.is_none() && self.trouble.is_none() {
            let source = Arc::clone(&self.source);
            self.looking = Some(Call::new(async move {
                let ends = async {
                    let mut source = source.lock().await;
                    let (head, horizon) = (source.head().await?, source.horizon(&read).await?);
                    Ok::<Ends, ConnectorError>(Ends { head, horizon, read })
                };
                tokio::time::timeout(PATIENCE, ends).await.ok()?.ok()
            }));
        }
    }

    /// The run ends: what the source was told is to reach its server. One that does not manage in time is told again by
    /// the next run.
    pub async fn settle(&mut self) {
        self.cancel().await;
        let settled = async { self.source.lock().await.settle().await };
        match tokio::time::timeout(PATIENCE * 3, settled).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(source = %self.id, error = %tidegate_core::chain(&error), "the source has not settled");
            }
            Err(_) => tracing::debug!(source = %self.id, "the source has not settled in time"),
        }
    }

    /// Tells the source what is durable here. One that cannot be told now is told the next time: it
    /// is busy or in trouble, does not answer in time, or answers `Retry`.
    pub async fn tell(&mut self, durable: &Position) -> Result<(), ConnectorError> {
        if self.asking.is_some() || self.trouble.is_some() || self.told == Some(*durable) {
            return Ok(());
        }
        let told = async { self.source.lock().await.acknowledge(durable).await };
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(())) => self.told = Some(*durable),
            Ok(Err(error)) if error.kind() != ErrorKind::Retry => return Err(error),
            Ok(Err(error)) => {
                let error = tidegate_core::chain(&error);
                tracing::warn!(name: "position_not_told", source = %self.id, %error, "the source could not be told its position");
            }
            Err(_) => {
                tracing::warn!(name: "position_not_told", source = %self.id, "the source did not take its position in time")
            }
        }
        Ok(())
    }
}

/// Listens for a source's calls all the time, so that none is lost, whoever is doing what.
struct Wake {
    notify: Arc<Notify>,
    armed: Pin<Box<OwnedNotified>>,
}

impl Wake {
    fn new(notify: Arc<Notify>) -> Wake {
        let mut armed = Box::pin(Arc::clone(&notify).notified_owned());
        armed.as_mut().enable();
        Wake { notify, armed }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.armed.poll_unpin(cx));
        *self = Wake::new(Arc::clone(&self.notify));
        Poll::Ready(())
    }

    /// Whether there was a call, which counts as heard now.
    fn take(&mut self) -> bool {
        std::future::poll_fn(|cx| self.poll(cx)).now_or_never().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_call_is_lost() {
        let notify = Arc::new(Notify::new());
        notify.notify_one();
        let mut wake = Wake::new(Arc::clone(&notify));
        assert!(wake.take() && !wake.take(), "one from before is heard once");
        notify.notify_one();
        notify.notify_one();
        assert!(wake.take(), "one while nobody waits");
        wake.take();
        notify.notify_waiters();
        assert!(wake.take(), "whichever way it is made");
        assert!(!wake.take());
        let waiting = tokio::spawn(async move { std::future::poll_fn(|cx| wake.poll(cx)).await });
        tokio::task::yield_now().await;
        notify.notify_one();
        waiting.await.unwrap();
    }
}
