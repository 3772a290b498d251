//! Asks DuckDB what views are made of: their columns' names and types, over empty tables.

use std::collections::BTreeSet;

use tidegate_core::schema::duckdb_type;
use tidegate_core::{BindError, Binder, DeclaredColumn, TableSchema, ViewName};

use crate::error::clean;
use crate::{Duck, DuckError, quote_ident, quote_name};

/// The schema that is left out of two-part names, per source kind; DuckDB itself knows `main`.
const DEFAULT_SCHEMAS: [&str; 2] = ["main", "public"];

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
            Ok(duck) => views.iter().map(|(view, sql)| bind(&duck, view, sql)).collect(),
            Err(error) => {
                let refuse = |(view, _): &(ViewName, String)| {
                    Err(BindError { view: view.clone(), message: format!("the tables cannot be declared: {error}") })
                };
                views.iter().map(refuse).collect()
            }
        }
    }
}

/// Empty tables under the names that views use.
fn prepare(tables: &[TableSchema]) -> Result<Duck, DuckError> {
    let duck = Duck::open_in_memory()?;
    let sources: BTreeSet<&str> = tables.iter().map(|table| table.name.source.as_str()).collect();
    for source in sources {
        duck.execute(&format!("ATTACH ':memory:' AS {}", quote_ident(source)))?;
    }
    for table in tables {
        let name = &table.name;
        let columns = table.columns.fields().iter().map(|field| {
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
    Ok(duck)
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
