//! `COLUMNS(…)`: the columns that it stands for, and what stands in its place in an expression. Which names a pattern or
//! a lambda takes is asked of DuckDB.

use std::ops::ControlFlow;

use arrow::array::{Array, AsArray};
use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, LambdaFunction, Query, Value, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;
use tidegate_duck::{ScalarExpression, quote_literal};

use super::expression::refuse;
use super::lambda;
use super::sight::{Seen, Sight};
use super::star::{Chosen, known, of_star, of_table};
use crate::error::Refusal;
use crate::names::did_you_mean;
use crate::shorthand::UNPACKED;
use crate::walk;

/// The columns that `COLUMNS(…)` stands for, and the pattern by which they were chosen.
pub(super) fn choose(function: &Function, sight: &Sight, span: Span) -> Result<(Vec<Chosen>, Option<String>), Refusal> {
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
            let names =
                names.ok_or_else(|| refuse("COLUMNS of a list of expressions", "write their names as texts"))?;
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
pub(super) fn chosen_by(columns: Vec<Chosen>, parameter: &str, condition: &str) -> Result<Vec<Chosen>, Refusal> {
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
pub(super) fn captured(alias: &Ident, pattern: &str, column: &str) -> Result<String, Refusal> {
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

/// `f(*COLUMNS(…))`: the columns as arguments.
pub(super) fn unpack(expr: &mut Expr, sight: &Sight, span: Span) -> Result<(), Refusal> {
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

/// Whether a call is `COLUMNS(…)`.
pub(super) fn is_columns(function: &Function) -> bool {
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
    match walk::visit_mut(expr, &mut Calls { queries: 0, see }) {
        ControlFlow::Break(refusal) => Err(refusal),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The `COLUMNS(…)` of an expression: all that it has must be the same.
pub(super) fn columns_call(expr: &mut Expr) -> Result<Option<Function>, Refusal> {
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

/// Puts a column in the place of `COLUMNS(…)`.
pub(super) fn replace_columns(expr: &mut Expr, column: &Expr) {
    // It answers no refusal.
    let _ = calls(expr, |call| {
        if matches!(call, Expr::Function(function) if is_columns(function)) {
            *call = column.clone();
        }
        Ok(())
    });
}

/// The text that a literal is.
pub(super) fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The single argument of a call.
pub(super) fn argument(function: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => Some(expr),
        _ => None,
    }
}
