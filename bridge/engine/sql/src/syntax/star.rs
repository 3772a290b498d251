//! `*` with its options and `COLUMNS(…)`, written out as the columns that they stand for. Which names a pattern or a
//! lambda takes is asked of DuckDB.

use std::ops::ControlFlow;

use arrow::array::{Array, AsArray};
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    LambdaFunction, Query, RenameSelectItem, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, VisitMut,
    VisitorMut, WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::tokenizer::Span;
use tidegate_duck::{ScalarExpression, quote_literal};

use super::expression::{null, refuse};
use super::lambda;
use super::sight::{Seen, Sight};
use crate::error::Refusal;
use crate::names::did_you_mean;
use crate::shorthand::{MATCHING, UNPACKED};

/// A column that a star stands for.
#[derive(Debug, Clone)]
struct Chosen {
    value: Expr,
    /// The name that it gets; `None` for a column that nobody named.
    name: Option<Ident>,
    /// Whether the value has this name of itself.
    plain: bool,
}

impl Chosen {
    fn of(seen: Seen, span: Span) -> Chosen {
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

    fn name(&self) -> Result<&str, Refusal> {
        self.name.as_ref().map(|name| name.value.as_str()).ok_or_else(|| {
            Refusal::new("a column of this query has no name to choose it by: give it one with AS")
        })
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
            (Some(alias), Some(pattern)) => Some(Ident { value: captured(alias, pattern, column.name()?)?, ..alias.clone() }),
            (Some(alias), None) => Some(alias.clone()),
            (None, _) => column.name.clone(),
        };
        if matches!(&expr, Expr::Function(function) if is_columns(function)) && column.plain && keeps_name(&alias, &column) {
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
fn of_table(sight: &Sight, parts: &[String], span: Span) -> Option<Vec<Seen>> {
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

fn known(sight: &Sight) -> Result<(), Refusal> {
    if sight.is_known() {
        return Ok(());
    }
    Err(refuse("COLUMNS or * LIKE over tables whose columns are not known here", "name the columns"))
}

/// The columns of the star in `(SELECT * …)`.
fn of_star(query: &Query, sight: &Sight, span: Span) -> Result<Vec<Chosen>, Refusal> {
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

/// The columns that `COLUMNS(…)` stands for, and the pattern by which they were chosen.
fn choose(function: &Function, sight: &Sight, span: Span) -> Result<(Vec<Chosen>, Option<String>), Refusal> {
    known(sight)?;
    let plain = |seen: Vec<Seen>| seen.into_iter().map(|seen| Chosen::of(seen, span)).collect::<Vec<_>>();
    let all = || plain(sight.all(span));
    if let FunctionArguments::List(list) = &function.args
        && let [FunctionArg::Unnamed(argument)] = list.args.as_slice()
    {
        match argument {
            FunctionArgExpr::Wildcard => return Ok((all(), None)),
            FunctionArgExpr::QualifiedWildcard(name) => {
                let columns = of_table(sight, &crate::parse::parts(name), span);
                let columns = columns.ok_or_else(|| Refusal::new(format!("there is no table {name} here")))?;
                return Ok((plain(columns), None));
            }
            FunctionArgExpr::Expr(_) => {}
        }
    }
    match argument(function) {
        Some(Expr::Subquery(query)) => Ok((of_star(query, sight, span)?, None)),
        Some(Expr::Lambda(lambda)) => Ok((by_lambda(all(), lambda)?, None)),
        Some(Expr::Array(array)) => {
            let names = array.elem.iter().map(text_of).collect::<Option<Vec<_>>>();
            let names = names.ok_or_else(|| refuse("COLUMNS of a list of expressions", "write their names as texts"))?;
            let columns = all();
            for name in &names {
                let known = columns.iter().filter_map(|column| column.name.as_ref().map(|name| name.value.as_str()));
                if !known.clone().any(|known| known.eq_ignore_ascii_case(name)) {
                    return Err(Refusal::new(format!("there is no column {name}{}", did_you_mean(name, known))));
                }
            }
            let named = |column: &Chosen| {
                names.iter().any(|name| column.name.as_ref().is_some_and(|own| own.value.eq_ignore_ascii_case(name)))
            };
            Ok((columns.into_iter().filter(named).collect(), None))
        }
        Some(pattern) if text_of(pattern).is_some() => {
            let pattern = text_of(pattern).unwrap_or_default().to_owned();
            let condition = format!("regexp_matches(\"_name\", {})", quote_literal(&pattern));
            Ok((chosen_by(all(), "\"_name\"", &condition)?, Some(pattern)))
        }
        _ => Err(refuse("such an argument of COLUMNS", "write *, a pattern, a list of names or a lambda")),
    }
}

fn by_lambda(columns: Vec<Chosen>, lambda: &LambdaFunction) -> Result<Vec<Chosen>, Refusal> {
    let (parameter, condition) = lambda::of_names(lambda)?;
    chosen_by(columns, &parameter, &condition)
}

/// The columns for whose names DuckDB finds a condition true.
fn chosen_by(columns: Vec<Chosen>, parameter: &str, condition: &str) -> Result<Vec<Chosen>, Refusal> {
    let names = columns.iter().map(|column| Ok(quote_literal(column.name()?))).collect::<Result<Vec<_>, Refusal>>()?;
    let sql = format!("list_transform([{}], lambda {parameter}: coalesce({condition}, false))", names.join(", "));
    let answer = ScalarExpression::bind(sql, Vec::new()).and_then(|expression| expression.evaluate(&[]));
    let answer = answer.map_err(|error| {
        let said = error.to_string();
        Refusal::new(format!("the columns cannot be chosen: {}", said.lines().next().unwrap_or_default()))
    })?;
    let truths = answer.as_list_opt::<i32>().filter(|list| list.len() == 1).map(|list| list.value(0));
    let truths = truths.ok_or_else(|| Refusal::new("DuckDB does not say which columns these are"))?;
    let truths = truths.as_boolean_opt().ok_or_else(|| Refusal::new("the condition of COLUMNS is not BOOLEAN"))?;
    let kept = columns.into_iter().zip(truths.iter()).filter(|(_, chosen)| *chosen == Some(true));
    let kept: Vec<Chosen> = kept.map(|(column, _)| column).collect();
    if kept.is_empty() {
        return Err(Refusal::new("no column has such a name: write another pattern"));
    }
    Ok(kept)
}

/// A name with `\1` replaced by what the pattern's first group took of a column's name.
fn captured(alias: &Ident, pattern: &str, column: &str) -> Result<String, Refusal> {
    let mut name = String::new();
    let mut rest = alias.value.chars().peekable();
    while let Some(character) = rest.next() {
        let group = rest.peek().and_then(|digit| digit.to_digit(10)).filter(|_| character == '\\');
        let Some(group) = group else {
            name.push(character);
            continue;
        };
        rest.next();
        let sql = format!("regexp_extract({}, {}, {group})", quote_literal(column), quote_literal(pattern));
        let answer = ScalarExpression::bind(sql, Vec::new()).and_then(|expression| expression.evaluate(&[]));
        let answer = answer.map_err(|_| Refusal::new(format!("the pattern of COLUMNS has no group {group}")))?;
        name += answer.as_string_opt::<i32>().filter(|texts| texts.len() == 1).map_or("", |texts| texts.value(0));
    }
    Ok(name)
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            datafusion_sql::sqlparser::ast::Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The single argument of a call.
fn argument(function: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => Some(expr),
        _ => None,
    }
}

fn is_columns(function: &Function) -> bool {
    let parts = crate::parse::parts(&function.name);
    matches!(parts.as_slice(), [name] if name.eq_ignore_ascii_case("columns"))
}

/// Visits the calls of an expression outside of its subqueries.
struct Calls<F> {
    queries: usize,
    see: F,
}

impl<F: FnMut(&mut Expr) -> Result<(), Refusal>> VisitorMut for Calls<F> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Refusal> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Refusal> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        if self.queries == 0
            && matches!(expr, Expr::Function(_))
            && let Err(refusal) = (self.see)(expr)
        {
            return ControlFlow::Break(refusal);
        }
        ControlFlow::Continue(())
    }
}

fn calls(expr: &mut Expr, see: impl FnMut(&mut Expr) -> Result<(), Refusal>) -> Result<(), Refusal> {
    match expr.visit(&mut Calls { queries: 0, see }) {
        ControlFlow::Break(refusal) => Err(refusal),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The `COLUMNS(…)` of an expression: all that it has must be the same.
fn columns_call(expr: &mut Expr) -> Result<Option<Function>, Refusal> {
    let mut found: Option<Function> = None;
    calls(expr, |call| {
        let Expr::Function(function) = call else { return Ok(()) };
        if !is_columns(function) {
            return Ok(());
        }
        match &found {
            Some(known) if known.args.to_string() != function.args.to_string() => {
                Err(refuse("several different COLUMNS in one expression", "write one column of the list for each"))
            }
            _ => {
                found = Some(function.clone());
                Ok(())
            }
        }
    })?;
    Ok(found)
}

fn replace_columns(expr: &mut Expr, column: &Expr) {
    // It answers no refusal.
    let _ = calls(expr, |call| {
        if matches!(call, Expr::Function(function) if is_columns(function)) {
            *call = column.clone();
        }
        Ok(())
    });
}

/// `f(*COLUMNS(…))`: the columns as arguments.
fn unpack(expr: &mut Expr, sight: &Sight, span: Span) -> Result<(), Refusal> {
    let is_unpacked = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(inner))) => {
            crate::parse::parts(&inner.name) == [UNPACKED]
        }
        _ => false,
    };
    calls(expr, |call| {
        let Expr::Function(function) = call else { return Ok(()) };
        let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
        if !list.args.iter().any(is_unpacked) {
            return Ok(());
        }
        let mut arguments = Vec::with_capacity(list.args.len());
        for argument in std::mem::take(&mut list.args) {
            match &argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(inner))) if is_unpacked(&argument) => {
                    let (columns, _) = choose(inner, sight, span)?;
                    let unnamed = |column: Chosen| FunctionArg::Unnamed(FunctionArgExpr::Expr(column.value));
                    arguments.extend(columns.into_iter().map(unnamed));
                }
                _ => arguments.push(argument),
            }
        }
        list.args = arguments;
        Ok(())
    })
}
