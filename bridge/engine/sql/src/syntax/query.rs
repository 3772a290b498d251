//! Queries: SELECT, FROM, JOIN, WHERE, GROUP BY, HAVING, QUALIFY, DISTINCT, UNION and WITH.

use std::collections::BTreeSet;

use datafusion_sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query,
    Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, Spanned,
    TableAlias, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{self, lower, refuse};
use super::join::Place;
use super::unnest::{self, TableFunction};
use super::{grouping, limit, recursion, scope, spread, window};
use crate::error::Refusal;
use crate::names::{CLOCK, Ctes, Input, Names};

/// Checks and rewrites a whole query in place.
pub(crate) fn prepare(query: &mut Query, names: &Names) -> Result<(), Refusal> {
    spread::prepare(query, names)?;
    Walk { names, ctes: Vec::new() }.query(query)
}

/// Checks and rewrites a subquery of an expression.
pub(super) fn prepare_subquery(query: &mut Query, names: &Names) -> Result<(), Refusal> {
    Walk { names, ctes: names.ctes.clone() }.query(query)
}

pub(super) struct Walk<'a> {
    pub(super) names: &'a Names,
    pub(super) ctes: Ctes,
}

impl Walk<'_> {
    pub(super) fn query(&mut self, query: &mut Query) -> Result<(), Refusal> {
        let outer = self.ctes.len();
        super::unread::take_out(query);
        limit::prepare(query, &self.scope())?;
        if !query.locks.is_empty()
            || query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return Err(located(query.span(), refuse("a query with such a clause", "write a plain SELECT")));
        }
        if let Some(with) = &mut query.with {
            let is_recursive = std::mem::take(&mut with.recursive);
            for mut cte in std::mem::take(&mut with.cte_tables) {
                if is_recursive && recursion::reads_itself(&cte) {
                    with.cte_tables.extend(self.recursive(cte)?);
                    continue;
                }
                self.query(&mut cte.query)?;
                cte.materialized = None;
                table_alias(&mut cte.alias)?;
                let mut columns = scope::of_query(&cte.query, self.names, &self.ctes);
                columns.extend(cte.alias.columns.iter().map(|column| column.name.value.clone()));
                self.ctes.push((cte.alias.name.value.clone(), columns));
                with.cte_tables.push(cte);
            }
        }
        self.body(&mut query.body)?;
        self.ctes.truncate(outer);
        Ok(())
    }

    fn body(&mut self, body: &mut SetExpr) -> Result<(), Refusal> {
        let span = body.span();
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => {
                self.body(left)?;
                self.body(right)
            }
            SetExpr::SetOperation {
                op: SetOperator::Except | SetOperator::Intersect,
                set_quantifier: SetQuantifier::None | SetQuantifier::Distinct | SetQuantifier::All,
                left,
                right,
            } => {
                self.body(left)?;
                self.body(right)
            }
            SetExpr::SetOperation { op, .. } => {
                Err(located(span, refuse(&op.to_string(), "write it as a join or as a filter")))
            }
            SetExpr::Values(values) => {
                *body = unnest::values(values.clone(), span, &self.scope())?;
                Ok(())
            }
            other => Err(located(span, refuse(&first_words(&other.to_string()), "write a SELECT"))),
        }
    }

    fn select(&mut self, select: &mut Select) -> Result<(), Refusal> {
        let span = select.span();
        window::spread_names(select)?;
        if select.top.is_some()
            || select.into.is_some()
            || !select.lateral_views.is_empty()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty()
            || select.value_table_mode.is_some()
            || select.exclude.is_some()
        {
            return Err(located(span, refuse("a SELECT with such a clause", "write a plain SELECT")));
        }
        for (position, table) in select.from.iter_mut().enumerate() {
            let place = if position == 0 { Place::First } else { Place::AfterOthers };
            self.table_with_joins(table, place)?;
        }
        if select.flavor == SelectFlavor::FromFirstNoSelect {
            select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
            select.flavor = SelectFlavor::Standard;
        }
        super::join::check_wildcard(&select.from, &select.projection)?;
        scope::check_qualify(select, self.names, &self.ctes)?;
        self.projection(&mut select.projection)?;
        if let Some(selection) = &mut select.selection {
            super::rows::find_by_exists(selection)?;
            expression::prepare_condition(selection, &self.scope())?;
        }
        match &mut select.group_by {
            GroupByExpr::All(modifiers) if modifiers.is_empty() => group_by_all(select)?,
            GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => {
                for expr in exprs {
                    grouping::prepare_group(expr, &self.scope())?;
                }
            }
            other => return Err(located(other.span(), refuse("GROUP BY with such a clause", "group by expressions"))),
        }
        if let Some(having) = &mut select.having {
            expression::prepare_condition(having, &self.scope())?;
        }
        if let Some(qualify) = &mut select.qualify {
            expression::prepare_condition(qualify, &self.scope())?;
        }
        Ok(())
    }

    fn expr(&self, expr: &mut Expr) -> Result<(), Refusal> {
        expression::prepare(expr, &self.scope())
    }

    /// What a subquery of an expression may read.
    fn scope(&self) -> Names {
        self.names.with_ctes(&self.ctes)
    }

    /// Every column gets a name of its own, as DuckDB numbers equal ones: `x`, `x_1`. Columns
    /// without a name are called by their position; what readers see comes from DuckDB.
    fn projection(&self, items: &mut [SelectItem]) -> Result<(), Refusal> {
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for (position, item) in items.iter_mut().enumerate() {
            let span = item.span();
            let (mut expr, alias) =
                match std::mem::replace(item, SelectItem::Wildcard(WildcardAdditionalOptions::default())) {
                    SelectItem::UnnamedExpr(expr) => (expr, None),
                    SelectItem::ExprWithAlias { expr, alias } => (expr, Some(lower(alias))),
                    SelectItem::Wildcard(mut options) => {
                        wildcard(&mut options, span)?;
                        *item = SelectItem::Wildcard(options);
                        continue;
                    }
                    SelectItem::QualifiedWildcard(kind, mut options) => {
                        wildcard(&mut options, span)?;
                        *item = SelectItem::QualifiedWildcard(self.wildcard_of(kind, span)?, options);
                        continue;
                    }
                };
            self.expr(&mut expr)?;
            let own = match &expr {
                Expr::Identifier(ident) => Some(ident.clone()),
                Expr::CompoundIdentifier(parts) => parts.last().cloned(),
                _ => None,
            };
            let plain = alias.is_none();
            let mut name =
                alias.or(own.clone()).unwrap_or_else(|| Ident::with_quote('"', format!("#{}", position + 1)));
            let base = name.value.clone();
            let mut copies = 0;
            while !taken.insert(name.value.clone()) {
                copies += 1;
                name.value = format!("{base}_{copies}");
            }
            *item = if plain && own.is_some() && copies == 0 {
                SelectItem::UnnamedExpr(expr)
            } else {
                SelectItem::ExprWithAlias { expr, alias: name }
            };
        }
        Ok(())
    }

    fn wildcard_of(
        &self,
        kind: SelectItemQualifiedWildcardKind,
        span: Span,
    ) -> Result<SelectItemQualifiedWildcardKind, Refusal> {
        let SelectItemQualifiedWildcardKind::ObjectName(name) = kind else {
            return Err(located(span, refuse("* of an expression", "name the columns")));
        };
        let parts = crate::parse::parts(&name);
        if parts.len() > 1 {
            self.names.resolve(&parts, span)?;
        }
        let last = name.0.into_iter().next_back();
        let table = last.and_then(|part| part.as_ident().cloned()).map(lower);
        Ok(SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(table.into_iter().collect::<Vec<_>>())))
    }

    fn table_with_joins(&mut self, table: &mut TableWithJoins, place: Place) -> Result<(), Refusal> {
        self.table(&mut table.relation, place)?;
        for join in &mut table.joins {
            let span = join.relation.span();
            self.table(&mut join.relation, Place::of(&join.join_operator))?;
            let is_asof = std::mem::take(&mut join.global);
            if is_asof {
                super::asof::check(&join.join_operator, span)?;
            }
            super::join::prepare(&mut join.join_operator, span)?;
            match &mut join.join_operator {
                JoinOperator::LeftOuter(constraint)
                | JoinOperator::RightOuter(constraint)
                | JoinOperator::FullOuter(constraint)
                | JoinOperator::LeftSemi(constraint)
                | JoinOperator::LeftAnti(constraint) => self.constraint(constraint)?,
                JoinOperator::Join(constraint)
                | JoinOperator::Inner(constraint)
                | JoinOperator::CrossJoin(constraint) => {
                    self.constraint(constraint)?;
                }
                operator => {
                    return Err(located(span, refuse(super::join::kind(operator), "write another join")));
                }
            }
            if is_asof {
                super::asof::mark(&mut join.join_operator);
            }
        }
        Ok(())
    }

    fn constraint(&self, constraint: &mut JoinConstraint) -> Result<(), Refusal> {
        match constraint {
            JoinConstraint::On(expr) if super::clock::is_in(expr) => Err(located(expr.span(), super::clock::in_join())),
            JoinConstraint::On(expr) => expression::prepare_condition(expr, &self.scope()),
            JoinConstraint::Using(columns) => {
                for column in columns {
                    for part in &mut column.0 {
                        if let ObjectNamePart::Identifier(ident) = part {
                            *ident = lower(ident.clone());
                        }
                    }
                }
                super::asof::named_once(constraint);
                Ok(())
            }
            JoinConstraint::Natural | JoinConstraint::None => Ok(()),
        }
    }

    fn table(&mut self, table: &mut TableFactor, place: Place) -> Result<(), Refusal> {
        let span = table.span();
        if let Some(function) = table_function(table) {
            *table = function.prepare(span, &self.scope())?;
        }
        super::join::make_lateral(table, place, span)?;
        match table {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                if args.is_some() || version.is_some() || sample.is_some() || json_path.is_some() || *with_ordinality {
                    return Err(located(
                        span,
                        refuse("a table with such a clause", "read the whole table as it is now"),
                    ));
                }
                if !with_hints.is_empty() || !partitions.is_empty() || !index_hints.is_empty() {
                    return Err(located(span, refuse("a table with hints", "leave them out")));
                }
                let parts = crate::parse::parts(name);
                let own = parts.last().cloned().unwrap_or_default().to_ascii_lowercase();
                if parts.len() == 1 && self.ctes.iter().any(|(name, _)| *name == own) {
                    *name = ObjectName::from(vec![Ident::with_quote_and_span('"', span, own.clone())]);
                } else {
                    let relation = self.names.resolve(&parts, span)?;
                    let idents = match &relation.input {
                        Input::Table(t) => vec![t.source.clone(), t.schema.clone(), t.table.clone()],
                        Input::View(v) => vec![v.0.clone()],
                        Input::Clock => vec![CLOCK.to_owned()],
                    };
                    let ident = |part: String| Ident::with_quote_and_span('"', span, part.to_ascii_lowercase());
                    *name = ObjectName::from(idents.into_iter().map(ident).collect::<Vec<_>>());
                }
                match alias {
                    Some(alias) => table_alias(alias),
                    None => {
                        let name = Ident::with_quote_and_span('"', span, own);
                        *alias = Some(TableAlias { explicit: true, name, columns: Vec::new() });
                        Ok(())
                    }
                }
            }
            TableFactor::Derived { subquery, alias, sample: None, .. } => {
                self.query(subquery)?;
                alias.iter_mut().try_for_each(table_alias)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.table_with_joins(table_with_joins, Place::First)
            }
            TableFactor::UNNEST { .. } => Ok(()),
            other => Err(located(span, refuse(&first_words(&other.to_string()), "read tables, views and subqueries"))),
        }
    }
}

/// A table of FROM that is a call.
fn table_function(table: &TableFactor) -> Option<TableFunction> {
    let (name, args, alias, with_ordinality) = match table {
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } if args.settings.is_none() => {
            (name, args.args.clone(), alias, *with_ordinality)
        }
        TableFactor::Function { name, args, alias, .. } => (name, args.clone(), alias, false),
        _ => return None,
    };
    Some(TableFunction { name: crate::parse::parts(name).join("."), args, alias: alias.clone(), with_ordinality })
}

/// `GROUP BY ALL`: by every select item that holds no aggregate.
fn group_by_all(select: &mut Select) -> Result<(), Refusal> {
    let mut keys = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                if window::has_window(expr) {
                    return Err(located(item.span(), refuse("GROUP BY ALL with window functions", "name the groups")));
                }
                if !crate::semantics::has_aggregate(expr) {
                    keys.push(expr.clone());
                }
            }
            _ => return Err(located(item.span(), refuse("GROUP BY ALL with *", "name the columns"))),
        }
    }
    select.group_by = GroupByExpr::Expressions(keys, Vec::new());
    Ok(())
}

fn wildcard(options: &mut WildcardAdditionalOptions, span: Span) -> Result<(), Refusal> {
    match &mut options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => *name = lower(name.clone()),
        Some(ExcludeSelectItem::Multiple(names)) => names.iter_mut().for_each(|name| *name = lower(name.clone())),
        None => {}
    }
    if options.opt_ilike.is_some()
        || options.opt_except.is_some()
        || options.opt_replace.is_some()
        || options.opt_rename.is_some()
    {
        return Err(located(span, refuse("* with such a clause", "name the columns, or use EXCLUDE")));
    }
    Ok(())
}

pub(super) fn table_alias(alias: &mut TableAlias) -> Result<(), Refusal> {
    alias.name = lower(alias.name.clone());
    for column in &mut alias.columns {
        column.name = lower(column.name.clone());
    }
    Ok(())
}

pub(super) fn located(span: Span, refusal: Refusal) -> Refusal {
    refusal.or_at((span.start.line > 0).then_some(span.start))
}

fn first_words(text: &str) -> String {
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
