//! `UNION BY NAME`: each side becomes a subquery that selects the columns of both in one order, NULL for what it
//! does not have.

use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Query, Select, SelectFlavor, SelectItem, SetExpr, TableAlias, TableFactor,
    TableWithJoins, Value, helpers::attached_token::AttachedToken,
};

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
    let taken = std::mem::replace(side, SetExpr::Select(Box::new(empty())));
    let subquery = match taken {
        SetExpr::Query(query) => query,
        body => Box::new(query(body)),
    };
    let alias = Some(TableAlias { explicit: true, name: quoted(SIDE), columns: Vec::new() });
    let relation = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
    let from = vec![TableWithJoins { relation, joins: Vec::new() }];
    SetExpr::Select(Box::new(Select { projection: all.iter().map(item).collect(), from, ..empty() }))
}

fn query(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

fn empty() -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hint: None,
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: Vec::new(),
        exclude: None,
        into: None,
        from: Vec::new(),
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        window_before_qualify: false,
        qualify: None,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}
