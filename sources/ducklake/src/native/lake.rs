//! A lake that is read natively: its catalog, and its files.

use tidegate_core::{TableName, TableSchema};
use tidegate_duck::Duck;
use tidegate_duck::lake::{LakeCatalog, Storage};
use tokio::runtime::Handle;

use super::catalog::Client;
use super::parquet::{FileError, Files};
use super::rows::Rows;
use super::session::Session;
use super::types::{duckdb_type, top};
use crate::catalog::Catalog;
use crate::config::Attachment;
use crate::error::LakeError;
use crate::journal::prepare_for_writers;
use crate::source::FilesRead;
use crate::tables::schemas;

/// A lake. Its calls block, on threads of a Tokio runtime.
pub struct NativeLake {
    name: String,
    attachment: Attachment,
    client: Option<Client>,
    rows: Option<Rows>,
    types: Option<Duck>,
    is_prepared: bool,
}

impl NativeLake {
    /// A lake that is not connected yet.
    pub fn new(name: String, attachment: Attachment) -> Self {
        NativeLake { name, attachment, client: None, rows: None, types: None, is_prepared: false }
    }

    /// Reaches files on S3 so.
    pub fn set_storage(&mut self, storage: Storage) {
        self.attachment.storage = storage;
        self.rows = None;
    }

    /// Makes readings not hold up writers, where that can be done.
    pub fn prepare_for_writers(&mut self) {
        self.is_prepared = self.is_prepared || prepare_for_writers(&self.name, &self.attachment.catalog);
    }

    /// Runs something to which the catalog shows one state.
    pub fn reading<T>(&mut self, run: impl FnOnce(&Session<'_, '_>) -> Result<T, LakeError>) -> Result<T, LakeError> {
        let vectors = self.attachment.deletion_vectors;
        self.client()?.reading(|reading| run(&Session::new(reading, vectors)))
    }

    /// The same for polls, which follow one another and ask much the same.
    pub fn following<T>(&mut self, run: impl FnOnce(&Session<'_, '_>) -> Result<T, LakeError>) -> Result<T, LakeError> {
        let vectors = self.attachment.deletion_vectors;
        self.client()?.following(|reading| run(&Session::new(reading, vectors)))
    }

    fn client(&mut self) -> Result<&mut Client, LakeError> {
        let NativeLake { name, attachment, client, .. } = self;
        if let Some(file) = attachment.catalog.file().filter(|file| !file.exists()) {
            return Err(LakeError::NoCatalog { lake: name.clone(), file: file.display().to_string() });
        }
        Ok(match client {
            Some(client) => client,
            None => client.insert(Client::open(name, attachment)?),
        })
    }

    /// The newest snapshot, where it costs one statement.
    pub fn glance(&self) -> Option<u64> {
        self.client.as_ref()?.glance()
    }

    /// Its files.
    pub fn rows(&mut self) -> Result<&Rows, LakeError> {
        let NativeLake { name, attachment, rows, .. } = self;
        let runtime = Handle::try_current().map_err(|_| LakeError::Abandoned { lake: name.clone() })?;
        let files = || Files::new(attachment.storage.clone(), runtime.clone());
        let rows = rows.get_or_insert_with(|| Rows::new(name, files()));
        rows.drive_by(runtime);
        Ok(rows)
    }

    /// What was read of its files so far.
    pub fn files_read(&self) -> FilesRead {
        let meter = self.rows.as_ref().map(Rows::meter);
        meter.map_or_else(FilesRead::default, |meter| FilesRead { requests: meter.requests(), bytes: meter.bytes() })
    }

    /// Tells files that upkeep of the lake took away meanwhile from those that should be there.
    pub fn unread<T>(&mut self, result: Result<T, LakeError>) -> Result<T, LakeError> {
        let file = match &result {
            Err(LakeError::File { source, .. }) => match source.as_ref() {
                FileError::Gone { file } => file.clone(),
                _ => return result,
            },
            _ => return result,
        };
        let lake = self.name.clone();
        Err(match self.reading(|session| session.names_file(&file)) {
            Ok(false) => LakeError::FileGone { lake },
            Ok(true) => LakeError::MissingFile { lake, message: file },
            Err(error) => error,
        })
    }

    /// The schemas of some tables at a snapshot (`None`: the newest), in the order asked.
    pub fn tables(&mut self, wanted: &[TableName], at: Option<u64>) -> Result<Vec<TableSchema>, LakeError> {
        let types = match self.types.take() {
            Some(types) => types,
            None => Duck::open_in_memory().map_err(|source| self.failed(source))?,
        };
        let in_sqlite = matches!(self.attachment.catalog, LakeCatalog::Sqlite(_));
        let schemas = self.reading(|session| {
            let snapshot = session.resolve(at)?;
            schemas(session, wanted, snapshot, in_sqlite, &|table| {
                let columns = session.columns_at(&[table.id], snapshot)?.remove(&table.id).unwrap_or_default();
                let top = top(&columns);
                let column = |row: &&crate::catalog::ColumnRow| {
                    let written = duckdb_type(row, &columns);
                    Ok((row.name.clone(), spelt(&types, written), row.nullable))
                };
                top.iter().map(column).collect()
            })
        });
        self.types = Some(types);
        schemas
    }

    fn failed(&self, source: tidegate_duck::DuckError) -> LakeError {
        LakeError::Duck { lake: self.name.clone(), doing: "opening DuckDB", source }
    }
}

/// A type as DuckDB spells it; one that it does not know stays as it is, and is refused by name.
fn spelt(types: &Duck, written: String) -> String {
    if !written.contains(['(', '[']) {
        return written;
    }
    let described = types.describe_columns(&format!("SELECT CAST(NULL AS {written})"));
    described.ok().and_then(|columns| columns.into_iter().next()).map_or(written, |(_, spelt, _)| spelt)
}
