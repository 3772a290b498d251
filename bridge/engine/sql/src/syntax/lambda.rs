//! Lambdas. DuckDB computes the whole call: the text of a body is written anew from what was read, with every
//! parenthesis, names of parameters marked and columns as arguments, so that nothing in it can mean anything else.

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DateTimeField, DuplicateTreatment, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, LambdaFunction, LambdaSyntax, OneOrManyWithParens, Spanned,
    UnaryOperator, Value,
};
use datafusion_sql::sqlparser::tokenizer::Span;
use tidegate_duck::quote_literal;

use super::expression::refuse;
use super::written::{Written, chained, quoted};
use super::{json_arrow, literal, precedence, type_name};
use crate::error::Refusal;
use crate::names::Names;
use crate::semantics;

/// Functions that take a lambda.
const FUNCTIONS: &[&str] = &[
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
];

/// What in a lambda would depend on the present: some could be of TIME WITH TIME ZONE, whose offset in another zone
/// is today's.
const OF_PRESENT: &[&str] = &["age", "from_json", "from_json_strict", "json_transform", "json_transform_strict"];

/// Whether a function of this name takes a lambda.
pub(super) fn is_taken_by(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

/// Tells the lambdas among a function's arguments from arrows of JSON.
pub(super) fn mark(function: &mut Function) {
    let name = function.name.to_string();
    if !is_taken_by(&name.trim_matches('"').to_ascii_lowercase()) {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    for argument in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Lambda(lambda))) = argument {
            lambda.syntax = LambdaSyntax::LambdaKeyword;
        }
    }
}

/// A call with a lambda.
pub(super) fn call(name: &str, function: Function, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let mut written = Written::new(names);
    let text = Body { written: Some(&mut written), parameters: Vec::new() }.lambda_call(name, &function)?;
    Ok(written.finish(name, text, span))
}

/// The text of a lambda without columns, and the name of its parameter in it.
pub(super) fn of_names(lambda: &LambdaFunction) -> Result<(String, String), Refusal> {
    let names = parameters(lambda);
    let [name] = names.as_slice() else {
        return Err(refuse("a lambda of several names over the names of columns", "write it with one"));
    };
    let text = Body { written: None, parameters: vec![name.clone()] }.text(&lambda.body)?;
    Ok((parameter(name), text))
}

fn parameters(lambda: &LambdaFunction) -> Vec<String> {
    match &lambda.params {
        OneOrManyWithParens::One(name) => vec![name.value.clone()],
        OneOrManyWithParens::Many(names) => names.iter().map(|name| name.value.clone()).collect(),
    }
}

/// A parameter's name in a text, where it cannot be taken for a column's.
fn parameter(name: &str) -> String {
    quoted(&format!("_{}", name.to_ascii_lowercase()))
}

/// Writes the body of a lambda.
struct Body<'w, 'n> {
    /// Where columns become arguments; without it there are none.
    written: Option<&'w mut Written<'n>>,
    parameters: Vec<String>,
}

impl Body<'_, '_> {
    fn is_parameter(&self, name: &Ident) -> bool {
        self.parameters.iter().any(|parameter| parameter.eq_ignore_ascii_case(&name.value))
    }

    fn column(&mut self, expr: &Expr) -> Result<String, Refusal> {
        match &mut self.written {
            Some(written) => written.argument(expr.clone()),
            None => Err(refuse(&format!("{expr} in a lambda over names"), "it sees the names of columns alone")),
        }
    }

    fn list(&mut self, items: &[Expr]) -> Result<String, Refusal> {
        Ok(items.iter().map(|item| self.text(item)).collect::<Result<Vec<_>, _>>()?.join(", "))
    }

    fn text(&mut self, expr: &Expr) -> Result<String, Refusal> {
        precedence::check(expr)?;
        let span = expr.span();
        self.text_here(expr).map_err(|refusal| refusal.or_at((span.start.line > 0).then_some(span.start)))
    }

    fn text_here(&mut self, expr: &Expr) -> Result<String, Refusal> {
        let not = |negated: bool| if negated { "NOT " } else { "" };
        Ok(match expr {
            Expr::Identifier(name) if self.is_parameter(name) => parameter(&name.value),
            Expr::CompoundIdentifier(parts) if parts.first().is_some_and(|name| self.is_parameter(name)) => {
                let mut parts = parts.iter();
                let mut text = parts.next().map(|name| parameter(&name.value)).unwrap_or_default();
                for field in parts {
                    text += &format!("['{}']", field.value.replace('\'', "''"));
                }
                text
            }
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.column(expr)?,
            Expr::Nested(inner) => self.text(inner)?,
            Expr::Value(value) => match &value.value {
                Value::Number(text, _) => text.replace('_', ""),
                Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => quote_literal(text),
                Value::DollarQuotedString(text) => quote_literal(&text.value),
                Value::Boolean(truth) => truth.to_string(),
                Value::Null => "NULL".to_owned(),
                other => return Err(refuse(&format!("the literal {other} in a lambda"), "write a plain literal")),
            },
            Expr::TypedString(typed) => {
                let text = typed.value.clone().into_string().unwrap_or_default();
                cast(&quote_literal(&text), &type_name::duckdb_type(&typed.data_type)?, "CAST")
            }
            Expr::Interval(interval) => {
                let parts = literal::interval(interval)?;
                format!("(to_months({}) + to_days({}) + to_microseconds({}))", parts.months, parts.days, parts.micros)
            }
            Expr::BinaryOp { left, op, right } => {
                let (left, right) = (self.text(left)?, self.text(right)?);
                format!("({left} {} {right})", operator(op)?)
            }
            Expr::UnaryOp { op, expr } => {
                let operand = self.text(expr)?;
                match op {
                    UnaryOperator::Not => format!("(NOT {operand})"),
                    UnaryOperator::Minus => format!("(- {operand})"),
                    UnaryOperator::Plus => format!("(+ {operand})"),
                    op => return Err(refuse(&format!("the operator {op} in a lambda"), "write a function")),
                }
            }
            Expr::IsNull(e) => format!("({} IS NULL)", self.text(e)?),
            Expr::IsNotNull(e) => format!("({} IS NOT NULL)", self.text(e)?),
            Expr::IsTrue(e) => format!("({} IS TRUE)", self.text(e)?),
            Expr::IsNotTrue(e) => format!("({} IS NOT TRUE)", self.text(e)?),
            Expr::IsFalse(e) => format!("({} IS FALSE)", self.text(e)?),
            Expr::IsNotFalse(e) => format!("({} IS NOT FALSE)", self.text(e)?),
            Expr::IsDistinctFrom(a, b) => format!("({} IS DISTINCT FROM {})", self.text(a)?, self.text(b)?),
            Expr::IsNotDistinctFrom(a, b) => format!("({} IS NOT DISTINCT FROM {})", self.text(a)?, self.text(b)?),
            Expr::Between { expr, negated, low, high } => {
                let (value, low, high) = (self.text(expr)?, self.text(low)?, self.text(high)?);
                format!("({value} {}BETWEEN {low} AND {high})", not(*negated))
            }
            Expr::InList { expr, list, negated } => {
                format!("({} {}IN ({}))", self.text(expr)?, not(*negated), self.list(list)?)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char: None } => {
                format!("({} {}LIKE {})", self.text(expr)?, not(*negated), self.text(pattern)?)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char: None } => {
                format!("({} {}ILIKE {})", self.text(expr)?, not(*negated), self.text(pattern)?)
            }
            Expr::Cast { kind, expr, data_type, format: None, array: false } => {
                let word = if *kind == CastKind::TryCast { "TRY_CAST" } else { "CAST" };
                cast(&self.text(expr)?, &type_name::duckdb_type(data_type)?, word)
            }
            Expr::Extract { field, expr, .. } => {
                format!("date_part('{}', {})", field.to_string().to_lowercase().replace('\'', ""), self.text(expr)?)
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                format!("timezone({}, {})", self.text(time_zone)?, self.text(timestamp)?)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                let mut text = "(CASE".to_owned();
                if let Some(operand) = operand {
                    text += &format!(" {}", self.text(operand)?);
                }
                for CaseWhen { condition, result } in conditions {
                    text += &format!(" WHEN {} THEN {}", self.text(condition)?, self.text(result)?);
                }
                if let Some(otherwise) = else_result {
                    text += &format!(" ELSE {}", self.text(otherwise)?);
                }
                text + " END)"
            }
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                format!("ceil({})", self.text(expr)?)
            }
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                format!("floor({})", self.text(expr)?)
            }
            Expr::Position { expr, r#in } => format!("strpos({}, {})", self.text(r#in)?, self.text(expr)?),
            Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                let (value, from) = (self.text(expr)?, self.text(from)?);
                match substring_for {
                    Some(length) => format!("substring({value}, {from}, {})", self.text(length)?),
                    None => format!("substring({value}, {from})"),
                }
            }
            Expr::Trim { expr, trim_where: None, trim_what: None, trim_characters } => {
                let mut arguments = vec![self.text(expr)?];
                for characters in trim_characters.iter().flatten() {
                    arguments.push(self.text(characters)?);
                }
                format!("trim({})", arguments.join(", "))
            }
            Expr::Array(array) => format!("[{}]", self.list(&array.elem)?),
            Expr::Dictionary(fields) => {
                let fields = fields.iter().map(|f| Ok(format!("{} := {}", quoted(&f.key.value), self.text(&f.value)?)));
                format!("struct_pack({})", fields.collect::<Result<Vec<_>, Refusal>>()?.join(", "))
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                let root = format!("({})", self.text(root)?);
                chained(root, access_chain.clone(), &mut |expr| self.text(&expr))?
            }
            Expr::Lambda(LambdaFunction { syntax: LambdaSyntax::Arrow, .. }) => {
                let read = json_arrow::read(expr.clone())?;
                self.text(&read)?
            }
            Expr::Function(function) => self.function(function)?,
            other => {
                return Err(refuse(
                    &format!("{other} in a lambda"),
                    "compute it before, in a subquery, and use the column in the lambda",
                ));
            }
        })
    }

    fn function(&mut self, function: &Function) -> Result<String, Refusal> {
        let parts = crate::parse::parts(&function.name);
        let name = match parts.as_slice() {
            [name] => name.to_ascii_lowercase(),
            _ => return Err(refuse(&format!("the function {}", function.name), "use a built-in function")),
        };
        let clauses = function.over.is_some()
            || function.filter.is_some()
            || function.null_treatment.is_some()
            || !function.within_group.is_empty();
        if clauses || semantics::is_aggregate(&name) || semantics::is_window(&name) {
            let way_out = "compute it before, in a subquery, and use the column in the lambda";
            return Err(refuse(&format!("the aggregate or window function {name} in a lambda"), way_out));
        }
        if is_taken_by(&name) {
            return self.lambda_call(&name, function);
        }
        if OF_PRESENT.contains(&name.as_str()) {
            let way_out = "compute it before, in a subquery, and use the column in the lambda";
            return Err(refuse(&format!("{name} in a lambda"), way_out));
        }
        if name.starts_with('#') || name != "struct_pack" && !semantics::is_scalar(&name) {
            return Err(semantics::unknown_function(&name));
        }
        let FunctionArguments::List(list) = &function.args else {
            return Err(refuse(&format!("a subquery as argument of {name}"), "join instead"));
        };
        if !list.clauses.is_empty() || list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
            return Err(refuse(&format!("{name} with such a clause in a lambda"), "leave it out"));
        }
        let mut arguments = Vec::with_capacity(list.args.len());
        for argument in &list.args {
            arguments.push(match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.text(expr)?,
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                    format!("{} := {}", quoted(&name.value), self.text(expr)?)
                }
                _ => return Err(refuse(&format!("such an argument of {name}"), "write plain expressions")),
            });
        }
        Ok(format!("{name}({})", arguments.join(", ")))
    }

    /// A call of a function that takes a lambda. Outside of lambdas its other arguments are any expressions.
    fn lambda_call(&mut self, name: &str, function: &Function) -> Result<String, Refusal> {
        let FunctionArguments::List(list) = &function.args else {
            return Err(refuse(&format!("a subquery as argument of {name}"), "join instead"));
        };
        let mut arguments = Vec::with_capacity(list.args.len());
        for argument in &list.args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument else {
                return Err(refuse(&format!("such an argument of {name}"), "write a list and a lambda"));
            };
            arguments.push(match argument {
                Expr::Lambda(lambda) => {
                    let names = parameters(lambda);
                    let known = self.parameters.len();
                    self.parameters.extend(names.iter().cloned());
                    let body = self.text(&lambda.body);
                    self.parameters.truncate(known);
                    let names: Vec<String> = names.iter().map(|name| parameter(name)).collect();
                    format!("lambda {}: {}", names.join(", "), body?)
                }
                argument if self.parameters.is_empty() && self.written.is_some() => self.column(argument)?,
                argument => self.text(argument)?,
            });
        }
        Ok(format!("{name}({})", arguments.join(", ")))
    }
}

fn cast(value: &str, duckdb_type: &str, word: &str) -> String {
    format!("{word}({value} AS {duckdb_type})")
}

fn operator(op: &BinaryOperator) -> Result<&'static str, Refusal> {
    Ok(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::DuckIntegerDivide => "//",
        BinaryOperator::Modulo => "%",
        BinaryOperator::StringConcat => "||",
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::Lt => "<",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Gt => ">",
        BinaryOperator::GtEq => ">=",
        BinaryOperator::And => "AND",
        BinaryOperator::Or => "OR",
        BinaryOperator::BitwiseXor | BinaryOperator::PGExp => "^",
        BinaryOperator::BitwiseAnd => "&",
        BinaryOperator::BitwiseOr => "|",
        BinaryOperator::PGBitwiseShiftLeft => "<<",
        BinaryOperator::PGBitwiseShiftRight => ">>",
        BinaryOperator::Arrow => "->",
        BinaryOperator::LongArrow => "->>",
        op => {
            return Err(refuse(
                &format!("the operator {op} in a lambda"),
                "write it with + - * / // % || or a function",
            ));
        }
    })
}
