//! Walks over the syntax of a query. The parser's walk is compiled anew for every type of visitor, thousands of functions
//! each time; here all visitors are walked by one, which knows them as trait objects.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, ObjectName, Query, Statement, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};

/// Walks over a node with a visitor.
pub(crate) fn visit<V: Visitor>(node: &impl Visit, visitor: &mut V) -> ControlFlow<V::Break> {
    let mut kept = Kept { visitor, broken: None };
    let _ = node.visit(&mut Shared(&mut kept));
    kept.broken.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

/// The same with a visitor that changes what it sees.
pub(crate) fn visit_mut<V: VisitorMut>(node: &mut impl VisitMut, visitor: &mut V) -> ControlFlow<V::Break> {
    let mut kept = Kept { visitor, broken: None };
    let _ = node.visit(&mut SharedMut(&mut kept));
    kept.broken.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

/// Every expression, each before those within it.
pub(crate) fn expressions<B>(node: &impl Visit, see: impl FnMut(&Expr) -> ControlFlow<B>) -> ControlFlow<B> {
    visit(node, &mut Expressions(see))
}

/// Every expression, each after those within it.
pub(crate) fn expressions_mut<B>(
    node: &mut impl VisitMut,
    see: impl FnMut(&mut Expr) -> ControlFlow<B>,
) -> ControlFlow<B> {
    visit_mut(node, &mut Expressions(see))
}

/// Every name of a relation.
pub(crate) fn relations<B>(node: &impl Visit, see: impl FnMut(&ObjectName) -> ControlFlow<B>) -> ControlFlow<B> {
    visit(node, &mut Relations(see))
}

/// Every name of a relation.
pub(crate) fn relations_mut<B>(
    node: &mut impl VisitMut,
    see: impl FnMut(&mut ObjectName) -> ControlFlow<B>,
) -> ControlFlow<B> {
    visit_mut(node, &mut Relations(see))
}

struct Expressions<F>(F);

impl<B, F: FnMut(&Expr) -> ControlFlow<B>> Visitor for Expressions<F> {
    type Break = B;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<B> {
        self.0(expr)
    }
}

impl<B, F: FnMut(&mut Expr) -> ControlFlow<B>> VisitorMut for Expressions<F> {
    type Break = B;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<B> {
        self.0(expr)
    }
}

struct Relations<F>(F);

impl<B, F: FnMut(&ObjectName) -> ControlFlow<B>> Visitor for Relations<F> {
    type Break = B;

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<B> {
        self.0(relation)
    }
}

impl<B, F: FnMut(&mut ObjectName) -> ControlFlow<B>> VisitorMut for Relations<F> {
    type Break = B;

    fn post_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<B> {
        self.0(relation)
    }
}

/// A visitor, and what it broke with.
struct Kept<'v, V, B> {
    visitor: &'v mut V,
    broken: Option<B>,
}

impl<V, B> Kept<'_, V, B> {
    fn keep(&mut self, flow: ControlFlow<B>) -> ControlFlow<()> {
        flow.map_break(|value| self.broken = Some(value))
    }
}

/// A trait of visitors of one type for all, what implements it, and what walks with it.
macro_rules! shared {
    ($any:ident, $shared:ident, $visitor:ident, $($method:ident: $node:ty),+ $(,)?) => {
        trait $any {
            $(fn $method(&mut self, node: $node) -> ControlFlow<()>;)+
        }

        impl<V: $visitor> $any for Kept<'_, V, V::Break> {
            $(fn $method(&mut self, node: $node) -> ControlFlow<()> {
                let flow = self.visitor.$method(node);
                self.keep(flow)
            })+
        }

        struct $shared<'v>(&'v mut dyn $any);

        impl $visitor for $shared<'_> {
            type Break = ();

            $(fn $method(&mut self, node: $node) -> ControlFlow<()> {
                self.0.$method(node)
            })+
        }
    };
}

shared!(
    Any, Shared, Visitor,
    pre_visit_query: &Query,
    post_visit_query: &Query,
    pre_visit_relation: &ObjectName,
    post_visit_relation: &ObjectName,
    pre_visit_table_factor: &TableFactor,
    post_visit_table_factor: &TableFactor,
    pre_visit_expr: &Expr,
    post_visit_expr: &Expr,
    pre_visit_statement: &Statement,
    post_visit_statement: &Statement,
    pre_visit_value: &Value,
    post_visit_value: &Value,
);

shared!(
    AnyMut, SharedMut, VisitorMut,
    pre_visit_query: &mut Query,
    post_visit_query: &mut Query,
    pre_visit_relation: &mut ObjectName,
    post_visit_relation: &mut ObjectName,
    pre_visit_table_factor: &mut TableFactor,
    post_visit_table_factor: &mut TableFactor,
    pre_visit_expr: &mut Expr,
    post_visit_expr: &mut Expr,
    pre_visit_statement: &mut Statement,
    post_visit_statement: &mut Statement,
    pre_visit_value: &mut Value,
    post_visit_value: &mut Value,
);
