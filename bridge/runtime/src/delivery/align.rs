//! Where a target stands in our history, and so what it needs.

use tidegate_core::{Committed, Epoch, ViewName};

use crate::RuntimeError;
use crate::history::{History, Standing};
use crate::log::header::Link;
use crate::pending::Pending;

/// What a target needs of a view.
#[derive(Debug)]
pub(crate) enum Alignment {
    /// The whole content: it holds nothing, or the columns have changed since.
    Replace,
    /// The changes after this epoch; none when it is the last one.
    After(Epoch),
    /// To be compared with the view: its epoch is ours, but the changes after it are gone. With what to say where
    /// that cannot be done.
    Compare(RuntimeError),
}

/// Compares what a sink holds of a view with our history. `last` is the last epoch that will be
/// reached without new events.
pub(crate) fn align(
    sink: &str,
    view: &ViewName,
    held: Option<Committed>,
    history: &History,
    pending: Option<(&Pending, Link)>,
) -> Result<Alignment, RuntimeError> {
    let Some(committed) = held else { return Ok(Alignment::Replace) };
    let mismatch = |ours: String| RuntimeError::SinkMismatch {
        sink: sink.to_owned(),
        view: view.clone(),
        found: format!("epoch {} with hash {}", committed.epoch, short(&committed.hash)),
        ours,
    };
    match history.standing(&committed) {
        Standing::Ours => {}
        Standing::Other { ours } => {
            return Err(mismatch(format!("our epoch {} has hash {}", committed.epoch, short(&ours))));
        }
        Standing::Beyond { last: Epoch::ZERO } => return Err(mismatch("this state folder is new".to_owned())),
        Standing::Beyond { last } => return Err(mismatch(format!("our history ends with epoch {last}"))),
        Standing::Unknown => {
            return Err(mismatch("our history no longer has that epoch, and the changes after it are gone".to_owned()));
        }
    }
    // Before the log is replayed it is not known yet which changes there will be.
    let Some((pending, last)) = pending else { return Ok(Alignment::After(committed.epoch)) };
    if pending.replaces(view, committed.epoch) {
        return Ok(Alignment::Replace);
    }
    if !pending.covers(Link { epoch: committed.epoch, hash: committed.hash }, last) {
        return Ok(Alignment::Compare(mismatch(format!("the changes up to our epoch {} are gone", last.epoch))));
    }
    Ok(Alignment::After(committed.epoch))
}

/// Enough of a hash to tell it from others.
fn short(hash: &tidegate_core::EpochHash) -> String {
    let mut text = hash.to_string();
    text.truncate(12);
    text
}
