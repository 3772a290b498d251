//! A node: the running circuit of one view, with its folder and what is known of its state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Schema;
use dbsp::dynamic::DowncastTrait;
use dbsp::trace::{BatchReader, Cursor};
use dbsp::utils::Tup2;
use dbsp::{DBSPHandle, IndexedZSetHandle};
use tidegate_core::{ViewDelta, ViewInfo, ZSet};
use tidegate_engine_row::{KeyMode, Row, RowCodec};
use tidegate_engine_sql::{Input, PlanId, PlannedView};
use uuid::Uuid;

use crate::EngineError;
use crate::circuit::{self, CircuitPlan, Errors, FlatRow, Handles, Key, KeyedHandle, LeafHandle, Pipe, StateSnapshot};
use crate::delta::view_delta;
use crate::engine::EngineOptions;
use crate::state::Weighted;

/// A view's circuit.
pub(crate) struct Node {
    pub info: ViewInfo,
    pub plan_id: PlanId,
    /// The circuit's folder below the engine's.
    pub folder: String,
    pub workers: usize,
    /// Rows of the view, counting copies.
    pub rows: u64,
    /// Steps since the circuit was made.
    pub steps: u64,
    /// The newest checkpoint, if nothing happened since.
    pub clean_checkpoint: Option<Uuid>,
    /// Encodes the view's rows.
    pub codec: RowCodec,
    path: PathBuf,
    plan: Arc<CircuitPlan>,
    dbsp: DBSPHandle,
    handles: Handles,
    errors: Errors,
    state: Option<StateSnapshot>,
    pending: u64,
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
        for seed in &node.handles.seeds {
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
        folder: String,
        options: &EngineOptions,
        checkpoint: Uuid,
        rows: u64,
        steps: u64,
    ) -> Result<Node, EngineError> {
        let mut node = Node::start(view, root, folder, options, Some(checkpoint))?;
        // A step without input makes the integral visible.
        node.transaction()?;
        node.take_delta();
        (node.rows, node.steps) = (rows, steps);
        node.clean_checkpoint = Some(checkpoint);
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
        std::fs::create_dir_all(&path).map_err(|source| EngineError::Storage {
            path: path.display().to_string(),
            fact: "the folder cannot be made".into(),
            source: Some(source),
        })?;
        let plan = Arc::new(circuit::compile(view)?);
        let errors = Errors::new(view.info.name.clone());
        let (dbsp, handles) = circuit::build(&plan, &path, options, checkpoint, &errors)?;
        let fields: Vec<_> = view.info.schema.fields().iter().cloned().collect();
        Ok(Node {
            info: view.info.clone(),
            plan_id: view.plan_id,
            folder,
            workers: options.workers,
            rows: 0,
            steps: 0,
            clean_checkpoint: None,
            codec: RowCodec::new(&fields, KeyMode::Exact)?,
            path,
            plan,
            dbsp,
            handles,
            errors,
            state: None,
            pending: 0,
        })
    }

    /// Whether rows of `input` enter this circuit.
    pub fn reads(&self, input: &Input) -> bool {
        self.plan.leaves.iter().any(|leaf| leaf.input.as_ref() == Some(input))
    }

    /// Buffers rows of an input until the next step.
    pub fn feed(&mut self, input: &Input, zset: &ZSet) -> Result<(), EngineError> {
        self.feed_leaves(Some(input), zset)
    }

    fn feed_leaves(&mut self, input: Option<&Input>, zset: &ZSet) -> Result<(), EngineError> {
        for (leaf, handle) in self.plan.leaves.iter().zip(&self.handles.leaves) {
            if leaf.input.as_ref() != input {
                continue;
            }
            match handle {
                LeafHandle::Flat(handle) => {
                    let mut rows: Vec<FlatRow> = Vec::with_capacity(zset.len());
                    leaf.pipe.flat(zset, &mut rows)?;
                    self.pending += rows.len() as u64;
                    handle.append(&mut rows);
                }
                LeafHandle::Keyed(KeyedHandle::Short(handle)) => self.pending += feed_keyed(handle, &leaf.pipe, zset)?,
                LeafHandle::Keyed(KeyedHandle::Row(handle)) => self.pending += feed_keyed(handle, &leaf.pipe, zset)?,
            }
        }
        Ok(())
    }

    /// Rows that wait for the next step.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Applies what was fed and answers what changed in the view, if anything did.
    pub fn step(&mut self) -> Result<Option<ViewDelta>, EngineError> {
        let before = self.state.clone();
        let changes = self.apply()?;
        if changes.is_empty() {
            return Ok(None);
        }
        view_delta(&self.info, &self.codec, &changes, before.as_ref()).map(Some)
    }

    /// Feeds rows while the view is loaded and applies them when enough have come together.
    pub fn load_chunk(&mut self, input: &Input, zset: &ZSet, step_rows: u64) -> Result<(), EngineError> {
        self.feed(input, zset)?;
        if self.pending >= step_rows { self.load() } else { Ok(()) }
    }

    /// Applies what was fed while the view is loaded; nobody needs the delta.
    pub fn load(&mut self) -> Result<(), EngineError> {
        self.apply().map(|_| ())
    }

    fn apply(&mut self) -> Result<Vec<Weighted>, EngineError> {
        self.transaction()?;
        self.clean_checkpoint = None;
        self.steps += 1;
        self.pending = 0;
        let changes = self.take_delta();
        let rows = changes.iter().fold(self.rows as i64, |rows, (_, weight)| rows + weight);
        self.rows = u64::try_from(rows).map_err(|_| EngineError::Inconsistent {
            view: self.info.name.clone(),
            fact: "the view would have a negative number of rows",
        })?;
        Ok(changes)
    }

    fn transaction(&mut self) -> Result<(), EngineError> {
        let result = self.dbsp.transaction();
        if let Some(error) = self.errors.take() {
            return Err(error);
        }
        result.map_err(|error| self.failed("stepping", error))?;
        let state = self.handles.state.concat();
        self.state = Some(state);
        Ok(())
    }

    /// The consolidated delta of the last transaction, in ascending order.
    fn take_delta(&mut self) -> Vec<Weighted> {
        let delta = self.handles.delta.concat();
        let mut cursor = delta.cursor();
        let mut changes = Vec::new();
        while cursor.key_valid() {
            let weight = **cursor.weight();
            if weight != 0 {
                // SAFETY: the view's stream has `Row` keys.
                changes.push((unsafe { cursor.key().downcast::<Row>() }.clone(), weight));
            }
            cursor.step_key();
        }
        changes
    }

    /// The view's rows after the last step.
    pub fn state(&self) -> Option<&StateSnapshot> {
        self.state.as_ref()
    }

    /// Saves the circuit's state; does nothing when nothing happened since the last time.
    pub fn checkpoint(&mut self) -> Result<Uuid, EngineError> {
        if let Some(checkpoint) = self.clean_checkpoint {
            return Ok(checkpoint);
        }
        let saved = self.dbsp.checkpoint().run().map_err(|error| self.failed("saving its checkpoint", error))?;
        self.clean_checkpoint = Some(saved.uuid);
        Ok(saved.uuid)
    }

    /// Removes old checkpoints but those in `keep`.
    pub fn retain(&mut self, keep: &[Uuid]) -> Result<(), EngineError> {
        let keep = keep.iter().copied().collect();
        self.dbsp.gc_checkpoint(keep).map_err(|error| self.failed("removing old checkpoints", error))?;
        Ok(())
    }

    /// Bytes of the circuit's files; state that never left memory is not in them.
    pub fn disk_bytes(&self) -> u64 {
        folder_bytes(&self.path)
    }

    /// Stops the circuit's threads. Its folder stays for the checkpoints in it.
    pub fn stop(self) {
        // A worker that panicked has said so in the step that failed.
        let _ = self.dbsp.kill();
    }

    fn failed(&self, during: &'static str, error: dbsp::Error) -> EngineError {
        EngineError::Circuit { view: self.info.name.clone(), during, source: Box::new(error) }
    }
}

/// Feeds a keyed leaf and answers how many rows there were.
fn feed_keyed<K: Key>(handle: &IndexedZSetHandle<K, Row>, pipe: &Pipe, zset: &ZSet) -> Result<u64, EngineError> {
    let mut rows = Vec::with_capacity(zset.len());
    pipe.keyed(zset, |key, value, weight| rows.push(Tup2(key, Tup2(value, weight))))?;
    let fed = rows.len() as u64;
    handle.append(&mut rows);
    Ok(fed)
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
