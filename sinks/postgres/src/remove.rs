//! Takes away what the database holds of a view that is gone: table, history, functions and epochs, in one transaction.

use std::collections::BTreeSet;

use tidegate_core::{Removal, ViewName};
use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::{PostgresError, Session, Value, quote_literal, quote_name};

use crate::catalog::{Catalog, EPOCHS};
use crate::commit::lock;
use crate::error::PostgresSinkError;
use crate::history::held::{HISTORY, Histories, TIME};
use crate::history::{self, functions};

/// Removes a view. After an error the session is not used again.
pub(crate) async fn remove(session: &Session, schema: &str, view: &ViewName) -> Result<Removal, PostgresSinkError> {
    session.execute("beginning a transaction", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
    // As a commit does: nobody writes it from here on.
    lock(session, schema, &[view.as_str()]).await?;
    let history = history::table_of(view.as_str());
    let catalog = Catalog::read(session, schema, &[view.as_str(), &history], &[HISTORY, TIME]).await?;
    let is_noted = catalog.epochs.contains_key(view.as_str());
    let is_kept = Histories::read(session, schema, &catalog, &[view.as_str()]).await?.held.contains_key(view.as_str());
    let found = catalog.relations.get(view.as_str());
    if !is_noted && !is_kept {
        session.execute("ending a transaction", "ROLLBACK").await?;
        return if found.is_some() { Err(not_ours(schema, view)) } else { Ok(Removal::Nothing) };
    }
    let mut tables = BTreeSet::new();
    match found {
        Some(found) if is_noted && found.kind == "r" => drop(tables.insert(view.to_string())),
        // Somebody put something else in its place.
        Some(_) if is_noted => return Err(not_ours(schema, view)),
        _ => {}
    }
    let mut statements = Vec::new();
    if is_kept {
        statements.extend(functions::drops(session, schema, view).await?);
        tables.extend(histories(session, schema, view).await?);
        if catalog.relations.get(&history).is_some_and(|found| found.kind == "r") {
            tables.insert(history.clone());
        }
        // A view of the pipeline may be called that.
        if catalog.epochs.contains_key(&history) {
            tables.remove(&history);
        }
    }
    statements.extend(tables.iter().map(|table| format!("DROP TABLE {}", quote_name([schema, table]))));
    let mut notes = Vec::new();
    if is_noted {
        notes.push(EPOCHS);
    }
    if is_kept {
        notes.extend([HISTORY, TIME]);
    }
    let name = quote_literal(view.as_str());
    let forget = |table: &str| format!("DELETE FROM {} WHERE view = {name}", quote_name([schema, table]));
    statements.extend(notes.into_iter().map(forget));
    let done = session.batch("removing a view", &statements).await;
    done.map_err(|error| refused(schema, view, error))?;
    session.execute("committing", "COMMIT").await?;
    Ok(Removal::Removed)
}

/// The tables with versions of a view, those that were put aside under other columns too, by what we noted on them.
async fn histories(session: &Session, schema: &str, view: &ViewName) -> Result<Vec<String>, PostgresSinkError> {
    let sql = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0 \
               WHERE n.nspname = $1::name AND c.relkind = 'r' AND d.description = $2";
    let comment = history::comment(view);
    let values: &[Value<'_>] = &[(&schema, Type::TEXT), (&comment, Type::TEXT)];
    let rows = session.query("looking for the history of a view", sql, values).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn not_ours(schema: &str, view: &ViewName) -> PostgresSinkError {
    PostgresSinkError::NotOurs { schema: schema.to_owned(), view: view.clone() }
}

/// Objects of other people over the view's are theirs: with them it stays.
fn refused(schema: &str, view: &ViewName, error: PostgresError) -> PostgresSinkError {
    match &error {
        PostgresError::Refused { state, message, about, .. } if state == "2BP01" => PostgresSinkError::InUse {
            schema: schema.to_owned(),
            view: view.clone(),
            dependents: about.dependents.as_deref().unwrap_or(message).replace('\n', "; "),
        },
        _ => PostgresSinkError::Server(error),
    }
}
