//! Table state: the integral of a keyed table. It alone knows the old rows, so it alone turns
//! upserts and deletes by key into a Z-set, fills columns that the source left out because they
//! did not change, empties the table on TRUNCATE, and serves new views over old data.
//!
//! The changes of an epoch are collected by key over the state before it; at the end of the epoch
//! each key contributes its old and its new row, if they differ.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use dbsp::dynamic::{DowncastTrait, Erase};
use dbsp::trace::{BatchReader, Cursor};
use dbsp::typed_batch::SpineSnapshot;
use dbsp::utils::Tup2;
use dbsp::{DBSPHandle, IndexedZSetHandle, OrdIndexedZSet, OutputHandle, RootCircuit, Runtime};
use tidegate_core::{KeyedChanges, KeyedOp, RowIdentity, TableEvent, TableSchema, ViewName, ZSet};
use tidegate_engine_row::{KeyMode, Row, RowCodec};
use uuid::Uuid;

use crate::EngineError;
use crate::circuit::{batch, config, encode};
use crate::engine::EngineOptions;

type Snapshot = SpineSnapshot<OrdIndexedZSet<Row, Row>>;

/// Rows of a chunk that [`TableState::chunks`] answers.
const CHUNK_ROWS: usize = 65_536;

/// What an epoch does to one key.
struct Change {
    before: Option<Row>,
    now: Option<Row>,
}

/// The state of one keyed table.
pub(crate) struct TableState {
    pub schema: TableSchema,
    pub folder: String,
    pub workers: usize,
    pub clean_checkpoint: Option<Uuid>,
    key_columns: Vec<usize>,
    key_codec: RowCodec,
    row_codec: RowCodec,
    dbsp: DBSPHandle,
    input: IndexedZSetHandle<Row, Row>,
    output: OutputHandle<Snapshot>,
    snapshot: Snapshot,
    changes: HashMap<Row, Change>,
}

impl TableState {
    /// Opens the state of a table, from a checkpoint if one is given, else empty.
    ///
    /// # Panics
    /// When the table has no key: those have no table state.
    pub fn open(
        schema: TableSchema,
        root: &Path,
        folder: String,
        options: &EngineOptions,
        checkpoint: Option<Uuid>,
    ) -> Result<TableState, EngineError> {
        let RowIdentity::Key(key_columns) = schema.identity.clone() else {
            unreachable!("only keyed tables have a state")
        };
        let path = root.join(&folder);
        std::fs::create_dir_all(&path).map_err(|source| EngineError::Storage {
            path: path.display().to_string(),
            fact: "the folder cannot be made".into(),
            source: Some(source),
        })?;
        let failed = |source| circuit_failed(&schema, "opening its state", source);
        let config = config(&path, options, checkpoint).map_err(|error| failed(dbsp::Error::Storage(error)))?;
        let (dbsp, (input, output)) = Runtime::init_circuit(config, |circuit: &mut RootCircuit| {
            let (rows, input) = circuit.add_input_indexed_zset::<Row, Row>();
            let state = rows
                .set_persistent_id(Some("rows"))
                .shard()
                .set_persistent_id(Some("rows.shard"))
                .accumulate_integrate_trace()
                .set_persistent_id(Some("rows.state"))
                .apply(|state| state.ro_snapshot())
                .set_persistent_id(Some("rows.snapshot"));
            Ok((input, state.output_persistent(Some("rows.snapshot.out"))))
        })
        .map_err(failed)?;
        let fields: Vec<_> = schema.columns.fields().iter().cloned().collect();
        let key_fields: Vec<_> = key_columns.iter().map(|column| Arc::clone(&fields[*column])).collect();
        let mut state = TableState {
            key_codec: RowCodec::new(&key_fields, KeyMode::Canonical)?,
            row_codec: RowCodec::new(&fields, KeyMode::Exact)?,
            schema,
            folder,
            workers: options.workers,
            clean_checkpoint: checkpoint,
            key_columns,
            snapshot: output.concat(),
            dbsp,
            input,
            output,
            changes: HashMap::new(),
        };
        state.transaction()?;
        Ok(state)
    }

    /// Collects an event of the coming epoch.
    pub fn feed(&mut self, event: TableEvent) -> Result<(), EngineError> {
        match event {
            TableEvent::Rows(zset) => {
                if zset.weights().values().iter().any(|weight| *weight != 1) {
                    return Err(self.invalid("a keyed table takes whole rows with weight 1 only"));
                }
                let (rows, _) = zset.into_parts();
                let unchanged = vec![None; rows.num_columns()];
                self.keyed(&KeyedChanges { ops: vec![KeyedOp::Upsert; rows.num_rows()], rows, unchanged })
            }
            TableEvent::Keyed(changes) => self.keyed(&changes),
            TableEvent::Truncate | TableEvent::Replace => {
                self.empty();
                Ok(())
            }
        }
    }

    fn keyed(&mut self, events: &KeyedChanges) -> Result<(), EngineError> {
        let keys: Vec<ArrayRef> = self.key_columns.iter().map(|column| events.rows.column(*column).clone()).collect();
        let keys = encode(&self.key_codec, &keys, events.ops.len())?;
        // Rows of deletes hold their key only and are not encoded.
        let upserts: arrow::array::UInt32Array =
            (0u32..).zip(&events.ops).filter(|(_, op)| **op == KeyedOp::Upsert).map(|(row, _)| row).collect();
        let upserted = arrow::compute::take_record_batch(&events.rows, &upserts)?;
        let mut rows = self.patched(events, &keys, &upserts, upserted)?.into_iter();
        for (key, op) in keys.into_iter().zip(&events.ops) {
            let now = match op {
                KeyedOp::Upsert => rows.next(),
                KeyedOp::Delete => None,
            };
            let snapshot = &self.snapshot;
            match self.changes.entry(key) {
                Entry::Occupied(mut change) => change.get_mut().now = now,
                Entry::Vacant(change) => {
                    let before = lookup(snapshot, change.key());
                    change.insert(Change { before, now });
                }
            }
        }
        Ok(())
    }

    /// The upserted rows, with the values that the source left out taken from the row before.
    fn patched(
        &self,
        events: &KeyedChanges,
        keys: &[Row],
        upserts: &arrow::array::UInt32Array,
        upserted: RecordBatch,
    ) -> Result<Vec<Row>, EngineError> {
        let columns = upserted.columns();
        if events.unchanged.iter().all(Option::is_none) {
            return encode(&self.row_codec, columns, upserted.num_rows());
        }
        // Later upserts of a key in this event build on earlier ones, so row by row.
        let mut earlier: HashMap<&Row, Row> = HashMap::new();
        let mut rows = Vec::with_capacity(upserted.num_rows());
        for (index, original) in upserts.values().iter().map(|row| *row as usize).enumerate() {
            let mut values: Vec<ArrayRef> = columns.iter().map(|column| column.slice(index, 1)).collect();
            let is_unchanged = |column: usize| {
                events.unchanged[column].as_ref().is_some_and(|marks| marks.is_valid(original) && marks.value(original))
            };
            if (0..values.len()).any(is_unchanged) {
                let known = earlier.get(&keys[original]).cloned().or_else(|| self.current(&keys[original]));
                let known =
                    known.ok_or_else(|| self.invalid("unchanged columns were left out of a row that is not known"))?;
                let before = self.row_codec.decode(std::iter::once(&known))?;
                for column in (0..values.len()).filter(|column| is_unchanged(*column)) {
                    values[column] = Arc::clone(&before[column]);
                }
            }
            let row: Row = encode(&self.row_codec, &values, 1)?.swap_remove(0);
            earlier.insert(&keys[original], row.clone());
            rows.push(row);
        }
        Ok(rows)
    }

    fn current(&self, key: &Row) -> Option<Row> {
        match self.changes.get(key) {
            Some(change) => change.now.clone(),
            None => lookup(&self.snapshot, key),
        }
    }

    fn empty(&mut self) {
        self.changes.values_mut().for_each(|change| change.now = None);
        let mut cursor = self.snapshot.cursor();
        while cursor.key_valid() {
            // SAFETY: the state has `Row` keys and values.
            let (key, row) = unsafe { (cursor.key().downcast::<Row>(), cursor.val().downcast::<Row>()) };
            let (key, row) = (key.clone(), row.clone());
            self.changes.entry(key).or_insert(Change { before: Some(row), now: None });
            cursor.step_key();
        }
    }

    /// Ends the epoch: what changed in the table, if anything did.
    pub fn step(&mut self) -> Result<Option<ZSet>, EngineError> {
        let mut changed: Vec<(Row, Change)> =
            self.changes.drain().filter(|(_, change)| change.before != change.now).collect();
        if changed.is_empty() {
            return Ok(None);
        }
        changed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let (mut rows, mut weights, mut input) = (Vec::new(), Vec::new(), Vec::new());
        for (key, Change { before, now }) in changed {
            for (row, weight) in before.map(|row| (row, -1)).into_iter().chain(now.map(|row| (row, 1))) {
                input.push(Tup2(key.clone(), Tup2(row.clone(), weight)));
                rows.push(row);
                weights.push(weight);
            }
        }
        self.input.append(&mut input);
        self.transaction()?;
        self.clean_checkpoint = None;
        let arrays = self.row_codec.decode(rows.iter())?;
        Ok(Some(ZSet::new(batch(&self.schema.columns, arrays, rows.len())?, Int64Array::from(weights))))
    }

    fn transaction(&mut self) -> Result<(), EngineError> {
        self.dbsp.transaction().map_err(|error| circuit_failed(&self.schema, "stepping", error))?;
        self.snapshot = self.output.concat();
        Ok(())
    }

    /// Keys that the coming epoch touches so far.
    pub fn pending(&self) -> u64 {
        self.changes.len() as u64
    }

    /// Forgets what was fed since the last step.
    pub fn discard(&mut self) {
        self.changes.clear();
    }

    /// Every row of the table, in chunks, each with weight 1.
    pub fn chunks(&self) -> impl Iterator<Item = Result<ZSet, EngineError>> + '_ {
        let mut cursor = self.snapshot.cursor();
        std::iter::from_fn(move || {
            let mut rows = Vec::new();
            while cursor.key_valid() && rows.len() < CHUNK_ROWS {
                // SAFETY: the state has `Row` keys and values.
                rows.push(unsafe { cursor.val().downcast::<Row>() }.clone());
                cursor.step_key();
            }
            (!rows.is_empty()).then(|| {
                let arrays = self.row_codec.decode(rows.iter())?;
                Ok(ZSet::uniform(batch(&self.schema.columns, arrays, rows.len())?, 1))
            })
        })
    }

    /// Saves the state; does nothing when nothing happened since the last time.
    pub fn checkpoint(&mut self) -> Result<Uuid, EngineError> {
        if let Some(checkpoint) = self.clean_checkpoint {
            return Ok(checkpoint);
        }
        let saved = self.dbsp.checkpoint().run();
        let saved = saved.map_err(|error| circuit_failed(&self.schema, "saving its checkpoint", error))?;
        self.clean_checkpoint = Some(saved.uuid);
        Ok(saved.uuid)
    }

    /// Removes old checkpoints but those in `keep`.
    pub fn retain(&mut self, keep: &[Uuid]) -> Result<(), EngineError> {
        let removed = self.dbsp.gc_checkpoint(keep.iter().copied().collect());
        removed.map(|_| ()).map_err(|error| circuit_failed(&self.schema, "removing old checkpoints", error))
    }

    /// Stops the circuit's threads.
    pub fn stop(self) {
        // A worker that panicked has said so in the step that failed.
        let _ = self.dbsp.kill();
    }

    fn invalid(&self, fact: &'static str) -> EngineError {
        EngineError::Event { table: self.schema.name.clone(), fact }
    }
}

fn lookup(snapshot: &Snapshot, key: &Row) -> Option<Row> {
    let mut cursor = snapshot.cursor();
    cursor.seek_key(key.erase());
    // SAFETY: the state has `Row` keys and values.
    let found = cursor.key_valid() && unsafe { cursor.key().downcast::<Row>() } == key && cursor.val_valid();
    found.then(|| unsafe { cursor.val().downcast::<Row>() }.clone())
}

fn circuit_failed(schema: &TableSchema, during: &'static str, error: dbsp::Error) -> EngineError {
    EngineError::Circuit { view: ViewName::new(schema.name.to_string()), during, source: Box::new(error) }
}
