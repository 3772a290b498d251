//! The DuckDB that answers. Opening one takes longer than everything else that a question needs before it (DuckDB makes
//! its functions anew each time), so that it is opened in a thread of its own meanwhile.

use std::cell::{Cell, OnceCell};
use std::mem::ManuallyDrop;
use std::thread::JoinHandle;

use tidegate_core::ErrorKind;
use tidegate_duck::{Duck, DuckError, Options};

use crate::failure::Failure;

/// What is asked for, which says how many threads are worth waking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// Rows of one key: a few blocks.
    Key,
    /// Perhaps everything.
    Rows,
}

impl Sought {
    /// By the conditions on the key.
    pub fn by(key: &[String]) -> Sought {
        if key.is_empty() { Sought::Rows } else { Sought::Key }
    }

    fn open(self) -> Result<Duck, DuckError> {
        let threads = (self == Sought::Key).then_some(1);
        Duck::open_in_memory_with(&Options { threads, of_users: true, ..Options::default() })
    }
}

/// A DuckDB in memory: there, on its way, or opened when somebody asks for it.
pub struct Opening {
    sought: Sought,
    thread: Cell<Option<JoinHandle<Result<Duck, DuckError>>>>,
    /// Never closed: nothing is written to, and the process that asked ends with the answer.
    duck: OnceCell<ManuallyDrop<Duck>>,
}

impl Opening {
    /// Begins at once.
    pub fn begin(sought: Sought) -> Opening {
        // Without a thread it is opened when it is needed.
        let thread = std::thread::Builder::new().name("duckdb".to_owned()).spawn(move || sought.open()).ok();
        Opening { sought, thread: Cell::new(thread), duck: OnceCell::new() }
    }

    /// Begins when it is asked for, which it may never be.
    pub fn when_needed() -> Opening {
        Opening { sought: Sought::Rows, thread: Cell::new(None), duck: OnceCell::new() }
    }

    /// What it was opened for.
    pub fn sought(&self) -> Sought {
        self.sought
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
            None => self.sought.open(),
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
