//! Rebuilds: views get fresh circuits, loaded from a snapshot, and what goes downstream is the
//! difference to what the views held before.
//!
//! One mechanism for the initial load, new and changed views, another number of workers, expired
//! snapshots and changed tables. The old circuits go on until the end, so an aborted rebuild
//! leaves everything as it was.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::{DeltaKind, RowIdentity, TableEvent, TableName, ViewDelta, ViewName};
use tidegate_engine_sql::{Input, PlannedView, Program};

use crate::EngineError;
use crate::delta::view_delta;
use crate::engine::{Deltas, Engine, weighted_rows};
use crate::node::Node;
use crate::state;
use crate::table::TableState;

/// Rows that are loaded in one step.
const LOAD_STEP_ROWS: u64 = 500_000;

/// Which views get fresh circuits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildScope {
    /// New ones, and those whose plan or number of workers is another.
    Changed,
    /// All of them.
    All,
}

/// A rebuild under way.
pub(crate) struct Rebuild {
    program: Program,
    /// The circuits that are being loaded.
    fresh: BTreeMap<ViewName, Node>,
    /// States of keyed tables that are being loaded from nothing.
    tables: BTreeMap<TableName, TableState>,
    /// Known keyed tables whose content is being replaced.
    reloaded: BTreeSet<TableName>,
}

impl Rebuild {
    /// The folders of what is being loaded.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        let views = self.fresh.values().map(|node| node.folder.as_str());
        views.chain(self.tables.values().map(|state| state.folder.as_str()))
    }
}

impl Engine {
    /// The views that `program` would rebuild under [`RebuildScope::Changed`]; views that it drops
    /// are not among them.
    pub fn would_rebuild(&self, program: &Program) -> Vec<ViewName> {
        let changed = program.views().iter().filter(|view| self.is_changed(view));
        changed.map(|view| view.info.name.clone()).collect()
    }

    fn is_changed(&self, view: &PlannedView) -> bool {
        self.nodes
            .get(&view.info.name)
            .is_none_or(|node| node.plan_id != view.plan_id || node.workers != self.options.workers)
    }

    /// Starts a rebuild and answers which tables must be loaded whole. Feeding and stepping the
    /// present circuits is not allowed until it has ended.
    pub fn begin_rebuild(&mut self, program: Program, scope: RebuildScope) -> Result<Vec<TableName>, EngineError> {
        self.check()?;
        self.abort_rebuild();
        let mut rebuild = Rebuild {
            program: program.clone(),
            fresh: BTreeMap::new(),
            tables: BTreeMap::new(),
            reloaded: BTreeSet::new(),
        };
        let mut wanted: Vec<TableName> = Vec::new();
        for view in program.views().iter().filter(|view| scope == RebuildScope::All || self.is_changed(view)) {
            let folder = self.free_folder(view.info.name.as_str(), &rebuild);
            let node = Node::create(view, &self.dir, folder, &self.options)?;
            rebuild.fresh.insert(view.info.name.clone(), node);
            for input in &view.inputs {
                let Input::Table(name) = input else { continue };
                if wanted.contains(name) {
                    continue;
                }
                let schema = program.tables().iter().find(|table| table.name == *name);
                let schema =
                    schema.ok_or(EngineError::Misuse("a view reads a table that its program does not list"))?;
                if matches!(schema.identity, RowIdentity::Key(_)) {
                    match self.tables.get(name).filter(|state| state.schema == *schema) {
                        Some(_) if scope == RebuildScope::Changed => continue,
                        Some(_) => {
                            rebuild.reloaded.insert(name.clone());
                        }
                        None => {
                            let folder = self.free_folder(&name.table, &rebuild);
                            let state = TableState::open(schema.clone(), &self.dir, folder, &self.options, None)?;
                            rebuild.tables.insert(name.clone(), state);
                        }
                    }
                }
                wanted.push(name.clone());
            }
        }
        for name in &rebuild.reloaded {
            if let Some(state) = self.tables.get_mut(name) {
                state.feed(TableEvent::Replace)?;
            }
        }
        self.rebuild = Some(rebuild);
        Ok(wanted)
    }

    /// A folder name that no other circuit has: the node's name and the first free number.
    fn free_folder(&self, name: &str, rebuild: &Rebuild) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let stem: String = name.chars().map(plain).take(40).collect();
        let taken = |name: &str| rebuild.folders().any(|folder| folder == name) || self.dir.join(name).exists();
        (1u64..).map(|number| format!("{stem}-{number}")).find(|name| !taken(name)).expect("numbers do not run out")
    }

    /// Feeds rows of a table to what is being loaded.
    pub fn load(&mut self, table: &TableName, event: TableEvent) -> Result<(), EngineError> {
        let rebuild = self.rebuild.as_mut().ok_or(EngineError::Misuse("no rebuild has begun"))?;
        if let Some(state) = rebuild.tables.get_mut(table) {
            state.feed(event)?;
            if state.pending() >= LOAD_STEP_ROWS {
                state.step()?;
            }
            return Ok(());
        }
        if rebuild.reloaded.contains(table) {
            let state = self.tables.get_mut(table).ok_or(EngineError::Misuse("a reloaded table has a state"))?;
            return state.feed(event);
        }
        let zset = weighted_rows(table, event)?;
        let input = Input::Table(table.clone());
        for node in rebuild.fresh.values_mut().filter(|node| node.reads(&input)) {
            node.load_chunk(&input, &zset, LOAD_STEP_ROWS)?;
        }
        Ok(())
    }

    /// Puts the fresh circuits in the place of the old ones. New views and views with other
    /// columns are answered as [`DeltaKind::Replace`] without batches; rebuilt views with the same
    /// columns and everything downstream of them as changes.
    pub fn finish_rebuild(&mut self) -> Result<Vec<ViewDelta>, EngineError> {
        self.check()?;
        let Rebuild { program, mut fresh, tables, reloaded } =
            self.rebuild.take().ok_or(EngineError::Misuse("no rebuild has begun"))?;
        let mut deltas = Deltas::default();
        self.unless_failed(|engine| {
            for (name, mut state) in tables {
                state.step()?;
                if let Some(old) = engine.tables.insert(name, state) {
                    old.stop();
                }
            }
            for name in &reloaded {
                if let Some(state) = engine.tables.get_mut(name) {
                    state.step()?;
                }
            }
            for view in program.views() {
                match fresh.remove(&view.info.name) {
                    Some(node) => engine.put_in_place(view, node, &mut deltas)?,
                    None => engine.step_view(view, &mut deltas)?,
                }
            }
            let known = |name: &ViewName| program.views().iter().any(|view| view.info.name == *name);
            let dropped: Vec<ViewName> = engine.nodes.keys().filter(|name| !known(name)).cloned().collect();
            dropped.iter().filter_map(|name| engine.nodes.remove(name)).for_each(Node::stop);
            let used = |name: &TableName| program.tables().iter().any(|table| table.name == *name);
            let unused: Vec<TableName> = engine.tables.keys().filter(|name| !used(name)).cloned().collect();
            unused.iter().filter_map(|name| engine.tables.remove(name)).for_each(TableState::stop);
            Ok(())
        })?;
        self.program = Some(program);
        Ok(deltas.in_order)
    }

    /// Completes a fresh circuit whose tables are loaded and whose upstream views are up to date.
    fn put_in_place(&mut self, view: &PlannedView, mut node: Node, deltas: &mut Deltas) -> Result<(), EngineError> {
        for input in &view.inputs {
            match input {
                Input::View(upstream) => {
                    for chunk in self.rows(upstream)? {
                        node.load_chunk(input, &chunk?, LOAD_STEP_ROWS)?;
                    }
                }
                Input::Table(table) => {
                    let Some(state) = self.tables.get(table) else { continue };
                    for chunk in state.chunks() {
                        node.load_chunk(input, &chunk?, LOAD_STEP_ROWS)?;
                    }
                }
            }
        }
        node.load()?;
        deltas.in_order.extend(replaced(self.nodes.get(&view.info.name), &node)?);
        if let Some(old) = self.nodes.insert(view.info.name.clone(), node) {
            old.stop();
        }
        Ok(())
    }

    /// Forgets a rebuild that has begun.
    pub fn abort_rebuild(&mut self) {
        let Some(rebuild) = self.rebuild.take() else { return };
        rebuild.fresh.into_values().for_each(Node::stop);
        rebuild.tables.into_values().for_each(TableState::stop);
        for name in &rebuild.reloaded {
            if let Some(state) = self.tables.get_mut(name) {
                state.discard();
            }
        }
    }
}

/// What goes downstream when `new` takes the place of `old`.
fn replaced(old: Option<&Node>, new: &Node) -> Result<Option<ViewDelta>, EngineError> {
    let view = new.info.name.clone();
    let Some(old) = old.filter(|old| old.info.schema == new.info.schema) else {
        return Ok(Some(ViewDelta { view, kind: DeltaKind::Replace, batches: Vec::new() }));
    };
    let (Some(before), Some(after)) = (old.state(), new.state()) else {
        return Err(EngineError::Misuse("a circuit without a step has no state"));
    };
    let changes = state::difference(before, after);
    if changes.is_empty() {
        return Ok(None);
    }
    view_delta(&new.info, &new.codec, &changes, Some(before)).map(Some)
}
