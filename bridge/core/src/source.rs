//! What a source connector implements.

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{
    ConnectorError, Micros, Position, SourceId, Statistics, TableEvent, TableName, TableSchema, VirtualColumn,
};

/// Events of several tables, in the source's order. The stream ends after the last event; an
/// error ends it too and makes the whole poll void.
pub type EventStream = BoxStream<'static, Result<(TableName, TableEvent), ConnectorError>>;

/// The content of some tables at one position.
pub struct Snapshot {
    /// The position at which all tables were read.
    pub position: Position,
    /// When that position was committed at the source, by the source's clock; or a moment after that, if it is not known
    /// better: nothing in the snapshot was committed later.
    pub commit_time: Option<Micros>,
    /// Number of rows to come, if the source knows; for progress bars.
    pub rows_estimate: Option<u64>,
    /// The rows as [`TableEvent::Rows`] or upserts.
    pub events: EventStream,
}

/// What a poll found after `from`.
pub enum Polled {
    /// Nothing happened.
    Idle,
    /// The source advanced, but no wanted table changed in a way that matters.
    Advanced {
        /// The new position.
        to: Position,
    },
    /// Whole source transactions, all of `(from, to]`.
    Changes {
        /// The new position.
        to: Position,
        /// The latest commit among them, by the source's clock.
        commit_time: Option<Micros>,
        /// The changes to the wanted tables.
        events: EventStream,
    },
    /// The next transaction changes the columns or the identity of wanted tables, or what their virtual columns are. Everything
    /// before it has been offered, or is part of the tables' content at `at` as well; rows after `at` have the new schema. The caller plans anew
    /// with [`Source::tables`] at `at` and then polls from `at`, which counts as consumed.
    SchemaChanged {
        /// The transaction with the change; row changes of wanted tables in it are part of the
        /// new tables' content at `at`.
        at: Position,
        /// What changed, for people: "table main.orders: column note was added".
        reason: String,
    },
    /// What happened after `from` cannot be known any more: the snapshot has expired, the slot
    /// was lost. The caller rebuilds from a fresh snapshot or stops, as configured.
    Expired {
        /// What is gone, for people: "snapshot 41 of lake has expired".
        reason: String,
    },
}

/// What to do when the changes after a position can no longer be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpired {
    /// Rebuild the views from the present snapshot; downstream sees only real differences.
    Rebuild,
    /// Stop with exit 3.
    Stop,
}

/// Something about a source that a person should know or mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it keeps the pipeline from running.
    pub severity: Severity,
    /// The object and the fact: "the server has wal_level = replica, logical decoding needs logical".
    pub fact: String,
    /// What to do, where a command or SQL does it: "ALTER SYSTEM SET wal_level = 'logical'".
    pub fix: Option<String>,
}

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As it should be; told when somebody asks for everything.
    Good,
    /// It works, but something may come of it.
    Warning,
    /// The pipeline cannot run so.
    Fault,
}

/// From where on a source that forgets can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// The oldest position that [`poll`](Source::poll) can begin at.
    pub oldest: Position,
    /// When it was committed, by the source's clock.
    pub oldest_at: Option<Micros>,
    /// When the position that was asked about was committed; `None` also where that is gone.
    pub read_at: Option<Micros>,
}

/// At which positions a source can read whole tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshots {
    /// At any position that has not expired: a lake.
    AnyPosition,
    /// Only as they are now: a database. The position of a [`Snapshot`] is then one that the source
    /// chose, at or after every position that it named before; tables that are not in the snapshot are brought to it by polling
    /// until there.
    PresentOnly,
}

/// A source of table changes.
///
/// Calls do not overlap. The order is: [`tables`](Source::tables) once at
/// the start (and after a schema change), [`snapshot`](Source::snapshot) when tables are loaded,
/// then [`poll`](Source::poll) and [`acknowledge`](Source::acknowledge) for ever. Every call may
/// be repeated with the same arguments and then answers the same, as long as the source still has
/// the data; a cancelled call leaves nothing behind. Errors of kind `Retry` may be tried again
/// with the same arguments.
#[async_trait]
pub trait Source: Send {
    /// The source's type and name.
    fn id(&self) -> &SourceId;

    /// What to do when [`Polled::Expired`] is answered.
    fn on_expired(&self) -> OnExpired;

    /// Where whole tables can be read.
    fn snapshots(&self) -> Snapshots {
        Snapshots::AnyPosition
    }

    /// The columns that can be read of each row besides those of its table. Views may name them; they are then among
    /// [`TableSchema::columns`], the last of them, wherever tables are wanted.
    fn virtual_columns(&self) -> Vec<VirtualColumn> {
        Vec::new()
    }

    /// The present end of the source: everything up to it is committed and visible.
    async fn head(&mut self) -> Result<Position, ConnectorError>;

    /// From where on it can still be read, where the source forgets without asking who has read; `None` where it does not.
    /// `read` is how far it was read.
    async fn horizon(&mut self, _read: &Position) -> Result<Option<Horizon>, ConnectorError> {
        Ok(None)
    }

    /// The same for people: how long what was read last, and all after it, will be kept, and how to forget without harm.
    async fn retention(&mut self, _read: &Position) -> Result<Vec<Finding>, ConnectorError> {
        Ok(Vec::new())
    }

    /// Every table that exists at `at` (`None`: now), by name; so that names can be resolved
    /// case-insensitively and near matches offered.
    async fn list(&mut self, at: Option<&Position>) -> Result<Vec<TableName>, ConnectorError>;

    /// The schemas of `wanted` at `at` (`None`: now), in the order asked. Names are exact, as
    /// [`list`](Source::list) gives them.
    async fn tables(&mut self, wanted: &[TableName], at: Option<&Position>)
    -> Result<Vec<TableSchema>, ConnectorError>;

    /// Whether everything at the source is as reading `tables` needs it: settings, privileges, space.
    /// Reads only; called before anything is written, and when a person asks.
    async fn check(&mut self, _tables: &[TableSchema]) -> Result<Vec<Finding>, ConnectorError> {
        Ok(Vec::new())
    }

    /// What is known of `tables` without reading their rows: from the server's or the lake's own books. Reads only; called when a
    /// person asks.
    async fn statistics(&mut self, _tables: &[TableSchema]) -> Result<Statistics, ConnectorError> {
        Ok(Statistics::default())
    }

    /// The whole content of `tables` at `at` (`None`: now), columns as in the schema given. A source
    /// that reads [the present only](Snapshots::PresentOnly) disregards `at`.
    async fn snapshot(&mut self, tables: &[TableSchema], at: Option<&Position>) -> Result<Snapshot, ConnectorError>;

    /// What happened to `tables` after `from`, no further than `until` if that is given. A poll
    /// may stop earlier when it has offered about `rows_max` rows, but only at the end of a source
    /// transaction; the caller polls again.
    async fn poll(
        &mut self,
        tables: &[TableSchema],
        from: &Position,
        until: Option<&Position>,
        rows_max: u64,
    ) -> Result<Polled, ConnectorError>;

    /// Tells the source that everything up to `position` is durable here and may be forgotten
    /// there. Never called with more than that. It need not wait until a server has taken note.
    async fn acknowledge(&mut self, position: &Position) -> Result<(), ConnectorError>;

    /// Has the place that is read tell of every commit at once, or no longer; writes there, when a person asks. Answers what was
    /// done, in words; `None` where there is nothing of the kind.
    async fn announce(&mut self, _on: bool) -> Result<Option<String>, ConnectorError> {
        Ok(None)
    }

    /// A run ends: returns when what was acknowledged has reached the server. Polling may go on afterwards.
    async fn settle(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}
