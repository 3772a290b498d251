//! Changes of columns, of tables, and of how a table's files are laid out.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::Dml;
use super::column::{Column, TABLES, Table};

/// Tables that exist at the same time, at most.
const TABLES_MAX: usize = 4;
/// Columns of one table, at most, for a history to stay readable.
const COLUMNS_MAX: usize = 9;

impl Dml {
    /// The plain change of columns: one comes with a default, or goes.
    pub(super) fn schema_change(&mut self) -> String {
        self.columns_unlisted |= self.inlined_rows == 0;
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

    fn any_index(&mut self) -> usize {
        let existing: Vec<_> = (0..self.tables.len()).filter(|index| self.tables[*index].exists).collect();
        *existing.choose(&mut self.rng).expect("one table is always left")
    }

    /// A change of columns of any kind, sometimes in one transaction with changes of rows.
    pub(super) fn alter(&mut self) -> String {
        self.columns_unlisted |= self.inlined_rows == 0;
        let index = self.any_index();
        let before = self.tables[index].clone();
        let mut statements = self.alter_table(index);
        if self.rng.random_ratio(1, 4) {
            let after = self.tables[index].clone();
            // Rows inlined on both sides of an added STRUCT or list are an internal error of DuckLake's ("Missing stats
            // when merging inlined data"), after which its whole database is unusable.
            let is_new = |column: &&Column| before.columns.iter().all(|old| old.definition() != column.definition());
            let first = if after.columns.iter().filter(is_new).any(Column::is_nested) || self.rng.random() {
                let these = self.predicate(&before);
                format!("DELETE FROM {}.{} WHERE {these}", self.lake, before.name)
            } else {
                self.insert(&before)
            };
            statements.insert(0, first);
            statements.push(self.insert(&after));
        }
        if statements.len() == 1 {
            return statements.swap_remove(0);
        }
        format!("BEGIN; {}; COMMIT", statements.join("; "))
    }

    fn alter_table(&mut self, index: usize) -> Vec<String> {
        let Dml { rng, tables, columns_added, lake, .. } = self;
        let table = &mut tables[index];
        let name = format!("{lake}.{}", table.name);
        let at = rng.random_range(0..table.columns.len());
        vec![match rng.random_range(0..10) {
            // Another column under a name that was there before: identity is not the name.
            0 | 1 if !table.dropped.is_empty() => {
                let again = table.dropped.swap_remove(rng.random_range(0..table.dropped.len()));
                let column = Column::any(&again, rng);
                let sql = add_column(&name, &column, rng.random());
                table.columns.push(column);
                sql
            }
            2 if table.columns.len() > 2 => {
                let column = table.columns.remove(at);
                let sql = format!("ALTER TABLE {name} DROP COLUMN {}", column.quoted());
                table.dropped.push(column.name);
                sql
            }
            // All at once: no snapshot tells the two apart by name.
            3 if table.columns.len() > 2 => {
                let column = table.columns.remove(at);
                let again = Column::any(&column.name, rng);
                let add = add_column(&name, &again, rng.random());
                table.columns.push(again);
                return vec![format!("ALTER TABLE {name} DROP COLUMN {}", column.quoted()), add];
            }
            4 => {
                *columns_added += 1;
                let column = &mut table.columns[at];
                let was = column.quoted();
                column.name = format!("renamed_{columns_added}");
                format!("ALTER TABLE {name} RENAME COLUMN {was} TO {}", column.quoted())
            }
            5 => {
                let column = &table.columns[at];
                let value = column.typed_value(rng);
                if column.fields.is_empty() && rng.random() {
                    format!("ALTER TABLE {name} ALTER COLUMN {} SET DEFAULT {value}", column.quoted())
                } else {
                    format!("ALTER TABLE {name} ALTER COLUMN {} DROP DEFAULT", column.quoted())
                }
            }
            6..8 if table.columns.iter().any(|column| !column.fields.is_empty()) => {
                let structs = table.columns.iter_mut().filter(|column| !column.fields.is_empty());
                let column = structs.last().expect("there is one");
                let quoted = column.quoted();
                let sql = if column.fields.len() > 1 && rng.random() {
                    let (field, _) = column.fields.remove(rng.random_range(0..column.fields.len()));
                    format!("ALTER TABLE {name} DROP COLUMN {quoted}.\"{field}\"")
                } else {
                    *columns_added += 1;
                    let (field, sql_type) = (format!("f{columns_added}"), Column::any_field(rng));
                    column.fields.push((field.clone(), sql_type));
                    format!("ALTER TABLE {name} ADD COLUMN {quoted}.\"{field}\" {sql_type}")
                };
                column.fields_changed();
                sql
            }
            8 if table.columns.iter().any(|column| column.wider().is_some()) => {
                let mut narrow: Vec<_> = table.columns.iter_mut().filter(|column| column.wider().is_some()).collect();
                narrow.shuffle(rng);
                let column = narrow.swap_remove(0);
                column.sql_type = column.wider().unwrap_or_default().to_owned();
                format!("ALTER TABLE {name} ALTER COLUMN {} TYPE {}", column.quoted(), column.sql_type)
            }
            _ if table.columns.len() < COLUMNS_MAX => {
                *columns_added += 1;
                let column = Column::any(&format!("c{columns_added}"), rng);
                let sql = add_column(&name, &column, rng.random());
                table.columns.push(column);
                sql
            }
            _ => {
                let column = table.columns.remove(at);
                table.dropped.push(column.name.clone());
                format!("ALTER TABLE {name} DROP COLUMN {}", column.quoted())
            }
        }]
    }

    /// A table goes, comes back under its name, or gets another name.
    pub(super) fn change_tables(&mut self) -> String {
        if let Some(gone) = self.tables.iter().position(|table| !table.exists)
            && self.rng.random_ratio(2, 3)
        {
            self.tables[gone] = self.fresh(gone);
            return self.tables[gone].create(&self.lake);
        }
        let index = self.any_index();
        let existing = self.tables.iter().filter(|table| table.exists).count();
        let lake = self.lake.clone();
        let name = format!("{lake}.{}", self.tables[index].name);
        match self.rng.random_range(0..4) {
            0 if existing > 1 => {
                self.tables[index].exists = false;
                format!("DROP TABLE {name}")
            }
            1 => {
                self.tables[index] = self.fresh(index);
                let table = self.tables[index].clone();
                let rows = if self.rng.random() { format!("{}; ", self.insert(&table)) } else { String::new() };
                format!("BEGIN; DROP TABLE {name}; {}; {rows}COMMIT", table.create(&lake))
            }
            // The old table under a new name, and another under the old one.
            2 if self.tables.len() < TABLES_MAX => {
                let mut moved = self.tables[index].clone();
                self.tables[index] = self.fresh(index);
                moved.name = self.new_name();
                let sql = format!(
                    "BEGIN; ALTER TABLE {name} RENAME TO {}; {}; COMMIT",
                    moved.name,
                    self.tables[index].create(&lake)
                );
                self.tables.push(moved);
                sql
            }
            _ => {
                let new = self.new_name();
                self.tables[index].name.clone_from(&new);
                format!("ALTER TABLE {name} RENAME TO {new}")
            }
        }
    }

    fn new_name(&mut self) -> String {
        self.columns_added += 1;
        format!("t{}", self.columns_added)
    }

    /// A table as it was at the beginning, under the name that it has now.
    fn fresh(&self, index: usize) -> Table {
        Table { name: self.tables[index].name.clone(), ..Table::of(&TABLES[index % TABLES.len()]) }
    }

    /// Partitions, order inside files, and how much is inlined. None of it changes a row.
    pub(super) fn layout(&mut self) -> String {
        let index = self.any_index();
        let Dml { rng, tables, lake, plain_partitions, columns_unlisted, inlined_rows, .. } = self;
        let table = &tables[index];
        let name = format!("{lake}.{}", table.name);
        let mut plain: Vec<_> = table.columns.iter().filter(|column| column.fields.is_empty()).collect();
        if *plain_partitions {
            plain.retain(|column| column.values.iter().all(|value| value.is_ascii() && !value.contains("''")));
        }
        let column = plain.choose(rng).map_or_else(|| "rowid".to_owned(), |column| column.quoted());
        match rng.random_range(0..6) {
            0 => format!("ALTER TABLE {name} SET PARTITIONED BY ({column})"),
            1 => format!("ALTER TABLE {name} SET PARTITIONED BY (bucket(3, {column}))"),
            2 => format!("ALTER TABLE {name} RESET PARTITIONED BY"),
            3 => format!("ALTER TABLE {name} SET SORTED BY ({column} DESC)"),
            4 => format!("ALTER TABLE {name} RESET SORTED BY"),
            _ => {
                let rows = self.mix.inlining.choose(rng).copied().unwrap_or_default();
                *inlined_rows = if *columns_unlisted { 0 } else { rows };
                format!("CALL {lake}.set_option('data_inlining_row_limit', {inlined_rows})")
            }
        }
    }
}

/// ADD COLUMN, with a default that is not NULL where one is wanted. DuckLake takes literals alone, so some types get
/// none.
fn add_column(table: &str, column: &Column, with_default: bool) -> String {
    let literal = !column.is_nested() && column.sql_type != "TIMESTAMPTZ";
    let default = if literal && with_default { format!(" DEFAULT {}", column.values[0]) } else { String::new() };
    format!("ALTER TABLE {table} ADD COLUMN {}{default}", column.definition())
}
