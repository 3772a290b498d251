//! The cache folder that `cargo xtask setup` fills.

use std::path::{Path, PathBuf};

/// A place in the cache folder, which is there when `file` below it is.
///
/// # Panics
/// When it is not there.
pub fn place(name: &str, file: &Path) -> PathBuf {
    let place = path(name);
    assert!(place.join(file).is_file(), "there is no {}: run 'cargo xtask setup'", place.display());
    place
}

/// Where a place in the cache folder is, or would be.
///
/// # Panics
/// When nothing says where the cache folder is.
pub fn path(name: &str) -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    caches.expect("XDG_CACHE_HOME or HOME is set").join("tidegate").join(name)
}
