//! The connectors pass the suites of the kit. The code on `docs/src/sinks/your-own.md` and `docs/src/sources/your-own.md` is theirs.

mod numbered_files;
mod sqlite;
