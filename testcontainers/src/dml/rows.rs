//! Changes of rows: single statements, and transactions that touch a row more than once.

use rand::Rng;

use super::Dml;
use super::column::{Column, NULL, Table};

impl Dml {
    pub(super) fn statements(&mut self, number: usize) -> Vec<String> {
        (0..number).map(|_| self.statement()).collect()
    }

    /// A table that exists.
    pub(super) fn any_table(&mut self) -> Table {
        let index = self.rng.random_range(0..self.tables.len());
        let (before, from) = self.tables.split_at(index);
        let mut around = from.iter().chain(before);
        around.find(|table| table.exists).expect("one table is always left").clone()
    }

    pub(super) fn statement(&mut self) -> String {
        let table = self.any_table();
        let name = format!("{}.{}", self.lake, table.name);
        match self.rng.random_range(0..100) {
            0..45 => self.insert(&table),
            // The same rows once more: whole-row duplicates.
            45..53 => format!("INSERT INTO {name} FROM {name} WHERE {} LIMIT 5", self.predicate(&table)),
            53..75 => {
                let column = table.any_column(&mut self.rng);
                let value = column.value(&mut self.rng);
                format!("UPDATE {name} SET {} = {value} WHERE {}", column.quoted(), self.predicate(&table))
            }
            75..96 => format!("DELETE FROM {name} WHERE {}", self.predicate(&table)),
            _ => format!("DELETE FROM {name}"),
        }
    }

    pub(super) fn insert(&mut self, table: &Table) -> String {
        let mut table = table.clone();
        // What is left out gets its default.
        if self.mix.alter > 0 && table.columns.len() > 1 && self.rng.random_ratio(1, 3) {
            let without = self.rng.random_range(0..table.columns.len());
            table.columns.remove(without);
        }
        let rows = if self.rng.random_ratio(1, 8) { 15 } else { self.rng.random_range(1..=4) };
        let rows: Vec<_> = (0..rows).map(|_| self.row(&table)).collect();
        format!("INSERT INTO {}.{} ({}) VALUES {}", self.lake, table.name, table.names(), rows.join(", "))
    }

    fn row(&mut self, table: &Table) -> String {
        let mut values: Vec<_> = table.columns.iter().map(|column| column.value(&mut self.rng)).collect();
        values.extend(table.added.iter().map(|_| self.rng.random_range(0..3).to_string()));
        format!("({})", values.join(", "))
    }

    /// A condition that takes some rows: equal to one value, or unknown, or of two columns.
    pub(super) fn predicate(&mut self, table: &Table) -> String {
        let conditions = self.rng.random_range(1..=2);
        let terms: Vec<_> = (0..conditions)
            .map(|_| {
                let column = table.any_column(&mut self.rng);
                let value = column.value(&mut self.rng);
                self.equals(column, &value)
            })
            .collect();
        terms.join(if self.rng.random() { " AND " } else { " OR " })
    }

    /// That a column has a value, or is NULL.
    fn equals(&self, column: &Column, value: &str) -> String {
        let name = column.quoted();
        if self.mix.alter == 0 && self.mix.files == 0 {
            return format!("{name} IS NOT DISTINCT FROM {value}");
        }
        // Two of those with OR between them, over a column that a file has no values of (added later, or the name of its
        // folder), are an internal error: "unknown comparison type for ConstantFilter: COMPARE_NOT_DISTINCT_FROM".
        if value == NULL { format!("{name} IS NULL") } else { format!("{name} = {value}") }
    }

    /// One transaction over rows that it has changed itself, or one of the rarer statements.
    pub(super) fn entangled(&mut self) -> Vec<String> {
        let table = self.any_table();
        let name = format!("{}.{}", self.lake, table.name);
        if self.rng.random_ratio(1, 6) {
            return vec![if self.rng.random() { format!("TRUNCATE {name}") } else { self.merge(&table) }];
        }
        let column = table.any_column(&mut self.rng).clone();
        let (mut held, mut statements) = (column.value(&mut self.rng), Vec::new());
        for step in 0..self.rng.random_range(2..=4) {
            let these = self.equals(&column, &held);
            statements.push(match self.rng.random_range(0..5) {
                0 if step == 0 => self.insert(&table),
                0 | 1 => format!("DELETE FROM {name} WHERE {these}"),
                2 => self.insert(&table),
                _ => {
                    held = column.value(&mut self.rng);
                    format!("UPDATE {name} SET {} = {held} WHERE {these}", column.quoted())
                }
            });
        }
        statements
    }

    /// An upsert of one row, or the deletion of those that are like it.
    fn merge(&mut self, table: &Table) -> String {
        let key = table.any_column(&mut self.rng).quoted();
        let values: Vec<_> = table
            .columns
            .iter()
            .map(|column| format!("{} AS {}", column.typed_value(&mut self.rng), column.quoted()))
            .collect();
        let set = table.any_column(&mut self.rng).quoted();
        let matched = if self.rng.random() { "DELETE".to_owned() } else { format!("UPDATE SET {set} = s.{set}") };
        let columns: Vec<_> = table.columns.iter().map(|column| column.quoted()).collect();
        let from: Vec<_> = columns.iter().map(|column| format!("s.{column}")).collect();
        format!(
            "MERGE INTO {}.{} AS t USING (SELECT {}) AS s ON t.{key} IS NOT DISTINCT FROM s.{key} \
             WHEN MATCHED THEN {matched} WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
            self.lake,
            table.name,
            values.join(", "),
            columns.join(", "),
            from.join(", ")
        )
    }
}
