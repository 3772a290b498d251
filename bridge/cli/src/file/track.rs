//! `[track."app.orders"]`: tables of sources whose rows are kept as they were. Each is a view over the whole table with
//! a key and a history.

use tidegate_core::{History, ViewName};
use tidegate_duck::quote_ident;
use tidegate_engine::ViewDef;

use super::Document;
use super::past::Kept;
use super::section::Section;
use super::sql;
use super::views::{Origin, View};

/// A table that is tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    /// As the pipeline file writes it: `app.orders`.
    pub table: String,
    /// Its parts, without quotes.
    pub parts: Vec<String>,
}

impl Tracked {
    /// Reads `source.table` or `source.schema.table`.
    pub fn parse(table: &str) -> Option<Tracked> {
        let parts = sql::name_parts(table)?;
        matches!(parts.len(), 2 | 3).then(|| Tracked { table: table.to_owned(), parts })
    }

    /// The view that holds it.
    pub fn view(&self) -> String {
        let plain = |c: char| if c.is_alphanumeric() { c } else { '_' };
        self.parts.join("_").chars().map(plain).collect()
    }

    /// The table as SQL names it.
    pub fn sql_name(&self) -> String {
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let part = |part: &String| if plain(part) { part.clone() } else { quote_ident(part) };
        self.parts.iter().map(part).collect::<Vec<_>>().join(".")
    }

    /// Whether a name, however it is written, is that of the table.
    pub fn is_called(&self, parts: &[String]) -> bool {
        parts.len() == self.parts.len()
            && parts.iter().zip(&self.parts).all(|(a, b)| a.to_lowercase() == b.to_lowercase())
    }
}

/// How a table is named.
pub const FORM: &str = "write \"source.table\" or \"source.schema.table\"";

/// Adds the views of the tracked tables.
pub(super) fn read(document: &Document, sections: Vec<(String, Section<'_>)>, views: &mut Vec<View>) {
    for (name, mut section) in sections {
        let offset = section.offset();
        let Some(tracked) = Tracked::parse(&name) else {
            let message = match sql::name_parts(&name) {
                Some(parts) if parts.len() == 1 => {
                    format!("`{name}` is no table of a source: {FORM}, in quotes, as in [track.\"app.orders\"]")
                }
                _ => format!("`{name}` is no table of a source: {FORM}"),
            };
            document.fault(offset, message);
            continue;
        };
        let has_key = section.place_of("key").is_some();
        let key = section.texts("key");
        let retention = section.duration("retention");
        section.end();
        let key = match key {
            Some(key) if !key.is_empty() => key.into_iter().map(|column| column.value).collect(),
            _ => {
                if !has_key || key.is_some() {
                    let message = "a tracked table is asked for by its key: add key = [\"id\"] with the columns that tell its rows apart";
                    document.fault(offset, message);
                }
                continue;
            }
        };
        let view = tracked.view();
        if let Some(other) = views.iter().find(|other| other.def.name.as_str().to_lowercase() == view.to_lowercase()) {
            let message = format!(
                "the tracked table `{name}` is kept as `{view}`, and there is {} of that name already, at {}: rename that",
                match &other.tracked {
                    Some(other) => format!("the tracked table `{}`", other.table),
                    None => "a view".to_owned(),
                },
                other.origin.place(),
            );
            document.fault(offset, message);
            continue;
        }
        let origin = Origin::at(document, offset);
        let sql = format!("SELECT * FROM {}", tracked.sql_name());
        views.push(View {
            def: ViewDef { name: ViewName::new(view), sql, key: Some(key) },
            origin: origin.clone(),
            history: Some(Kept { history: History { retention }, origin }),
            tracked: Some(tracked),
        });
    }
}
