//! What the tables of a lake held at every snapshot, written down right after each commit: what comes later may
//! damage the lake's own memory of it, so this is the judge.

use std::collections::BTreeMap;

use tidegate_core::{Integral, RowIdentity, TableEvent, TableName, TableSchema, ZSet};
use tidegate_duck::{Duck, DuckError, quote_ident, quote_name};

use crate::contents::TableContents;
use crate::dml::is_ducklakes_own;

/// A table at one snapshot.
#[derive(Debug, Clone)]
pub struct TableAt {
    /// Its schema and rows.
    pub contents: TableContents,
    /// Everything that makes a change of it one of schema: its id and name, and its columns, nested ones too, with
    /// their ids, names, types and places.
    pub shape: String,
}

/// The snapshots of a lake that were written down, each with the tables of the schema `main`.
pub struct Chronicle {
    lake: String,
    points: BTreeMap<u64, Vec<TableAt>>,
}

impl Chronicle {
    /// An empty chronicle of the lake that SQL calls by this name.
    pub fn new(lake: &str) -> Self {
        Chronicle { lake: lake.to_owned(), points: BTreeMap::new() }
    }

    /// Writes down what the lake holds now, if its newest snapshot is not in here yet. `duck` has it attached. A lake that
    /// DuckLake itself cannot read at the moment is not written down.
    ///
    /// # Panics
    /// When the lake does not answer.
    pub fn record(&mut self, duck: &Duck) {
        let recorded = self.try_record(duck);
        if let Err(error) = recorded.as_ref()
            && is_ducklakes_own(error)
        {
            println!("not written down: {error}");
            return;
        }
        recorded.unwrap_or_else(|error| panic!("lake {} cannot be written down: {error}", self.lake));
    }

    fn try_record(&mut self, duck: &Duck) -> Result<(), DuckError> {
        let newest = format!("SELECT max(snapshot_id) FROM {}", self.catalog("snapshot"));
        let query = |sql: &str| duck.connection().query_row(sql, [], |row| row.get::<_, u64>(0));
        let newest = query(&newest).map_err(|error| duck.error(&error))?;
        if !self.points.contains_key(&newest) {
            let tables = self.shapes(duck)?;
            let tables = tables.into_iter().map(|(id, name, shape)| self.table(duck, id, &name, shape));
            let tables = tables.collect::<Result<_, _>>()?;
            self.points.insert(newest, tables);
        }
        Ok(())
    }

    fn catalog(&self, table: &str) -> String {
        format!("{}.ducklake_{table}", quote_ident(&format!("__ducklake_metadata_{}", self.lake)))
    }

    /// Id, name and shape of each table.
    fn shapes(&self, duck: &Duck) -> Result<Vec<(u64, String, String)>, DuckError> {
        let sql = format!(
            "SELECT CAST(t.table_id AS UBIGINT), t.table_name, \
                    concat_ws(' ', t.table_id, t.table_name, string_agg(concat_ws(' ', c.column_id, c.column_name, \
                        c.column_type, c.nulls_allowed, c.column_order, c.parent_column), ', ' ORDER BY c.column_id)) \
             FROM {} t JOIN {} s USING (schema_id) LEFT JOIN {} c ON c.table_id = t.table_id AND c.end_snapshot IS NULL \
             WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND s.schema_name = 'main' \
             GROUP BY t.table_id, t.table_name ORDER BY ALL",
            self.catalog("table"),
            self.catalog("schema"),
            self.catalog("column"),
        );
        let run = || {
            let mut statement = duck.connection().prepare(&sql)?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()
        };
        run().map_err(|error| duck.error(&error))
    }

    fn table(&self, duck: &Duck, id: u64, name: &str, shape: String) -> Result<TableAt, DuckError> {
        let from = quote_name([self.lake.as_str(), "main", name]);
        let schema = TableSchema {
            name: TableName::new(&self.lake, "main", name),
            incarnation: id,
            columns: duck.describe(&format!("FROM {from}"))?,
            identity: RowIdentity::WholeRow,
            integral: Integral::Source,
        };
        let columns: Vec<_> = schema.columns.fields().iter().map(|field| quote_ident(field.name())).collect();
        let columns_schema = schema.columns.clone();
        let mut contents = TableContents::new(schema);
        duck.stream(&columns, &from, "", &columns_schema, |batch| {
            contents.apply(&TableEvent::Rows(ZSet::uniform(batch, 1)));
            Ok::<_, DuckError>(tidegate_duck::Flow::Continue)
        })?;
        Ok(TableAt { contents, shape })
    }

    /// The tables at a snapshot; `None` when it was not written down.
    pub fn at(&self, snapshot: u64) -> Option<&[TableAt]> {
        self.points.get(&snapshot).map(Vec::as_slice)
    }

    /// The snapshots that were written down, in order.
    pub fn snapshots(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.points.keys().copied()
    }

    /// The newest of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn newest(&self) -> u64 {
        self.snapshots().next_back().expect("a snapshot was written down")
    }

    /// The first snapshot after `from`, up to `to`, at which a table is no longer what it was at `from`; which tables
    /// matter is said by id.
    ///
    /// # Panics
    /// When `from` was not written down.
    pub fn barrier(&self, ids: &[u64], from: u64, to: u64) -> Option<u64> {
        let shapes = |tables: &[TableAt]| -> Vec<String> {
            let wanted = tables.iter().filter(|table| ids.contains(&table.contents.schema().incarnation));
            wanted.map(|table| table.shape.clone()).collect()
        };
        let before = shapes(self.at(from).expect("the range begins where something was written down"));
        let mut later = self.points.range(from + 1..=to);
        later.find(|(_, tables)| shapes(tables) != before).map(|(id, _)| *id)
    }
}
