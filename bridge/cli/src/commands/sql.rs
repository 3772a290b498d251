//! `tidegate sql`: one query over a mart, in which views can be asked for as they were.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, json};
use tidegate_core::{ErrorKind, chain};
use tidegate_duck::{DuckError, quote_ident, quote_name};

use super::asof::{about, facts};
use crate::failure::Failure;
use crate::file::View;
use crate::past::mart::CATALOG;
use crate::past::query::{Condition, as_of};
use crate::past::rewrite::{self, references, rewritten};
use crate::past::{Answer, Format, OpenMart, Opening, Past, Rows, Sought};

/// Names that DuckDB has for itself.
const RESERVED: [&str; 5] = ["memory", "temp", "system", CATALOG, rewrite::CATALOG];

/// Asks a mart; nothing in it can be changed.
pub fn sql(path: &Path, text: &str, sink: Option<&str>, format: Format) -> Result<(), Failure> {
    let duck = Opening::begin(Sought::Rows);
    let mut past = Past::open(path)?;
    let references = references(text, &duck)?;
    for reference in &references {
        past.view_called(&reference.name)?;
    }
    let entries = references.iter().map(|reference| past.resolve(&reference.moment)).collect::<Result<Vec<_>, _>>()?;
    let views = references.iter().map(|reference| past.view_called(&reference.name));
    let views: Vec<&View> = views.collect::<Result<_, _>>()?;
    let open = OpenMart::open(past.mart(sink, &views)?, &duck)?;
    open.duck.execute(&format!("USE {CATALOG}"))?;
    name_tracked_tables(&past, &open)?;
    open.duck.execute(&format!("ATTACH ':memory:' AS {}", rewrite::CATALOG))?;
    let mut moments = Vec::new();
    let mut told = Vec::new();
    for (index, ((reference, view), at)) in references.iter().zip(&views).zip(&entries).enumerate() {
        let history = open.history(view)?;
        history.reaches(&past, at.epoch, open.mart)?;
        let schema = quote_name([rewrite::CATALOG, &rewrite::schema(index)]);
        let (name, rows) = (rewrite::replacement(index, reference), as_of(&history, at.epoch, &Condition::default()));
        open.duck.execute(&format!("CREATE SCHEMA {schema}; CREATE VIEW {name} AS {rows}"))?;
        moments.push(json!({ "view": view.def.name, "at": facts(at) }));
        told.push(format!("{} as of {}", view.def.name, about(at)));
    }
    let query = rewritten(text, &references);
    let failed = |error: DuckError| Failure::new(error.kind(), format!("the query: {}", chain(&error)));
    if let Err(error) = open.duck.describe_columns(&format!("FROM (\n{query}\n)")) {
        // DuckDB's word on the query itself is the better one. A single statement is not executed by this.
        let connection = open.duck.connection();
        connection.prepare(&query).map(drop).map_err(|error| failed(open.duck.error(&error)))?;
        tracing::debug!(%error, "not a query");
        let message =
            "tidegate sql answers one query (SELECT …) and changes nothing: for anything else use DuckDB itself";
        return Err(Failure::new(ErrorKind::Reconfigure, message));
    }
    let facts = if moments.is_empty() { Map::new() } else { Map::from_iter([("as_of".to_owned(), json!(moments))]) };
    Rows { duck: open.duck, query, columns: None }.write(Answer { about: told.join("\n"), facts, rows: "rows" }, format)
}

/// Makes `app.orders` a name of the table that keeps it.
fn name_tracked_tables(past: &Past, open: &OpenMart<'_>) -> Result<(), Failure> {
    let mut sources = BTreeSet::new();
    for view in &past.assembly.views {
        let Some(tracked) = &view.tracked else { continue };
        let [source, rest @ ..] = tracked.parts.as_slice() else { continue };
        let source = source.to_lowercase();
        let name = view.def.name.as_str();
        if RESERVED.contains(&source.as_str()) || open.columns(name)?.is_none() {
            continue;
        }
        if sources.insert(source.clone()) {
            open.duck.execute(&format!("ATTACH ':memory:' AS {}", quote_ident(&source)))?;
        }
        let (schema, table) = match rest {
            [schema, table] => (schema.as_str(), table),
            [table] => ("main", table),
            _ => continue,
        };
        let schema = quote_name([&source, schema]);
        open.duck.execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE VIEW {schema}.{} AS FROM {}",
            quote_ident(table),
            quote_name([CATALOG, "main", name]),
        ))?;
    }
    Ok(())
}
