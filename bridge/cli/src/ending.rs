//! How the last run ended, where it did not do what it should: kept in the state folder for whoever comes to look.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidegate_runtime::{Clock, Repair, is_running};

use crate::failure::Failure;

const FILE: &str = "ending.json";

/// The end of a run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When, in UTC.
    pub at: String,
    /// 1: retry may help, 2: wrong usage or configuration, 3: stopped to protect data.
    pub exit_code: u8,
    /// What was said.
    pub messages: Vec<String>,
    /// What a person may do about it by a command.
    pub repairs: Vec<Repair>,
}

impl Ending {
    /// The commands that mend it, as one types them.
    pub fn fixes(&self, pipeline: &Path) -> Vec<String> {
        self.repairs.iter().map(|repair| command(repair, pipeline)).collect()
    }
}

/// Writes down why a run ended, in a state folder that is there and that nobody else works on.
pub fn note(state_dir: &Path, failure: &Failure) {
    if !state_dir.is_dir() || is_running(state_dir) {
        return;
    }
    let ending = Ending {
        at: Clock::default().now().to_string(),
        exit_code: failure.code(),
        messages: failure.messages().to_vec(),
        repairs: failure.repairs().to_vec(),
    };
    let path = state_dir.join(FILE);
    let part = path.with_extension("part");
    let written = serde_json::to_vec(&ending).map_err(std::io::Error::other);
    let written = written.and_then(|text| fs::write(&part, text)).and_then(|()| fs::rename(&part, &path));
    // The failure itself is told in any case.
    if let Err(error) = written {
        tracing::debug!(%error, path = %path.display(), "why the run ended is not written down");
    }
}

/// Forgets it: a run has begun.
pub fn forget(state_dir: &Path) {
    let path = state_dir.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(name: "ending_not_removed", %error, path = %path.display(), "why the run before ended cannot be removed");
        }
        _ => {}
    }
}

/// How the last run ended, if it failed and none goes on. A file that cannot be read says nothing.
pub fn read(state_dir: &Path) -> Option<Ending> {
    if is_running(state_dir) {
        return None;
    }
    serde_json::from_slice(&fs::read(state_dir.join(FILE)).ok()?).ok()
}

/// The command that repairs, as one types it.
pub fn command(repair: &Repair, pipeline: &Path) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-+@%".contains(c);
    let text = pipeline.to_string_lossy();
    let pipeline = match text.chars().all(plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    };
    match repair {
        Repair::Resnapshot(source) => format!("tidegate resnapshot {pipeline} {source}"),
        Repair::Resync(sink) => format!("tidegate resync {pipeline} {sink}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_typed_as_they_are() {
        let resync = Repair::Resync("mart".to_owned());
        assert_eq!(command(&resync, Path::new("a/b.toml")), "tidegate resync a/b.toml mart");
        assert_eq!(command(&resync, Path::new("it's here.toml")), r"tidegate resync 'it'\''s here.toml' mart");
    }
}
