//! Which tables a lake has at a snapshot, and their schemas there.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use tidegate_core::{RowIdentity, TableName, TableSchema, duckdb_type};

use crate::catalog::{Catalog, ColumnRow, TableRow};
use crate::error::LakeError;

/// The columns of a table at a snapshot: name, DuckDB's type, nullable.
pub type Describe<'a> = dyn Fn(&TableRow) -> Result<Vec<(String, String, bool)>, LakeError> + 'a;

/// The names of all tables at a snapshot.
pub fn table_names(catalog: &dyn Catalog, snapshot: u64) -> Result<Vec<TableName>, LakeError> {
    let tables = catalog.tables_at(snapshot)?;
    Ok(tables.into_iter().map(|table| TableName::new(catalog.lake(), table.schema, table.name)).collect())
}

/// The schemas of some tables at a snapshot, in the order asked. `in_sqlite` says where the catalog is.
pub fn schemas(
    catalog: &dyn Catalog,
    wanted: &[TableName],
    snapshot: u64,
    in_sqlite: bool,
    describe: &Describe<'_>,
) -> Result<Vec<TableSchema>, LakeError> {
    let present = catalog.tables_at(snapshot)?;
    let schema = |name: &TableName| {
        let Some(row) = present.iter().find(|row| row.schema == name.schema && row.name == name.table) else {
            return Err(LakeError::NoTable {
                lake: catalog.lake().to_owned(),
                table: name.to_string(),
                snapshot,
                near: near_matches(name, &present),
            });
        };
        schema(catalog.lake(), name, row.id, describe(row)?, in_sqlite)
    };
    let schemas = wanted.iter().map(schema).collect::<Result<Vec<_>, _>>()?;
    refuse_deletion_vectors(catalog, &schemas)?;
    Ok(schemas)
}

/// Fails if one of the tables has deletion vectors, unless whoever asks the catalog reads them.
pub fn refuse_deletion_vectors(catalog: &dyn Catalog, tables: &[TableSchema]) -> Result<(), LakeError> {
    if catalog.reads_deletion_vectors() {
        return Ok(());
    }
    let ids: Vec<u64> = tables.iter().map(|table| table.incarnation).collect();
    let refused = catalog.with_deletion_vectors(&ids)?;
    match tables.iter().find(|table| refused.contains(&table.incarnation)) {
        Some(table) => {
            Err(LakeError::DeletionVectors { lake: catalog.lake().to_owned(), table: table.name.to_string() })
        }
        None => Ok(()),
    }
}

fn schema(
    lake: &str,
    name: &TableName,
    id: u64,
    columns: Vec<(String, String, bool)>,
    in_sqlite: bool,
) -> Result<TableSchema, LakeError> {
    let mut fields = Vec::with_capacity(columns.len());
    for (column, duckdb_type, nullable) in columns {
        let (lake, table) = (lake.to_owned(), name.to_string());
        if in_sqlite && column.eq_ignore_ascii_case("rowid") {
            return Err(LakeError::SqliteRowid { lake, table, column });
        }
        let field = duckdb_type::field(&column, &duckdb_type, nullable);
        fields.push(field.map_err(|source| LakeError::ColumnType { lake, table, column, source })?);
    }
    Ok(TableSchema {
        name: name.clone(),
        incarnation: id,
        columns: Arc::new(Schema::new(fields)),
        identity: RowIdentity::WholeRow,
        integral: tidegate_core::Integral::Source,
    })
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
