//! The names of what keeps a view's past, and views that cannot have one.

use tidegate_core::{History, ViewInfo, ViewName};
use tidegate_duck::history::{STANDINGS, TIMES};

use crate::error::DucklakeSinkError;

/// The table behind it, in which keys are texts: lists are not safe in every catalog.
pub(crate) const HISTORIES: &str = "_tidegate_histories";

/// What keeps the past of one view.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// The view that readers see, over both tables.
    pub(crate) history: String,
    /// Versions without an end.
    pub(crate) open: String,
    /// Versions that ended.
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
            past: format!("_tidegate_past_{view}"),
            as_of: format!("{view}_asof"),
            as_of_time: format!("{view}_asof_ts"),
        }
    }

    /// The tables with rows.
    pub(crate) fn tables(&self) -> [&str; 2] {
        [&self.open, &self.past]
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
pub(crate) fn check(lake: &str, views: &[&ViewInfo]) -> Result<(), DucklakeSinkError> {
    for view in views {
        let refuse =
            |fact: String| Err(DucklakeSinkError::Unsupported { lake: lake.to_owned(), view: view.name.clone(), fact });
        let is = |name: &str| view.name.as_str().eq_ignore_ascii_case(name);
        if let Some(name) = [STANDINGS, HISTORIES, TIMES].into_iter().find(|name| is(name)) {
            return refuse(format!("{name} is a table about the history of views: rename the view"));
        }
        for other in views.iter().filter(|other| other.history.is_some() && other.name != view.name) {
            let names = Names::of(&other.name);
            if is(&names.history) || names.tables().into_iter().any(is) {
                return refuse(format!("the name is taken by the history of view {}: rename one of them", other.name));
            }
        }
        let taken = |name: &str| History::COLUMNS.iter().any(|taken| taken.eq_ignore_ascii_case(name));
        let field = view.schema.fields().iter().find(|field| view.history.is_some() && taken(field.name()));
        if let Some(field) = field {
            return refuse(format!(
                "its column {} is one that the history has of its own: rename the column, or set temporal = false",
                field.name()
            ));
        }
    }
    Ok(())
}
