//! `tidegate diff`: what changed in a view, or in a tracked table, between two moments.

use std::path::Path;

use serde_json::{Map, json};

use super::asof::{about, facts};
use crate::failure::Failure;
use crate::past::query::{Condition, changes, columns_of_changes};
use crate::past::{Answer, Format, OpenMart, Opening, Past, Rows, Sought, moment};

/// What is asked.
pub struct Diff<'a> {
    pub view: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub key: &'a [String],
    pub sink: Option<&'a str>,
    pub format: Format,
}

/// Asks a mart that keeps the view's history.
pub fn diff(path: &Path, asked: &Diff<'_>) -> Result<(), Failure> {
    let duck = Opening::begin(Sought::by(asked.key));
    let mut past = Past::open(path)?;
    let moments = [moment::parse(asked.from, &duck)?, moment::parse(asked.to, &duck)?];
    past.view(asked.view)?;
    let (from, to) = (past.resolve(&moments[0])?, past.resolve(&moments[1])?);
    if from.epoch > to.epoch {
        let message =
            format!("--from is epoch {} and --to is epoch {}, which is before it: exchange them", from.epoch, to.epoch);
        return Err(Failure::usage(message));
    }
    let view = past.view(asked.view)?;
    let mart = past.mart(asked.sink, &[view])?;
    let open = OpenMart::open(mart, &duck)?;
    let history = open.history(view)?;
    history.reaches(&past, from.epoch, mart)?;
    history.reaches(&past, to.epoch, mart)?;
    let condition = Condition::of(asked.key, &history, &open)?;
    let query = changes(&history, from.epoch, to.epoch, &condition);
    let name = view.def.name.as_str();
    let facts = Map::from_iter([
        ("view".to_owned(), json!(name)),
        ("from".to_owned(), facts(&from)),
        ("to".to_owned(), facts(&to)),
    ]);
    let about = format!("{name}\n  from {}\n  to   {}", about(&from), about(&to));
    let columns = Some(columns_of_changes(&history));
    Rows { duck: open.duck, query, columns }.write(Answer { about, facts, rows: "changes" }, asked.format)
}
