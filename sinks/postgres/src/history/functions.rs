//! The SQL functions that ask a history: installed in the sink's schema, in the transaction of the first history.
//!
//! | function | answers |
//! | --- | --- |
//! | `tidegate_asof_pk("table", key, at)` | the row under a key as it was, or NULL |
//! | `tidegate_diff_pk("table", key, "from", "to")` | what changed under a key in between |
//! | `<view>_asof(epoch)`, `<view>_asof_ts(ts)` | all rows of a view as they were |
//!
//! They read with the rights of whoever asks. Names and values of the caller are quoted, values converted by the columns' types;
//! nothing depends on the caller's `search_path`.

use std::sync::Arc;

use arrow::datatypes::Schema;
use tidegate_core::{RowIdentity, ViewInfo, ViewName};
use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::{Session, Value, quote_ident, quote_literal, quote_name};

use crate::address::INDEX_COLUMNS_MAX;
use crate::catalog::MARK;
use crate::column::Column;
use crate::error::PostgresSinkError;
use crate::history::held::{HISTORY, NEVER, TIME};
use crate::history::{self, table_of};

/// Goes up when a function is written differently.
const VERSION: u32 = 1;

const KEY: &str = include_str!("key.sql");
const ASOF_PK: &str = include_str!("asof_pk.sql");
const DIFF_PK: &str = include_str!("diff_pk.sql");
const VIEW_OF: &str = include_str!("view_of.sql");
const EPOCH_OF: &str = include_str!("epoch_of.sql");
const EPOCH_HELD: &str = include_str!("epoch_held.sql");

/// A function to be there.
struct Function {
    name: String,
    /// The types of its arguments, as the catalog writes them.
    types: &'static str,
    /// What stands between its name and its body.
    declaration: String,
    body: String,
    what: &'static str,
}

/// A view with a history, as its functions need to know it.
#[derive(Clone, Copy)]
pub(crate) struct OfView<'a> {
    pub(crate) view: &'a ViewInfo,
    pub(crate) columns: &'a [Column],
    /// Its history was just made, so that functions over an older one must go.
    pub(crate) is_new: bool,
}

/// Makes the functions that are not there as they should be.
pub(crate) async fn install(session: &Session, schema: &str, views: &[OfView<'_>]) -> Result<(), PostgresSinkError> {
    let mut wanted: Vec<(Function, bool)> = general(schema).into_iter().map(|function| (function, false)).collect();
    wanted.extend(views.iter().flat_map(|view| of_view(schema, view).map(|function| (function, view.is_new))));
    let found = read(session, schema, wanted.iter().map(|(function, _)| function)).await?;
    let mut statements = Vec::new();
    for (function, found) in wanted.iter().zip(found) {
        let (function, is_new) = function;
        let text = function.comment(schema);
        let signature = format!("{}({})", quote_name([schema, &function.name]), function.types);
        match found {
            Found::Foreign => {
                let name = format!("{}({})", function.name, function.types);
                return Err(PostgresSinkError::ForeignFunction { schema: schema.to_owned(), name });
            }
            Found::Ours(comment) if comment == text && !is_new => continue,
            Found::Ours(_) => statements.push(format!("DROP FUNCTION {signature}")),
            Found::Absent => {}
        }
        statements.push(format!(
            "CREATE FUNCTION {}{} AS {}",
            quote_name([schema, &function.name]),
            function.declaration,
            quote_literal(&function.body)
        ));
        statements.push(format!("COMMENT ON FUNCTION {signature} IS {}", quote_literal(&text)));
    }
    if statements.is_empty() {
        return Ok(());
    }
    let made = session.batch("making the functions of histories", &statements).await;
    made.map_err(|error| PostgresSinkError::writing(schema, &HISTORY.into(), 0, error))?;
    Ok(())
}

/// Refuses names that functions have which are not ours.
pub(crate) async fn check(session: &Session, schema: &str, views: &[OfView<'_>]) -> Result<(), PostgresSinkError> {
    let mut wanted = general(schema);
    wanted.extend(views.iter().flat_map(|view| of_view(schema, view)));
    let found = read(session, schema, wanted.iter()).await?;
    match wanted.iter().zip(found).find(|(_, found)| matches!(found, Found::Foreign)) {
        Some((Function { name, types, .. }, _)) => {
            Err(PostgresSinkError::ForeignFunction { schema: schema.to_owned(), name: format!("{name}({types})") })
        }
        None => Ok(()),
    }
}

/// The statements that drop the functions of a view.
pub(crate) async fn drops(session: &Session, schema: &str, view: &ViewName) -> Result<Vec<String>, PostgresSinkError> {
    let info = ViewInfo::new(view.clone(), Arc::new(Schema::empty()), RowIdentity::WholeRow);
    let functions = of_view(schema, &OfView { view: &info, columns: &[], is_new: false });
    let found = read(session, schema, functions.iter()).await?;
    let ours = functions.iter().zip(found).filter(|(_, found)| matches!(found, Found::Ours(_)));
    Ok(ours.map(|(f, _)| format!("DROP FUNCTION {}({})", quote_name([schema, &f.name]), f.types)).collect())
}

/// What the schema has under a function's name and arguments.
enum Found {
    Absent,
    Ours(String),
    Foreign,
}

async fn read<'f>(
    session: &Session,
    schema: &str,
    wanted: impl Iterator<Item = &'f Function> + Clone,
) -> Result<Vec<Found>, PostgresSinkError> {
    let names: Vec<&str> = wanted.clone().map(|function| function.name.as_str()).collect();
    let sql = "SELECT p.proname::text, oidvectortypes(p.proargtypes), obj_description(p.oid, 'pg_proc') \
               FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
               WHERE n.nspname = $1::name AND p.proname = ANY ($2::name[])";
    let values: &[Value<'_>] = &[(&schema, Type::TEXT), (&names, Type::TEXT_ARRAY)];
    let rows = session.query("reading the functions", sql, values).await?;
    let of = |function: &Function| {
        let row =
            rows.iter().find(|row| row.get::<_, &str>(0) == function.name && row.get::<_, &str>(1) == function.types);
        match row.map(|row| row.get::<_, Option<String>>(2)) {
            None => Found::Absent,
            Some(Some(comment)) if comment.starts_with(MARK) => Found::Ours(comment),
            Some(_) => Found::Foreign,
        }
    };
    Ok(wanted.map(of).collect())
}

impl Function {
    fn comment(&self, schema: &str) -> String {
        format!("{MARK}{}; version {VERSION} for schema {schema}", self.what)
    }
}

/// The functions that a schema has once.
fn general(schema: &str) -> Vec<Function> {
    let settings = "LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp \
                    SET extra_float_digits = 1";
    let function =
        |name: &str, types: &'static str, arguments: &str, result: &str, body: &str, what: &'static str| Function {
            name: name.to_owned(),
            types,
            declaration: format!("({arguments}) RETURNS {result} {settings}"),
            body: filled(body, schema),
            what,
        };
    vec![
        function(
            "tidegate_history_view",
            "text",
            "\"table\" text",
            "text",
            VIEW_OF,
            "the view with a history that a name means",
        ),
        function(
            "tidegate_history_epoch",
            "text, timestamp with time zone",
            "view text, at timestamptz",
            "bigint",
            EPOCH_OF,
            "the epoch of a view that a moment means",
        ),
        function(
            "tidegate_history_epoch",
            "text, bigint",
            "view text, epoch bigint",
            "bigint",
            EPOCH_HELD,
            "an epoch of a view, if its history holds it",
        ),
        function(
            "tidegate_history_key",
            "text, jsonb",
            "view text, key jsonb",
            "text",
            KEY,
            "the condition that finds a key",
        ),
        function(
            "tidegate_asof_pk",
            "text, jsonb, timestamp with time zone",
            "\"table\" text, key jsonb, at timestamptz",
            "jsonb",
            ASOF_PK,
            "the row under a key as it was",
        ),
        function(
            "tidegate_diff_pk",
            "text, jsonb, timestamp with time zone, timestamp with time zone",
            "\"table\" text, key jsonb, \"from\" timestamptz, \"to\" timestamptz",
            "jsonb",
            DIFF_PK,
            "what changed under a key between two moments",
        ),
    ]
}

/// The functions of a view.
fn of_view(schema: &str, view: &OfView<'_>) -> [Function; 2] {
    let table = quote_name([schema, &table_of(view.view.name.as_str())]);
    let columns: Vec<_> =
        view.columns.iter().map(|column| format!("{} {}", quote_ident(&column.name), column.pg_type)).collect();
    let names: Vec<_> = view.columns.iter().map(|column| format!("h.{}", quote_ident(&column.name))).collect();
    let function = |suffix: &str, argument: &str, types: &'static str, what: &'static str| {
        // An argument cannot have the name of a column.
        let is_free = !view.columns.iter().any(|column| column.name == argument);
        let argument = if is_free { format!("{argument} {types}") } else { types.to_owned() };
        let epoch = format!(
            "(SELECT {}({}, $1))",
            quote_name([schema, "tidegate_history_epoch"]),
            quote_literal(view.view.name.as_str())
        );
        // The server looks into such a function when it plans the query around it.
        Function {
            name: format!("{}{suffix}", view.view.name),
            types,
            declaration: format!(
                "({argument}) RETURNS TABLE ({}) LANGUAGE sql STABLE PARALLEL SAFE",
                columns.join(", ")
            ),
            body: format!(
                "SELECT {} FROM {table} h WHERE h._valid_from_epoch OPERATOR(pg_catalog.<=) {epoch} AND \
                 (h._valid_to_epoch IS NULL OR h._valid_to_epoch OPERATOR(pg_catalog.>) {epoch})",
                names.join(", ")
            ),
            what,
        }
    };
    [
        function("_asof", "epoch", "bigint", "the view's rows as of an epoch"),
        function("_asof_ts", "ts", "timestamp with time zone", "the view's rows as of a moment"),
    ]
}

/// A body with the names of the schema's tables and functions.
fn filled(body: &str, schema: &str) -> String {
    let own: Vec<_> = history::COLUMNS.iter().map(|(name, ..)| quote_literal(name)).collect();
    body.replace("@own_quoted@", &own.join(", ").replace('\'', "''"))
        .replace("@columns_max@", &INDEX_COLUMNS_MAX.to_string())
        .replace("@never@", NEVER)
        .replace("@histories@", &quote_name([schema, HISTORY]))
        .replace("@times@", &quote_name([schema, TIME]))
        .replace("@epochs@", &quote_name([schema, crate::catalog::EPOCHS]))
        .replace("@schema_text@", &quote_literal(schema))
        .replace("@schema@", &quote_ident(schema))
}
