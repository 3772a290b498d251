//! `UNION BY NAME`: each side becomes a subquery that selects the columns of both in one order, NULL for what it
//! does not have.

use datafusion_sql::sqlparser::ast::{Expr, Ident, SelectItem, SetExpr, TableAlias, Value};

use super::derived;
use super::sight::{Column, Columns};
use crate::error::Refusal;

/// What a side is called where its columns are selected.
const SIDE: &str = "#side";

/// Writes both sides with the same columns, those of the left side first.
pub(super) fn union(
    left: &mut SetExpr,
    right: &mut SetExpr,
    of_left: Columns,
    of_right: Columns,
) -> Result<Vec<Column>, Refusal> {
    let (of_left, of_right) = (named(of_left)?, named(of_right)?);
    let mut all = of_left.clone();
    all.extend(of_right.iter().filter(|column| !has(&of_left, column)).cloned());
    for (side, columns) in [(left, &of_left), (right, &of_right)] {
        let same = columns.len() == all.len() && columns.iter().zip(&all).all(|(a, b)| a.name == b.name);
        if !same {
            *side = selected(side, columns, &all);
        }
    }
    Ok(all.into_iter().map(|column| Column { data_type: None, ..column }).collect())
}

fn has(columns: &[Column], wanted: &Column) -> bool {
    columns.iter().any(|column| column.name == wanted.name)
}

/// The columns of a side, if each has a name of its own.
fn named(columns: Columns) -> Result<Vec<Column>, Refusal> {
    let columns = columns.ok_or_else(|| {
        Refusal::new("UNION BY NAME of a query whose columns are not known here: name them in its select list")
    })?;
    if let Some(position) = columns.iter().position(|column| column.shown.is_none()) {
        return Err(Refusal::new(format!(
            "UNION BY NAME needs a name for every column: give column {} of this query one with AS",
            position + 1
        )));
    }
    Ok(columns)
}

/// `SELECT a, NULL AS b FROM (side)`.
fn selected(side: &mut SetExpr, columns: &[Column], all: &[Column]) -> SetExpr {
    let quoted = |name: &str| Ident::with_quote('"', name);
    let item = |column: &Column| {
        let expr = if has(columns, column) {
            Expr::CompoundIdentifier(vec![quoted(SIDE), quoted(&column.name)])
        } else {
            Expr::Value(Value::Null.with_empty_span())
        };
        SelectItem::ExprWithAlias { expr, alias: quoted(&column.name) }
    };
    let taken = std::mem::replace(side, SetExpr::Select(Box::new(derived::empty())));
    let subquery = match taken {
        SetExpr::Query(query) => query,
        body => Box::new(derived::query(body)),
    };
    let alias = TableAlias { explicit: true, name: quoted(SIDE), columns: Vec::new() };
    derived::select(all.iter().map(item).collect(), subquery, alias)
}
