//! `tidegate asof`: the rows of a view, or of a tracked table, as they were.

use std::path::Path;

use serde_json::{Map, json};
use tidegate_runtime::TimeMapEntry;

use crate::failure::Failure;
use crate::past::query::{Condition, as_of, order};
use crate::past::{Answer, Format, OpenMart, Opening, Past, Rows, Sought, moment};

/// What is asked.
pub struct AsOf<'a> {
    pub view: &'a str,
    pub at: &'a str,
    pub key: &'a [String],
    /// At most so many rows.
    pub limit: Option<u64>,
    pub sink: Option<&'a str>,
    pub format: Format,
}

/// Asks a mart that keeps the view's history.
pub fn asof(path: &Path, asked: &AsOf<'_>) -> Result<(), Failure> {
    let duck = Opening::begin(Sought::by(asked.key));
    let mut past = Past::open(path)?;
    let at = moment::parse(asked.at, &duck)?;
    past.view(asked.view)?;
    let at = past.resolve(&at)?;
    let view = past.view(asked.view)?;
    let mart = past.mart(asked.sink, &[view])?;
    let open = OpenMart::open(mart, &duck)?;
    let history = open.history(view)?;
    history.reaches(&past, at.epoch, mart)?;
    let condition = Condition::of(asked.key, &history, &open)?;
    let limit = asked.limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
    let query = as_of(&history, at.epoch, &condition) + &order(&history) + &limit;
    let name = view.def.name.as_str();
    let since = json!(history.since_epoch());
    let facts = [("view", json!(name)), ("at", facts(&at)), ("kept_since", since)];
    let facts = Map::from_iter(facts.map(|(name, fact)| (name.to_owned(), fact)));
    let answer = Answer { about: format!("{name} as of {}", about(&at)), facts, rows: "rows" };
    let columns = Some(history.columns);
    Rows { duck: open.duck, query, columns }.write(answer, asked.format)
}

/// An epoch for people.
pub fn about(at: &TimeMapEntry) -> String {
    let commits = at.latest_commit.map(|commit| format!(", commits up to {commit}")).unwrap_or_default();
    format!("epoch {}{commits}, frontier {}", at.epoch, at.frontier)
}

/// An epoch for programs.
pub fn facts(at: &TimeMapEntry) -> serde_json::Value {
    json!({
        "epoch": at.epoch,
        "time": at.time.to_string(),
        "latest_commit": at.latest_commit.map(|commit| commit.to_string()),
        "frontier": at.frontier,
    })
}
