//! Recursive terms that can be maintained: those that are linear in the rows they read.
//!
//! DuckDB gives the term one round of rows at a time; a maintained fixpoint gives it all rows. The two agree
//! exactly where the term over several rows together is the sum of the terms over each of them: filters,
//! projections, inner joins with something else, semi, anti and outer joins that keep these rows, and UNION ALL
//! of such. Where equal rows are one (UNION), duplicates inside the term do not matter either, so that
//! DISTINCT in it may be left out and a semi join with these rows may be a join. All else sees one round
//! alone, as an aggregate does, and is refused.

use std::sync::Arc;

use datafusion_common::JoinType;
use datafusion_expr::logical_plan::{Distinct, Filter, Join, Projection, SubqueryAlias, Union};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, LogicalPlan};

use super::recursion::{Recursion, RecursiveUnion, RoundTable};
use crate::error::Refusal;

/// The term as one that is linear in the rows of the recursion `name`.
pub(super) fn linear(plan: LogicalPlan, name: &str, union: RecursiveUnion) -> Answer {
    if !reads(&plan, name) {
        return Err(Refusal::new(format!(
            "a part of the recursive term of {name} does not read {name}: move it to what the recursion starts with"
        )));
    }
    Walk { name, union }.linear(plan)
}

/// Whether a plan reads the rows of the recursion `name`.
fn reads(plan: &LogicalPlan, name: &str) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => RoundTable::of(scan.source.as_ref()).is_some_and(|rows| rows.name == name),
        LogicalPlan::Extension(node) => match Recursion::of(node) {
            // The term of another recursion of this name reads its own rows.
            Some(recursion) if recursion.name == name => reads(&recursion.start, name),
            _ => plan.inputs().into_iter().any(|input| reads(input, name)),
        },
        _ => plan.inputs().into_iter().any(|input| reads(input, name)),
    }
}

struct Walk<'a> {
    name: &'a str,
    union: RecursiveUnion,
}

type Answer = Result<LogicalPlan, Refusal>;

impl Walk<'_> {
    /// `plan` reads the rows.
    fn linear(&self, plan: LogicalPlan) -> Answer {
        let below = |input: Arc<LogicalPlan>| self.linear(Arc::unwrap_or_clone(input)).map(Arc::new);
        Ok(match plan {
            LogicalPlan::TableScan(_) => plan,
            LogicalPlan::Projection(node) => {
                LogicalPlan::Projection(Projection::try_new_with_schema(node.expr, below(node.input)?, node.schema)?)
            }
            LogicalPlan::Filter(node) => LogicalPlan::Filter(Filter::try_new(node.predicate, below(node.input)?)?),
            LogicalPlan::SubqueryAlias(node) => {
                LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(below(node.input)?, node.alias)?)
            }
            LogicalPlan::Union(node) => {
                let part = |input: Arc<LogicalPlan>| linear(Arc::unwrap_or_clone(input), self.name, self.union);
                let inputs = node.inputs.into_iter().map(|input| part(input).map(Arc::new));
                let inputs = inputs.collect::<Result<_, _>>()?;
                LogicalPlan::Union(Union { inputs, schema: node.schema })
            }
            LogicalPlan::Distinct(Distinct::All(input)) => match self.union {
                RecursiveUnion::Distinct => self.linear(Arc::unwrap_or_clone(input))?,
                RecursiveUnion::All => return Err(self.one_round("DISTINCT, UNION, INTERSECT or EXCEPT")),
            },
            LogicalPlan::Join(node) => self.join(node)?,
            LogicalPlan::Aggregate(_) => return Err(self.one_round("an aggregate or GROUP BY")),
            LogicalPlan::Window(_) => return Err(self.one_round("a window function")),
            LogicalPlan::Extension(node) if Recursion::of(&node).is_some() => {
                return Err(self.refused("another recursion reads it", "let it read the finished rows"));
            }
            LogicalPlan::Extension(_) => return Err(self.one_round("LIMIT or DISTINCT ON")),
            other => {
                let operator = other.display().to_string();
                let operator = operator.split([':', ' ']).next().unwrap_or_default().to_owned();
                return Err(self.one_round(&operator));
            }
        })
    }

    fn join(&self, node: Join) -> Answer {
        let below = |input: Arc<LogicalPlan>| self.linear(Arc::unwrap_or_clone(input)).map(Arc::new);
        let (left, right) = (reads(&node.left, self.name), reads(&node.right, self.name));
        if node.join_type == JoinType::LeftAnti && right {
            return Err(self.one_round("NOT IN, NOT EXISTS, EXCEPT or an ANTI JOIN that asks for its rows"));
        }
        if left && right {
            return Err(self.refused(
                "it is read twice, and DuckDB joins the rows of one round with themselves alone",
                "read it once, and what it starts with from the tables",
            ));
        }
        match (node.join_type, left) {
            (JoinType::Inner, _) => {}
            (JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti, true)
            | (JoinType::Right | JoinType::RightSemi | JoinType::RightAnti, false) => self.by_key_alone(&node)?,
            (JoinType::LeftSemi, false) if self.union == RecursiveUnion::Distinct => {
                let join = Join { join_type: JoinType::Inner, ..node };
                return self.semi(join);
            }
            (JoinType::LeftSemi | JoinType::RightSemi, _) => {
                return Err(self.one_round("IN, EXISTS or a SEMI JOIN that asks for its rows"));
            }
            (JoinType::LeftAnti | JoinType::RightAnti, _) => {
                return Err(self.one_round("an ANTI JOIN that asks for its rows"));
            }
            _ => {
                return Err(self.refused(
                    "it is on a side of an outer join that is filled with NULLs where it has no row",
                    "join it the other way around",
                ));
            }
        }
        let (left, right) = if left { (below(node.left)?, node.right) } else { (node.left, below(node.right)?) };
        Ok(LogicalPlan::Join(Join { left, right, ..node }))
    }

    /// A semi join whose right side reads the rows, as an inner one; the columns are those of its left side.
    fn semi(&self, join: Join) -> Answer {
        let right = Arc::new(self.linear(Arc::unwrap_or_clone(join.right))?);
        let columns = join.left.schema().columns().into_iter().map(Expr::Column).collect();
        let join = Join::try_new(
            join.left,
            right,
            join.on,
            join.filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            false,
        )?;
        Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(LogicalPlan::Join(join)))?))
    }

    /// Which rows meet must not depend on a condition over both sides that is no equality: the circuit would
    /// compare two things that both change from round to round.
    fn by_key_alone(&self, node: &Join) -> Result<(), Refusal> {
        let (left, right) = (node.left.schema(), node.right.schema());
        for condition in node.filter.iter().flat_map(split_conjunction) {
            let columns = condition.column_refs();
            let over = |schema: &datafusion_common::DFSchema| columns.iter().all(|column| schema.has_column(column));
            if !over(left) && !over(right) {
                return Err(self.refused(
                    &format!("a {} has a condition over both sides that is no equality", kind(node.join_type)),
                    "write an inner join, or compare with equalities",
                ));
            }
        }
        Ok(())
    }

    fn one_round(&self, construct: &str) -> Refusal {
        self.refused(
            &format!("{construct} sees the rows of one round alone there"),
            &format!("apply it outside, to the finished rows of {}", self.name),
        )
    }

    fn refused(&self, fact: &str, way_out: &str) -> Refusal {
        let name = self.name;
        Refusal::new(format!(
            "the recursive term of {name} cannot be maintained incrementally, since {fact}: {way_out}"
        ))
    }
}

fn kind(join_type: JoinType) -> &'static str {
    match join_type {
        JoinType::LeftSemi | JoinType::RightSemi => "SEMI JOIN, IN or EXISTS",
        JoinType::LeftAnti | JoinType::RightAnti => "ANTI JOIN, NOT IN or NOT EXISTS",
        _ => "LEFT or RIGHT JOIN",
    }
}
