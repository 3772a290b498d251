//! Random changes of a lake, from a seed: small domains, so that duplicates, NULLs, joins and
//! empty groups all happen.
//!
//! What DuckLake is known to do wrong by itself is not drawn, and the place says so.

mod column;
mod rows;
mod schema;
mod take;
mod upkeep;

use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use column::{Column, TABLES, Table};
pub use take::Outcome;
pub(crate) use take::is_ducklakes_own;

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
    /// Some snapshots before the newest are forgotten, drawn from those there are with this seed.
    Forget(u64),
    /// A change of columns, tables, or the layout of files.
    Schema(String),
    /// Parquet files are written by COPY and added to a table, perhaps with changes of rows: one transaction.
    Files(Vec<String>),
    /// A second connection opens a transaction with these statements, the first one takes these steps, then the
    /// second commits. Only the last step may be a [`Step::Schema`].
    Concurrent {
        /// The statements of the open transaction.
        second: Vec<String>,
        /// What happens meanwhile.
        first: Vec<Step>,
    },
}

impl Step {
    /// The step as one text of SQL.
    pub fn sql(&self) -> String {
        match self {
            Step::Change(statements) if statements.len() == 1 => statements[0].clone(),
            Step::Change(statements) | Step::Files(statements) => format!("BEGIN; {}; COMMIT", statements.join("; ")),
            Step::RolledBack(statements) => format!("BEGIN; {}; ROLLBACK", statements.join("; ")),
            Step::Maintenance(sql) | Step::Expire(sql) | Step::Schema(sql) => sql.clone(),
            Step::Forget(seed) => format!("-- some snapshots are forgotten, drawn with {seed}"),
            Step::Concurrent { second, first } => {
                let first: Vec<_> = first.iter().map(Step::sql).collect();
                format!(
                    "BEGIN; {}; /* meanwhile on another connection: {}; */ COMMIT",
                    second.join("; "),
                    first.join("; ")
                )
            }
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
    /// Transactions that touch a row twice; MERGE and TRUNCATE.
    pub entangled: u32,
    /// Changes of columns of every kind: of types, names, defaults, fields of STRUCTs; drops and re-additions.
    pub alter: u32,
    /// Tables dropped, made anew, renamed.
    pub tables: u32,
    /// Parquet files added that others wrote.
    pub files: u32,
    /// Partitions, sorting, inlining.
    pub layout: u32,
    /// The rarer calls of upkeep, and flushes in one transaction with changes.
    pub upkeep: u32,
    /// Expiry of single snapshots, interior ones too.
    pub forget: u32,
    /// Transactions of a second connection that are open meanwhile.
    pub concurrent: u32,
    /// Deletion vectors switched on or off; they are on from the beginning.
    pub vectors: u32,
    /// How many rows a change may have to be inlined: one of these, drawn when the tables are made. 0 switches
    /// inlining off; with 10, the default, most changes of a test are inlined.
    pub inlining: &'static [u32],
}

impl Default for Mix {
    fn default() -> Self {
        Mix { maintenance: 15, expire: 3, rollback: 4, damage: true, ..Mix::changes_only() }
    }
}

impl Mix {
    /// Changes of rows alone.
    pub fn changes_only() -> Self {
        Mix {
            maintenance: 0,
            expire: 0,
            schema: 0,
            rollback: 0,
            damage: false,
            entangled: 0,
            alter: 0,
            tables: 0,
            files: 0,
            layout: 0,
            upkeep: 0,
            forget: 0,
            concurrent: 0,
            vectors: 0,
            inlining: &[0, 3, 10, 10],
        }
    }
}

/// The generator. Equal seeds give equal steps, whatever the lake answers.
pub struct Dml {
    rng: StdRng,
    mix: Mix,
    lake: String,
    tables: Vec<Table>,
    /// The tables before the last step.
    before: Vec<Table>,
    columns_added: u32,
    /// How many rows a change may have to be inlined.
    inlined_rows: u32,
    /// Whether columns changed while nothing was inlined. DuckLake does not write down with which columns it keeps rows that are inlined
    /// later, and DuckDB loses what is in them; so none are.
    columns_unlisted: bool,
    /// Partitions by columns alone whose texts have no quote and nothing beyond ASCII: with a catalog in PostgreSQL, a flush of
    /// others loses deletes.
    plain_partitions: bool,
    /// Where files are written that are then added.
    folder: Option<PathBuf>,
    files_added: u32,
}

impl Dml {
    /// Steps for a lake of this name.
    pub fn new(lake: &str, seed: u64, mix: Mix) -> Self {
        let tables: Vec<_> = TABLES.iter().map(Table::of).collect();
        Dml {
            rng: StdRng::seed_from_u64(seed),
            mix,
            lake: lake.to_owned(),
            before: tables.clone(),
            tables,
            columns_added: 0,
            inlined_rows: 0,
            columns_unlisted: false,
            plain_partitions: false,
            folder: None,
            files_added: 0,
        }
    }

    /// The names of the tables that the lake begins with.
    pub fn tables(&self) -> Vec<&'static str> {
        TABLES.iter().map(|(name, _)| *name).collect()
    }

    /// Makes the tables, empty, and settles how the lake stores small changes.
    pub fn create_tables(&mut self) -> String {
        let inlined_rows = *self.mix.inlining.choose(&mut self.rng).expect("the list is not empty");
        self.inlined_rows = inlined_rows;
        if self.mix.alter > 0 {
            // For changes of fields to find one from the beginning.
            self.tables[1].columns.push(Column::of_fields("box"));
        }
        let lake = &self.lake;
        let mut sql = format!("CALL {lake}.set_option('data_inlining_row_limit', {inlined_rows})");
        if self.mix.vectors > 0 {
            sql.push_str(&format!("; CALL {lake}.set_option('write_deletion_vectors', true)"));
        }
        for table in &self.tables {
            sql.push_str("; ");
            sql.push_str(&table.create(lake));
        }
        sql
    }

    /// The next step.
    pub fn step(&mut self) -> Step {
        self.before.clone_from(&self.tables);
        let roll = self.rng.random_range(0..100);
        let mix = self.mix;
        let mut below = 0;
        let mut is = |share| {
            below += share;
            roll < below
        };
        if is(mix.maintenance) {
            return Step::Maintenance(self.maintenance());
        }
        if is(mix.expire) {
            return Step::Expire(format!("CALL ducklake_expire_snapshots('{}', older_than => now())", self.lake));
        }
        if is(mix.schema) {
            return Step::Schema(self.schema_change());
        }
        if is(mix.rollback) {
            return Step::RolledBack(self.statements(3));
        }
        if is(mix.entangled) {
            return Step::Change(self.entangled());
        }
        if is(mix.alter) {
            return Step::Schema(self.alter());
        }
        if is(mix.tables) {
            return Step::Schema(self.change_tables());
        }
        if is(mix.files) {
            return self.files();
        }
        if is(mix.layout) {
            return Step::Schema(self.layout());
        }
        if is(mix.upkeep) {
            return self.upkeep();
        }
        if is(mix.forget) {
            return self.forget();
        }
        if is(mix.concurrent) {
            return self.concurrent();
        }
        if is(mix.vectors) {
            let is_on = self.rng.random_ratio(2, 3);
            return Step::Maintenance(format!("CALL {}.set_option('write_deletion_vectors', {is_on})", self.lake));
        }
        self.change()
    }

    /// The next change of rows.
    pub fn change(&mut self) -> Step {
        let statements = if self.rng.random_ratio(1, 3) { self.rng.random_range(2..=5) } else { 1 };
        Step::Change(self.statements(statements))
    }

    /// Takes back what the last step did to the tables that the generator knows, because the lake refused it.
    pub fn undo(&mut self) {
        self.tables.clone_from(&self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::{Catalog, Lake};
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

    /// After every step the lake has the tables and columns that the generator believes in.
    fn columns_agree(mix: Mix, steps: u32) {
        let dir = tempfile::tempdir().unwrap();
        let (lake, mut dml) = Lake::generated(dir.path(), Catalog::sqlite(dir.path()), seed("dml"), mix);
        for _ in 0..steps {
            let step = dml.step();
            if lake.take(&step) == Outcome::Refused && matches!(step, Step::Schema(_)) {
                dml.undo();
            }
        }
        assert!(dml.columns_added > 0);
        for table in dml.tables.iter().filter(|table| table.exists) {
            let found = lake.query(&format!("FROM lake.{}", table.name)).columns;
            let sorted = |mut names: Vec<String>| {
                names.sort_unstable();
                names
            };
            let found = found.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            assert_eq!(sorted(found), sorted(table.names().split(", ").map(str::to_owned).collect()));
        }
    }

    #[test]
    fn columns_come_and_go() {
        columns_agree(Mix { schema: 20, maintenance: 0, ..Mix::default() }, 60);
    }

    #[test]
    fn columns_and_tables_of_every_kind_come_and_go() {
        columns_agree(Mix { alter: 30, tables: 10, layout: 5, files: 5, ..Mix::default() }, 60);
    }
}
