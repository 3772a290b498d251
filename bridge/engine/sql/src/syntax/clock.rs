//! `tidegate_now()`: the time of the epoch, which values are compared with.
//!
//! The time is the one row of a relation of its own. The side of a comparison that reads it becomes a scalar
//! subquery over that relation, so that a new time is a change like any other. DuckDB computes that side, in
//! UTC: it must not read columns, so it is one value for all rows.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArguments, Ident, Query, SelectItem, SetExpr, TimezoneInfo,
    Visit, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{call, prepare, refuse, string};
use super::precedence;
use crate::error::Refusal;
use crate::names::{CLOCK, CLOCK_COLUMN, Names};
use crate::semantics;
use crate::walk;

/// What the side of a comparison calls the time when DuckDB computes it.
const ARGUMENT: &str = "c0";

/// Whether an operator compares two values.
pub(super) fn compares(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// Whether something reads the time of the epoch, its subqueries apart.
pub(super) fn is_in(node: &impl Visit) -> bool {
    let mut reads = Reads::default();
    let _ = walk::visit(node, &mut reads);
    reads.time
}

/// The refusal within an aggregate.
pub(super) fn in_aggregate(name: &str) -> Refusal {
    Refusal::new(format!(
        "tidegate_now() within {name}(…) cannot be maintained incrementally: compare with it in WHERE, or in a \
         subquery in FROM"
    ))
}

/// The refusal in the condition of a join.
pub(super) fn in_join() -> Refusal {
    Refusal::new(
        "tidegate_now() in the condition of a join cannot be maintained incrementally: compare with it in WHERE, or \
         in a subquery in FROM",
    )
}

/// One side of a comparison, rewritten.
pub(super) fn side(mut expr: Expr, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let mut reads = Reads::default();
    let _ = walk::visit(&expr, &mut reads);
    if !reads.time {
        prepare(&mut expr, names)?;
        return Ok(expr);
    }
    if reads.others {
        return Err(Refusal::new(
            "tidegate_now() with columns on the same side of a comparison cannot be maintained incrementally: leave \
             the columns alone on the other side, as in ts > tidegate_now() - INTERVAL 1 hour",
        ));
    }
    if let ControlFlow::Break(refusal) = walk::visit(&expr, &mut Check) {
        return Err(refusal);
    }
    let _ = walk::expressions_mut(&mut expr, |expr| {
        if matches!(expr, Expr::Function(function) if is_now(function)) {
            *expr = Expr::Identifier(Ident::new(ARGUMENT));
        }
        ControlFlow::<()>::Continue(())
    });
    let quoted = |name: &str| Ident::with_quote('"', name);
    let time = Expr::CompoundIdentifier(vec![quoted(CLOCK), quoted(CLOCK_COLUMN)]);
    let value = call("#clock_value", span, vec![time, string(expr.to_string())]);
    subquery(value)
}

/// `(SELECT value FROM the clock)`
fn subquery(value: Expr) -> Result<Expr, Refusal> {
    let mut query = crate::parse::parse(&format!("SELECT 0 AS \"#value\" FROM \"{CLOCK}\" AS \"{CLOCK}\""))?;
    if let SetExpr::Select(select) = query.body.as_mut()
        && let [SelectItem::ExprWithAlias { expr, .. }] = select.projection.as_mut_slice()
    {
        *expr = value;
    }
    Ok(Expr::Subquery(Box::new(query)))
}

fn is_now(function: &Function) -> bool {
    let parts = crate::parse::parts(&function.name);
    matches!(parts.as_slice(), [name] if name.eq_ignore_ascii_case("tidegate_now"))
}

/// Looks at an expression, its subqueries apart.
#[derive(Default)]
struct Reads {
    /// It reads the time of the epoch.
    time: bool,
    /// It reads columns or has subqueries.
    others: bool,
    queries: usize,
}

impl Visitor for Reads {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.others = true;
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.queries > 0 {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Function(function) if is_now(function) => self.time = true,
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
            | Expr::Lambda(_) => self.others = true,
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Refuses what DuckDB would compute in another way each time, or read in another order.
struct Check;

impl Visitor for Check {
    type Break = Refusal;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        match check(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }
}

fn check(expr: &Expr) -> Result<(), Refusal> {
    precedence::check(expr)?;
    let written = match expr {
        Expr::Cast { data_type, .. } => Some(data_type),
        Expr::TypedString(typed) => Some(&typed.data_type),
        _ => None,
    };
    if let Some(DataType::Time(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz)) = written {
        return Err(refuse("TIME WITH TIME ZONE", "its offset in another zone is today's: write TIME or TIMESTAMP"));
    }
    let Expr::Function(function) = expr else { return Ok(()) };
    let parts = crate::parse::parts(&function.name);
    let [name] = parts.as_slice() else {
        return Err(Refusal::new(format!("the function {} cannot be maintained: use a built-in one", function.name)));
    };
    if is_now(function) {
        let plain = matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty());
        return match plain && function.over.is_none() && function.filter.is_none() {
            true => Ok(()),
            false => Err(Refusal::new("tidegate_now() takes no arguments: write it with empty parentheses")),
        };
    }
    let name = name.to_ascii_lowercase();
    let arguments = match &function.args {
        FunctionArguments::List(list) => list.args.len(),
        FunctionArguments::None | FunctionArguments::Subquery(_) => 0,
    };
    if name == "age" && arguments == 1 {
        return Err(semantics::unknown_function("today"));
    }
    match semantics::is_scalar(&name) && !name.starts_with('#') {
        true => Ok(()),
        false => Err(semantics::unknown_function(&name)),
    }
}
