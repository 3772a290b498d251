//! Queries that are written out around others.

use datafusion_sql::sqlparser::ast::{
    GroupByExpr, Query, Select, SelectFlavor, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins,
    helpers::attached_token::AttachedToken,
};

/// `SELECT items FROM (subquery) AS alias`.
pub(super) fn select(items: Vec<SelectItem>, subquery: Box<Query>, alias: TableAlias) -> SetExpr {
    let relation = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
    let from = vec![TableWithJoins { relation, joins: Vec::new() }];
    SetExpr::Select(Box::new(Select { projection: items, from, ..empty() }))
}

/// A query that is nothing but `body`.
pub(super) fn query(body: SetExpr) -> Query {
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

pub(super) fn empty() -> Select {
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
