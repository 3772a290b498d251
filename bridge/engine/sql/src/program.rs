//! Planned views over known tables.

use std::collections::{BTreeMap, BTreeSet};

use datafusion_expr::LogicalPlan;
use serde::{Deserialize, Serialize};
use tidegate_core::{Binder, DeclaredColumn, RowIdentity, TableSchema, ViewInfo, ViewName};

use crate::error::{PlanError, Refusal};
use crate::fingerprint::{PartId, PlanId};
use crate::names::{Input, Names, Relation};
use crate::optimise::optimise;
use crate::output::declare;
use crate::resolve::resolve;
use crate::semantics::{bind_plan, expand_grouping_sets, narrow_unnests};
use crate::shared::Readers;
use crate::threshold::thresholds;
use crate::validate::validate;
use crate::{Cost, cost, explain, identity, parse, shared, syntax, virtual_columns};

/// A view as the pipeline file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDef {
    /// Its name.
    pub name: ViewName,
    /// Its query.
    pub sql: String,
    /// The columns by which its rows are told apart, where the pipeline file says so.
    pub key: Option<Vec<String>>,
}

/// Everything a program is planned from; with it, the same program is planned again without
/// asking DuckDB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramDefinition {
    /// The tables that some view reads, by name.
    pub tables: Vec<TableSchema>,
    /// The views, those that are read before those that read them.
    pub views: Vec<ViewDef>,
    /// The columns of each view, as DuckDB names and types them.
    pub columns: Vec<Vec<DeclaredColumn>>,
    /// What several views compute alike and have one circuit for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub shared: BTreeSet<PartId>,
}

/// A view with its plan.
#[derive(Debug, Clone)]
pub struct PlannedView {
    /// Name, columns and row identity of the view.
    pub info: ViewInfo,
    /// What the view's state belongs to.
    pub plan_id: PlanId,
    /// The tables and views it reads, each once, sorted.
    pub inputs: Vec<Input>,
    /// The optimised and validated plan. Its root has the view's columns.
    pub plan: LogicalPlan,
    /// What a person should know of how the SQL was read.
    pub notes: Vec<&'static str>,
    /// Where the view declares a key that does not follow from its plan: the values of the key that several rows have, of which
    /// there must be none after any epoch.
    pub check: Option<Box<PlannedView>>,
    /// The view whose key this one checks; its rows are violations, and nobody else's.
    pub checks: Option<ViewName>,
    /// Of the circuit of a part that views share: these views. Empty for a view.
    pub readers: Vec<ViewName>,
    /// The parts of the plan that have a circuit of their own, and which other views read them.
    pub(crate) shared: Readers,
}

impl PlannedView {
    /// Whether it is what a pipeline file calls a view, and not a check of its key or a part that views share.
    pub fn is_view(&self) -> bool {
        self.checks.is_none() && self.readers.is_empty()
    }

    /// The view whose SQL says what this computes; of a part that several share, the first of them.
    pub fn origin(&self) -> &ViewName {
        self.readers.first().unwrap_or(&self.info.name)
    }

    /// The tree of operators with row identity, strategy, state and cost, one line each.
    pub fn explain_text(&self) -> String {
        let check = self
            .check
            .iter()
            .map(|check| format!("Check of the declared key\n{}", explain::text_at(&check.plan, 1, &check.shared)));
        std::iter::once(explain::text_at(&self.plan, 0, &self.shared)).chain(check).collect()
    }

    /// The same as JSON: `operator`, `detail`, `row_identity`, `strategy`, `state`, `cost`, `inputs`.
    pub fn explain_json(&self) -> serde_json::Value {
        explain::json(&self.plan, &self.shared)
    }

    /// The greatest cost of its operators.
    pub fn cost(&self) -> Cost {
        self.costs().into_iter().next_back().unwrap_or(Cost::Change)
    }

    /// What an epoch costs beside the changed rows and those that meet them; nothing for most views.
    pub fn costs(&self) -> BTreeSet<Cost> {
        cost::costs(&self.plan)
    }

    fn checked(self, key: &[usize], columns: &[DeclaredColumn], names: &Names) -> Result<Self, Refusal> {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let columns: Vec<DeclaredColumn> = key.iter().map(|column| columns[*column].clone()).collect();
        let of_key = columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
        let view = quoted(self.info.name.as_str());
        let definition = ViewDef {
            name: ViewName::new(format!("#key of {}", self.info.name)),
            sql: format!("SELECT {of_key} FROM {view} GROUP BY {of_key} HAVING count(*) > 1"),
            key: None,
        };
        let names = names.with_view(&self.info);
        let check = plan_view(&definition, Ok(columns), &names);
        let (check, _) = check
            .map_err(|refusal| Refusal::new(format!("the declared key cannot be checked: {}", refusal.message)))?;
        let check = PlannedView { checks: Some(self.info.name.clone()), ..check };
        Ok(PlannedView { check: Some(Box::new(check)), ..self })
    }
}

const ORDER_LEFT_OUT: &str = "its ORDER BY is left out: a view is a multiset; order when you query it, or add LIMIT";

/// Planned views over known tables.
#[derive(Debug, Clone)]
pub struct Program {
    definition: ProgramDefinition,
    views: Vec<PlannedView>,
    circuits: Vec<PlannedView>,
}

impl Program {
    /// Plans all views. `tables` are the schemas of every table the views use; others may be
    /// among them. `views` may be in any order. The tables of the program have those virtual columns that some view reads. One error a
    /// faulty view.
    pub fn plan(tables: Vec<TableSchema>, views: Vec<ViewDef>, binder: &dyn Binder) -> Result<Program, Vec<PlanError>> {
        let views = in_order(views)?;
        let sources: Vec<(ViewName, String)> = views.iter().map(|v| (v.name.clone(), v.sql.clone())).collect();
        let mut columns = Vec::with_capacity(views.len());
        for described in binder.describe(&tables, &sources) {
            columns.push(described.map_err(|error| error.message));
        }
        let program = build(tables.clone(), views, columns.clone())?;
        let wanted = virtual_columns::wanted(&tables, &program);
        if wanted == tables {
            return Ok(program);
        }
        // Where columns are that nobody reads must not matter.
        build(wanted, program.definition.views, columns)
    }

    /// The same without asking DuckDB again: from what a checkpoint recorded.
    pub fn from_definition(definition: ProgramDefinition) -> Result<Program, Vec<PlanError>> {
        let ProgramDefinition { tables, views, columns, shared } = definition;
        build(tables, views, columns.into_iter().map(Ok).collect())?.with_shared(shared)
    }

    /// The same program where parts that several views compute alike have a circuit of their own, which these views read. Views
    /// whose circuits `present` has, and the parts that they read there, stay as they are, so that their state serves on.
    pub fn sharing(self, present: Option<&Program>) -> Result<Program, Vec<PlanError>> {
        let kept = present.map(|present| present.definition.shared.clone()).unwrap_or_default();
        let program = self.with_shared(kept)?;
        let goes_on = |view: &PlannedView| {
            let circuit = |program: &Program| {
                program.circuits.iter().find(|circuit| circuit.info.name == view.info.name).map(|view| view.plan_id)
            };
            present.is_some_and(|present| circuit(present) == circuit(&program))
        };
        let (going_on, fresh): (Vec<_>, Vec<_>) = program.views.iter().partition(|view| goes_on(view));
        let fresh: Vec<&LogicalPlan> = fresh.iter().map(|view| &view.plan).collect();
        let going_on: Vec<&LogicalPlan> = going_on.iter().map(|view| &view.plan).collect();
        let shared = shared::common(&fresh, &going_on, &program.definition.shared);
        program.with_shared(shared)
    }

    /// Cuts these parts out of the views; those that no view has are forgotten.
    fn with_shared(mut self, shared: BTreeSet<PartId>) -> Result<Program, Vec<PlanError>> {
        let (circuits, readers) = shared::cut(&self.views, &shared).map_err(|error| vec![error])?;
        self.circuits = circuits;
        for view in &mut self.views {
            let with_others = readers.iter().filter_map(|(id, readers)| {
                let (own, others): (Vec<_>, Vec<_>) = readers.iter().cloned().partition(|name| *name == view.info.name);
                (!own.is_empty() && !others.is_empty()).then_some((*id, others))
            });
            view.shared = with_others.collect();
        }
        self.definition.shared = readers.into_keys().collect();
        Ok(self)
    }

    /// What to record for [`from_definition`](Program::from_definition).
    pub fn definition(&self) -> &ProgramDefinition {
        &self.definition
    }

    /// The tables that some view reads.
    pub fn tables(&self) -> &[TableSchema] {
        &self.definition.tables
    }

    /// The views, those that are read before those that read them.
    pub fn views(&self) -> &[PlannedView] {
        &self.views
    }

    /// What has a circuit: the parts that views share, each view, and after it the check of its key, if it has one. All
    /// come after what they read.
    pub fn circuits(&self) -> &[PlannedView] {
        &self.circuits
    }

    /// Whether some view compares with the time of the epoch.
    pub fn reads_time(&self) -> bool {
        self.views.iter().any(|view| view.inputs.contains(&Input::Clock))
    }

    /// A view by its exact name.
    pub fn view(&self, name: &ViewName) -> Option<&PlannedView> {
        self.views.iter().find(|view| view.info.name == *name)
    }
}

fn build(
    tables: Vec<TableSchema>,
    definitions: Vec<ViewDef>,
    columns: Vec<Result<Vec<DeclaredColumn>, String>>,
) -> Result<Program, Vec<PlanError>> {
    let mut names = Names::new(&tables);
    let mut views: Vec<PlannedView> = Vec::with_capacity(definitions.len());
    let mut declared = Vec::with_capacity(definitions.len());
    let mut errors: Vec<PlanError> = Vec::new();
    let mut columns = columns.into_iter();
    for definition in &definitions {
        let described = columns.next().unwrap_or_else(|| Err("DuckDB did not answer for this view".to_owned()));
        let faulty =
            reads(definition).into_iter().find(|read| errors.iter().any(|e| e.view.0.eq_ignore_ascii_case(read)));
        let planned = match faulty {
            Some(upstream) => Err(Refusal::new(format!(
                "it reads the view {upstream}, which cannot be planned: correct that one first"
            ))),
            None => plan_view(definition, described, &names),
        };
        match planned {
            Ok((view, described)) => {
                names.add_view(&view.info);
                views.push(view);
                declared.push(described);
            }
            Err(refusal) => errors.push(PlanError::new(&definition.name, refusal)),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let used: BTreeSet<&Input> = views.iter().flat_map(|v| &v.inputs).collect();
    let mut tables: Vec<TableSchema> =
        tables.iter().filter(|t| used.contains(&Input::Table(t.name.clone()))).cloned().collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let definition = ProgramDefinition { tables, views: definitions, columns: declared, shared: BTreeSet::new() };
    Program { definition, views, circuits: Vec::new() }.with_shared(BTreeSet::new())
}

fn plan_view(
    definition: &ViewDef,
    described: Result<Vec<DeclaredColumn>, String>,
    names: &Names,
) -> Result<(PlannedView, Vec<DeclaredColumn>), Refusal> {
    let mut query = parse::parse(&definition.sql)?;
    let notes = if syntax::take_order(&mut query) { vec![ORDER_LEFT_OUT] } else { Vec::new() };
    syntax::prepare(&mut query, names)?;
    virtual_columns::check_spread(&query, names)?;
    let bound = bind_plan(resolve(query, names)?)?;
    virtual_columns::check_refused(&bound, &definition.sql)?;
    let columns = described.map_err(Refusal::new)?;
    let (plan, schema) = declare(bound, &columns)?;
    let plan = thresholds(narrow_unnests(expand_grouping_sets(optimise(plan)?)?)?)?;
    validate(&plan)?;
    let derived = identity::identity(&plan);
    let (identity, unproven) = match &definition.key {
        Some(key) => {
            let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            let declared = identity::declared(key, &names)?;
            let unproven = (!identity::follows(&derived, &declared)).then(|| declared.clone());
            (RowIdentity::Key(declared), unproven)
        }
        None => (derived, None),
    };
    let info = ViewInfo::new(definition.name.clone(), schema, identity);
    let plan_id = PlanId::of(&plan, &info);
    let inputs = inputs_of(&plan);
    let view = PlannedView {
        info,
        plan_id,
        inputs,
        plan,
        notes,
        check: None,
        checks: None,
        readers: Vec::new(),
        shared: Readers::new(),
    };
    let view = match unproven {
        Some(key) => view.checked(&key, &columns, names)?,
        None => view,
    };
    Ok((view, columns))
}

/// The tables and views that a plan reads, each once, sorted.
pub(crate) fn inputs_of(plan: &LogicalPlan) -> Vec<Input> {
    let mut inputs = BTreeSet::new();
    collect_inputs(plan, &mut inputs);
    inputs.into_iter().collect()
}

fn collect_inputs(plan: &LogicalPlan, inputs: &mut BTreeSet<Input>) {
    if let LogicalPlan::TableScan(scan) = plan {
        inputs.extend(Relation::of(scan.source.as_ref()).map(|relation| relation.input.clone()));
    }
    plan.inputs().into_iter().for_each(|input| collect_inputs(input, inputs));
}

/// The bare names a view reads; none when its SQL cannot be parsed, which planning will say.
fn reads(definition: &ViewDef) -> Vec<String> {
    let references = parse::table_references(&definition.sql).unwrap_or_default();
    references.into_iter().filter_map(|parts| <[String; 1]>::try_from(parts).ok()).map(|[name]| name).collect()
}

/// Views that are read before those that read them, otherwise in the given order.
fn in_order(views: Vec<ViewDef>) -> Result<Vec<ViewDef>, Vec<PlanError>> {
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for (position, view) in views.iter().enumerate() {
        if by_name.insert(view.name.0.to_ascii_lowercase(), position).is_some() {
            let refusal =
                Refusal::new("another view has this name, and names match whatever their case: rename one of them");
            return Err(vec![PlanError::new(&view.name, refusal)]);
        }
    }
    let edges: Vec<Vec<usize>> = views
        .iter()
        .map(|view| reads(view).iter().filter_map(|name| by_name.get(&name.to_ascii_lowercase()).copied()).collect())
        .collect();
    let mut placed = vec![false; views.len()];
    let mut order: Vec<usize> = Vec::with_capacity(views.len());
    while order.len() < views.len() {
        let ready = (0..views.len()).find(|i| !placed[*i] && edges[*i].iter().all(|upstream| placed[*upstream]));
        let Some(ready) = ready else {
            let circle = (0..views.len()).filter(|i| !placed[*i]).map(|i| {
                let refusal = Refusal::new("it reads itself, directly or through other views: break the circle");
                PlanError::new(&views[i].name, refusal)
            });
            return Err(circle.collect());
        };
        placed[ready] = true;
        order.push(ready);
    }
    let mut views: Vec<Option<ViewDef>> = views.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|i| views[i].take()).collect())
}
