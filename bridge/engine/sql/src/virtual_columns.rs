//! Columns of a table that `*` leaves out: DuckLake's `rowid` and `snapshot_id`. A source offers them; a table has them, after its own, only where
//! a view reads them, so that nobody else is touched when they change.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr as Planned, LogicalPlan};
use datafusion_sql::sqlparser::ast::{
    Expr, JoinConstraint, JoinOperator, Query, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::{Location, Span};
use tidegate_core::schema::{is_virtual, refused};
use tidegate_core::{TableSchema, UnsupportedType, VirtualColumn};

use crate::error::Refusal;
use crate::names::{Names, Relation};
use crate::optimise::optimise;
use crate::parse::{parse, parts};
use crate::program::{Program, ViewDef};
use crate::walk;

/// The tables with those virtual columns of their sources that some view over them may mean, as far as its text tells.
/// `offered` has the columns by the name of the source.
pub fn with_virtual_columns(
    tables: Vec<TableSchema>,
    offered: &BTreeMap<String, Vec<VirtualColumn>>,
    views: &[ViewDef],
) -> Result<Vec<TableSchema>, UnsupportedType> {
    let texts: Vec<(BTreeSet<String>, Vec<Vec<String>>)> =
        views.iter().map(|view| (words(&view.sql), crate::table_references(&view.sql).unwrap_or_default())).collect();
    let with = |table: TableSchema| {
        let names = Names::new(std::slice::from_ref(&table));
        let reads = |parts: &Vec<String>| names.is_table(parts);
        let columns = offered.get(&table.name.source).map(Vec::as_slice).unwrap_or_default();
        let may_mean = |column: &&VirtualColumn| {
            texts.iter().any(|(words, references)| words.contains(column.name) && references.iter().any(reads))
        };
        columns.iter().filter(may_mean).try_fold(table.clone(), TableSchema::with_virtual_column)
    };
    tables.into_iter().map(with).collect()
}

/// The words of SQL, quoted ones and texts among them (`COLUMNS('rowid')`), in small letters.
fn words(sql: &str) -> BTreeSet<String> {
    let words = sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// The tables with the virtual columns alone that the program reads. What cannot be had is read by nobody, or was refused, though an
/// operator that wants all columns may have kept it.
pub(crate) fn wanted(tables: &[TableSchema], program: &Program) -> Vec<TableSchema> {
    let mut read = BTreeSet::new();
    program.circuits().iter().for_each(|view| collect(&view.plan, &mut read));
    let of_table = |table: &TableSchema| {
        let is_read = |name: &str| read.contains(&(table.incarnation, table.name.to_string(), name.to_owned()));
        table.clone().with_virtual_columns_if(|field| refused(field).is_none() && is_read(field.name()))
    };
    tables.iter().map(of_table).collect()
}

/// The virtual columns that the scans of an optimised plan read, by the table's incarnation and name.
fn collect(plan: &LogicalPlan, read: &mut BTreeSet<(u64, String, String)>) {
    if let LogicalPlan::TableScan(scan) = plan
        && let Some(relation) = Relation::of(scan.source.as_ref())
    {
        for (position, field) in relation.declared.fields().iter().enumerate() {
            let is_read = scan.projection.as_ref().is_none_or(|columns| columns.contains(&position));
            if is_virtual(field) && is_read {
                read.insert((relation.incarnation, relation.input.to_string(), field.name().clone()));
            }
        }
    }
    plan.inputs().into_iter().for_each(|input| collect(input, read));
}

/// Refuses what the planner below us would write out with virtual columns among the others: stars and natural joins over
/// columns that the syntax does not know.
pub(crate) fn check_spread(query: &Query, names: &Names) -> Result<(), Refusal> {
    let reads = walk::relations(query, |name| match names.resolve(&parts(name), Span::empty()) {
        Ok(relation) if relation.has_virtual_columns() => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if reads.is_continue() {
        return Ok(());
    }
    match walk::visit(query, &mut Left) {
        ControlFlow::Break((span, what)) => Err(Refusal::at(
            span,
            format!(
                "{what} over tables whose columns are not known here, and of one of which a view reads rowid or snapshot_id: name the \
                 columns"
            ),
        )),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Finds what was not written out.
struct Left;

impl Visitor for Left {
    type Break = (Span, &'static str);

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        left_in(&query.body)
    }
}

fn left_in(body: &SetExpr) -> ControlFlow<(Span, &'static str)> {
    if let SetExpr::SetOperation { left, right, .. } = body {
        left_in(left)?;
        left_in(right)?;
    }
    if let SetExpr::Select(select) = body {
        for item in &select.projection {
            let is_star = match item {
                SelectItem::Wildcard(_) => true,
                SelectItem::QualifiedWildcard(kind, _) => {
                    matches!(kind, SelectItemQualifiedWildcardKind::ObjectName(_))
                }
                _ => false,
            };
            if is_star {
                return ControlFlow::Break((item.span(), "*"));
            }
        }
        for join in select.from.iter().flat_map(|table| &table.joins) {
            if is_natural(&join.join_operator) {
                return ControlFlow::Break((join.relation.span(), "a natural join"));
            }
        }
    }
    ControlFlow::Continue(())
}

fn is_natural(operator: &JoinOperator) -> bool {
    use JoinOperator as Join;
    let (Join::Join(constraint)
    | Join::Inner(constraint)
    | Join::CrossJoin(constraint)
    | Join::Left(constraint)
    | Join::LeftOuter(constraint)
    | Join::Right(constraint)
    | Join::RightOuter(constraint)
    | Join::FullOuter(constraint)
    | Join::Semi(constraint)
    | Join::LeftSemi(constraint)
    | Join::RightSemi(constraint)
    | Join::Anti(constraint)
    | Join::LeftAnti(constraint)
    | Join::RightAnti(constraint)) = operator
    else {
        return false;
    };
    matches!(constraint, JoinConstraint::Natural)
}

/// Refuses a bound plan that reads virtual columns which cannot be had, at the first place that names one.
pub(crate) fn check_refused(plan: &LogicalPlan, sql: &str) -> Result<(), Refusal> {
    if !has_refused(plan) {
        return Ok(());
    }
    let mut named = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Planned::Column(column) | Planned::OuterReferenceColumn(_, column) = part {
                    named.insert(column.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    // What nobody reads is gone then.
    let Some((name, reason)) = refused_in(&optimise(plan.clone())?, &named) else { return Ok(()) };
    let refusal = Refusal::new(format!("the column {name} cannot be read: {reason}"));
    Err(refusal.or_at(place(sql, &name)))
}

fn has_refused(plan: &LogicalPlan) -> bool {
    if let LogicalPlan::TableScan(scan) = plan
        && let Some(relation) = Relation::of(scan.source.as_ref())
        && relation.declared.fields().iter().any(|field| refused(field).is_some())
    {
        return true;
    }
    plan.inputs().into_iter().any(has_refused)
}

fn refused_in(plan: &LogicalPlan, named: &BTreeSet<String>) -> Option<(String, String)> {
    if let LogicalPlan::TableScan(scan) = plan
        && let Some(relation) = Relation::of(scan.source.as_ref())
    {
        let is_read = |at: usize| scan.projection.as_ref().is_none_or(|columns| columns.contains(&at));
        return relation.declared.fields().iter().enumerate().find_map(|(at, field)| {
            let reason = refused(field).filter(|_| is_read(at) && named.contains(field.name()))?;
            Some((field.name().clone(), reason.to_owned()))
        });
    }
    plan.inputs().into_iter().find_map(|input| refused_in(input, named))
}

/// Where SQL names a column first.
fn place(sql: &str, name: &str) -> Option<Location> {
    let query = parse(sql).ok()?;
    let found = walk::expressions(&query, |expr| {
        let parts = match expr {
            Expr::Identifier(part) => std::slice::from_ref(part),
            Expr::CompoundIdentifier(parts) => parts.as_slice(),
            _ => &[],
        };
        match parts.iter().find(|part| part.value.eq_ignore_ascii_case(name)) {
            Some(part) => ControlFlow::Break(part.span.start),
            None => ControlFlow::Continue(()),
        }
    });
    found.break_value().filter(|start| start.line > 0)
}
