//! Rows that are written and not read: UNNEST and `range` in FROM, and VALUES. All become UNNEST of lists, with an
//! alias that names every column.

use datafusion_sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, Value, Values,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{self, call, refuse};
use super::literal;
use super::query::located;
use crate::error::Refusal;
use crate::names::Names;

/// The table functions that are lists of rows.
pub(super) const FUNCTIONS: [&str; 3] = ["unnest", "range", "generate_series"];

/// What VALUES is called, which nothing refers to.
const VALUES: &str = "#values";

/// A table function in FROM.
pub(super) struct TableFunction {
    /// Its name, in the case of the SQL.
    pub name: String,
    pub args: Vec<FunctionArg>,
    pub alias: Option<TableAlias>,
    /// Whether its rows are numbered.
    pub with_ordinality: bool,
}

impl TableFunction {
    /// The function as UNNEST of a list, its arguments prepared.
    pub(super) fn prepare(self, span: Span, names: &Names) -> Result<TableFactor, Refusal> {
        let own = self.name.to_ascii_lowercase();
        if !FUNCTIONS.contains(&own.as_str()) {
            let way_out = "read a table of a source, or write UNNEST, range or generate_series";
            return Err(located(span, refuse(&format!("the table function {own}"), way_out)));
        }
        let mut args = Vec::with_capacity(self.args.len());
        for arg in self.args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg else {
                let way_out = "write its arguments without names";
                return Err(located(span, refuse(&format!("{own} with such an argument"), way_out)));
            };
            args.push(arg);
        }
        if own != "unnest" {
            check_step(&own, &args).map_err(|refusal| located(span, refusal))?;
        }
        for arg in &mut args {
            expression::prepare(arg, names)?;
        }
        let list = match (own.as_str(), <[Expr; 1]>::try_from(args)) {
            ("unnest", Ok([list])) => list,
            ("unnest", Err(_)) => {
                return Err(located(span, Refusal::new("UNNEST in FROM takes one list: write one for each")));
            }
            (_, args) => call(&own, span, args.map_or_else(|args| args, Vec::from)),
        };
        let defaults =
            if self.with_ordinality { vec![own.clone(), "ordinality".to_owned()] } else { vec![own.clone()] };
        let alias = self.alias.unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::with_quote_and_span('"', span, &own),
            columns: Vec::new(),
        });
        Ok(unnest(vec![list], with_columns(alias, defaults)))
    }
}

/// With a step of 0 DuckDB's table function fails and its list has no items.
fn check_step(name: &str, args: &[Expr]) -> Result<(), Refusal> {
    let Some(step) = args.get(2) else { return Ok(()) };
    let mut bare = step;
    while let Expr::UnaryOp { expr, .. } | Expr::Nested(expr) = bare {
        bare = expr;
    }
    let is_constant = match bare {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.bytes().any(|digit| matches!(digit, b'1'..=b'9')),
            _ => false,
        },
        Expr::Interval(interval) => {
            let step = literal::interval(interval)?;
            step.months != 0 || step.days != 0 || step.micros != 0
        }
        _ => false,
    };
    if is_constant {
        return Ok(());
    }
    Err(refuse(&format!("{name} with the step {step}"), "write a number that is not 0, or an interval"))
}

/// VALUES as a query over lists: one list for each column, one item for each row.
pub(super) fn values(values: Values, span: Span, names: &Names) -> Result<SetExpr, Refusal> {
    let width = values.rows.first().map_or(0, Vec::len);
    if width == 0 || values.rows.iter().any(|row| row.len() != width) {
        return Err(located(
            span,
            Refusal::new("the rows of VALUES have different numbers of columns: write as many in each"),
        ));
    }
    let mut columns: Vec<Vec<Expr>> = vec![Vec::with_capacity(values.rows.len()); width];
    for row in values.rows {
        for (mut value, column) in row.into_iter().zip(&mut columns) {
            expression::prepare(&mut value, names)?;
            column.push(value);
        }
    }
    let names = (0..width).map(|column| Ident::with_quote('"', format!("col{column}"))).collect();
    let relation = rows(VALUES, columns, names);
    let mut body = *crate::parse::parse("SELECT * FROM lists")?.body;
    if let SetExpr::Select(select) = &mut body {
        for table in &mut select.from {
            table.relation = relation.clone();
        }
    }
    Ok(body)
}

/// Prepared values, column by column, as a table.
pub(super) fn rows(name: &str, columns: Vec<Vec<Expr>>, names: Vec<Ident>) -> TableFactor {
    let lists = columns.into_iter().map(|column| call(VALUES, Span::empty(), column)).collect();
    let columns = names.into_iter().map(|name| TableAliasColumnDef { name, data_type: None }).collect();
    let alias = TableAlias { explicit: true, name: Ident::with_quote('"', name), columns };
    let defaults = vec![String::new(); alias.columns.len()];
    unnest(lists, with_columns(alias, defaults))
}

fn unnest(array_exprs: Vec<Expr>, alias: TableAlias) -> TableFactor {
    TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    }
}

/// The alias with a name for each column: those it gives, and the defaults for the rest.
fn with_columns(mut alias: TableAlias, defaults: Vec<String>) -> TableAlias {
    alias.name = expression::lower(alias.name);
    alias.columns.truncate(defaults.len());
    for column in &mut alias.columns {
        column.name = expression::lower(column.name.clone());
    }
    for name in defaults.into_iter().skip(alias.columns.len()) {
        alias.columns.push(TableAliasColumnDef { name: Ident::with_quote('"', name), data_type: None });
    }
    alias
}
