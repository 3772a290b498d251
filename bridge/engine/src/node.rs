//! A node: the running circuit of one view, with its folder and what is known of its state.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::Schema;
use dbsp::DBSPHandle;
use tidegate_core::{ViewDelta, ViewInfo, ViewName, ZSet};
use tidegate_engine_row::{KeyMode, RowCodec};
use tidegate_engine_sql::{Input, PlanId, PlannedView};
use uuid::Uuid;

use crate::EngineError;
use crate::checkpoint::NodeCheckpoint;
use crate::circuit::{self, CircuitPlan, Errors, Handles, Leaf, StateSnapshot};
use crate::dataflow::Dataflow;
use crate::delta::{Shape, view_delta, zsets};
use crate::engine::make_folder;
use crate::options::EngineOptions;
use crate::rebuild::replaced;
use crate::state;

/// A part of a transaction is as large as this share of the rows before it, within limits.
const PARTS: u64 = 16;

/// What an epoch changed in what a circuit computes.
pub(crate) enum Change {
    View(ViewDelta),
    /// Of a part that views share, or of a check.
    Part(ViewName, PartChange),
}

/// Changed rows that only circuits of this engine read.
pub(crate) enum PartChange {
    /// As the circuit answers them.
    Delta(Box<StateSnapshot>),
    /// The difference to what the part held before it was built anew.
    Rows(Vec<ZSet>),
}

/// A view's circuit.
pub(crate) struct Node {
    pub info: ViewInfo,
    pub plan_id: PlanId,
    /// Whether what it computes is a view, of which others than the engine hear.
    pub is_view: bool,
    /// The view that is told of in errors.
    origin: ViewName,
    /// The view whose declared key this circuit checks.
    checks: Option<ViewName>,
    /// The circuit's folder below the engine's.
    pub folder: String,
    pub workers: usize,
    /// Steps that followed a change, since the circuit was loaded.
    pub steps: u64,
    /// How often the view was computed as a whole.
    pub full_steps: u64,
    /// The newest checkpoint, if nothing happened since.
    pub clean_checkpoint: Option<Uuid>,
    /// Encodes the view's rows.
    pub codec: RowCodec,
    path: PathBuf,
    plan: Arc<CircuitPlan>,
    dataflow: Dataflow,
    handles: Handles,
    errors: Errors,
    state: Option<StateSnapshot>,
    /// Rows of the view, counting copies.
    rows: i64,
    pending: u64,
    /// Rows that the parts of the present transaction had.
    in_parts: u64,
    phase: Phase,
    /// Whether the view's key is declared and not proven.
    is_checked: bool,
}

/// Where a circuit is between two calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between two epochs.
    Idle,
    /// In a transaction that has taken parts of an epoch or of a load.
    InParts,
}

impl Node {
    /// Starts a circuit without state in a folder of its own.
    pub fn create(
        view: &PlannedView,
        root: &Path,
        folder: String,
        options: &EngineOptions,
    ) -> Result<Node, EngineError> {
        let mut node = Node::start(view, root, folder, options, None)?;
        for seed in &mut node.handles.seeds {
            seed.seed();
            node.pending += 1;
        }
        let one_row = circuit::batch(&Arc::new(Schema::empty()), Vec::new(), 1)?;
        node.feed_leaves(None, &ZSet::uniform(one_row, 1))?;
        Ok(node)
    }

    /// Starts a circuit with the state of a checkpoint.
    pub fn resume(
        view: &PlannedView,
        root: &Path,
        options: &EngineOptions,
        saved: &NodeCheckpoint,
    ) -> Result<Node, EngineError> {
        let mut node = Node::start(view, root, saved.folder.clone(), options, Some(saved.checkpoint))?;
        // A step without input makes the integral visible.
        node.transaction()?;
        drop(node.handles.delta.concat());
        (node.rows, node.steps, node.full_steps) = (saved.rows as i64, saved.steps, saved.full_steps);
        node.clean_checkpoint = Some(saved.checkpoint);
        Ok(node)
    }

    fn start(
        view: &PlannedView,
        root: &Path,
        folder: String,
        options: &EngineOptions,
        checkpoint: Option<Uuid>,
    ) -> Result<Node, EngineError> {
        let path = root.join(&folder);
        make_folder(&path)?;
        let plan = Arc::new(circuit::compile(view, options.shortcuts)?);
        let errors = Errors::new(view.origin().clone());
        let (dbsp, handles) = circuit::build(&plan, &path, options, checkpoint, &errors)?;
        let fields: Vec<_> = view.info.schema.fields().iter().cloned().collect();
        Ok(Node {
            info: view.info.clone(),
            plan_id: view.plan_id,
            is_view: view.is_view(),
            origin: view.origin().clone(),
            checks: view.checks.clone(),
            folder,
            workers: options.workers,
            steps: 0,
            full_steps: 0,
            clean_checkpoint: None,
            codec: RowCodec::new(&fields, KeyMode::Exact)?,
            path,
            plan,
            dataflow: Dataflow::new(dbsp),
            handles,
            errors,
            state: None,
            rows: 0,
            pending: 0,
            in_parts: 0,
            phase: Phase::Idle,
            is_checked: view.check.is_some(),
        })
    }

    /// Whether rows of `input` enter this circuit.
    pub fn reads(&self, input: &Input) -> bool {
        self.plan.leaves.iter().any(|leaf| leaf.input.as_ref() == Some(input))
    }

    /// Buffers rows of an input until the next step. When `rows_max` have come together they go into the
    /// circuit at once. The parts of a large load are larger, by up to three times: each is a batch that waits to be merged,
    /// and DBSP lets whoever adds one wait where there are 128.
    pub fn feed(&mut self, input: &Input, zset: &ZSet, rows_max: u64) -> Result<(), EngineError> {
        self.feed_leaves(Some(input), zset)?;
        let part = (self.in_parts / PARTS).clamp(rows_max, rows_max.saturating_mul(3));
        if self.pending < part { Ok(()) } else { self.apply_part() }
    }

    /// Lets the circuit take what was fed, while the next part is made ready. However many parts an epoch has, they are
    /// one transaction: operators with state collect its rows, on disk where memory gets short, and compute at its
    /// end, so that no row is made of half an epoch and no partition is computed twice.
    fn apply_part(&mut self) -> Result<(), EngineError> {
        let phase = std::mem::replace(&mut self.phase, Phase::InParts);
        self.in_parts += self.pending;
        (self.pending, self.clean_checkpoint) = (0, None);
        let begun = self.ready().and_then(|handle| match phase {
            Phase::Idle => handle.start_transaction(),
            Phase::InParts => Ok(()),
        });
        let begun = begun.and_then(|()| self.dataflow.begin_step());
        self.unless_told(begun)
    }

    fn feed_leaves(&mut self, input: Option<&Input>, zset: &ZSet) -> Result<(), EngineError> {
        for (leaf, inflow) in self.plan.leaves.iter().zip(&mut self.handles.leaves) {
            if leaf.input.as_ref() == input {
                self.pending += inflow.take(&leaf.pipe, zset)?;
            }
        }
        Ok(())
    }

    /// Where rows go in.
    fn inflows(&mut self) -> impl Iterator<Item = &mut Leaf> {
        self.handles.leaves.iter_mut().chain(&mut self.handles.seeds)
    }

    /// The circuit at rest, with what was fed as the input of its next step. It is sorted while the step before goes on.
    fn ready(&mut self) -> Result<&mut DBSPHandle, dbsp::Error> {
        let workers = self.workers;
        self.inflows().for_each(|leaf| leaf.sort(workers));
        self.dataflow.at_rest()?;
        self.inflows().for_each(Leaf::hand_over);
        self.dataflow.at_rest()
    }

    /// Whether something was fed since the last step.
    pub fn is_fed(&self) -> bool {
        self.pending > 0 || self.phase == Phase::InParts
    }

    /// Rows of the view after the last step, counting copies.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.rows).unwrap_or_default()
    }

    /// Rows that were computed anew because another one of their partition changed, or a value that they are
    /// compared with.
    pub fn recomputed_rows(&self) -> u64 {
        self.plan.recomputed.load(Ordering::Relaxed)
    }

    /// Applies what was fed and answers what changed in the view, if anything did.
    pub fn step(&mut self) -> Result<Option<Change>, EngineError> {
        let before = self.state.clone();
        let delta = self.apply()?;
        self.steps += 1;
        self.check_rows()?;
        if self.is_view {
            let delta = view_delta(&self.shape(), || state::rows(Some(&delta)), before.as_ref())?;
            return Ok(delta.map(Change::View));
        }
        let is_empty = state::rows_after(&delta, None, 1).is_empty();
        Ok((!is_empty).then(|| Change::Part(self.info.name.clone(), PartChange::Delta(Box::new(delta)))))
    }

    /// What becomes of the readers of this circuit, which takes the place of `old`.
    pub fn replaces(&self, old: Option<&Node>) -> Result<Option<Change>, EngineError> {
        if self.is_view {
            return Ok(replaced(old, self)?.map(Change::View));
        }
        match old {
            // Whoever reads it is built, too: its name says what it computes.
            None => Ok(None),
            Some(old) => {
                let rows = zsets(&self.info.schema, &self.codec, state::difference(old.state(), self.state()))?;
                Ok((!rows.is_empty()).then(|| Change::Part(self.info.name.clone(), PartChange::Rows(rows))))
            }
        }
    }

    /// How the view's rows are read.
    pub fn shape(&self) -> Shape<'_> {
        Shape { info: &self.info, codec: &self.codec, is_checked: self.is_checked }
    }

    /// The error for the first row of a circuit that checks the key of a view, if it has one.
    pub fn check_key(&self) -> Result<(), EngineError> {
        let (Some(view), Some(state)) = (&self.checks, &self.state) else { return Ok(()) };
        let Some((row, _)) = state::rows_after(state, None, 1).pop() else { return Ok(()) };
        let columns: Vec<usize> = (0..self.info.schema.fields().len()).collect();
        Err(EngineError::KeyNotUnique { view: view.clone(), key: self.shape().values(&row, &columns)? })
    }

    /// Applies what was fed while the view is loaded; nobody needs the delta.
    pub fn load(&mut self) -> Result<(), EngineError> {
        self.apply()?;
        self.full_steps += 1;
        self.check_rows()
    }

    /// Runs the circuit and answers what it changed, consolidated.
    fn apply(&mut self) -> Result<StateSnapshot, EngineError> {
        self.transaction()?;
        self.clean_checkpoint = None;
        self.pending = 0;
        let delta = self.handles.delta.concat();
        self.rows += state::count(&delta);
        Ok(delta)
    }

    fn check_rows(&self) -> Result<(), EngineError> {
        if self.rows >= 0 {
            return Ok(());
        }
        let fact = "the view would have a negative number of rows";
        Err(EngineError::Inconsistent { view: self.origin.clone(), fact })
    }

    /// Ends the transaction that has begun, or runs one. It may take several steps: the integral is that of the
    /// last one, and the delta comes once.
    fn transaction(&mut self) -> Result<(), EngineError> {
        let end = match self.phase {
            Phase::Idle => DBSPHandle::transaction,
            Phase::InParts => DBSPHandle::commit_transaction,
        };
        let ended = self.ready().and_then(end);
        (self.phase, self.in_parts) = (Phase::Idle, 0);
        self.unless_told(ended)?;
        self.state = Some(self.handles.state.concat());
        Ok(())
    }

    /// The error that a closure of the circuit has kept, before one of the circuit itself.
    fn unless_told(&self, result: Result<(), dbsp::Error>) -> Result<(), EngineError> {
        match self.errors.take() {
            Some(error) => Err(error),
            None => result.map_err(|error| self.failed("stepping", error)),
        }
    }

    /// The view's rows after the last step.
    pub fn state(&self) -> Option<&StateSnapshot> {
        self.state.as_ref()
    }

    /// Saves the circuit's state; does nothing when nothing happened since the last time.
    pub fn checkpoint(&mut self) -> Result<Uuid, EngineError> {
        if self.phase == Phase::InParts {
            return Err(EngineError::Misuse("an epoch of which parts were applied must end before it is saved"));
        }
        if let Some(checkpoint) = self.clean_checkpoint {
            return Ok(checkpoint);
        }
        let saved = self.dataflow.at_rest().and_then(|handle| handle.checkpoint().run());
        let saved = saved.map_err(|error| self.failed("saving its checkpoint", error))?;
        self.clean_checkpoint = Some(saved.uuid);
        Ok(saved.uuid)
    }

    /// Removes old checkpoints but those in `keep`.
    pub fn retain(&mut self, keep: &[Uuid]) -> Result<(), EngineError> {
        let keep = keep.iter().copied().collect();
        let removed = self.dataflow.at_rest().and_then(|handle| handle.gc_checkpoint(keep).map(|_| ()));
        removed.map_err(|error| self.failed("removing old checkpoints", error))
    }

    /// Bytes of the circuit's files; state that never left memory is not in them.
    pub fn disk_bytes(&self) -> u64 {
        folder_bytes(&self.path)
    }

    /// Stops the circuit's threads. Its folder stays for the checkpoints in it.
    pub fn stop(self) {
        self.dataflow.stop();
    }

    fn failed(&self, during: &'static str, error: dbsp::Error) -> EngineError {
        EngineError::Circuit { view: self.origin.clone(), during, source: error.into() }
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
