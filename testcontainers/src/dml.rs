//! Random changes of a lake, from a seed: small domains, so that duplicates, NULLs, joins and
//! empty groups all happen.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::lake::{Catalog, Lake};

/// One thing that happens to a lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Changes of rows: one statement, or several in one transaction.
    Change(Vec<String>),
    /// A transaction that is rolled back.
    RolledBack(Vec<String>),
    /// Upkeep that changes no row.
    Maintenance(String),
    /// Snapshots before the newest are forgotten.
    Expire(String),
    /// A change of columns.
    Schema(String),
}

impl Step {
    /// The step as one text of SQL.
    pub fn sql(&self) -> String {
        match self {
            Step::Change(statements) if statements.len() == 1 => statements[0].clone(),
            Step::Change(statements) => format!("BEGIN; {}; COMMIT", statements.join("; ")),
            Step::RolledBack(statements) => format!("BEGIN; {}; ROLLBACK", statements.join("; ")),
            Step::Maintenance(sql) | Step::Expire(sql) | Step::Schema(sql) => sql.clone(),
        }
    }
}

/// How often, of 100 steps, something other than a change of rows happens.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Merges, rewrites, flushes, clean-ups.
    pub maintenance: u32,
    /// Expiry of all but the newest snapshots.
    pub expire: u32,
    /// Columns added, dropped, renamed, or given another default.
    pub schema: u32,
    /// Rollbacks.
    pub rollback: u32,
    /// Whether files are rewritten while deletes of their rows are still inlined. A flush that comes
    /// later then damages the snapshots in between: the lake itself can no longer tell what they held.
    pub damage: bool,
}

impl Default for Mix {
    fn default() -> Self {
        Mix { maintenance: 15, expire: 3, schema: 0, rollback: 4, damage: true }
    }
}

impl Mix {
    /// Changes of rows alone.
    pub fn changes_only() -> Self {
        Mix { maintenance: 0, expire: 0, schema: 0, rollback: 0, damage: false }
    }
}

/// What a column's values are drawn from, as SQL.
#[derive(Debug, Clone)]
struct Column {
    name: &'static str,
    sql_type: &'static str,
    values: &'static [&'static str],
}

const fn column(name: &'static str, sql_type: &'static str, values: &'static [&'static str]) -> Column {
    Column { name, sql_type, values }
}

const NULL: &str = "NULL";

const ORDERS: &[Column] = &[
    column("id", "INTEGER", &["1", "2", "3", "4", "5", "6", "7", "8", "9", NULL]),
    column("customer", "INTEGER", &["1", "2", "3", "4", NULL]),
    column("amount", "DECIMAL(9,2)", &["0.01", "-5.50", "10", "10", "99.99", "1000000.25", NULL]),
    column("qty", "BIGINT", &["0", "1", "2", "-1", "9007199254740993", NULL]),
    column("note", "VARCHAR", &["''", "'a'", "'A'", "'ß'", "'it''s'", "'long enough to leave the row'", NULL]),
    column("price", "DOUBLE", &["0.5", "'-0.0'::DOUBLE", "0.0", "1.25", "-3.0", NULL]),
    column("day", "DATE", &["DATE '2024-02-29'", "DATE '1969-12-31'", "DATE '2025-01-01'", NULL]),
];

const CUSTOMERS: &[Column] = &[
    column("id", "INTEGER", &["1", "2", "3", "4", NULL]),
    column("region", "VARCHAR", &["'north'", "'south'", "'South'", NULL]),
    column("active", "BOOLEAN", &["true", "false", NULL]),
];

const EVENTS: &[Column] = &[
    column("kind", "VARCHAR", &["'x'", "'y'", NULL]),
    column("at", "TIMESTAMP", &["TIMESTAMP '2024-01-01 00:00:00'", "TIMESTAMP '2024-01-01 00:00:00.000001'", NULL]),
    column("n", "SMALLINT", &["1", "2", NULL]),
];

/// A table of the generated lake: its name and its columns.
#[derive(Debug, Clone)]
struct Table {
    name: &'static str,
    columns: &'static [Column],
    /// Columns that schema changes added, by number.
    added: Vec<u32>,
}

/// The generator. Equal seeds give equal steps, whatever the lake answers.
pub struct Dml {
    rng: StdRng,
    mix: Mix,
    lake: String,
    tables: Vec<Table>,
    columns_added: u32,
}

impl Dml {
    /// Steps for a lake of this name.
    pub fn new(lake: &str, seed: u64, mix: Mix) -> Self {
        let table = |name, columns| Table { name, columns, added: Vec::new() };
        Dml {
            rng: StdRng::seed_from_u64(seed),
            mix,
            lake: lake.to_owned(),
            tables: vec![table("orders", ORDERS), table("customers", CUSTOMERS), table("events", EVENTS)],
            columns_added: 0,
        }
    }

    /// The names of the tables.
    pub fn tables(&self) -> Vec<&'static str> {
        self.tables.iter().map(|table| table.name).collect()
    }

    /// Makes the tables, empty, and settles how the lake stores small changes.
    pub fn create_tables(&mut self) -> String {
        // 0 switches inlining off; with 10, the default, most changes of a test are inlined.
        let inlined_rows = *[0, 3, 10, 10].choose(&mut self.rng).expect("the list is not empty");
        let lake = &self.lake;
        let mut sql = format!("CALL {lake}.set_option('data_inlining_row_limit', {inlined_rows})");
        for table in &self.tables {
            let columns: Vec<_> = table.columns.iter().map(|c| format!("\"{}\" {}", c.name, c.sql_type)).collect();
            sql.push_str(&format!("; CREATE TABLE {lake}.{} ({})", table.name, columns.join(", ")));
        }
        sql
    }

    /// The next step.
    pub fn step(&mut self) -> Step {
        let roll = self.rng.random_range(0..100);
        let Mix { maintenance, expire, schema, rollback, .. } = self.mix;
        if roll < maintenance {
            return Step::Maintenance(self.maintenance());
        }
        if roll < maintenance + expire {
            return Step::Expire(format!("CALL ducklake_expire_snapshots('{}', older_than => now())", self.lake));
        }
        if roll < maintenance + expire + schema {
            return Step::Schema(self.schema_change());
        }
        if roll < maintenance + expire + schema + rollback {
            return Step::RolledBack(self.statements(3));
        }
        self.change()
    }

    /// The next change of rows.
    pub fn change(&mut self) -> Step {
        let statements = if self.rng.random_ratio(1, 3) { self.rng.random_range(2..=5) } else { 1 };
        Step::Change(self.statements(statements))
    }

    fn statements(&mut self, number: usize) -> Vec<String> {
        (0..number).map(|_| self.statement()).collect()
    }

    fn statement(&mut self) -> String {
        let index = self.rng.random_range(0..self.tables.len());
        let table = self.tables[index].clone();
        let name = format!("{}.{}", self.lake, table.name);
        match self.rng.random_range(0..100) {
            0..45 => {
                let rows = if self.rng.random_ratio(1, 8) { 15 } else { self.rng.random_range(1..=4) };
                let rows: Vec<_> = (0..rows).map(|_| self.row(&table)).collect();
                format!("INSERT INTO {name} ({}) VALUES {}", names(&table), rows.join(", "))
            }
            // The same rows once more: whole-row duplicates.
            45..53 => format!("INSERT INTO {name} FROM {name} WHERE {} LIMIT 5", self.predicate(&table)),
            53..75 => {
                let column = &table.columns[self.rng.random_range(0..table.columns.len())];
                let value = self.value(column);
                format!("UPDATE {name} SET \"{}\" = {value} WHERE {}", column.name, self.predicate(&table))
            }
            75..96 => format!("DELETE FROM {name} WHERE {}", self.predicate(&table)),
            _ => format!("DELETE FROM {name}"),
        }
    }

    fn row(&mut self, table: &Table) -> String {
        let mut values: Vec<_> = table.columns.iter().map(|column| self.value(column).to_owned()).collect();
        values.extend(table.added.iter().map(|_| self.rng.random_range(0..3).to_string()));
        format!("({})", values.join(", "))
    }

    fn value(&mut self, column: &Column) -> &'static str {
        column.values.choose(&mut self.rng).copied().unwrap_or(NULL)
    }

    /// A condition that takes some rows: equal to one value, or unknown, or of two columns.
    fn predicate(&mut self, table: &Table) -> String {
        let conditions = self.rng.random_range(1..=2);
        let terms: Vec<_> = (0..conditions)
            .map(|_| {
                let column = &table.columns[self.rng.random_range(0..table.columns.len())];
                format!("\"{}\" IS NOT DISTINCT FROM {}", column.name, self.value(column))
            })
            .collect();
        terms.join(if self.rng.random() { " AND " } else { " OR " })
    }

    fn maintenance(&mut self) -> String {
        let lake = self.lake.clone();
        let table = self.tables.choose(&mut self.rng).expect("there are tables").name;
        match self.rng.random_range(0..5) {
            0 => format!("CALL ducklake_merge_adjacent_files('{lake}')"),
            1 => {
                let flush = format!("CALL ducklake_flush_inlined_data('{lake}', table_name => '{table}'); ");
                let rewrite = format!("CALL ducklake_rewrite_data_files('{lake}', '{table}', delete_threshold => 0.0)");
                if self.mix.damage { rewrite } else { flush + &rewrite }
            }
            2 => format!("CALL ducklake_flush_inlined_data('{lake}')"),
            3 => format!("CALL ducklake_flush_inlined_data('{lake}', table_name => '{table}')"),
            _ => format!("CALL ducklake_cleanup_old_files('{lake}', cleanup_all => true)"),
        }
    }

    fn schema_change(&mut self) -> String {
        let index = self.rng.random_range(0..self.tables.len());
        let table = &mut self.tables[index];
        let name = format!("{}.{}", self.lake, table.name);
        if !table.added.is_empty() && self.rng.random() {
            let column = table.added.swap_remove(self.rng.random_range(0..table.added.len()));
            table.added.sort_unstable();
            return format!("ALTER TABLE {name} DROP COLUMN added_{column}");
        }
        self.columns_added += 1;
        table.added.push(self.columns_added);
        format!("ALTER TABLE {name} ADD COLUMN added_{} INTEGER DEFAULT 7", self.columns_added)
    }
}

fn names(table: &Table) -> String {
    let fixed = table.columns.iter().map(|column| format!("\"{}\"", column.name));
    fixed.chain(table.added.iter().map(|column| format!("\"added_{column}\""))).collect::<Vec<_>>().join(", ")
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Done,
    /// DuckLake refused some upkeep or a change of columns, and nothing happened: it has limits of
    /// its own, such as rewriting files whose inlined deletes are older than a column.
    Refused,
}

impl Lake {
    /// Takes one step.
    ///
    /// # Panics
    /// When a change of rows is refused, which never happens.
    pub fn take(&self, step: &Step) -> Outcome {
        let sql = step.sql();
        match (step, self.try_execute(&sql)) {
            (_, Ok(())) => Outcome::Done,
            (Step::Change(_) | Step::RolledBack(_), Err(error)) => panic!("{sql}: {error}"),
            (_, Err(error)) => {
                println!("refused: {sql}: {error}");
                Outcome::Refused
            }
        }
    }

    /// A lake with the generator's tables in it, and the generator.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn generated(dir: &std::path::Path, catalog: Catalog, seed: u64, mix: Mix) -> (Lake, Dml) {
        let lake = Lake::create(dir, catalog);
        let mut dml = Dml::new(lake.name(), seed, mix);
        lake.execute(&dml.create_tables());
        (lake, dml)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::seed;

    #[test]
    fn equal_seeds_give_equal_steps() {
        let steps = |seed| {
            let mut dml = Dml::new("lake", seed, Mix { schema: 5, ..Mix::default() });
            dml.create_tables();
            (0..200).map(|_| dml.step()).collect::<Vec<_>>()
        };
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn ducklake_takes_every_step() {
        let dir = tempfile::tempdir().unwrap();
        let (lake, mut dml) = Lake::generated(dir.path(), Catalog::duckdb(dir.path()), seed("dml"), Mix::default());
        for _ in 0..60 {
            assert_eq!(lake.take(&dml.step()), Outcome::Done);
        }
        let before = lake.rows("orders", None);
        lake.execute("CALL ducklake_merge_adjacent_files('lake')");
        lake.rows("orders", None).assert_equals(&before, "merging files changes no row");
    }

    #[test]
    fn columns_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let mix = Mix { schema: 20, maintenance: 0, ..Mix::default() };
        let (lake, mut dml) = Lake::generated(dir.path(), Catalog::sqlite(dir.path()), seed("dml"), mix);
        for _ in 0..60 {
            assert_eq!(lake.take(&dml.step()), Outcome::Done);
        }
        assert!(dml.columns_added > 0);
        for table in &dml.tables {
            let found = lake.query(&format!("FROM lake.{}", table.name)).columns;
            let found: Vec<_> = found.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            assert_eq!(found.join(", "), names(table));
        }
    }
}
