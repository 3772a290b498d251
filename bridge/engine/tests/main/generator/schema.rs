//! Random tables and rows.

use rand::Rng;
use rand::rngs::StdRng;
use tidegate_core::{Integral, TableSchema};

use super::value_type::{COLUMN_TYPES, KEY_TYPES, ValueType};
use crate::harness;

/// A row: each value as SQL.
pub type Row = Vec<String>;

/// How a table's source tells what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Rows with weights; the source itself is the table's state.
    Lake,
    /// Rows with weights, and truncates; the engine keeps the table.
    Told,
    /// Upserts and deletes by the first columns, as many as it says.
    Keyed(usize),
}

#[derive(Debug, Clone)]
pub struct TableColumn {
    pub name: String,
    pub value_type: ValueType,
    /// Whether arithmetic with its values stays in range.
    pub is_small: bool,
    /// The values it takes.
    pub values: Vec<&'static str>,
    /// How many in a hundred are NULL.
    pub nulls: u32,
}

#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub columns: Vec<TableColumn>,
    pub telling: Telling,
}

impl Table {
    pub fn schema(&self) -> TableSchema {
        let types: Vec<_> = self.columns.iter().map(|column| column.value_type.name()).collect();
        let names = self.columns.iter().map(|column| column.name.as_str());
        let columns: Vec<_> = names.zip(types.iter().map(String::as_str)).collect();
        match self.telling {
            Telling::Lake => harness::table(&self.name, &columns, None),
            Telling::Told => harness::told(harness::table(&self.name, &columns, None)),
            Telling::Keyed(key) => TableSchema {
                integral: Integral::Engine,
                ..harness::table(&self.name, &columns, Some((0..key).collect()))
            },
        }
    }

    pub fn row(&self, rng: &mut StdRng) -> Row {
        let value = |column: &TableColumn| {
            if rng.random_range(0..100) < column.nulls {
                return "NULL".to_owned();
            }
            format!("'{}'", column.values[rng.random_range(0..column.values.len())])
        };
        self.columns.iter().map(value).collect()
    }

    /// What tells a row from others in a table with a key.
    pub fn key<'a>(&self, row: &'a Row) -> &'a [String] {
        match self.telling {
            Telling::Keyed(columns) => &row[..columns],
            Telling::Lake | Telling::Told => row,
        }
    }
}

/// Two to four tables. All have a column `k` that joins meet on.
pub fn tables(rng: &mut StdRng) -> Vec<Table> {
    (0..rng.random_range(2..5)).map(|number| table(rng, number)).collect()
}

fn table(rng: &mut StdRng, number: usize) -> Table {
    let telling = match rng.random_range(0..6) {
        0..=2 => Telling::Lake,
        3 => Telling::Told,
        4 => Telling::Keyed(1),
        _ => Telling::Keyed(2),
    };
    let mut columns = Vec::new();
    if let Telling::Keyed(_) = telling {
        columns.push(column(rng, "id", ValueType::Integer));
    }
    let joined = KEY_TYPES[rng.random_range(0..KEY_TYPES.len())];
    columns.push(TableColumn { is_small: true, values: vec!["0", "1", "2", "3"], ..column(rng, "k", joined) });
    for position in 0..rng.random_range(2..6) {
        let value_type = COLUMN_TYPES[rng.random_range(0..COLUMN_TYPES.len())];
        columns.push(column(rng, &format!("c{position}"), value_type));
    }
    if let Telling::Keyed(key) = telling {
        for column in &mut columns[..key] {
            column.nulls = 0;
        }
    }
    Table { name: format!("t{number}"), columns, telling }
}

fn column(rng: &mut StdRng, name: &str, value_type: ValueType) -> TableColumn {
    let all = value_type.values();
    let mut values: Vec<&'static str> = all.iter().copied().take(rng.random_range(2..=all.len())).collect();
    let is_small = rng.random_ratio(4, 5);
    if !is_small {
        values.extend(value_type.extremes());
    }
    let nulls = [0, 10, 10, 25, 60][rng.random_range(0..5)];
    TableColumn { name: name.to_owned(), value_type, is_small, values, nulls }
}
