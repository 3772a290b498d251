//! Expressions of a plan to typed expressions.

use datafusion_common::{DFSchema, ExprSchema, ScalarValue};
use datafusion_expr::expr::{Case, ScalarFunction};
use datafusion_expr::{BinaryExpr, Expr, Operator};
use datafusion_sql::sqlparser::tokenizer::Location;

use arrow::datatypes::{DataType, Field};

use super::aggregate::{self, AggregateKind};
use super::bound::{Bound, Kind};
use super::coercion::unify;
use super::{function, grouping, recomputed_bind};
use crate::error::Refusal;
use crate::explain::type_name;

/// Binds an expression over the columns of `schema`. A refusal has the place of the first column
/// in the smallest expression that is at fault.
pub(super) fn bind(expr: &Expr, schema: &DFSchema) -> Result<Bound, Refusal> {
    bind_here(expr, schema).map_err(|refusal| match refusal.location {
        Some(_) => refusal,
        None => refusal.or_at(place(expr)),
    })
}

/// A settled expression, for where it meets nothing.
pub(super) fn bind_settled(expr: &Expr, schema: &DFSchema) -> Result<Bound, Refusal> {
    bind(expr, schema)?.settled()
}

/// An expression that is true, false or NULL.
pub(super) fn bind_condition(expr: &Expr, schema: &DFSchema) -> Result<Expr, Refusal> {
    let bound = bind(expr, schema)?;
    condition(bound).map_err(|refusal| refusal.or_at(place(expr)))
}

pub(super) fn condition(bound: Bound) -> Result<Expr, Refusal> {
    if bound.is_null() {
        return Ok(Expr::Literal(ScalarValue::Boolean(None), None));
    }
    if bound.data_type != DataType::Boolean {
        return Err(Refusal::new(format!(
            "a condition is BOOLEAN, and this is {}: compare it, for example with <> 0",
            type_name(&bound.data_type)
        )));
    }
    Ok(bound.expr)
}

fn bind_here(expr: &Expr, schema: &DFSchema) -> Result<Bound, Refusal> {
    let boolean = |expr: Expr| Ok(Bound::new(expr, DataType::Boolean));
    let test = |inner: &Expr| bind_condition(inner, schema).map(Box::new);
    match expr {
        Expr::Alias(alias) => bind(&alias.expr, schema),
        Expr::Column(column) => Ok(self::column(expr, schema.field_from_column(column)?)),
        Expr::OuterReferenceColumn(field, _) => Ok(column(expr, field)),
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) => Err(super::subquery::refused()),
        Expr::Literal(value, _) => literal(value),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (bind_condition(left, schema)?, bind_condition(right, schema)?);
            boolean(datafusion_expr::binary_expr(left, *op, right))
        }
        Expr::Not(inner) => boolean(Expr::Not(test(inner)?)),
        Expr::IsNull(inner) => boolean(Expr::IsNull(Box::new(bind_settled(inner, schema)?.expr))),
        Expr::IsNotNull(inner) => boolean(Expr::IsNotNull(Box::new(bind_settled(inner, schema)?.expr))),
        Expr::IsTrue(inner) => boolean(Expr::IsTrue(test(inner)?)),
        Expr::IsNotTrue(inner) => boolean(Expr::IsNotTrue(test(inner)?)),
        Expr::IsFalse(inner) => boolean(Expr::IsFalse(test(inner)?)),
        Expr::IsNotFalse(inner) => boolean(Expr::IsNotFalse(test(inner)?)),
        Expr::IsUnknown(inner) => boolean(Expr::IsUnknown(test(inner)?)),
        Expr::IsNotUnknown(inner) => boolean(Expr::IsNotUnknown(test(inner)?)),
        Expr::Case(case) if case.expr.is_none() => {
            let mut conditions = Vec::with_capacity(case.when_then_expr.len());
            let mut results = Vec::with_capacity(case.when_then_expr.len() + 1);
            for (when, then) in &case.when_then_expr {
                conditions.push(bind_condition(when, schema)?);
                results.push(bind(then, schema)?);
            }
            results.push(match &case.else_expr {
                Some(otherwise) => bind(otherwise, schema)?,
                None => Bound::null(),
            });
            searched_case(conditions, results)
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let args = args.iter().map(|arg| bind(arg, schema)).collect::<Result<Vec<_>, _>>()?;
            function::bind(func.name(), args)
        }
        Expr::AggregateFunction(function) => {
            let name = function.func.name();
            if grouping::is_grouping(name) {
                return grouping::bind_call(function, schema);
            }
            let Some(kind) = AggregateKind::by_name(name) else { return recomputed_bind::bind_call(function, schema) };
            let args = function.params.args.iter().map(|arg| bind(arg, schema)).collect::<Result<Vec<_>, _>>()?;
            let filter = function.params.filter.as_ref().map(|f| bind_condition(f, schema)).transpose()?;
            let expr = aggregate::bind(kind, args, function.params.distinct, filter)?;
            let data_type = aggregate::aggregate_call(&expr).map(|call| call.return_type.clone());
            Ok(Bound::new(expr, data_type.unwrap_or(DataType::Null)))
        }
        other => Err(Refusal::new(format!("the expression {other} cannot be maintained incrementally"))),
    }
}

fn column(expr: &Expr, field: &Field) -> Bound {
    let duckdb_type = tidegate_core::schema::duckdb_type(field).map(str::to_owned);
    let kind = match duckdb_type.as_deref() {
        Some("UUID") => Kind::Uuid,
        Some("JSON") => Kind::Json,
        _ => Kind::Plain,
    };
    Bound { kind, duckdb_type, ..Bound::new(expr.clone(), field.data_type().clone()) }
}

/// `CASE WHEN … THEN … ELSE last END`; one result more than conditions.
pub(super) fn searched_case(conditions: Vec<Expr>, results: Vec<Bound>) -> Result<Bound, Refusal> {
    let (mut results, data_type) = unify(results)?;
    let otherwise = results.pop().map(Box::new);
    let branches = conditions.into_iter().map(Box::new).zip(results.into_iter().map(Box::new)).collect();
    Ok(Bound::new(Expr::Case(Case::new(None, branches, otherwise)), data_type))
}

fn literal(value: &ScalarValue) -> Result<Bound, Refusal> {
    Ok(match value {
        ScalarValue::Null => Bound::null(),
        ScalarValue::Boolean(Some(_)) => Bound::constant(value.clone()),
        ScalarValue::Int64(Some(i)) => Bound::integer(i128::from(*i)),
        ScalarValue::UInt64(Some(i)) => Bound::integer(i128::from(*i)),
        ScalarValue::Utf8(Some(text)) => Bound::text(text.clone()),
        other => return Err(Refusal::new(format!("literals of type {} are not supported", other.data_type()))),
    })
}

/// The place of the first column in an expression.
pub(super) fn place(expr: &Expr) -> Option<Location> {
    let mut columns: Vec<Location> = Vec::new();
    for column in expr.column_refs() {
        columns.extend(column.spans().first().map(|span| Location::new(span.start.line, span.start.column)));
    }
    columns.into_iter().min()
}
