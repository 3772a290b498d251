//! The names of what keeps a view's past, and views that cannot have one.

use std::path::Path;

use tidegate_core::{History, ViewInfo, ViewName};
use tidegate_duck::history::{STANDINGS, TIMES};

use crate::error::DuckdbSinkError;

/// What keeps the past of one view.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// The view that readers see, over the three tables.
    pub(crate) history: String,
    /// Versions without an end.
    pub(crate) open: String,
    /// Versions that ended lately, in the order of their ends.
    pub(crate) recent: String,
    /// Versions that ended before, in long stretches in the order of the key.
    pub(crate) past: String,
    /// The macro that answers as of an epoch.
    pub(crate) as_of: String,
    /// The macro that answers as of a time.
    pub(crate) as_of_time: String,
}

impl Names {
    pub(crate) fn of(view: &ViewName) -> Names {
        Names {
            history: format!("{view}_history"),
            open: format!("_tidegate_open_{view}"),
            recent: format!("_tidegate_recent_{view}"),
            past: format!("_tidegate_past_{view}"),
            as_of: format!("{view}_asof"),
            as_of_time: format!("{view}_asof_ts"),
        }
    }

    /// The tables with rows.
    pub(crate) fn tables(&self) -> [&str; 3] {
        [&self.open, &self.recent, &self.past]
    }

    /// The table that a past with other columns is kept in.
    pub(crate) fn until(view: &ViewName, epoch: u64) -> String {
        format!("{view}_history_until_{epoch}")
    }

    /// Whether a table, whatever its case, has the name of one of these.
    pub(crate) fn is_until(view: &ViewName, table: &str) -> bool {
        let table = table.to_lowercase();
        let epoch = table.strip_prefix(&format!("{view}_history_until_").to_lowercase());
        epoch.is_some_and(|epoch| !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

/// Refuses views whose past cannot be kept beside the others.
pub(crate) fn check(file: &Path, views: &[&ViewInfo]) -> Result<(), DuckdbSinkError> {
    for view in views {
        let refuse = |fact: String| {
            let (file, view) = (file.display().to_string(), view.name.clone());
            Err(DuckdbSinkError::Unsupported { file, view, fact })
        };
        let is = |name: &str| view.name.as_str().eq_ignore_ascii_case(name);
        if is(STANDINGS) || is(TIMES) {
            return refuse("the name is taken by a table about the history of views: rename the view".to_owned());
        }
        for other in views.iter().filter(|other| other.history.is_some() && other.name != view.name) {
            let names = Names::of(&other.name);
            if is(&names.history) || names.tables().into_iter().any(is) {
                return refuse(format!("the name is taken by the history of view {}: rename one of them", other.name));
            }
        }
        if view.history.is_none() {
            continue;
        }
        let taken = |name: &str| History::COLUMNS.iter().any(|taken| taken.eq_ignore_ascii_case(name));
        if let Some(field) = view.schema.fields().iter().find(|field| taken(field.name())) {
            let fact = format!(
                "its column {} is one that the history has of its own: rename the column, or set temporal = false",
                field.name()
            );
            return refuse(fact);
        }
        if let Some(field) = view.schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case("rowid")) {
            let fact = format!(
                "its column {} hides DuckDB's row id, by which versions are told apart: rename the column, or set \
                 temporal = false",
                field.name()
            );
            return refuse(fact);
        }
    }
    Ok(())
}
