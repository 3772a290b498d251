//! Expressions of a plan as text: for people, and in the canonical form that plan ids hash.

use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use datafusion_common::ScalarValue;
use datafusion_expr::expr::Sort;
use datafusion_expr::{Expr, Operator};

use crate::explain::type_name;
use crate::semantics::{
    Point, Recomputed, RecomputedCall, WindowCall, WindowKind, aggregate_call, lent_text, recomputed_call, window_call,
    zone_rules,
};

/// DataFusion writes texts as they are, so that one with a quote in it could be taken for several.
fn canonical_literal(value: &ScalarValue) -> String {
    match value {
        ScalarValue::Utf8(Some(text)) => format!("Utf8({text:?})"),
        ScalarValue::LargeUtf8(Some(text)) => format!("LargeUtf8({text:?})"),
        ScalarValue::Utf8View(Some(text)) => format!("Utf8View({text:?})"),
        other => format!("{other:?}"),
    }
}

/// The text of an expression. The canonical form has qualified columns, typed calls and literals;
/// the other one is for people. Both cover every expression that this crate's planner makes.
pub(crate) fn expression(expr: &Expr, canonical: bool) -> String {
    let text = |e: &Expr| expression(e, canonical);
    let list = |items: &[Expr]| items.iter().map(text).collect::<Vec<_>>().join(", ");
    match expr {
        Expr::Alias(alias) if canonical => format!("{} AS {:?}.{:?}", text(&alias.expr), alias.relation, alias.name),
        Expr::Alias(alias) => text(&alias.expr),
        Expr::Column(column) if canonical => format!("{:?}.{:?}", column.relation, column.name),
        Expr::Column(column) => column.name.trim_start_matches('#').to_owned(),
        Expr::Literal(value, _) if canonical => canonical_literal(value),
        Expr::Literal(value, _) => literal(value),
        Expr::BinaryExpr(binary) => format!("({} {} {})", text(&binary.left), symbol(binary.op), text(&binary.right)),
        Expr::Not(e) => format!("NOT {}", text(e)),
        Expr::IsNull(e) => format!("{} IS NULL", text(e)),
        Expr::IsNotNull(e) => format!("{} IS NOT NULL", text(e)),
        Expr::IsTrue(e) => format!("{} IS TRUE", text(e)),
        Expr::IsNotTrue(e) => format!("{} IS NOT TRUE", text(e)),
        Expr::IsFalse(e) => format!("{} IS FALSE", text(e)),
        Expr::IsNotFalse(e) => format!("{} IS NOT FALSE", text(e)),
        Expr::IsUnknown(e) => format!("{} IS UNKNOWN", text(e)),
        Expr::IsNotUnknown(e) => format!("{} IS NOT UNKNOWN", text(e)),
        Expr::InList(list_of) => {
            let not = if list_of.negated { "NOT " } else { "" };
            format!("{} {not}IN ({})", text(&list_of.expr), list(&list_of.list))
        }
        Expr::Case(case) => {
            let mut written = "CASE".to_owned();
            for (when, then) in &case.when_then_expr {
                written += &format!(" WHEN {} THEN {}", text(when), text(then));
            }
            if let Some(otherwise) = &case.else_expr {
                written += &format!(" ELSE {}", text(otherwise));
            }
            written + " END"
        }
        Expr::ScalarFunction(function) => {
            let answer = function.func.return_type(&[]).ok().filter(|_| canonical);
            let answer = answer.map(|t| format!(":{t:?}")).unwrap_or_default();
            let args = function.args.iter().map(text).collect::<Vec<_>>();
            match lent_text(&function.func, &args) {
                Some(written) if canonical => {
                    let rules = zone_rules(&function.func).map(|version| format!("{version} ")).unwrap_or_default();
                    format!("duckdb {rules}{written}{answer}")
                }
                Some(written) => written,
                None => format!("{}({}){answer}", function.func.name(), list(&function.args)),
            }
        }
        Expr::AggregateFunction(_) => match aggregate_call(expr) {
            Some(call) => {
                let distinct = if call.distinct { "DISTINCT " } else { "" };
                let argument = call.argument.map_or("*".to_owned(), text);
                let filter = call.filter.map(|f| format!(" FILTER ({})", text(f))).unwrap_or_default();
                let answer = if canonical { format!(":{:?}", call.return_type) } else { String::new() };
                format!("{}({distinct}{argument}){filter}{answer}", call.kind.name())
            }
            None => match recomputed_call(expr) {
                Some(call) => recomputed(&call, canonical),
                None => format!("{expr:?}"),
            },
        },
        Expr::WindowFunction(_) => match window_call(expr) {
            Some(call) => window(&call, canonical),
            None => format!("{expr:?}"),
        },
        other => format!("{other:?}"),
    }
}

/// A function over a window; the canonical form has everything that its values depend on.
fn window(call: &WindowCall, canonical: bool) -> String {
    let text = |e: &Expr| expression(e, canonical);
    let list = |items: &[Expr]| items.iter().map(text).collect::<Vec<_>>().join(", ");
    let order = order_by(call.order_by, canonical);
    let over = [("PARTITION BY", list(call.partition_by)), ("ORDER BY", order)];
    let over = over.iter().filter(|(_, what)| !what.is_empty()).map(|(word, what)| format!("{word} {what}"));
    let over = over.collect::<Vec<_>>().join(" ");
    let inner_keys = call.inner_keys();
    if let Some(aggregate) = call.recomputed(&inner_keys) {
        let written = recomputed(&aggregate, canonical);
        if !canonical {
            return format!("{written} OVER ({over})");
        }
        let range = [call.range_key, call.range_start, call.range_end];
        let range: Vec<String> = range.iter().map(|part| part.map_or("-".to_owned(), text)).collect();
        return format!("{written} {:?} {:?} ({}) OVER ({over})", call.kind, call.frame, range.join("; "));
    }
    if canonical {
        let parts = [call.argument, call.default, call.filter, call.range_key, call.range_start, call.range_end];
        let parts: Vec<String> = parts.iter().map(|part| part.map_or("-".to_owned(), text)).collect();
        let distinct = call.distinct;
        let nulls = if call.ignores_nulls { " IGNORE NULLS" } else { "" };
        return format!(
            "{:?}({}){nulls} distinct {distinct} {:?} OVER ({over}):{:?}",
            call.kind,
            parts.join("; "),
            call.frame,
            call.return_type
        );
    }
    let distinct = if call.distinct { "DISTINCT " } else { "" };
    let arguments = match (&call.kind, call.argument) {
        (WindowKind::Aggregate(_), None) => "*".to_owned(),
        (WindowKind::Ntile(buckets), _) => buckets.to_string(),
        (WindowKind::Lag(offset), Some(argument)) => format!("{}, {offset}", text(argument)),
        (WindowKind::NthValue(place), Some(argument)) => format!("{}, {place}", text(argument)),
        (_, argument) => argument.map_or(String::new(), text),
    };
    let default = call.default.map(|default| format!(", {}", text(default))).unwrap_or_default();
    let filter = call.filter.map(|filter| format!(" FILTER ({})", text(filter))).unwrap_or_default();
    let nulls = if call.ignores_nulls { " IGNORE NULLS" } else { "" };
    format!("{}({distinct}{arguments}{default}{nulls}){filter} OVER ({over})", call.kind.name())
}

/// Keys of an order.
pub(crate) fn order_by(keys: &[Sort], canonical: bool) -> String {
    let key = |key: &Sort| {
        let direction = if key.asc { "" } else { " DESC" };
        let nulls = if key.nulls_first { " NULLS FIRST" } else { "" };
        format!("{}{direction}{nulls}", expression(&key.expr, canonical))
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}

fn recomputed(call: &RecomputedCall, canonical: bool) -> String {
    let text = |e: &Expr| expression(e, canonical);
    let mut written = call.arguments.iter().map(text).collect::<Vec<_>>().join(", ");
    match call.function {
        Recomputed::StringAgg(Some(separator)) => written += &format!(", '{}'", separator.replace('\'', "''")),
        Recomputed::StringAgg(None) => written += ", NULL",
        Recomputed::Quantile(quantile) if call.name != "median" => {
            let point = |point: &Point| match point {
                // Equal numbers of two kinds are computed with in two ways.
                point if canonical => format!("{point:?}"),
                Point::Exact { units, scale } => literal(&ScalarValue::Decimal128(Some(*units), 38, *scale as i8)),
                Point::Double(bits) => f64::from_bits(*bits).to_string(),
            };
            let points = quantile.points.iter().map(point).collect::<Vec<_>>().join(", ");
            written += &if quantile.listed { format!(", [{points}]") } else { format!(", {points}") };
        }
        _ => {}
    }
    if !call.order_by.is_empty() {
        let key = |sort: &datafusion_expr::SortExpr| {
            let direction = if sort.asc { "" } else { " DESC" };
            let nulls = if sort.nulls_first { " NULLS FIRST" } else { "" };
            format!("{}{direction}{nulls}", text(&sort.expr))
        };
        written += &format!(" ORDER BY {}", call.order_by.iter().map(key).collect::<Vec<_>>().join(", "));
    }
    let distinct = if call.distinct { "DISTINCT " } else { "" };
    let filter = call.filter.map(|f| format!(" FILTER ({})", text(f))).unwrap_or_default();
    let answer = if canonical { format!(":{:?}", call.return_type) } else { String::new() };
    format!("{}({distinct}{written}){filter}{answer}", call.name.trim_start_matches('#'))
}

/// A constant as SQL writes it.
fn literal(value: &ScalarValue) -> String {
    if value.is_null() {
        return "NULL".to_owned();
    }
    let shown = value.to_array().ok().and_then(|array| array_value_to_string(&array, 0).ok());
    let shown = shown.unwrap_or_else(|| value.to_string());
    match value.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => format!("'{}'", shown.replace('\'', "''")),
        data_type if data_type.is_temporal() => format!("{} '{shown}'", type_name(&data_type)),
        _ => shown,
    }
}

fn symbol(op: Operator) -> String {
    op.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_written_as_in_sql() {
        for (value, text) in [
            (ScalarValue::Decimal128(Some(12_000_000), 38, 2), "120000.00"),
            (ScalarValue::from("it's"), "'it''s'"),
            (ScalarValue::Date32(Some(19782)), "DATE '2024-02-29'"),
            (ScalarValue::TimestampMicrosecond(Some(1), None), "TIMESTAMP '1970-01-01T00:00:00.000001'"),
            (ScalarValue::from(7i64), "7"),
            (ScalarValue::Int64(None), "NULL"),
        ] {
            assert_eq!(expression(&Expr::Literal(value, None), false), text);
        }
    }
}
