//! Window functions: calls with OVER become calls of a placeholder with a whole specification, so
//! that nothing is left to the defaults of the planner below us, which are not DuckDB's.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArgumentClause, FunctionArguments, Interval, NamedWindowDefinition, NamedWindowExpr,
    NullTreatment, OrderByExpr, Select, Spanned, Value, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec,
    WindowType,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{self, Arguments, arguments, refuse, string};
use super::literal;
use crate::error::Refusal;
use crate::names::Names;
use crate::semantics;
use crate::walk;

/// Replaces the windows that a SELECT names by their specifications, wherever they are used in it.
pub(super) fn spread_names(select: &mut Select) -> Result<(), Refusal> {
    let mut windows: BTreeMap<String, WindowSpec> = BTreeMap::new();
    for NamedWindowDefinition(name, window) in std::mem::take(&mut select.named_window) {
        let spec = match window {
            NamedWindowExpr::WindowSpec(spec) => merged(spec, &windows)?,
            NamedWindowExpr::NamedWindow(base) => named(&base.value, base.span, &windows)?,
        };
        if windows.insert(name.value.to_ascii_lowercase(), spec).is_some() {
            return Err(Refusal::at(name.span, format!("the window {} is defined twice: rename one", name.value)));
        }
    }
    let mut spread = |expr: &mut Expr| match expr {
        Expr::Function(function) => match spread_over(function, &windows) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(refusal),
        },
        _ => ControlFlow::Continue(()),
    };
    let mut found = walk::expressions_mut(&mut select.projection, &mut spread);
    if let (ControlFlow::Continue(()), Some(qualify)) = (&found, &mut select.qualify) {
        found = walk::expressions_mut(qualify, &mut spread);
    }
    match found {
        ControlFlow::Break(refusal) => Err(refusal),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn spread_over(function: &mut Function, windows: &BTreeMap<String, WindowSpec>) -> Result<(), Refusal> {
    function.over = match function.over.take() {
        Some(WindowType::NamedWindow(name)) => Some(WindowType::WindowSpec(named(&name.value, name.span, windows)?)),
        Some(WindowType::WindowSpec(spec)) => Some(WindowType::WindowSpec(merged(spec, windows)?)),
        None => None,
    };
    Ok(())
}

fn named(name: &str, span: Span, windows: &BTreeMap<String, WindowSpec>) -> Result<WindowSpec, Refusal> {
    windows.get(&name.to_ascii_lowercase()).cloned().ok_or_else(|| {
        let hint = crate::names::did_you_mean(name, windows.keys().map(String::as_str));
        Refusal::at(span, format!("there is no window {name}{hint}"))
    })
}

/// A specification with what it takes over from the window that it is based on.
fn merged(mut spec: WindowSpec, windows: &BTreeMap<String, WindowSpec>) -> Result<WindowSpec, Refusal> {
    let Some(base) = spec.window_name.take() else { return Ok(spec) };
    let known = named(&base.value, base.span, windows)?;
    let twice = !spec.partition_by.is_empty()
        || (!known.order_by.is_empty() && !spec.order_by.is_empty())
        || known.window_frame.is_some();
    if twice {
        return Err(Refusal::at(
            base.span,
            format!("the window {} cannot be changed this way: write a whole specification", base.value),
        ));
    }
    let order_by = if spec.order_by.is_empty() { known.order_by } else { spec.order_by };
    Ok(WindowSpec { window_name: None, partition_by: known.partition_by, order_by, window_frame: spec.window_frame })
}

/// Whether an expression holds a window function.
pub(super) fn has_window(expr: &Expr) -> bool {
    let found = walk::expressions(expr, |e| match e {
        Expr::Function(function) if function.over.is_some() => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Rewrites a call with OVER.
pub(super) fn prepare(mut function: Function, name: &str, span: Span, names: &Names) -> Result<Expr, Refusal> {
    // With OVER these are not the aggregates of their names.
    let name = match name {
        "first" => "first_value",
        "last" => "last_value",
        name => name,
    };
    if !semantics::is_window(name) {
        let way_out = semantics::aggregate_way_out(name);
        return Err(refuse(
            &format!("the window function {name}(…) OVER"),
            way_out.unwrap_or("use row_number, rank, lag, first_value and the like, or an aggregate"),
        ));
    }
    let aggregate = semantics::is_aggregate(name);
    if function.null_treatment.is_some() {
        let way_out = "write it behind the arguments, as in lag(x IGNORE NULLS) OVER (…)";
        return Err(refuse(&format!("IGNORE NULLS or RESPECT NULLS behind {name}(…)"), way_out));
    }
    if function.filter.is_some() && !aggregate {
        return Err(refuse(&format!("{name} with FILTER"), "write it without"));
    }
    let null_treatment = null_treatment(&mut function, name)?;
    let Function { args, filter, over, within_group, parameters, .. } = function;
    if !within_group.is_empty() || !matches!(parameters, FunctionArguments::None) {
        return Err(refuse(&format!("{name} with such a clause"), "write it without"));
    }
    let mut name = name.to_owned();
    let Arguments { mut values, treatment, order } = arguments(&mut name, aggregate, args, names)?;
    let mut keys = Vec::new();
    for clause in order {
        let FunctionArgumentClause::OrderBy(order) = clause else { continue };
        for OrderByExpr { expr, options, .. } in order {
            keys.push((options.asc != Some(false), options.nulls_first == Some(true)));
            values.push(expr);
        }
    }
    let Some(WindowType::WindowSpec(spec)) = over else {
        return Err(refuse(&format!("the window of {name}"), "name it in the WINDOW clause of the same SELECT"));
    };
    let filter = filter.map(|mut filter| expression::prepare(&mut filter, names).map(|()| filter)).transpose()?;
    let mut prepared = expression::call_function(&semantics::over_name(&name, &keys), span, values);
    prepared.filter = filter;
    prepared.null_treatment = null_treatment;
    prepared.over = Some(WindowType::WindowSpec(specification(spec, names)?));
    expression::set_treatment(&mut prepared, treatment);
    Ok(Expr::Function(prepared))
}

/// What a call says of NULLs, taken out of its arguments; RESPECT NULLS is what holds anyway.
fn null_treatment(function: &mut Function, name: &str) -> Result<Option<NullTreatment>, Refusal> {
    let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
    let mut treatment = None;
    list.clauses.retain(|clause| match clause {
        FunctionArgumentClause::IgnoreOrRespectNulls(written) => {
            treatment = Some(*written);
            false
        }
        _ => true,
    });
    if treatment.is_some() && !semantics::may_ignore_nulls(name) {
        let way_out = "only lag, lead, first_value, last_value and nth_value have it: leave it out";
        return Err(refuse(&format!("IGNORE NULLS or RESPECT NULLS in {name}(…) OVER"), way_out));
    }
    Ok(treatment.filter(|treatment| *treatment == NullTreatment::IgnoreNulls))
}

fn specification(mut spec: WindowSpec, names: &Names) -> Result<WindowSpec, Refusal> {
    for expr in &mut spec.partition_by {
        expression::prepare(expr, names)?;
    }
    for key in &mut spec.order_by {
        order_key(key, names)?;
    }
    let frame = match spec.window_frame.take() {
        Some(frame) => self::frame(frame)?,
        None if spec.order_by.is_empty() => WindowFrame {
            units: WindowFrameUnits::Rows,
            start_bound: WindowFrameBound::Preceding(None),
            end_bound: Some(WindowFrameBound::Following(None)),
        },
        None => WindowFrame {
            units: WindowFrameUnits::Range,
            start_bound: WindowFrameBound::Preceding(None),
            end_bound: Some(WindowFrameBound::CurrentRow),
        },
    };
    Ok(WindowSpec { window_frame: Some(frame), ..spec })
}

/// A key of an ORDER BY, with DuckDB's defaults written out: ascending, NULLs last in either direction.
pub(super) fn order_key(key: &mut OrderByExpr, names: &Names) -> Result<(), Refusal> {
    expression::prepare(&mut key.expr, names)?;
    if key.with_fill.is_some() {
        return Err(refuse("ORDER BY WITH FILL", "write it without"));
    }
    key.options.asc.get_or_insert(true);
    key.options.nulls_first.get_or_insert(false);
    Ok(())
}

/// Frames with bounds that are written down: rows and groups are counted in whole numbers, ranges in whole
/// numbers or intervals, which become months, days and microseconds.
fn frame(frame: WindowFrame) -> Result<WindowFrame, Refusal> {
    check_direction(&frame)?;
    let bound = |bound: WindowFrameBound| -> Result<WindowFrameBound, Refusal> {
        Ok(match bound {
            WindowFrameBound::Preceding(Some(offset)) => {
                WindowFrameBound::Preceding(Some(Box::new(frame_offset(*offset, frame.units)?)))
            }
            WindowFrameBound::Following(Some(offset)) => {
                WindowFrameBound::Following(Some(Box::new(frame_offset(*offset, frame.units)?)))
            }
            other => other,
        })
    };
    Ok(WindowFrame {
        units: frame.units,
        start_bound: bound(frame.start_bound)?,
        end_bound: Some(bound(frame.end_bound.unwrap_or(WindowFrameBound::CurrentRow))?),
    })
}

/// Refuses bounds on one side of the row that are the wrong way round: in such a frame DuckDB counts fewer
/// than no rows.
fn check_direction(frame: &WindowFrame) -> Result<(), Refusal> {
    let (farther, nearer) = match (&frame.start_bound, &frame.end_bound) {
        (WindowFrameBound::Preceding(Some(start)), Some(WindowFrameBound::Preceding(Some(end)))) => (start, end),
        (WindowFrameBound::Following(Some(start)), Some(WindowFrameBound::Following(Some(end)))) => (end, start),
        _ => return Ok(()),
    };
    if least_difference(farther, nearer).is_none_or(|difference| difference >= 0) {
        return Ok(());
    }
    let span = farther.span();
    let refusal = refuse("a frame that ends, or may end, before it begins", "it holds no rows: turn its bounds around");
    Err(refusal.or_at((span.start.line > 0).then_some(span.start)))
}

/// How much farther from the row one bound is than another, at least: in rows, groups, values or microseconds.
/// `None` for what is no bound or no bound of the same kind, which is refused elsewhere.
fn least_difference(farther: &Expr, nearer: &Expr) -> Option<i128> {
    const DAY: i128 = 86_400_000_000;
    match (farther, nearer) {
        (Expr::Value(farther), Expr::Value(nearer)) => match (&farther.value, &nearer.value) {
            (Value::Number(farther, _), Value::Number(nearer, _)) => {
                Some(i128::from(farther.parse::<u32>().ok()?) - i128::from(nearer.parse::<u32>().ok()?))
            }
            _ => None,
        },
        (Expr::Interval(farther), Expr::Interval(nearer)) => {
            let (farther, nearer) = (literal::interval(farther).ok()?, literal::interval(nearer).ok()?);
            let months = i128::from(farther.months) - i128::from(nearer.months);
            let days = i128::from(farther.days) - i128::from(nearer.days);
            let micros = i128::from(farther.micros) - i128::from(nearer.micros);
            // A month has 28 to 31 days.
            let month = if months > 0 { 28 } else { 31 };
            Some((months * month + days) * DAY + micros)
        }
        _ => None,
    }
}

fn frame_offset(offset: Expr, units: WindowFrameUnits) -> Result<Expr, Refusal> {
    let span = offset.span();
    match &offset {
        Expr::Value(value) => {
            if let Value::Number(text, _) = &value.value
                && text.parse::<u32>().is_ok()
            {
                return Ok(offset);
            }
        }
        Expr::Interval(interval) if units == WindowFrameUnits::Range => {
            let parts = literal::interval(interval)?;
            if parts.months >= 0 && parts.days >= 0 && parts.micros >= 0 {
                return Ok(Expr::Interval(Interval {
                    value: Box::new(string(format!("{}:{}:{}", parts.months, parts.days, parts.micros))),
                    leading_field: None,
                    leading_precision: None,
                    last_field: None,
                    fractional_seconds_precision: None,
                }));
            }
        }
        _ => {}
    }
    let way_out = "write a whole number that is not negative, or for RANGE over dates and times an INTERVAL";
    Err(refuse(&format!("the frame bound {offset}"), way_out).or_at((span.start.line > 0).then_some(span.start)))
}
