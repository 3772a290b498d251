//! The suite for histories, and what is the Delta tables' own about them.

mod hands;
mod laws;
mod stops;
mod upkeep;
mod work;

use std::path::{Path, PathBuf};

use tidegate_core::schema::duckdb_type;
use tidegate_core::{Commit, Epoch, History, RowIdentity, Sink, ViewInfo};
use tidegate_duck::{quote_ident, quote_literal};
use tidegate_sink_delta::DeltaSink;
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::conformance::{HistoryReader, Version};

use crate::random::{reader, table};

const FOR_EVER: Option<History> = Some(History { retention: None });
const OWN: [&str; 4] = ["valid_from", "valid_to", "_valid_from_epoch", "_valid_to_epoch"];

/// How a test sees tables in a folder: as DuckDB's extension does.
struct Seen;

impl HistoryReader for Seen {
    fn versions(&self, folder: &Path, view: &ViewInfo) -> Vec<Version> {
        versions_in(&history_table(folder, view), view)
    }

    fn as_of(&self, _: &Path, _: &ViewInfo, _: &[u64]) -> Option<Vec<Result<Multiset, String>>> {
        None
    }

    fn as_of_times(&self, _: &Path, _: &ViewInfo, _: &[i64]) -> Option<Vec<Result<Multiset, String>>> {
        None
    }
}

/// The folder of a view's history.
fn history_table(folder: &Path, view: &ViewInfo) -> PathBuf {
    table(folder, &format!("{}_history", view.name))
}

/// The view's columns with the view's types again, as the book shows it.
fn own_columns(view: &ViewInfo) -> String {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        let (name, duckdb_type) = (quote_ident(field.name()), duckdb_type(field).unwrap());
        match duckdb_type {
            "TIMESTAMP_NS" => format!("make_timestamp_ns({name}) AS {name}"),
            _ => format!("CAST({name} AS {duckdb_type}) AS {name}"),
        }
    };
    view.schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}

/// The versions in a table.
fn versions_in(table: &Path, view: &ViewInfo) -> Vec<Version> {
    let from = quote_literal(&table.to_string_lossy());
    let sql = format!("SELECT {}, {} FROM delta_scan({from})", own_columns(view), OWN.join(", "));
    Version::of_batches(view, &reader().query(&sql).unwrap_or_else(|error| panic!("{sql}: {error}")).1)
}

/// The rows as of the time of an epoch, as the book shows it.
fn as_of(folder: &Path, view: &ViewInfo, epoch: u64) -> Multiset {
    let (table, time) = (history_table(folder, view), header(epoch).time);
    let sql = format!(
        "SELECT {} FROM delta_scan({}) WHERE valid_from <= '{time}' AND (valid_to IS NULL OR valid_to > '{time}')",
        own_columns(view),
        quote_literal(&table.to_string_lossy())
    );
    crate::random::rows(&reader(), &sql)
}

/// A view of pairs with a history.
fn pairs() -> ViewModel {
    ViewModel::new("pairs", &[("k", "BIGINT"), ("v", "VARCHAR")], RowIdentity::Key(vec![0])).with_history(FOR_EVER)
}

/// The commit of an epoch that brings these rows.
fn next(view: &mut ViewModel, epoch: u64, rows: &str) -> Commit {
    let delta = view.change_to(rows);
    Commit { after: Epoch(epoch - 1), header: header(epoch), views: vec![view.changes([(header(epoch), delta)])] }
}

/// Commits epochs, one each.
async fn commit_each(target: &mut DeltaSink, view: &mut ViewModel, from: u64, contents: &[&str]) {
    for (epoch, rows) in (from..).zip(contents) {
        target.commit(next(view, epoch, rows)).await.unwrap();
    }
}

/// The epochs of all versions, by the key of a view of pairs.
fn epochs(folder: &Path, view: &ViewModel) -> Vec<(String, u64, Option<u64>)> {
    let text = |version: &Version| match &version.row[1] {
        tidegate_testkit::Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let versions = Seen.versions(folder, view.info());
    let mut found: Vec<_> = versions.iter().map(|v| (text(v), v.epochs.0, v.epochs.1)).collect();
    found.sort();
    found
}

/// The same as a test expects it.
fn told(versions: &[(&str, u64, Option<u64>)]) -> Vec<(String, u64, Option<u64>)> {
    versions.iter().map(|(text, from, to)| ((*text).to_owned(), *from, *to)).collect()
}
