//! The engine, closed outside of async code: its circuits have an async runtime of their own, which
//! must not be dropped on a thread that runs another.

use std::ops::{Deref, DerefMut};

use tidegate_engine::Engine;

const OPEN: &str = "the engine is only closed to be opened again at once";

/// An engine that may be dropped anywhere.
pub(crate) struct OpenEngine(Option<Engine>);

impl OpenEngine {
    pub fn new(engine: Engine) -> Self {
        OpenEngine(Some(engine))
    }

    /// Lets go of the engine's folder. The next thing to do is to put another in its place.
    pub fn close(&mut self) {
        if let Some(engine) = self.0.take() {
            let closing = std::thread::spawn(move || drop(engine));
            if closing.join().is_err() {
                tracing::warn!(name: "engine_panicked", "the engine panicked while it was closed");
            }
        }
    }
}

impl Deref for OpenEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.0.as_ref().expect(OPEN)
    }
}

impl DerefMut for OpenEngine {
    fn deref_mut(&mut self) -> &mut Engine {
        self.0.as_mut().expect(OPEN)
    }
}

impl Drop for OpenEngine {
    fn drop(&mut self) {
        self.close();
    }
}
