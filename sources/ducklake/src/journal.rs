//! Catalogs in SQLite, whose readers hold up writers unless there is a write-ahead log.

use tidegate_duck::lake::LakeCatalog;
use tidegate_duck::{Duck, Extension, Gate, quote_literal};

/// Switches a SQLite catalog to write-ahead logging, in which long readings do not hold up
/// writers. It stays so until somebody switches back. Where that cannot be done, writers wait. Answers whether there
/// was a catalog to do it for.
pub fn prepare_for_writers(lake: &str, catalog: &LakeCatalog) -> bool {
    let LakeCatalog::Sqlite(file) = catalog else { return false };
    if !file.exists() {
        return false;
    }
    // The library inside DuckDB's extension does not see the locks of ours.
    let _pass = Gate::of(file).share();
    let switch = || {
        let duck = Duck::open_in_memory()?;
        duck.load(Extension::SqliteScanner)?;
        let file = quote_literal(&file.to_string_lossy());
        duck.execute(&format!("ATTACH {file} AS catalog (TYPE sqlite, JOURNAL_MODE 'WAL', BUSY_TIMEOUT 5000)"))?;
        duck.execute("SELECT count(*) FROM catalog.ducklake_metadata; DETACH catalog")
    };
    if let Err(error) = switch() {
        tracing::warn!(name: "catalog_without_wal", source = lake,
            %error,
            "the catalog has no write-ahead log; attach it with META_JOURNAL_MODE 'WAL' where it is written"
        );
    }
    true
}
