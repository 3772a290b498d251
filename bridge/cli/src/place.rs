//! Where files go: a folder, or a prefix of an object store, which is reached as `[storage]` and the usual
//! AWS environment say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use tidegate_core::{ConnectorError, ErrorKind, chain};
use tidegate_duck::lake::Storage;
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
    let store = builder(storage, place).with_url(url.as_str()).build().map_err(|error| refuse(chain(&error)))?;
    Ok(Place::Store { store: Arc::new(store), prefix, url: place.trim_end_matches('/').to_owned() })
}

/// How a URL is reached. Where no section says it, credentials may also be those of the machine.
fn builder(storage: &Storage, url: &str) -> AmazonS3Builder {
    if let Some(access) = storage.place(url) {
        return access.store(std::env::vars_os());
    }
    let builder = AmazonS3Builder::from_env();
    match &storage.access(url).endpoint {
        // Who names such an address means it.
        Some(endpoint) if endpoint.starts_with("http://") => builder.with_allow_http(true),
        _ => builder,
    }
}

#[cfg(test)]
mod tests {
    use object_store::ClientConfigKey;
    use object_store::aws::AmazonS3ConfigKey;
    use tidegate_duck::lake::S3Access;

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
    fn an_endpoint_without_tls_needs_no_further_word() {
        let allows = |endpoint: &str| {
            let storage = Storage::new(|name| (name == "AWS_ENDPOINT_URL").then(|| endpoint.to_owned()), Vec::new());
            builder(&storage, "s3://b/p").get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp))
        };
        assert_eq!(allows("http://localhost:9000").as_deref(), Some("true"));
        assert_ne!(allows("https://s3.example").as_deref(), Some("true"));
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
        let builder = own.store(variables.map(|(name, value)| (name.into(), value.into())).into_iter());
        assert_eq!(value(&builder, AmazonS3ConfigKey::Token), None);
        assert_eq!(value(&builder, AmazonS3ConfigKey::SecretAccessKey).as_deref(), Some("mine"));
        assert_eq!(value(&builder, AmazonS3ConfigKey::Region).as_deref(), Some("r"));
    }
}
