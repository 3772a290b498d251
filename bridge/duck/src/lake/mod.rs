//! What everybody who attaches a DuckLake must know: what its catalog is, which options `ATTACH`
//! takes, what of them is secret, how files elsewhere are reached, and which two spellings mean the same lake.

mod catalog;
mod options;
mod storage;

pub use catalog::{LakeCatalog, LakeIdentity};
pub use options::{AttachValue, attach_options, secrets_of_options};
pub use storage::{S3Access, Storage};

use std::path::Path;

/// A local path as it is from anywhere, relative to `base`; URLs stay as they are.
pub fn absolute(path: &str, base: &Path) -> String {
    if path.contains("://") { path.to_owned() } else { base.join(path).to_string_lossy().into_owned() }
}
