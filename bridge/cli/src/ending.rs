//! How the last run ended, where it did not do what it should: kept in the state folder for whoever comes to look.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidegate_runtime::{Clock, Repair, is_running};

use crate::failure::Failure;

const FILE: &str = "ending.json";
/// Where the next ending goes. It has its room on the disk before there is anything to say: a full disk can be told, too.
const ROOM: &str = "ending.room";
const ROOM_BYTES: usize = 8 << 10;

/// The end of a run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When, in UTC.
    pub at: String,
    /// 1: retry may help, 2: wrong usage or configuration, 3: stopped to protect data.
    pub exit_code: u8,
    /// What was said.
    pub messages: Vec<String>,
    /// What a person may do about it.
    pub repairs: Vec<Repair>,
}

impl Ending {
    /// What mends it: commands as one types them, and sentences.
    pub fn fixes(&self, pipeline: &Path) -> Vec<String> {
        self.repairs.iter().map(|repair| step(repair, pipeline)).collect()
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
    let (room, path) = (state_dir.join(ROOM), state_dir.join(FILE));
    let written = serde_json::to_vec(&ending).map_err(io::Error::other);
    let written = written.and_then(|text| fill(&room, text)).and_then(|()| fs::rename(&room, &path));
    // The failure itself is told in any case.
    if let Err(error) = written {
        tracing::debug!(%error, path = %path.display(), "why the run ended is not written down");
    }
}

/// Writes over the room that is kept, up to its end: blanks after a JSON value mean nothing.
fn fill(room: &Path, mut text: Vec<u8>) -> io::Result<()> {
    text.resize(text.len().max(ROOM_BYTES), b' ');
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(room)?;
    file.write_all(&text)?;
    file.set_len(text.len() as u64)?;
    file.sync_data()
}

/// Forgets it: a run has begun.
pub fn forget(state_dir: &Path) {
    let path = state_dir.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(name: "ending_not_removed", %error, path = %path.display(), "why the run before ended cannot be removed");
        }
        _ => {}
    }
    // A disk that is full already leaves the message to the log.
    if let Err(error) = fill(&state_dir.join(ROOM), Vec::new()) {
        tracing::debug!(%error, "no room is kept to write down how this run ends");
    }
}

/// How the last run ended, if it failed and none goes on. A file that cannot be read says nothing.
pub fn read(state_dir: &Path) -> Option<Ending> {
    if is_running(state_dir) {
        return None;
    }
    serde_json::from_slice(&fs::read(state_dir.join(FILE)).ok()?).ok()
}

/// A command as one types it.
pub fn command(verb: &str, pipeline: &Path) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-+@%".contains(c);
    let text = pipeline.to_string_lossy();
    match text.chars().all(plain) {
        true => format!("tidegate {verb} {text}"),
        false => format!("tidegate {verb} '{}'", text.replace('\'', r"'\''")),
    }
}

/// What repairs: a command as one types it, or a sentence.
pub fn step(repair: &Repair, pipeline: &Path) -> String {
    match repair {
        Repair::Resnapshot(source) => format!("{} {source}", command("resnapshot", pipeline)),
        Repair::Resync(sink) => format!("{} {sink}", command("resync", pipeline)),
        Repair::ByHand(words) => words.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_typed_as_they_are() {
        let resync = Repair::Resync("mart".to_owned());
        assert_eq!(step(&resync, Path::new("a/b.toml")), "tidegate resync a/b.toml mart");
        assert_eq!(step(&resync, Path::new("it's here.toml")), r"tidegate resync 'it'\''s here.toml' mart");
    }
}
