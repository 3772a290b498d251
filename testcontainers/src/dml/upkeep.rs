//! Upkeep, which changes no row, and Parquet files that others wrote.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Dml, Step};

impl Dml {
    pub(super) fn maintenance(&mut self) -> String {
        let lake = self.lake.clone();
        let table = self.any_table().name;
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

    /// The rarer calls.
    pub(super) fn upkeep(&mut self) -> Step {
        let lake = self.lake.clone();
        let table = self.any_table().name;
        Step::Maintenance(match self.rng.random_range(0..5) {
            0 => format!("CALL ducklake_merge_adjacent_files('{lake}', '{table}')"),
            1 => format!("CALL ducklake_merge_adjacent_files('{lake}', '{table}', max_compacted_files => 1)"),
            2 if self.mix.damage => format!("CALL ducklake_rewrite_data_files('{lake}')"),
            2 => format!("CALL ducklake_flush_inlined_data('{lake}'); CALL ducklake_rewrite_data_files('{lake}')"),
            3 => format!("CALL ducklake_delete_orphaned_files('{lake}', cleanup_all => true)"),
            // Rows that come, or go, in the transaction that moves what is inlined. Of those that go before the flush DuckLake
            // forgets that they were ever there, even at the snapshots that held them; after it, no token names the
            // deletes.
            _ => {
                let table = self.any_table();
                let statement = if self.rng.random() { self.insert(&table) } else { self.statement() };
                let flush = format!("CALL ducklake_flush_inlined_data('{lake}')");
                let both = if self.rng.random() { [statement, flush] } else { [flush, statement] };
                return Step::Change(both.to_vec());
            }
        })
    }

    /// Files written by COPY become files of a table.
    ///
    /// # Panics
    /// When the generator has no folder for them.
    pub(super) fn files(&mut self) -> Step {
        let folder = self.folder.clone().expect("Mix::files needs a folder: make the lake with Lake::generated");
        let table = self.any_table();
        self.files_added += 1;
        let path = folder.join(format!("part{}", self.files_added)).display().to_string();
        let hive = table.columns.iter().position(|column| matches!(column.sql_type.as_str(), "INTEGER" | "BIGINT"));
        let hive = hive.filter(|_| table.columns.len() > 1 && self.rng.random_ratio(1, 3));
        let mut written = table.columns.clone();
        let mut options = String::new();
        match self.rng.random_range(0..4) {
            0 if hive.is_none() && written.len() > 1 => {
                written.remove(self.rng.random_range(0..written.len()));
                options.push_str(", allow_missing => true");
            }
            // Columns that plain schema changes added are never in the files.
            _ if !table.added.is_empty() => options.push_str(", allow_missing => true"),
            _ => {}
        }
        let rows = self.rng.random_range(1..=6);
        let rows: Vec<_> = (0..rows)
            .map(|_| {
                let values = written.iter().enumerate().map(|(place, column)| {
                    let value = match hive {
                        // A folder's name cannot be NULL.
                        Some(partition) if partition == place => {
                            format!("CAST({} AS {})", self.rng.random_range(0..3), column.sql_type)
                        }
                        _ => column.typed_value(&mut self.rng),
                    };
                    format!("{value} AS {}", column.quoted())
                });
                format!("SELECT {}", values.collect::<Vec<_>>().join(", "))
            })
            .collect();
        let rows = rows.join(" UNION ALL ");
        let (lake, name) = (&self.lake, &table.name);
        let mut statements = match hive {
            Some(partition) => vec![
                format!("COPY ({rows}) TO '{path}' (FORMAT parquet, PARTITION_BY ({}))", written[partition].quoted()),
                format!(
                    "CALL ducklake_add_data_files('{lake}', '{name}', '{path}/**/*.parquet', \
                     hive_partitioning => true{options})"
                ),
            ],
            None => vec![
                format!("COPY ({rows}) TO '{path}.parquet' (FORMAT parquet)"),
                format!("CALL ducklake_add_data_files('{lake}', '{name}', '{path}.parquet'{options})"),
            ],
        };
        if self.rng.random_ratio(1, 4) {
            statements.extend(self.statements(1));
        }
        Step::Files(statements)
    }

    /// Some snapshots are forgotten, the newest never. Which ones there are is not known here.
    pub(super) fn forget(&mut self) -> Step {
        Step::Forget(self.rng.random())
    }

    /// A second connection whose transaction is open while the first one goes on.
    pub(super) fn concurrent(&mut self) -> Step {
        if self.rng.random() {
            return self.overlapping();
        }
        let statements = self.rng.random_range(1..=3);
        let second = self.statements(statements);
        let number = self.rng.random_range(1..=3);
        let mut first: Vec<_> = (0..number)
            .map(|_| match self.rng.random_range(0..3) {
                0 => Step::Maintenance(self.maintenance()),
                _ => self.change(),
            })
            .collect();
        if self.mix.alter > 0 && self.rng.random_ratio(1, 5) {
            // The last one, so that nothing is drawn for columns that may have been refused.
            first.push(Step::Schema(self.alter()));
        }
        Step::Concurrent { second, first }
    }

    /// The same, where the second is not likely to conflict: it deletes rows or puts files in order, and the
    /// first deletes other rows, or changes another table.
    fn overlapping(&mut self) -> Step {
        let table = self.any_table();
        let (lake, name) = (self.lake.clone(), table.name.clone());
        let delete = |dml: &mut Dml| format!("DELETE FROM {lake}.{name} WHERE {}", dml.predicate(&table));
        let second = match self.rng.random_range(0..6) {
            0 => vec![format!("CALL ducklake_merge_adjacent_files('{lake}', '{name}')")],
            1 if self.mix.damage => {
                vec![format!("CALL ducklake_rewrite_data_files('{lake}', '{name}', delete_threshold => 0.0)")]
            }
            2 => vec![delete(self), delete(self)],
            _ => vec![delete(self)],
        };
        let others: Vec<_> = self.tables.iter().filter(|t| t.exists && t.name != name).cloned().collect();
        let number = self.rng.random_range(1..=2);
        let first = (0..number).map(|_| {
            let other = others.choose(&mut self.rng).filter(|_| self.rng.random_ratio(2, 3));
            Step::Change(vec![match other {
                Some(other) => self.insert(other),
                None => delete(self),
            }])
        });
        Step::Concurrent { second, first: first.collect() }
    }

    /// Those of the lake's snapshots that a [`Step::Forget`] takes.
    pub(super) fn forgotten(ids: &[u64], seed: u64) -> Vec<u64> {
        let mut rng = StdRng::seed_from_u64(seed);
        let [rest @ .., _newest] = ids else { return Vec::new() };
        if rng.random_ratio(1, 3) {
            let until = rng.random_range(0..=rest.len() / 2);
            return rest[..until].to_vec();
        }
        let number = rng.random_range(1..=2);
        rest.choose_multiple(&mut rng, number).copied().collect()
    }
}
