//! Which column names are in sight where a name may mean a column of FROM or one that the select list gives.
//! Where it is not known exactly, more names are answered than there are, and never fewer.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins};

use super::limit::aliases;
use crate::error::Refusal;
use crate::names::{Ctes, Names};
use crate::walk;

/// Refuses a name in QUALIFY that is both a column of FROM, which DuckDB takes, and a name of the select list.
pub(super) fn check_qualify(select: &Select, names: &Names, ctes: &Ctes) -> Result<(), Refusal> {
    let Some(qualify) = &select.qualify else { return Ok(()) };
    let aliases = aliases(select);
    let columns = of_tables(&select.from, names, ctes);
    let found = walk::expressions(qualify, |expr| match expr {
        Expr::Identifier(name) => {
            let lower = name.value.to_ascii_lowercase();
            let is_both = aliases.iter().any(|(alias, _)| *alias == lower) && columns.contains(&lower);
            if is_both { ControlFlow::Break(name.clone()) } else { ControlFlow::Continue(()) }
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(name) => Err(Refusal::at(
            name.span,
            format!("{} is a column and a name of the select list: give the selected one another name", name.value),
        )),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The columns of a prepared query.
pub(super) fn of_query(query: &Query, names: &Names, ctes: &Ctes) -> BTreeSet<String> {
    let mut inner = ctes.clone();
    for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
        let mut columns = of_query(&cte.query, names, &inner);
        columns.extend(cte.alias.columns.iter().map(|column| column.name.value.clone()));
        inner.push((cte.alias.name.value.clone(), columns));
    }
    of_body(&query.body, names, &inner)
}

fn of_body(body: &SetExpr, names: &Names, ctes: &Ctes) -> BTreeSet<String> {
    match body {
        SetExpr::Select(select) => of_select(select, names, ctes),
        SetExpr::Query(query) => of_query(query, names, ctes),
        SetExpr::SetOperation { left, .. } => of_body(left, names, ctes),
        _ => BTreeSet::new(),
    }
}

fn of_select(select: &Select, names: &Names, ctes: &Ctes) -> BTreeSet<String> {
    let mut columns = BTreeSet::new();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) | SelectItem::ExprWithAlias { alias: name, .. } => {
                columns.insert(name.value.clone());
            }
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                columns.extend(parts.last().map(|name| name.value.clone()));
            }
            SelectItem::UnnamedExpr(_) => {}
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                columns.extend(of_tables(&select.from, names, ctes));
            }
        }
    }
    columns
}

fn of_tables(from: &[TableWithJoins], names: &Names, ctes: &Ctes) -> BTreeSet<String> {
    let tables = from
        .iter()
        .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
    tables.flat_map(|table| of_table(table, names, ctes)).collect()
}

fn of_table(table: &TableFactor, names: &Names, ctes: &Ctes) -> BTreeSet<String> {
    let (mut columns, alias) = match table {
        TableFactor::Table { name, alias, .. } => {
            let parts = crate::parse::parts(name);
            let cte = ctes.iter().rev().find(|(cte, _)| parts.len() == 1 && *cte == parts[0]);
            let columns = match cte {
                Some((_, columns)) => columns.clone(),
                None => names.columns_of(&parts),
            };
            (columns, alias)
        }
        TableFactor::Derived { subquery, alias, .. } => (of_query(subquery, names, ctes), alias),
        TableFactor::NestedJoin { table_with_joins, alias } => {
            (of_tables(std::slice::from_ref(table_with_joins), names, ctes), alias)
        }
        TableFactor::UNNEST { alias, .. } => (BTreeSet::new(), alias),
        _ => return BTreeSet::new(),
    };
    columns.extend(alias.iter().flat_map(|alias| &alias.columns).map(|column| column.name.value.clone()));
    columns
}
