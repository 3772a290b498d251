//! The status page's files, which are in the binary.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What a browser may do with them: nothing from elsewhere.
const POLICY: &str =
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal: $type:expr),* $(,)?) => {
        &[$(($name, $type, include_str!(concat!("assets/", $name)))),*]
    };
}

const FILES: &[(&str, &str, &str)] = files! {
    "index.html": HTML,
    "style.css": CSS,
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "chart.js": SCRIPT,
    "control.js": SCRIPT,
    "dom.js": SCRIPT,
    "format.js": SCRIPT,
    "graph.js": SCRIPT,
    "layout.js": SCRIPT,
    "lineage.js": SCRIPT,
    "overview.js": SCRIPT,
    "rows.js": SCRIPT,
    "state.js": SCRIPT,
    "view.js": SCRIPT,
};

/// A file of the page; the page itself by an empty name.
pub fn file(name: &str) -> Response {
    let name = if name.is_empty() { "index.html" } else { name };
    let Some((_, content_type, text)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, *content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, *text).into_response()
}
