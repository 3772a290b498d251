//! Which tables a lake has at a snapshot, and their schemas there.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use tidegate_core::{RowIdentity, TableName, TableSchema, duckdb_type};
use tidegate_duck::lake::LakeCatalog;
use tidegate_duck::quote_name;

use crate::catalog::{ColumnRow, TableRow};
use crate::connection::Session;
use crate::error::LakeError;

impl Session<'_> {
    /// The snapshot `at`, checked to be there; `None` is the newest.
    pub fn resolve(&self, at: Option<u64>) -> Result<u64, LakeError> {
        match at {
            None => self.head(),
            Some(id) => Ok(self.snapshot(id)?.id),
        }
    }

    /// The names of all tables at a snapshot.
    pub fn table_names(&self, snapshot: u64) -> Result<Vec<TableName>, LakeError> {
        let tables = self.tables_at(snapshot)?;
        Ok(tables.into_iter().map(|table| TableName::new(self.lake, table.schema, table.name)).collect())
    }

    /// The schemas of some tables at a snapshot, in the order asked.
    pub fn schemas(&self, wanted: &[TableName], snapshot: u64) -> Result<Vec<TableSchema>, LakeError> {
        let present = self.tables_at(snapshot)?;
        let schemas = wanted.iter().map(|name| self.schema(name, &present, snapshot)).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<u64> = schemas.iter().map(|schema| schema.incarnation).collect();
        self.refuse_deletion_vectors(&schemas, &ids)?;
        Ok(schemas)
    }

    /// Fails if one of the tables has deletion vectors.
    pub fn refuse_deletion_vectors(&self, tables: &[TableSchema], ids: &[u64]) -> Result<(), LakeError> {
        let refused = self.with_deletion_vectors(ids)?;
        match tables.iter().find(|table| refused.contains(&table.incarnation)) {
            Some(table) => {
                Err(LakeError::DeletionVectors { lake: self.lake.to_owned(), table: table.name.to_string() })
            }
            None => Ok(()),
        }
    }

    fn schema(&self, name: &TableName, present: &[TableRow], snapshot: u64) -> Result<TableSchema, LakeError> {
        let Some(row) = present.iter().find(|row| row.schema == name.schema && row.name == name.table) else {
            return Err(LakeError::NoTable {
                lake: self.lake.to_owned(),
                table: name.to_string(),
                snapshot,
                near: near_matches(name, present),
            });
        };
        let table = quote_name([self.alias(), &row.schema, &row.name]);
        let columns = self
            .duck
            .describe_columns(&format!("FROM {table} AT (VERSION => {snapshot})"))
            .map_err(self.failed("reading a table's columns"))?;
        let mut fields = Vec::with_capacity(columns.len());
        for (column, duckdb_type, nullable) in columns {
            if matches!(self.kind, LakeCatalog::Sqlite(_)) && column.eq_ignore_ascii_case("rowid") {
                let (lake, table) = (self.lake.to_owned(), name.to_string());
                return Err(LakeError::SqliteRowid { lake, table, column });
            }
            let field =
                duckdb_type::field(&column, &duckdb_type, nullable).map_err(|source| LakeError::ColumnType {
                    lake: self.lake.to_owned(),
                    table: name.to_string(),
                    column: column.clone(),
                    source,
                })?;
            fields.push(field);
        }
        Ok(TableSchema {
            name: name.clone(),
            incarnation: row.id,
            columns: Arc::new(Schema::new(fields)),
            identity: RowIdentity::WholeRow,
            integral: tidegate_core::Integral::Source,
        })
    }
}

fn near_matches(name: &TableName, present: &[TableRow]) -> Vec<String> {
    let wanted = name.table.to_lowercase();
    present
        .iter()
        .filter(|row| {
            let found = row.name.to_lowercase();
            found == wanted || found.trim_end_matches('s') == wanted.trim_end_matches('s')
        })
        .map(|row| format!("{}.{}.{}", name.source, row.schema, row.name))
        .take(3)
        .collect()
}

/// What became of a wanted table, in words; `None` when its rows mean the same as before.
pub fn schema_change(
    table: &TableSchema,
    before: &BTreeSet<ColumnRow>,
    now: Option<&TableRow>,
    after: &BTreeSet<ColumnRow>,
) -> Option<String> {
    let name = &table.name;
    let Some(now) = now else { return Some(format!("table {name} was dropped")) };
    if (&now.schema, &now.name) != (&name.schema, &name.table) {
        return Some(format!("table {name} was renamed to {}.{}.{}", name.source, now.schema, now.name));
    }
    if before == after {
        return None;
    }
    let top = |columns: &BTreeSet<ColumnRow>| -> BTreeSet<(u64, String)> {
        columns.iter().filter(|c| c.parent.is_none()).map(|c| (c.id, c.name.clone())).collect()
    };
    let (old, new) = (top(before), top(after));
    let mut said: Vec<String> = Vec::new();
    for (id, column) in new.difference(&old) {
        match old.iter().find(|(old_id, _)| old_id == id) {
            Some((_, was)) => said.push(format!("column {was} was renamed to {column}")),
            None => said.push(format!("column {column} was added")),
        }
    }
    let gone = old.difference(&new).filter(|(id, _)| !new.iter().any(|(new_id, _)| new_id == id));
    said.extend(gone.map(|(_, column)| format!("column {column} was dropped")));
    if said.is_empty() {
        said.push("the type or nullability of a column changed".to_owned());
    }
    Some(format!("table {name}: {}", said.join(", ")))
}
