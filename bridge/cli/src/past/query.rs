//! The queries over a history table. Values are bound, as variables of the session; a condition on the key is one on the
//! columns themselves, so that blocks whose least and greatest key rule it out are not read.

use tidegate_core::Epoch;
use tidegate_core::near::did_you_mean;
use tidegate_duck::quote_ident;

use super::mart::{HistoryOf, OpenMart};
use crate::failure::Failure;

/// Rows with one value in each of some columns.
#[derive(Debug, Default)]
pub struct Condition {
    sql: String,
}

impl Condition {
    /// Of `column=value` texts. With a key, its columns can be asked for, all or some; without one, every column.
    pub fn of(texts: &[String], history: &HistoryOf, mart: &OpenMart<'_>) -> Result<Condition, Failure> {
        let mut sql = String::new();
        let mut seen: Vec<&str> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let Some((column, value)) = text.split_once('=') else {
                return Err(Failure::usage(format!("`--key {text}` has no value: write --key {text}=VALUE")));
            };
            let name = column.trim();
            let found = history.columns.iter().find(|(known, _)| known.to_lowercase() == name.to_lowercase());
            let is_key = |known: &str| history.key.is_empty() || history.key.iter().any(|key| key == known);
            let Some((column, of)) = found.filter(|(known, _)| is_key(known)) else {
                let askable = history.columns.iter().map(|(known, _)| known.as_str()).filter(|known| is_key(known));
                let askable: Vec<&str> = askable.collect();
                let near = did_you_mean(name, askable.iter().copied());
                let fact = match found {
                    Some(_) => format!("`{name}` is not in the key of `{}`", history.view),
                    None => format!("`{}` has no column `{name}`{near}", history.view),
                };
                return Err(Failure::usage(format!("{fact}; --key takes {}", askable.join(", "))));
            };
            if seen.contains(&column.as_str()) {
                return Err(Failure::usage(format!("`--key {column}` is given twice: give it once")));
            }
            seen.push(column);
            let variable = format!("tidegate_key_{index}");
            let set = format!("SET VARIABLE {variable} = CAST(? AS {of})");
            let bound = mart.duck.connection().execute(&set, [value]).map(drop);
            bound.map_err(|_| Failure::usage(format!("the value of `--key {column}` is no {of}")))?;
            sql.push_str(&format!(" AND {} = getvariable('{variable}')", quote_ident(column)));
        }
        Ok(Condition { sql })
    }
}

/// The rows of a view as of an epoch, in its columns.
pub fn as_of(history: &HistoryOf, epoch: Epoch, condition: &Condition) -> String {
    let columns = columns(history);
    let valid = valid_at(epoch);
    format!("SELECT {columns} FROM {} WHERE {valid}{}", history.table, condition.sql)
}

/// The columns of what [`changes`] answers.
pub fn columns_of_changes(history: &HistoryOf) -> Vec<(String, String)> {
    let own =
        [("_change_type", "VARCHAR"), ("_commit_version", "BIGINT"), ("_commit_timestamp", "TIMESTAMP WITH TIME ZONE")];
    let own = own.map(|(name, of)| (name.to_owned(), of.to_owned()));
    history.columns.iter().cloned().chain(own).collect()
}

/// The order in which rows are shown.
pub fn order(history: &HistoryOf) -> String {
    match history.key.is_empty() {
        true => " ORDER BY ALL".to_owned(),
        false => format!(" ORDER BY {}", history.key.iter().map(|key| quote_ident(key)).collect::<Vec<_>>().join(", ")),
    }
}

/// What changed after one epoch up to another, net for each row, with the columns of a change feed: what it was, what it is, and since
/// which epoch and when.
pub fn changes(history: &HistoryOf, from: Epoch, to: Epoch, condition: &Condition) -> String {
    let (table, columns, condition) = (&history.table, columns(history), &condition.sql);
    let names = |prefix: &str| {
        let name = |(name, _): &(String, String)| format!("{prefix}{}", quote_ident(name));
        history.columns.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    // A row that ended and one that began with the same values are no change.
    let (all, key) = (names(""), history.key.iter().map(|key| quote_ident(key)).collect::<Vec<_>>().join(", "));
    let gone = format!(
        "SELECT {columns}, -1 AS tidegate_sign, _valid_to_epoch AS tidegate_epoch, valid_to AS tidegate_time FROM {table} \
         WHERE {} AND _valid_to_epoch <= {to}{condition}",
        valid_at(from)
    );
    let come = format!(
        "SELECT {columns}, 1, _valid_from_epoch, valid_from FROM {table} WHERE _valid_from_epoch > {from} AND {}{condition}",
        valid_at(to)
    );
    let (paired, order) = match (history.is_keyed, key.is_empty()) {
        (false, _) => ("false".to_owned(), "ALL".to_owned()),
        (true, true) => ("count(*) OVER () > 1".to_owned(), "_commit_version, tidegate_sign".to_owned()),
        (true, false) => {
            (format!("count(*) OVER (PARTITION BY {key}) > 1"), format!("{key}, _commit_version, tidegate_sign"))
        }
    };
    let net = format!(
        "SELECT *, row_number() OVER (PARTITION BY {all}, tidegate_sign ORDER BY tidegate_epoch DESC) AS tidegate_nth, \
         count(*) FILTER (tidegate_sign < 0) OVER (PARTITION BY {all}) AS tidegate_gone, \
         count(*) FILTER (tidegate_sign > 0) OVER (PARTITION BY {all}) AS tidegate_come FROM ({gone} UNION ALL {come})"
    );
    let change = format!(
        "CASE WHEN {paired} THEN CASE WHEN tidegate_sign < 0 THEN 'update_preimage' ELSE 'update_postimage' END \
         WHEN tidegate_sign < 0 THEN 'delete' ELSE 'insert' END"
    );
    format!(
        "SELECT {all}, {change} AS _change_type, CAST(tidegate_epoch AS BIGINT) AS _commit_version, \
         CAST(tidegate_time AS TIMESTAMP WITH TIME ZONE) AS _commit_timestamp FROM \
         (SELECT * FROM ({net}) WHERE tidegate_nth <= abs(tidegate_come - tidegate_gone) \
         AND tidegate_sign = sign(tidegate_come - tidegate_gone)) ORDER BY {order}"
    )
}

fn columns(history: &HistoryOf) -> String {
    history.columns.iter().map(|(name, _)| quote_ident(name)).collect::<Vec<_>>().join(", ")
}

/// Half-open: from the epoch in which a row came to before the one in which it went.
fn valid_at(epoch: Epoch) -> String {
    format!("_valid_from_epoch <= {epoch} AND (_valid_to_epoch IS NULL OR _valid_to_epoch > {epoch})")
}
