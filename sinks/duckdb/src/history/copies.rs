//! The statements that open and close versions of rows without a key, of which there may be several copies.

use tidegate_core::Epoch;
use tidegate_duck::history::end_copies;

use super::Past;
use super::write::{FROM, FROM_EPOCH};
use crate::error::DuckdbSinkError;
use crate::stage::{Staged, column};

impl Past<'_> {
    /// Changes of rows with copies, epoch by epoch. Of equal versions those end first that are the same as the removed
    /// row, and of these the newest. What is open and equal to some removed row is read once.
    pub(super) fn follow_rows(&self, staged: &Staged) -> Result<(), DuckdbSinkError> {
        let (target, stage, open, past) = (self.target, self.target.stage(), self.open(), self.past());
        self.epochs(&staged.moments)?;
        let columns = target.columns("");
        let came = target.columns("s.");
        if staged.removals == 0 {
            return self.execute(&format!(
                "INSERT INTO {open} SELECT {came}, b.time, s.epoch FROM {stage} s \
                 JOIN range_epochs b ON b.epoch = s.epoch, range(s.weight)"
            ));
        }
        let bits = target.bits("s.", column);
        let same = self.same("s", "k");
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE going AS SELECT row_number() OVER () AS id, {columns} \
             FROM {stage} WHERE weight < 0 GROUP BY {columns}; \
             CREATE OR REPLACE TEMP TABLE moves AS SELECT s.*, {bits} AS bits, b.time, k.id \
             FROM {stage} s JOIN range_epochs b ON b.epoch = s.epoch LEFT JOIN going k ON {same}"
        ))?;
        let width = target.view.schema.fields().len();
        let nulls: Vec<_> = (0..width).map(|index| format!("count(*) - count({})", column(index))).collect();
        let nulls = target.mart.counts(&format!("SELECT {} FROM going", nulls.join(", ")), width)?;
        let agree = target.agree(nulls.into_iter().enumerate());
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE live AS SELECT t.rowid AS row, {held}, {bits} AS bits, t.{FROM}, t.{FROM_EPOCH}, \
             s.id, CAST(NULL AS BIGINT) AS ends FROM {open} t JOIN going s ON {agree}",
            held = self.as_staged("t."),
            bits = self.held_bits("t."),
        ))?;
        for epoch in staged.moments.keys() {
            self.follow_rows_of(*epoch, &columns)?;
        }
        self.execute(&format!(
            "DELETE FROM {open} WHERE rowid IN (SELECT row FROM live WHERE ends IS NOT NULL AND row IS NOT NULL); \
             INSERT INTO {past} SELECT {came}, s.{FROM}, x.time, s.{FROM_EPOCH}, s.ends \
             FROM live s JOIN range_epochs x ON x.epoch = s.ends; \
             INSERT INTO {open} SELECT {came}, s.{FROM}, s.{FROM_EPOCH} FROM live s WHERE ends IS NULL AND row IS NULL; \
             INSERT INTO {open} SELECT {came}, s.time, s.epoch FROM moves s, range(s.weight) WHERE s.id IS NULL"
        ))
    }

    /// The changes of one epoch, among the rows that lose copies in some epoch of the range.
    fn follow_rows_of(&self, epoch: Epoch, columns: &str) -> Result<(), DuckdbSinkError> {
        let mart = self.target.mart;
        let sql = format!("SELECT coalesce(sum(-weight), 0)::UBIGINT FROM moves WHERE epoch = {epoch} AND weight < 0");
        let expected = mart.counts(&sql, 1)?[0];
        if expected > 0 {
            let found = mart.change(&end_copies(epoch))?;
            self.all_open(found, expected)?;
        }
        self.execute(&format!(
            "INSERT INTO live SELECT NULL, {columns}, bits, time, epoch, id, NULL FROM moves, range(weight) \
             WHERE epoch = {epoch} AND weight > 0 AND id IS NOT NULL"
        ))
    }
}
