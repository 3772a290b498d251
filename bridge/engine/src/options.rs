//! What an engine is made with.

use std::sync::LazyLock;

/// Resources of new circuits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Worker threads a circuit, at least 1. A circuit keeps the number it was made with.
    pub workers: usize,
    /// Bytes of memory beyond which state goes to disk.
    pub memory_limit: Option<u64>,
    /// What is done to be faster; the same when state is resumed.
    pub shortcuts: Shortcuts,
}

/// What can be left out without a change in any result: tests compare. All are taken by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortcuts {
    /// Rows go from operator to operator as they are encoded, not through Arrow, where nothing is computed on the way.
    pub direct: bool,
    /// What a view reads in several places is computed and kept once.
    pub shared: bool,
    /// A join on the keys of groups reads the groups as they lie, and keeps no rows of its own for that side.
    pub groups_as_sides: bool,
    /// Views that do not read each other are computed at the same time.
    pub side_by_side: bool,
}

impl Default for Shortcuts {
    fn default() -> Self {
        Shortcuts { direct: true, shared: true, groups_as_sides: true, side_by_side: true }
    }
}

impl EngineOptions {
    /// Options with all shortcuts.
    pub fn new(workers: usize, memory_limit: Option<u64>) -> EngineOptions {
        EngineOptions { workers, memory_limit, shortcuts: Shortcuts::default() }
    }

    /// Threads that compute circuits at the same time.
    pub(crate) fn threads(&self) -> usize {
        if self.shortcuts.side_by_side { *CORES } else { 1 }
    }
}

/// Cores of the machine, asked for once: Linux reads files for the answer.
static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
