//! What stands in a call of an aggregate beside its arguments: ORDER BY, WITHIN GROUP, and the list
//! of points of a quantile.

use datafusion_sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, OrderByExpr, Value,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{call, number, prepare, refuse, string};
use crate::error::Refusal;
use crate::names::Names;
use crate::semantics;

/// A call `f(…) WITHIN GROUP (ORDER BY x)` as the same without.
pub(super) fn without_group(mut function: Function, name: &str) -> Result<Function, Refusal> {
    let order = std::mem::take(&mut function.within_group);
    let FunctionArguments::List(list) = &mut function.args else { return Ok(function) };
    let plain = match name {
        "listagg" => {
            list.clauses.push(FunctionArgumentClause::OrderBy(order));
            return Ok(function);
        }
        "percentile_cont" => "quantile_cont",
        "percentile_disc" => "quantile_disc",
        "mode" => "mode",
        _ => return Err(refuse(&format!("{name}(…) WITHIN GROUP"), "write ORDER BY into the call")),
    };
    let Ok([OrderByExpr { expr, options, .. }]) = <[OrderByExpr; 1]>::try_from(order) else {
        return Err(refuse(&format!("{name}(…) WITHIN GROUP with several orders"), "order by one expression"));
    };
    if plain == "mode" {
        // The order decides between values that are equally frequent.
        let order = OrderByExpr { expr: expr.clone(), options, with_fill: None };
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![order]));
    } else if options.asc == Some(false) {
        // The discrete quantile at 1 - p is another value wherever p falls between two of them.
        let way_out = match plain {
            "quantile_cont" => "write quantile_cont(x, 1 - p)",
            _ => "leave DESC out, which counts the point from the least value",
        };
        return Err(refuse(&format!("{name}(p) WITHIN GROUP (ORDER BY x DESC)"), way_out));
    }
    list.args.insert(0, FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)));
    function.name = ObjectName::from(vec![Ident::with_quote('"', plain)]);
    Ok(function)
}

/// `approx_count_distinct(x)` as `coalesce(list_aggregate(list(DISTINCT x), 'approx_count_distinct'), 0)`: DuckDB estimates from the
/// greatest hashes that it saw, so neither order nor copies make a difference, and each changed group is asked for anew.
pub(super) fn counted_by_hashes(mut function: Function, span: Span) -> Result<Expr, Refusal> {
    let own = semantics::COUNTED_BY_HASHES;
    let FunctionArguments::List(list) = &mut function.args else {
        return Err(Refusal::new(format!("{own} needs one argument")));
    };
    if list.args.len() != 1 || !list.clauses.is_empty() {
        return Err(refuse(&format!("{own} with more than one argument"), "write one value"));
    }
    list.duplicate_treatment = Some(DuplicateTreatment::Distinct);
    function.name = ObjectName::from(vec![Ident::with_quote('"', "list")]);
    let estimate = call("list_aggregate", span, vec![Expr::Function(function), string(own.to_owned())]);
    Ok(call("coalesce", span, vec![estimate, number("0")]))
}

/// The points of `quantile_cont(x, [0.1, 0.9])` as arguments of their own, and the name under which the
/// answer is a list.
pub(super) fn points(name: &mut String, list: &mut FunctionArgumentList) {
    let listed = match name.as_str() {
        "quantile_cont" => "#quantile_cont",
        "quantile_disc" | "quantile" => "#quantile_disc",
        _ => return,
    };
    let [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Array(array)))] = list.args.as_mut_slice() else {
        return;
    };
    let points = std::mem::take(&mut array.elem);
    list.args.truncate(1);
    list.args.extend(points.into_iter().map(|point| FunctionArg::Unnamed(FunctionArgExpr::Expr(point))));
    *name = listed.to_owned();
}

/// The order that is written in a call, every part of it said.
pub(super) fn order(
    name: &str,
    clauses: Vec<FunctionArgumentClause>,
    names: &Names,
) -> Result<Vec<FunctionArgumentClause>, Refusal> {
    let mut ordered = Vec::with_capacity(clauses.len());
    for clause in clauses {
        let FunctionArgumentClause::OrderBy(mut order) = clause else {
            return Err(refuse(&format!("such a clause inside {name}(…)"), "write it without, or with ORDER BY"));
        };
        for OrderByExpr { expr, options, .. } in &mut order {
            let mut bare = &*expr;
            while let Expr::Nested(inner) = bare {
                bare = inner;
            }
            let all =
                matches!(bare, Expr::Identifier(i) if i.quote_style.is_none() && i.value.eq_ignore_ascii_case("all"));
            if all || matches!(bare, Expr::Value(value) if matches!(value.value, Value::Number(..) | Value::Null)) {
                return Err(refuse(&format!("ORDER BY {expr} inside {name}(…)"), "order by columns or expressions"));
            }
            prepare(expr, names)?;
            options.asc = Some(options.asc != Some(false));
            options.nulls_first = Some(options.nulls_first == Some(true));
        }
        ordered.push(FunctionArgumentClause::OrderBy(order));
    }
    Ok(ordered)
}
