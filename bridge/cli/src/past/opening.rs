//! The DuckDB that answers. Opening one takes longer than everything else that a question needs before it (DuckDB makes
//! its functions anew each time), so that it is opened in a thread of its own meanwhile.

use std::cell::{Cell, OnceCell};
use std::mem::ManuallyDrop;
use std::thread::JoinHandle;

use tidegate_core::ErrorKind;
use tidegate_duck::{Duck, DuckError};

use crate::failure::Failure;

/// A DuckDB in memory: there, on its way, or opened when somebody asks for it.
pub struct Opening {
    thread: Cell<Option<JoinHandle<Result<Duck, DuckError>>>>,
    /// Never closed: nothing is written to, and the process that asked ends with the answer.
    duck: OnceCell<ManuallyDrop<Duck>>,
}

impl Opening {
    /// Begins at once.
    pub fn begin() -> Opening {
        // Without a thread it is opened when it is needed.
        let thread = std::thread::Builder::new().name("duckdb".to_owned()).spawn(Duck::open_in_memory).ok();
        Opening { thread: Cell::new(thread), duck: OnceCell::new() }
    }

    /// Begins when it is asked for, which it may never be.
    pub fn when_needed() -> Opening {
        Opening { thread: Cell::new(None), duck: OnceCell::new() }
    }

    /// The DuckDB.
    pub fn duck(&self) -> Result<&Duck, Failure> {
        if let Some(duck) = self.duck.get() {
            return Ok(duck);
        }
        let opened = match self.thread.take() {
            Some(thread) => {
                let panicked = |_| Failure::new(ErrorKind::Bug, "the thread that opens DuckDB panicked");
                thread.join().map_err(panicked)?
            }
            None => Duck::open_in_memory(),
        };
        let opened = ManuallyDrop::new(opened?);
        Ok(self.duck.get_or_init(|| opened))
    }
}

impl Drop for Opening {
    /// A process must not end while a thread of it is within DuckDB.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
