//! The statements that bring changes, or a whole content, into one table.
//!
//! Values are equal here as DuckDB groups them (NULL equals NULL, NaN equals NaN, −0.0 equals 0.0, 30
//! days equal a month). Where several rows are equal but not the same to the bit, those that are the
//! same as the removed ones go first.
//!
//! A lake's row numbers are not safe to address rows by: they change when files are merged. So of a
//! row with copies, all copies go and the ones that remain are written anew, in one transaction.

use tidegate_core::{EpochHeader, RowIdentity, ViewInfo};

use crate::columns::Column;
use crate::columns::natural_order;
use crate::config::TableConfig;
use crate::epochs::Epochs;
use crate::error::DucklakeSinkError;
use crate::feed::{Feed, TELLING_ROWS};
use crate::lake::{Lake, Survey};
use crate::stage::{column, table as stage_table};

/// Whether there is a table to write into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emptied {
    /// It stands, without rows.
    Stands,
    /// It is to be made.
    Gone,
}

/// One table of the lake and the stage's table with its changes.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) lake: &'a Lake<'a>,
    pub(crate) survey: &'a Survey,
    pub(crate) epochs: &'a Epochs,
    pub(crate) view: &'a ViewInfo,
    pub(crate) columns: &'a [Column],
    pub(crate) header: &'a EpochHeader,
    pub(crate) index: usize,
}

impl Target<'_> {
    pub(crate) fn table(&self) -> String {
        self.lake.table(self.view.name.as_str())
    }

    pub(crate) fn stage(&self) -> String {
        format!("memory.main.{}", stage_table(self.index))
    }

    /// The stage's columns, each after `prefix`.
    pub(crate) fn staged(&self, prefix: &str) -> String {
        let columns = (0..self.columns.len()).map(|index| format!("{prefix}{}", column(index)));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// What the table gets of a row `s` of the stage.
    pub(crate) fn written(&self) -> String {
        let columns = self.columns.iter().enumerate().map(|(index, c)| c.written(index, "s"));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// Takes away what the lake holds of the view. The table stays the same one where its columns do, with
    /// what people have set for it, and for those who follow its changes.
    pub(crate) fn empty(&self) -> Result<Emptied, DucklakeSinkError> {
        let stands = match self.survey.relation(self.view.name.as_str()) {
            None => false,
            Some(_) if !self.epochs.knows(&self.view.name) => return Err(self.foreign()),
            Some(relation) if relation.table.is_none() => return Err(self.foreign()),
            Some(_) => true,
        };
        if stands && self.difference()?.is_none() {
            self.lake.execute(&format!("DELETE FROM {}", self.table()))?;
            return Ok(Emptied::Stands);
        }
        if stands {
            self.lake.execute(&format!("DROP TABLE {}", self.table()))?;
        }
        Ok(Emptied::Gone)
    }

    /// Writes the staged content.
    pub(crate) fn fill(&self, emptied: Emptied) -> Result<(), DucklakeSinkError> {
        if emptied == Emptied::Gone {
            self.make()?;
        }
        self.insert_copies(&self.stage(), "weight")
    }

    /// Writes the content as it comes. DuckLake sorts what is inserted into a table with an order, which a
    /// new one gets only after the rows that come in it.
    pub(crate) fn fill_from(&self, feed: &Feed, emptied: Emptied) -> Result<(), DucklakeSinkError> {
        let mut rows = 0;
        if emptied == Emptied::Gone {
            let layout = self.make_bare()?;
            if let Some(key) = self.arriving_order(&layout)
                && feed.begins_in_order(key)?
            {
                rows = self.insert_fed(feed)?;
            }
            self.lay_out(&layout)?;
        }
        if feed.has_more() {
            rows += self.insert_fed(feed)?;
        }
        if rows == feed.rows() {
            return Ok(());
        }
        let fact = format!("{rows} of {} rows arrived", feed.rows());
        Err(DucklakeSinkError::Contract { view: self.view.name.clone(), fact })
    }

    /// The columns in whose order a new table will be, and rows may come, if any.
    fn arriving_order(&self, layout: &TableConfig) -> Option<&[usize]> {
        let RowIdentity::Key(key) = &self.view.identity else { return None };
        let is_natural = layout.sorted_by.is_none() && layout.partitioned_by.is_empty();
        // A table that has inlined rows of the same transaction gets no order from DuckLake.
        let inlined = self.survey.inlining.max(self.lake.place.inlining()).unwrap_or(0);
        let goes_into_files = usize::try_from(inlined).is_ok_and(|rows| rows < TELLING_ROWS);
        (is_natural && goes_into_files && !key.is_empty() && key.iter().all(|index| self.columns[*index].is_orderly()))
            .then_some(key)
    }

    fn insert_fed(&self, feed: &Feed) -> Result<u64, DucklakeSinkError> {
        let typed =
            self.columns.iter().enumerate().map(|(i, c)| format!("CAST({0} AS {1}) AS {0}", column(i), c.view_type));
        let typed = typed.collect::<Vec<_>>().join(", ");
        let (table, written, rows) = (self.table(), self.written(), feed.table());
        let insert = format!("INSERT INTO {table} SELECT {written} FROM (SELECT {typed} FROM {rows}) s");
        let inserted = self.lake.change(&insert, []);
        // What the stream said is the cause of what DuckDB says.
        feed.fault().map_or(inserted, Err)
    }

    /// Makes the table of a view that the lake does not hold.
    pub(crate) fn create(&self) -> Result<(), DucklakeSinkError> {
        if self.survey.relation(self.view.name.as_str()).is_some() {
            return Err(self.foreign());
        }
        self.make()
    }

    fn make(&self) -> Result<(), DucklakeSinkError> {
        let layout = self.make_bare()?;
        self.lay_out(&layout)
    }

    /// Makes the table without a layout, and answers which one it shall have.
    fn make_bare(&self) -> Result<TableConfig, DucklakeSinkError> {
        let columns = self.columns.iter().map(|c| format!("{} {}", c.name, c.held_type)).collect::<Vec<_>>();
        let made = self.lake.execute(&format!("CREATE TABLE {} ({})", self.table(), columns.join(", ")));
        made.map_err(made_meanwhile)?;
        Ok(self.lake.place.layout(self.view.name.as_str()).cloned().unwrap_or_default())
    }

    fn lay_out(&self, layout: &TableConfig) -> Result<(), DucklakeSinkError> {
        let sorted_by = layout.sorted_by.clone().unwrap_or_else(|| natural_order(self.view, self.columns));
        for (clause, expressions) in [("PARTITIONED", &layout.partitioned_by), ("SORTED", &sorted_by)] {
            if expressions.is_empty() {
                continue;
            }
            let expressions = expressions.join(", ");
            let set = format!("ALTER TABLE {} SET {clause} BY ({expressions})", self.table());
            self.lake.duck.execute(&set).map_err(|error| DucklakeSinkError::Unsupported {
                lake: self.lake.place.shown.clone(),
                view: self.view.name.clone(),
                fact: format!("its table cannot be {} by {expressions}: {error}", clause.to_lowercase()),
            })?;
        }
        Ok(())
    }

    fn foreign(&self) -> DucklakeSinkError {
        DucklakeSinkError::Foreign { lake: self.lake.place.shown.clone(), view: self.view.name.clone() }
    }

    fn altered(&self, difference: String) -> DucklakeSinkError {
        DucklakeSinkError::Altered { lake: self.lake.place.shown.clone(), view: self.view.name.clone(), difference }
    }

    /// Whether the table still has the columns that were written.
    pub(crate) fn check_columns(&self) -> Result<(), DucklakeSinkError> {
        self.difference()?.map_or(Ok(()), |difference| Err(self.altered(difference)))
    }

    /// The first difference between the table's columns and those that the view needs.
    fn difference(&self) -> Result<Option<String>, DucklakeSinkError> {
        let describe = |query: &str| {
            let columns = self.lake.duck.describe_columns(query).map_err(|error| self.lake.error("reading", error))?;
            Ok::<_, DucklakeSinkError>(columns.into_iter().map(|(name, column_type, _)| (name, column_type)))
        };
        let wanted = self.columns.iter().map(|c| format!("CAST(NULL AS {}) AS {}", c.held_type, c.name));
        let wanted = describe(&format!("SELECT {}", wanted.collect::<Vec<_>>().join(", ")))?;
        let mut found = describe(&format!("FROM {}", self.table()))?;
        for (name, held_type) in wanted {
            match found.next() {
                Some((n, t)) if n == name && t == held_type => {}
                Some((n, t)) => {
                    return Ok(Some(format!("column {n} {t} stands where the view has {name} {held_type}")));
                }
                None => return Ok(Some(format!("column {name} is missing"))),
            }
        }
        Ok(found.next().map(|(extra, _)| format!("column {extra} is not one of the view's")))
    }

    /// Inserts every row of `from` as often as its column `copies` says, if that is positive.
    fn insert_copies(&self, from: &str, copies: &str) -> Result<(), DucklakeSinkError> {
        let (table, columns) = (self.table(), self.written());
        let several = self.lake.count(&format!("SELECT count(*) FROM {from} s WHERE s.{copies} > 1"))?;
        let mut rows = format!("SELECT {columns} FROM {from} s WHERE s.{copies} = 1");
        if several > 0 {
            rows.push_str(&format!(
                " UNION ALL SELECT {columns} FROM {from} s, range(s.{copies}) WHERE s.{copies} > 1"
            ));
        }
        self.lake.execute(&format!("INSERT INTO {table} {rows}"))
    }

    /// The conditions under which a row `t` of the table and a row `s` of the temporary table `gone` agree in
    /// some columns; always true without columns.
    ///
    /// DuckDB skips files, and parts of files, that cannot hold the removed rows, by the least and the
    /// greatest value of each, but it does so for `=` only, which is never true of a NULL: that is what the
    /// conditions say wherever none of the removed rows has one.
    pub(crate) fn agree(&self, columns: &[usize]) -> Result<String, DucklakeSinkError> {
        let mut conditions = Vec::with_capacity(columns.len());
        for index in columns {
            let nulls = self.lake.count(&format!("SELECT count(*) - count({}) FROM gone", column(*index)))?;
            let (held, staged) = self.columns[*index].compared(*index);
            let equals = if nulls == 0 && self.columns[*index].is_orderly() { "=" } else { "IS NOT DISTINCT FROM" };
            conditions.push(format!("{held} {equals} {staged}"));
        }
        Ok(if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") })
    }

    /// Applies the staged changes.
    pub(crate) fn change(&self) -> Result<(), DucklakeSinkError> {
        match &self.view.identity {
            RowIdentity::Key(key) => self.change_by_key(key),
            RowIdentity::Rowid | RowIdentity::WholeRow => self.change_rows(),
        }
    }

    /// Rows addressed by their key: those whose first change is a removal go, and what the last
    /// change of a key brings comes.
    fn change_by_key(&self, key: &[usize]) -> Result<(), DucklakeSinkError> {
        let names: Vec<_> = key.iter().map(|index| column(*index)).collect();
        let by_key = if names.is_empty() { "()".to_owned() } else { format!("(PARTITION BY {})", names.join(", ")) };
        let keys = if names.is_empty() { "TRUE AS present".to_owned() } else { names.join(", ") };
        self.lake.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE net AS SELECT *, \
             epoch = min(epoch) OVER {by_key} AND weight < 0 AS was_there, \
             epoch = max(epoch) OVER {by_key} AND weight > 0 AS is_there FROM {}",
            self.stage()
        ))?;
        self.lake.execute(&format!("CREATE OR REPLACE TEMP TABLE gone AS SELECT {keys} FROM net WHERE was_there"))?;
        let expected = self.lake.count("SELECT count(*) FROM gone")?;
        if expected > 0 {
            let agree = self.agree(key)?;
            let found = self.lake.change(&format!("DELETE FROM {} t USING gone s WHERE {agree}", self.table()), [])?;
            self.all_found(found, expected)?;
        }
        if self.lake.count("SELECT count(*) FROM net WHERE is_there")? == 0 {
            return Ok(());
        }
        let (table, columns) = (self.table(), self.written());
        self.lake.execute(&format!("INSERT INTO {table} SELECT {columns} FROM net s WHERE s.is_there"))
    }

    /// Rows addressed by all their columns, with their copies. Of those that lose copies, what is there
    /// is read; what an earlier epoch of the range brought counts as there.
    fn change_rows(&self) -> Result<(), DucklakeSinkError> {
        let columns = self.staged("");
        let bits = self.bits(column);
        self.lake.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE net AS SELECT {columns}, {bits} AS bits, sum(weight)::BIGINT AS copies \
             FROM {} GROUP BY {columns}, {bits} HAVING sum(weight) <> 0; \
             CREATE OR REPLACE TEMP TABLE gone AS SELECT row_number() OVER () AS id, {columns} \
             FROM net WHERE copies < 0 GROUP BY {columns}",
            self.stage()
        ))?;
        if self.lake.count("SELECT count(*) FROM gone")? == 0 {
            return self.insert_copies("net", "copies");
        }
        let agree = self.agree(&(0..self.columns.len()).collect::<Vec<_>>())?;
        let held_bits = self.bits(|index| self.columns[index].read("t"));
        let held = |index: usize| format!("any_value({}) AS {}", self.columns[index].read("t"), column(index));
        let held = (0..self.columns.len()).map(held).collect::<Vec<_>>().join(", ");
        let same = (0..self.columns.len()).map(|i| format!("n.{0} IS NOT DISTINCT FROM s.{0}", column(i)));
        let same = same.collect::<Vec<_>>().join(" AND ");
        self.lake.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE found AS \
             SELECT s.id, {held_bits} AS bits, {held}, count(*)::BIGINT AS copies \
             FROM {table} t JOIN gone s ON {agree} GROUP BY s.id, {held_bits}; \
             CREATE OR REPLACE TEMP TABLE came AS SELECT s.id, n.* FROM net n LEFT JOIN gone s ON {same}",
            table = self.table()
        ))?;
        // Per row and its bits what would be left; where that is less than nothing, equal rows make up for
        // it, in the order of their bits.
        let picked = (0..self.columns.len()).map(|i| format!("any_value({0}) AS {0}", column(i)));
        let picked = picked.collect::<Vec<_>>().join(", ");
        self.lake.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE left_over AS WITH parts AS ( \
               SELECT id, bits, {columns}, copies FROM found \
               UNION ALL SELECT id, bits, {columns}, copies FROM came WHERE id IS NOT NULL), \
             summed AS (SELECT id, bits, {picked}, sum(copies)::BIGINT AS copies FROM parts GROUP BY id, bits), \
             owing AS (SELECT *, greatest(copies, 0) AS present, \
               sum(greatest(-copies, 0)) OVER (PARTITION BY id) AS debt, \
               coalesce(sum(greatest(copies, 0)) OVER (PARTITION BY id ORDER BY bits \
                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before FROM summed) \
             SELECT id, {columns}, (present - least(present, greatest(debt - before, 0)))::BIGINT AS copies, \
               present, debt FROM owing",
        ))?;
        let missing = self.lake.count(
            "SELECT coalesce(sum(greatest(debt - present, 0)), 0)::UBIGINT FROM \
             (SELECT max(debt) AS debt, sum(present) AS present FROM left_over GROUP BY id)",
        )?;
        if missing > 0 {
            let expected = self.lake.count("SELECT (-sum(copies))::UBIGINT FROM net WHERE copies < 0")?;
            return self.all_found(expected - missing, expected);
        }
        let found = self.lake.count("SELECT coalesce(sum(copies), 0)::UBIGINT FROM found")?;
        if found > 0 {
            let went = self.lake.change(&format!("DELETE FROM {} t USING gone s WHERE {agree}", self.table()), [])?;
            self.all_found(went, found)?;
        }
        self.lake.execute(&format!(
            "CREATE OR REPLACE TEMP TABLE arriving AS SELECT {columns}, copies FROM left_over WHERE copies > 0 \
             UNION ALL SELECT {columns}, copies FROM came WHERE id IS NULL"
        ))?;
        if self.lake.count("SELECT count(*) FROM arriving")? == 0 {
            return Ok(());
        }
        self.insert_copies("arriving", "copies")
    }

    /// Expression that tells apart values which are equal but not the same: an empty text for
    /// columns without such values.
    pub(crate) fn bits(&self, name: impl Fn(usize) -> String) -> String {
        // NaNs are one value, whatever their sign.
        let part = |index| format!("replace(coalesce(CAST({} AS VARCHAR), ''), '-nan', 'nan')", name(index));
        let telling = (0..self.columns.len()).filter(|index| self.columns[*index].has_equal_values());
        let parts: Vec<String> = telling.map(part).collect();
        if parts.is_empty() { "''".to_owned() } else { format!("concat_ws(chr(31), {})", parts.join(", ")) }
    }

    fn all_found(&self, found: u64, expected: u64) -> Result<(), DucklakeSinkError> {
        if found == expected {
            return Ok(());
        }
        Err(DucklakeSinkError::RowsMissing {
            lake: self.lake.place.shown.clone(),
            view: self.view.name.clone(),
            epoch: self.header.epoch.0,
            found,
            expected,
        })
    }
}

/// A table that was not there when we looked: another writer made it, and the transaction is repeated
/// from the look on.
fn made_meanwhile(error: DucklakeSinkError) -> DucklakeSinkError {
    match error {
        DucklakeSinkError::Duck { lake, message, .. } if message.contains("already exists") => {
            DucklakeSinkError::Conflict { lake, message }
        }
        error => error,
    }
}
