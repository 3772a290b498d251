//! Expressions: what is allowed, rewritten into columns, literals, connectives and calls.

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DuplicateTreatment, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, ObjectName, SetExpr,
    Spanned, UnaryOperator, Value, ValueWithSpan,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::quantified::{self, Quantifier};
use super::{aggregate_call, clock, lambda, literal, precedence, query, rows, type_name, window, written};
use crate::dialect::GLOB;
use crate::error::Refusal;
use crate::names::Names;
use crate::semantics;
use crate::shorthand::{MATCHING, UNPACKED};

/// Rewrites one expression in place.
pub(super) fn prepare(expr: &mut Expr, names: &Names) -> Result<(), Refusal> {
    precedence::check(expr)?;
    let span = expr.span();
    let here = |refusal: Refusal| refusal.or_at((span.start.line > 0).then_some(span.start));
    let taken = std::mem::replace(expr, null());
    *expr = rewrite(taken, span, names).map_err(here)?;
    Ok(())
}

fn rewrite(expr: Expr, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let walk = |mut e: Box<Expr>| prepare(&mut e, names).map(|()| *e);
    let walk_boxed = |e: Box<Expr>| walk(e).map(Box::new);
    Ok(match expr {
        Expr::Identifier(ident) => Expr::Identifier(lower(ident)),
        Expr::CompoundIdentifier(parts) => column(parts, span, names)?,
        Expr::Nested(inner) => walk(inner)?,
        Expr::Value(value) => constant(value, span)?,
        Expr::TypedString(typed) => {
            let data_type = type_name::duckdb_type(&typed.data_type)?;
            cast(Expr::Value(typed.value), &data_type, span)
        }
        Expr::Interval(interval) => {
            let parts = literal::interval(&interval)?;
            let numbers = [i64::from(parts.months), i64::from(parts.days), parts.micros];
            call("#interval", span, numbers.map(|n| string(n.to_string())).to_vec())
        }
        Expr::BinaryOp { left, op, right } if compares(&op) && (is_tuple(&left) || is_tuple(&right)) => {
            rows::compared(*left, &op, *right, span, names)?
        }
        Expr::BinaryOp { left, op, right } if clock::compares(&op) => {
            let sides = vec![clock::side(*left, span, names)?, clock::side(*right, span, names)?];
            call(operator(&op)?, span, sides)
        }
        Expr::BinaryOp { left, op, right } => {
            let (left, right) = (walk(left)?, walk(right)?);
            match op {
                BinaryOperator::And | BinaryOperator::Or => {
                    Expr::BinaryOp { left: Box::new(condition(left)), op, right: Box::new(condition(right)) }
                }
                op => match named_operator(&op) {
                    Some((name, negated)) => negate(negated, call(name, span, vec![left, right])),
                    None if op == BinaryOperator::ArrowAt => call("list_has_all", span, vec![right, left]),
                    None if matches!(&op, BinaryOperator::Custom(name) if name == GLOB) => {
                        rows::globbed(left, right, span)
                    }
                    None => call(operator(&op)?, span, vec![left, right]),
                },
            }
        }
        Expr::UnaryOp { op, expr } => match op {
            UnaryOperator::Not => Expr::UnaryOp { op, expr: walk_boxed(expr)? },
            UnaryOperator::Minus => call("#negate", span, vec![walk(expr)?]),
            UnaryOperator::Plus => call("#plus", span, vec![walk(expr)?]),
            op => return Err(refuse(&format!("the operator {op}"), "write it with + - * / // % or a function")),
        },
        Expr::IsNull(e) => Expr::IsNull(walk_boxed(e)?),
        Expr::IsNotNull(e) => Expr::IsNotNull(walk_boxed(e)?),
        Expr::IsTrue(e) => Expr::IsTrue(walk_boxed(e)?),
        Expr::IsNotTrue(e) => Expr::IsNotTrue(walk_boxed(e)?),
        Expr::IsFalse(e) => Expr::IsFalse(walk_boxed(e)?),
        Expr::IsNotFalse(e) => Expr::IsNotFalse(walk_boxed(e)?),
        Expr::IsUnknown(e) => Expr::IsUnknown(walk_boxed(e)?),
        Expr::IsNotUnknown(e) => Expr::IsNotUnknown(walk_boxed(e)?),
        Expr::IsDistinctFrom(a, b) => call("#distinct_from", span, vec![walk(a)?, walk(b)?]),
        Expr::IsNotDistinctFrom(a, b) => call("#not_distinct_from", span, vec![walk(a)?, walk(b)?]),
        Expr::Between { expr, negated, low, high } => {
            let side = |e: Box<Expr>| clock::side(*e, span, names);
            negate(negated, call("#between", span, vec![side(expr)?, side(low)?, side(high)?]))
        }
        Expr::InList { expr, list, negated } if is_tuple(&expr) => {
            negate(negated, rows::is_in(*expr, list, span, names)?)
        }
        Expr::InList { expr, list, negated } => {
            let mut args = vec![walk(expr)?];
            for item in list {
                args.push(walk(Box::new(item))?);
            }
            negate(negated, call("#in", span, args))
        }
        Expr::Like { negated, any: false, expr, pattern, escape_char } => {
            let args = like_args(walk(expr)?, walk(pattern)?, escape_char);
            negate(negated, call("#like", span, args))
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
            let args = like_args(walk(expr)?, walk(pattern)?, escape_char);
            negate(negated, call("#ilike", span, args))
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char: None } => {
            negate(negated, call("regexp_full_match", span, vec![walk(expr)?, walk(pattern)?]))
        }
        Expr::Cast { kind, expr, data_type, format: None, array: false } => {
            let data_type = type_name::duckdb_type(&data_type)?;
            match kind {
                CastKind::Cast | CastKind::DoubleColon => cast(walk(expr)?, &data_type, span),
                CastKind::TryCast => call("#try_cast", span, vec![walk(expr)?, string(data_type)]),
                CastKind::SafeCast => return Err(refuse("SAFE_CAST", "write TRY_CAST")),
            }
        }
        Expr::Extract { field, expr, .. } => {
            call("date_part", span, vec![string(field.to_string().to_lowercase()), walk(expr)?])
        }
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(f) } if f.to_string().is_empty() || no_field(&f) => {
            call("ceil", span, vec![walk(expr)?])
        }
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(f) } if no_field(&f) => {
            call("floor", span, vec![walk(expr)?])
        }
        Expr::AtTimeZone { timestamp, time_zone } => call("timezone", span, vec![walk(time_zone)?, walk(timestamp)?]),
        Expr::Position { expr, r#in } => call("strpos", span, vec![walk(r#in)?, walk(expr)?]),
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let Some(from) = substring_from else {
                return Err(refuse("SUBSTRING without a start", "write substring(text, start, length)"));
            };
            let mut args = vec![walk(expr)?, walk(from)?];
            if let Some(length) = substring_for {
                args.push(walk(length)?);
            }
            call("substring", span, args)
        }
        Expr::Trim { expr, trim_where, trim_what, trim_characters } => {
            let name = match trim_where.map(|w| w.to_string().to_ascii_uppercase()).as_deref() {
                Some("LEADING") => "ltrim",
                Some("TRAILING") => "rtrim",
                _ => "trim",
            };
            let mut args = vec![walk(expr)?];
            if let Some(what) = trim_what {
                args.push(walk(what)?);
            }
            for what in trim_characters.into_iter().flatten() {
                args.push(walk(Box::new(what))?);
            }
            call(name, span, args)
        }
        Expr::Case { case_token, end_token, operand, conditions, else_result } => {
            let operand = operand.map(walk).transpose()?;
            let mut whens = Vec::with_capacity(conditions.len());
            for CaseWhen { condition, result } in conditions {
                let mut condition = walk(Box::new(condition))?;
                if let Some(operand) = &operand {
                    condition = call("#eq", span, vec![operand.clone(), condition]);
                }
                whens.push(CaseWhen { condition, result: walk(Box::new(result))? });
            }
            let else_result = else_result.map(walk_boxed).transpose()?;
            Expr::Case { case_token, end_token, operand: None, conditions: whens, else_result }
        }
        Expr::Function(function) => self::function(function, span, names)?,
        Expr::Exists { mut subquery, negated } => {
            query::prepare_subquery(&mut subquery, names)?;
            Expr::Exists { subquery, negated }
        }
        Expr::InSubquery { expr, .. } if is_tuple(&expr) => {
            return Err(refuse("a row that is looked for in a query in this place", "write EXISTS with equalities"));
        }
        Expr::InSubquery { expr, mut subquery, negated } => {
            query::prepare_subquery(&mut subquery, names)?;
            Expr::InSubquery { expr: walk_boxed(expr)?, subquery, negated }
        }
        // SQL:2016 8.9: x = ANY (S) is x IN (S), x <> ALL (S) is x NOT IN (S).
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } if is_query(&right) => {
            rewrite(membership(left, *right, false), span, names)?
        }
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } if is_query(&right) => {
            rewrite(membership(left, *right, true), span, names)?
        }
        Expr::AnyOp { left, compare_op, right, .. } if is_query(&right) => {
            quantified(*left, compare_op, Quantifier::Any, *right, span, names)?
        }
        Expr::AllOp { left, compare_op, right } if is_query(&right) => {
            quantified(*left, compare_op, Quantifier::All, *right, span, names)?
        }
        Expr::Subquery(mut subquery) => {
            query::prepare_subquery(&mut subquery, names)?;
            Expr::Subquery(subquery)
        }
        Expr::Array(array) => {
            let items = array.elem.into_iter().map(|item| walk(Box::new(item))).collect::<Result<Vec<_>, _>>()?;
            call("list_value", span, items)
        }
        Expr::Dictionary(fields) => written::structure(fields, span, names)?,
        Expr::Map(map) => written::map(map, span, names)?,
        Expr::CompoundFieldAccess { root, access_chain } => written::access(*root, access_chain, span, names)?,
        other => return Err(refuse_construct(&other)),
    })
}

fn no_field(field: &datafusion_sql::sqlparser::ast::DateTimeField) -> bool {
    matches!(field, datafusion_sql::sqlparser::ast::DateTimeField::NoDateTime)
}

fn operator(op: &BinaryOperator) -> Result<&'static str, Refusal> {
    Ok(match op {
        BinaryOperator::Plus => "#add",
        BinaryOperator::Minus => "#subtract",
        BinaryOperator::Multiply => "#multiply",
        BinaryOperator::Divide => "#divide",
        BinaryOperator::DuckIntegerDivide => "#integer_divide",
        BinaryOperator::Modulo => "#modulo",
        BinaryOperator::StringConcat => "#concat",
        BinaryOperator::Eq => "#eq",
        BinaryOperator::NotEq => "#not_eq",
        BinaryOperator::Lt => "#lt",
        BinaryOperator::LtEq => "#lt_eq",
        BinaryOperator::Gt => "#gt",
        BinaryOperator::GtEq => "#gt_eq",
        BinaryOperator::BitwiseXor | BinaryOperator::PGExp => "#power",
        BinaryOperator::BitwiseAnd => "#bit_and",
        BinaryOperator::BitwiseOr => "#bit_or",
        BinaryOperator::PGBitwiseShiftLeft => "#shift_left",
        BinaryOperator::PGBitwiseShiftRight => "#shift_right",
        BinaryOperator::Arrow => "#json_get",
        BinaryOperator::LongArrow => "#json_text",
        op => return Err(refuse(&format!("the operator {op}"), "write it with + - * / // % || or a function")),
    })
}

/// The function of which DuckDB makes another name, and whether the operator is its negation.
fn named_operator(op: &BinaryOperator) -> Option<(&'static str, bool)> {
    Some(match op {
        BinaryOperator::PGRegexMatch => ("regexp_full_match", false),
        BinaryOperator::PGRegexNotMatch => ("regexp_full_match", true),
        BinaryOperator::PGLikeMatch => ("#like", false),
        BinaryOperator::PGNotLikeMatch => ("#like", true),
        BinaryOperator::PGILikeMatch => ("#ilike", false),
        BinaryOperator::PGNotILikeMatch => ("#ilike", true),
        BinaryOperator::AtArrow => ("list_has_all", false),
        BinaryOperator::PGOverlap => ("list_has_any", false),
        BinaryOperator::PGStartsWith => ("starts_with", false),
        _ => return None,
    })
}

fn function(mut function: Function, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let parts = crate::parse::parts(&function.name);
    let [name] = parts.as_slice() else {
        return Err(refuse(&format!("the function {}", function.name), "use a built-in function"));
    };
    let mut name = name.to_ascii_lowercase();
    if !function.within_group.is_empty() {
        return self::function(aggregate_call::without_group(function, &name)?, span, names);
    }
    if name == "unnest" || name == "unlist" {
        return unnest(function, span, names);
    }
    if name == "columns" || name == UNPACKED || name == MATCHING {
        return Err(refuse("COLUMNS in this place", "write it in the select list or in WHERE, or name the columns"));
    }
    if name == semantics::COUNTED_BY_HASHES {
        return rewrite(aggregate_call::counted_by_hashes(function, span)?, span, names);
    }
    if function.over.is_some() {
        return window::prepare(function, &name, span, names);
    }
    if semantics::is_window(&name) && !semantics::is_aggregate(&name) {
        return Err(Refusal::new(format!("{name} is a window function: write {name}(…) OVER (…)")));
    }
    if name == "count" {
        rows::name_fields(&mut function.args);
    }
    let plain = function.filter.is_none() && function.null_treatment.is_none();
    if plain && lambda::is_taken_by(&name) {
        return lambda::call(&name, function, span, names);
    }
    if plain && written::names_arguments(&name) {
        return written::with_names(&name, function, span, names);
    }
    let aggregate = semantics::is_aggregate(&name);
    if aggregate && clock::is_in(&function) {
        return Err(clock::in_aggregate(&name));
    }
    if name.starts_with('#') || !aggregate && !semantics::is_scalar(&name) {
        return Err(semantics::unknown_function(&name));
    }
    if function.null_treatment.is_some()
        || !matches!(function.parameters, FunctionArguments::None)
        || (function.filter.is_some() && !aggregate)
    {
        return Err(refuse(&format!("{name} with such a clause"), "write it without"));
    }
    let arguments = arguments(&mut name, aggregate, function.args, names)?;
    let filter = match function.filter {
        Some(mut filter) => {
            prepare(&mut filter, names)?;
            Some(filter)
        }
        None => None,
    };
    let mut prepared = call_function(&name, span, arguments.values);
    prepared.filter = filter;
    if let FunctionArguments::List(list) = &mut prepared.args {
        list.duplicate_treatment = arguments.treatment;
        list.clauses = arguments.order;
    }
    Ok(Expr::Function(prepared))
}

/// UNNEST in an expression, which only a select list may have.
fn unnest(function: Function, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let FunctionArguments::List(list) = function.args else {
        return Err(refuse("UNNEST of a subquery", "select UNNEST in the subquery"));
    };
    let plain = function.filter.is_none() && function.over.is_none() && list.clauses.is_empty();
    let mut args = list.args.into_iter();
    match (args.next(), args.next()) {
        (Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(mut list))), None) if plain => {
            prepare(&mut list, names)?;
            Ok(call(semantics::UNNEST, span, vec![list]))
        }
        _ => Err(refuse("UNNEST with such an argument or clause", "write UNNEST(list), once for each level")),
    }
}

/// What stands between the parentheses of a call, rewritten.
pub(super) struct Arguments {
    pub values: Vec<Expr>,
    /// Whether equal values count once.
    pub treatment: Option<DuplicateTreatment>,
    pub order: Vec<FunctionArgumentClause>,
}

/// The arguments of a call; its name may become another one because of them.
pub(super) fn arguments(
    name: &mut String,
    aggregate: bool,
    args: FunctionArguments,
    names: &Names,
) -> Result<Arguments, Refusal> {
    let FunctionArguments::List(mut list) = args else {
        return Err(refuse(&format!("a subquery as argument of {name}"), "join instead"));
    };
    if !list.clauses.is_empty() && !aggregate {
        return Err(refuse(&format!("ORDER BY or another clause inside {name}(…)"), "leave it out"));
    }
    aggregate_call::points(name, &mut list);
    let order = aggregate_call::order(name, std::mem::take(&mut list.clauses), names)?;
    let distinct = matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
    if distinct && !aggregate {
        return Err(refuse(&format!("{name}(DISTINCT …)"), "write it without DISTINCT"));
    }
    let mut values = Vec::with_capacity(list.args.len());
    for arg in list.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(mut arg)) => {
                prepare(&mut arg, names)?;
                values.push(arg);
            }
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" && !distinct => {}
            _ => return Err(refuse(&format!("such an argument of {name}"), "write plain expressions as arguments")),
        }
    }
    // count() and count(*) count rows.
    if name == "count" && values.is_empty() {
        values.push(number("1"));
    }
    Ok(Arguments { values, treatment: distinct.then_some(DuplicateTreatment::Distinct), order })
}

/// Says in a call whether equal arguments count once.
pub(super) fn set_treatment(function: &mut Function, treatment: Option<DuplicateTreatment>) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.duplicate_treatment = treatment;
    }
}

/// `alias.column`; the `source.` or `source.schema.` in front of a table's name is dropped, since
/// every table has its own name as alias.
fn column(parts: Vec<Ident>, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let values: Vec<String> = parts.iter().map(|p| p.value.clone()).collect();
    let kept = match parts.len() {
        2 => 2,
        n @ (3 | 4) if names.is_table(&values[..n - 1]) => 2,
        _ => {
            return Err(Refusal::at(span, format!("{} is not a column that is known here", values.join("."))));
        }
    };
    let skip = parts.len() - kept;
    Ok(Expr::CompoundIdentifier(parts.into_iter().skip(skip).map(lower).collect()))
}

fn constant(value: ValueWithSpan, span: Span) -> Result<Expr, Refusal> {
    match &value.value {
        Value::Number(text, _) => {
            let plain = text.replace('_', "");
            match literal::number_type(&plain) {
                Some(data_type) => Ok(cast(string(plain), &data_type, span)),
                None if plain.len() > 38 => Ok(cast(string(plain), "DOUBLE", span)),
                None if plain.parse::<u64>().is_err() => Ok(cast(string(plain), "HUGEINT", span)),
                None => Ok(Expr::Value(Value::Number(plain, false).with_span(value.span))),
            }
        }
        Value::SingleQuotedString(_) | Value::Boolean(_) | Value::Null => Ok(Expr::Value(value)),
        Value::EscapedStringLiteral(text) => Ok(string(text.clone())),
        Value::DollarQuotedString(text) => Ok(string(text.value.clone())),
        other => Err(refuse(&format!("the literal {other}"), "write a number, a text, TRUE, FALSE or NULL")),
    }
}

fn like_args(expr: Expr, pattern: Expr, escape: Option<Value>) -> Vec<Expr> {
    let escape = escape.map(|value| Expr::Value(value.with_empty_span()));
    [expr, pattern].into_iter().chain(escape).collect()
}

/// Rewrites an expression that must be true for rows to stay.
pub(super) fn prepare_condition(expr: &mut Expr, names: &Names) -> Result<(), Refusal> {
    prepare(expr, names)?;
    *expr = condition(std::mem::replace(expr, null()));
    Ok(())
}

fn is_tuple(expr: &Expr) -> bool {
    matches!(expr, Expr::Tuple(_))
}

fn compares(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn is_query(expr: &Expr) -> bool {
    matches!(expr, Expr::Subquery(_))
}

fn membership(value: Box<Expr>, query: Expr, negated: bool) -> Expr {
    match query {
        Expr::Subquery(subquery) => Expr::InSubquery { expr: value, subquery, negated },
        other => other,
    }
}

fn quantified(
    value: Expr,
    op: BinaryOperator,
    quantifier: Quantifier,
    query: Expr,
    span: Span,
    names: &Names,
) -> Result<Expr, Refusal> {
    let Expr::Subquery(query) = query else { return Err(refuse_construct(&query)) };
    if let SetExpr::Select(select) = query.body.as_ref()
        && select.projection.len() > 1
    {
        let columns = select.projection.len();
        return Err(Refusal::new(format!("ANY and ALL compare with one column, and the query has {columns}")));
    }
    match quantified::comparison(value, &op, quantifier, &query, span) {
        Some(comparison) => rewrite(comparison, span, names),
        None => Err(refuse(&format!("ANY or ALL with {op}"), "write a comparison such as < ANY (…)")),
    }
}

/// Marks a value that stands as a condition, so that only binding judges its type.
fn condition(expr: Expr) -> Expr {
    match expr {
        Expr::Identifier(_)
        | Expr::CompoundIdentifier(_)
        | Expr::Case { .. }
        | Expr::Value(_)
        | Expr::Function(_)
        | Expr::Subquery(_) => {
            let span = expr.span();
            call("#condition", span, vec![expr])
        }
        expr => expr,
    }
}

fn negate(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) } } else { expr }
}

fn cast(expr: Expr, duckdb_type: &str, span: Span) -> Expr {
    call("#cast", span, vec![expr, string(duckdb_type.to_owned())])
}

pub(super) fn call(name: &str, span: Span, args: Vec<Expr>) -> Expr {
    Expr::Function(call_function(name, span, args))
}

pub(super) fn call_function(name: &str, span: Span, args: Vec<Expr>) -> Function {
    let arg = |e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e));
    Function {
        name: ObjectName::from(vec![Ident::with_quote_and_span('"', span, name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(arg).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

pub(super) fn string(text: String) -> Expr {
    Expr::Value(Value::SingleQuotedString(text).with_empty_span())
}

pub(super) fn number(text: &str) -> Expr {
    Expr::Value(Value::Number(text.to_owned(), false).with_empty_span())
}

pub(super) fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

/// A name in lower case, marked as quoted so that nothing reads it as a keyword.
pub(super) fn lower(ident: Ident) -> Ident {
    Ident { value: ident.value.to_ascii_lowercase(), quote_style: Some('"'), span: ident.span }
}

pub(super) fn refuse(construct: &str, way_out: &str) -> Refusal {
    Refusal::new(format!("{construct} cannot be maintained incrementally: {way_out}"))
}

fn refuse_construct(expr: &Expr) -> Refusal {
    let (construct, way_out) = match expr {
        Expr::AnyOp { .. } | Expr::AllOp { .. } => {
            ("ANY or ALL of a list", "write list_contains(list, value), or UNNEST in a subquery")
        }
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
            ("grouping sets", "write one view for each grouping and put them together with UNION ALL")
        }
        Expr::Struct { .. } | Expr::Tuple(_) => ("a struct without names", "name its fields: {'a': x, 'b': y}"),
        Expr::JsonAccess { .. } => ("access into a nested value", "read it when you query the view"),
        Expr::Lambda(_) => ("a lambda here", "it stands in a call such as list_transform(l, lambda x: x + 1)"),
        Expr::SimilarTo { .. } => ("SIMILAR TO with ESCAPE", "write the pattern without"),
        Expr::RLike { .. } => ("RLIKE", "write regexp_matches(text, pattern)"),
        Expr::Collate { .. } => ("COLLATE", "compare lower(…) or upper(…) of the text"),
        Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => ("a wildcard here", "name the columns"),
        _ => return refuse(&format!("the expression {expr}"), "write it with operators and functions"),
    };
    refuse(construct, way_out)
}
