//! A table's columns as files and inlined tables hold them: each by its id, with what stands for it where they
//! are older than the column.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use tidegate_core::TableSchema;

use super::parquet::{LakeColumn, NameMapping};
use super::session::Session;
use super::types::{children, top};
use super::virtual_columns;
use crate::catalog::{Catalog, ColumnRow};
use crate::error::LakeError;

/// A table's columns.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The batches' schema.
    pub schema: SchemaRef,
    /// The columns, in the schema's order.
    pub columns: Vec<LakeColumn>,
    /// The same, nested ones included, as the catalog has them.
    pub rows: BTreeSet<ColumnRow>,
    /// Texts of what stands for columns and fields where rows are older, by id.
    pub defaults: BTreeMap<u64, String>,
}

impl Layout {
    /// Of a table whose columns at a snapshot are those of its schema.
    pub fn of(catalog: &Session<'_, '_>, table: &TableSchema, snapshot: u64) -> Result<Self, LakeError> {
        let id = table.incarnation;
        let rows = catalog.columns_at(&[id], snapshot)?.remove(&id).unwrap_or_default();
        let defaults = catalog.initial_defaults(id, snapshot)?;
        let fields = table.own_columns();
        let top = top(&rows);
        if top.len() != fields.len() || top.iter().zip(fields).any(|(row, field)| row.name != *field.name()) {
            // The caller's schema is of another snapshot.
            return Err(LakeError::CatalogValue {
                lake: catalog.lake().to_owned(),
                table: "ducklake_column".to_owned(),
                column: "column_name".to_owned(),
                wanted: "a column of the table as it was opened",
            });
        }
        let column = |(row, field): (&&ColumnRow, &FieldRef)| column(catalog, row, field, &rows, &defaults);
        let columns = top.iter().zip(fields).map(column).collect::<Result<Vec<_>, _>>()?;
        drop(top);
        let virtual_columns = table.virtual_columns().iter().filter_map(virtual_columns::column);
        let columns = columns.into_iter().chain(virtual_columns).collect();
        Ok(Layout { schema: table.columns.clone(), columns, rows, defaults })
    }
}

fn column(
    catalog: &Session<'_, '_>,
    row: &ColumnRow,
    field: &FieldRef,
    rows: &BTreeSet<ColumnRow>,
    defaults: &BTreeMap<u64, String>,
) -> Result<LakeColumn, LakeError> {
    let children = children(row, rows);
    let children = children.into_iter().zip(child_fields(field.data_type()));
    let children =
        children.map(|(row, field)| column(catalog, row, &field, rows, defaults)).collect::<Result<Vec<_>, _>>()?;
    let default: Option<ArrayRef> = match defaults.get(&row.id) {
        Some(text) => Some(catalog.parse_texts(&StringArray::from(vec![text.as_str()]), field)?),
        None => None,
    };
    Ok(LakeColumn { id: row.id, name: row.name.clone(), field: field.clone(), children, default })
}

fn child_fields(data_type: &DataType) -> Vec<FieldRef> {
    match data_type {
        DataType::Struct(fields) => fields.iter().cloned().collect(),
        DataType::List(item) | DataType::FixedSizeList(item, _) => vec![item.clone()],
        DataType::Map(entries, _) => child_fields(entries.data_type()),
        _ => Vec::new(),
    }
}

/// The columns of mappings right below another one, each with its id in the mapping.
type Levels = BTreeMap<(u64, Option<u64>), Vec<(u64, NameMapping)>>;

/// How the columns of files that were added from elsewhere are found, by mapping id.
pub fn name_mappings(
    catalog: &dyn Catalog,
    mappings: &BTreeSet<u64>,
) -> Result<BTreeMap<u64, Arc<Vec<NameMapping>>>, LakeError> {
    if mappings.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!(
        "SELECT mapping_id, column_id, source_name, target_field_id, parent_column, is_partition FROM {} \
         WHERE mapping_id IN ({}) ORDER BY mapping_id, column_id",
        catalog.catalog("name_mapping"),
        crate::catalog::id_list(mappings),
    );
    let mut levels: Levels = BTreeMap::new();
    for row in catalog.ask(&sql)? {
        let mapping = NameMapping {
            target_id: row.u64(3)?,
            source_name: row.text(2)?.to_owned(),
            is_partition: row.bool(5)?,
            children: Vec::new(),
        };
        levels.entry((row.u64(0)?, row.optional_u64(4)?)).or_default().push((row.u64(1)?, mapping));
    }
    let tree = |mapping: &u64| (*mapping, Arc::new(level(*mapping, None, &levels)));
    Ok(mappings.iter().map(tree).collect())
}

fn level(mapping: u64, parent: Option<u64>, levels: &Levels) -> Vec<NameMapping> {
    let found = levels.get(&(mapping, parent)).map(Vec::as_slice).unwrap_or_default();
    let with_children =
        |(id, found): &(u64, NameMapping)| NameMapping { children: level(mapping, Some(*id), levels), ..found.clone() };
    found.iter().map(with_children).collect()
}
