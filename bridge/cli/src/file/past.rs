//! `temporal` and `history_retention`: whether the past of a view is kept, and for how long.

use std::time::Duration;

use tidegate_core::{History, ViewName};

use super::section::{Located, Section};
use super::views::Origin;

/// The past of a view is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    pub history: History,
    /// Where that is said.
    pub origin: Origin,
}

/// A sink that keeps histories.
#[derive(Debug, Clone)]
pub struct Keeper {
    pub sink: String,
    /// The views it takes; `None`: all.
    pub views: Option<Vec<ViewName>>,
}

impl Keeper {
    /// Whether it keeps the history of this view, if the view has one.
    pub fn takes(&self, view: &ViewName) -> bool {
        self.views.as_ref().is_none_or(|views| views.contains(view))
    }
}

/// The two keys as they stand somewhere.
#[derive(Debug, Clone, Default)]
pub struct PastKeys {
    pub temporal: Option<Located<bool>>,
    pub retention: Option<Located<Duration>>,
}

impl PastKeys {
    /// Those of a table of the pipeline file.
    pub fn of_section(section: &mut Section<'_>) -> PastKeys {
        let temporal = section.boolean("temporal");
        let at = section.place_of("history_retention");
        let retention = section.duration("history_retention");
        PastKeys { temporal, retention: retention.zip(at).map(|(value, offset)| Located { value, offset }) }
    }

    /// Whether any of them is given.
    pub fn any(&self) -> bool {
        self.temporal.is_some() || self.retention.is_some()
    }

    /// What they say together, and where.
    pub fn history(&self) -> Result<Option<Located<History>>, Located<String>> {
        let retention = self.retention.as_ref().map(|retention| retention.value);
        match (&self.temporal, &self.retention) {
            (Some(Located { value: true, offset }), _) => {
                Ok(Some(Located { value: History { retention }, offset: *offset }))
            }
            (_, Some(Located { offset, .. })) => {
                let message = "`history_retention` says how long the past is kept: add `temporal = true`, which keeps it, \
                               or remove it";
                Err(Located { value: message.to_owned(), offset: *offset })
            }
            _ => Ok(None),
        }
    }
}
