//! What several views compute alike. It has a circuit of its own, which the views read as they would read another view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DataFusionError};
use datafusion_expr::logical_plan::Distinct;
use datafusion_expr::{Expr, LogicalPlan, Projection, TableScan};
use tidegate_core::schema::as_own;
use tidegate_core::{RowIdentity, ViewInfo, ViewName};

use crate::error::PlanError;
use crate::fingerprint::{PartId, PlanId};
use crate::names::Relation;
use crate::program::{PlannedView, inputs_of};
use crate::semantics::{AsOf, Recursion, TopRows};
use crate::threshold::Threshold;

/// The views that read each part, directly or by other parts.
pub(crate) type Readers = BTreeMap<PartId, Vec<ViewName>>;

/// The circuits of some views of which `shared` are parts that have circuits of their own: each after what it reads. Also
/// answers those of the parts that there are, and who reads them.
pub(crate) fn cut(views: &[PlannedView], shared: &BTreeSet<PartId>) -> Result<(Vec<PlannedView>, Readers), PlanError> {
    let mut cutter = Cutter { shared, parts: BTreeMap::new(), circuits: Vec::new() };
    for view in views {
        let cut = cutter.cut(&view.plan, &view.info.name);
        let cut = cut.map_err(|error| PlanError::new(&view.info.name, error.into()))?;
        let view = match cut {
            Some(plan) => {
                let (plan_id, inputs) = (PlanId::of(&plan, &view.info), inputs_of(&plan));
                PlannedView { plan, plan_id, inputs, ..view.clone() }
            }
            None => view.clone(),
        };
        let check = view.check.as_deref().cloned();
        cutter.circuits.push(view);
        cutter.circuits.extend(check);
    }
    let Cutter { parts, circuits, .. } = cutter;
    let readers = parts.into_iter().map(|(id, index)| (id, circuits[index].readers.clone())).collect();
    Ok((circuits, readers))
}

/// Cuts shared parts out of plans.
struct Cutter<'a> {
    shared: &'a BTreeSet<PartId>,
    /// Where among the circuits those of the parts are.
    parts: BTreeMap<PartId, usize>,
    circuits: Vec<PlannedView>,
}

impl Cutter<'_> {
    /// The plan without its shared parts, which are scanned instead; `None` where there are none.
    fn cut(&mut self, plan: &LogicalPlan, reader: &ViewName) -> Result<Option<LogicalPlan>, DataFusionError> {
        if self.shared.is_empty() {
            return Ok(None);
        }
        match shareable(plan).filter(|id| self.shared.contains(id)) {
            Some(id) => self.scan(id, plan, reader).map(Some),
            None => self.cut_below(plan, reader),
        }
    }

    fn cut_below(&mut self, plan: &LogicalPlan, reader: &ViewName) -> Result<Option<LogicalPlan>, DataFusionError> {
        if is_closed(plan) {
            return Ok(None);
        }
        let below = plan.inputs().into_iter().map(|input| self.cut(input, reader));
        let below = below.collect::<Result<Vec<_>, DataFusionError>>()?;
        if below.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut below = below.into_iter();
        let cut = plan.clone().map_children(|input| {
            Ok(below.next().flatten().map_or_else(|| Transformed::no(input), Transformed::yes))
        })?;
        Ok(Some(cut.data))
    }

    /// Reads the part in the place of `plan`, which computes it; nothing above it sees a difference.
    fn scan(&mut self, id: PartId, plan: &LogicalPlan, reader: &ViewName) -> Result<LogicalPlan, DataFusionError> {
        let text = id.to_string();
        let name = ViewName::new(format!("#shared {}", &text[..16]));
        let info = info(&name, plan);
        if !self.parts.contains_key(&id) {
            let below = self.cut_below(plan, reader)?.unwrap_or_else(|| plan.clone());
            self.parts.insert(id, self.circuits.len());
            self.circuits.push(part(id, info.clone(), below)?);
        }
        self.is_read(id, plan, reader);
        let relation = Relation::of_view(&info);
        let table = relation.reference();
        let column = |field: &FieldRef| Expr::Column(Column::new(Some(table.clone()), field.name().as_str()));
        let columns = info.schema.fields().iter().map(column).collect();
        let all = (0..info.schema.fields().len()).collect();
        let scan = TableScan::try_new(table.clone(), Arc::new(relation), Some(all), Vec::new(), None)?;
        let scan = Arc::new(LogicalPlan::TableScan(scan));
        Ok(LogicalPlan::Projection(Projection::try_new_with_schema(columns, scan, Arc::clone(plan.schema()))?))
    }

    /// Notes that a view reads a part, and the parts in it.
    fn is_read(&mut self, id: PartId, plan: &LogicalPlan, reader: &ViewName) {
        let readers = self.parts.get(&id).map(|index| &mut self.circuits[*index].readers);
        if let Some(readers) = readers.filter(|readers| !readers.contains(reader)) {
            readers.push(reader.clone());
        }
        for_each_part(plan, &mut |inner, plan| {
            if inner != id && self.parts.contains_key(&inner) {
                self.is_read(inner, plan, reader);
                return false;
            }
            true
        });
    }
}

/// The circuit of a part.
fn part(id: PartId, info: ViewInfo, plan: LogicalPlan) -> Result<PlannedView, DataFusionError> {
    let columns = plan.schema().columns().into_iter().zip(info.schema.fields());
    let columns = columns.map(|(column, field)| Expr::Column(column).alias(field.name())).collect();
    let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?);
    let inputs = inputs_of(&plan);
    let plan_id = PlanId::of_part(id, &plan, &inputs);
    Ok(PlannedView {
        info,
        plan_id,
        inputs,
        plan,
        notes: Vec::new(),
        check: None,
        checks: None,
        readers: Vec::new(),
        shared: Readers::new(),
    })
}

/// A part as something to read: its columns are called by position, and of its rows nothing is known.
fn info(name: &ViewName, plan: &LogicalPlan) -> ViewInfo {
    let fields = plan.schema().fields().iter().enumerate();
    let fields = fields.map(|(index, field)| as_own(field).with_name(index.to_string()).with_nullable(true));
    ViewInfo::new(name.clone(), Arc::new(Schema::new(fields.collect::<Vec<_>>())), RowIdentity::WholeRow)
}

/// The parts that views may have in common with others, among those that are built (`fresh`). None of them is in
/// one that is not: it would have to be built again without it.
pub(crate) fn common(fresh: &[&LogicalPlan], going_on: &[&LogicalPlan], kept: &BTreeSet<PartId>) -> BTreeSet<PartId> {
    let mut sizes: BTreeMap<PartId, (usize, &LogicalPlan)> = BTreeMap::new();
    let mut seen: BTreeSet<PartId> = BTreeSet::new();
    for plan in fresh {
        let mut own: BTreeMap<PartId, &LogicalPlan> = BTreeMap::new();
        for_each_part(plan, &mut |id, part| {
            own.insert(id, part);
            true
        });
        for (id, part) in own {
            // One that is in a single plan is shared with nobody.
            if !seen.insert(id) {
                sizes.entry(id).or_insert_with(|| (size(part), part));
            }
        }
    }
    for plan in going_on {
        for_each_part(plan, &mut |id, _| {
            sizes.remove(&id);
            true
        });
    }
    let mut shared = kept.clone();
    let mut bodies: Vec<(Option<PartId>, &LogicalPlan)> = fresh.iter().map(|plan| (None, *plan)).collect();
    let mut candidates: Vec<(PartId, (usize, &LogicalPlan))> = sizes.into_iter().collect();
    // The largest first: what is in them has then been decided.
    candidates.sort_by_key(|(id, (size, _))| (std::cmp::Reverse(*size), *id));
    for (id, (_, plan)) in candidates {
        if !shared.contains(&id) && bodies.iter().filter(|(own, body)| shows(body, *own, id, &shared)).count() > 1 {
            shared.insert(id);
            bodies.push((Some(id), plan));
        }
    }
    shared
}

/// Whether a part is in a plan outside of those that are shared.
fn shows(body: &LogicalPlan, own: Option<PartId>, wanted: PartId, shared: &BTreeSet<PartId>) -> bool {
    let mut found = false;
    for_each_part(body, &mut |id, _| {
        found |= id == wanted;
        !found && (own == Some(id) || !shared.contains(&id))
    });
    found
}

/// Calls `visit` for each part of a plan that may be shared; those in it follow where it answers so.
fn for_each_part<'a>(plan: &'a LogicalPlan, visit: &mut impl FnMut(PartId, &'a LogicalPlan) -> bool) {
    if shareable(plan).is_none_or(|id| visit(id, plan)) && !is_closed(plan) {
        plan.inputs().into_iter().for_each(|input| for_each_part(input, visit));
    }
}

fn size(plan: &LogicalPlan) -> usize {
    1 + plan.inputs().into_iter().map(size).sum::<usize>()
}

/// Whether a node is one with what is below it: a recursion's term reads the rounds.
fn is_closed(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Extension(node) if Recursion::of(node).is_some())
}

/// What a node with state computes.
pub(crate) fn shareable(plan: &LogicalPlan) -> Option<PartId> {
    let has_state = match plan {
        LogicalPlan::Join(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => true,
        LogicalPlan::Extension(node) => {
            TopRows::of(node).is_some()
                || AsOf::of(node).is_some()
                || Threshold::of(node).is_some()
                || Recursion::of(node).is_some()
        }
        _ => false,
    };
    has_state.then(|| part_id(plan))
}

fn part_id(plan: &LogicalPlan) -> PartId {
    match plan {
        // Only its columns are called something else.
        LogicalPlan::SubqueryAlias(alias) => part_id(&alias.input),
        _ => PartId::of_node(plan, &plan.inputs().into_iter().map(part_id).collect::<Vec<_>>()),
    }
}

impl PartId {
    /// What a plan computes.
    pub fn of(plan: &LogicalPlan) -> Self {
        part_id(plan)
    }
}
