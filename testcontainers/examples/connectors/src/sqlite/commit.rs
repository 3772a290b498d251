//! The transaction of a commit, on a thread that may wait for the disk.

use rusqlite::{Transaction, TransactionBehavior, params};
use tidegate_core::{
    CommitOutcome, Committed, ConnectorError, DeltaBatch, Epoch, EpochHeader, ErrorKind, ViewInfo, ViewName,
};
use tidegate_duck::quote_ident;
use tidegate_json::RowWriter;
use tokio::sync::mpsc;

use super::{EPOCHS, SqliteSink, exists, held};

// ANCHOR: commit
/// What the thread that writes is given.
pub(super) enum Piece {
    /// A view begins.
    View { view: ViewInfo, begin: Begin },
    /// Changes of that view.
    Changes(DeltaBatch),
    /// That was all. Without this, nothing happens: whoever sent the pieces was cancelled, or met an error.
    End,
}

/// What is done with the rows that are there.
#[derive(PartialEq, Eq)]
pub(super) enum Begin {
    Changes,
    Replace,
}

impl SqliteSink {
    /// Writes what comes in one transaction, which is rolled back unless the end comes.
    pub(super) fn write(
        self,
        after: Epoch,
        header: &EpochHeader,
        mut pieces: mpsc::Receiver<Piece>,
    ) -> Result<CommitOutcome, ConnectorError> {
        let failed = |error| self.error(error);
        if let Some(folder) = self.path.parent() {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|error| {
                let message = format!("sink {}: folder {} cannot be made", self.name, folder.display());
                ConnectorError::with_source(ErrorKind::Retry, message, error)
            })?;
        }
        let mut connection = self.connect().map_err(failed)?;
        // The lock comes first, so that nobody else commits between the look at the epochs and the end.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let epochs = format!(
            "CREATE TABLE IF NOT EXISTS {EPOCHS} (view TEXT PRIMARY KEY, epoch INTEGER NOT NULL, hash TEXT NOT NULL, frontier TEXT NOT NULL)"
        );
        transaction.execute_batch(&epochs).map_err(failed)?;
        let (mut current, mut rows) = (None, 0);
        loop {
            match pieces.blocking_recv() {
                Some(Piece::View { view, begin }) => {
                    let found = held(&transaction, &view.name).map_err(failed)?;
                    if begin == Begin::Changes && found.map_or(Epoch::ZERO, |found| found.epoch) != after {
                        return Ok(CommitOutcome::Conflict { view: view.name, found });
                    }
                    self.begin(&transaction, &view.name, &begin, found)?;
                    let epoch = format!("INSERT OR REPLACE INTO {EPOCHS} VALUES (?, ?, ?, ?)");
                    let frontier = serde_json::to_string(&header.frontier).expect("a frontier is JSON");
                    let values =
                        params![view.name.as_str(), header.epoch.0.cast_signed(), header.hash.to_string(), frontier];
                    transaction.execute(&epoch, values).map_err(failed)?;
                    current = Some(view);
                }
                Some(Piece::Changes(batch)) => {
                    let view = current.as_ref().expect("changes come after their view");
                    self.apply(&transaction, view, &batch)?;
                    rows += batch.changed_rows();
                }
                Some(Piece::End) => {
                    transaction.commit().map_err(failed)?;
                    return Ok(CommitOutcome::Committed { rows });
                }
                // Dropping the transaction rolls it back. Nobody hears of this.
                None => return Err(ConnectorError::new(ErrorKind::Retry, "the commit was given up")),
            }
        }
    }

    /// Makes the table, where it is not there or its rows are void.
    fn begin(
        &self,
        transaction: &Transaction<'_>,
        view: &ViewName,
        begin: &Begin,
        found: Option<Committed>,
    ) -> Result<(), ConnectorError> {
        let table = quote_ident(view.as_str());
        if found.is_none() && exists(transaction, view.as_str()).map_err(|error| self.error(error))? {
            return Err(self.foreign(view));
        }
        if *begin == Begin::Replace {
            transaction.execute_batch(&format!("DROP TABLE IF EXISTS {table}")).map_err(|error| self.error(error))?;
        }
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (\"row\" TEXT PRIMARY KEY, copies INTEGER NOT NULL) WITHOUT ROWID"
        );
        transaction.execute_batch(&create).map_err(|error| self.error(error))
    }

    /// Adds and takes away rows. A row is its text: equal rows have the same, and those that are equal but not the same have not.
    fn apply(&self, transaction: &Transaction<'_>, view: &ViewInfo, batch: &DeltaBatch) -> Result<(), ConnectorError> {
        let failed = |error| self.error(error);
        let table = quote_ident(view.name.as_str());
        let prepare = |sql: &str| transaction.prepare(sql).map_err(failed);
        let mut add =
            prepare(&format!("INSERT INTO {table} VALUES (?1, ?2) ON CONFLICT DO UPDATE SET copies = copies + ?2"))?;
        let mut take =
            prepare(&format!("UPDATE {table} SET copies = copies + ?2 WHERE \"row\" = ?1 AND copies + ?2 >= 0"))?;
        let mut clear = prepare(&format!("DELETE FROM {table} WHERE \"row\" = ?1 AND copies = 0"))?;
        let (writer, mut text) = (RowWriter::new(&view.schema), String::new());
        for (row, weight) in batch.weights.values().iter().enumerate() {
            text.clear();
            writer.write(&batch.rows, row, &mut text);
            if *weight > 0 {
                add.execute(params![text, weight]).map_err(failed)?;
            } else if take.execute(params![text, weight]).map_err(failed)? == 1 {
                clear.execute([&text]).map_err(failed)?;
            } else {
                return Err(self.stop(&view.name, "lacks a row that this pipeline wrote"));
            }
        }
        Ok(())
    }
}
// ANCHOR_END: commit
