//! Expressions that DuckDB computes as they are written: nested values, access into them, and lambdas. The text has
//! marks where arguments stand, which [`semantics`](crate::semantics) binds as every other expression.

use datafusion_sql::sqlparser::ast::{
    AccessExpr, DictionaryField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Map, Subscript,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{call, prepare, refuse, string};
use crate::error::Refusal;
use crate::names::Names;
use crate::semantics::{MARK, WRITTEN};

/// A text with its arguments.
pub(super) struct Written<'a> {
    pub names: &'a Names,
    arguments: Vec<Expr>,
}

impl<'a> Written<'a> {
    pub(super) fn new(names: &'a Names) -> Self {
        Written { names, arguments: Vec::new() }
    }

    /// What stands in the text for an argument, which is prepared here.
    pub(super) fn argument(&mut self, mut expr: Expr) -> Result<String, Refusal> {
        prepare(&mut expr, self.names)?;
        let known = self.arguments.iter().position(|argument| *argument == expr);
        let position = known.unwrap_or_else(|| {
            self.arguments.push(expr);
            self.arguments.len() - 1
        });
        Ok(format!("{MARK}{position}{MARK}"))
    }

    /// The call of a text over values that are prepared already.
    pub(super) fn of_prepared(
        label: &str,
        values: Vec<Expr>,
        text: impl FnOnce(Vec<String>) -> String,
        span: Span,
    ) -> Expr {
        let marks = (0..values.len()).map(|position| format!("{MARK}{position}{MARK}")).collect();
        let mut arguments = vec![string(label.to_owned()), string(text(marks))];
        arguments.extend(values);
        call(WRITTEN, span, arguments)
    }

    /// The call that stands for the text; messages call it `label`.
    pub(super) fn finish(self, label: &str, text: String, span: Span) -> Expr {
        let mut arguments = vec![string(label.to_owned()), string(text)];
        arguments.extend(self.arguments);
        call(WRITTEN, span, arguments)
    }
}

/// A name in double quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `{'a': x, 'b': y}`.
pub(super) fn structure(fields: Vec<DictionaryField>, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let mut written = Written::new(names);
    let fields = fields
        .into_iter()
        .map(|DictionaryField { key, value }| Ok(format!("{} := {}", quoted(&key.value), written.argument(*value)?)));
    let fields = fields.collect::<Result<Vec<_>, Refusal>>()?.join(", ");
    Ok(written.finish("a struct", format!("struct_pack({fields})"), span))
}

/// `MAP {k: v}`.
pub(super) fn map(map: Map, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let mut written = Written::new(names);
    let entries = map
        .entries
        .into_iter()
        .map(|entry| Ok(format!("{}: {}", written.argument(*entry.key)?, written.argument(*entry.value)?)));
    let entries = entries.collect::<Result<Vec<_>, Refusal>>()?.join(", ");
    Ok(written.finish("a map", format!("MAP {{{entries}}}"), span))
}

/// Whether a function names its arguments.
pub(super) fn names_arguments(name: &str) -> bool {
    matches!(name, "struct_pack" | "struct_insert" | "struct_update")
}

/// `struct_pack(a := x)` and its like.
pub(super) fn with_names(name: &str, function: Function, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let FunctionArguments::List(list) = function.args else {
        return Err(refuse(&format!("such an argument of {name}"), "name the fields: a := x"));
    };
    let mut written = Written::new(names);
    let mut arguments = Vec::with_capacity(list.args.len());
    for (position, argument) in list.args.into_iter().enumerate() {
        arguments.push(match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                format!("{} := {}", quoted(&name.value), written.argument(value)?)
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if position == 0 && name != "struct_pack" => {
                written.argument(value)?
            }
            _ => return Err(refuse(&format!("{name} with a field without a name"), "name the fields: a := x")),
        });
    }
    let text = format!("{name}({})", arguments.join(", "));
    Ok(written.finish(name, text, span))
}

/// `value[1]`, `value['a']`, `value[1:2]`.
pub(super) fn access(root: Expr, chain: Vec<AccessExpr>, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let mut written = Written::new(names);
    let root = written.argument(root)?;
    let text = chained(format!("({root})"), chain, &mut |expr| written.argument(expr))?;
    Ok(written.finish("access into a nested value", text, span))
}

/// The text of accesses into a value; `text` writes what stands in the brackets.
pub(super) fn chained(
    mut value: String,
    chain: Vec<AccessExpr>,
    text: &mut dyn FnMut(Expr) -> Result<String, Refusal>,
) -> Result<String, Refusal> {
    for access in chain {
        value += &match access {
            AccessExpr::Subscript(Subscript::Index { index }) => format!("[{}]", text(index)?),
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                let lower = lower_bound.map(&mut *text).transpose()?.unwrap_or_default();
                let upper = upper_bound.map(&mut *text).transpose()?;
                match stride.map(&mut *text).transpose()? {
                    Some(stride) => format!("[{lower}:{}:{stride}]", upper.unwrap_or_else(|| "-".to_owned())),
                    None => format!("[{lower}:{}]", upper.unwrap_or_default()),
                }
            }
            AccessExpr::Dot(Expr::Identifier(name)) => {
                format!("['{}']", name.value.replace('\'', "''"))
            }
            AccessExpr::Dot(other) => {
                return Err(refuse(&format!("the access .{other}"), "write it as a function of the value"));
            }
        };
    }
    Ok(value)
}
