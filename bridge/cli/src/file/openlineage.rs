//! `[openlineage]`: who is told where the data of the views comes from.

use std::path::{Path, PathBuf};

use reqwest::header::HeaderValue;
use url::Url;

use super::{Document, Section};

/// What the section says.
pub struct OpenLineage {
    pub target: Target,
    /// The jobs' namespace; the pipeline's name where it is not given.
    pub namespace: Option<String>,
}

/// Where events go.
pub enum Target {
    /// To a server.
    Url {
        /// Its root: `http://marquez:5000`.
        url: Url,
        /// `Authorization: Bearer …`
        authorization: Option<HeaderValue>,
    },
    /// To the end of a file.
    File(PathBuf),
}

/// Reads the section; `None` only with a fault.
pub(super) fn read(document: &Document, folder: &Path, mut section: Section<'_>) -> Option<OpenLineage> {
    let offset = section.offset();
    let names_none = section.place_of("url").is_none() && section.place_of("path").is_none();
    let (url, path) = (section.text("url"), section.text("path"));
    let api_key = section.text("api_key");
    let namespace = section.text("namespace");
    section.end();
    if let Some(namespace) = namespace.as_ref().filter(|namespace| namespace.value.trim().is_empty()) {
        document.fault(namespace.offset, "`namespace` is empty: leave it out for the pipeline's name");
        return None;
    }
    let authorization = match &api_key {
        None => None,
        Some(key) if path.is_some() => {
            document.fault(key.offset, "an `api_key` is for a server: remove it, or write `url` instead of `path`");
            return None;
        }
        Some(key) => {
            let header = HeaderValue::from_str(&format!("Bearer {}", key.value));
            let Ok(mut header) = header else {
                document.fault(key.offset, "`api_key` has characters that no HTTP header may have");
                return None;
            };
            header.set_sensitive(true);
            Some(header)
        }
    };
    let target = match (url, path) {
        (Some(_), Some(path)) => {
            document.fault(
                path.offset,
                "[openlineage] has a `url` and a `path`: events go to one of them, remove the other",
            );
            return None;
        }
        (Some(url), None) => {
            let parsed = Url::parse(&url.value).ok();
            let is_server = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
            let Some(parsed) = parsed.filter(is_server) else {
                document.fault(url.offset, "`url` is the address of a server: http://host:port or https://host");
                return None;
            };
            if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
                document.fault(url.offset, "`url` has more in it than an address: a key goes into `api_key`");
                return None;
            }
            Target::Url { url: parsed, authorization }
        }
        (None, Some(path)) => Target::File(folder.join(path.value)),
        (None, None) => {
            if names_none {
                document.fault(offset, "[openlineage] says not where events go: add a `url` or a `path`");
            }
            return None;
        }
    };
    Some(OpenLineage { target, namespace: namespace.map(|namespace| namespace.value) })
}
