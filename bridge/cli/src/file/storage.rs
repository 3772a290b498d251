//! `[storage."s3://bucket"]`: how objects below a URL are reached.

use std::path::Path;

use tidegate_duck::lake::{S3Access, Storage};
use url::Url;

use super::{Document, Fault, Reader, Section};

/// Reads the sections. What they leave open comes from the AWS environment.
pub(super) fn read(
    document: &Document,
    sections: Vec<(String, Section<'_>)>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Storage {
    let places = sections.into_iter().filter_map(|(url, section)| place(document, &url, section)).collect();
    Storage::new(variable, places)
}

/// Reads of a file, be it a pipeline file or not, these sections alone.
pub fn storage_of_file(path: &Path) -> Result<Storage, Vec<Fault>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![Fault::of_file(path, format!("the file cannot be read: {error}"))])?;
    let variable = |name: &str| std::env::var(name).ok();
    let document = Document::new(path, text);
    let storage = Section::parse(Reader { document: &document, variable: &variable }).map(|mut root| {
        let sections = root.sections("storage");
        if sections.is_empty() {
            document.fault_of_file("there is no [storage.\"s3://bucket\"] table");
        }
        read(&document, sections, &variable)
    });
    let faults = document.into_faults();
    storage.filter(|_| faults.is_empty()).ok_or(faults)
}

fn place(document: &Document, url: &str, mut section: Section<'_>) -> Option<S3Access> {
    let offset = section.offset();
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "s3" | "s3a") && url.host_str().is_some());
    match &parsed {
        None => document.fault(offset, "a storage is named by what it is for: [storage.\"s3://bucket\"]".to_owned()),
        Some(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            document.fault(offset, "credentials do not belong into the URL: write access_key_id and secret_access_key");
        }
        Some(_) => {}
    }
    let endpoint = section.text("endpoint");
    let mut text = |key| section.text(key).map(|text| (text.value, text.offset));
    let region = text("region").map(|(value, _)| value);
    let (key, secret) = (text("access_key_id"), text("secret_access_key"));
    let session_token = text("session_token").map(|(value, _)| value);
    match (&key, &secret) {
        (Some((_, at)), None) => document.fault(*at, "an `access_key_id` needs its `secret_access_key`"),
        (None, Some((_, at))) => document.fault(*at, "a `secret_access_key` needs its `access_key_id`"),
        _ => {}
    }
    if let Some(endpoint) = &endpoint
        && !Url::parse(&endpoint.value).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    {
        document.fault(endpoint.offset, "`endpoint` is a URL: http://host:port or https://host");
    }
    section.end();
    parsed?;
    Some(S3Access {
        below: url.trim_end_matches('/').to_owned(),
        endpoint: endpoint.map(|endpoint| endpoint.value),
        region,
        access_key_id: key.map(|(value, _)| value),
        secret_access_key: secret.map(|(value, _)| value),
        session_token,
    })
}
