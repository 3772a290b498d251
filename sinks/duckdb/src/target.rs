//! The statements that bring changes, or a whole content, into one table of present rows.
//!
//! Values are equal here as DuckDB groups them (NULL equals NULL, NaN equals NaN, −0.0 equals 0.0,
//! 30 days equal a month). Where several rows are equal but not the same to the bit, those that are
//! the same as the removed ones go first.

use std::path::Path;

use arrow::datatypes::{DataType, Field};
use tidegate_core::{Epoch, EpochHeader, RowIdentity, ViewInfo};
use tidegate_duck::quote_ident;

use crate::commit::Content;
use crate::error::DuckdbSinkError;
use crate::feed::Feed;
use crate::history::names::Names;
use crate::mart::Mart;
use crate::stage::{Epochs, Staged, column, column_definitions, column_types, qualified};

/// One table, and the stage's table of the same index with its changes.
pub(crate) struct Target<'a> {
    pub(crate) mart: &'a Mart<'a>,
    pub(crate) file: &'a Path,
    pub(crate) view: &'a ViewInfo,
    pub(crate) header: &'a EpochHeader,
    pub(crate) index: usize,
    /// The table, quoted: the view's, if no other one is named.
    table: String,
}

impl<'a> Target<'a> {
    /// The table of a part's view.
    pub(crate) fn new(mart: &'a Mart<'a>, view: &'a ViewInfo, header: &'a EpochHeader, index: usize) -> Target<'a> {
        Target { mart, file: mart.file, view, header, index, table: mart.table(view.name.as_str()) }
    }

    /// The same content for another table.
    pub(crate) fn elsewhere(&self, table: &str) -> Target<'a> {
        Target { table: table.to_owned(), ..*self }
    }

    pub(crate) fn table(&self) -> String {
        self.table.clone()
    }

    /// Brings a part into the view's table, after the epoch that the range begins with.
    pub(crate) fn write(&self, content: &Content, after: Epoch) -> Result<(), DuckdbSinkError> {
        match content {
            Content::Fed(feed) => {
                self.discard()?;
                self.create_table()?;
                self.fill(feed, "")
            }
            // A first commit of changes: the view was empty before.
            Content::Staged(staged) if after == Epoch::ZERO => {
                self.create()?;
                self.change(staged)
            }
            Content::Staged(staged) => {
                if self.mart.is_shown(&self.view.name) {
                    self.unshow()?;
                }
                self.mart.check_columns(self.view, self.index)?;
                self.change(staged)
            }
        }
    }

    /// Brings changes into the table.
    pub(crate) fn change(&self, staged: &Staged) -> Result<(), DuckdbSinkError> {
        match &self.view.identity {
            _ if staged.rows == 0 => Ok(()),
            RowIdentity::Key(key) => self.change_by_key(key, staged),
            RowIdentity::Rowid | RowIdentity::WholeRow => self.change_rows(staged),
        }
    }

    pub(crate) fn stage(&self) -> String {
        qualified(self.index)
    }

    /// The stage's columns, each after `prefix`.
    pub(crate) fn columns(&self, prefix: &str) -> String {
        let columns = (0..self.view.schema.fields().len()).map(|index| format!("{prefix}{}", column(index)));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The conditions under which a row `t` of the table and a removed row `s` agree in some columns, of
    /// which the removed rows have so many NULLs each; always true without columns.
    ///
    /// DuckDB skips what cannot hold the removed rows, by the least and the greatest value of each
    /// block of the table, but it does so for `=` only, which is never true of a NULL: that is what
    /// the conditions say wherever none of the removed rows has one.
    pub(crate) fn agree(&self, columns: impl IntoIterator<Item = (usize, u64)>) -> String {
        let fields = self.view.schema.fields();
        let conditions = columns.into_iter().map(|(index, nulls)| {
            let nested = fields[index].data_type().is_nested();
            let equals = if nulls == 0 && !nested { "=" } else { "IS NOT DISTINCT FROM" };
            format!("t.{} {equals} s.{}", quote_ident(fields[index].name()), column(index))
        });
        let conditions: Vec<_> = conditions.collect();
        if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") }
    }

    /// Drops what stands under the view's name, and forgets what the file says of it.
    pub(crate) fn discard(&self) -> Result<(), DuckdbSinkError> {
        let name = &self.view.name;
        let foreign = self.mart.holds(name) && !self.mart.knows(name)?;
        if foreign {
            return Err(self.foreign());
        }
        self.mart.forget_epochs(name)?;
        self.drop_present()
    }

    /// Drops the table, or the SQL view, that the file has of the view.
    pub(crate) fn drop_present(&self) -> Result<(), DuckdbSinkError> {
        let name = &self.view.name;
        let kind = if self.mart.has(name.as_str()) { "TABLE" } else { "VIEW" };
        if kind == "VIEW" && !self.mart.is_shown(name) {
            return Ok(());
        }
        self.mart.execute(&format!("DROP {kind} {}", self.mart.table(name.as_str())))
    }

    /// Writes the whole content into the table, which is empty, with `more` after the view's columns. Rows with a key go in by
    /// its order, so that what is addressed by key is found without a look at most of the table.
    pub(crate) fn fill(&self, content: &Feed, more: &str) -> Result<(), DuckdbSinkError> {
        let types = column_types(self.file, self.view)?;
        let casts =
            types.iter().enumerate().map(|(i, duckdb_type)| format!("CAST({0} AS {duckdb_type}) AS {0}", column(i)));
        let casts = casts.collect::<Vec<_>>().join(", ");
        let order = match &self.view.identity {
            RowIdentity::Key(key) => self.order(key),
            RowIdentity::Rowid | RowIdentity::WholeRow => String::new(),
        };
        let rows = format!("SELECT {casts} FROM {}", content.table());
        let inserted = self.mart.execute(&format!("INSERT INTO {} SELECT *{more} FROM ({rows}){order}", self.table()));
        // What the stream said is the cause of what DuckDB says.
        content.fault().map_or(inserted, Err)
    }

    /// The clause that puts rows in the order of their keys.
    pub(crate) fn order(&self, key: &[usize]) -> String {
        let columns: Vec<_> = key.iter().map(|index| column(*index)).collect();
        if columns.is_empty() { String::new() } else { format!(" ORDER BY {}", columns.join(", ")) }
    }

    /// Makes the table of a view that the file does not hold.
    fn create(&self) -> Result<(), DuckdbSinkError> {
        self.make_room()?;
        self.create_table()
    }

    /// Makes room for a view that the file does not hold.
    pub(crate) fn make_room(&self) -> Result<(), DuckdbSinkError> {
        if self.mart.holds(&self.view.name) {
            return Err(self.foreign());
        }
        self.mart.forget_epochs(&self.view.name)?;
        self.drop_present()
    }

    /// Makes a table of a view that was kept with its history, and is not any more. The history stays as it is.
    pub(crate) fn unshow(&self) -> Result<(), DuckdbSinkError> {
        let fields = self.view.schema.fields();
        let named = |index: usize| quote_ident(fields[index].name());
        let columns: Vec<_> = (0..fields.len()).map(named).collect();
        let order = match &self.view.identity {
            RowIdentity::Key(key) if !key.is_empty() => {
                format!(" ORDER BY {}", key.iter().map(|index| named(*index)).collect::<Vec<_>>().join(", "))
            }
            _ => String::new(),
        };
        self.drop_present()?;
        self.create_table()?;
        let (table, open) = (self.table(), self.mart.table(&Names::of(&self.view.name).open));
        self.mart.execute(&format!("INSERT INTO {table} SELECT {} FROM {open}{order}", columns.join(", ")))
    }

    fn create_table(&self) -> Result<(), DuckdbSinkError> {
        let columns = column_definitions(self.file, self.view)?;
        let created = self.mart.execute(&format!("CREATE TABLE {} ({columns})", self.table()));
        created.map_err(|error| match error {
            // A view of somebody's has the name.
            DuckdbSinkError::Duck { message, .. } if message.contains("already exists") => self.foreign(),
            error => error,
        })
    }

    fn foreign(&self) -> DuckdbSinkError {
        DuckdbSinkError::Foreign { file: self.file.display().to_string(), view: self.view.name.clone() }
    }

    /// Inserts as many copies of rows as `net` says.
    fn insert_copies(&self) -> Result<(), DuckdbSinkError> {
        let (table, columns) = (self.table(), self.columns("s."));
        self.mart.execute(&format!("INSERT INTO {table} SELECT {columns} FROM net s WHERE s.copies = 1"))?;
        self.mart
            .execute(&format!("INSERT INTO {table} SELECT {columns} FROM net s, range(s.copies) WHERE s.copies > 1"))
    }

    /// Rows addressed by their key: those whose first change is a removal go, and what the last
    /// change of a key brings comes.
    fn change_by_key(&self, key: &[usize], staged: &Staged) -> Result<(), DuckdbSinkError> {
        let (table, columns, stage) = (self.table(), self.columns("s."), self.stage());
        let (gone, come, expected) = match staged.epochs {
            Epochs::One => {
                let of = |sign| format!("(SELECT * FROM {stage} WHERE weight {sign} 0)");
                (of("<"), of(">"), staged.removals)
            }
            Epochs::Several => {
                let names: Vec<_> = key.iter().map(|index| column(*index)).collect();
                let by_key =
                    if names.is_empty() { "()".to_owned() } else { format!("(PARTITION BY {})", names.join(", ")) };
                self.mart.execute(&format!(
                    "CREATE OR REPLACE TEMP TABLE net AS SELECT *, \
                     epoch = min(epoch) OVER {by_key} AND weight < 0 AS was_there, \
                     epoch = max(epoch) OVER {by_key} AND weight > 0 AS is_there FROM {stage}"
                ))?;
                let of = |mark| format!("(SELECT * FROM net WHERE {mark})");
                let expected = self.mart.counts("SELECT count(*) FROM net WHERE was_there", 1)?[0];
                (of("was_there"), of("is_there"), expected)
            }
        };
        if expected > 0 {
            let agree = self.agree(key.iter().map(|index| (*index, staged.nulls[*index])));
            let found = self.mart.change(&format!("DELETE FROM {table} t USING {gone} s WHERE {agree}"))?;
            self.all_found(found, expected)?;
        }
        let order = self.order(key);
        self.mart.execute(&format!("INSERT INTO {table} SELECT {columns} FROM {come} s{order}"))
    }

    /// Rows addressed by all their columns. What comes is inserted first, so that an epoch may remove, under an equal value, what an
    /// earlier one of the range brought.
    fn change_rows(&self, staged: &Staged) -> Result<(), DuckdbSinkError> {
        if staged.epochs == Epochs::Several || staged.has_copies {
            self.net()?;
            self.insert_copies()?;
            return self.remove_copies();
        }
        if staged.rows > staged.removals {
            let (table, columns, stage) = (self.table(), self.columns("s."), self.stage());
            self.mart.execute(&format!("INSERT INTO {table} SELECT {columns} FROM {stage} s WHERE s.weight > 0"))?;
        }
        if staged.removals == 0 || self.remove_each(staged)? {
            return Ok(());
        }
        self.net()?;
        self.remove_copies()
    }

    /// Removes rows of which one copy each goes, where each of them is in the table once, the same to the bit: that is the rule,
    /// and takes a third to a half of what [`Target::remove_copies`] does. Answers whether it was so; nothing is removed otherwise.
    fn remove_each(&self, staged: &Staged) -> Result<bool, DuckdbSinkError> {
        let fields = self.view.schema.fields();
        let agree = self.agree(staged.nulls.iter().copied().enumerate());
        let (held, gone) = (self.bits("t.", |index| quote_ident(fields[index].name())), self.bits("s.", column));
        self.mart.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE doomed AS SELECT t.rowid AS row, s.rowid AS id FROM {} t \
             JOIN {} s ON {agree} AND {held} = {gone} WHERE s.weight < 0",
            self.table(),
            self.stage(),
        ))?;
        let found = self.mart.counts("SELECT count(*), count(DISTINCT id) FROM doomed", 2)?;
        if found != [staged.removals; 2] {
            return Ok(false);
        }
        self.all_found(self.remove_doomed()?, staged.removals)?;
        Ok(true)
    }

    fn remove_doomed(&self) -> Result<u64, DuckdbSinkError> {
        self.mart.change(&format!("DELETE FROM {} WHERE rowid IN (SELECT row FROM doomed)", self.table()))
    }

    /// Makes `net`, a table of what the changes come to, row by row: so many copies more, or fewer.
    fn net(&self) -> Result<(), DuckdbSinkError> {
        let columns = self.columns("");
        let bits = self.bits("", column);
        self.mart.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE net AS SELECT {columns}, {bits} AS bits, sum(weight)::BIGINT AS copies \
             FROM {} GROUP BY {columns}, {bits} HAVING sum(weight) <> 0",
            self.stage()
        ))
    }

    /// Removes as many copies of rows as `net` says: those first that are the same to the bit.
    fn remove_copies(&self) -> Result<(), DuckdbSinkError> {
        let columns = self.columns("");
        self.mart.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE gone AS SELECT row_number() OVER () AS id, {columns}, \
             -sum(copies)::BIGINT AS total, map(list(bits), list(-copies)) AS wanted \
             FROM net WHERE copies < 0 GROUP BY {columns}"
        ))?;
        let expected = self.mart.counts("SELECT coalesce(sum(total), 0)::UBIGINT FROM gone", 1)?[0];
        if expected == 0 {
            return Ok(());
        }
        let fields = self.view.schema.fields();
        let found_bits = self.bits("t.", |index| quote_ident(fields[index].name()));
        let nulls: Vec<_> = (0..fields.len()).map(|index| format!("count(*) - count({})", column(index))).collect();
        let nulls = self.mart.counts(&format!("SELECT {} FROM gone", nulls.join(", ")), fields.len())?;
        let agree = self.agree(nulls.into_iter().enumerate());
        self.mart.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE doomed AS \
             WITH equal AS (SELECT t.rowid AS row, s.id, s.total, s.wanted, {found_bits} AS bits \
               FROM {} t JOIN gone s ON {agree}), \
             ranked AS (SELECT row, id, total, \
               row_number() OVER (PARTITION BY id, bits) <= coalesce(wanted[bits], 0) AS same FROM equal) \
             SELECT row FROM ranked QUALIFY row_number() OVER (PARTITION BY id ORDER BY same DESC) <= total",
            self.table()
        ))?;
        self.all_found(self.remove_doomed()?, expected)
    }

    /// Expression that tells apart values which are equal but not the same: an empty text for
    /// columns without such values.
    pub(crate) fn bits(&self, prefix: &str, name: impl Fn(usize) -> String) -> String {
        let parts: Vec<String> = self
            .view
            .schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| has_equal_values(field.data_type()))
            .map(|(index, _)| {
                // NaNs are one value, whatever their sign.
                format!("replace(coalesce(CAST({prefix}{} AS VARCHAR), ''), '-nan', 'nan')", name(index))
            })
            .collect();
        if parts.is_empty() { "''".to_owned() } else { format!("concat_ws(chr(31), {})", parts.join(", ")) }
    }

    fn all_found(&self, found: u64, expected: u64) -> Result<(), DuckdbSinkError> {
        if found == expected {
            return Ok(());
        }
        Err(DuckdbSinkError::RowsMissing {
            file: self.file.display().to_string(),
            view: self.view.name.clone(),
            epoch: self.header.epoch.0,
            found,
            expected,
        })
    }
}

/// Whether a type has values that DuckDB calls equal and shows differently.
fn has_equal_values(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 | DataType::Interval(_) => true,
        DataType::List(item) | DataType::FixedSizeList(item, _) => has_equal_values(item.data_type()),
        DataType::Map(entries, _) => has_equal_values(entries.data_type()),
        DataType::Struct(fields) => fields.iter().map(AsRef::as_ref).any(|f: &Field| has_equal_values(f.data_type())),
        _ => false,
    }
}
