//! What a view was: the table `<view>_history`, written in the transaction of the view's own table.
//!
//! Each version of a row has the half-open interval of epochs in which the view held it, and their times. An epoch closes the
//! versions that it removes and opens those that it brings, one epoch of a range after the other, so that a row which came and
//! went within one commit is there with both ends. Of equal rows without a key, every copy is a version; the newest close first.
//! Versions are found by an index: what a commit costs follows its changes.

pub(crate) mod functions;
pub(crate) mod held;
mod indexes;
mod versions;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use tidegate_core::schema::with_duckdb_type;
use tidegate_core::{Committed, Epoch, EpochHeader, Micros, RowIdentity, ViewInfo, ViewName};
use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::{PostgresError, Session, Value, quote_ident, quote_literal, quote_name};

use crate::address::Address;
use crate::catalog::{MARK, Relation};
use crate::changes::names;
use crate::column::Column;
use crate::error::PostgresSinkError;
use crate::history::held::{HISTORY, Held, Moment, Since, TIME};
use crate::stage::Staged;

/// The columns after the view's own: name, type and whether there is always a value.
pub(crate) const COLUMNS: [(&str, &str, &str); 4] = [
    ("valid_from", "timestamp with time zone", " NOT NULL"),
    ("valid_to", "timestamp with time zone", ""),
    ("_valid_from_epoch", "bigint", " NOT NULL"),
    ("_valid_to_epoch", "bigint", ""),
];
/// What the longest of our names has behind the view's.
const SUFFIX_BYTES: usize = 8;
/// Bytes of a name in PostgreSQL.
const NAME_BYTES_MAX: usize = 63;
/// PostgreSQL's limit on the columns of a table, less ours.
const COLUMNS_MAX: usize = 1_596;

/// The table of a view's history.
pub(crate) fn table_of(view: &str) -> String {
    format!("{view}_history")
}

/// The comment on a table with versions of a view, by which it is known under every name.
pub(crate) fn comment(view: &ViewName) -> String {
    format!("{MARK}what view {view} was")
}

/// A view's versions as if they were a view.
pub(crate) fn versions_of(view: &ViewInfo) -> ViewInfo {
    let of = |(name, pg_type, _): &(&str, &str, &str)| match *pg_type {
        "bigint" => with_duckdb_type(Field::new(*name, DataType::Int64, true), "BIGINT"),
        _ => {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            with_duckdb_type(Field::new(*name, utc, true), "TIMESTAMP WITH TIME ZONE")
        }
    };
    let own = view.schema.fields().iter().cloned();
    let fields: Vec<_> = own.chain(COLUMNS.iter().map(of).map(Arc::new)).collect();
    ViewInfo::new(table_of(view.name.as_str()).as_str().into(), Arc::new(Schema::new(fields)), RowIdentity::WholeRow)
}

/// Refuses views whose history PostgreSQL cannot hold.
pub(crate) fn check(view: &ViewInfo, columns: &[Column]) -> Result<(), PostgresSinkError> {
    if view.history.is_none() {
        return Ok(());
    }
    let refuse = |fact: String| Err(PostgresSinkError::Unsupported { view: view.name.clone(), fact });
    let name = view.name.as_str();
    if name.len() > NAME_BYTES_MAX - SUFFIX_BYTES {
        let most = NAME_BYTES_MAX - SUFFIX_BYTES;
        return refuse(format!(
            "its name has {} bytes, and that of a view with a history at most {most}: rename the view",
            name.len()
        ));
    }
    if [HISTORY, TIME].contains(&table_of(name).as_str()) {
        return refuse("the name of its history is taken by a table of Tidegate's own: rename the view".to_owned());
    }
    if columns.len() > COLUMNS_MAX {
        return refuse(format!("it has {} columns, and with a history at most {COLUMNS_MAX}", columns.len()));
    }
    match COLUMNS.iter().find(|(ours, ..)| columns.iter().any(|column| column.name.eq_ignore_ascii_case(ours))) {
        Some((ours, ..)) => refuse(format!(
            "column {ours}: a history has a column of this name: give it another name, or leave out `temporal = true`"
        )),
        None => Ok(()),
    }
}

/// What comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coming {
    /// Changes to what is there.
    Changes,
    /// The whole content.
    Whole,
    /// The whole content of the epoch that the history holds already: the view's table was lost.
    Again,
}

/// The history of a view in a commit.
pub(crate) struct Past<'a> {
    pub(crate) session: &'a Session,
    pub(crate) schema: &'a str,
    pub(crate) view: &'a ViewInfo,
    pub(crate) columns: &'a [Column],
    pub(crate) address: &'a Address,
    /// The table of this name, and what is said about it.
    pub(crate) found: Option<&'a Relation>,
    pub(crate) held: Option<&'a Held>,
    /// What the view's table held before this commit.
    pub(crate) committed: Option<Committed>,
    /// The last epoch of this commit.
    pub(crate) epoch: u64,
}

/// How the history that is there stands to the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none.
    Absent,
    /// It holds what the view's table holds.
    GoesOn,
    /// The view went on without it; it holds until then.
    Behind(Moment),
    /// What comes does not follow from it: it ends where this says.
    Other(Moment),
}

impl Past<'_> {
    /// Prepares the history for the changes after an epoch, the first of which is `first`: before the view's table changes.
    pub(crate) async fn before_changes(&self, after: Epoch, first: Moment) -> Result<Option<Since>, PostgresSinkError> {
        match self.state(first, Coming::Changes)? {
            State::GoesOn => {
                self.indexes().await?;
                return Ok(None);
            }
            State::Absent => self.create().await?,
            State::Behind(until) => {
                self.indexes().await?;
                self.close_all(until).await?;
            }
            State::Other(until) => {
                self.archive(until).await?;
                self.create().await?;
            }
        }
        if after == Epoch::ZERO {
            // The view was empty, but since when that can be asked is said by what comes.
            return Ok(Some(Since { epoch: first.epoch, moment: first.latest_commit }));
        }
        // When the rows came is not known: they are said to have come as late as the times of what follows allow.
        self.snapshot(Moment { epoch: after, time: Micros(first.time.0.saturating_sub(1)), ..first }).await?;
        Ok(Some(Since { epoch: after, moment: first.latest_commit }))
    }

    /// Brings the history to the whole content of the view at an epoch, once the view's table has it.
    pub(crate) async fn replace(&self, header: &EpochHeader) -> Result<Option<Since>, PostgresSinkError> {
        let at = Moment::from(header);
        let since = Some(Since { epoch: at.epoch, moment: at.latest_commit });
        let holds = Committed { epoch: header.epoch, hash: header.hash };
        let coming = if self.held.is_some_and(|held| held.last == holds) { Coming::Again } else { Coming::Whole };
        let begun = match self.state(at, coming)? {
            State::GoesOn => {
                self.indexes().await?;
                self.run(&versions::comparison(self, at, coming == Coming::Again)).await?;
                None
            }
            State::Behind(until) => {
                self.indexes().await?;
                self.close_all(until).await?;
                self.snapshot(at).await?;
                since
            }
            State::Absent => {
                self.create().await?;
                self.snapshot(at).await?;
                since
            }
            State::Other(until) => {
                self.archive(until).await?;
                self.create().await?;
                self.snapshot(at).await?;
                since
            }
        };
        self.run(&[format!("ANALYZE {}", self.table())]).await?;
        Ok(begun)
    }

    /// Applies the staged changes, epoch by epoch.
    pub(crate) async fn apply(&self, index: usize, staged: &Staged) -> Result<(), PostgresSinkError> {
        if staged.rows > 0 { versions::apply(self, index, staged).await } else { Ok(()) }
    }

    /// Notes which moments epochs stand for, and where the history stands now.
    pub(crate) async fn note(
        &self,
        moments: &[Moment],
        since: Option<Since>,
        header: &EpochHeader,
    ) -> Result<(), PostgresSinkError> {
        let view = self.view.name.as_str();
        held::note_times(self.session, self.schema, view, moments).await?;
        held::note(self.session, self.schema, view, self.key().as_deref(), since, header).await
    }

    /// The history's quoted name.
    pub(crate) fn table(&self) -> String {
        quote_name([self.schema, &self.name()])
    }

    /// The view's quoted name.
    fn present(&self) -> String {
        quote_name([self.schema, self.view.name.as_str()])
    }

    pub(crate) fn name(&self) -> String {
        table_of(self.view.name.as_str())
    }

    /// The names of the key's columns, unless rows have none.
    pub(crate) fn key(&self) -> Option<Vec<String>> {
        let key = self.address.columns(self.columns);
        (*self.address != Address::Rows).then(|| key.iter().map(|index| self.columns[*index].name.clone()).collect())
    }

    fn state(&self, at: Moment, coming: Coming) -> Result<State, PostgresSinkError> {
        let Some(found) = self.found else { return Ok(State::Absent) };
        let Some(held) = self.held else {
            return Err(PostgresSinkError::Foreign { schema: self.schema.to_owned(), name: self.name() });
        };
        let state = standing(held, self.committed, at, coming);
        let ours: Vec<Column> = self.columns.iter().cloned().chain(COLUMNS.iter().map(extra)).collect();
        let difference = found.difference(&ours).or_else(|| (held.key != self.key()).then(|| "its key".to_owned()));
        match (state, difference) {
            (state @ State::Other(_), _) | (state, None) => Ok(state),
            // The view has other columns from this moment on.
            (State::GoesOn, Some(_)) if coming == Coming::Whole => Ok(State::Other(at)),
            (State::GoesOn, Some(difference)) if coming == Coming::Changes => Err(PostgresSinkError::Altered {
                schema: self.schema.to_owned(),
                view: self.name().as_str().into(),
                difference,
            }),
            (_, Some(_)) => Ok(State::Other(held.moment().next())),
        }
    }

    async fn create(&self) -> Result<(), PostgresSinkError> {
        let (table, view) = (self.table(), &self.view.name);
        let own = self.columns.iter().map(|column| format!("{} {}", quote_ident(&column.name), column.pg_type));
        let ours = COLUMNS.iter().map(|(name, pg_type, not_null)| format!("{name} {pg_type}{not_null}"));
        let columns: Vec<_> = own.chain(ours).collect();
        let comment = quote_literal(&comment(view));
        self.run(&[
            format!("CREATE TABLE {table} ({})", columns.join(", ")),
            format!("COMMENT ON TABLE {table} IS {comment}"),
        ])
        .await?;
        self.make_indexes(&[]).await
    }

    /// Makes the indexes that are not there.
    async fn indexes(&self) -> Result<(), PostgresSinkError> {
        let there: Vec<&str> =
            self.found.iter().flat_map(|found| &found.indexes).map(|index| index.comment.as_str()).collect();
        self.make_indexes(&there).await
    }

    async fn make_indexes(&self, there: &[&str]) -> Result<(), PostgresSinkError> {
        for index in indexes::of(self) {
            if there.contains(&index.comment.as_str()) {
                continue;
            }
            self.run(&[index.sql]).await?;
            // The server chose its name: the one that has no comment yet.
            let made = "SELECT i.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                        JOIN pg_index x ON x.indrelid = c.oid JOIN pg_class i ON i.oid = x.indexrelid \
                        WHERE n.nspname = $1::name AND c.relname = $2::name AND i.xmin = pg_current_xact_id()::xid \
                        AND obj_description(i.oid, 'pg_class') IS NULL";
            let rows = self
                .session
                .query("naming an index", made, &[(&self.schema, Type::TEXT), (&self.name(), Type::TEXT)])
                .await?;
            let statements: Vec<_> = rows
                .iter()
                .map(|row| crate::address::comment(&quote_name([self.schema, row.get::<_, &str>(0)]), &index.comment))
                .collect();
            self.run(&statements).await?;
        }
        Ok(())
    }

    /// Opens a version for every row that the view's table holds.
    async fn snapshot(&self, at: Moment) -> Result<(), PostgresSinkError> {
        let names = names(self.columns);
        self.run(&[format!(
            "INSERT INTO {} ({names}, valid_from, _valid_from_epoch) SELECT {names}, {}, {} FROM {}",
            self.table(),
            at.sql(),
            at.epoch,
            self.present()
        )])
        .await
    }

    /// Closes what is open.
    async fn close_all(&self, at: Moment) -> Result<(), PostgresSinkError> {
        self.run(&[format!(
            "UPDATE {} SET valid_to = {}, _valid_to_epoch = {} WHERE _valid_to_epoch IS NULL",
            self.table(),
            at.sql(),
            at.epoch
        )])
        .await
    }

    /// Ends a history and puts it aside under another name. The moments of its epochs are forgotten: another log may have
    /// the same numbers.
    async fn archive(&self, until: Moment) -> Result<(), PostgresSinkError> {
        self.close_all(until).await?;
        let candidates = aside(self.view.name.as_str(), until.epoch);
        let sql = "SELECT name FROM unnest($2) WITH ORDINALITY u (name, at) WHERE NOT EXISTS (SELECT FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1::name AND c.relname = u.name::name) \
                   ORDER BY at LIMIT 1";
        let values: &[Value<'_>] = &[(&self.schema, Type::TEXT), (&candidates, Type::TEXT_ARRAY)];
        let free = self.session.query("naming a history", sql, values).await?;
        let Some(name) = free.first().map(|row| row.get::<_, String>(0)) else {
            return Err(PostgresSinkError::Foreign { schema: self.schema.to_owned(), name: candidates[0].clone() });
        };
        let view = quote_literal(self.view.name.as_str());
        self.run(&[
            format!("ALTER TABLE {} RENAME TO {}", self.table(), quote_ident(&name)),
            format!("DELETE FROM {} WHERE view = {view}", quote_name([self.schema, TIME])),
        ])
        .await
    }

    pub(crate) async fn run(&self, statements: &[String]) -> Result<(), PostgresSinkError> {
        if statements.is_empty() {
            return Ok(());
        }
        let done = self.session.batch("writing a history", statements).await;
        done.map(|_| ()).map_err(|error| self.failed(error))
    }

    pub(crate) fn failed(&self, error: PostgresError) -> PostgresSinkError {
        PostgresSinkError::writing(self.schema, &self.name().as_str().into(), self.epoch, error)
    }
}

fn extra((name, pg_type, _): &(&str, &str, &str)) -> Column {
    Column {
        name: (*name).to_owned(),
        kind: crate::column::Kind::Json,
        pg_type: (*pg_type).to_owned(),
        not_null: false,
    }
}

/// How a history stands to what comes at a moment.
fn standing(held: &Held, committed: Option<Committed>, at: Moment, coming: Coming) -> State {
    let until = held.moment().next();
    if coming != Coming::Again && (at.epoch <= held.last.epoch || at.time <= held.time) {
        return State::Other(until);
    }
    match committed {
        Some(committed) if committed == held.last => State::GoesOn,
        Some(committed) if committed.epoch > held.last.epoch => State::Behind(until),
        None if coming != Coming::Changes => State::GoesOn,
        _ => State::Other(until),
    }
}

/// Names for a history that is put aside, of which the first free one is taken.
fn aside(view: &str, until: Epoch) -> Vec<String> {
    (1..100)
        .map(|number| {
            let more = if number == 1 { String::new() } else { format!("_{number}") };
            let suffix = format!("_history_until_{until}{more}");
            let mut end = view.len().min(NAME_BYTES_MAX - suffix.len());
            while !view.is_char_boundary(end) {
                end -= 1;
            }
            format!("{}{suffix}", &view[..end])
        })
        .collect()
}
