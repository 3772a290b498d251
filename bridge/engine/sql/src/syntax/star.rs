//! `*` with its options and items with `COLUMNS(…)`, written out as the columns that they stand for.

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, Query, RenameSelectItem, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Spanned, WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::tokenizer::Span;
use tidegate_duck::quote_literal;

use super::columns::{
    argument, captured, choose, chosen_by, columns_call, is_columns, replace_columns, text_of, unpack,
};
use super::expression::{null, refuse};
use super::sight::{Seen, Sight};
use crate::error::Refusal;
use crate::names::did_you_mean;
use crate::shorthand::MATCHING;

/// A column that a star stands for.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub value: Expr,
    /// The name that it gets; `None` for a column that nobody named.
    pub name: Option<Ident>,
    /// Whether the value has this name of itself.
    plain: bool,
}

impl Chosen {
    pub(super) fn of(seen: Seen, span: Span) -> Chosen {
        let name = seen.column.shown.map(|shown| Ident::with_quote_and_span('"', span, shown));
        let plain = match &seen.value {
            Expr::CompoundIdentifier(parts) => {
                parts.last().is_some_and(|own| own.value.eq_ignore_ascii_case(&seen.column.name))
            }
            _ => false,
        };
        Chosen { value: seen.value, name, plain }
    }

    fn item(self) -> SelectItem {
        match self.name {
            Some(alias) if !self.plain => SelectItem::ExprWithAlias { expr: self.value, alias },
            _ => SelectItem::UnnamedExpr(self.value),
        }
    }

    pub(super) fn name(&self) -> Result<&str, Refusal> {
        self.name
            .as_ref()
            .map(|name| name.value.as_str())
            .ok_or_else(|| Refusal::new("a column of this query has no name to choose it by: give it one with AS"))
    }
}

/// The items of a select list, without stars as far as the columns are known.
pub(super) fn spread(items: Vec<SelectItem>, sight: &Sight) -> Result<Vec<SelectItem>, Refusal> {
    let mut spread = Vec::with_capacity(items.len());
    for item in items {
        let span = item.span();
        spread_item(item, sight, span, &mut spread)
            .map_err(|refusal| refusal.or_at((span.start.line > 0).then_some(span.start)))?;
    }
    Ok(spread)
}

fn spread_item(item: SelectItem, sight: &Sight, span: Span, spread: &mut Vec<SelectItem>) -> Result<(), Refusal> {
    let columns = match &item {
        SelectItem::Wildcard(options) if sight.is_known() => Some(with_options(sight.all(span), options, span)?),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
            if sight.is_known() =>
        {
            let parts = crate::parse::parts(name);
            of_table(sight, &parts, span).map(|columns| with_options(columns, options, span)).transpose()?
        }
        SelectItem::UnnamedExpr(expr) => match matching(expr) {
            Some((query, condition)) => Some(matched(query, condition, sight, span)?),
            None => None,
        },
        _ => None,
    };
    if let Some(columns) = columns {
        spread.extend(columns.into_iter().map(Chosen::item));
        return Ok(());
    }
    let (mut expr, alias) = match item {
        SelectItem::UnnamedExpr(expr) => (expr, None),
        SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
        other => {
            spread.push(other);
            return Ok(());
        }
    };
    unpack(&mut expr, sight, span)?;
    let Some(call) = columns_call(&mut expr)? else {
        spread.push(match alias {
            Some(alias) => SelectItem::ExprWithAlias { expr, alias },
            None => SelectItem::UnnamedExpr(expr),
        });
        return Ok(());
    };
    let (columns, pattern) = choose(&call, sight, span)?;
    for column in columns {
        let alias = match (&alias, &pattern) {
            (Some(alias), Some(pattern)) => {
                Some(Ident { value: captured(alias, pattern, column.name()?)?, ..alias.clone() })
            }
            (Some(alias), None) => Some(alias.clone()),
            (None, _) => column.name.clone(),
        };
        if matches!(&expr, Expr::Function(function) if is_columns(function))
            && column.plain
            && keeps_name(&alias, &column)
        {
            spread.push(SelectItem::UnnamedExpr(column.value));
            continue;
        }
        let mut written = expr.clone();
        replace_columns(&mut written, &column.value);
        spread.push(match alias {
            Some(alias) => SelectItem::ExprWithAlias { expr: written, alias },
            None => SelectItem::UnnamedExpr(written),
        });
    }
    Ok(())
}

/// Whether a column keeps its name.
fn keeps_name(alias: &Option<Ident>, column: &Chosen) -> bool {
    match (alias, &column.name) {
        (Some(alias), Some(name)) => alias.value == name.value,
        (None, None) => true,
        _ => false,
    }
}

/// A condition over `COLUMNS(…)` holds where it holds for each column.
pub(super) fn spread_condition(condition: &mut Expr, sight: &Sight) -> Result<(), Refusal> {
    let span = condition.span();
    let here = |refusal: Refusal| refusal.or_at((span.start.line > 0).then_some(span.start));
    unpack(condition, sight, span).map_err(here)?;
    let Some(call) = columns_call(condition).map_err(here)? else { return Ok(()) };
    let (columns, _) = choose(&call, sight, span).map_err(here)?;
    let each = columns.into_iter().map(|column| {
        let mut written = condition.clone();
        replace_columns(&mut written, &column.value);
        Expr::Nested(Box::new(written))
    });
    let all = each.reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    });
    *condition = all.unwrap_or_else(null);
    Ok(())
}

/// The columns of `t.*`, or the fields of `s.*` where `s` is a struct.
pub(super) fn of_table(sight: &Sight, parts: &[String], span: Span) -> Option<Vec<Seen>> {
    let last = parts.last()?;
    sight.all_of(last, span).or_else(|| sight.fields_of(parts, span))
}

fn with_options(columns: Vec<Seen>, options: &WildcardAdditionalOptions, span: Span) -> Result<Vec<Chosen>, Refusal> {
    let excluded: Vec<&Ident> = match &options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names.iter().collect(),
        None => Vec::new(),
    };
    let replaced = options.opt_replace.iter().flat_map(|replace| &replace.items);
    let named = excluded.iter().map(|name| ("EXCLUDE", *name));
    for (clause, name) in named.chain(replaced.clone().map(|item| ("REPLACE", &item.column_name))) {
        if !columns.iter().any(|seen| seen.column.name.eq_ignore_ascii_case(&name.value)) {
            let known = columns.iter().filter_map(|seen| seen.column.shown.as_deref());
            let hint = did_you_mean(&name.value, known);
            return Err(Refusal::at(name.span, format!("there is no column {} for {clause}{hint}", name.value)));
        }
    }
    let renamed: Vec<_> = match &options.opt_rename {
        Some(RenameSelectItem::Single(item)) => vec![item],
        Some(RenameSelectItem::Multiple(items)) => items.iter().collect(),
        None => Vec::new(),
    };
    if options.opt_ilike.is_some() || options.opt_except.is_some() {
        return Err(refuse("* with such a clause", "write EXCLUDE, REPLACE or RENAME"));
    }
    let kept = columns.into_iter().filter_map(|seen| {
        let is = |name: &Ident| seen.column.name.eq_ignore_ascii_case(&name.value);
        if excluded.iter().any(|name| is(name)) {
            return None;
        }
        if let Some(item) = replaced.clone().find(|item| is(&item.column_name)) {
            return Some(Chosen { value: item.expr.clone(), name: Some(item.column_name.clone()), plain: false });
        }
        let new = renamed.iter().find(|item| is(&item.ident)).map(|item| item.alias.clone());
        let chosen = Chosen::of(seen, span);
        Some(match new {
            Some(name) => Chosen { name: Some(name), plain: false, ..chosen },
            None => chosen,
        })
    });
    let kept: Vec<Chosen> = kept.collect();
    if kept.is_empty() {
        return Err(Refusal::new("* stands for no column here: keep one"));
    }
    Ok(kept)
}

/// The star and the text of the condition in `* LIKE 'x%'`.
fn matching(expr: &Expr) -> Option<(&Query, String)> {
    let (expr, negated, word, pattern) = match expr {
        Expr::Like { expr, negated, any: false, pattern, escape_char: None } => (expr, *negated, "LIKE", pattern),
        Expr::ILike { expr, negated, any: false, pattern, escape_char: None } => (expr, *negated, "ILIKE", pattern),
        Expr::SimilarTo { expr, negated, pattern, escape_char: None } => (expr, *negated, "SIMILAR TO", pattern),
        _ => return None,
    };
    let Expr::Function(function) = expr.as_ref() else { return None };
    if crate::parse::parts(&function.name) != [MATCHING] {
        return None;
    }
    let Some(Expr::Subquery(query)) = argument(function) else { return None };
    let pattern = text_of(pattern)?;
    let not = if negated { "NOT " } else { "" };
    Some((query.as_ref(), format!("\"_name\" {not}{word} {}", quote_literal(pattern))))
}

fn matched(query: &Query, condition: String, sight: &Sight, span: Span) -> Result<Vec<Chosen>, Refusal> {
    known(sight)?;
    chosen_by(of_star(query, sight, span)?, "\"_name\"", &condition)
}

/// Refuses what needs columns that are not known.
pub(super) fn known(sight: &Sight) -> Result<(), Refusal> {
    if sight.is_known() {
        return Ok(());
    }
    Err(refuse("COLUMNS or * LIKE over tables whose columns are not known here", "name the columns"))
}

/// The columns of the star in `(SELECT * …)`.
pub(super) fn of_star(query: &Query, sight: &Sight, span: Span) -> Result<Vec<Chosen>, Refusal> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(refuse("such an argument of COLUMNS", "write *, a pattern or a lambda"));
    };
    match select.projection.as_slice() {
        [SelectItem::Wildcard(options)] => with_options(sight.all(span), options, span),
        [SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)] => {
            let columns = of_table(sight, &crate::parse::parts(name), span);
            let columns = columns.ok_or_else(|| Refusal::new(format!("there is no table {name} here")))?;
            with_options(columns, options, span)
        }
        _ => Err(refuse("such an argument of COLUMNS", "write *, a pattern or a lambda")),
    }
}
