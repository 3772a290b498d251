//! A DuckDB sink's file, opened to be read.

use std::time::{Duration, Instant};

use tidegate_core::{Epoch, EpochHash, ErrorKind, History, Micros};
use tidegate_duck::duckdb::types::Value;
use tidegate_duck::history::STANDINGS;
use tidegate_duck::{Duck, DuckError, duckdb, quote_ident, quote_literal, quote_name};

use crate::failure::Failure;
use crate::file::{Mart, View};
use crate::past::{Opening, Past, Sought};

/// What the file is attached as.
pub const CATALOG: &str = "tidegate_mart";
/// How long to wait for a process that holds the file, which a sink does for the time of a commit.
const WAIT: Duration = Duration::from_secs(10);

/// Above this a single key may be worth all threads: where only a part of a key is given, every block is read.
const LARGE_BYTES: u64 = 64 << 20;

/// A mart that can be asked.
pub struct OpenMart<'p> {
    pub duck: &'p Duck,
    pub mart: &'p Mart,
}

/// Since which epoch and when, up to which epoch with which hash, and by which key.
type Standing = (u64, Option<i64>, u64, String, Value);

/// What a mart keeps of a view's past.
#[derive(Debug, Clone)]
pub struct HistoryOf {
    /// The view.
    pub view: String,
    /// `<view>_history`, as SQL names it.
    pub table: String,
    /// The view's columns: name and type.
    pub columns: Vec<(String, String)>,
    /// The columns that tell rows apart; none where there is at most one.
    pub key: Vec<String>,
    /// Whether there is a key, or whole rows are told apart.
    pub is_keyed: bool,
    since_epoch: Epoch,
    since: Option<Micros>,
    epoch: Epoch,
    hash: String,
}

impl<'p> OpenMart<'p> {
    /// Attaches the file, which nobody can write meanwhile.
    pub fn open(mart: &'p Mart, opening: &'p Opening) -> Result<Self, Failure> {
        let path = mart.path.display().to_string();
        if !mart.path.is_file() {
            let message =
                format!("the mart {path} of the sink `{}` is not there yet: `tidegate run` makes it", mart.sink);
            return Err(Failure::new(ErrorKind::Retry, message));
        }
        let duck = opening.duck()?;
        let attach = format!("ATTACH {} AS {CATALOG} (READ_ONLY)", quote_literal(&path));
        let is_large = std::fs::metadata(&mart.path).is_ok_and(|file| file.len() > LARGE_BYTES);
        if opening.sought() == Sought::Key && is_large {
            duck.execute("RESET threads")?;
        }
        let until = Instant::now() + WAIT;
        let mut pause = Duration::from_millis(5);
        loop {
            match duck.execute(&attach) {
                Ok(()) => return Ok(OpenMart { duck, mart }),
                Err(error) if error.kind() == ErrorKind::Retry && Instant::now() < until => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
                Err(error) => {
                    return Err(Failure::new(
                        error.kind(),
                        format!("the mart {path}: {}", tidegate_core::chain(&error)),
                    ));
                }
            }
        }
    }

    /// A table's columns with their types; `None` where there is no such table or view.
    pub fn columns(&self, table: &str) -> Result<Option<Vec<(String, String)>>, Failure> {
        // DuckDB's own table of all columns takes as long as everything else together: it looks at every view there is.
        match self.duck.describe_columns(&quote_name([CATALOG, "main", table])) {
            Ok(columns) => Ok(Some(columns.into_iter().map(|(name, of, _)| (name, of)).collect())),
            Err(error) if error.lacks_table(table) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// From when to when the history of a view is kept; `None` where the mart keeps none at all.
    fn standing(&self, view: &str) -> Result<Option<Vec<Standing>>, Failure> {
        let table = quote_name([CATALOG, "main", STANDINGS]);
        let sql = format!(
            "SELECT since_epoch, epoch_us(since), epoch, CAST(hash AS VARCHAR), key FROM {table} WHERE lower(view) = lower(?)"
        );
        let run = || {
            let mut statement = self.duck.connection().prepare(&sql)?;
            let rows = statement
                .query_map([view], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
            rows.collect::<duckdb::Result<Vec<Standing>>>()
        };
        match run().map_err(|error| self.duck.error(&error)) {
            Ok(standing) => Ok(Some(standing)),
            Err(error) if error.lacks_table(STANDINGS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the mart keeps of a view's past, or why it keeps nothing.
    pub fn history(&self, view: &View) -> Result<HistoryOf, Failure> {
        let name = view.def.name.as_str();
        let table = format!("{name}_history");
        let (path, sink) = (self.mart.path.display(), &self.mart.sink);
        let known = match self.columns(&table)? {
            Some(columns) => self.standing(name)?.map(|standing| (columns, standing)),
            None => None,
        };
        let (columns, standing) = match (&view.history, known) {
            (_, Some(known)) => known,
            (None, None) => {
                return Err(Failure::usage(format!(
                    "the past of `{name}` is not kept: write `temporal = true` for the view, or `tidegate track` a source's \
                     table, and run; from then on it can be asked for"
                )));
            }
            (Some(_), None) => {
                let message = format!("the sink `{sink}` has not begun the history of `{name}` yet: run the pipeline");
                return Err(Failure::new(ErrorKind::Retry, message));
            }
        };
        let Some((since_epoch, since, epoch, hash, key)) = standing.into_iter().next() else {
            let message =
                format!("{path} has a table {table}, but does not say since when it is kept: run the pipeline");
            return Err(Failure::new(ErrorKind::Retry, message));
        };
        let (key, is_keyed) = match key {
            Value::List(key) => (key.into_iter().filter_map(text).collect(), true),
            _ => (Vec::new(), false),
        };
        let own = |column: &&(String, String)| !History::COLUMNS.contains(&column.0.as_str());
        // Its own columns are the last four.
        let count = columns.len().saturating_sub(4);
        let (columns, last) = columns.split_at(count);
        if last.iter().filter(own).count() > 0 || last.len() < 4 {
            return Err(Failure::usage(format!(
                "{path} has a table {table} that is no history: rename that table, or the view"
            )));
        }
        Ok(HistoryOf {
            view: name.to_owned(),
            table: format!("{CATALOG}.main.{}", quote_ident(&table)),
            columns: columns.to_vec(),
            key,
            is_keyed,
            since_epoch: Epoch(since_epoch),
            since: since.map(Micros),
            epoch: Epoch(epoch),
            hash,
        })
    }
}

impl HistoryOf {
    /// The first epoch that can be asked for.
    pub fn since_epoch(&self) -> Epoch {
        self.since_epoch
    }

    /// Whether it can answer for an epoch.
    pub fn reaches(&self, past: &Past, epoch: Epoch, mart: &Mart) -> Result<(), Failure> {
        let view = &self.view;
        if epoch < self.since_epoch {
            let since = self.since.map(|since| format!(", {since}")).unwrap_or_default();
            return Err(Failure::usage(format!(
                "epoch {epoch} is before the history of `{view}` in the sink `{}` begins: one can ask from epoch {}{since} on",
                mart.sink, self.since_epoch,
            )));
        }
        if epoch > self.epoch {
            let message = format!(
                "the sink `{}` holds `{view}` as of epoch {}, and this is epoch {epoch}: it is behind, try again",
                mart.sink, self.epoch,
            );
            return Err(Failure::new(ErrorKind::Retry, message));
        }
        // Numbers alone are not enough: a mart of another history has other epochs under the same ones.
        let ours = past.entry(self.epoch)?;
        match ours.zip(self.hash.parse::<EpochHash>().ok()) {
            Some((ours, theirs)) if ours.hash != theirs => Err(Failure::new(
                ErrorKind::Stop,
                format!(
                    "the sink `{}` holds another epoch {} of `{view}` than this state folder: bring it in line with 'tidegate resync \
                     PIPELINE {}'",
                    mart.sink, self.epoch, mart.sink,
                ),
            )),
            _ => Ok(()),
        }
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

impl From<DuckError> for Failure {
    fn from(error: DuckError) -> Self {
        Failure::caused(error.kind(), &error)
    }
}
