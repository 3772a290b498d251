//! The walk over a view's plan: how many rows each operator has, what it keeps, and what it costs.
//!
//! The plan is the one that the engine compiles, so that what keeps state here keeps it there: joins both sides, groups their sums
//! (and what MIN, MAX, DISTINCT and aggregates that are computed anew need), DISTINCT, windows and first rows all their rows; filters and
//! projections nothing. Every view keeps its own rows besides.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;
use datafusion_expr::logical_plan::{Aggregate, Extension, Join, Window};
use datafusion_expr::{Expr, JoinType, LogicalPlan};
use tidegate_engine::{Input, PlannedView};
use tidegate_engine_sql::{
    AggregateKind, AsOf, Recursion, RecursiveUnion, Relation as Source, RoundTable, Threshold, TopRows, Unnest,
    aggregate_call, recomputed_call, window_call,
};

use super::coefficients::Coefficients;
use super::expressions::{column, covers, is_group, key_of, of_all, total, values};
use super::relation::{Column, Relation, Width};
use super::share::share;
use super::trace::Trace;

/// Rows of a group, where nothing is known.
const GROUP_ROWS: f64 = 10.0;
/// Items of a list.
const LIST_ITEMS: f64 = 3.0;
/// Rows of a recursion for each that it starts with.
const RECURSION_ROWS: f64 = 10.0;

/// What a person says of a view.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Said {
    /// Its rows.
    pub rows: Option<f64>,
    /// Groups of each GROUP BY and DISTINCT in it.
    pub groups: Option<f64>,
    /// The share of rows that each filter in it keeps.
    pub filter: Option<f64>,
}

/// What a view keeps and costs.
#[derive(Debug, Clone, Default)]
pub struct Walked {
    /// The view's own rows.
    pub view: Relation,
    pub traces: Vec<Trace>,
    /// Of the load, without what a sink takes.
    pub load_ns: f64,
    /// Of the epoch that is looked at.
    pub epoch_ns: f64,
    /// What was taken for granted, for people.
    pub assumptions: BTreeSet<String>,
}

/// Walks a view whose inputs are these.
pub fn walk(view: &PlannedView, inputs: &BTreeMap<Input, Relation>, said: Said, by: &Coefficients) -> Walked {
    let name = view.origin().to_string();
    let mut walk = Walk { name, inputs, said, by, rounds: BTreeMap::new(), walked: Walked::default() };
    let relation = walk.relation(&view.plan);
    let relation = match said.rows.filter(|_| view.is_view()) {
        Some(rows) => relation.with_rows(rows),
        None => relation,
    };
    let mut walked = walk.walked;
    walked.traces.push(Trace::flat(relation.rows, relation.width()));
    walked.load_ns += relation.rows * by.load_view_ns;
    if relation.changes > 0.0 {
        walked.epoch_ns += by.epoch_view_ms * 1e6 + relation.changes * by.epoch_row_ns;
    }
    walked.view = relation;
    walked
}

struct Walk<'a> {
    name: String,
    inputs: &'a BTreeMap<Input, Relation>,
    said: Said,
    by: &'a Coefficients,
    /// Rows of the recursions that are walked.
    rounds: BTreeMap<String, Relation>,
    walked: Walked,
}

impl Walk<'_> {
    fn assume(&mut self, text: impl std::fmt::Display) {
        self.walked.assumptions.insert(format!("view {}: {text}", self.name));
    }

    fn relation(&mut self, plan: &LogicalPlan) -> Relation {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let all = match (RoundTable::of(scan.source.as_ref()), Source::of(scan.source.as_ref())) {
                    (Some(round), _) => self.rounds.get(&round.name).cloned().unwrap_or_default(),
                    (_, Some(source)) => self.input(source),
                    _ => Relation::default(),
                };
                let positions = scan.projection.clone().unwrap_or_else(|| (0..all.columns.len()).collect());
                let columns = positions.iter().filter_map(|position| all.columns.get(*position).copied()).collect();
                Relation { columns, ..all }
            }
            LogicalPlan::EmptyRelation(_) => Relation { rows: 1.0, ..Relation::default() },
            LogicalPlan::SubqueryAlias(node) => self.relation(&node.input),
            LogicalPlan::Projection(node) => {
                let input = self.relation(&node.input);
                let columns = node.expr.iter().zip(node.schema.fields());
                let columns =
                    columns.map(|(expr, field)| column(expr, field.data_type(), &node.input, &input)).collect();
                Relation { columns, ..input }
            }
            LogicalPlan::Filter(node) => {
                let input = self.relation(&node.input);
                let kept = self.kept(&node.predicate, &node.input, &input);
                Relation { rows: input.rows * kept, changes: input.changes * kept, ..input }
            }
            LogicalPlan::Join(node) => self.join(node),
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Distinct(node) => {
                let input = self.relation(node.input());
                let rows = self.groups(&input, &input.columns.clone(), None);
                self.keep(Trace::flat(rows, input.width()), input.rows, input.changes);
                self.walked.epoch_ns += input.changes * self.by.epoch_find_ns;
                Relation { rows, changes: input.changes.min(2.0 * rows), ..input }
            }
            LogicalPlan::Union(node) => {
                let inputs: Vec<Relation> = node.inputs.iter().map(|input| self.relation(input)).collect();
                let sum = |of: fn(&Relation) -> f64| inputs.iter().map(of).sum::<f64>();
                let (rows, changes) = (sum(|input| input.rows), sum(|input| input.changes));
                let columns = inputs.iter().max_by(|one, other| one.rows.total_cmp(&other.rows));
                let columns = columns.map(|input| input.columns.clone()).unwrap_or_default();
                let distinct = |column: Column| Column { distinct: None, ..column };
                Relation { rows, changes, columns: columns.into_iter().map(distinct).collect() }
            }
            LogicalPlan::Window(node) => self.window(node),
            LogicalPlan::Extension(node) => self.extension(node, plan),
            other => match other.inputs().first() {
                Some(input) => self.relation(input),
                None => Relation::default(),
            },
        }
    }

    fn input(&mut self, source: &Source) -> Relation {
        let relation = match self.inputs.get(&source.input) {
            Some(relation) => relation.clone(),
            // The time of the epoch: one row that is always another.
            None => {
                let columns = source.declared.fields().iter().map(|field| Column::unknown(field)).collect();
                Relation { rows: 1.0, changes: 2.0, columns }
            }
        };
        self.walked.load_ns += relation.rows * self.by.load_read_ns;
        self.walked.epoch_ns += relation.changes * self.by.epoch_read_ns;
        relation
    }

    /// Keeps rows: `loaded` go through it in the load, `changed` in the epoch.
    fn keep(&mut self, trace: Trace, loaded: f64, changed: f64) {
        self.walked.load_ns += loaded * self.by.load_trace_ns;
        self.walked.epoch_ns += changed * self.by.epoch_trace_ns;
        self.walked.traces.push(trace);
    }

    /// The share of rows that a condition keeps.
    fn kept(&mut self, condition: &Expr, plan: &LogicalPlan, input: &Relation) -> f64 {
        if let Some(share) = self.said.filter {
            return share;
        }
        let distinct = |expr: &Expr| match expr {
            Expr::Literal(..) => None,
            expr => column(expr, &DataType::Null, plan, input).distinct,
        };
        let kept = share(condition, &distinct);
        let percent = kept * 100.0;
        let name = self.name.clone();
        self.assume(format!(
            "a filter keeps {percent:.3} % of its rows, by its conditions; --filter {name}=SHARE says better"
        ));
        kept
    }

    /// How many different rows some columns have.
    fn groups(&mut self, input: &Relation, columns: &[Column], key: Option<&[usize]>) -> f64 {
        let is_key = key.is_some();
        let most = input.rows.max(1.0);
        match (columns.is_empty(), self.said.groups, input.distinct(columns)) {
            (true, ..) => 1.0,
            (_, Some(groups), _) => groups.min(most),
            _ if is_key => most,
            (.., Some(groups)) => groups,
            _ => {
                let groups = (most / GROUP_ROWS).max(1.0);
                let name = self.name.clone();
                self.assume(format!(
                    "{groups:.0} groups, one for {GROUP_ROWS} rows, since nothing tells how many different values there are; \
                     --groups {name}=N says better"
                ));
                groups
            }
        }
    }

    fn join(&mut self, node: &Join) -> Relation {
        let (left, right) = (self.relation(&node.left), self.relation(&node.right));
        let keys = |expr: fn(&(Expr, Expr)) -> &Expr| node.on.iter().map(expr).collect::<Vec<&Expr>>();
        let (lefts, rights) = (keys(|on| &on.0), keys(|on| &on.1));
        let (left_keys, right_keys) = (of_all(&lefts, &node.left, &left), of_all(&rights, &node.right, &right));
        let left_values = values(&left, &left_keys, &lefts, &node.left);
        let right_values = values(&right, &right_keys, &rights, &node.right);
        let met = self.met(node, (&left, &left_values), (&right, &right_values));
        let filter = match (&node.filter, self.said.filter) {
            (None, _) => 1.0,
            (_, Some(share)) => share,
            (Some(condition), None) => {
                let kept = share(condition, &|_| None);
                let (percent, name) = (kept * 100.0, self.name.clone());
                self.assume(format!(
                    "{percent:.3} % of the rows that meet in a join fulfil its other conditions; --filter {name}=SHARE says better"
                ));
                kept
            }
        };
        let met = met * filter;
        let per = |side: &Relation| if side.rows > 0.0 { met / side.rows } else { 0.0 };
        let changes = left.changes * per(&left) + right.changes * per(&right);
        // Without an equality every changed row meets the whole other side.
        let looked = match node.on.is_empty() {
            true => left.changes * right.rows + right.changes * left.rows,
            false => changes,
        };
        self.walked.load_ns += met * self.by.load_join_ns;
        self.walked.epoch_ns += looked * self.by.epoch_find_ns;
        for (side, plan, keys, distinct) in
            [(&left, &node.left, &left_keys, &left_values), (&right, &node.right, &right_keys, &right_values)]
        {
            let key = total(keys);
            let keyed = side.width();
            let value = Width { numbers: keyed.numbers - key.numbers, text: keyed.text - key.text };
            let value = Width { numbers: value.numbers.max(0.0), text: value.text.max(0.0) };
            let trace = Trace { rows: side.rows, keys: distinct.unwrap_or(side.rows), key, value };
            // Groups that are joined on their keys are kept once.
            if !is_group(plan) {
                self.keep(trace, side.rows, side.changes);
            }
        }
        let columns: Vec<Column> = left.columns.iter().chain(&right.columns).copied().collect();
        let rows = match node.join_type {
            JoinType::Inner => met,
            JoinType::Left => met.max(left.rows),
            JoinType::Right => met.max(right.rows),
            JoinType::Full => met.max(left.rows).max(right.rows),
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left.rows,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right.rows,
        };
        if node.join_type != JoinType::Inner {
            let (key, count) = (total(&left_keys), Width::numbers(1.0));
            let keys = right_values.or(left_values).unwrap_or(left.rows.min(right.rows));
            self.keep(Trace::one_each(keys, key, count), keys, left.changes + right.changes);
        }
        if !matches!(node.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) {
            self.assume("a semi or anti join keeps all rows of its side");
        }
        let one_side = |side: &Relation| Relation { rows, changes: side.changes.max(changes), ..side.clone() };
        match node.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => one_side(&left),
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => one_side(&right),
            _ => Relation { rows, changes, columns },
        }
    }

    /// Pairs of rows that meet: each row of one side meets those of the other with its key.
    fn met(&mut self, node: &Join, left: (&Relation, &Option<f64>), right: (&Relation, &Option<f64>)) -> f64 {
        let (rows, other) = (left.0.rows, right.0.rows);
        if node.on.is_empty() {
            return rows * other;
        }
        match (left.1, right.1) {
            (Some(one), Some(two)) => rows * other / one.max(*two).max(1.0),
            // One that is unlike in all rows is a key, which the other side refers to.
            (Some(one), None) if *one >= rows => other,
            (None, Some(two)) if *two >= other => rows,
            _ => {
                let met = rows.max(other);
                self.assume("a row of the larger side of a join meets one row of the other");
                met
            }
        }
    }

    fn aggregate(&mut self, node: &Aggregate) -> Relation {
        let input = self.relation(&node.input);
        let exprs: Vec<&Expr> = node.group_expr.iter().collect();
        let keys = of_all(&exprs, &node.input, &input);
        let key = key_of(&node.input).filter(|key| covers(key, &exprs, &node.input));
        let groups = self.groups(&input, &keys, key.as_deref());
        let width = total(&keys);
        let fields = &node.schema.fields()[node.group_expr.len()..];
        let results = fields.iter().map(|field| Column::unknown(field)).collect::<Vec<_>>();
        let touched = input.changes.min(2.0 * groups);
        let mut sums = 1.0;
        let mut parts = 1.0;
        let mut extremes: Vec<(&Expr, AggregateKind)> = Vec::new();
        let mut is_recomputed = false;
        for expr in &node.aggr_expr {
            let Some(call) = aggregate_call(expr) else {
                is_recomputed |= recomputed_call(expr).is_some();
                continue;
            };
            let Some(argument) = call.argument else { continue };
            let is_extreme = matches!(call.kind, AggregateKind::Min | AggregateKind::Max);
            match (is_extreme, call.distinct) {
                (false, false) => sums += if call.kind == AggregateKind::Count { 1.0 } else { 2.0 },
                _ if extremes.contains(&(argument, call.kind)) && is_extreme => {}
                _ => {
                    extremes.push((argument, call.kind));
                    parts += 1.0;
                    let argument = column(argument, &DataType::Int64, &node.input, &input);
                    let rows = argument.distinct.map_or(input.rows, |values| input.rows.min(groups * values));
                    let trace = Trace { rows, keys: groups, key: width, value: argument.width };
                    self.keep(trace, input.rows, input.changes);
                    self.walked.epoch_ns += 2.0 * touched * self.by.epoch_group_ns;
                    let result = if is_extreme { argument.width } else { Width::numbers(1.0) };
                    self.results(groups, width, result, if is_extreme { 1.0 } else { 2.0 });
                }
            }
        }
        if is_recomputed {
            parts += 1.0;
            let value = input.width();
            let value =
                Width { numbers: (value.numbers - width.numbers).max(1.0), text: (value.text - width.text).max(0.0) };
            self.keep(Trace { rows: input.rows, keys: groups, key: width, value }, input.rows, input.changes);
            self.results(groups, width, total(&results), 1.0);
            let of_group = input.rows / groups;
            self.walked.epoch_ns += touched * of_group * self.by.epoch_recompute_ns;
        }
        // The sums as they are moved, and what they come to.
        self.results(groups, width, Width::numbers(sums), 1.0);
        self.results(groups, width, total(&results), 1.0);
        if parts > 1.0 {
            // What the parts come to is put together: each of them, and the whole.
            self.walked.epoch_ns += 2.0 * touched * self.by.epoch_group_ns;
            self.results(groups, width, Width::numbers(2.0), parts);
            self.results(groups, width, total(&results), 1.0);
        }
        self.walked.load_ns += input.rows * self.by.load_group_ns;
        self.walked.epoch_ns += touched * self.by.epoch_group_ns;
        let distinct =
            keys.iter().map(|key| Column { distinct: key.distinct.map(|values| values.min(groups)), ..*key });
        let one_key =
            |column: Column| if keys.len() == 1 { Column { distinct: Some(groups), ..column } } else { column };
        let columns = distinct.map(one_key).chain(results).collect();
        Relation { rows: groups, changes: (2.0 * input.changes).min(2.0 * groups), columns }
    }

    /// Keeps so many rows for each group.
    fn results(&mut self, groups: f64, key: Width, value: Width, rows: f64) {
        self.walked.load_ns += groups * rows * self.by.load_view_ns;
        self.walked.traces.push(Trace { rows: groups * rows, keys: groups, key, value });
    }

    fn window(&mut self, node: &Window) -> Relation {
        let input = self.relation(&node.input);
        let call = node.window_expr.iter().find_map(window_call);
        let partitions: Vec<&Expr> = call.iter().flat_map(|call| call.partition_by).collect();
        let keys = of_all(&partitions, &node.input, &input);
        let of_input = node.input.schema().fields().len();
        let results: Vec<Column> =
            node.schema.fields()[of_input..].iter().map(|field| Column::unknown(field)).collect();
        let count = self.groups(&input, &keys, None);
        let order = Width::numbers(1.0);
        let kept = order.plus(input.width());
        self.keep(Trace { rows: input.rows, keys: count, key: total(&keys), value: kept }, input.rows, input.changes);
        let computed = kept.plus(total(&results));
        let trace = Trace { rows: input.rows, keys: count, key: total(&keys), value: computed };
        let anew = input.changes.min(count) * (input.rows / count);
        self.keep(trace, input.rows, anew);
        self.walked.epoch_ns += anew * self.by.epoch_recompute_ns;
        let columns = input.columns.iter().copied().chain(results).collect();
        Relation { rows: input.rows, changes: input.changes.max(anew), columns }
    }

    fn extension(&mut self, node: &Extension, plan: &LogicalPlan) -> Relation {
        let unknown = |plan: &LogicalPlan| plan.schema().fields().iter().map(|field| Column::unknown(field)).collect();
        if let Some(top) = TopRows::of(node) {
            let input = self.relation(&top.input);
            let partitions: Vec<&Expr> = top.partition_by.iter().collect();
            let keys = of_all(&partitions, &top.input, &input);
            let count = self.groups(&input, &keys, None);
            let value = Width::numbers(top.order_by.len() as f64).plus(input.width());
            self.keep(Trace { rows: input.rows, keys: count, key: total(&keys), value }, input.rows, input.changes);
            let rows = input.rows.min(count * (top.skip + top.fetch) as f64);
            self.results(rows, Width::default(), value, 1.0);
            // The touched partitions are found, and their first rows are read.
            let found = input.changes.min(count);
            let read = (found * (top.skip + top.fetch) as f64).min(input.rows);
            self.walked.epoch_ns += found * self.by.epoch_find_ns + read * self.by.epoch_row_ns;
            return Relation { rows, changes: (2.0 * input.changes).min(2.0 * rows), ..input };
        }
        if let Some(unnest) = Unnest::of(node) {
            let input = self.relation(&unnest.input);
            self.assume(format!("a list has {LIST_ITEMS} items"));
            let (rows, changes) = (input.rows * LIST_ITEMS, input.changes * LIST_ITEMS);
            return Relation { rows, changes, columns: unknown(plan) };
        }
        if let Some(asof) = AsOf::of(node) {
            let (left, right) = (self.relation(&asof.left), self.relation(&asof.right));
            self.keep(Trace::flat(left.rows, left.width()), left.rows, left.changes);
            self.keep(Trace::flat(right.rows, right.width()), right.rows, right.changes);
            let per = if right.rows > 0.0 { left.rows / right.rows } else { 0.0 };
            let changes = left.changes + 2.0 * right.changes * per;
            self.walked.load_ns += left.rows * self.by.load_join_ns;
            self.walked.epoch_ns += changes * self.by.epoch_find_ns;
            let columns = left.columns.iter().chain(&right.columns).copied().collect();
            return Relation { rows: left.rows, changes, columns };
        }
        if let Some(threshold) = Threshold::of(node) {
            let bound = self.relation(&threshold.source);
            let input = self.relation(&threshold.input);
            let value = Width::numbers(1.0).plus(input.width());
            self.keep(Trace::flat(input.rows, value), input.rows, input.changes + bound.changes);
            let kept = self.said.filter.unwrap_or(1.0 / 3.0);
            let name = self.name.clone();
            self.assume(format!(
                "a comparison with a value keeps {:.3} % of the rows; --filter {name}=SHARE says better",
                kept * 100.0
            ));
            return Relation { rows: input.rows * kept, changes: input.changes * kept, ..input };
        }
        if let Some(recursion) = Recursion::of(node) {
            let start = self.relation(&recursion.start);
            self.assume(format!("a recursion comes to {RECURSION_ROWS} rows for each that it starts with"));
            let (rows, changes) = (start.rows * RECURSION_ROWS, start.changes * RECURSION_ROWS);
            let all = Relation { rows, changes, columns: start.columns.clone() };
            self.rounds.insert(recursion.name.clone(), all.clone());
            let term = self.relation(&recursion.term);
            if recursion.union == RecursiveUnion::Distinct {
                self.keep(Trace::flat(rows, all.width()), rows, changes + term.changes);
            }
            return all;
        }
        Relation { columns: unknown(plan), ..Relation::default() }
    }
}
