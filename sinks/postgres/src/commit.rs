//! One transaction: all views of the commit, with the rows that say which epoch they stand at.
//!
//! The streams of changes are staged first, while no lock is held. Then an advisory lock for each view keeps other
//! writers of it out until the end of the transaction, and only under these locks the database is asked where the
//! views stand: of two writers the second one sees what the first has committed, and reports a conflict.

use std::time::Duration;

use tidegate_core::{
    Commit, CommitOutcome, Committed, Epoch, EpochHeader, Micros, ViewContent, ViewInfo, ViewName, failpoint,
};
use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::{Session, Value, quote_name};

use crate::address::Address;
use crate::catalog::{Catalog, EPOCHS};
use crate::changes::Changes;
use crate::column::{Column, columns};
use crate::error::PostgresSinkError;
use crate::history::functions::{self, OfView};
use crate::history::held::{HISTORY, Histories, Moment, TIME};
use crate::history::{self, Past};
use crate::link::Link;
use crate::stage::{Sending, Staged};
use crate::table::Table;

/// Rows of a view that the table of epochs keeps.
const EPOCH_ROWS_KEPT: i64 = 1_000;
/// Commits of a session between two looks at how many there are.
const PRUNE_EVERY: u64 = 500;
/// The time between two looks for versions of histories that are old enough to go.
const TRIM_EVERY: Duration = Duration::from_secs(600);

/// A view of the commit.
struct Part {
    view: ViewInfo,
    columns: Vec<Column>,
    address: Address,
    content: Content,
    /// Its history was made by this commit.
    begins: bool,
}

impl Part {
    /// The view, if it has a history.
    fn kept(&self) -> Option<OfView<'_>> {
        let Part { view, columns, begins, .. } = self;
        view.history.map(|_| OfView { view, columns, is_new: *begins })
    }
}

enum Content {
    Staged(Staged),
    Replace(Option<tidegate_core::BatchStream>),
}

/// Commits a range. After an error or a conflict the session is not used again.
pub(crate) async fn commit(
    link: &mut Link,
    schema: &str,
    commit: Commit,
    at: Micros,
) -> Result<CommitOutcome, PostgresSinkError> {
    let Commit { after, header, views } = commit;
    let last = i64::try_from(header.epoch.0).ok().filter(|epoch| epoch.checked_mul(2).is_some());
    let Some(last) = last else {
        let fact = format!("epoch {} is not a bigint", header.epoch);
        let view = views.first().map_or_else(|| ViewName::new("?"), |part| part.view.name.clone());
        return Err(PostgresSinkError::Contract { view, fact });
    };
    let mut parts = Vec::with_capacity(views.len());
    for (index, part) in views.into_iter().enumerate() {
        let columns = columns(&part.view)?;
        let address = Address::of(&part.view, &columns);
        if matches!(part.content, ViewContent::Changes(_)) {
            link.stages.prepare(&link.session, index, &columns, part.view.history).await?;
        }
        parts.push((part.view, columns, address, part.content));
    }
    let session = &link.session;
    session.execute("beginning a transaction", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
    let mut staged = Vec::with_capacity(parts.len());
    for (index, (view, columns, address, content)) in parts.into_iter().enumerate() {
        let content = match content {
            ViewContent::Replace(stream) => Content::Replace(Some(stream)),
            ViewContent::Changes(stream) => {
                let sending = Sending {
                    session,
                    schema,
                    view: &view,
                    columns: &columns,
                    address: &address,
                    after,
                    last: &header,
                };
                Content::Staged(sending.stage(index, stream).await?)
            }
        };
        staged.push(Part { view, columns, address, content, begins: false });
    }
    let names: Vec<&str> = staged.iter().map(|part| part.view.name.as_str()).collect();
    lock(session, schema, &names).await?;
    let others = histories_of(staged.iter().map(|part| &part.view));
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let catalog = Catalog::read(session, schema, &names, &others).await?;
    let changed = staged.iter().filter(|part| matches!(part.content, Content::Staged(_)));
    if let Some((view, found)) = conflict(&catalog, changed.map(|part| &part.view.name), after) {
        session.execute("ending a transaction", "ROLLBACK").await?;
        return Ok(CommitOutcome::Conflict { view, found });
    }
    let begins: Vec<String> = staged
        .iter()
        .filter(|part| after == Epoch::ZERO || matches!(part.content, Content::Replace(_)))
        .map(|part| part.view.name.to_string())
        .collect();
    if !catalog.has_epochs {
        create_epochs(session, schema).await?;
    }
    let histories = if others.is_empty() {
        Histories::default()
    } else {
        histories_prepared(session, schema, &catalog, &names).await?
    };
    let mut rows = 0;
    let work = Work { session, schema, catalog: &catalog, histories: &histories, after, header: &header };
    for (index, part) in staged.iter_mut().enumerate() {
        rows += work.write(part, index).await?;
    }
    let views: Vec<&str> = staged.iter().map(|part| part.view.name.as_str()).collect();
    note_epochs(session, schema, &views, &begins, last, &header, at).await?;
    if link.commits.is_multiple_of(PRUNE_EVERY) {
        prune_epochs(session, schema, &views).await?;
    }
    let kept: Vec<OfView<'_>> = staged.iter().filter_map(Part::kept).collect();
    let known = if kept.is_empty() { Vec::new() } else { keep_histories(link, schema, &kept, &header, at).await? };
    let session = &link.session;
    failpoint::hit("sink.postgres.before_commit");
    session.execute("committing", "COMMIT").await?;
    failpoint::hit("sink.postgres.committed");
    link.commits += 1;
    link.functions.extend(known);
    Ok(CommitOutcome::Committed { rows })
}

/// The relations that histories are made of, if any view has one.
pub(crate) fn histories_of<'v>(views: impl Iterator<Item = &'v ViewInfo>) -> Vec<String> {
    let mut names: Vec<String> =
        views.filter(|view| view.history.is_some()).map(|view| history::table_of(view.name.as_str())).collect();
    if !names.is_empty() {
        names.extend([HISTORY.to_owned(), TIME.to_owned()]);
    }
    names
}

/// Where the histories stand; their tables are there then.
async fn histories_prepared(
    session: &Session,
    schema: &str,
    catalog: &Catalog,
    views: &[&str],
) -> Result<Histories, PostgresSinkError> {
    let histories = Histories::read(session, schema, catalog, views).await?;
    if histories.tables {
        return Ok(histories);
    }
    lock(session, schema, &[HISTORY]).await?;
    let catalog = Catalog::read(session, schema, &[], &[HISTORY, TIME]).await?;
    let histories = Histories::read(session, schema, &catalog, views).await?;
    if !histories.tables {
        history::held::create(session, schema).await?;
    }
    Ok(histories)
}

/// What histories need besides their versions: functions, and room. Answers the views whose functions are there.
async fn keep_histories(
    link: &mut Link,
    schema: &str,
    kept: &[OfView<'_>],
    header: &EpochHeader,
    at: Micros,
) -> Result<Vec<ViewName>, PostgresSinkError> {
    let is_unknown = |view: &&OfView<'_>| view.is_new || !link.functions.contains(&view.view.name);
    let unknown: Vec<OfView<'_>> = kept.iter().filter(is_unknown).copied().collect();
    if !unknown.is_empty() {
        lock(&link.session, schema, &[HISTORY]).await?;
        functions::install(&link.session, schema, &unknown).await?;
    }
    let is_due =
        link.trimmed_at.is_none_or(|last| at < last || at.since(last).is_some_and(|since| since >= TRIM_EVERY));
    if is_due {
        for OfView { view, .. } in kept {
            let Some(retention) = view.history.and_then(|history| history.retention) else { continue };
            let view = view.name.as_str();
            let table = quote_name([schema, &history::table_of(view)]);
            history::held::trim(&link.session, schema, view, &table, header.time.before(retention)).await?;
        }
        link.trimmed_at = Some(at);
    }
    Ok(unknown.iter().map(|view| view.view.name.clone()).collect())
}

/// What writing the views of a commit needs to know.
struct Work<'a> {
    session: &'a Session,
    schema: &'a str,
    catalog: &'a Catalog,
    histories: &'a Histories,
    after: Epoch,
    header: &'a EpochHeader,
}

impl Work<'_> {
    /// Brings one view's table to the end of the range; answers the number of changed rows.
    async fn write(&self, part: &mut Part, index: usize) -> Result<u64, PostgresSinkError> {
        let Work { session, schema, catalog, histories, after, header } = *self;
        let Part { view, columns, address, content, begins } = part;
        let past = view.history.map(|_| Past {
            session,
            schema,
            view,
            columns,
            address,
            found: catalog.relations.get(&history::table_of(view.name.as_str())),
            held: histories.held.get(view.name.as_str()),
            committed: catalog.committed(&view.name),
            epoch: header.epoch.0,
        });
        let table = Table { session, schema, view: &view.name, columns, address, epoch: header.epoch.0 };
        let found = catalog.relations.get(view.name.as_str());
        let foreign = || PostgresSinkError::Foreign { schema: schema.to_owned(), name: view.name.to_string() };
        match content {
            Content::Replace(stream) => {
                if catalog.is_foreign(&view.name) {
                    return Err(foreign());
                }
                let Some(stream) = stream.take() else { return Ok(0) };
                // The whole content stands for the last epoch alone.
                let after = Epoch(header.epoch.0.saturating_sub(1));
                let sending = Sending { session, schema, view, columns, address, after, last: header };
                let rows = table.replace(found, &sending, stream).await?;
                if let Some(past) = past {
                    let since = past.replace(header).await?;
                    *begins = since.is_some();
                    past.note(&[header.into()], since, header).await?;
                }
                Ok(rows)
            }
            Content::Staged(staged) => {
                match found {
                    // A first commit of changes: the view was empty before.
                    None => {
                        table.create().await?;
                        table.index(None).await?;
                    }
                    Some(_) if after == Epoch::ZERO => return Err(foreign()),
                    Some(found) => {
                        if let Some(difference) = found.difference(columns) {
                            let (schema, view) = (schema.to_owned(), view.name.clone());
                            return Err(PostgresSinkError::Altered { schema, view, difference });
                        }
                        table.index(Some(found)).await?;
                    }
                }
                let since = match &past {
                    Some(past) => {
                        let first = staged.epochs.first().copied().unwrap_or_else(|| header.into());
                        past.before_changes(after, first).await?
                    }
                    None => None,
                };
                if staged.rows > 0 {
                    let changes = Changes {
                        session,
                        schema,
                        view: &view.name,
                        table: &table.name(),
                        columns,
                        address,
                        index,
                        epoch: header.epoch.0,
                    };
                    changes.apply(staged).await?;
                }
                if let Some(past) = past {
                    past.apply(index, staged).await?;
                    *begins = since.is_some();
                    // A history that begins says so, even where nothing changes.
                    let first = [Moment::from(header)];
                    let moments = if staged.epochs.is_empty() && since.is_some() { &first[..] } else { &staged.epochs };
                    past.note(moments, since, header).await?;
                }
                Ok(staged.rows)
            }
        }
    }
}

/// Which view stands elsewhere than the range begins.
fn conflict<'v>(
    catalog: &Catalog,
    mut views: impl Iterator<Item = &'v ViewName>,
    after: Epoch,
) -> Option<(ViewName, Option<Committed>)> {
    views.find_map(|view| {
        let found = catalog.committed(view);
        (found.map_or(Epoch::ZERO, |found| found.epoch) != after).then(|| (view.clone(), found))
    })
}

/// Keeps other writers of these views out until the transaction ends. All take the locks in the same order.
pub(crate) async fn lock(session: &Session, schema: &str, views: &[&str]) -> Result<(), PostgresSinkError> {
    let mut names: Vec<String> = views.iter().map(|view| lock_name(schema, view)).collect();
    names.sort_unstable();
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) FROM unnest($1) name";
    session.query("waiting for another writer of the tables", sql, &[(&names, Type::TEXT_ARRAY)]).await?;
    Ok(())
}

fn lock_name(schema: &str, table: &str) -> String {
    format!("tidegate {}", quote_name([schema, table]))
}

/// Makes the table of epochs, unless another pipeline was faster.
async fn create_epochs(session: &Session, schema: &str) -> Result<(), PostgresSinkError> {
    lock(session, schema, &[EPOCHS]).await?;
    if Catalog::read(session, schema, &[], &[]).await?.has_epochs {
        return Ok(());
    }
    let sql = format!(
        "CREATE TABLE {} (view text, epoch bigint, hash text NOT NULL, frontier jsonb NOT NULL, \
         committed_at timestamptz NOT NULL, PRIMARY KEY (view, epoch))",
        quote_name([schema, EPOCHS])
    );
    Ok(session.execute("making the table of epochs", &sql).await?)
}

/// Notes that the tables hold the views up to an epoch; what was said about those that begin anew is forgotten.
async fn note_epochs(
    session: &Session,
    schema: &str,
    views: &[&str],
    begins: &[String],
    epoch: i64,
    header: &EpochHeader,
    at: Micros,
) -> Result<(), PostgresSinkError> {
    let doing = "noting the epoch";
    let table = quote_name([schema, EPOCHS]);
    if !begins.is_empty() {
        let forget = format!("DELETE FROM {table} WHERE view = ANY ($1)");
        session.query(doing, &forget, &[(&begins, Type::TEXT_ARRAY)]).await?;
    }
    let note = format!(
        "INSERT INTO {table} (view, epoch, hash, frontier, committed_at) SELECT view, $2, $3, $4::jsonb, \
         timestamptz 'epoch' + $5 * interval '1 microsecond' FROM unnest($1) view"
    );
    let (hash, frontier) = (header.hash.to_string(), header.frontier.to_string());
    let values: &[Value<'_>] = &[
        (&views, Type::TEXT_ARRAY),
        (&epoch, Type::INT8),
        (&hash, Type::TEXT),
        (&frontier, Type::TEXT),
        (&at.0, Type::INT8),
    ];
    session.query(doing, &note, values).await?;
    Ok(())
}

async fn prune_epochs(session: &Session, schema: &str, views: &[&str]) -> Result<(), PostgresSinkError> {
    let table = quote_name([schema, EPOCHS]);
    let prune = format!(
        "DELETE FROM {table} e USING (SELECT v, (SELECT epoch FROM {table} WHERE view = v ORDER BY epoch DESC \
         OFFSET {EPOCH_ROWS_KEPT} LIMIT 1) AS last FROM unnest($1) v) old WHERE e.view = old.v AND e.epoch <= old.last"
    );
    session.query("forgetting old epochs", &prune, &[(&views, Type::TEXT_ARRAY)]).await?;
    Ok(())
}
