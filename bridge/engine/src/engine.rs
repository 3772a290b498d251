//! The engine: the circuits of a program, fed and stepped together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_core::{DeltaKind, Micros, TableEvent, TableName, ViewDelta, ViewName, ZSet};
use tidegate_engine_sql::{Input, PlannedView, Program};
use uuid::Uuid;

use crate::checkpoint::{EngineCheckpoint, NodeCheckpoint, STATE_FORMAT, TableCheckpoint};
use crate::circuit::StateSnapshot;
use crate::clock::Clock;
use crate::delta::zset;
use crate::files::forget_lost;
use crate::node::{Change, Node, PartChange};
use crate::options::EngineOptions;
use crate::parallel::side_by_side;
use crate::readers::{Pace, Readers, weighted_rows};
use crate::rebuild::Rebuild;
use crate::table::TableState;
use crate::{EngineError, state};

/// Rows of a chunk that [`Engine::rows`] answers.
const CHUNK_ROWS: usize = 65_536;

/// Rows that come together before they go into a circuit, unless [`Engine::set_part_rows`] says otherwise.
const PART_ROWS: u64 = 500_000;

/// Figures of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewStats {
    /// The view.
    pub view: ViewName,
    /// Its rows, counting copies.
    pub rows: u64,
    /// Incremental steps since the view was last built.
    pub steps: u64,
    /// How often it was built: computed as a whole from all rows of what it reads.
    pub full_steps: u64,
    /// Rows that window functions and first rows were computed over since the circuit was started, with each
    /// change those of the touched partitions; rows that ASOF joins looked up, before and after a
    /// change; and rows that a changed value was compared with anew.
    pub recomputed_rows: u64,
    /// Bytes of its state on disk, all kept checkpoints together.
    pub state_bytes: u64,
}

/// The deltas of one epoch.
#[derive(Default)]
pub(crate) struct Deltas {
    pub found: Vec<ViewDelta>,
    /// What changed in the parts that views share.
    pub parts: BTreeMap<ViewName, PartChange>,
}

impl Deltas {
    fn changes_of(&self, view: &ViewName) -> Vec<ZSet> {
        let delta = self.found.iter().find(|delta| delta.view == *view && delta.kind == DeltaKind::Changes);
        let batches = delta.iter().flat_map(|delta| &delta.batches);
        batches.map(|batch| ZSet::new(batch.rows.clone(), batch.weights.clone())).collect()
    }

    /// Adds what changed in a view, or in what is not one.
    pub fn add(&mut self, change: Change) {
        match change {
            Change::View(delta) => self.found.push(delta),
            Change::Part(part, rows) => drop(self.parts.insert(part, rows)),
        }
    }

    /// All of them as the program has the views: upstream views before their readers.
    pub fn in_order(mut self, program: Option<&Program>) -> Vec<ViewDelta> {
        let views = program.iter().flat_map(|program| program.views());
        let places: HashMap<&ViewName, usize> = views.map(|view| &view.info.name).zip(0..).collect();
        self.found.sort_by_key(|delta| places.get(&delta.view));
        self.found
    }
}

/// The circuits of a program in ranks: none of a rank reads another one of it, and what they read is in ranks before.
pub(crate) fn ranks(program: &Program) -> Vec<Vec<&PlannedView>> {
    let mut ranks: Vec<Vec<&PlannedView>> = Vec::new();
    let mut of: HashMap<&ViewName, usize> = HashMap::new();
    for view in program.circuits() {
        let read = view.inputs.iter().filter_map(|input| match input {
            Input::View(upstream) => of.get(upstream),
            Input::Table(_) | Input::Clock => None,
        });
        let rank = read.max().map_or(0, |rank| rank + 1);
        of.insert(&view.info.name, rank);
        if ranks.len() <= rank {
            ranks.resize_with(rank + 1, Vec::new);
        }
        ranks[rank].push(view);
    }
    ranks
}

/// Views as incremental circuits. All calls block; the circuits have threads of their own.
pub struct Engine {
    pub(crate) dir: PathBuf,
    pub(crate) options: EngineOptions,
    pub(crate) part_rows: u64,
    pub(crate) program: Option<Arc<Program>>,
    /// By view; iterate in the program's order.
    pub(crate) nodes: BTreeMap<ViewName, Node>,
    /// The states of the tables whose sources tell only what changes.
    pub(crate) tables: BTreeMap<TableName, TableState>,
    pub(crate) rebuild: Option<Rebuild>,
    pub(crate) clock: Clock,
    poisoned: bool,
}

impl Engine {
    /// An engine without views in a folder of its own, which is made.
    pub fn create(dir: &Path, options: EngineOptions) -> Result<Engine, EngineError> {
        make_folder(dir)?;
        let engine = Engine {
            dir: dir.to_owned(),
            options,
            part_rows: PART_ROWS,
            program: None,
            nodes: BTreeMap::new(),
            tables: BTreeMap::new(),
            rebuild: None,
            clock: Clock::default(),
            poisoned: false,
        };
        engine.remove_folders_except(&HashSet::new())?;
        Ok(engine)
    }

    /// Continues from a checkpoint with the program recorded in it. Folders that neither it nor one of `kept`
    /// names are removed.
    pub fn resume(
        dir: &Path,
        options: EngineOptions,
        checkpoint: &EngineCheckpoint,
        kept: &[EngineCheckpoint],
    ) -> Result<Engine, EngineError> {
        let engine = Engine::restore(dir, options, checkpoint)?;
        let kept = kept.iter().chain([checkpoint]).flat_map(EngineCheckpoint::folders);
        engine.remove_folders_except(&kept.collect())?;
        Ok(engine)
    }

    pub(crate) fn restore(
        dir: &Path,
        options: EngineOptions,
        checkpoint: &EngineCheckpoint,
    ) -> Result<Engine, EngineError> {
        if checkpoint.format != STATE_FORMAT {
            return Err(EngineError::IncompatibleFormat { found: checkpoint.format, expected: STATE_FORMAT });
        }
        let program = Program::from_definition(checkpoint.definition.clone()).map_err(EngineError::Plan)?;
        for folder in checkpoint.folders().collect::<BTreeSet<_>>() {
            require_folder(dir, folder)?;
            forget_lost(&dir.join(folder))?;
        }
        let threads = options.threads();
        let nodes = side_by_side(threads, &checkpoint.nodes, |saved: &NodeCheckpoint| {
            let view = program.circuits().iter().find(|view| view.info.name == saved.view);
            let view = view.ok_or_else(|| EngineError::UnknownView(saved.view.clone()))?;
            if view.plan_id != saved.plan_id {
                // The same SQL is planned differently by this version.
                return Err(EngineError::IncompatibleFormat { found: checkpoint.format, expected: STATE_FORMAT });
            }
            let options = EngineOptions { workers: saved.workers, ..options.clone() };
            Ok((saved.view.clone(), Node::resume(view, dir, &options, saved)?))
        })?;
        let tables = side_by_side(threads, &checkpoint.tables, |saved: &TableCheckpoint| {
            let schema = program.tables().iter().find(|table| table.name == saved.table);
            let schema =
                schema.ok_or(EngineError::Misuse("a checkpoint names a table that its program does not use"))?;
            let options = EngineOptions { workers: saved.workers, ..options.clone() };
            let state = TableState::open(schema.clone(), dir, saved.folder.clone(), &options, Some(saved.checkpoint))?;
            Ok((saved.table.clone(), state))
        })?;
        Ok(Engine {
            dir: dir.to_owned(),
            options,
            part_rows: PART_ROWS,
            program: Some(Arc::new(program)),
            nodes: nodes.into_iter().collect(),
            tables: tables.into_iter().collect(),
            rebuild: None,
            clock: Clock::at(checkpoint.time),
            poisoned: false,
        })
    }

    /// The program in force; none before the first load.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_deref()
    }

    /// How many rows come together before they go into the circuits, three times as many late in a large load: loads and
    /// epochs with more are applied in parts, so that memory does not grow with them. The parts are one transaction of each circuit, and an
    /// epoch in parts answers the same deltas.
    pub fn set_part_rows(&mut self, rows: u64) {
        self.part_rows = rows.max(1);
    }

    /// Says what `tidegate_now()` is in the coming epoch, or in the rebuild under way. Until it is said again, time
    /// stands still.
    pub fn set_time(&mut self, time: Micros) {
        self.clock.coming = Some(time);
    }

    /// Buffers an event of the coming epoch for every view that reads the table.
    pub fn feed(&mut self, table: &TableName, event: TableEvent) -> Result<(), EngineError> {
        self.check()?;
        let pace = self.pace();
        self.unless_failed(|engine| {
            let mut readers = Readers::of(table, engine.nodes.values_mut(), pace);
            match engine.tables.get_mut(table) {
                Some(state) => state.feed(event, engine.part_rows, &mut |part| readers.feed_part(&part)),
                None => readers.feed(&weighted_rows(table, event)?),
            }
        })
    }

    /// Applies what was fed: one epoch. Circuits without input do not run; views without changes
    /// are absent from the answer.
    pub fn step(&mut self) -> Result<Vec<ViewDelta>, EngineError> {
        self.check()?;
        let program = self.program.clone();
        let (mut deltas, pace) = (Deltas::default(), self.pace());
        self.unless_failed(|engine| {
            engine.clock.strike(engine.nodes.values_mut(), engine.part_rows)?;
            for (table, state) in &mut engine.tables {
                let mut readers = Readers::of(table, engine.nodes.values_mut(), pace);
                state.step(&mut |part| readers.feed_part(&part))?;
            }
            for rank in program.iter().flat_map(|program| ranks(program)) {
                for view in &rank {
                    engine.feed_upstream(view, &deltas)?;
                }
                engine.step_views(&rank, &mut deltas)?;
            }
            Ok(())
        })?;
        Ok(deltas.in_order(program.as_deref()))
    }

    /// Feeds a view what changed in the views that it reads.
    pub(crate) fn feed_upstream(&mut self, view: &PlannedView, deltas: &Deltas) -> Result<(), EngineError> {
        for input in &view.inputs {
            let Input::View(upstream) = input else { continue };
            // Chunk by chunk: what changed in a part may be more than fits into memory.
            let source = self.nodes.get(upstream);
            let changes: Box<dyn Iterator<Item = Result<ZSet, EngineError>>> =
                match (deltas.parts.get(upstream), source) {
                    (Some(PartChange::Delta(delta)), Some(source)) => Box::new(chunks(source, (**delta).clone())),
                    (Some(PartChange::Rows(rows)), _) => Box::new(rows.clone().into_iter().map(Ok)),
                    _ => Box::new(deltas.changes_of(upstream).into_iter().map(Ok)),
                };
            let Some(node) = self.nodes.get_mut(&view.info.name) else { continue };
            for zset in changes {
                node.feed(input, &zset?, self.part_rows)?;
            }
        }
        Ok(())
    }

    /// Steps views that were fed, side by side: none of them reads another one.
    pub(crate) fn step_views(&mut self, views: &[&PlannedView], deltas: &mut Deltas) -> Result<(), EngineError> {
        let names: BTreeSet<&ViewName> = views.iter().map(|view| &view.info.name).collect();
        let fed = self.nodes.values_mut().filter(|node| names.contains(&node.info.name) && node.is_fed());
        let stepped = side_by_side(self.options.threads(), fed, |node: &mut Node| {
            let change = node.step()?;
            if change.is_some() {
                node.check_key()?;
            }
            Ok(change)
        })?;
        stepped.into_iter().flatten().for_each(|change| deltas.add(change));
        Ok(())
    }

    /// While `work` runs, the state in memory is between two epochs; when it fails, it stays there.
    pub(crate) fn unless_failed(
        &mut self,
        work: impl FnOnce(&mut Engine) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        self.poisoned = true;
        work(self)?;
        self.poisoned = false;
        Ok(())
    }

    /// Every row of a view after the last step, with its number of copies, in chunks. The iterator
    /// stays valid, and its content the same, while the engine goes on.
    pub fn rows(
        &self,
        view: &ViewName,
    ) -> Result<Box<dyn Iterator<Item = Result<ZSet, EngineError>> + Send>, EngineError> {
        let node = self.nodes.get(view).ok_or_else(|| EngineError::UnknownView(view.clone()))?;
        Ok(match node.state() {
            Some(state) => Box::new(chunks(node, state.clone())),
            None => Box::new(std::iter::empty()),
        })
    }

    /// All rows of a view, counting copies, and the first `rows_max` different ones in the order in which they are kept.
    pub fn sample(&self, view: &ViewName, rows_max: usize) -> Result<(u64, ZSet), EngineError> {
        let node = self.nodes.get(view).ok_or_else(|| EngineError::UnknownView(view.clone()))?;
        let rows = node.state().map(|state| state::rows_after(state, None, rows_max)).unwrap_or_default();
        Ok((node.rows(), zset(&node.info.schema, &node.codec, &rows)?))
    }

    /// Figures of each view, in the program's order. What several views share counts for the first of them.
    pub fn stats(&self) -> Vec<ViewStats> {
        let Some(program) = &self.program else { return Vec::new() };
        let of_view = |view: &PlannedView| {
            let node = self.nodes.get(&view.info.name)?;
            let circuits = program.circuits().iter().filter(|circuit| *circuit.origin() == view.info.name);
            let nodes: Vec<&Node> = circuits.filter_map(|circuit| self.nodes.get(&circuit.info.name)).collect();
            Some(ViewStats {
                view: node.info.name.clone(),
                rows: node.rows(),
                steps: node.steps,
                full_steps: node.full_steps,
                recomputed_rows: nodes.iter().map(|node| node.recomputed_rows()).sum(),
                state_bytes: nodes.iter().map(|node| node.disk_bytes()).sum(),
            })
        };
        program.views().iter().filter_map(of_view).collect()
    }

    /// Saves the state at this epoch boundary. Durable when it returns; circuits that did not run
    /// since the last checkpoint are not written again.
    pub fn checkpoint(&mut self) -> Result<EngineCheckpoint, EngineError> {
        self.check()?;
        let program = self.program.as_ref().ok_or(EngineError::Misuse("there is no program to save yet"))?;
        // Each waits for the disk most of the time.
        let threads = self.options.threads();
        let saved = side_by_side(threads, self.nodes.values_mut(), |node: &mut Node| {
            let saved = NodeCheckpoint {
                view: node.info.name.clone(),
                plan_id: node.plan_id,
                checkpoint: node.checkpoint()?,
                folder: node.folder.clone(),
                workers: node.workers,
                rows: node.rows(),
                steps: node.steps,
                full_steps: node.full_steps,
            };
            Ok((node.info.name.clone(), saved))
        })?;
        let mut saved: BTreeMap<ViewName, NodeCheckpoint> = saved.into_iter().collect();
        let nodes = program.circuits().iter().filter_map(|view| saved.remove(&view.info.name)).collect();
        let tables = side_by_side(threads, &mut self.tables, |(table, state): (&TableName, &mut TableState)| {
            Ok(TableCheckpoint {
                table: table.clone(),
                checkpoint: state.checkpoint()?,
                folder: state.folder.clone(),
                workers: state.workers,
            })
        })?;
        sync_folder(&self.dir)?;
        Ok(EngineCheckpoint {
            format: STATE_FORMAT,
            definition: program.definition().clone(),
            nodes,
            tables,
            time: self.clock.present,
        })
    }

    /// Removes the files of all checkpoints but these.
    pub fn retain(&mut self, keep: &[EngineCheckpoint]) -> Result<(), EngineError> {
        let saved_in = |folder: &str| -> Vec<Uuid> {
            keep.iter().flat_map(EngineCheckpoint::states).filter(|(f, _)| *f == folder).map(|(_, uuid)| uuid).collect()
        };
        for node in self.nodes.values_mut() {
            node.retain(&saved_in(&node.folder))?;
        }
        for state in self.tables.values_mut() {
            state.retain(&saved_in(&state.folder))?;
        }
        let mut folders: HashSet<&str> = keep.iter().flat_map(EngineCheckpoint::folders).collect();
        folders.extend(self.nodes.values().map(|node| node.folder.as_str()));
        folders.extend(self.tables.values().map(|state| state.folder.as_str()));
        folders.extend(self.rebuild.iter().flat_map(Rebuild::folders));
        self.remove_folders_except(&folders)
    }

    /// How tables are fed to their readers.
    pub(crate) fn pace(&self) -> Pace {
        Pace { part_rows: self.part_rows, threads: self.options.threads() }
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.poisoned { Err(EngineError::Poisoned) } else { Ok(()) }
    }

    fn remove_folders_except(&self, keep: &HashSet<&str>) -> Result<(), EngineError> {
        let failed = |path: &Path, source| EngineError::Storage {
            path: path.display().to_string(),
            fact: "old state cannot be removed".into(),
            source: Some(source),
        };
        for entry in std::fs::read_dir(&self.dir).map_err(|source| failed(&self.dir, source))? {
            let entry = entry.map_err(|source| failed(&self.dir, source))?;
            let kept = entry.file_name().to_str().is_some_and(|name| keep.contains(name));
            if !kept && entry.path().is_dir() {
                std::fs::remove_dir_all(entry.path()).map_err(|source| failed(&entry.path(), source))?;
            }
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.abort_rebuild();
        std::mem::take(&mut self.nodes).into_values().for_each(Node::stop);
        std::mem::take(&mut self.tables).into_values().for_each(TableState::stop);
    }
}

fn chunks(node: &Node, state: StateSnapshot) -> impl Iterator<Item = Result<ZSet, EngineError>> + Send + use<> {
    let (codec, schema) = (node.codec.clone(), node.info.schema.clone());
    let mut last = None;
    std::iter::from_fn(move || {
        let rows = state::rows_after(&state, last.as_ref(), CHUNK_ROWS);
        last = Some(rows.last()?.0.clone());
        Some(zset(&schema, &codec, &rows))
    })
}

/// Makes a folder of the engine's state, where it is not there yet.
pub(crate) fn make_folder(path: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(path).map_err(|source| EngineError::Storage {
        path: path.display().to_string(),
        fact: "the folder cannot be made".into(),
        source: Some(source),
    })
}

fn require_folder(dir: &Path, folder: &str) -> Result<(), EngineError> {
    let path = dir.join(folder);
    if path.is_dir() {
        return Ok(());
    }
    let fact = "the folder that a checkpoint names is not there".into();
    Err(EngineError::Storage { path: path.display().to_string(), fact, source: None })
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), EngineError> {
    std::fs::File::open(folder).and_then(|file| file.sync_all()).map_err(|source| EngineError::Storage {
        path: folder.display().to_string(),
        fact: "the folder cannot be made durable".into(),
        source: Some(source),
    })
}
