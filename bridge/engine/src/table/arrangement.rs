//! The circuit of a table state: an input, and the integral of what went into it.

use std::path::Path;

use dbsp::circuit::circuit_builder::Stream;
use dbsp::typed_batch::SpineSnapshot;
use dbsp::{DBSPHandle, IndexedZSet, OutputHandle, RootCircuit, Runtime};
use tidegate_core::{TableName, ViewName};
use uuid::Uuid;

use crate::EngineError;
use crate::circuit::config;
use crate::options::EngineOptions;

/// Where a circuit keeps its files, and how it starts.
pub(super) struct Place<'a> {
    pub path: &'a Path,
    pub options: &'a EngineOptions,
    pub checkpoint: Option<Uuid>,
}

/// An integral `C` of what comes in through `I`. (The bounds are on the methods: rustdoc of Rust 1.95 does not
/// survive them here.)
pub(super) struct Arrangement<C, I> {
    /// Takes what the next transaction adds.
    pub input: I,
    /// The integral after the last transaction.
    pub content: C,
    table: TableName,
    dbsp: DBSPHandle,
    output: OutputHandle<C>,
    read: fn(&OutputHandle<C>) -> C,
    /// The newest checkpoint, if nothing happened since.
    clean_checkpoint: Option<Uuid>,
}

/// Starts the circuit; `input` makes its input stream.
pub(super) fn open<B: IndexedZSet + Send, I: Send + 'static>(
    table: &TableName,
    place: &Place<'_>,
    input: fn(&RootCircuit) -> (Stream<RootCircuit, B>, I),
) -> Result<Arrangement<SpineSnapshot<B>, I>, EngineError> {
    let failed = |source| circuit_failed(table, "opening its state", source);
    let config = config(place.path, place.options, place.checkpoint);
    let config = config.map_err(|error| failed(dbsp::Error::Storage(error)))?;
    let (dbsp, (input, output)) = Runtime::init_circuit(config, move |circuit: &mut RootCircuit| {
        let (rows, input) = input(circuit);
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
    let read: fn(&OutputHandle<SpineSnapshot<B>>) -> SpineSnapshot<B> = |output| output.concat();
    let (table, content) = (table.clone(), read(&output));
    let mut arrangement = Arrangement { input, content, table, dbsp, output, read, clean_checkpoint: None };
    // A transaction without input makes the integral visible.
    arrangement.transaction()?;
    arrangement.clean_checkpoint = place.checkpoint;
    Ok(arrangement)
}

impl<C, I> Arrangement<C, I> {
    /// Adds what went into the input.
    pub fn transaction(&mut self) -> Result<(), EngineError> {
        self.dbsp.transaction().map_err(|error| circuit_failed(&self.table, "stepping", error))?;
        self.clean_checkpoint = None;
        self.content = (self.read)(&self.output);
        Ok(())
    }

    pub fn checkpoint(&mut self) -> Result<Uuid, EngineError> {
        if let Some(checkpoint) = self.clean_checkpoint {
            return Ok(checkpoint);
        }
        let saved = self.dbsp.checkpoint().run();
        let saved = saved.map_err(|error| circuit_failed(&self.table, "saving its checkpoint", error))?;
        self.clean_checkpoint = Some(saved.uuid);
        Ok(saved.uuid)
    }

    pub fn retain(&mut self, keep: &[Uuid]) -> Result<(), EngineError> {
        let removed = self.dbsp.gc_checkpoint(keep.iter().copied().collect());
        removed.map(|_| ()).map_err(|error| circuit_failed(&self.table, "removing old checkpoints", error))
    }

    pub fn stop(self) {
        // A worker that panicked has said so in the step that failed.
        let _ = self.dbsp.kill();
    }
}

fn circuit_failed(table: &TableName, during: &'static str, error: dbsp::Error) -> EngineError {
    EngineError::Circuit { view: ViewName::new(table.to_string()), during, source: error.into() }
}
