//! Plans for people and programs: the tree of nodes, how each tells its rows apart, what state it keeps, how it
//! follows a change and what that costs.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_expr::logical_plan::Window;
use datafusion_expr::{Expr, LogicalPlan};
use serde_json::{Value, json};
use tidegate_core::{Integral, RowIdentity, ViewName};

use crate::cost::{Cost, own_cost, strategy};
use crate::identity::identity;
use crate::join;
use crate::names::Relation;
use crate::semantics::{
    AggregateKind, AsOf, Item, Itemless, Recursion, RecursiveUnion, RoundTable, TopRows, Unnest, aggregate_call,
    recomputed_call, window_call,
};
use crate::shared::{Readers, shareable};
use crate::text::{expression, order_by};
use crate::threshold::{Comparison, Threshold};

/// A node of the explained tree.
struct Node {
    operator: &'static str,
    detail: String,
    identity: String,
    strategy: &'static str,
    state: String,
    cost: Cost,
    inputs: Vec<Node>,
}

/// The tree as text, one line a node, indented as deep. `shared` are the nodes that other views read, too.
pub(crate) fn text_at(plan: &LogicalPlan, depth: usize, shared: &Readers) -> String {
    let mut lines = String::new();
    write(&node(plan, shared), depth, &mut lines);
    lines
}

/// The tree as JSON: `operator`, `detail`, `row_identity`, `strategy`, `state`, `cost`, `inputs`.
pub(crate) fn json(plan: &LogicalPlan, shared: &Readers) -> Value {
    value(&node(plan, shared))
}

fn write(node: &Node, depth: usize, lines: &mut String) {
    lines.push_str(&"  ".repeat(depth));
    lines.push_str(node.operator);
    if !node.detail.is_empty() {
        lines.push(' ');
        lines.push_str(&node.detail);
    }
    let Node { identity, strategy, state, cost, .. } = node;
    lines.push_str(&format!("  [{identity}; {strategy}; state: {state}; cost: {cost}]\n"));
    node.inputs.iter().for_each(|input| write(input, depth + 1, lines));
}

fn value(node: &Node) -> Value {
    json!({
        "operator": node.operator,
        "detail": node.detail,
        "row_identity": node.identity,
        "strategy": node.strategy,
        "state": node.state,
        "cost": node.cost.as_str(),
        "inputs": node.inputs.iter().map(value).collect::<Vec<_>>(),
    })
}

fn node(plan: &LogicalPlan, shared: &Readers) -> Node {
    // An alias renames columns and does nothing.
    if let LogicalPlan::SubqueryAlias(alias) = plan {
        return node(&alias.input, shared);
    }
    let (operator, detail, mut state) = describe(plan);
    if !shared.is_empty()
        && let Some(others) = shareable(plan).and_then(|id| shared.get(&id))
    {
        let others: Vec<&str> = others.iter().map(ViewName::as_str).collect();
        state.push_str(&format!("; once, with {}", others.join(", ")));
    }
    let inputs = plan.inputs().into_iter().map(|input| node(input, shared)).collect();
    let (strategy, cost) = (strategy(plan), own_cost(plan));
    Node { operator, detail, identity: describe_identity(plan), strategy, state, cost, inputs }
}

fn describe(plan: &LogicalPlan) -> (&'static str, String, String) {
    let none = || "none".to_owned();
    match plan {
        LogicalPlan::TableScan(scan) if RoundTable::of(scan.source.as_ref()).is_some() => {
            let name = RoundTable::of(scan.source.as_ref()).map(|rows| rows.name.clone()).unwrap_or_default();
            let columns: Vec<String> = scan.projected_schema.fields().iter().map(|f| f.name().clone()).collect();
            ("Round", format!("{name} ({})", columns.join(", ")), none())
        }
        LogicalPlan::TableScan(scan) => {
            let relation = Relation::of(scan.source.as_ref());
            let name = relation.map_or(scan.table_name.to_string(), |relation| relation.input.to_string());
            let is_kept = relation.is_some_and(|relation| relation.integral == Integral::Engine);
            let state = if is_kept { "the table's rows, once for all views".to_owned() } else { none() };
            let columns: Vec<String> = scan.projected_schema.fields().iter().map(|f| f.name().clone()).collect();
            ("Scan", format!("{name} ({})", columns.join(", ")), state)
        }
        LogicalPlan::Projection(node) => {
            let named = node.expr.iter().zip(node.schema.fields()).map(|(expr, field)| {
                let text = with_calls(expression(expr, false), &node.input);
                if text == *field.name() || field.name().starts_with('#') {
                    text
                } else {
                    format!("{text} AS {}", field.name())
                }
            });
            ("Project", named.collect::<Vec<_>>().join(", "), none())
        }
        LogicalPlan::Filter(node) => ("Filter", with_calls(expression(&node.predicate, false), &node.input), none()),
        LogicalPlan::Join(node) => {
            let left = |expr| with_calls(expression(expr, false), &node.left);
            let right = |expr| with_calls(expression(expr, false), &node.right);
            let on = node.on.iter().map(|(l, r)| format!("{} = {}", left(l), right(r)));
            let filter = node.filter.iter().map(|f| with_calls(left(f), &node.right));
            (join::operator(node), on.chain(filter).collect::<Vec<_>>().join(" AND "), join::state(node))
        }
        LogicalPlan::Aggregate(node) => {
            let groups: Vec<String> = node.group_expr.iter().map(|e| expression(e, false)).collect();
            let calls: Vec<String> = node.aggr_expr.iter().map(|e| expression(e, false)).collect();
            let by = if groups.is_empty() { String::new() } else { format!(" BY {}", groups.join(", ")) };
            ("Aggregate", format!("{}{by}", calls.join(", ")), aggregate_state(&node.aggr_expr))
        }
        LogicalPlan::Distinct(_) => ("Distinct", String::new(), "counts of every row".to_owned()),
        LogicalPlan::Union(_) => ("Union", "ALL".to_owned(), none()),
        LogicalPlan::Window(node) => window(node),
        LogicalPlan::Extension(node) if TopRows::of(node).is_some() => {
            TopRows::of(node).map_or_else(Default::default, top)
        }
        LogicalPlan::Extension(node) if AsOf::of(node).is_some() => {
            AsOf::of(node).map_or_else(Default::default, join::asof)
        }
        LogicalPlan::Extension(node) if Recursion::of(node).is_some() => {
            Recursion::of(node).map_or_else(Default::default, recursion)
        }
        LogicalPlan::Extension(node) if Threshold::of(node).is_some() => {
            Threshold::of(node).map_or_else(Default::default, threshold)
        }
        LogicalPlan::Extension(node) if Unnest::of(node).is_some() => {
            ("Unnest", Unnest::of(node).map(unnest).unwrap_or_default(), none())
        }
        LogicalPlan::EmptyRelation(_) => ("OneRow", String::new(), none()),
        other => ("Other", other.display().to_string(), none()),
    }
}

/// Windows, and what a change costs: every row of the partitions that it touches is computed anew.
fn window(node: &Window) -> (&'static str, String, String) {
    let calls: Vec<String> = node.window_expr.iter().map(|call| expression(call, false)).collect();
    let depends = node.window_expr.iter().filter_map(window_call).any(|call| call.depends_on_ties());
    let ties = if depends { "; ties in the order of all columns" } else { "" };
    let is_whole = node.window_expr.iter().filter_map(window_call).any(|call| call.partition_by.is_empty());
    let scope = if is_whole { "all rows" } else { "the touched partitions" };
    (
        "Window",
        format!("{}{ties}", calls.join(", ")),
        format!("rows and results by partition; a change recomputes {scope}"),
    )
}

/// The first rows of an order: only as many rows are looked at as stay or are skipped.
fn top(node: &TopRows) -> (&'static str, String, String) {
    let by = if node.partition_by.is_empty() {
        String::new()
    } else {
        let keys: Vec<String> = node.partition_by.iter().map(|key| expression(key, false)).collect();
        format!(" of each {}", keys.join(", "))
    };
    let order = order_by(&node.order_by, false);
    let order = if order.is_empty() { String::new() } else { format!(" by {order}") };
    let skip = if node.skip == 0 { String::new() } else { format!(" after {}", node.skip) };
    let detail = format!("{}{skip}{by}{order}; ties in the order of all columns", node.fetch);
    ("Top", detail, format!("all rows in order; a change looks at {} rows", node.skip + node.fetch))
}

/// A recursion, and what a change costs: the rows that follow from it, round by round.
fn recursion(node: &Recursion) -> (&'static str, String, String) {
    let (union, state) = match node.union {
        RecursiveUnion::Distinct => ("UNION", "every row with the rounds that find it"),
        RecursiveUnion::All => ("UNION ALL", "none of its own"),
    };
    let state = format!("{state}; joins in it keep rows by round");
    ("Recursion", format!("{} by {union}", node.name), state)
}
/// Rows compared with one value: only those that the comparison decides anew are looked at.
fn threshold(node: &Threshold) -> (&'static str, String, String) {
    let value = with_calls(expression(&node.value, false), &node.input);
    let bound = expression(&node.bound, false);
    let touched = match node.comparison {
        Comparison::Equal => "the rows of the old and the new value",
        _ => "the rows between the old and the new value",
    };
    let state = format!("all rows, in the order of {value}; a change of {bound} touches {touched}");
    ("Threshold", format!("{value} {} {bound}", node.comparison.symbol()), state)
}
/// The lists whose items become rows.
fn unnest(node: &Unnest) -> String {
    let items = node.items.iter().map(|item| match item {
        Item::Of(list) => with_calls(expression(list, false), &node.input),
        Item::Number => "ORDINALITY".to_owned(),
    });
    let items = items.collect::<Vec<_>>().join(", ");
    match node.itemless {
        Itemless::Dropped => items,
        Itemless::Padded => format!("{items}; a row without items stays, with NULL"),
    }
}

/// A text over the rows of `input`, with aggregates as they are written where the planner has names
/// of its own for them.
fn with_calls(text: String, input: &LogicalPlan) -> String {
    match input {
        LogicalPlan::SubqueryAlias(alias) => with_calls(text, &alias.input),
        LogicalPlan::Filter(filter) => with_calls(text, &filter.input),
        LogicalPlan::Projection(node) if node.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) => {
            with_calls(text, &node.input)
        }
        LogicalPlan::Join(join) => with_calls(with_calls(text, &join.left), &join.right),
        LogicalPlan::Window(node) => {
            let fields = node.schema.fields().iter().skip(node.input.schema().fields().len());
            let text = fields.zip(&node.window_expr).fold(text, |text, (field, call)| {
                text.replace(field.name().trim_start_matches('#'), &expression(call, false))
            });
            with_calls(text, &node.input)
        }
        LogicalPlan::Aggregate(node) => {
            let fields = node.schema.fields().iter().skip(node.group_expr.len());
            fields
                .zip(&node.aggr_expr)
                .fold(text, |text, (field, call)| text.replace(field.name().as_str(), &expression(call, false)))
        }
        _ => text,
    }
}

fn aggregate_state(calls: &[Expr]) -> String {
    let mut parts = Vec::new();
    for call in calls.iter().filter_map(aggregate_call) {
        let part = match call.kind {
            AggregateKind::Min | AggregateKind::Max => "ordered values",
            _ if call.distinct => "counts of distinct values",
            _ => "sums",
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    if calls.iter().any(|call| recomputed_call(call).is_some()) {
        parts.push("rows of every group");
    }
    if parts.is_empty() { "groups".to_owned() } else { parts.join(", ") }
}

fn describe_identity(plan: &LogicalPlan) -> String {
    let fields = plan.schema().fields();
    match identity(plan) {
        RowIdentity::Key(columns) if columns.is_empty() => "at most one row".to_owned(),
        RowIdentity::Key(columns) => {
            let names: Vec<&str> = columns.iter().map(|i| fields[*i].name().as_str()).collect();
            format!("key ({})", names.join(", "))
        }
        RowIdentity::Rowid => "rowid".to_owned(),
        RowIdentity::WholeRow => "whole row".to_owned(),
    }
}

/// An Arrow type as DuckDB calls it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Null => "NULL",
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "UTINYINT",
        DataType::UInt16 => "USMALLINT",
        DataType::UInt32 => "UINTEGER",
        DataType::UInt64 => "UBIGINT",
        DataType::Decimal128(38, 0) => "HUGEINT",
        DataType::Decimal128(p, s) => return format!("DECIMAL({p},{s})"),
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 => "VARCHAR",
        DataType::Binary => "BLOB",
        DataType::Date32 => "DATE",
        DataType::Time64(_) => "TIME",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Timestamp(TimeUnit::Second, None) => "TIMESTAMP_S",
        DataType::Timestamp(TimeUnit::Millisecond, None) => "TIMESTAMP_MS",
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "TIMESTAMP_NS",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP",
        DataType::Interval(_) => "INTERVAL",
        DataType::List(item) => return format!("{}[]", type_name(item.data_type())),
        DataType::FixedSizeList(item, size) => return format!("{}[{size}]", type_name(item.data_type())),
        DataType::Struct(_) => "STRUCT",
        DataType::Map(..) => "MAP",
        other => return other.to_string(),
    };
    name.to_owned()
}
