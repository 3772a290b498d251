//! Rebuilds: views get fresh circuits, and tables fresh states, loaded from a snapshot; what goes
//! downstream is the difference to what the views held before.
//!
//! One mechanism for the initial load, new and changed views, another number of workers, expired
//! snapshots, changed tables and tables that are read anew. The old circuits and states go on until the
//! end, so an aborted rebuild leaves everything as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tidegate_core::{DeltaKind, TableEvent, TableName, TableSchema, ViewDelta, ViewName};
use tidegate_engine_sql::{Input, PlannedView, Program};

use crate::EngineError;
use crate::delta::view_delta;
use crate::engine::{Deltas, Engine, ranks};
use crate::node::Node;
use crate::parallel::side_by_side;
use crate::readers::{Readers, weighted_rows};
use crate::state;
use crate::table::{TableState, unread};

/// What is built or read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebuildScope {
    /// New views, and those whose plan, number of workers or table is another.
    Changed,
    /// All views, from tables that are read anew.
    All,
    /// Like [`Changed`](RebuildScope::Changed), and these tables are read anew. Where the engine keeps their
    /// content, their views only get the difference; other views of theirs are built anew.
    Tables(BTreeSet<TableName>),
}

impl RebuildScope {
    fn reads_anew(&self, table: &TableName) -> bool {
        match self {
            RebuildScope::Changed => false,
            RebuildScope::All => true,
            RebuildScope::Tables(tables) => tables.contains(table),
        }
    }
}

/// A rebuild under way.
pub(crate) struct Rebuild {
    program: Program,
    /// The circuits that are being loaded.
    fresh: BTreeMap<ViewName, Node>,
    /// States of tables that are being loaded from nothing.
    tables: BTreeMap<TableName, TableState>,
    /// Tables whose states go on; events may take them to the positions of the rebuild.
    kept: BTreeSet<TableName>,
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
    pub fn would_rebuild(&self, program: &Program) -> Result<Vec<ViewName>, EngineError> {
        let program = self.shared(program.clone(), &RebuildScope::Changed)?;
        let changed = self.changed_views(&program, &RebuildScope::Changed).filter(|view| view.is_view());
        Ok(changed.map(|view| view.info.name.clone()).collect())
    }

    /// The tables whose rows have to be read from their sources to build under [`RebuildScope::Changed`] what `program` has
    /// anew: of others the engine keeps the rows, or nothing new reads them.
    pub fn would_read(&self, program: &Program) -> Result<Vec<TableName>, EngineError> {
        let program = self.shared(program.clone(), &RebuildScope::Changed)?;
        let fresh: Vec<&PlannedView> = self.changed_views(&program, &RebuildScope::Changed).collect();
        let is_read = |table: &&TableSchema| {
            let input = Input::Table(table.name.clone());
            !self.has_state(table)
                && (TableState::is_kept(table) || fresh.iter().any(|view| view.inputs.contains(&input)))
        };
        Ok(program.tables().iter().filter(is_read).map(|table| table.name.clone()).collect())
    }

    /// The program with circuits for what its views have in common, as far as it lets those circuits be that go on.
    fn shared(&self, program: Program, scope: &RebuildScope) -> Result<Program, EngineError> {
        if !self.options.shortcuts.shared {
            return Ok(program);
        }
        let present = self.program.as_deref().filter(|_| *scope != RebuildScope::All);
        program.sharing(present).map_err(EngineError::Plan)
    }

    fn changed_views<'a>(
        &'a self,
        program: &'a Program,
        scope: &RebuildScope,
    ) -> impl Iterator<Item = &'a PlannedView> + 'a {
        // Of these tables it cannot be told what is different.
        let is_incomparable = |table: &&TableSchema| {
            !self.has_state(table) && (TableState::is_kept(table) || scope.reads_anew(&table.name))
        };
        let tables = program.tables().iter().filter(is_incomparable);
        let incomparable: BTreeSet<Input> = tables.map(|table| Input::Table(table.name.clone())).collect();
        let all = *scope == RebuildScope::All;
        program.circuits().iter().filter(move |view| {
            all || self.is_changed(view) || view.inputs.iter().any(|input| incomparable.contains(input))
        })
    }

    fn is_changed(&self, view: &PlannedView) -> bool {
        self.nodes
            .get(&view.info.name)
            .is_none_or(|node| node.plan_id != view.plan_id || node.workers != self.options.workers)
    }

    fn has_state(&self, table: &TableSchema) -> bool {
        self.tables.get(&table.name).is_some_and(|state| state.schema == *table)
    }

    /// Starts a rebuild and answers which tables must be loaded whole. Feeding and stepping the
    /// present circuits is not allowed until it has ended.
    pub fn begin_rebuild(&mut self, program: Program, scope: RebuildScope) -> Result<Vec<TableName>, EngineError> {
        self.check()?;
        let program = self.shared(program, &scope)?;
        self.abort_rebuild();
        let mut rebuild = Rebuild {
            program: program.clone(),
            fresh: BTreeMap::new(),
            tables: BTreeMap::new(),
            kept: BTreeSet::new(),
        };
        for view in self.changed_views(&program, &scope) {
            let folder = free_folder(&self.dir, view.info.name.as_str());
            let node = Node::create(view, &self.dir, folder, &self.options)?;
            rebuild.fresh.insert(view.info.name.clone(), node);
        }
        let mut wanted: Vec<TableName> = Vec::new();
        for table in program.tables() {
            if self.has_state(table) && !scope.reads_anew(&table.name) {
                rebuild.kept.insert(table.name.clone());
                continue;
            }
            let input = Input::Table(table.name.clone());
            if TableState::is_kept(table) {
                let folder = free_folder(&self.dir, &table.name.table);
                let state = TableState::open(table.clone(), &self.dir, folder, &self.options, None)?;
                rebuild.tables.insert(table.name.clone(), state);
            } else if !rebuild.fresh.values().any(|node| node.reads(&input)) {
                continue;
            }
            wanted.push(table.name.clone());
        }
        self.rebuild = Some(rebuild);
        Ok(wanted)
    }

    /// Feeds the content of a table that is loaded, or an event that takes the state of another one from
    /// its present position to that of the rebuild.
    pub fn load(&mut self, table: &TableName, event: TableEvent) -> Result<(), EngineError> {
        let pace = self.pace();
        let rebuild = self.rebuild.as_mut().ok_or(EngineError::Misuse("no rebuild has begun"))?;
        if let Some(state) = rebuild.tables.get_mut(table) {
            return state.feed(event, pace.part_rows, &mut unread);
        }
        if rebuild.kept.contains(table) {
            let state = self.tables.get_mut(table).ok_or(EngineError::Misuse("a kept table has a state"))?;
            // Nothing is applied before the end, so that it can be discarded.
            return state.feed(event, u64::MAX, &mut unread);
        }
        Readers::of(table, rebuild.fresh.values_mut(), pace).feed(&weighted_rows(table, event)?)
    }

    /// Puts the fresh circuits and states in the place of the old ones, and the kept states where they
    /// were taken to. New views and views with other columns or another row identity are answered as
    /// [`DeltaKind::Replace`] without batches; other rebuilt views, readers of tables that changed meanwhile
    /// and everything downstream of them as changes.
    pub fn finish_rebuild(&mut self) -> Result<Vec<ViewDelta>, EngineError> {
        self.check()?;
        let Rebuild { program, mut fresh, tables, kept } =
            self.rebuild.take().ok_or(EngineError::Misuse("no rebuild has begun"))?;
        let mut deltas = Deltas::default();
        self.unless_failed(|engine| {
            let pace = engine.pace();
            let goes_on = |view: &ViewName| has_circuit(&program, view) && !fresh.contains_key(view);
            let mut nodes: Vec<&mut Node> = engine.nodes.values_mut().filter(|node| goes_on(&node.info.name)).collect();
            engine.clock.strike(nodes.iter_mut().map(|node| &mut **node), pace.part_rows)?;
            for (name, mut state) in tables {
                state.step(&mut unread)?;
                let mut readers = Readers::of(&name, nodes.iter_mut().map(|node| &mut **node), pace);
                if let Some(old) = engine.tables.remove(&name) {
                    if old.schema == state.schema && !readers.is_empty() {
                        old.difference(&state, &mut |part| readers.feed_part(&part))?;
                    }
                    old.stop();
                }
                engine.tables.insert(name, state);
            }
            for name in &kept {
                let mut readers = Readers::of(name, nodes.iter_mut().map(|node| &mut **node), pace);
                if let Some(state) = engine.tables.get_mut(name) {
                    state.step(&mut |part| readers.feed_part(&part))?;
                }
            }
            engine.drop_all_but(&program);
            for rank in ranks(&program) {
                engine.build(&rank, &mut fresh, &mut deltas)?;
            }
            Ok(())
        })?;
        let deltas = deltas.in_order(Some(&program));
        self.program = Some(Arc::new(program));
        Ok(deltas)
    }

    /// Stops what a program does not use.
    fn drop_all_but(&mut self, program: &Program) {
        let dropped: Vec<ViewName> = self.nodes.keys().filter(|name| !has_circuit(program, name)).cloned().collect();
        dropped.iter().filter_map(|name| self.nodes.remove(name)).for_each(Node::stop);
        let used =
            |name: &TableName| program.tables().iter().any(|table| table.name == *name && TableState::is_kept(table));
        let unused: Vec<TableName> = self.tables.keys().filter(|name| !used(name)).cloned().collect();
        unused.iter().filter_map(|name| self.tables.remove(name)).for_each(TableState::stop);
    }

    /// Completes the fresh circuits among the views of a rank, whose tables are loaded and whose upstream views are up to
    /// date, and steps the others.
    fn build(
        &mut self,
        rank: &[&PlannedView],
        fresh: &mut BTreeMap<ViewName, Node>,
        deltas: &mut Deltas,
    ) -> Result<(), EngineError> {
        let mut built = Vec::new();
        let mut going_on = Vec::new();
        for &view in rank {
            match fresh.remove(&view.info.name) {
                Some(mut node) => {
                    self.fill(view, &mut node)?;
                    built.push((view, node));
                }
                None => {
                    self.feed_upstream(view, deltas)?;
                    going_on.push(view);
                }
            }
        }
        side_by_side(self.options.threads(), &mut built, |(_, node)| {
            node.load()?;
            node.check_key()
        })?;
        for (view, node) in built {
            self.put_in_place(view, node, deltas)?;
        }
        self.step_views(&going_on, deltas)
    }

    /// Feeds a fresh circuit what the engine holds of its inputs.
    fn fill(&self, view: &PlannedView, node: &mut Node) -> Result<(), EngineError> {
        for input in &view.inputs {
            match input {
                Input::View(upstream) => {
                    for chunk in self.rows(upstream)? {
                        node.feed(input, &chunk?, self.part_rows)?;
                    }
                }
                Input::Clock => node.feed(input, &self.clock.load()?, self.part_rows)?,
                Input::Table(table) => {
                    let Some(state) = self.tables.get(table) else { continue };
                    for chunk in state.chunks() {
                        node.feed(input, &chunk?, self.part_rows)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts a circuit that was built in the place of the one before.
    fn put_in_place(&mut self, view: &PlannedView, mut node: Node, deltas: &mut Deltas) -> Result<(), EngineError> {
        let old = self.nodes.get(&view.info.name);
        node.full_steps += old.map_or(0, |old| old.full_steps);
        node.replaces(old)?.into_iter().for_each(|change| deltas.add(change));
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
        for name in &rebuild.kept {
            if let Some(state) = self.tables.get_mut(name) {
                state.discard();
            }
        }
    }
}

/// A folder name that no other circuit has: the node's name and the first free number. A circuit makes its folder when it
/// is opened.
pub(crate) fn free_folder(dir: &Path, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let stem: String = name.chars().map(plain).take(40).collect();
    let free = |name: &String| !dir.join(name).exists();
    (1u64..).map(|number| format!("{stem}-{number}")).find(free).expect("numbers do not run out")
}

fn has_circuit(program: &Program, name: &ViewName) -> bool {
    program.circuits().iter().any(|view| view.info.name == *name)
}

/// What goes downstream when `new` takes the place of `old`.
pub(crate) fn replaced(old: Option<&Node>, new: &Node) -> Result<Option<ViewDelta>, EngineError> {
    let view = new.info.name.clone();
    // Under another row identity the old rows may be ones that the new one cannot tell apart.
    let Some(old) = old.filter(|old| old.info == new.info) else {
        return Ok(Some(ViewDelta { view, kind: DeltaKind::Replace, batches: Vec::new() }));
    };
    view_delta(&new.shape(), || state::difference(old.state(), new.state()), old.state())
}
