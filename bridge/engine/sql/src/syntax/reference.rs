//! What names in expressions mean: a column of FROM, merged columns of a join, a name of the select list, a field
//! of a struct. Columns stay as they are written; the rest is written out.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, LambdaFunction,
    LambdaSyntax, ObjectName, OneOrManyWithParens, Query, SelectItem, Subscript, VisitMut, VisitorMut,
};

use super::expression::string;
use super::sight::Sight;
use super::spread::Spread;
use super::{json_arrow, lambda};
use crate::error::Refusal;
use crate::semantics;
use crate::walk;

/// The names of a select list, in order.
#[derive(Default)]
pub(super) struct Aliases(Vec<(String, Expr)>);

impl Aliases {
    pub(super) fn add(&mut self, alias: &Ident, expr: &Expr) {
        self.0.push((alias.value.to_ascii_lowercase(), expr.clone()));
    }

    /// What a name stands for: the last that was given so.
    fn get(&self, name: &str) -> Option<&Expr> {
        self.0.iter().rev().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, expr)| expr)
    }
}

/// Where an expression stands, which decides what a name may mean there.
#[derive(Debug, PartialEq)]
pub(super) enum Clause {
    /// Columns alone.
    On,
    /// A column, else a name of the select list.
    Select,
    Where,
    /// A column, else a whole expression of the select list by its name.
    GroupBy,
    /// A column of these groups, else a name of the select list.
    Having(Vec<Expr>),
    /// Names of the select list are left to those who read its rows.
    Output,
}

/// Writes out the names in expressions of one SELECT.
pub(super) struct Resolver<'a> {
    spread: &'a Spread<'a>,
    sight: &'a Sight,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(spread: &'a Spread<'a>, sight: &'a Sight) -> Self {
        Resolver { spread, sight }
    }

    /// An item of the select list; it keeps its name.
    pub(super) fn item(&self, item: SelectItem, aliases: &Aliases) -> Result<SelectItem, Refusal> {
        Ok(match item {
            SelectItem::UnnamedExpr(mut expr) => {
                let name = own_name(&expr).cloned();
                self.expr(&mut expr, aliases, &Clause::Select)?;
                let same = match (&name, own_name(&expr)) {
                    (Some(before), Some(now)) => before.value.eq_ignore_ascii_case(&now.value),
                    _ => false,
                };
                match name.filter(|_| !same) {
                    Some(alias) => SelectItem::ExprWithAlias { expr, alias },
                    None => SelectItem::UnnamedExpr(expr),
                }
            }
            SelectItem::ExprWithAlias { mut expr, alias } => {
                self.expr(&mut expr, aliases, &Clause::Select)?;
                SelectItem::ExprWithAlias { expr, alias }
            }
            mut other => {
                self.visit(&mut other, aliases, &Clause::Select)?;
                other
            }
        })
    }

    /// One expression.
    pub(super) fn expr(&self, expr: &mut Expr, aliases: &Aliases, clause: &Clause) -> Result<(), Refusal> {
        self.visit(expr, aliases, clause)
    }

    /// Every expression of a clause.
    pub(super) fn visit<T: VisitMut>(&self, node: &mut T, aliases: &Aliases, clause: &Clause) -> Result<(), Refusal> {
        let mut walk = Walk { resolver: self, aliases, clause, queries: 0, aggregates: 0, parameters: Vec::new() };
        match walk::visit_mut(node, &mut walk) {
            ControlFlow::Break(refusal) => Err(refusal),
            ControlFlow::Continue(()) => Ok(()),
        }
    }
}

/// The name that a column has in a select list without another one.
fn own_name(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(parts) => parts.last(),
        Expr::Nested(inner) => own_name(inner),
        _ => None,
    }
}

struct Walk<'a> {
    resolver: &'a Resolver<'a>,
    aliases: &'a Aliases,
    clause: &'a Clause,
    /// How many subqueries are around.
    queries: usize,
    /// How many aggregates are around.
    aggregates: usize,
    /// Parameters of the lambdas around.
    parameters: Vec<Vec<String>>,
}

impl VisitorMut for Walk<'_> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Refusal> {
        if self.queries == 0
            && let Err(refusal) = self.resolver.spread.within(self.resolver.sight).query(query)
        {
            return ControlFlow::Break(refusal);
        }
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Refusal> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        if self.queries > 0 {
            return ControlFlow::Continue(());
        }
        if let Expr::Lambda(LambdaFunction { syntax: LambdaSyntax::Arrow, .. }) = expr {
            match json_arrow::read(std::mem::replace(expr, super::expression::null())) {
                Ok(read) => *expr = read,
                Err(refusal) => return ControlFlow::Break(refusal),
            }
        }
        if matches!(expr, Expr::BinaryOp { op: BinaryOperator::LongArrow, .. }) {
            *expr = json_arrow::turned(std::mem::replace(expr, super::expression::null()));
        }
        match expr {
            Expr::Function(function) => {
                self.method(function);
                lambda::mark(function);
                self.aggregates += usize::from(is_aggregate(function));
            }
            Expr::Lambda(LambdaFunction { params, .. }) => {
                let names = match params {
                    OneOrManyWithParens::One(name) => vec![name.value.clone()],
                    OneOrManyWithParens::Many(names) => names.iter().map(|name| name.value.clone()).collect(),
                };
                self.parameters.push(names);
            }
            Expr::CompoundFieldAccess { root, access_chain } => self.path_of_access(root, access_chain),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        if self.queries > 0 {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Function(function) => self.aggregates -= usize::from(is_aggregate(function)),
            Expr::Lambda(_) => {
                self.parameters.pop();
            }
            Expr::Identifier(name) if !self.is_parameter(name) => {
                if let Some(meant) = self.name(name) {
                    *expr = meant;
                }
            }
            Expr::CompoundIdentifier(parts) if !parts.first().is_some_and(|name| self.is_parameter(name)) => {
                if let Some(meant) = self.path(parts) {
                    *expr = meant;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Walk<'_> {
    fn is_parameter(&self, name: &Ident) -> bool {
        self.parameters.iter().flatten().any(|parameter| parameter.eq_ignore_ascii_case(&name.value))
    }

    /// What a name means, where that is not the column it names.
    fn name(&self, name: &Ident) -> Option<Expr> {
        let sight = self.resolver.sight;
        if !sight.is_known() {
            return None;
        }
        let seen = sight.named(&name.value, name.span);
        let meant = match (seen.as_slice(), self.clause) {
            ([], _) => return self.alias(name).or_else(|| self.outer(name)),
            ([seen], _) => seen,
            _ => return None,
        };
        match self.clause {
            Clause::Output if self.aliases.get(&name.value).is_some() => None,
            Clause::Having(_) if self.aggregates > 0 => Some(meant.value.clone()),
            Clause::Having(groups) if self.aliases.get(&name.value).is_some() => {
                let grouped = groups.iter().any(|group| match group {
                    Expr::Identifier(group) => group.value.eq_ignore_ascii_case(&name.value),
                    group => same_column(group, &meant.value),
                });
                if grouped { Some(meant.value.clone()) } else { self.alias(name) }
            }
            // The column by its own name, unless it is a value of several.
            _ => meant.table.is_none().then(|| meant.value.clone()),
        }
    }

    /// What the select list gives a name to.
    fn alias(&self, name: &Ident) -> Option<Expr> {
        let may = match self.clause {
            Clause::On | Clause::Output => false,
            Clause::Select | Clause::Where | Clause::Having(_) => self.aggregates == 0,
            Clause::GroupBy => true,
        };
        let expr = self.aliases.get(&name.value).filter(|_| may)?;
        Some(match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => expr.clone(),
            expr => Expr::Nested(Box::new(expr.clone())),
        })
    }

    /// Merged columns of a query around.
    fn outer(&self, name: &Ident) -> Option<Expr> {
        for sight in self.resolver.spread.outer.iter().rev() {
            if !sight.is_known() {
                return None;
            }
            match sight.named(&name.value, name.span).as_slice() {
                [] => {}
                [seen] => return seen.table.is_none().then(|| seen.value.clone()),
                _ => return None,
            }
        }
        None
    }

    /// `a.b.c` where `a` or `a.b` is a column and the rest are fields.
    fn path(&self, parts: &[Ident]) -> Option<Expr> {
        let (root, fields) = self.split(parts)?;
        if fields.is_empty() {
            return None;
        }
        Some(Expr::CompoundFieldAccess { root: Box::new(root), access_chain: fields.iter().map(field).collect() })
    }

    /// The column at the front of a path, and the fields after it.
    fn split<'p>(&self, parts: &'p [Ident]) -> Option<(Expr, &'p [Ident])> {
        let sight = self.resolver.sight;
        if !sight.is_known() {
            return None;
        }
        let values: Vec<String> = parts.iter().map(|part| part.value.clone()).collect();
        for (length, front) in [(3, values.get(..3)), (2, values.get(..2))] {
            if let Some(front) = front
                && self.resolver.spread.names.is_table(front)
                && parts.len() > length
            {
                return Some((Expr::CompoundIdentifier(parts.get(..=length)?.to_vec()), parts.get(length + 1..)?));
            }
        }
        let around = self.resolver.spread.outer.iter().rev();
        for (depth, sight) in std::iter::once(sight).chain(around).enumerate() {
            if !sight.is_known() {
                return None;
            }
            if let Some(found) = split_in(sight, parts) {
                return Some(found);
            }
            if depth == 0
                && let (Some(first), Some(rest)) = (parts.first(), parts.get(1..))
                && let Some(expr) = self.alias(first)
            {
                return Some((expr, rest));
            }
        }
        None
    }

    /// `root.a[1].b`: the names at its front are a path, those after it fields.
    fn path_of_access(&self, root: &mut Expr, chain: &mut Vec<AccessExpr>) {
        if let Expr::Identifier(first) = root
            && !self.is_parameter(first)
        {
            let mut parts = vec![first.clone()];
            for access in chain.iter() {
                match access {
                    AccessExpr::Dot(Expr::Identifier(name)) => parts.push(name.clone()),
                    _ => break,
                }
            }
            if let Some((column, fields)) = self.split(&parts) {
                let taken = parts.len() - fields.len() - 1;
                chain.drain(..taken);
                *root = column;
            }
        }
        for access in chain.iter_mut() {
            if let AccessExpr::Dot(Expr::Identifier(name)) = access {
                *access = field(name);
            }
        }
    }

    /// `column.f(…)` is `f(column, …)`.
    fn method(&self, function: &mut Function) {
        let parts: Vec<Ident> = function.name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
        let Some((name, front)) = parts.split_last() else { return };
        if front.is_empty() || front.first().is_some_and(|first| self.is_parameter(first)) {
            return;
        }
        let Some((root, fields)) = self.split(front) else { return };
        let FunctionArguments::List(list) = &mut function.args else { return };
        let first = if fields.is_empty() {
            root
        } else {
            Expr::CompoundFieldAccess { root: Box::new(root), access_chain: fields.iter().map(field).collect() }
        };
        list.args.insert(0, FunctionArg::Unnamed(FunctionArgExpr::Expr(first)));
        function.name = ObjectName::from(vec![name.clone()]);
    }
}

/// The column of a sight at the front of a path, and the fields after it.
fn split_in<'p>(sight: &Sight, parts: &'p [Ident]) -> Option<(Expr, &'p [Ident])> {
    let first = parts.first()?;
    if let Some(second) = parts.get(1)
        && sight.has_table(&first.value)
        && sight.column_of(&first.value, &second.value).is_some()
    {
        return Some((Expr::CompoundIdentifier(parts.get(..2)?.to_vec()), parts.get(2..)?));
    }
    match sight.named(&first.value, first.span).as_slice() {
        [seen] if parts.len() == 1 || may_have_fields(seen.column.data_type.as_ref()) => {
            let root = if seen.table.is_none() { seen.value.clone() } else { Expr::Identifier(first.clone()) };
            Some((root, parts.get(1..)?))
        }
        _ => None,
    }
}

/// Whether a value of a type, if it is known, has fields: JSON travels as text.
fn may_have_fields(data_type: Option<&DataType>) -> bool {
    data_type.is_none_or(|known| known.is_nested() || *known == DataType::Utf8)
}

/// A field of a struct as it is written in brackets.
fn field(name: &Ident) -> AccessExpr {
    AccessExpr::Subscript(Subscript::Index { index: string(name.value.clone()) })
}

fn same_column(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::CompoundIdentifier(a), Expr::CompoundIdentifier(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.value.eq_ignore_ascii_case(&b.value))
        }
        (Expr::Nested(a), b) => same_column(a, b),
        (a, b) => a.to_string() == b.to_string(),
    }
}

fn is_aggregate(function: &Function) -> bool {
    let name = function.name.to_string();
    function.over.is_none() && semantics::is_aggregate(&name.trim_matches('"').to_ascii_lowercase())
}
