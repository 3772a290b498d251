//! The statements that bring a history in line with a whole content.

use tidegate_core::RowIdentity;

use super::write::{FROM, FROM_EPOCH};
use super::{CONTENT, Past};
use crate::commit::Content;
use crate::error::DuckdbSinkError;
use crate::stage::column;

impl Past<'_> {
    /// Compares what is open with the whole content: versions without a row end, rows without a version open one. Of
    /// equal versions the newest end. Answers how many ended lately, where that is known.
    pub(super) fn compare(&self, content: &Content) -> Result<Option<u64>, DuckdbSinkError> {
        let open = self.open();
        self.create_content()?;
        let present = self.target.elsewhere(CONTENT);
        match content {
            Content::Fed(feed) => {
                self.target.discard()?;
                present.fill(feed, "")?;
            }
            Content::Staged(staged) => {
                self.target.make_room()?;
                present.change(staged)?;
            }
        }
        // Of a key there is one row, and one version, unless somebody wrote another.
        let copies = |order: &str| match &self.target.view.identity {
            RowIdentity::Key(_) if order.is_empty() => "1".to_owned(),
            RowIdentity::Key(key) => {
                let names: Vec<_> = key.iter().map(|index| column(*index)).collect();
                let by_key =
                    if names.is_empty() { String::new() } else { format!("PARTITION BY {}", names.join(", ")) };
                format!("row_number() OVER ({by_key}{order})")
            }
            RowIdentity::Rowid | RowIdentity::WholeRow => {
                format!("row_number() OVER (PARTITION BY {}, bits{order})", self.target.columns(""))
            }
        };
        let columns = self.target.columns("");
        let same = format!("{} AND n.bits = o.bits AND n.copy = o.copy", self.same("n", "o"));
        let side = |table: &str, more: &str, order: &str| {
            format!(
                "(SELECT *, {} AS copy FROM (SELECT t.rowid AS row, {}, {} AS bits{more} FROM {table} t))",
                copies(order),
                self.as_staged("t."),
                self.held_bits("t.")
            )
        };
        let held = side(&open, &format!(", t.{FROM_EPOCH}"), &format!(" ORDER BY {FROM_EPOCH}, row"));
        let present = side(CONTENT, "", "");
        self.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE ending AS SELECT o.row FROM {held} o ANTI JOIN {present} n ON {same}; \
             CREATE OR REPLACE TEMP TABLE beginning AS SELECT {columns} FROM {present} n ANTI JOIN {held} o ON {same}"
        ))?;
        let (named, now, epoch) = (self.named(""), self.now(), self.target.header.epoch);
        let order = match &self.target.view.identity {
            RowIdentity::Key(key) => self.target.order(key),
            RowIdentity::Rowid | RowIdentity::WholeRow => String::new(),
        };
        let ended = self.target.mart.change(&format!(
            "INSERT INTO {ended} SELECT {named}, {FROM}, {now}, {FROM_EPOCH}, {epoch} FROM {open} \
             WHERE rowid IN (SELECT row FROM ending)",
            ended = self.ended()
        ))?;
        self.execute(&format!(
            "DELETE FROM {open} WHERE rowid IN (SELECT row FROM ending); \
             INSERT INTO {open} SELECT {columns}, {now}, {epoch} FROM beginning{order}; \
             CREATE OR REPLACE TEMP TABLE {CONTENT} (none BOOLEAN)"
        ))?;
        self.show()?;
        self.settle(ended)
    }
}
