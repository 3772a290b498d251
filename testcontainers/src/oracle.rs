//! The oracle: every view recomputed in full by DuckDB, from the tables themselves. It shares
//! nothing with the engine but DuckDB's definition of what SQL means.

use arrow::array::RecordBatch;
use tidegate_core::schema::duckdb_type;
use tidegate_core::{TableSchema, ViewName};
use tidegate_duck::{Duck, DuckError, Extension, quote_ident, quote_literal, quote_name};

use crate::contents::TableContents;
use crate::lake::{Lake, attach};
use crate::multiset::{Multiset, Tolerance};

/// A view as it should be, or as it was found: columns with DuckDB's names of their types, rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewRows {
    /// Name and type of each column, in order.
    pub columns: Vec<(String, String)>,
    /// The rows.
    pub rows: Multiset,
}

impl ViewRows {
    /// What a query gives, for example `FROM mart.orders`.
    pub fn read(duck: &Duck, query: &str) -> Result<Self, DuckError> {
        let (schema, batches) = duck.query(query)?;
        let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
            let duckdb_type = duckdb_type(field).expect("queries give every column its DuckDB type");
            (field.name().clone(), duckdb_type.to_owned())
        };
        Ok(ViewRows { columns: schema.fields().iter().map(column).collect(), rows: Multiset::of_batches(&batches) })
    }

    /// Fails the test unless names, types and rows are the expected ones.
    ///
    /// # Panics
    /// With what differs.
    #[track_caller]
    pub fn assert_equals(&self, expected: &ViewRows, tolerance: &Tolerance, what: &str) {
        assert_eq!(self.columns, expected.columns, "{what}: columns found (left), expected (right)");
        if let Some(difference) = self.rows.difference(&expected.rows, tolerance) {
            panic!("{what}: {} rows found, {} expected\n{difference}", self.rows.len(), expected.rows.len());
        }
    }
}

/// A DuckDB with the sources' tables under the names that the views use.
pub struct Oracle {
    duck: Duck,
    attached: Vec<String>,
}

impl Oracle {
    /// An oracle without tables.
    pub fn new() -> Result<Self, DuckError> {
        Ok(Oracle { duck: Duck::open_in_memory()?, attached: Vec::new() })
    }

    /// Runs a statement that sets something, for example `SET threads = 1`.
    pub fn set(&self, statement: &str) -> Result<(), DuckError> {
        self.duck.execute(statement)
    }

    /// Attaches a lake under its name, at a snapshot (`None`: now), until [`Oracle::detach`].
    pub fn attach_lake(&mut self, lake: &Lake, snapshot: Option<u64>) -> Result<(), DuckError> {
        let mut options = vec!["READ_ONLY".to_owned()];
        options.extend(snapshot.map(|id| format!("SNAPSHOT_VERSION {id}")));
        attach(&self.duck, lake.catalog(), lake.name(), &options)?;
        self.attached.push(lake.name().to_owned());
        Ok(())
    }

    /// Attaches a PostgreSQL database under a name, read by DuckDB's own extension, until [`Oracle::detach`].
    /// `connection` is libpq's.
    pub fn attach_postgres(&mut self, connection: &str, name: &str) -> Result<(), DuckError> {
        self.duck.load(Extension::PostgresScanner)?;
        let (connection, quoted) = (quote_literal(connection), quote_ident(name));
        self.duck.execute(&format!("ATTACH {connection} AS {quoted} (TYPE postgres, READ_ONLY)"))?;
        self.attached.push(name.to_owned());
        Ok(())
    }

    /// Loads tables into a catalog in memory named like their source.
    pub fn load<'a>(&mut self, tables: impl IntoIterator<Item = &'a TableContents>) -> Result<(), DuckError> {
        for table in tables {
            self.load_table(table.schema(), table.batch())?;
        }
        Ok(())
    }

    /// Loads one table, in place of what was loaded under its name before.
    pub fn load_table(&mut self, schema: &TableSchema, rows: RecordBatch) -> Result<(), DuckError> {
        let name = &schema.name;
        if !self.attached.contains(&name.source) {
            self.duck.execute(&format!("ATTACH ':memory:' AS {}", quote_ident(&name.source)))?;
            self.attached.push(name.source.clone());
        }
        let parts = [name.source.as_str(), name.schema.as_str(), name.table.as_str()];
        let columns: Vec<_> = schema
            .columns
            .fields()
            .iter()
            .map(|field| {
                let duckdb_type = duckdb_type(field).expect("a table's columns carry their DuckDB types");
                format!("{} {duckdb_type}", quote_ident(field.name()))
            })
            .collect();
        self.duck.execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {}; CREATE OR REPLACE TABLE {} ({})",
            quote_name(parts[..2].iter().copied()),
            quote_name(parts),
            columns.join(", "),
        ))?;
        self.duck.append(&parts, [rows])?;
        Ok(())
    }

    /// Recomputes views. Each may read the tables and the views before it.
    pub fn views(&self, views: &[(ViewName, String)]) -> Result<Vec<ViewRows>, DuckError> {
        for (name, sql) in views {
            self.duck.execute(&format!("CREATE OR REPLACE TEMP VIEW {} AS\n{sql}\n", quote_ident(name.as_str())))?;
        }
        views
            .iter()
            .map(|(name, _)| ViewRows::read(&self.duck, &format!("FROM {}", quote_ident(name.as_str()))))
            .collect()
    }

    /// Lets go of every lake and table.
    pub fn detach(&mut self) -> Result<(), DuckError> {
        for name in self.attached.drain(..) {
            self.duck.execute(&format!("DETACH {}", quote_ident(&name)))?;
        }
        Ok(())
    }

    /// Recomputes views over a lake at a snapshot (`None`: now) that is attached only meanwhile.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn views_over_lake(
        &mut self,
        lake: &Lake,
        snapshot: Option<u64>,
        views: &[(ViewName, String)],
    ) -> Vec<ViewRows> {
        let attached = self.attach_lake(lake, snapshot);
        let rows = attached.and_then(|()| self.views(views));
        let detached = self.detach();
        let rows = rows.unwrap_or_else(|error| panic!("the oracle cannot recompute the views: {error}"));
        detached.unwrap_or_else(|error| panic!("the oracle cannot let go of the lake: {error}"));
        rows
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::{RowIdentity, TableName, schema};

    use super::*;
    use crate::rows;

    #[test]
    fn views_over_views_with_names_and_types() {
        let table = TableSchema {
            name: TableName::new("app", "main", "Odd \"name"),
            incarnation: 1,
            columns: schema::columns([("k", "INTEGER", true), ("v", "DECIMAL(5,2)", true)]).unwrap(),
            identity: RowIdentity::WholeRow,
            integral: tidegate_core::Integral::Source,
        };
        let mut contents = TableContents::new(table.clone());
        contents.apply(&rows::inserted(&table.columns, "(1, 1.5), (1, 1.5), (NULL, 2)"));
        let mut oracle = Oracle::new().unwrap();
        oracle.load([&contents]).unwrap();
        let views = [
            ("sums".into(), "SELECT k, sum(v), count(*) FROM app.\"odd \"\"NAME\" GROUP BY k".to_owned()),
            ("top".into(), "SELECT max(\"count_star()\") AS n FROM sums".to_owned()),
        ];
        let answers = oracle.views(&views).unwrap();
        let types: Vec<_> = answers[0].columns.iter().map(|(name, ty)| (name.as_str(), ty.as_str())).collect();
        assert_eq!(types, [("k", "INTEGER"), ("sum(v)", "DECIMAL(38,2)"), ("count_star()", "BIGINT")]);
        let expected = schema::columns([("n", "BIGINT", true)]).unwrap();
        answers[1].rows.assert_equals(&Multiset::of_batches([&rows::batch(&expected, "(2)")]), "top");
    }
}
