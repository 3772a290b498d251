//! Where files go: a folder, or a prefix of an object store, which is reached as `[storage]` and the usual
//! AWS environment say.

use std::ffi::OsString;
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
    let builder = match storage.place(place) {
        Some(access) => reached(std::env::vars_os(), access),
        None => AmazonS3Builder::from_env(),
    };
    let store = builder.with_url(url.as_str()).build().map_err(|error| refuse(chain(&error)))?;
    Ok(Place::Store { store: Arc::new(store), prefix, url: place.trim_end_matches('/').to_owned() })
}

/// A store that is reached as a section says, and where it is silent as the variables do. Credentials are the section's
/// alone: what it leaves open of them was taken from the environment when the section was read.
fn reached(variables: impl Iterator<Item = (OsString, OsString)>, access: &S3Access) -> AmazonS3Builder {
    use AmazonS3ConfigKey::{AccessKeyId, Region, SecretAccessKey, Token};
    let option = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("AWS_"))?;
        let option: AmazonS3ConfigKey = name.to_ascii_lowercase().parse().ok()?;
        let credential = matches!(option, AccessKeyId | SecretAccessKey | Token);
        (!credential).then_some((option, value.into_string().ok()?))
    };
    let of_environment = variables.filter_map(option);
    let mut builder =
        of_environment.fold(AmazonS3Builder::new(), |builder, (option, value)| builder.with_config(option, value));
    let S3Access { below: _, endpoint, region, access_key_id, secret_access_key, session_token } = access.clone();
    if let Some(endpoint) = endpoint {
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
    }
    let options =
        [(Region, region), (AccessKeyId, access_key_id), (SecretAccessKey, secret_access_key), (Token, session_token)];
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

    #[test]
    fn the_token_of_another_key_is_not_sent() {
        let variables = [("AWS_SESSION_TOKEN", "theirs"), ("AWS_SECRET_ACCESS_KEY", "theirs"), ("AWS_REGION", "r")];
        let value = |builder: &AmazonS3Builder, key| builder.get_config_value(&key);
        let own = S3Access {
            access_key_id: Some("me".into()),
            secret_access_key: Some("mine".into()),
            ..S3Access::default()
        };
        let builder = reached(variables.map(|(name, value)| (name.into(), value.into())).into_iter(), &own);
        assert_eq!(value(&builder, AmazonS3ConfigKey::Token), None);
        assert_eq!(value(&builder, AmazonS3ConfigKey::SecretAccessKey).as_deref(), Some("mine"));
        assert_eq!(value(&builder, AmazonS3ConfigKey::Region).as_deref(), Some("r"));
    }
}
