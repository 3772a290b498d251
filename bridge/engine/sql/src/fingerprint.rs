//! Plan ids: two plans with one id compute the same view from the same inputs, so the state of
//! one serves the other.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::Schema;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::{Expr, ExprSchemable, JoinType, LogicalPlan};
use serde::{Deserialize, Serialize};
use tidegate_core::ViewInfo;

use crate::names::{Input, Relation};
use crate::semantics::{AsOf, Item, Recursion, RoundTable, TopRows, Unnest};
use crate::text::{expression, order_by};
use crate::threshold::Threshold;

/// Counts what changes the meaning of a plan without changing its text: kernels, encodings of
/// values, the text below.
const VERSION: u32 = 1;

/// BLAKE3 over the canonical text of a view's plan, its inputs' schemas, its name and its
/// columns. An input that is a view counts by name and schema: when only its SQL changes, its
/// readers see that as a delta.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanId(pub [u8; 32]);

/// What a part of a plan computes, whatever its columns and those below it are called: parts with one id answer the
/// same rows, and have equal columns at each position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartId(PlanId);

impl PlanId {
    pub(crate) fn of(plan: &LogicalPlan, info: &ViewInfo) -> Self {
        let mut text = format!("tidegate plan {VERSION}\nview {:?} {:?}\n", info.name.0, info.identity);
        schema(&info.schema, &mut text);
        node(plan, 0, &mut text);
        text.push_str(&kept_once(plan));
        PlanId::of_text(&text)
    }

    /// Of the circuit of a part: what it computes, and from what it reads it. The names that its readers give to columns do not
    /// count, so that it stays as it is whoever reads it first.
    pub(crate) fn of_part(id: PartId, plan: &LogicalPlan, inputs: &[Input]) -> Self {
        let inputs: Vec<String> = inputs.iter().map(|input| format!("{:?}", input.to_string())).collect();
        let (inputs, kept_once) = (inputs.join("\n"), kept_once(plan));
        let text = format!("tidegate shared part {VERSION}\n{id}\n{inputs}{kept_once}");
        PlanId::of_text(&text)
    }

    fn of_text(text: &str) -> Self {
        PlanId(*blake3::hash(text.as_bytes()).as_bytes())
    }
}

impl PartId {
    /// Of a part of a plan, given those of its inputs.
    pub(crate) fn of_node(plan: &LogicalPlan, inputs: &[PartId]) -> Self {
        let mut text = format!("tidegate part {VERSION}\n");
        describe(plan, &mut text);
        if !matches!(plan, LogicalPlan::TableScan(_)) {
            let inputs: Vec<&DFSchema> = plan.inputs().into_iter().map(|input| input.schema().as_ref()).collect();
            plan.expressions().iter().for_each(|expr| text.push_str(&format!("= {}\n", by_position(expr, &inputs))));
        }
        inputs.iter().for_each(|input| text.push_str(&format!("{input}\n")));
        PartId(PlanId::of_text(&text))
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An expression over the columns of `inputs` with its type, where columns are called by their position and nothing else has a name.
pub(crate) fn by_position(expr: &Expr, inputs: &[&DFSchema]) -> String {
    let position = |column: &Column| {
        let mut before = 0;
        for input in inputs {
            if let Some(index) = input.maybe_index_of_column(column) {
                return Some(before + index);
            }
            before += input.fields().len();
        }
        None
    };
    let nameless = expr.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => match position(&column) {
                Some(position) => Transformed::yes(Expr::Column(Column::from_name(format!("#{position}")))),
                None => Transformed::no(Expr::Column(column)),
            },
            Expr::Alias(alias) => Transformed::yes(*alias.expr),
            other => Transformed::no(other),
        })
    });
    let types = inputs.iter().find_map(|input| expr.get_type(*input).ok());
    let text = nameless.map_or_else(|_| expression(expr, true), |nameless| expression(&nameless.data, true));
    format!("{text}: {types:?}")
}

fn schema(schema: &Schema, text: &mut String) {
    for field in schema.fields() {
        let duckdb_type = tidegate_core::schema::duckdb_type(field).unwrap_or_default();
        text.push_str(&format!(
            "  column {:?} {duckdb_type:?} {:?} {}\n",
            field.name(),
            field.data_type(),
            field.is_nullable()
        ));
        if tidegate_core::schema::is_virtual(field) {
            text.push_str("    virtual\n");
        }
    }
}

fn node(plan: &LogicalPlan, depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
    describe(plan, text);
    if !matches!(plan, LogicalPlan::TableScan(_)) {
        for expr in plan.expressions() {
            text.push_str(&format!("{}= {}\n", "  ".repeat(depth), typed(&expr, plan)));
        }
    }
    plan.inputs().into_iter().for_each(|input| node(input, depth + 1, text));
}

/// A node without its expressions and inputs.
fn describe(plan: &LogicalPlan, text: &mut String) {
    match plan {
        LogicalPlan::TableScan(scan) => {
            text.push_str(&format!("scan {:?}\n", scan.projection));
            if let Some(relation) = Relation::of(scan.source.as_ref()) {
                let kind = match relation.input {
                    Input::Table(_) => "table",
                    Input::View(_) => "view",
                    Input::Clock => "clock",
                };
                text.push_str(&format!(
                    "  {kind} {:?} {} {:?}\n",
                    relation.input.to_string(),
                    relation.incarnation,
                    relation.identity
                ));
                schema(&relation.declared, text);
            }
            if let Some(rows) = RoundTable::of(scan.source.as_ref()) {
                text.push_str(&format!("  round of {:?}\n", rows.name));
                schema(&rows.columns, text);
            }
        }
        other => {
            let name = other.display().to_string();
            text.push_str(name.split([':', ' ']).next().unwrap_or_default());
            if let LogicalPlan::Join(join) = other {
                text.push_str(&format!(" {:?}", join.null_equality));
                if join.join_type != JoinType::Inner {
                    text.push_str(&format!(" {:?} keys {} {}", join.join_type, join.on.len(), join.null_aware));
                }
            }
            if let LogicalPlan::Aggregate(aggregate) = other {
                text.push_str(&format!(" groups {}", aggregate.group_expr.len()));
            }
            if let LogicalPlan::Extension(extension) = other
                && let Some(top) = TopRows::of(extension)
            {
                let (skip, fetch, by) = (top.skip, top.fetch, order_by(&top.order_by, true));
                text.push_str(&format!(" partitions {} skip {skip} fetch {fetch} by {by}", top.partition_by.len()));
            }
            if let LogicalPlan::Extension(extension) = other
                && let Some(asof) = AsOf::of(extension)
            {
                text.push_str(&format!(" {} {:?} keys {}", asof.nearest.symbol(), asof.unmet, asof.on.len()));
            }
            if let LogicalPlan::Extension(extension) = other
                && let Some(recursion) = Recursion::of(extension)
            {
                text.push_str(&format!(" {:?} {:?}", recursion.name, recursion.union));
            }
            if let LogicalPlan::Extension(extension) = other
                && let Some(threshold) = Threshold::of(extension)
            {
                text.push_str(&format!(" {}", threshold.comparison.symbol()));
            }
            if let LogicalPlan::Extension(extension) = other
                && let Some(unnest) = Unnest::of(extension)
            {
                let numbers: Vec<bool> = unnest.items.iter().map(|item| *item == Item::Number).collect();
                text.push_str(&format!(" {:?} keeps {:?} numbers {numbers:?}", unnest.itemless, unnest.kept));
            }
            text.push('\n');
        }
    }
}

/// What a plan's circuit keeps once though it is read in several places, which versions before did not.
fn kept_once(plan: &LogicalPlan) -> String {
    let mut text = String::new();
    if has_equal_parts(plan, &mut Vec::new()) {
        text.push_str("equal parts are kept once\n");
    }
    if has_equal_scans(plan, &mut Vec::new()) {
        text.push_str("equal sides are kept once\n");
    }
    text
}

/// Whether an input is read in several places.
fn has_equal_scans<'a>(plan: &'a LogicalPlan, seen: &mut Vec<&'a Input>) -> bool {
    let relation = match plan {
        LogicalPlan::TableScan(scan) => Relation::of(scan.source.as_ref()),
        _ => None,
    };
    if let Some(relation) = relation {
        if seen.contains(&&relation.input) {
            return true;
        }
        seen.push(&relation.input);
    }
    plan.inputs().into_iter().any(|input| has_equal_scans(input, seen))
}

/// Whether a node with state occurs more than once.
fn has_equal_parts<'a>(plan: &'a LogicalPlan, seen: &mut Vec<&'a LogicalPlan>) -> bool {
    use LogicalPlan::{Aggregate, Distinct, Join, Union};
    if matches!(plan, Aggregate(_) | Distinct(_) | Join(_) | Union(_)) {
        if seen.contains(&plan) {
            return true;
        }
        seen.push(plan);
    }
    plan.inputs().into_iter().any(|input| has_equal_parts(input, seen))
}

/// An expression with its type, where its inputs give one.
fn typed(expr: &Expr, plan: &LogicalPlan) -> String {
    let types = plan.inputs().into_iter().find_map(|input| expr.get_type(input.schema()).ok());
    format!("{}: {types:?}", expression(expr, true))
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanId({self})")
    }
}

impl FromStr for PlanId {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(PlanId(*blake3::Hash::from_hex(text)?.as_bytes()))
    }
}

impl Serialize for PlanId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PlanId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
