//! A PostgreSQL database as a target: one table a view, with PostgreSQL's own types, to serve results to applications.
//!
//! Beside the tables stands `_tidegate_epochs(view, epoch, hash, frontier, committed_at)`, written in the same
//! transaction: the last row of a view says what its table holds, the earlier ones which source positions the commits
//! before stood for (a thousand are kept).
//!
//! A commit stages its deltas in temporary tables by COPY and then writes all its views in one transaction, so that
//! every reader sees all of them at one epoch. Rows are found by an index, by key or by a hash of the whole row, and
//! the cost of a commit follows its changes. Updates happen in place.
//!
//! Removed and updated rows must be there: if a person changed the table, the sink stops and says so instead of
//! guessing.

mod address;
mod catalog;
mod changes;
mod column;
mod commit;
pub mod config;
mod decode;
mod encode;
pub mod error;
mod history;
mod link;
mod numeric;
mod read;
mod remove;
mod stage;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Micros, Removal, Sink, ViewInfo, ViewName, ZSet,
};
use tidegate_postgres::Connection;

use crate::catalog::{Catalog, EPOCHS};
pub use crate::config::PostgresConfig;
pub use crate::error::PostgresSinkError;
use crate::error::connector_error;
use crate::history::functions::{self, OfView};
use crate::history::held::{HISTORY, Histories, TIME};
use crate::link::Link;

/// Where `committed_at` comes from.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How often the tables are committed when the pipeline file does not say: a commit takes some milliseconds, and
/// readers are never kept waiting.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

/// A sink that keeps views as tables of one schema of a PostgreSQL database.
pub struct PostgresSink {
    name: String,
    connection: Connection,
    schema: String,
    clock: Clock,
    /// The session of the last commit, as long as it is in order.
    link: Option<Link>,
}

impl PostgresSink {
    /// A sink of this name under `[sinks.…]`; `base` is the pipeline file's folder. Connects to nothing yet.
    pub fn new(
        name: impl Into<String>,
        config: &PostgresConfig,
        base: &Path,
        clock: Clock,
    ) -> Result<Self, ConnectorError> {
        let name = name.into();
        let refuse = |message: String| connector_error(&name, PostgresSinkError::Config { message });
        let connection = Connection::parse(&config.url, base).map_err(|error| refuse(error.to_string()))?;
        let schema = config.schema.clone();
        if schema.is_empty() || schema.len() > 63 || schema.contains('\0') {
            return Err(refuse("`schema` is not a schema's name: it has 1 to 63 bytes".to_owned()));
        }
        Ok(PostgresSink { name, connection, schema, clock, link: None })
    }

    /// How long the server has for an answer before it is asked, over another connection, whether it still works on it.
    #[must_use]
    pub fn with_answer_within(mut self, time: Duration) -> Self {
        self.connection = self.connection.with_answer_within(time);
        self
    }

    async fn link(&mut self) -> Result<Link, PostgresSinkError> {
        match self.link.take().filter(|link| !link.session.is_closed()) {
            Some(link) => Ok(link),
            None => Link::open(&self.connection, &self.schema).await,
        }
    }

    async fn committed(
        &mut self,
        views: &[ViewInfo],
    ) -> Result<BTreeMap<ViewName, Option<Committed>>, PostgresSinkError> {
        views.iter().try_for_each(check_view)?;
        check_names(views)?;
        let link = self.link().await?;
        let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
        let others = commit::histories_of(views.iter());
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let catalog = Catalog::read(&link.session, &self.schema, &names, &others).await?;
        self.check_histories(&link, views, &catalog, &names).await?;
        if let Some(view) = views.iter().find(|view| catalog.is_foreign(&view.name)) {
            return Err(PostgresSinkError::Foreign { schema: self.schema.clone(), name: view.name.to_string() });
        }
        let held: BTreeMap<_, _> = views.iter().map(|v| (v.name.clone(), catalog.committed(&v.name))).collect();
        let lacks_history = |view: &ViewInfo| {
            view.history.is_some() && !catalog.relations.contains_key(&history::table_of(view.name.as_str()))
        };
        if (held.values().any(Option::is_none) || views.iter().any(lacks_history)) && !link.can_create {
            let (schema, user) = (&self.schema, self.connection.user());
            let (schema, user) = (tidegate_postgres::quote_ident(schema), tidegate_postgres::quote_ident(user));
            return Err(PostgresSinkError::Setup {
                fact: format!(
                    "tables cannot be made in schema {schema}: run GRANT CREATE ON SCHEMA {schema} TO {user}"
                ),
            });
        }
        self.link = Some(link);
        Ok(held)
    }

    /// Refuses what stands where histories and their functions would be.
    async fn check_histories(
        &self,
        link: &Link,
        views: &[ViewInfo],
        catalog: &Catalog,
        names: &[&str],
    ) -> Result<(), PostgresSinkError> {
        let kept: Vec<&ViewInfo> = views.iter().filter(|view| view.history.is_some()).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let histories = Histories::read(&link.session, &self.schema, catalog, names).await?;
        let mut of_views = Vec::new();
        for view in kept {
            let name = history::table_of(view.name.as_str());
            if catalog.relations.contains_key(&name) && !histories.held.contains_key(view.name.as_str()) {
                return Err(PostgresSinkError::Foreign { schema: self.schema.clone(), name });
            }
            of_views.push((view, column::columns(view)?));
        }
        let of_views: Vec<OfView<'_>> =
            of_views.iter().map(|(view, columns)| OfView { view, columns, is_new: false }).collect();
        functions::check(&link.session, &self.schema, &of_views).await
    }

    /// The versions that the target holds of a view with a history: the view's columns, then `valid_from`, `valid_to`,
    /// `_valid_from_epoch` and `_valid_to_epoch`. Empty when there is no such table.
    pub async fn read_history(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        let versions = history::versions_of(view);
        self.read(&versions).await
    }

    async fn commit_range(&mut self, commit: Commit) -> Result<CommitOutcome, PostgresSinkError> {
        commit.views.iter().try_for_each(|part| check_view(&part.view))?;
        let mut link = self.link().await?;
        let outcome = commit::commit(&mut link, &self.schema, commit, (self.clock)()).await?;
        // A session with a transaction of unknown state is closed, and the server rolls back.
        if matches!(outcome, CommitOutcome::Committed { .. }) {
            self.link = Some(link);
        }
        Ok(outcome)
    }

    async fn remove_view(&mut self, view: &ViewName) -> Result<Removal, PostgresSinkError> {
        let mut link = self.link().await?;
        let removal = remove::remove(&link.session, &self.schema, view).await?;
        link.functions.remove(view);
        self.link = Some(link);
        Ok(removal)
    }
}

#[async_trait]
impl Sink for PostgresSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        COMMIT_INTERVAL
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.committed(views).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.commit_range(commit).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        let read = async {
            let link = Link::open(&self.connection, &self.schema).await?;
            read::rows(&self.name, link, &self.schema, view).await
        };
        read.await.map_err(|error| connector_error(&self.name, error))
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        self.remove_view(view).await.map_err(|error| connector_error(&self.name, error))
    }
}

/// Refuses views that a PostgreSQL database cannot hold as they are.
fn check_view(view: &ViewInfo) -> Result<(), PostgresSinkError> {
    if [EPOCHS, HISTORY, TIME].contains(&view.name.as_str()) {
        let fact = "the name is taken by a table of Tidegate's own: rename the view".to_owned();
        return Err(PostgresSinkError::Unsupported { view: view.name.clone(), fact });
    }
    history::check(view, &column::columns(view)?)
}

/// Refuses a view that has the name of another's history.
fn check_names(views: &[ViewInfo]) -> Result<(), PostgresSinkError> {
    for view in views.iter().filter(|view| view.history.is_some()) {
        let name = history::table_of(view.name.as_str());
        if let Some(other) = views.iter().find(|other| other.name.as_str() == name) {
            let fact = format!("the name is taken by the history of view {}: rename one of them", view.name);
            return Err(PostgresSinkError::Unsupported { view: other.name.clone(), fact });
        }
    }
    Ok(())
}
