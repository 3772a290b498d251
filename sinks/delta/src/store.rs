//! Where tables are: a store rooted at each table's folder, and delta-rs's view of the same place.

mod folder;

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use tidegate_core::{ErrorKind, ViewName};
use url::Url;

use crate::blocking::blocking;
use crate::config::Location;
use crate::error::DeltaSinkError;
use crate::layout;

/// Files that are removed at the same time.
const DELETIONS: usize = 16;

/// The place below which the tables are.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: Arc<dyn ObjectStore>,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Prefix { prefix: Path, url: String },
}

/// The place of one table. Paths are relative to it.
#[derive(Debug, Clone)]
pub(crate) struct TableStore {
    store: Arc<dyn ObjectStore>,
    /// The same for delta-rs.
    log_store: LogStoreRef,
    /// For messages.
    shown: String,
    /// Where it is a folder.
    folder: Option<PathBuf>,
}

/// How creating a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    Done,
    /// There is a file of that name; it was left alone.
    Exists,
}

impl Store {
    /// A folder is made absolute, so that what is written about it holds in every working folder.
    pub(crate) fn new(location: Location) -> Self {
        match location {
            Location::Folder(folder) => {
                let folder = resolved(std::path::absolute(&folder).unwrap_or(folder));
                Store { root: folder::durable(), place: Place::Folder(folder) }
            }
            Location::Store { store, prefix, url } => {
                Store { root: store, place: Place::Prefix { prefix, url: url.trim_end_matches('/').to_owned() } }
            }
        }
    }

    /// Fails where the sink's path cannot be what it must be.
    pub(crate) fn check(&self) -> Result<(), DeltaSinkError> {
        let fault = |fact: String, kind| DeltaSinkError::File {
            path: self.shown(),
            action: "used for Delta tables",
            fact,
            kind,
        };
        let path = match &self.place {
            Place::Folder(folder) => folder.to_str().map(str::to_owned),
            Place::Prefix { prefix, .. } => Some(prefix.to_string()),
        };
        let odd = path.is_none_or(|path| path.contains(['%', '#', '?']) || path.chars().any(char::is_control));
        if odd {
            let fact = "readers turn it into a URL and back, so give it a path without '%', '#' and '?'".to_owned();
            return Err(fault(fact, ErrorKind::Reconfigure));
        }
        let Place::Folder(folder) = &self.place else { return Ok(()) };
        match std::fs::metadata(folder) {
            Ok(found) if !found.is_dir() => {
                Err(fault("it is a file: give the sink the path of a folder".to_owned(), ErrorKind::Reconfigure))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                Err(fault(error.to_string(), ErrorKind::Reconfigure))
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(fault(error.to_string(), ErrorKind::Retry))
            }
            _ => Ok(()),
        }
    }

    fn shown(&self) -> String {
        match &self.place {
            Place::Folder(folder) => folder.display().to_string(),
            Place::Prefix { url, .. } => url.clone(),
        }
    }

    /// The place of a view's table.
    pub(crate) fn table(&self, view: &ViewName) -> Result<TableStore, DeltaSinkError> {
        let name = layout::folder(view);
        let shown = format!("{}/{name}", self.shown());
        let unusable = |error: &dyn std::fmt::Display| DeltaSinkError::File {
            path: shown.clone(),
            action: "named",
            fact: error.to_string(),
            kind: ErrorKind::Reconfigure,
        };
        let (path, url) = match &self.place {
            Place::Folder(folder) => {
                let folder = folder.join(&name);
                (Path::from_absolute_path(&folder).map_err(|error| unusable(&error))?, "file:///".to_owned())
            }
            Place::Prefix { prefix, url } => {
                let path = if prefix.as_ref().is_empty() { name.clone() } else { format!("{prefix}/{name}") };
                let base = Url::parse(url).map_err(|error| unusable(&error))?;
                let host = base.host_str().unwrap_or_default();
                (Path::parse(path).map_err(|error| unusable(&error))?, format!("{}://{host}/", base.scheme()))
            }
        };
        let mut url = Url::parse(&url).map_err(|error| unusable(&error))?;
        url.set_path(&format!("/{path}/"));
        let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(self.root.clone(), path));
        let log_store = default_logstore(store.clone(), self.root.clone(), &url, &StorageConfig::default());
        let folder = match &self.place {
            Place::Folder(folder) => Some(folder.join(&name)),
            Place::Prefix { .. } => None,
        };
        Ok(TableStore { store, log_store, shown, folder })
    }

    /// The names of the folders beside each other in which tables may be.
    pub(crate) async fn folders(&self) -> Result<Vec<String>, DeltaSinkError> {
        let root = match &self.place {
            Place::Folder(folder) if !folder.exists() => return Ok(Vec::new()),
            Place::Folder(folder) => Path::from_absolute_path(folder).map_err(|error| DeltaSinkError::File {
                path: self.shown(),
                action: "listed",
                fact: error.to_string(),
                kind: ErrorKind::Reconfigure,
            })?,
            Place::Prefix { prefix, .. } => prefix.clone(),
        };
        let listed = self.root.list_with_delimiter(Some(&root)).await;
        let listed = listed.map_err(|error| DeltaSinkError::store(&self.shown(), "listed", &error))?;
        Ok(listed.common_prefixes.iter().filter_map(|found| found.filename().map(str::to_owned)).collect())
    }
}

/// The folder without links and `..`, whether it exists or not.
fn resolved(folder: PathBuf) -> PathBuf {
    if let Ok(folder) = folder.canonicalize() {
        return folder;
    }
    match (folder.parent(), folder.file_name()) {
        (Some(parent), Some(name)) => resolved(parent.to_owned()).join(name),
        // A `..` below something that does not exist.
        (Some(parent), None) => resolved(parent.to_owned()).parent().map(FilePath::to_owned).unwrap_or_default(),
        _ => folder,
    }
}

/// The key of a file. Names that other writers put into the log are taken as they are.
fn key(name: &str) -> Path {
    Path::parse(name).unwrap_or_else(|_| Path::from(name))
}

impl TableStore {
    /// For messages: the table, or a file in it.
    pub(crate) fn shown(&self, name: &str) -> String {
        if name.is_empty() { self.shown.clone() } else { format!("{}/{name}", self.shown) }
    }

    pub(crate) fn log_store(&self) -> &LogStoreRef {
        &self.log_store
    }

    /// The store itself and the key of a file in it, for readers of Parquet files.
    pub(crate) fn object(&self, name: &str) -> (Arc<dyn ObjectStore>, Path) {
        (self.store.clone(), key(name))
    }

    fn fault(&self, name: &str, action: &'static str) -> impl Fn(Error) -> DeltaSinkError {
        let shown = self.shown(name);
        move |error| DeltaSinkError::store(&shown, action, &error)
    }

    /// Writes a new file whole; durable when this returns.
    pub(crate) async fn write(&self, name: &str, content: Bytes) -> Result<(), DeltaSinkError> {
        self.store.put(&key(name), content.into()).await.map_err(self.fault(name, "written"))?;
        Ok(())
    }

    /// Writes a file unless there is one of that name; atomic whoever else tries.
    pub(crate) async fn create(&self, name: &str, content: Bytes) -> Result<Created, DeltaSinkError> {
        match self.store.put_opts(&key(name), content.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(Created::Done),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Created::Exists),
            Err(error) => Err(self.fault(name, "written under a condition")(error)),
        }
    }

    /// The content of a small file.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Bytes>, DeltaSinkError> {
        let content = match self.store.get(&key(name)).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        content.map(Some).map_err(self.fault(name, "read"))
    }

    /// Removes files that nobody relies on. Failing to do so harms nobody: they are vacuumed later.
    pub(crate) async fn discard(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            if let Err(error) = self.store.delete(&key(&name)).await {
                tracing::debug!(file = %self.shown(&name), %error, "an unneeded file stays behind");
            }
        }
    }

    /// The names in the log's folder from the entry of a version on, in no order.
    pub(crate) async fn log_from(&self, version: u64) -> Result<Vec<String>, DeltaSinkError> {
        let folder = Path::from(layout::LOG);
        // Greater than every name that the version before has: they go on with "json", "checkpoint" and the like.
        let entries = match version.checked_sub(1) {
            Some(before) => {
                let offset = Path::from(format!("{}/{before:020}.z", layout::LOG));
                self.store.list_with_offset(Some(&folder), &offset)
            }
            None => self.store.list(Some(&folder)),
        };
        let entries: Vec<_> = entries.try_collect().await.map_err(self.fault(layout::LOG, "listed"))?;
        Ok(entries.iter().filter_map(|entry| entry.location.filename().map(str::to_owned)).collect())
    }

    /// Whether there is anything in the log's folder.
    pub(crate) async fn has_log(&self) -> Result<bool, DeltaSinkError> {
        let mut entries = self.store.list(Some(&Path::from(layout::LOG)));
        let first = entries.next().await.transpose().map_err(self.fault(layout::LOG, "listed"))?;
        Ok(first.is_some())
    }

    /// Every file in the table's folder.
    pub(crate) async fn files(&self) -> Result<Vec<String>, DeltaSinkError> {
        let files: Vec<_> = self.store.list(None).try_collect().await.map_err(self.fault("", "listed"))?;
        Ok(files.into_iter().map(|file| file.location.to_string()).collect())
    }

    /// Removes files; one that is not there is none.
    pub(crate) async fn delete(&self, names: Vec<String>) -> Result<(), DeltaSinkError> {
        let deleting = stream::iter(names).map(|name| async move {
            match self.store.delete(&key(&name)).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.fault(&name, "removed")(error)),
            }
        });
        deleting.buffered(DELETIONS).try_collect().await
    }

    /// Removes empty folders below the table's and itself, and makes that durable. An object store has none, and its removals
    /// are durable.
    pub(crate) async fn settle(&self) -> Result<(), DeltaSinkError> {
        let Some(path) = self.folder.clone() else { return Ok(()) };
        let settled = blocking(move || folder::remove_empty(&path)).await;
        settled.map_err(|error| self.fault("", "removed")(folder::fault(error)))
    }
}
