//! The statements that close and open versions.

use tidegate_postgres::quote_name;

use crate::address::{Address, by_name};
use crate::changes::{Doomed, bits, names, stage_columns};
use crate::error::PostgresSinkError;
use crate::history::Past;
use crate::history::held::Moment;
use crate::stage::{DELETE, INSERT, Staged, UPDATE, stage};

/// Epochs whose statements are sent together.
const EPOCHS_SENT: usize = 100;

/// Applies a stage: each epoch closes what it removes, and then opens what it brings.
pub(crate) async fn apply(past: &Past<'_>, index: usize, staged: &Staged) -> Result<(), PostgresSinkError> {
    let from = stage(index);
    let removed = match past.address {
        Address::Rows => format!("SELECT coalesce(-sum(n), 0)::bigint FROM {from} WHERE n < 0"),
        _ => format!("SELECT count(*) FROM {from} WHERE n <> {INSERT}"),
    };
    let counted = past.session.batch("counting versions", &[removed]).await?;
    let expected = counted.first().and_then(|outcome| outcome.numbers.first().copied().flatten()).unwrap_or(0);
    let mut closed = 0;
    for moments in staged.epochs.chunks(EPOCHS_SENT) {
        let (mut sql, mut closes) = (Vec::new(), Vec::new());
        for moment in moments {
            // A single epoch needs no choice.
            let chosen = match staged.epochs.len() {
                1 => "TRUE".to_owned(),
                _ => format!("ord BETWEEN {} AND {}", moment.epoch.0 * 2, moment.epoch.0 * 2 + 1),
            };
            let closing = closing(past, &from, &chosen, moment, staged);
            closes.extend(sql.len()..sql.len() + closing.len());
            sql.extend(closing);
            sql.extend(opening(past, &from, &chosen, moment));
        }
        let outcomes = past.session.batch("writing a history", &sql).await.map_err(|error| past.failed(error))?;
        closed += closes.iter().filter_map(|at| outcomes.get(*at)).map(|outcome| outcome.rows).sum::<u64>();
    }
    let expected = u64::try_from(expected).unwrap_or(0);
    if closed == expected {
        return Ok(());
    }
    Err(PostgresSinkError::RowsMissing {
        schema: past.schema.to_owned(),
        view: past.name().as_str().into(),
        epoch: past.epoch,
        change: "closes",
        found: closed,
        expected,
    })
}

/// Closes the open versions of the rows that an epoch removes.
fn closing(past: &Past<'_>, from: &str, chosen: &str, at: &Moment, staged: &Staged) -> Vec<String> {
    let table = past.table();
    let set = format!("SET valid_to = {}, _valid_to_epoch = {}", at.sql(), at.epoch);
    if *past.address == Address::Rows {
        let doomed = Doomed {
            table: &table,
            columns: past.columns,
            address: past.address,
            from,
            chosen,
            among: "t._valid_to_epoch IS NULL",
            first: Some("t._valid_from_epoch DESC, t.ctid DESC"),
        };
        return vec![format!("UPDATE {table} {set} WHERE ctid = ANY (ARRAY({}))", doomed.sql())];
    }
    past.address
        .conditions(past.columns, &staged.masks)
        .iter()
        .map(|condition| {
            // Each row of the stage looks for its version by an index, whatever the server expects. The open version is the
            // newest of its key, so that it is found at once by either of them.
            format!(
                "UPDATE {table} {set} WHERE ctid = ANY (ARRAY(SELECT t.place FROM {from} s CROSS JOIN LATERAL \
                 (SELECT t.ctid AS place FROM {table} t WHERE {condition} AND t._valid_to_epoch IS NULL \
                 ORDER BY t._valid_from_epoch DESC LIMIT 1) t \
                 WHERE {chosen} AND s.n IN ({DELETE}, {UPDATE})))"
            )
        })
        .collect()
}

/// Opens a version for each row that an epoch brings.
fn opening(past: &Past<'_>, from: &str, chosen: &str, at: &Moment) -> Vec<String> {
    let (table, staged) = (past.table(), stage_columns(past.columns, "s."));
    let insert = format!(
        "INSERT INTO {table} ({}, valid_from, _valid_from_epoch) SELECT {staged}, {}, {} FROM {from} s",
        names(past.columns),
        at.sql(),
        at.epoch
    );
    if *past.address == Address::Rows {
        return vec![
            format!("{insert} WHERE {chosen} AND s.n = 1"),
            format!("{insert}, generate_series(1, s.n) WHERE {chosen} AND s.n > 1"),
        ];
    }
    vec![format!("{insert} WHERE {chosen} AND s.n IN ({INSERT}, {UPDATE})")]
}

/// Statements after which the open versions are the rows of the view's table: the oldest of those that are still there stay, and
/// what begins and ends at one moment leaves nothing.
pub(crate) fn comparison(past: &Past<'_>, at: Moment, again: bool) -> Vec<String> {
    let (history, present) = (past.table(), quote_name([past.schema, past.view.name.as_str()]));
    let of = |prefix: &str| -> Vec<String> {
        let name = |index: usize| by_name(&past.columns[index], prefix);
        (0..past.columns.len()).map(name).chain(bits(past.columns, name)).collect()
    };
    let values =
        |side: &str| of(side).iter().enumerate().map(|(at, value)| format!(", {value} AS p{at}")).collect::<String>();
    let equal: Vec<String> = (0..of("").len()).map(|at| format!("p{at}")).collect();
    let both = equal.join(", ");
    let (alike, alike_here) = (format!("PARTITION BY {both}"), format!("PARTITION BY {both}, here"));
    let rows = |here: bool| {
        format!(
            "SELECT place FROM (SELECT place, here, row_number() OVER ({alike_here} ORDER BY began, place) AS nth, \
             count(*) FILTER (WHERE here <> {here}) OVER ({alike}) AS others FROM \
             (SELECT h.ctid AS place, h._valid_from_epoch AS began, FALSE AS here{} FROM {history} h \
             WHERE h._valid_to_epoch IS NULL \
             UNION ALL SELECT t.ctid, NULL, TRUE{} FROM {present} t) r) ranked WHERE here = {here} AND nth > others",
            values("h."),
            values("t."),
        )
    };
    let (time, epoch) = (at.sql(), at.epoch);
    let names = names(past.columns);
    let nothing = again.then(|| {
        format!("DELETE FROM {history} WHERE _valid_from_epoch = {epoch} AND ctid = ANY (ARRAY({}))", rows(false))
    });
    let changes = [
        format!(
            "UPDATE {history} SET valid_to = {time}, _valid_to_epoch = {epoch} WHERE ctid = ANY (ARRAY({}))",
            rows(false)
        ),
        format!(
            "INSERT INTO {history} ({names}, valid_from, _valid_from_epoch) SELECT {names}, {time}, {epoch} \
             FROM {present} WHERE ctid = ANY (ARRAY({}))",
            rows(true)
        ),
    ];
    nothing.into_iter().chain(changes).collect()
}
