//! Connectors to learn from: each is small enough to be written in an afternoon, and passes the suite that every connector passes.
//!
//! - [`numbered_files`]: a source that reads a folder of numbered files of JSON lines.
//! - [`sqlite`]: a sink that writes views as tables of a SQLite file.
//!
//! The book goes through them: `docs/src/sources/your-own.md` and `docs/src/sinks/your-own.md`.

pub mod numbered_files;
pub mod sqlite;
