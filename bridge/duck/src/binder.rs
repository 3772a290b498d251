//! Asks DuckDB what views are made of: their columns' names and types, over empty tables.

use std::collections::BTreeSet;

use tidegate_core::schema::duckdb_type;
use tidegate_core::{BindError, Binder, DeclaredColumn, TableSchema, ViewName};

use crate::error::clean;
use crate::{Duck, DuckError, Extension, quote_ident, quote_name};

/// The schema that is left out of two-part names, per source kind; DuckDB itself knows `main`.
const DEFAULT_SCHEMAS: [&str; 2] = ["main", "public"];

/// The virtual column that DuckDB's own tables do not have.
const SNAPSHOT_ID: &str = "snapshot_id";

/// A [`Binder`] over a DuckDB in memory, opened anew for each question.
#[derive(Debug, Clone, Copy, Default)]
pub struct DuckBinder;

impl Binder for DuckBinder {
    fn describe(
        &self,
        tables: &[TableSchema],
        views: &[(ViewName, String)],
    ) -> Vec<Result<Vec<DeclaredColumn>, BindError>> {
        match prepare(tables) {
            Ok((duck, missing)) => {
                let answer = |(view, sql): &(ViewName, String)| {
                    bind(&duck, view, sql).map_err(|refused| match &missing {
                        Some(missing) if sql.to_ascii_lowercase().contains(SNAPSHOT_ID) => explained(refused, missing),
                        _ => refused,
                    })
                };
                views.iter().map(answer).collect()
            }
            Err(error) => {
                let refuse = |(view, _): &(ViewName, String)| {
                    Err(BindError { view: view.clone(), message: format!("the tables cannot be declared: {error}") })
                };
                views.iter().map(refuse).collect()
            }
        }
    }
}

/// Empty tables under the names that views use. Every table of DuckDB has a `rowid`; a `snapshot_id` that `*` leaves out has none
/// but a lake's, so that such tables are in a lake in memory. Answers also why that cannot be had.
fn prepare(tables: &[TableSchema]) -> Result<(Duck, Option<DuckError>), DuckError> {
    let duck = Duck::open_in_memory()?;
    let sources: BTreeSet<&str> = tables.iter().map(|table| table.name.source.as_str()).collect();
    let mut missing = None;
    for source in sources {
        let mut of_source = tables.iter().filter(|table| table.name.source == source);
        let is_lake = of_source.any(|table| table.virtual_columns().iter().any(|field| field.name() == SNAPSHOT_ID));
        let source = quote_ident(source);
        // Nothing is ever written there.
        let lake = format!("ATTACH 'ducklake::memory:' AS {source} (DATA_PATH 'nothing')");
        let attached = is_lake.then(|| duck.load(Extension::Ducklake).and_then(|()| duck.execute(&lake)));
        if !matches!(attached, Some(Ok(()))) {
            duck.execute(&format!("ATTACH ':memory:' AS {source}"))?;
        }
        missing = missing.or(attached.and_then(Result::err));
    }
    for table in tables {
        let name = &table.name;
        let columns = table.own_columns().iter().map(|field| {
            let duckdb_type = duckdb_type(field).ok_or_else(|| DuckError::Mismatch {
                message: format!("column {} of {name} carries no DuckDB type", field.name()),
            })?;
            let nullable = if field.is_nullable() { "" } else { " NOT NULL" };
            Ok(format!("{} {duckdb_type}{nullable}", quote_ident(field.name())))
        });
        let columns = columns.collect::<Result<Vec<_>, DuckError>>()?.join(", ");
        let schema = quote_name([name.source.as_str(), name.schema.as_str()]);
        duck.execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"))?;
        duck.execute(&format!("CREATE TABLE {schema}.{} ({columns})", quote_ident(&name.table)))?;
    }
    // `source.table` stands for the table in the source's default schema. A schema or table of the
    // same name in DuckDB's own default schema wins, as it does for DuckDB.
    for table in tables.iter().filter(|t| t.name.schema != "main" && DEFAULT_SCHEMAS.contains(&t.name.schema.as_str()))
    {
        let name = &table.name;
        let present = quote_name([name.source.as_str(), "main", name.table.as_str()]);
        let target = quote_name([name.source.as_str(), name.schema.as_str(), name.table.as_str()]);
        duck.execute(&format!("CREATE VIEW IF NOT EXISTS {present} AS FROM {target}"))?;
    }
    // The time of the epoch; what it is does not matter here.
    duck.execute("CREATE MACRO tidegate_now() AS TIMESTAMP WITH TIME ZONE '2000-01-01 00:00:00+00'")?;
    // What is bound here is never run, and must not reach for files and servers either.
    duck.execute("SET enable_external_access = false; SET lock_configuration = true")?;
    Ok((duck, missing))
}

/// What DuckDB says of a view that names `snapshot_id`, without the extension that knows it.
fn explained(refused: BindError, missing: &DuckError) -> BindError {
    let message = format!("{}\n\nsnapshot_id is known with DuckDB's extension alone: {missing}", refused.message);
    BindError { message, ..refused }
}

fn bind(duck: &Duck, view: &ViewName, sql: &str) -> Result<Vec<DeclaredColumn>, BindError> {
    let refuse = |error: duckdb::Error| BindError { view: view.clone(), message: tidy(&error.to_string()) };
    let name = quote_ident(view.as_str());
    let sql = sql.trim().trim_end_matches(';');
    // The parentheses admit one query and nothing else.
    let statement = format!("CREATE VIEW {name} AS (\n{sql}\n)");
    duck.connection().execute_batch(&statement).map_err(refuse)?;
    let columns = || {
        let mut statement = duck.connection().prepare(&format!("DESCRIBE FROM {name}"))?;
        let rows = statement.query_map([], |row| Ok(DeclaredColumn { name: row.get(0)?, duckdb_type: row.get(1)? }))?;
        rows.collect::<duckdb::Result<Vec<_>>>()
    };
    columns().map_err(refuse)
}

/// What DuckDB says, with its near matches and its pointer into the SQL, without what only concerns
/// DuckDB itself. Lines are counted as the view's author does.
fn tidy(message: &str) -> String {
    let message = message.split("\n\nStack Trace").next().unwrap_or(message).trim();
    let Some((said, place)) = message.split_once("\n\nLINE ") else { return clean(message) };
    let digits = place.find(|c: char| !c.is_ascii_digit()).unwrap_or(place.len());
    // The statement around the view's SQL is the first line.
    let line = place[..digits].parse::<usize>().unwrap_or(2).saturating_sub(1).max(1);
    format!("{said}\n\nLINE {line:<digits$}{}", &place[digits..])
}
