//! One transaction: the staged deltas into the tables, with the epochs.
//!
//! Values are equal here as DuckDB groups them (NULL equals NULL, NaN equals NaN, −0.0 equals 0.0,
//! 30 days equal a month). Where several rows are equal but not the same to the bit, those that are
//! the same as the removed ones go first.

use std::path::Path;

use arrow::datatypes::{DataType, Field};
use tidegate_core::{CommitOutcome, Committed, Epoch, EpochHeader, Micros, RowIdentity, ViewInfo, ViewName, failpoint};
use tidegate_duck::{Access, quote_ident};

use crate::error::DuckdbSinkError;
use crate::mart::{Mart, create};
use crate::stage::{Stage, column, column_definitions, table as stage_table};

/// What happens to a view's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The staged rows are changes.
    Changes,
    /// The staged rows are the whole content.
    Replace,
}

/// A view of the commit; its deltas are in the stage's table of the same index.
pub(crate) struct Staged {
    pub(crate) view: ViewInfo,
    pub(crate) mode: Mode,
    pub(crate) rows: u64,
}

/// Which views stand elsewhere than the range begins.
pub(crate) fn conflict<'v>(
    mart: &Mart<'_>,
    views: impl IntoIterator<Item = (&'v ViewName, Mode)>,
    after: Epoch,
) -> Result<Option<(ViewName, Option<Committed>)>, DuckdbSinkError> {
    let changed: Vec<&ViewName> =
        views.into_iter().filter(|(_, mode)| *mode == Mode::Changes).map(|(view, _)| view).collect();
    let committed = mart.committed(changed)?;
    Ok(committed.into_iter().find(|(_, found)| found.map_or(Epoch::ZERO, |found| found.epoch) != after))
}

/// Applies the stage to the file.
pub(crate) fn apply(
    stage: &Stage,
    file: &Path,
    views: &[Staged],
    after: Epoch,
    header: &EpochHeader,
    at: Micros,
) -> Result<CommitOutcome, DuckdbSinkError> {
    if !file.exists() {
        create(&stage.duck, file)?;
    }
    let mart = Mart::attach(&stage.duck, file, Access::ReadWrite)?;
    mart.execute("BEGIN")?;
    mart.create_epochs()?;
    if let Some((view, found)) = conflict(&mart, views.iter().map(|v| (&v.view.name, v.mode)), after)? {
        return Ok(CommitOutcome::Conflict { view, found });
    }
    for (index, staged) in views.iter().enumerate() {
        let target = Target { mart: &mart, file, view: &staged.view, header, index };
        match staged.mode {
            Mode::Replace => target.replace()?,
            // A first commit of changes: the view was empty before.
            Mode::Changes if after == Epoch::ZERO => target.create()?,
            Mode::Changes => mart.check_columns(&staged.view, index)?,
        }
        if staged.mode == Mode::Changes && staged.rows > 0 {
            match &staged.view.identity {
                RowIdentity::Key(key) => target.change_by_key(key)?,
                RowIdentity::Rowid | RowIdentity::WholeRow => target.change_rows()?,
            }
        }
        mart.note_epoch(&staged.view.name, header, at)?;
    }
    failpoint::hit("sink.duckdb.before_commit");
    mart.execute("COMMIT")?;
    failpoint::hit("sink.duckdb.committed");
    mart.checkpoint();
    Ok(CommitOutcome::Committed { rows: views.iter().map(|staged| staged.rows).sum() })
}

/// One table of the file and the stage's table with its changes.
struct Target<'a> {
    mart: &'a Mart<'a>,
    file: &'a Path,
    view: &'a ViewInfo,
    header: &'a EpochHeader,
    index: usize,
}

impl Target<'_> {
    fn table(&self) -> String {
        self.mart.table(self.view.name.as_str())
    }

    fn stage(&self) -> String {
        format!("memory.main.{}", stage_table(self.index))
    }

    /// The stage's columns, each after `prefix`.
    fn columns(&self, prefix: &str) -> String {
        let columns = (0..self.view.schema.fields().len()).map(|index| format!("{prefix}{}", column(index)));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The conditions under which a row `t` of the table and a row `s` of the stage agree in some
    /// columns; always true without columns.
    fn agree(&self, columns: impl IntoIterator<Item = usize>) -> String {
        let fields = self.view.schema.fields();
        let conditions = columns
            .into_iter()
            .map(|index| format!("t.{} IS NOT DISTINCT FROM s.{}", quote_ident(fields[index].name()), column(index)));
        let conditions: Vec<_> = conditions.collect();
        if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") }
    }

    /// Drops what the file holds of the view and writes the staged content.
    fn replace(&self) -> Result<(), DuckdbSinkError> {
        let name = &self.view.name;
        let foreign = self.mart.relation(name.as_str())?.is_some() && !self.mart.knows(name)?;
        if foreign {
            return Err(self.foreign());
        }
        self.mart.forget_epochs(name)?;
        self.mart.execute(&format!("DROP TABLE IF EXISTS {}", self.table()))?;
        let columns = column_definitions(self.file, self.view)?;
        self.mart.execute(&format!("CREATE TABLE {} ({columns})", self.table()))?;
        self.insert_copies(&self.stage(), "weight")
    }

    /// Makes the table of a view that the file does not hold.
    fn create(&self) -> Result<(), DuckdbSinkError> {
        if self.mart.relation(self.view.name.as_str())?.is_some() {
            return Err(self.foreign());
        }
        self.mart.forget_epochs(&self.view.name)?;
        let columns = column_definitions(self.file, self.view)?;
        self.mart.execute(&format!("CREATE TABLE {} ({columns})", self.table()))
    }

    fn foreign(&self) -> DuckdbSinkError {
        DuckdbSinkError::Foreign { file: self.file.display().to_string(), view: self.view.name.clone() }
    }

    /// Inserts every row of `from` as often as its column `copies` says, if that is positive.
    fn insert_copies(&self, from: &str, copies: &str) -> Result<(), DuckdbSinkError> {
        let (table, columns) = (self.table(), self.columns("s."));
        self.mart.execute(&format!("INSERT INTO {table} SELECT {columns} FROM {from} s WHERE s.{copies} = 1"))?;
        self.mart.execute(&format!(
            "INSERT INTO {table} SELECT {columns} FROM {from} s, range(s.{copies}) WHERE s.{copies} > 1"
        ))
    }

    /// Rows addressed by their key: those whose first change is a removal go, and what the last
    /// change of a key brings comes.
    fn change_by_key(&self, key: &[usize]) -> Result<(), DuckdbSinkError> {
        let names: Vec<_> = key.iter().map(|index| column(*index)).collect();
        let by_key = if names.is_empty() { "()".to_owned() } else { format!("(PARTITION BY {})", names.join(", ")) };
        let keys = if names.is_empty() { "TRUE AS present".to_owned() } else { names.join(", ") };
        self.mart.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE net AS SELECT *, \
             epoch = min(epoch) OVER {by_key} AND weight < 0 AS was_there, \
             epoch = max(epoch) OVER {by_key} AND weight > 0 AS is_there FROM {}",
            self.stage()
        ))?;
        self.mart.execute(&format!("CREATE OR REPLACE TEMP TABLE gone AS SELECT {keys} FROM net WHERE was_there"))?;
        let expected = self.mart.count("SELECT count(*) FROM gone")?;
        if expected > 0 {
            let agree = self.agree(key.iter().copied());
            let found = self.mart.change(&format!("DELETE FROM {} t USING gone s WHERE {agree}", self.table()))?;
            self.all_found(found, expected)?;
        }
        let (table, columns) = (self.table(), self.columns("s."));
        self.mart.execute(&format!("INSERT INTO {table} SELECT {columns} FROM net s WHERE s.is_there"))
    }

    /// Rows addressed by all their columns, with their copies. What comes is inserted first, so
    /// that an epoch may remove, under an equal value, what an earlier one of the range brought.
    fn change_rows(&self) -> Result<(), DuckdbSinkError> {
        let columns = self.columns("");
        let bits = self.bits("", column);
        self.mart.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE net AS SELECT {columns}, {bits} AS bits, sum(weight)::BIGINT AS copies \
             FROM {} GROUP BY {columns}, {bits} HAVING sum(weight) <> 0",
            self.stage()
        ))?;
        self.insert_copies("net", "copies")?;
        self.mart.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE gone AS SELECT row_number() OVER () AS id, {columns}, \
             -sum(copies)::BIGINT AS total, map(list(bits), list(-copies)) AS wanted \
             FROM net WHERE copies < 0 GROUP BY {columns}"
        ))?;
        let expected = self.mart.count("SELECT coalesce(sum(total), 0)::UBIGINT FROM gone")?;
        if expected == 0 {
            return Ok(());
        }
        let fields = self.view.schema.fields();
        let found_bits = self.bits("t.", |index| quote_ident(fields[index].name()));
        let agree = self.agree(0..fields.len());
        self.mart.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE doomed AS \
             WITH equal AS (SELECT t.rowid AS row, s.id, s.total, s.wanted, {found_bits} AS bits \
               FROM {} t JOIN gone s ON {agree}), \
             ranked AS (SELECT row, id, total, \
               row_number() OVER (PARTITION BY id, bits) <= coalesce(wanted[bits], 0) AS same FROM equal) \
             SELECT row FROM ranked QUALIFY row_number() OVER (PARTITION BY id ORDER BY same DESC) <= total",
            self.table()
        ))?;
        let found =
            self.mart.change(&format!("DELETE FROM {} WHERE rowid IN (SELECT row FROM doomed)", self.table()))?;
        self.all_found(found, expected)
    }

    /// Expression that tells apart values which are equal but not the same: an empty text for
    /// columns without such values.
    fn bits(&self, prefix: &str, name: impl Fn(usize) -> String) -> String {
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
