//! A circuit that computes on while the next rows for it are made ready.

use std::panic::resume_unwind;
use std::thread::JoinHandle;

use dbsp::DBSPHandle;

/// What a step in the background gives back.
type Stepped = (DBSPHandle, Result<(), dbsp::Error>);

/// A circuit's handle, or a thread that has it for the time of a step.
pub(crate) struct Dataflow {
    /// Away only while `step` has it.
    handle: Option<DBSPHandle>,
    step: Option<JoinHandle<Stepped>>,
}

impl Dataflow {
    pub fn new(handle: DBSPHandle) -> Dataflow {
        Dataflow { handle: Some(handle), step: None }
    }

    /// The handle, once the step that was begun is done. An error is that step's.
    pub fn at_rest(&mut self) -> Result<&mut DBSPHandle, dbsp::Error> {
        self.wait()?;
        Ok(self.handle.as_mut().expect("the handle is here while nothing steps"))
    }

    /// Begins a step of a transaction. Rows that are fed meanwhile belong to the same transaction, be it to this step
    /// or to a later one. An error is that of the step before.
    pub fn begin_step(&mut self) -> Result<(), dbsp::Error> {
        self.wait()?;
        let mut handle = self.handle.take().expect("the handle is here while nothing steps");
        self.step = Some(std::thread::spawn(move || {
            let stepped = handle.step().map(|_| ());
            (handle, stepped)
        }));
        Ok(())
    }

    /// Stops the circuit's threads.
    pub fn stop(mut self) {
        // What failed or panicked has said so in the step that did.
        let _ = self.wait();
        if let Some(handle) = self.handle.take() {
            let _ = handle.kill();
        }
    }

    fn wait(&mut self) -> Result<(), dbsp::Error> {
        let Some(step) = self.step.take() else { return Ok(()) };
        let (handle, stepped) = step.join().unwrap_or_else(|panic| resume_unwind(panic));
        self.handle = Some(handle);
        stepped
    }
}

impl Drop for Dataflow {
    /// Nothing works on in the circuit's folder once it is gone.
    fn drop(&mut self) {
        if let Some(step) = self.step.take() {
            drop(step.join());
        }
    }
}
