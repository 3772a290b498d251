//! What the database says about histories: `_tidegate_history` has a row for each view with one, and `_tidegate_time` says which
//! moment an epoch of a view stands for.

use std::collections::BTreeMap;

use tidegate_core::{Committed, Epoch, EpochHash, EpochHeader, Micros, ViewName};
use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::{Session, quote_literal, quote_name};

use crate::catalog::Catalog;
use crate::error::PostgresSinkError;

/// The table that says from where to where histories hold.
pub(crate) const HISTORY: &str = "_tidegate_history";
/// The table that says which moments epochs stand for.
pub(crate) const TIME: &str = "_tidegate_time";
/// What the least moment is compared as.
pub(crate) const NEVER: &str = "'-infinity'::timestamptz";

/// An epoch as a history needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) epoch: Epoch,
    pub(crate) time: Micros,
    /// What moments are compared with.
    pub(crate) latest_commit: Option<Micros>,
}

impl From<&EpochHeader> for Moment {
    fn from(header: &EpochHeader) -> Moment {
        Moment { epoch: header.epoch, time: header.time, latest_commit: header.latest_commit }
    }
}

impl Moment {
    /// The moment that comes first after this one, whichever it is: no epoch's time is between them.
    pub(crate) fn next(self) -> Moment {
        Moment { epoch: self.epoch.next(), time: Micros(self.time.0.saturating_add(1)), ..self }
    }

    /// Its time in SQL.
    pub(crate) fn sql(&self) -> String {
        micros(self.time)
    }
}

/// A time in SQL, exactly.
pub(crate) fn micros(time: Micros) -> String {
    format!("(timestamptz 'epoch' + interval '{} microseconds')", time.0)
}

/// The row of a view in `_tidegate_history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// The key's columns, unless rows have none.
    pub(crate) key: Option<Vec<String>>,
    /// Up to where the history holds.
    pub(crate) last: Committed,
    /// The time of that epoch.
    pub(crate) time: Micros,
}

impl Held {
    /// The epoch up to which it holds.
    pub(crate) fn moment(&self) -> Moment {
        Moment { epoch: self.last.epoch, time: self.time, latest_commit: None }
    }
}

/// From where on a history can be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since {
    pub(crate) epoch: Epoch,
    /// The first moment that can be asked for.
    pub(crate) moment: Option<Micros>,
}

/// The rows of some views, and whether the tables are there.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    pub(crate) tables: bool,
    pub(crate) held: BTreeMap<String, Held>,
}

impl Histories {
    /// Asks about some views; the catalog knows of both tables already.
    pub(crate) async fn read(
        session: &Session,
        schema: &str,
        catalog: &Catalog,
        views: &[&str],
    ) -> Result<Histories, PostgresSinkError> {
        let is_ours = |name: &str, columns: &[&str]| match catalog.relations.get(name) {
            None => Ok(false),
            Some(found) if found.kind == "r" && columns.iter().all(|column| found.has(column)) => Ok(true),
            Some(_) => Err(PostgresSinkError::Foreign { schema: schema.to_owned(), name: name.to_owned() }),
        };
        let history = is_ours(HISTORY, &["view", "key", "since_epoch", "since", "epoch", "hash", "time"])?;
        let time = is_ours(TIME, &["view", "epoch", "latest_commit"])?;
        let mut histories = Histories { tables: history && time, held: BTreeMap::new() };
        if !history {
            return Ok(histories);
        }
        let sql = format!(
            "SELECT h.view, h.key, h.epoch, h.hash, (extract(epoch FROM h.time) * 1000000)::bigint FROM {} h \
             WHERE h.view = ANY ($1)",
            quote_name([schema, HISTORY])
        );
        for row in session.query("reading where histories stand", &sql, &[(&views, Type::TEXT_ARRAY)]).await? {
            let (view, epoch, hash): (String, i64, String) = (row.get(0), row.get(2), row.get(3));
            let last = u64::try_from(epoch).ok().zip(hash.parse::<EpochHash>().ok());
            let (epoch, hash) = last.ok_or_else(|| PostgresSinkError::Altered {
                schema: schema.to_owned(),
                view: ViewName::new(view.as_str()),
                difference: format!("its row in {HISTORY} is not one of ours"),
            })?;
            let last = Committed { epoch: Epoch(epoch), hash };
            histories.held.insert(view, Held { key: row.get(1), last, time: Micros(row.get(4)) });
        }
        Ok(histories)
    }
}

/// Makes both tables.
pub(crate) async fn create(session: &Session, schema: &str) -> Result<(), PostgresSinkError> {
    let (history, time) = (quote_name([schema, HISTORY]), quote_name([schema, TIME]));
    let statements = [
        format!(
            "CREATE TABLE IF NOT EXISTS {history} (view text PRIMARY KEY, key text[], since_epoch bigint NOT NULL, \
             since timestamptz, epoch bigint NOT NULL, hash text NOT NULL, time timestamptz NOT NULL)"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {time} (view text, epoch bigint, latest_commit timestamptz, \
             PRIMARY KEY (view, epoch))"
        ),
        // For the last epoch up to a moment.
        format!("CREATE INDEX ON {time} (view, coalesce(latest_commit, {NEVER}), epoch)"),
    ];
    session.batch("making the tables of histories", &statements).await?;
    Ok(())
}

/// Notes which moments epochs stand for. Within a view they never decrease, whatever log the epochs are from.
pub(crate) async fn note_times(
    session: &Session,
    schema: &str,
    view: &str,
    moments: &[Moment],
) -> Result<(), PostgresSinkError> {
    let (time, view) = (quote_name([schema, TIME]), quote_literal(view));
    for moments in moments.chunks(1_000) {
        let rows: Vec<String> = moments
            .iter()
            .map(|moment| {
                format!("({}::bigint, {})", moment.epoch, moment.latest_commit.map_or_else(|| NEVER.to_owned(), micros))
            })
            .collect();
        let sql = format!(
            "INSERT INTO {time} (view, epoch, latest_commit) SELECT {view}, n.epoch, \
             nullif(greatest(n.latest, (SELECT coalesce(latest_commit, {NEVER}) FROM {time} WHERE view = {view} \
             ORDER BY coalesce(latest_commit, {NEVER}) DESC LIMIT 1)), {NEVER}) \
             FROM (VALUES {}) n (epoch, latest) ON CONFLICT DO NOTHING",
            rows.join(", ")
        );
        session.execute("noting the epochs' moments", &sql).await?;
    }
    Ok(())
}

/// Notes up to where the history of a view holds, and from where on, if it begins here.
pub(crate) async fn note(
    session: &Session,
    schema: &str,
    view: &str,
    key: Option<&[String]>,
    since: Option<Since>,
    header: &EpochHeader,
) -> Result<(), PostgresSinkError> {
    let (history, view) = (quote_name([schema, HISTORY]), quote_literal(view));
    let last = format!("epoch = {}, hash = '{}', time = {}", header.epoch, header.hash, Moment::from(header).sql());
    let mut statements = Vec::new();
    if let Some(Since { epoch, moment }) = since {
        let key = key.map_or_else(
            || "NULL".to_owned(),
            |key| {
                let names: Vec<_> = key.iter().map(|name| quote_literal(name)).collect();
                format!("ARRAY[{}]::text[]", names.join(", "))
            },
        );
        let moment = moment.map_or_else(|| "NULL".to_owned(), micros);
        statements.push(format!(
            "INSERT INTO {history} (view, key, since_epoch, since, epoch, hash, time) \
             VALUES ({view}, {key}, {epoch}, {moment}, {}, '{}', {}) \
             ON CONFLICT (view) DO UPDATE SET key = excluded.key, since_epoch = excluded.since_epoch, \
             since = excluded.since",
            header.epoch,
            header.hash,
            Moment::from(header).sql()
        ));
    }
    statements.push(format!("UPDATE {history} SET {last} WHERE view = {view}"));
    session.batch("noting where a history stands", &statements).await?;
    Ok(())
}

/// Forgets versions of a view that ended some time before `horizon`, and that moments before could be asked for.
pub(crate) async fn trim(
    session: &Session,
    schema: &str,
    view: &str,
    table: &str,
    horizon: Micros,
) -> Result<(), PostgresSinkError> {
    let doing = "forgetting old versions";
    let gone = format!(
        "WITH gone AS (DELETE FROM {table} WHERE valid_to <= {} RETURNING _valid_to_epoch) \
         SELECT max(_valid_to_epoch) FROM gone",
        micros(horizon)
    );
    let rows = session.query(doing, &gone, &[]).await?;
    let Some(until) = rows.first().and_then(|row| row.get::<_, Option<i64>>(0)) else { return Ok(()) };
    let (history, time, view) = (quote_name([schema, HISTORY]), quote_name([schema, TIME]), quote_literal(view));
    let statements = [
        format!(
            "UPDATE {history} SET since_epoch = {until}, since = (SELECT latest_commit FROM {time} t \
             WHERE t.view = {view} AND t.epoch = {until}) WHERE view = {view} AND since_epoch < {until}"
        ),
        format!(
            "DELETE FROM {time} WHERE view = {view} AND epoch < (SELECT since_epoch FROM {history} WHERE view = {view})"
        ),
    ];
    session.batch(doing, &statements).await?;
    Ok(())
}
