//! The content of one table, as the events of a source make it: the model that sources are
//! checked against.

use std::collections::BTreeMap;

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use tidegate_core::{KeyedChanges, KeyedOp, RowIdentity, TableEvent, TableSchema, ZSet};

use crate::multiset::{Multiset, Row, exact_row_of, row_of};

/// Rows with copies, each with an Arrow batch of one row, so that they can be handed out again.
/// Rows are told apart as those of a Z-set are ([`exact_row_of`]).
#[derive(Debug, Clone, Default)]
pub struct RowStore {
    rows: BTreeMap<Row, (RecordBatch, i64)>,
}

impl RowStore {
    /// Adds the rows of a batch with their weights.
    pub fn apply(&mut self, rows: &RecordBatch, weight: impl Fn(usize) -> i64) {
        for index in 0..rows.num_rows() {
            let row = exact_row_of(rows.columns(), index);
            let entry = self.rows.entry(row.clone()).or_insert_with(|| (rows.slice(index, 1), 0));
            entry.1 += weight(index);
            if entry.1 == 0 {
                self.rows.remove(&row);
            }
        }
    }

    /// How many copies of a row there are.
    pub fn copies(&self, row: &Row) -> i64 {
        self.rows.get(row).map_or(0, |(_, copies)| *copies)
    }

    /// Every row once, with its copies as weight.
    pub fn zset(&self, schema: &SchemaRef) -> ZSet {
        let rows = concat_batches(schema, self.rows.values().map(|(row, _)| row)).expect("all rows have one schema");
        ZSet::new(rows, self.rows.values().map(|(_, copies)| *copies).collect::<Vec<_>>().into())
    }

    /// The rows without their batches.
    pub fn multiset(&self) -> Multiset {
        let mut multiset = Multiset::new();
        self.rows.values().for_each(|(row, copies)| multiset.add(row_of(row.columns(), 0), *copies));
        multiset
    }

    /// Every row as often as it has copies.
    ///
    /// # Panics
    /// When a row has a negative number of copies.
    pub fn batch(&self, schema: &SchemaRef) -> RecordBatch {
        let repeated = self.rows.values().flat_map(|(row, copies)| {
            let copies = usize::try_from(*copies).expect("a table holds no row less than zero times");
            std::iter::repeat_n(row, copies)
        });
        concat_batches(schema, repeated).expect("all rows have one schema")
    }

    /// Distinct rows and their copies.
    pub fn iter(&self) -> impl Iterator<Item = (&Row, &RecordBatch, i64)> {
        self.rows.iter().map(|(row, (batch, copies))| (row, batch, *copies))
    }
}

/// The content of one table.
#[derive(Debug, Clone)]
pub struct TableContents {
    schema: TableSchema,
    rows: Rows,
}

#[derive(Debug, Clone)]
enum Rows {
    Whole(RowStore),
    Keyed(BTreeMap<Row, RecordBatch>),
}

impl TableContents {
    /// An empty table.
    pub fn new(schema: TableSchema) -> Self {
        let rows = match schema.identity {
            RowIdentity::Key(_) => Rows::Keyed(BTreeMap::new()),
            RowIdentity::Rowid | RowIdentity::WholeRow => Rows::Whole(RowStore::default()),
        };
        TableContents { schema, rows }
    }

    /// The table's columns and identity.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// Applies one event.
    ///
    /// # Panics
    /// When the event does not fit the table's identity, or says that a value is unchanged in a row
    /// that the table does not hold.
    pub fn apply(&mut self, event: &TableEvent) {
        match (&mut self.rows, event) {
            (Rows::Whole(store), TableEvent::Rows(zset)) => {
                store.apply(zset.rows(), |row| zset.weights().value(row));
            }
            (Rows::Keyed(rows), TableEvent::Keyed(changes)) => apply_keyed(&self.schema, rows, changes),
            (Rows::Keyed(rows), TableEvent::Rows(zset)) => {
                assert!(zset.weights().values().iter().all(|weight| *weight == 1), "rows of a keyed table exist");
                let (ops, unchanged) = (vec![KeyedOp::Upsert; zset.len()], vec![None; zset.rows().num_columns()]);
                apply_keyed(&self.schema, rows, &KeyedChanges { ops, rows: zset.rows().clone(), unchanged });
            }
            (_, TableEvent::Truncate | TableEvent::Replace) => *self = Self::new(self.schema.clone()),
            (_, event) => panic!("{} has identity {:?} and got {event:?}", self.schema.name, self.schema.identity),
        }
    }

    /// All rows, as often as they are there.
    pub fn batch(&self) -> RecordBatch {
        match &self.rows {
            Rows::Whole(store) => store.batch(&self.schema.columns),
            Rows::Keyed(rows) => {
                concat_batches(&self.schema.columns, rows.values()).expect("all rows have the table's schema")
            }
        }
    }

    /// All rows as the event that would make them in an empty table; `None` without rows.
    pub fn as_event(&self) -> Option<TableEvent> {
        let rows = self.batch();
        if rows.num_rows() == 0 {
            return None;
        }
        Some(match &self.rows {
            Rows::Whole(_) => TableEvent::Rows(ZSet::uniform(rows, 1)),
            Rows::Keyed(_) => TableEvent::Keyed(KeyedChanges {
                ops: vec![KeyedOp::Upsert; rows.num_rows()],
                unchanged: vec![None; rows.num_columns()],
                rows,
            }),
        })
    }

    /// The rows as a multiset.
    pub fn multiset(&self) -> Multiset {
        match &self.rows {
            Rows::Whole(store) => store.multiset(),
            Rows::Keyed(rows) => Multiset::of_batches(rows.values()),
        }
    }
}

fn apply_keyed(schema: &TableSchema, held: &mut BTreeMap<Row, RecordBatch>, changes: &KeyedChanges) {
    let RowIdentity::Key(key) = &schema.identity else { unreachable!("keyed rows are made for keyed tables") };
    let mut removed: Option<RecordBatch> = None;
    for (index, op) in changes.ops.iter().enumerate() {
        let columns = key.iter().map(|column| changes.rows.column(*column).clone()).collect::<Vec<_>>();
        let key = row_of(&columns, index);
        let removed_before = removed.take();
        let before = match op {
            KeyedOp::Delete => {
                removed = held.remove(&key);
                continue;
            }
            KeyedOp::Upsert => held.get(&key).cloned(),
            KeyedOp::Rekeyed => removed_before,
        };
        let sent = changes.rows.slice(index, 1);
        let columns = sent.columns().iter().zip(&changes.unchanged).enumerate().map(|(column, (value, unchanged))| {
            let is_unchanged = unchanged.as_ref().is_some_and(|marks| marks.is_valid(index) && marks.value(index));
            if !is_unchanged {
                return value.clone();
            }
            let before = before.as_ref();
            let before = before.unwrap_or_else(|| panic!("{}: unchanged value of an unknown row", schema.name));
            before.column(column).clone()
        });
        let row = RecordBatch::try_new(schema.columns.clone(), columns.collect()).expect("the table's columns");
        held.insert(key, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Int64Array, StringArray};
    use std::sync::Arc;
    use tidegate_core::{Integral, TableName, schema};

    #[test]
    fn a_row_that_gets_another_key_keeps_what_is_unchanged() {
        let schema = TableSchema {
            name: TableName::new("m", "main", "t"),
            incarnation: 1,
            columns: schema::columns([("id", "BIGINT", false), ("note", "VARCHAR", true)]).unwrap(),
            identity: RowIdentity::Key(vec![0]),
            integral: Integral::Engine,
        };
        let event = |rows: &[(KeyedOp, i64, &str, bool)]| {
            let ids: Int64Array = rows.iter().map(|row| Some(row.1)).collect();
            let notes: StringArray = rows.iter().map(|row| Some(row.2)).collect();
            let marks: BooleanArray = rows.iter().map(|row| Some(row.3)).collect();
            TableEvent::Keyed(KeyedChanges {
                ops: rows.iter().map(|row| row.0).collect(),
                rows: RecordBatch::try_new(schema.columns.clone(), vec![Arc::new(ids), Arc::new(notes)]).unwrap(),
                unchanged: vec![None, Some(marks)],
            })
        };
        let (upsert, rekeyed, delete) = (KeyedOp::Upsert, KeyedOp::Rekeyed, KeyedOp::Delete);
        let mut contents = TableContents::new(schema.clone());
        contents.apply(&event(&[(upsert, 1, "one", false), (upsert, 2, "two", false)]));
        contents.apply(&event(&[(delete, 1, "", false), (rekeyed, 3, "", true), (upsert, 2, "", true)]));
        let mut expected = TableContents::new(schema.clone());
        expected.apply(&event(&[(upsert, 3, "one", false), (upsert, 2, "two", false)]));
        contents.multiset().assert_equals(&expected.multiset(), "the table");
    }
}
