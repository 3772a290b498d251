//! Where files are: a path of this machine or an object of a bucket.

use std::path::Component;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{OBJECT_STORE_COALESCE_DEFAULT, ObjectStore};
use tidegate_core::chain;
use tidegate_duck::lake::Storage;

use super::FileError;

const SCHEMES: [&str; 3] = ["s3://", "s3a://", "s3n://"];

/// A store, and how far apart two ranges may be to be fetched at once.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) gap: u64,
}

/// A file in a store. Files of the same `store` share one client.
#[derive(Debug)]
pub(super) struct Place {
    /// Empty for this machine.
    pub(super) bucket: Option<String>,
    pub(super) key: Path,
}

/// Takes a full path apart.
pub(super) fn place(file: &str) -> Result<Place, FileError> {
    let refuse = |fact: String| FileError::Place { file: file.to_owned(), fact };
    if let Some(rest) = SCHEMES.iter().find_map(|scheme| file.strip_prefix(scheme)) {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || key.is_empty() {
            return Err(refuse("the URL of a file is s3://bucket/key".to_owned()));
        }
        let key = Path::parse(key).map_err(|error| refuse(error.to_string()))?;
        return Ok(Place { bucket: Some(bucket.to_owned()), key });
    }
    let local = file.strip_prefix("file://").map_or(file, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
    if let Some((scheme, _)) = local.split_once("://") {
        return Err(refuse(format!("`{scheme}://` is not known to the native reader: set reader = \"extension\"")));
    }
    if !local.starts_with('/') {
        return Err(refuse("the path is not absolute: set data_path".to_owned()));
    }
    let mut path = std::path::PathBuf::from(local);
    if path.components().any(|part| part == Component::ParentDir) {
        path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(FileError::Gone { file: file.to_owned() });
            }
            Err(error) => return Err(refuse(error.to_string())),
        };
    }
    // Doubled slashes and single dots mean nothing to the machine, and are none to the object store.
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        _ => None,
    });
    let key = Path::parse(parts.collect::<Vec<_>>().join("/")).map_err(|error| refuse(error.to_string()))?;
    Ok(Place { bucket: None, key })
}

/// Opens the store of a file.
pub(super) fn open(file: &str, place: &Place, storage: &Storage) -> Result<Store, FileError> {
    let Some(bucket) = &place.bucket else {
        return Ok(Store { store: Arc::new(LocalFileSystem::new()), gap: 0 });
    };
    let builder = storage.access(file).store(std::env::vars_os());
    let store = builder.with_bucket_name(bucket).build();
    let store = store.map_err(|error| FileError::Place { file: file.to_owned(), fact: chain(&error) })?;
    Ok(Store { store: Arc::new(store), gap: OBJECT_STORE_COALESCE_DEFAULT })
}

/// Names one client: places of one bucket may have credentials of their own.
pub(super) fn client(file: &str, place: &Place, storage: &Storage) -> String {
    match &place.bucket {
        None => String::new(),
        Some(bucket) => match storage.access(file).below.as_str() {
            "" => format!("s3://{bucket}"),
            below => below.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(file: &str) -> (Option<String>, String) {
        let place = place(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        (place.bucket, place.key.to_string())
    }

    #[test]
    fn paths_are_taken_as_they_are() {
        assert_eq!(key("/a//b/./c%20d.parquet"), (None, "a/b/c%20d.parquet".to_owned()));
        assert_eq!(key("file:///a/b"), (None, "a/b".to_owned()));
        assert_eq!(key("s3://bucket/p=a%20b/x y"), (Some("bucket".to_owned()), "p=a%20b/x y".to_owned()));
    }

    #[test]
    fn what_cannot_be_reached_is_named() {
        let refusal = |file| place(file).unwrap_err().to_string();
        assert!(refusal("gs://b/k").contains("the file gs://b/k") && refusal("gs://b/k").contains("\"extension\""));
        assert!(refusal("files/x").contains("not absolute"));
        assert!(refusal("s3://bucket").contains("s3://bucket/key"));
        assert!(matches!(place("/no/such/../file"), Err(FileError::Gone { .. })));
    }
}
