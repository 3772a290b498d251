//! A view on its way into its table, and into that of its history, if there is one.

use tidegate_core::{EpochHeader, failpoint};

use crate::commit::{Landed, Scene, Staged};
use crate::error::DeltaSinkError;
use crate::table::Table;

/// A view on its way into its tables.
pub(crate) struct Part {
    pub(crate) view: Staged,
    pub(crate) history: Beside,
}

/// What is beside a view's table.
pub(crate) enum Beside {
    Nothing,
    /// A history that has the range already.
    Done(Box<Table>),
    Staged(Box<Staged>),
}

/// The tables after their entries are in the logs.
pub(crate) struct Ended {
    pub(crate) view: Landed,
    pub(crate) history: Option<Table>,
}

impl Part {
    /// Throws the files away.
    pub(crate) async fn discard(&self) {
        self.view.discard().await;
        if let Beside::Staged(history) = &self.history {
            history.discard().await;
        }
    }

    /// Puts the entries into the logs, the history's first: what stops in between leaves it ahead, and it knows that.
    pub(crate) async fn land(self, scene: Scene<'_>, header: &EpochHeader) -> Result<Ended, DeltaSinkError> {
        let Part { view, history } = self;
        let history = match history {
            Beside::Nothing => None,
            Beside::Done(table) => Some(*table),
            Beside::Staged(history) => {
                let stood = view.stood();
                match history.land(scene, header).await {
                    Ok(Landed::Done { table, .. }) => {
                        failpoint::hit("sink.delta.history_committed");
                        Some(*table)
                    }
                    Ok(Landed::Conflict(_)) => {
                        view.discard().await;
                        return Ok(Ended { view: Landed::Conflict(stood), history: None });
                    }
                    Err(error) => {
                        view.discard().await;
                        return Err(error);
                    }
                }
            }
        };
        Ok(Ended { view: view.land(scene, header).await?, history })
    }
}
