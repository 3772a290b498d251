//! Random changes, and what they make of a table. Changes name rows by their values, so that each still has a
//! meaning when others are left out.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use rand::Rng;
use rand::rngs::StdRng;
use tidegate_core::{KeyedChanges, KeyedOp, TableEvent, TableSchema, ZSet};
use tidegate_testkit::rows;

use super::schema::{Row, Table, Telling};

/// What happens to a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Rows that come, or by key take the place of others.
    Insert(Vec<Row>),
    /// Rows that go, those that are there.
    Delete(Vec<Row>),
    /// A row in the place of one that is there. By key, values that stay are left out.
    Update(Row, Row),
    /// All rows go. Not from a lake.
    Truncate,
}

/// What happens after an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Nothing,
    Checkpoint,
    /// A checkpoint, and on from there.
    Restart,
    /// Back to the last checkpoint; the epochs since come again.
    Crash,
    /// A restart with another number of workers.
    Workers(usize),
    /// Everything is loaded anew.
    Reload,
}

#[derive(Debug, Clone)]
pub struct Epoch {
    /// Changes with the position of their table.
    pub changes: Vec<(usize, Change)>,
    pub after: After,
}

/// The rows of a table, in the order in which they came.
#[derive(Debug, Clone)]
pub struct Content {
    pub table: Table,
    pub rows: Vec<Row>,
}

impl Content {
    pub fn new(table: &Table) -> Content {
        Content { table: table.clone(), rows: Vec::new() }
    }

    /// Applies a change.
    pub fn apply_all(&mut self, change: &Change) {
        self.apply(change);
    }

    /// Applies a change, and answers what of it happens: the kind of each row, the row, and what it takes the
    /// place of.
    fn apply(&mut self, change: &Change) -> Vec<(KeyedOp, Row, Option<Row>)> {
        let keyed = matches!(self.table.telling, Telling::Keyed(_));
        let mut happened = Vec::new();
        match change {
            Change::Insert(rows) => {
                for row in rows {
                    if let Some(place) = self.place(row).filter(|_| keyed) {
                        self.rows.remove(place);
                    }
                    self.rows.push(row.clone());
                    happened.push((KeyedOp::Upsert, row.clone(), None));
                }
            }
            Change::Delete(rows) => {
                for row in rows {
                    if let Some(place) = self.place(row) {
                        happened.push((KeyedOp::Delete, self.rows.remove(place), None));
                    }
                }
            }
            Change::Update(old, new) => {
                let Some(place) = self.place(old) else { return happened };
                let old = self.rows.remove(place);
                if keyed && self.table.key(&old) == self.table.key(new) {
                    happened.push((KeyedOp::Upsert, new.clone(), Some(old)));
                } else {
                    if let Some(place) = self.place(new).filter(|_| keyed) {
                        happened.push((KeyedOp::Delete, self.rows.remove(place), None));
                    }
                    happened.push((KeyedOp::Delete, old.clone(), None));
                    happened.push((KeyedOp::Rekeyed, new.clone(), Some(old)));
                }
                self.rows.push(new.clone());
            }
            Change::Truncate => self.rows.clear(),
        }
        happened
    }

    fn place(&self, row: &Row) -> Option<usize> {
        self.rows.iter().position(|known| self.table.key(known) == self.table.key(row))
    }
}

/// A few changes of a table, which its content gets.
pub fn changes(content: &mut Content, rng: &mut StdRng) -> Vec<Change> {
    let mut found = Vec::new();
    for _ in 0..rng.random_range(0..3) {
        let present = content.rows.clone();
        let some = |rng: &mut StdRng| present[rng.random_range(0..present.len())].clone();
        let change = match rng.random_range(0..12) {
            4..=6 if !present.is_empty() => Change::Delete(vec![some(rng)]),
            7..=9 if !present.is_empty() => {
                let old = some(rng);
                let mut new = content.table.row(rng);
                // Most updates leave the key, and some columns, as they are.
                let kept = if rng.random_ratio(3, 4) { content.table.key(&old).len() } else { 0 };
                for (position, (new, old)) in new.iter_mut().zip(&old).enumerate() {
                    let is_key = matches!(content.table.telling, Telling::Keyed(_)) && position < kept;
                    if is_key
                        || rng.random_ratio(1, 2)
                            && !matches!(content.table.telling, Telling::Keyed(key) if position < key)
                    {
                        new.clone_from(old);
                    }
                }
                Change::Update(old, new)
            }
            10 if rng.random_ratio(1, 2) && !present.is_empty() => Change::Delete(present),
            10 if content.table.telling != Telling::Lake => Change::Truncate,
            11 if !present.is_empty() && content.table.telling != Telling::Keyed(1) => {
                let copied = some(rng);
                Change::Insert(vec![copied.clone(), copied])
            }
            _ => Change::Insert((0..rng.random_range(1..4)).map(|_| content.table.row(rng)).collect()),
        };
        content.apply(&change);
        // Beyond that joins become slow and find nothing more.
        let gone = (content.rows.len() > ROWS_MAX).then(|| Change::Delete(content.rows[..ROWS_MAX / 2].to_vec()));
        gone.iter().for_each(|gone| content.apply_all(gone));
        found.extend([Some(change), gone].into_iter().flatten());
    }
    found
}

/// The most rows of a table.
pub const ROWS_MAX: usize = 12;

/// Epochs of changes. The first is what the tables hold at the beginning.
pub fn epochs(tables: &[Table], rng: &mut StdRng) -> Vec<Epoch> {
    let mut contents: Vec<Content> = tables.iter().map(Content::new).collect();
    let mut epochs = Vec::new();
    for number in 0..rng.random_range(5..10) {
        let mut found = Vec::new();
        for (position, content) in contents.iter_mut().enumerate() {
            let happened = if number == 0 {
                let rows: Vec<Row> = (0..rng.random_range(0..7)).map(|_| content.table.row(rng)).collect();
                let change = Change::Insert(rows);
                content.apply(&change);
                vec![change]
            } else {
                changes(content, rng)
            };
            found.extend(happened.into_iter().map(|change| (position, change)));
        }
        let after = match rng.random_range(0..16) {
            0 => After::Restart,
            1..=2 => After::Checkpoint,
            3 => After::Crash,
            4 => After::Workers([1, 2, 4][rng.random_range(0..3)]),
            5 => After::Reload,
            _ => After::Nothing,
        };
        epochs.push(Epoch { changes: found, after });
    }
    epochs
}

/// A table with its rows as Arrow batches of one row each.
pub struct Replay {
    pub content: Content,
    pub schema: TableSchema,
    batches: BTreeMap<Row, RecordBatch>,
}

impl Replay {
    /// A table without rows, and the rows that the changes of some epochs will name.
    pub fn new(table: &Table, position: usize, epochs: &[Epoch]) -> Replay {
        let schema = table.schema();
        let mut known: Vec<&Row> = Vec::new();
        let own = epochs.iter().flat_map(|epoch| &epoch.changes).filter(|(of, _)| *of == position);
        for (_, change) in own {
            match change {
                Change::Insert(rows) | Change::Delete(rows) => known.extend(rows),
                Change::Update(old, new) => known.extend([old, new]),
                Change::Truncate => {}
            }
        }
        known.sort();
        known.dedup();
        let mut batches = BTreeMap::new();
        if !known.is_empty() {
            let values: Vec<String> = known.iter().map(|row| format!("({})", row.join(", "))).collect();
            let batch = rows::batch(&schema.columns, &values.join(", "));
            assert_eq!(batch.num_rows(), known.len(), "each row is read");
            batches.extend(known.into_iter().enumerate().map(|(index, row)| (row.clone(), batch.slice(index, 1))));
        }
        Replay { content: Content::new(table), schema, batches }
    }

    /// Rows in the columns of the table.
    pub fn batch<'a>(&self, rows: impl IntoIterator<Item = &'a Row>) -> RecordBatch {
        concat_batches(&self.schema.columns, rows.into_iter().map(|row| &self.batches[row])).expect("rows of one table")
    }

    /// Applies a change; the event that tells it, unless nothing of it happens.
    pub fn event(&mut self, change: &Change) -> Option<TableEvent> {
        if *change == Change::Truncate {
            self.content.apply(change);
            return Some(TableEvent::Truncate);
        }
        let happened = self.content.apply(change);
        if happened.is_empty() {
            return None;
        }
        let rows = self.batch(happened.iter().map(|(_, row, _)| row));
        if !matches!(self.content.table.telling, Telling::Keyed(_)) {
            let weight = |op: &KeyedOp| if *op == KeyedOp::Delete { -1 } else { 1 };
            let weights: Vec<i64> = happened.iter().map(|(op, ..)| weight(op)).collect();
            return Some(TableEvent::Rows(ZSet::new(rows, Int64Array::from(weights))));
        }
        let key = self.content.table.key(&happened[0].1).len();
        let mark = |column: usize| {
            let stays = |(_, row, old): &(KeyedOp, Row, Option<Row>)| {
                column >= key && old.as_ref().is_some_and(|old| old[column] == row[column])
            };
            let marks: BooleanArray = happened.iter().map(|change| Some(stays(change))).collect();
            (marks.true_count() > 0).then_some(marks)
        };
        let unchanged = (0..rows.num_columns()).map(mark).collect();
        Some(TableEvent::Keyed(KeyedChanges { ops: happened.iter().map(|(op, ..)| *op).collect(), rows, unchanged }))
    }
}
