//! The first walk over a query: it writes out what depends on the columns in sight, so that the rest of the syntax
//! need not know them: `*` and `COLUMNS`, `USING` and `NATURAL`, `UNION BY NAME`, names that the select list gives,
//! fields of structs, `ORDER BY ALL`.
//!
//! Where the columns of a FROM clause are not known, its query stays as it is.

use std::collections::BTreeSet;

use datafusion_sql::sqlparser::ast::{
    self, BinaryOperator, Cte, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderBy,
    OrderByExpr, OrderByKind, Query, Select, SelectFlavor, SelectItem, SetExpr, SetOperator, SetQuantifier, Spanned,
    TableAlias, TableAliasColumnDef, TableFactor, TableFunctionArgs, TableWithJoins, WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use tidegate_core::schema;

use super::expression::number;
use super::reference::{Aliases, Clause, Resolver};
use super::sight::{Column, Columns, Kept, Sight};
use super::{by_name, pivot, recursion, star, unnest};
use crate::error::Refusal;
use crate::names::Names;

/// Writes out a whole query in place.
pub(super) fn prepare(query: &mut Query, names: &Names) -> Result<(), Refusal> {
    Spread { names, ctes: Vec::new(), outer: Vec::new() }.query(query).map(|_| ())
}

/// What a query may read.
#[derive(Clone)]
pub(super) struct Spread<'a> {
    pub names: &'a Names,
    ctes: Vec<(String, Columns)>,
    /// What the queries around see, the nearest last.
    pub outer: Vec<Sight>,
}

impl Spread<'_> {
    /// The same for a subquery of an expression that sees `sight`.
    pub(super) fn within(&self, sight: &Sight) -> Self {
        let mut inner = self.clone();
        inner.outer.push(sight.clone());
        inner
    }

    /// Writes out a query and answers its columns.
    pub(super) fn query(&mut self, query: &mut Query) -> Result<Columns, Refusal> {
        let around = self.ctes.len();
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                let name = cte.alias.name.value.to_ascii_lowercase();
                let columns = if with.recursive && recursion::reads_itself(cte) {
                    self.recursive(&name, cte)?
                } else {
                    self.query(&mut cte.query)?
                };
                self.ctes.push((name, renamed(columns, &mut cte.alias)));
            }
        }
        let order = query.order_by.as_mut();
        let columns = match query.body.as_mut() {
            SetExpr::Select(select) => self.select(select, order)?,
            body => self.body(body)?,
        };
        self.ctes.truncate(around);
        if let (Some(order), Some(columns)) = (&mut query.order_by, &columns) {
            order_by_all(order, columns.len());
        }
        Ok(columns)
    }

    /// Writes out a recursive common table expression, whose last query sees the columns of the first.
    fn recursive(&mut self, name: &str, cte: &mut Cte) -> Result<Columns, Refusal> {
        let Some(mut start) = recursion::start(&cte.query) else { return Ok(None) };
        let columns = self.query(&mut start)?.map(untyped);
        let around = self.ctes.len();
        self.ctes.push((name.to_owned(), renamed(columns, &mut cte.alias.clone())));
        let columns = self.query(&mut cte.query)?;
        self.ctes.truncate(around);
        Ok(columns)
    }

    fn body(&mut self, body: &mut SetExpr) -> Result<Columns, Refusal> {
        let span = body.span();
        match body {
            SetExpr::Select(select) => self.select(select, None),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                let (of_left, of_right) = (self.body(left)?, self.body(right)?);
                let plain = match set_quantifier {
                    SetQuantifier::ByName => SetQuantifier::None,
                    SetQuantifier::AllByName => SetQuantifier::All,
                    SetQuantifier::DistinctByName => SetQuantifier::Distinct,
                    _ => return Ok(of_left.map(untyped)),
                };
                if *op != SetOperator::Union {
                    return Ok(None);
                }
                *set_quantifier = plain;
                by_name::union(left, right, of_left, of_right)
                    .map(Some)
                    .map_err(|refusal| refusal.or_at((span.start.line > 0).then_some(span.start)))
            }
            SetExpr::Values(values) => {
                let sight = Sight::default();
                Resolver::new(self, &sight).visit(values, &Aliases::default(), &Clause::Select)?;
                let width = values.rows.first().map_or(0, Vec::len);
                Ok(Some((0..width).map(|column| untyped_column(&format!("col{column}"))).collect()))
            }
            _ => Ok(None),
        }
    }

    fn select(&mut self, select: &mut Select, order: Option<&mut OrderBy>) -> Result<Columns, Refusal> {
        if select.flavor == SelectFlavor::FromFirstNoSelect {
            select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
            select.flavor = SelectFlavor::Standard;
        }
        let mut unnamed = 0;
        let mut sight = Sight::default();
        for table in &mut select.from {
            sight = self.joined(table, sight, &mut unnamed)?;
        }
        let resolver = Resolver::new(self, &sight);
        let items = star::spread(std::mem::take(&mut select.projection), &sight)?;
        let mut aliases = Aliases::default();
        for item in items {
            let item = resolver.item(item, &aliases)?;
            if let SelectItem::ExprWithAlias { expr, alias } = &item {
                aliases.add(alias, expr);
            }
            select.projection.push(item);
        }
        if let Some(selection) = &mut select.selection {
            star::spread_condition(selection, &sight)?;
            resolver.expr(selection, &aliases, &Clause::Where)?;
        }
        let mut groups = Vec::new();
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            for expr in exprs.iter_mut() {
                resolver.expr(expr, &aliases, &Clause::GroupBy)?;
            }
            groups.clone_from(exprs);
        }
        if let Some(having) = &mut select.having {
            resolver.expr(having, &aliases, &Clause::Having(groups))?;
        }
        for window in &mut select.named_window {
            resolver.visit(window, &aliases, &Clause::Select)?;
        }
        if let Some(qualify) = &mut select.qualify {
            resolver.expr(qualify, &aliases, &Clause::Output)?;
        }
        if let Some(distinct) = &mut select.distinct {
            resolver.visit(distinct, &aliases, &Clause::Output)?;
        }
        if let Some(order) = order {
            resolver.visit(order, &aliases, &Clause::Output)?;
        }
        Ok(outputs(&select.projection, &sight))
    }

    /// The sight of tables after those before them, which they may read.
    fn joined(&mut self, table: &mut TableWithJoins, before: Sight, unnamed: &mut usize) -> Result<Sight, Refusal> {
        let mut sight = self.factor(&mut table.relation, &before, unnamed)?;
        for join in &mut table.joins {
            let span = join.relation.span();
            let readable = before.clone().and(sight.clone());
            let right = self.factor(&mut join.relation, &readable, unnamed)?;
            sight = self.join(sight, right, join, span)?;
        }
        Ok(before.and(sight))
    }

    /// The sight of a join, whose condition becomes ON.
    fn join(&self, left: Sight, right: Sight, join: &mut ast::Join, span: Span) -> Result<Sight, Refusal> {
        use JoinOperator as Join;
        let is_asof = join.global;
        let operator = &mut join.join_operator;
        let left_only = matches!(operator, Join::Semi(_) | Join::LeftSemi(_) | Join::Anti(_) | Join::LeftAnti(_));
        let (constraint, kept) = match operator {
            Join::Join(constraint)
            | Join::Inner(constraint)
            | Join::CrossJoin(constraint)
            | Join::Left(constraint)
            | Join::LeftOuter(constraint)
            | Join::Semi(constraint)
            | Join::LeftSemi(constraint)
            | Join::Anti(constraint)
            | Join::LeftAnti(constraint) => (constraint, Kept::Left),
            Join::Right(constraint) | Join::RightOuter(constraint) => (constraint, Kept::Right),
            Join::FullOuter(constraint) => (constraint, Kept::Either),
            _ => return Ok(Sight::unknown()),
        };
        let names: Vec<String> = match constraint {
            JoinConstraint::On(condition) => {
                let both = left.clone().and(right.clone());
                Resolver::new(self, &both).expr(condition, &Aliases::default(), &Clause::On)?;
                return Ok(if left_only { left } else { both });
            }
            JoinConstraint::None => return Ok(if left_only { left } else { left.and(right) }),
            JoinConstraint::Natural => left.common(&right, span),
            JoinConstraint::Using(columns) => {
                columns.iter().filter_map(|name| crate::parse::parts(name).pop()).collect()
            }
        };
        if !left.is_known() || !right.is_known() || names.is_empty() {
            return Ok(Sight::unknown());
        }
        if is_asof && (!matches!(constraint, JoinConstraint::Using(_)) || is_any_twice(&names)) {
            return Ok(Sight::unknown());
        }
        let before = left.clone();
        let Some((both, pairs)) = left.join_by_name(right, &names, kept, span) else { return Ok(Sight::unknown()) };
        let last = pairs.len().saturating_sub(1);
        let compared = |(position, (left, right)): (usize, (Expr, Expr))| Expr::BinaryOp {
            left: Box::new(left),
            // The last column of an ASOF join is its inequality.
            op: if is_asof && position == last { BinaryOperator::GtEq } else { BinaryOperator::Eq },
            right: Box::new(right),
        };
        let conditions = pairs.into_iter().enumerate().map(compared).reduce(|left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::And,
            right: Box::new(right),
        });
        if let Some(condition) = conditions {
            *constraint = JoinConstraint::On(condition);
        }
        Ok(if left_only { before } else { both })
    }

    /// The sight of one table, which may read those before it if it is a subquery or a call.
    fn factor(&mut self, table: &mut TableFactor, before: &Sight, unnamed: &mut usize) -> Result<Sight, Refusal> {
        let span = table.span();
        if let TableFactor::Pivot { table: inner, .. } | TableFactor::Unpivot { table: inner, .. } = table {
            let seen = self.factor(inner, before, unnamed)?;
            let columns = seen.is_known().then(|| seen.all(span).into_iter().map(|seen| seen.column).collect());
            pivot::prepare(table, columns, span, &self.scope())?;
        }
        match table {
            TableFactor::Table { name, alias, args: None, .. } => {
                let parts = crate::parse::parts(name);
                let own = parts.last().cloned().unwrap_or_default();
                let columns = self.columns_of(&parts, span);
                Ok(match alias {
                    Some(alias) => Sight::table(&alias.name.value.clone(), renamed(columns, alias)),
                    None => Sight::table(&own, columns),
                })
            }
            TableFactor::Table { name, args: Some(TableFunctionArgs { args, .. }), alias, with_ordinality, .. } => {
                Resolver::new(self, before).visit(args, &Aliases::default(), &Clause::On)?;
                Ok(rows(name, alias, *with_ordinality))
            }
            TableFactor::Function { name, args, alias, .. } => {
                Resolver::new(self, before).visit(args, &Aliases::default(), &Clause::On)?;
                Ok(rows(name, alias, false))
            }
            TableFactor::UNNEST { alias: Some(alias), .. } => {
                let columns = alias.columns.iter().map(|column| untyped_column(&column.name.value)).collect();
                Ok(Sight::table(&alias.name.value, Some(columns)))
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let columns = self.within(before).query(subquery)?;
                // DuckDB's own names for them.
                let alias = alias.get_or_insert_with(|| {
                    *unnamed += 1;
                    let number = if *unnamed > 1 { unnamed.to_string() } else { String::new() };
                    let name = Ident::with_quote_and_span('"', span, format!("unnamed_subquery{number}"));
                    TableAlias { explicit: true, name, columns: Vec::new() }
                });
                Ok(Sight::table(&alias.name.value.clone(), renamed(columns, alias)))
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.joined(table_with_joins, Sight::default(), unnamed)
            }
            _ => Ok(Sight::unknown()),
        }
    }

    fn scope(&self) -> Names {
        let ctes = self.ctes.iter().map(|(name, _)| (name.clone(), BTreeSet::new())).collect();
        self.names.with_ctes(&ctes)
    }

    fn columns_of(&self, parts: &[String], span: Span) -> Columns {
        if let [name] = parts
            && let Some((_, columns)) = self.ctes.iter().rev().find(|(cte, _)| cte.eq_ignore_ascii_case(name))
        {
            return columns.clone();
        }
        let relation = self.names.resolve(parts, span).ok()?;
        let column = |field: &arrow::datatypes::FieldRef| Column {
            name: field.name().to_ascii_lowercase(),
            shown: Some(field.name().clone()),
            data_type: Some(field.data_type().clone()),
            is_virtual: schema::is_virtual(field),
        };
        Some(relation.declared.fields().iter().map(column).collect())
    }
}

/// The columns under the names that an alias gives them. An alias may name fewer; then it is made to name all. It names no
/// virtual column, but may hide one.
fn renamed(columns: Columns, alias: &mut TableAlias) -> Columns {
    let mut columns = columns?;
    if alias.columns.is_empty() {
        return Some(columns);
    }
    for column in columns.iter_mut().filter(|column| column.is_virtual) {
        if alias.columns.iter().any(|given| given.name.value.eq_ignore_ascii_case(&column.name)) {
            column.name.insert(0, '#');
        }
    }
    for (position, column) in columns.iter_mut().enumerate() {
        match alias.columns.get(position) {
            Some(definition) => {
                column.name = definition.name.value.to_ascii_lowercase();
                column.shown = Some(definition.name.value.clone());
            }
            None => alias
                .columns
                .push(TableAliasColumnDef { name: Ident::with_quote('"', column.name.clone()), data_type: None }),
        }
    }
    Some(columns)
}

/// A call in FROM as a table of its rows.
fn rows(name: &ObjectName, alias: &mut Option<TableAlias>, with_ordinality: bool) -> Sight {
    let own = crate::parse::parts(name).join(".").to_ascii_lowercase();
    if !unnest::FUNCTIONS.contains(&own.as_str()) {
        return Sight::unknown();
    }
    let mut columns = vec![untyped_column(&own)];
    if with_ordinality {
        columns.push(untyped_column("ordinality"));
    }
    match alias {
        Some(alias) => Sight::table(&alias.name.value.clone(), renamed(Some(columns), alias)),
        None => Sight::table(&own, Some(columns)),
    }
}

fn is_any_twice(names: &[String]) -> bool {
    let mut known = BTreeSet::new();
    names.iter().any(|name| !known.insert(name.to_ascii_lowercase()))
}

fn untyped_column(name: &str) -> Column {
    Column { name: name.to_ascii_lowercase(), shown: Some(name.to_owned()), data_type: None, is_virtual: false }
}

/// The columns of a set operation are of the types in which its sides meet.
fn untyped(columns: Vec<Column>) -> Vec<Column> {
    columns.into_iter().map(|column| Column { data_type: None, ..column }).collect()
}

/// The columns of a select list, under the names that they get in a plan: equal ones are numbered as DuckDB does.
fn outputs(items: &[SelectItem], sight: &Sight) -> Columns {
    let mut columns: Vec<Column> = Vec::with_capacity(items.len());
    for (position, item) in items.iter().enumerate() {
        let (mut expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            _ => return None,
        };
        while let Expr::Nested(inner) = expr {
            expr = inner;
        }
        let seen = match expr {
            Expr::Identifier(name) => match sight.named(&name.value, name.span).as_slice() {
                [seen] => Some(seen.column.clone()),
                _ => Some(Column { name: name.value.clone(), shown: None, data_type: None, is_virtual: false }),
            },
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [.., table, name] => Some(sight.column_of(&table.value, &name.value).cloned().unwrap_or_else(|| {
                    Column { name: name.value.clone(), shown: None, data_type: None, is_virtual: false }
                })),
                _ => None,
            },
            _ => None,
        };
        let data_type = seen.as_ref().and_then(|column| column.data_type.clone());
        let (base, shown) = match (alias, seen) {
            (Some(alias), _) => (alias.value.to_ascii_lowercase(), Some(alias.value.clone())),
            (None, Some(column)) => (column.name.to_ascii_lowercase(), column.shown.or(Some(column.name))),
            (None, None) => (format!("#{}", position + 1), None),
        };
        let (mut name, mut copies) = (base.clone(), 0);
        while columns.iter().any(|column| column.name == name) {
            copies += 1;
            name = format!("{base}_{copies}");
        }
        let shown = shown.map(|shown| if copies > 0 { format!("{shown}_{copies}") } else { shown });
        columns.push(Column { name, shown, data_type, is_virtual: false });
    }
    Some(columns)
}

/// `ORDER BY ALL`: by every column, from the left.
fn order_by_all(order: &mut OrderBy, width: usize) {
    let OrderByKind::All(options) = &order.kind else { return };
    let key = |position: usize| OrderByExpr { expr: number(&position.to_string()), options: *options, with_fill: None };
    order.kind = OrderByKind::Expressions((1..=width).map(key).collect());
}
