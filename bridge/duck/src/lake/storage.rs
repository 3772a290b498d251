//! Objects on S3: how they are reached, as the pipeline file and the usual AWS environment say, and how
//! DuckDB and object stores are told.

use std::ffi::OsString;
use std::fmt;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use crate::{Duck, DuckError, Extension, quote_ident, quote_literal};

/// How objects below a URL are reached. What is `None` is taken from the AWS environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Access {
    /// `s3://bucket` or `s3://bucket/prefix`.
    pub below: String,
    /// A URL; `None` for Amazon's own.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
}

/// How all objects are reached.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Storage {
    environment: S3Access,
    places: Vec<S3Access>,
}

/// Its secrets stay unsaid.
impl fmt::Debug for S3Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Access").field("below", &self.below).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Storage {
    /// These places, and for all others what the variables of the AWS environment say.
    pub fn new(variable: impl Fn(&str) -> Option<String>, places: Vec<S3Access>) -> Storage {
        let set = |names: &[&str]| names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
        let environment = S3Access {
            below: String::new(),
            endpoint: set(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]),
            region: set(&["AWS_REGION", "AWS_DEFAULT_REGION"]),
            access_key_id: set(&["AWS_ACCESS_KEY_ID"]),
            secret_access_key: set(&["AWS_SECRET_ACCESS_KEY"]),
            session_token: set(&["AWS_SESSION_TOKEN"]),
        };
        let places = places.into_iter().map(|place| place.or(&environment)).collect();
        Storage { environment, places }
    }

    /// What the environment of this process says.
    pub fn of_environment() -> Storage {
        Storage::new(|name| std::env::var(name).ok(), Vec::new())
    }

    /// The place with the longest URL that a URL is in; `None` where the environment alone decides.
    pub fn place(&self, url: &str) -> Option<&S3Access> {
        let holds = |place: &&S3Access| {
            url.strip_prefix(&place.below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.places.iter().filter(holds).max_by_key(|place| place.below.len())
    }

    /// How an object is reached: as the place says that it is in, and elsewhere as the environment does.
    pub fn access(&self, url: &str) -> &S3Access {
        self.place(url).unwrap_or(&self.environment)
    }

    /// Texts that must not be shown.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let all = self.places.iter().chain([&self.environment]);
        all.flat_map(|place| [&place.secret_access_key, &place.session_token]).flatten().map(String::as_str)
    }

    /// Makes objects on S3 available to a DuckDB.
    pub fn make_available(&self, duck: &Duck) -> Result<(), DuckError> {
        duck.load(Extension::Httpfs)?;
        self.statements().iter().try_for_each(|statement| duck.execute(statement))
    }

    /// Runs an `ATTACH`. Where the files of a lake are is known only then.
    pub fn attach(&self, duck: &Duck, statement: &str) -> Result<(), DuckError> {
        match duck.execute(statement) {
            Err(DuckError::NeedsHttpfs { .. }) => {
                self.make_available(duck)?;
                duck.execute(statement)
            }
            attached => attached,
        }
    }

    /// The statements that make DuckDB's secrets. It takes the one with the longest scope that a URL begins with.
    fn statements(&self) -> Vec<String> {
        let all = [&self.environment].into_iter().chain(&self.places);
        all.enumerate().filter_map(|(number, place)| place.statement(number)).collect()
    }
}

impl S3Access {
    /// A store that is reached so, and where this is silent as the variables say. Credentials are these alone: what
    /// a section leaves open of them was taken from the environment when it was read.
    pub fn store(&self, variables: impl Iterator<Item = (OsString, OsString)>) -> AmazonS3Builder {
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
        let S3Access { below: _, endpoint, region, access_key_id, secret_access_key, session_token } = self.clone();
        if let Some(endpoint) = endpoint {
            builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        let options = [
            (Region, region),
            (AccessKeyId, access_key_id),
            (SecretAccessKey, secret_access_key),
            (Token, session_token),
        ];
        options.into_iter().fold(builder, |builder, (option, value)| match value {
            Some(value) => builder.with_config(option, value),
            None => builder,
        })
    }

    fn or(self, other: &S3Access) -> S3Access {
        // A key without its own secret, or a token without its own key, would be a mixture of two people.
        let own = self.access_key_id.is_some();
        let secret = |mine: Option<String>, theirs: &Option<String>| if own { mine } else { mine.or(theirs.clone()) };
        S3Access {
            endpoint: self.endpoint.or(other.endpoint.clone()),
            region: self.region.or(other.region.clone()),
            secret_access_key: secret(self.secret_access_key, &other.secret_access_key),
            session_token: secret(self.session_token, &other.session_token),
            access_key_id: self.access_key_id.or(other.access_key_id.clone()),
            below: self.below,
        }
    }

    fn statement(&self, number: usize) -> Option<String> {
        let texts = [
            ("KEY_ID", &self.access_key_id),
            ("REGION", &self.region),
            ("SECRET", &self.secret_access_key),
            ("SESSION_TOKEN", &self.session_token),
        ];
        let text = |(option, value): (&str, &Option<String>)| {
            value.as_ref().map(|value| format!("{option} {}", quote_literal(value)))
        };
        let mut options: Vec<String> = texts.into_iter().filter_map(text).collect();
        if let Some(endpoint) = &self.endpoint {
            let (scheme, place) = endpoint.split_once("://").unwrap_or(("https", endpoint));
            let place = quote_literal(place.trim_end_matches('/'));
            options.push(format!("ENDPOINT {place}, URL_STYLE 'path', USE_SSL {}", scheme != "http"));
        }
        if options.is_empty() {
            return None;
        }
        if !self.below.is_empty() {
            options.push(format!("SCOPE {}", quote_literal(&format!("{}/", self.below))));
        }
        let name = quote_ident(&format!("tidegate_s3_{number}"));
        Some(format!("CREATE OR REPLACE SECRET {name} (TYPE s3, {})", options.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        let value = match name {
            "AWS_ACCESS_KEY_ID" => "id",
            "AWS_SECRET_ACCESS_KEY" => "hu'sh",
            "AWS_ENDPOINT" => "http://localhost:9000/",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn place(below: &str) -> S3Access {
        S3Access { below: below.to_owned(), ..S3Access::default() }
    }

    #[test]
    fn the_environment_becomes_a_secret() {
        let storage = Storage::new(variable, Vec::new());
        assert_eq!(
            storage.statements(),
            ["CREATE OR REPLACE SECRET \"tidegate_s3_0\" (TYPE s3, KEY_ID 'id', SECRET 'hu''sh', \
              ENDPOINT 'localhost:9000', URL_STYLE 'path', USE_SSL false)"]
        );
        assert_eq!(storage.secrets().collect::<Vec<_>>(), ["hu'sh"]);
        assert!(Storage::new(|_| None, Vec::new()).statements().is_empty());
    }

    #[test]
    fn a_place_has_its_own_credentials_and_the_rest_of_the_environment() {
        let own = S3Access {
            access_key_id: Some("me".to_owned()),
            secret_access_key: Some("whisper".to_owned()),
            ..place("s3://mine")
        };
        let storage = Storage::new(variable, vec![own, S3Access { region: Some("r".to_owned()), ..place("s3://b") }]);
        assert_eq!(
            storage.statements()[1..],
            [
                "CREATE OR REPLACE SECRET \"tidegate_s3_1\" (TYPE s3, KEY_ID 'me', SECRET 'whisper', \
                 ENDPOINT 'localhost:9000', URL_STYLE 'path', USE_SSL false, SCOPE 's3://mine/')",
                "CREATE OR REPLACE SECRET \"tidegate_s3_2\" (TYPE s3, KEY_ID 'id', REGION 'r', SECRET 'hu''sh', \
                 ENDPOINT 'localhost:9000', URL_STYLE 'path', USE_SSL false, SCOPE 's3://b/')"
            ]
        );
        let shown = format!("{storage:?}");
        assert!(!shown.contains("whisper") && !shown.contains("hu'sh"), "{shown}");
    }

    #[test]
    fn the_longest_place_counts_and_buckets_are_not_prefixes() {
        let storage = Storage::new(|_| None, vec![place("s3://b"), place("s3://b/a"), place("s3://bb")]);
        let below = |url| storage.place(url).map(|place| place.below.as_str());
        assert_eq!(below("s3://b/a/x"), Some("s3://b/a"));
        assert_eq!(below("s3://b/ab"), Some("s3://b"));
        assert_eq!(below("s3://bb"), Some("s3://bb"));
        assert_eq!(below("s3://bbb/x"), None);
        assert_eq!(storage.access("s3://b/x").below, "s3://b");
        assert_eq!(Storage::new(variable, Vec::new()).access("s3://b/x").access_key_id.as_deref(), Some("id"));
    }
}
