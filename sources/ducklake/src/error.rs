//! What can go wrong with a lake, and what the caller can do about it.

use tidegate_core::{ConnectorError, ErrorKind, Position, UnsupportedType, chain};
use tidegate_duck::DuckError;
use tidegate_postgres::PostgresError;

use crate::native::FileError;

/// An error of a lake. `lake` is the source's name in the pipeline file.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The configuration says something that cannot be.
    #[error("source {lake}: {message}")]
    Config {
        /// The source.
        lake: String,
        /// What is wrong, and what to write instead.
        message: String,
    },
    /// The catalog file is not there.
    #[error(
        "source {lake}: there is no lake at {file}: create it with DuckDB (ATTACH 'ducklake:…'), or correct `catalog`"
    )]
    NoCatalog {
        /// The source.
        lake: String,
        /// The catalog's file.
        file: String,
    },
    /// The catalog follows another version of the specification.
    #[error(
        "source {lake}: its catalog has DuckLake version {found}, this program reads version {expected}: \
         use the DuckLake release that fits, or migrate the catalog"
    )]
    Version {
        /// The source.
        lake: String,
        /// What the catalog says.
        found: String,
        /// What this program reads.
        expected: &'static str,
    },
    /// A table is not there.
    #[error("source {lake}: table {table} does not exist at snapshot {snapshot}{}", did_you_mean(.near))]
    NoTable {
        /// The source.
        lake: String,
        /// The table asked for.
        table: String,
        /// When.
        snapshot: u64,
        /// Tables with a similar name.
        near: Vec<String>,
    },
    /// A column has a type that does not travel.
    #[error("source {lake}: column {column} of table {table}")]
    ColumnType {
        /// The source.
        lake: String,
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Which type, and the way out.
        source: UnsupportedType,
    },
    /// DuckLake itself reads such a table wrongly.
    #[error(
        "source {lake}: table {table} has a column {column}, and the catalog is in SQLite: DuckLake then loses and \
         repeats rows that it keeps in the catalog, because SQLite calls its own row numbers so; rename the column, or keep the catalog in \
         PostgreSQL"
    )]
    SqliteRowid {
        /// The source.
        lake: String,
        /// The table.
        table: String,
        /// The column, in its own case.
        column: String,
    },
    /// A snapshot that was asked for by number is not there.
    #[error(
        "source {lake}: snapshot {snapshot} is not in the lake (any more): it has expired; set \
         on_expired_snapshot = \"fallback\" to go on from the present snapshot"
    )]
    NoSnapshot {
        /// The source.
        lake: String,
        /// The snapshot.
        snapshot: u64,
    },
    /// The lake is behind what was read from it.
    #[error(
        "source {lake}: the lake stands at snapshot {head}, behind snapshot {read} that was read from it: it was \
         restored or replaced; restore the pipeline from a backup of the same time ('tidegate restore'), rewind to an \
         epoch before snapshot {head}, or begin with a new state folder"
    )]
    Behind {
        /// The source.
        lake: String,
        /// The newest snapshot.
        head: u64,
        /// What was read already.
        read: u64,
    },
    /// Snapshots disappeared while they were read.
    #[error("source {lake}: snapshots between {from} and {to} expired while they were read")]
    ExpiredMeanwhile {
        /// The source.
        lake: String,
        /// The last snapshot consumed.
        from: u64,
        /// The end of the range.
        to: u64,
    },
    /// The lake has lost what a table held at some snapshot.
    #[error(
        "source {lake}: the lake no longer knows what table {table} held at snapshot {snapshot}: inlined deletes were \
         flushed after the file they belong to was rewritten (flush first, then rewrite); read a newer snapshot"
    )]
    Damaged {
        /// The source.
        lake: String,
        /// The table.
        table: String,
        /// The snapshot.
        snapshot: u64,
    },
    /// Deletes may have another snapshot than the one they were committed in.
    #[error(
        "source {lake}: the lake no longer tells which rows of table {table} snapshot {snapshot} deleted: its delete file was replaced \
         and cleaned up, and may have had an earlier snapshot for them; clean up files later than the pipeline reads them"
    )]
    Stamped {
        /// The source.
        lake: String,
        /// The table.
        table: String,
        /// The snapshot.
        snapshot: u64,
    },
    /// Deletion vectors have erased what a table held.
    #[error("source {lake}: {reason}; read a newer snapshot")]
    Erased {
        /// The source.
        lake: String,
        /// Of which table and snapshot, in words.
        reason: String,
    },
    /// The extension's change feed has other row ids than the tables.
    #[error(
        "source {lake}: a view reads {column} of table {table}, and reader = \"extension\" does not read it: set reader = \"native\" in \
         the section of the source, or leave the column out"
    )]
    VirtualColumn {
        /// The source.
        lake: String,
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// Deletion vectors keep no history.
    #[error(
        "source {lake}: table {table} has deletion vectors (puffin files), which keep no history of deletes: switch \
         them off (CALL lake.set_option('write_deletion_vectors', false)), rewrite the table's files \
         (ducklake_rewrite_data_files with delete_threshold => 0) and expire the snapshots before; or set deletion_vectors = \"diff\""
    )]
    DeletionVectors {
        /// The source.
        lake: String,
        /// The table.
        table: String,
    },
    /// A file that the catalog names is not there.
    #[error(
        "source {lake}: a file of the lake is missing, though its catalog names it ({message}): restore the file, \
         or check data_path"
    )]
    MissingFile {
        /// The source.
        lake: String,
        /// What DuckDB says, with the file's name.
        message: String,
    },
    /// A file was removed by upkeep of the lake while it was read.
    #[error("source {lake}: a file was merged or cleaned up while it was read")]
    FileGone {
        /// The source.
        lake: String,
    },
    /// A file of the lake cannot be read, or is not what the catalog says.
    #[error("source {lake}: a file of the lake cannot be read")]
    File {
        /// The source.
        lake: String,
        /// Which file, and why not.
        source: Box<FileError>,
    },
    /// Inlined rows were flushed while they were read.
    #[error("source {lake}: rows were moved from the catalog to files while they were read")]
    Moved {
        /// The source.
        lake: String,
    },
    /// A snapshot was removed while it was read.
    #[error("source {lake}: a snapshot expired while it was read")]
    SnapshotGone {
        /// The source.
        lake: String,
    },
    /// A position of another kind of source.
    #[error("source {lake}: {position} is not a snapshot of a lake")]
    NotASnapshot {
        /// The source.
        lake: String,
        /// What came.
        position: Position,
    },
    /// DuckDB refuses.
    #[error("source {lake}: {doing} failed")]
    Duck {
        /// The source.
        lake: String,
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: DuckError,
    },
    /// The catalog's database refuses, or cannot be reached.
    #[error("source {lake}: {message}")]
    Catalog {
        /// The source.
        lake: String,
        /// What was being done, and what the database says; no values and no secrets.
        message: String,
        /// What the caller should do.
        kind: ErrorKind,
    },
    /// A table of the catalog is not there.
    #[error("source {lake}: {message}")]
    CatalogTable {
        /// The source.
        lake: String,
        /// What was being done, and which table it was.
        message: String,
    },
    /// The catalog has a value that it cannot have.
    #[error(
        "source {lake}: column {column} of {table} in the catalog is not {wanted}: the catalog is damaged, or was \
         written by a release of DuckLake that this program does not know"
    )]
    CatalogValue {
        /// The source.
        lake: String,
        /// The catalog table, or the tables asked together.
        table: String,
        /// The column.
        column: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The catalog keeps a value that is none of its column's type.
    #[error(
        "source {lake}: column {column} of {table} holds a value that does not read as {wanted}, which DuckLake \
         itself does not read back either: delete the row, and insert it again with \
         CALL lake.set_option('data_inlining_row_limit', 0)"
    )]
    InlinedValue {
        /// The source.
        lake: String,
        /// The table of inlined rows.
        table: String,
        /// The column.
        column: String,
        /// DuckDB's name of the type.
        wanted: String,
    },
    /// The catalog's server refuses.
    #[error("source {lake}")]
    Server {
        /// The source.
        lake: String,
        /// What was being done, and why not.
        source: PostgresError,
    },
    /// The reading task ended without an answer.
    #[error("source {lake}: the reader ended without an answer")]
    Abandoned {
        /// The source.
        lake: String,
    },
}

impl LakeError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            LakeError::Config { .. }
            | LakeError::NoCatalog { .. }
            | LakeError::Version { .. }
            | LakeError::NoTable { .. }
            | LakeError::SqliteRowid { .. }
            | LakeError::VirtualColumn { .. }
            | LakeError::CatalogTable { .. }
            | LakeError::ColumnType { .. } => ErrorKind::Reconfigure,
            LakeError::NoSnapshot { .. }
            | LakeError::Behind { .. }
            | LakeError::Damaged { .. }
            | LakeError::Stamped { .. }
            | LakeError::Erased { .. }
            | LakeError::DeletionVectors { .. }
            | LakeError::CatalogValue { .. }
            | LakeError::InlinedValue { .. }
            | LakeError::MissingFile { .. } => ErrorKind::Stop,
            LakeError::ExpiredMeanwhile { .. }
            | LakeError::FileGone { .. }
            | LakeError::Moved { .. }
            | LakeError::SnapshotGone { .. } => ErrorKind::Retry,
            LakeError::NotASnapshot { .. } | LakeError::Abandoned { .. } => ErrorKind::Bug,
            LakeError::Catalog { kind, .. } => *kind,
            LakeError::Duck { source, .. } => source.kind(),
            LakeError::Server { source, .. } if source.is_passing() => ErrorKind::Retry,
            LakeError::Server { .. } => ErrorKind::Reconfigure,
            LakeError::File { source, .. } => source.kind(),
        }
    }
}

impl From<LakeError> for ConnectorError {
    /// One message says all of it, so that nothing is told twice down the chain.
    fn from(error: LakeError) -> Self {
        let message = match &error {
            LakeError::Duck { source, .. } => format!("{error}: {source}"),
            LakeError::ColumnType { source, .. } => format!("{error}: {source}"),
            LakeError::File { lake, source } => format!("source {lake}: {}", chain(source.as_ref())),
            LakeError::Server { lake, source } => format!("source {lake}: {}", chain(source)),
            _ => error.to_string(),
        };
        ConnectorError::new(error.kind(), message)
    }
}

fn did_you_mean(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(": did you mean {}?", names.join(" or ")),
    }
}
