//! Where files go: a folder, or a prefix of an object store, which is reached as `[storage]` and the usual
//! AWS environment say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use tidegate_core::{ConnectorError, ErrorKind, chain};
use tidegate_duck::lake::{S3Access, Storage};
use url::Url;

/// A resolved place.
pub enum Place {
    Folder(PathBuf),
    Store { store: Arc<dyn ObjectStore>, prefix: object_store::path::Path, url: String },
}

/// A path relative to `folder`, or an `s3://bucket/prefix` URL.
pub fn resolve(folder: &Path, storage: &Storage, place: &str) -> Result<Place, ConnectorError> {
    if !place.contains("://") {
        return Ok(Place::Folder(folder.join(place)));
    }
    let refuse = |fact: String| ConnectorError::new(ErrorKind::Reconfigure, fact);
    let url = Url::parse(place).map_err(|error| refuse(format!("this is not a URL: {error}")))?;
    match url.scheme() {
        "s3" | "s3a" => {}
        "file" => {
            let path = url.to_file_path().map_err(|()| refuse("a file URL has an absolute path".to_owned()))?;
            return Ok(Place::Folder(path));
        }
        other => return Err(refuse(format!("`{other}://` is not known: write a path or s3://bucket/prefix"))),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            "credentials do not belong into the URL: they come from [storage.\"s3://bucket\"] or the AWS environment"
                .to_owned(),
        ));
    }
    let prefix = object_store::path::Path::from_url_path(url.path()).map_err(|error| refuse(error.to_string()))?;
    let builder = AmazonS3Builder::from_env().with_url(url.as_str());
    let builder = match storage.place(place) {
        Some(access) => reached(builder, access),
        None => builder,
    };
    let store = builder.build().map_err(|error| refuse(chain(&error)))?;
    Ok(Place::Store { store: Arc::new(store), prefix, url: place.trim_end_matches('/').to_owned() })
}

/// A store that is reached as a section says.
fn reached(mut builder: AmazonS3Builder, access: &S3Access) -> AmazonS3Builder {
    let S3Access { below: _, endpoint, region, access_key_id, secret_access_key, session_token } = access.clone();
    if let Some(endpoint) = endpoint {
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
    }
    let options = [
        (AmazonS3ConfigKey::Region, region),
        (AmazonS3ConfigKey::AccessKeyId, access_key_id),
        (AmazonS3ConfigKey::SecretAccessKey, secret_access_key),
        (AmazonS3ConfigKey::Token, session_token),
    ];
    for (option, value) in options {
        if let Some(value) = value {
            builder = builder.with_config(option, value);
        }
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(place: &str) -> String {
        resolve(Path::new("/p"), &Storage::default(), place).err().map(|error| error.to_string()).unwrap()
    }

    #[test]
    fn folders_are_relative_to_the_pipeline_file() {
        for (place, expected) in [("out", "/p/out"), ("/x", "/x"), ("file:///y/z", "/y/z")] {
            match resolve(Path::new("/p"), &Storage::default(), place).unwrap() {
                Place::Folder(path) => assert_eq!(path, Path::new(expected)),
                Place::Store { .. } => panic!("{place} is a folder"),
            }
        }
    }

    #[test]
    fn what_cannot_be_written_to_is_refused() {
        assert_eq!(refusal("gs://b/p"), "`gs://` is not known: write a path or s3://bucket/prefix");
        let with_password = refusal("s3://key:hush@bucket/p");
        assert!(with_password.contains("AWS environment") && !with_password.contains("hush"), "{with_password}");
    }
}
