//! Functions that DuckDB itself computes: those without a kernel of ours, and overloads that ours do not
//! have. Their values are DuckDB's by construction; a call costs a round through a DuckDB in
//! memory for each batch. The time zone of its session is UTC.

use std::any::Any;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidegate_core::duckdb_type::arrow_type;
use tidegate_core::schema::with_duckdb_type;
use tidegate_duck::{DuckError, ScalarExpression, is_scalar_function, presumed_type, quote_literal};

use super::bound::{Bound, Kind, Literal};
use crate::error::Refusal;

/// DuckDB's macros whose value follows from their arguments.
const MACROS: &[&str] = &[
    "array_append",
    "array_pop_back",
    "array_pop_front",
    "array_prepend",
    "array_push_back",
    "array_push_front",
    "array_reverse",
    "array_to_string",
    "date_add",
    "days_in_month",
    "fdiv",
    "fmod",
    "json",
    "list_any_value",
    "list_append",
    "list_avg",
    "list_bit_and",
    "list_bit_or",
    "list_bit_xor",
    "list_bool_and",
    "list_bool_or",
    "list_count",
    "list_entropy",
    "list_first",
    "list_histogram",
    "list_kurtosis",
    "list_kurtosis_pop",
    "list_last",
    "list_mad",
    "list_max",
    "list_median",
    "list_min",
    "list_mode",
    "list_prepend",
    "list_product",
    "list_reverse",
    "list_sem",
    "list_skewness",
    "list_stddev_pop",
    "list_stddev_samp",
    "list_string_agg",
    "list_sum",
    "list_var_pop",
    "list_var_samp",
    "map_contains_entry",
    "map_contains_value",
    "md5_number_lower",
    "md5_number_upper",
    "round_even",
    "roundbankers",
];

/// What depends on more than the arguments, though DuckDB calls it consistent, or belongs to its inner
/// workings.
const NOT_LENT: &[&str] = &[
    "alias",
    "create_sort_key",
    "current_localtime",
    "current_localtimestamp",
    "current_setting",
    "getvariable",
    "json_deserialize_sql",
    "json_serialize_plan",
    "json_serialize_sql",
    "version",
    // They read the names of their arguments, or take a lambda.
    "apply",
    "array_apply",
    "array_filter",
    "array_reduce",
    "array_transform",
    "filter",
    "list_apply",
    "list_filter",
    "list_reduce",
    "list_transform",
    "reduce",
    "remap_struct",
    "row_to_json",
    "struct_insert",
    "struct_pack",
    "struct_update",
];

/// How operators are written. Comparisons are not among them: joins find their keys by ours.
const OPERATORS: &[(&str, &str)] = &[
    ("#add", "+"),
    ("#subtract", "-"),
    ("#multiply", "*"),
    ("#divide", "/"),
    ("#integer_divide", "//"),
    ("#modulo", "%"),
    ("#concat", "||"),
    ("#power", "^"),
    ("#bit_and", "&"),
    ("#bit_or", "|"),
    ("#shift_left", "<<"),
    ("#shift_right", ">>"),
    ("#json_get", "->"),
    ("#json_text", "->>"),
];

/// The call of an expression that DuckDB computes as it is written: what messages call it, the text, and what stands
/// in the text between two [`MARK`]s by its position.
pub(crate) const WRITTEN: &str = "#written";
/// Stands before and after the position of an argument in a text; no SQL has it.
pub(crate) const MARK: char = '\u{1}';

/// Whether DuckDB computes a function or operator of this name.
pub(crate) fn is_lent(name: &str) -> bool {
    if name.starts_with('#') {
        return name == "#try_cast" || name == WRITTEN || OPERATORS.iter().any(|(known, _)| *known == name);
    }
    !NOT_LENT.contains(&name) && !name.starts_with("__") && (MACROS.contains(&name) || is_scalar_function(name))
}

/// Binds a call that DuckDB shall compute.
pub(super) fn bind(name: &str, args: Vec<Bound>) -> std::result::Result<Bound, Refusal> {
    let mut call = Written::default();
    let sql = match (name, args.as_slice()) {
        ("#cast" | "#try_cast", [value, target]) => {
            let word = if name == "#cast" { "CAST" } else { "TRY_CAST" };
            check_zoned(&value.data_type, target.as_text().unwrap_or_default())?;
            format!("{word}({} AS {})", call.argument(value)?, target.as_text().unwrap_or_default())
        }
        (WRITTEN, [label, text, args @ ..]) => {
            let sql = call.marked(text.as_text().unwrap_or_default(), args)?;
            return call.bound(label.as_text().unwrap_or_default(), sql);
        }
        ("#negate", [value]) => format!("(- {})", call.argument(value)?),
        (name, [a, b]) if name.starts_with('#') => match OPERATORS.iter().find(|(known, _)| *known == name) {
            Some((_, operator)) => format!("({} {operator} {})", call.argument(a)?, call.argument(b)?),
            None => return Err(Refusal::new("this operator cannot be maintained for values of such types")),
        },
        ("age", [_]) => return Err(super::unknown_function("today")),
        (name, args) if is_lent(name) => {
            if let ("timezone", Some(zone)) = (name, args.first().and_then(Bound::as_text)) {
                check_zone(zone)?;
            }
            format!("{name}({})", call.arguments(args)?)
        }
        _ => return Err(super::unknown_function(name)),
    };
    call.bound(name, sql)
}

/// A cast from or to TIMESTAMP WITH TIME ZONE, in UTC. A text that is written out is read now.
pub(super) fn zoned_cast(value: Bound, target: &DataType) -> std::result::Result<Bound, Refusal> {
    let duckdb_type = presumed_type(target);
    let is_text = value.as_text().is_some();
    let bound = bind("#cast", vec![value, Bound::text(duckdb_type.clone())])?;
    if is_text && !matches!(bound.expr, Expr::Literal(..)) {
        let way_out = "write it as '2024-01-31 12:00:00+00'";
        return Err(Refusal::new(format!("a text cannot be read as {duckdb_type}: {way_out}")));
    }
    Ok(bound)
}

/// Refuses casts from and to TIMESTAMP WITH TIME ZONE that DuckDB has not, though it binds them.
fn check_zoned(from: &DataType, target: &str) -> std::result::Result<(), Refusal> {
    let Ok(to) = arrow_type(target) else { return Ok(()) };
    let is_zoned = |t: &DataType| matches!(t, DataType::Timestamp(_, Some(_)));
    let other = match (is_zoned(from), is_zoned(&to)) {
        (true, _) => &to,
        (_, true) => from,
        _ => return Ok(()),
    };
    let has_cast = matches!(other, DataType::Date32 | DataType::Timestamp(..) | DataType::Utf8 | DataType::Null);
    if has_cast || other.is_nested() {
        return Ok(());
    }
    let way_out = "cast by way of TIMESTAMP, as in (x AT TIME ZONE 'UTC')::TIME, or take a part of it with date_part";
    Err(Refusal::new(format!("DuckDB has no cast from {} to {target}: {way_out}", crate::explain::type_name(from))))
}

/// Refuses the name of a time zone that DuckDB does not know, before a row comes.
fn check_zone(zone: &str) -> std::result::Result<(), Refusal> {
    let known =
        ScalarExpression::bind(format!("timezone({}, TIMESTAMP '2000-01-01')", quote_literal(zone)), Vec::new())
            .and_then(|expression| expression.evaluate(&[]));
    known.map(|_| ()).map_err(|_| {
        let way_out = "take a name that DuckDB's pg_timezone_names() lists, for example 'Europe/Berlin'";
        Refusal::new(format!("there is no time zone '{zone}': {way_out}"))
    })
}

/// What is compared with the time of the epoch: an expression over the time as `c0`.
pub(super) fn of_clock(time: Bound, sql: &str) -> std::result::Result<Bound, Refusal> {
    let types = vec![presumed_type(&time.data_type)];
    let expression =
        ScalarExpression::bind(format!("({sql})"), types).map_err(|error| refused("tidegate_now", &error))?;
    lent(format!("tidegate_now() as c0 in {sql}"), expression, vec![time.expr])
}

/// A comparison of nested values, in which DuckDB takes NULLs for equal.
pub(super) fn comparison(operator: Operator, left: Bound, right: Bound) -> std::result::Result<Bound, Refusal> {
    let mut call = Written::default();
    let sql = format!("({} {operator} {})", call.argument(&left)?, call.argument(&right)?);
    let bound = call.bound("the comparison", sql)?;
    if bound.data_type == DataType::Boolean { Ok(bound) } else { Err(Refusal::new("a comparison is BOOLEAN")) }
}

/// The sides of an equality of nested values of one type, which may be the key of a join.
pub(super) fn equality(expr: &Expr) -> Option<(&Expr, &Expr)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let lent = function.func.inner().as_any().downcast_ref::<Lent>()?;
    match (lent.expression.sql(), lent.expression.columns(), function.args.as_slice()) {
        ("(c0 = c1)", [a, b], [left, right]) if a == b => Some((left, right)),
        _ => None,
    }
}

/// The text and the columns of a call.
#[derive(Default)]
struct Written {
    types: Vec<String>,
    exprs: Vec<Expr>,
}

impl Written {
    fn arguments(&mut self, args: &[Bound]) -> std::result::Result<String, Refusal> {
        Ok(args.iter().map(|arg| self.argument(arg)).collect::<std::result::Result<Vec<_>, _>>()?.join(", "))
    }

    /// A text with arguments in the place of their marks.
    fn marked(&mut self, text: &str, args: &[Bound]) -> std::result::Result<String, Refusal> {
        let written = args.iter().map(|arg| self.argument(arg)).collect::<std::result::Result<Vec<_>, _>>()?;
        // Every second part is a position.
        let parts = text.split(MARK).enumerate().map(|(at, part)| match at % 2 {
            0 => Some(part),
            _ => part.parse::<usize>().ok().and_then(|position| written.get(position)).map(String::as_str),
        });
        parts.collect::<Option<String>>().ok_or_else(|| Refusal::new("an argument of this expression is missing"))
    }

    /// What is written as a literal stays one, since DuckDB adapts its type, or asks for a constant.
    fn argument(&mut self, arg: &Bound) -> std::result::Result<String, Refusal> {
        Ok(match &arg.literal {
            Some(Literal::Null) => "NULL".to_owned(),
            Some(Literal::Integer(value)) => value.to_string(),
            Some(Literal::Text(text)) => quote_literal(text),
            None => {
                let known = match arg.kind {
                    Kind::Uuid => Some("UUID".to_owned()),
                    Kind::Json => Some("JSON".to_owned()),
                    Kind::Plain => arg.duckdb_type.clone(),
                };
                self.types.push(known.unwrap_or_else(|| presumed_type(&arg.data_type)));
                self.exprs.push(arg.expr.clone());
                format!("c{}", self.exprs.len() - 1)
            }
        })
    }

    fn bound(self, name: &str, sql: String) -> std::result::Result<Bound, Refusal> {
        let expression = ScalarExpression::bind(sql, self.types).map_err(|error| refused(name, &error))?;
        lent(name.to_owned(), expression, self.exprs)
    }
}

/// The call of an expression with these columns.
fn lent(name: String, expression: ScalarExpression, exprs: Vec<Expr>) -> std::result::Result<Bound, Refusal> {
    let answer = expression.answer().to_owned();
    let data_type = arrow_type(&answer).map_err(|error| Refusal::new(format!("{name}: {error}")))?;
    let kind = match answer.as_str() {
        "UUID" => Kind::Uuid,
        "JSON" => Kind::Json,
        _ => Kind::Plain,
    };
    // A call of constants is computed now, unless that fails: then it fails when rows come.
    let constant = if exprs.is_empty() { expression.evaluate(&[]).ok() } else { None };
    let expr = match constant {
        Some(value) => Expr::Literal(ScalarValue::try_from_array(&value, 0)?, None),
        None => {
            let lent = Lent {
                name,
                expression,
                data_type: data_type.clone(),
                signature: Signature::user_defined(Volatility::Immutable),
            };
            Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(lent)), exprs))
        }
    };
    Ok(Bound { kind, duckdb_type: Some(answer), ..Bound::new(expr, data_type) })
}

fn refused(name: &str, error: &DuckError) -> Refusal {
    let said = error.to_string();
    let said = said.lines().next().unwrap_or_default().trim_start_matches("Binder Error: ");
    Refusal::new(format!("{}: {said}", name.trim_start_matches('#')))
}

/// The text of a call that DuckDB computes, with `written` in the place of its columns.
pub(crate) fn lent_text(function: &ScalarUDF, written: &[String]) -> Option<String> {
    let lent = function.inner().as_any().downcast_ref::<Lent>()?;
    let mut text = String::new();
    let mut rest = lent.expression.sql();
    // From the left, so that what stands in a literal or in an argument is not read again.
    while let Some(at) = next_column(rest) {
        let digits = rest[at + 1..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |end| at + 1 + end);
        let column = rest[at + 1..digits].parse::<usize>().ok().and_then(|index| written.get(index))?;
        text.push_str(&rest[..at]);
        text.push_str(column);
        rest = &rest[digits..];
    }
    text.push_str(rest);
    Some(text)
}

/// The version of the rules of time zones, where a call reads them: by other rules a view has other rows.
pub(crate) fn zone_rules(function: &ScalarUDF) -> Option<&'static str> {
    let expression = &function.inner().as_any().downcast_ref::<Lent>()?.expression;
    let mut texts = expression.columns().iter().map(String::as_str).chain([expression.answer(), expression.sql()]);
    let is_zoned = |text: &str| text.contains("TIME ZONE") || text.contains("timezone(");
    texts.any(is_zoned).then(tidegate_duck::version)
}

/// Where the next `c0`, `c1` … outside of literals and quoted names stands.
fn next_column(sql: &str) -> Option<usize> {
    let bytes = sql.as_bytes();
    let (mut quote, mut word) = (None, false);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(byte, b'\'' | b'"') {
            quote = match quote {
                None => Some(*byte),
                Some(open) if open == *byte => None,
                open => open,
            };
        }
        let begins = quote.is_none() && !word && *byte == b'c' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if begins {
            return Some(at);
        }
        word = byte.is_ascii_alphanumeric() || *byte == b'_';
    }
    None
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Lent {
    name: String,
    expression: ScalarExpression,
    data_type: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Lent {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(&self.name, self.data_type.clone(), true);
        Ok(Arc::new(with_duckdb_type(field, self.expression.answer())))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    /// Calls that are written in another way, or with other types, are other columns.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("{}({}):{:?}", self.expression.sql(), args.join(","), self.expression.columns()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.into_iter().map(|arg| arg.into_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let answer = self.expression.evaluate(&columns).map_err(|error| {
            let what = match error {
                DuckError::Value { what } => format!(" ({what})"),
                _ => String::new(),
            };
            let name = self.name.trim_start_matches('#');
            DataFusionError::Execution(format!("DuckDB cannot compute {name} of a row{what}"))
        })?;
        if columns.is_empty() {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?));
        }
        Ok(ColumnarValue::Array(answer))
    }
}
