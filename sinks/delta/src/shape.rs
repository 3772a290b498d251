//! What a table looks like inside: its columns in the log and in its files, its partitions, and the columns by
//! which rows are addressed.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use serde_json::Value;
use tidegate_core::schema::duckdb_type;
use tidegate_core::{RowIdentity, ViewInfo};

use crate::bounds;
use crate::columns::{self, ColumnError, Equality};
use crate::config::DeltaConfig;
use crate::error::DeltaSinkError;
use crate::history;
use crate::load::Order;
use crate::schema::{self, Mapping};
use crate::table::Role;

/// Names that change data files give to columns of their own.
pub(crate) const CHANGE_TYPE: &str = "_change_type";
const RESERVED: [&str; 3] = [CHANGE_TYPE, "_commit_version", "_commit_timestamp"];
/// Columns without a key by which files are sorted at most.
const SORT_COLUMNS: usize = 8;

/// A view's columns in a table.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) view: ViewInfo,
    pub(crate) role: Role,
    /// The schema as the log has it.
    pub(crate) delta: Value,
    pub(crate) mapping: Mapping,
    /// Every column in its stored type, under its name for files.
    pub(crate) stored: SchemaRef,
    /// Columns whose values stand in the log instead of the files.
    pub(crate) partitions: Vec<usize>,
}

impl Shape {
    /// The shape of a new table for a view. Ids of mapped columns go on after those that were used before.
    pub(crate) fn new(view: &ViewInfo, partition_by: &[String], before: Mapping) -> Result<Shape, DeltaSinkError> {
        let unsupported = |fact: String| DeltaSinkError::unsupported(&view.name, fact);
        let partitions = partitions(view, partition_by).map_err(unsupported)?;
        let mapping = match before {
            Mapping::None if schema::needs_mapping(&view.schema) => Mapping::ByName(0),
            before => before,
        };
        let (delta, mapping) =
            schema::delta_schema(&view.schema, mapping).map_err(|error| unsupported(error.to_string()))?;
        let stored = schema::stored_schema(&view.schema, &delta).expect("the schema was made from these columns");
        Ok(Shape { view: view.clone(), role: Role::Present, delta, mapping, stored, partitions })
    }

    /// The shape of a table that is there; `None` when its columns are not the view's.
    pub(crate) fn of_table(view: &ViewInfo, delta: &Value, mapping: Mapping, partitions: &[String]) -> Option<Shape> {
        let (wanted, _) = schema::delta_schema(&view.schema, Mapping::None).ok()?;
        if schema::difference(delta, &wanted) != schema::Difference::None {
            return None;
        }
        let stored = schema::stored_schema(&view.schema, delta)?;
        let column = |name: &String| view.schema.fields().iter().position(|field| field.name() == name);
        let partitions = partitions.iter().map(column).collect::<Option<Vec<_>>>()?;
        let (view, delta) = (view.clone(), delta.clone());
        Some(Shape { view, role: Role::Present, delta, mapping, stored, partitions })
    }

    /// The names of the partition columns, as the log has them.
    pub(crate) fn partition_names(&self) -> Vec<String> {
        self.partitions.iter().map(|column| self.view.schema.field(*column).name().clone()).collect()
    }

    /// The name of a column in files, statistics and partition values.
    pub(crate) fn physical(&self, column: usize) -> &str {
        self.stored.field(column).name()
    }

    /// The columns by which a row is addressed.
    pub(crate) fn address(&self) -> Vec<usize> {
        match &self.view.identity {
            RowIdentity::Key(key) => key.clone(),
            RowIdentity::Rowid | RowIdentity::WholeRow => (0..self.stored.fields().len()).collect(),
        }
    }

    /// Whether rows are told apart by a key.
    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self.view.identity, RowIdentity::Key(_))
    }

    /// The columns of the address whose statistics have bounds.
    pub(crate) fn bounded(&self) -> Vec<usize> {
        let has_bounds = |column: &usize| bounds::has_bounds(self.stored.field(*column).data_type());
        self.address().into_iter().filter(has_bounds).collect()
    }

    /// The columns by which files are sorted: partitions first, then what addresses rows.
    pub(crate) fn sort_columns(&self) -> Vec<usize> {
        let mut columns = self.partitions.clone();
        let sortable = self
            .address()
            .into_iter()
            .filter(|column| !self.partitions.contains(column) && !self.stored.field(*column).data_type().is_nested());
        columns.extend(sortable.take(SORT_COLUMNS));
        columns
    }

    /// The rows of a view as they are stored.
    pub(crate) fn store(&self, rows: &RecordBatch) -> Result<RecordBatch, DeltaSinkError> {
        let fields = self.view.schema.fields();
        let agree = rows.num_columns() == fields.len()
            && rows.columns().iter().zip(fields).all(|(column, field)| column.data_type() == field.data_type());
        if !agree {
            let fact = format!("columns {:?} instead of {fields:?}", rows.schema().fields());
            return Err(DeltaSinkError::contract(&self.view.name, fact));
        }
        let column = |(array, stored): (&ArrayRef, &Arc<Field>)| {
            columns::to_stored(array, stored.data_type()).map_err(|ColumnError(fact)| {
                let name = &fields[self.stored.index_of(stored.name()).unwrap_or_default()];
                let fact = format!("column {}: {fact}: cast the column to another type in the view", name.name());
                DeltaSinkError::unsupported(&self.view.name, fact)
            })
        };
        let stored = rows.columns().iter().zip(self.stored.fields()).map(column).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(self.stored.clone(), stored)
            .map_err(|error| DeltaSinkError::contract(&self.view.name, error))
    }

    /// Stored rows as the view's.
    pub(crate) fn load(&self, stored: &RecordBatch) -> Result<RecordBatch, String> {
        let fields = self.view.schema.fields();
        let columns = stored.columns().iter().zip(fields).map(|(array, f)| columns::from_stored(array, f.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        RecordBatch::try_new(self.view.schema.clone(), columns).map_err(|error| error.to_string())
    }

    /// What makes bytes of addresses.
    pub(crate) fn addresser(&self, equality: Equality) -> Result<Addresser, DeltaSinkError> {
        Addresser::new(self, self.address(), equality)
            .map_err(|fact| DeltaSinkError::unsupported(&self.view.name, fact))
    }

    /// What makes bytes that sort rows as their files are sorted.
    pub(crate) fn sorter(&self) -> Result<Addresser, DeltaSinkError> {
        Addresser::new(self, self.sort_columns(), Equality::Grouped)
            .map_err(|fact| DeltaSinkError::unsupported(&self.view.name, fact))
    }

    /// Whether rows may be equal and not the same.
    pub(crate) fn has_equal_rows(&self) -> bool {
        !self.is_keyed() && self.view.schema.fields().iter().any(|f| columns::has_equal_values(f.data_type()))
    }
}

/// Refuses views that no table can hold as they are.
pub(crate) fn check_view(view: &ViewInfo, config: &DeltaConfig) -> Result<(), DeltaSinkError> {
    let taken = view.schema.fields().iter().find(|f| RESERVED.iter().any(|own| f.name().eq_ignore_ascii_case(own)));
    if let Some(field) = taken {
        let fact = format!("its column {} is one that the change data feed adds: rename the column", field.name());
        return Err(DeltaSinkError::unsupported(&view.name, fact));
    }
    if view.schema.fields().is_empty() {
        return Err(DeltaSinkError::unsupported(&view.name, "it has no columns"));
    }
    let shape = Shape::new(view, &config.partition_by, Mapping::None)?;
    Order::of(&shape, config)?;
    history::check_columns(view)
}

fn partitions(view: &ViewInfo, partition_by: &[String]) -> Result<Vec<usize>, String> {
    let fields = view.schema.fields();
    let column = |name: &String| {
        let position = fields.iter().position(|field| field.name().eq_ignore_ascii_case(name));
        let position = position.ok_or_else(|| {
            format!("partition_by names column {name}, which it does not have: give such views a sink of their own")
        })?;
        let field = &fields[position];
        let fits = matches!(
            field.data_type(),
            DataType::Boolean
                | DataType::Int8
                | DataType::Int16
                | DataType::Int32
                | DataType::Int64
                | DataType::UInt8
                | DataType::UInt16
                | DataType::UInt32
                | DataType::Date32
                | DataType::Utf8
        );
        if fits {
            return Ok(position);
        }
        let found = duckdb_type(field).unwrap_or("?");
        Err(format!(
            "partition_by names column {name} of type {found}: partition by whole numbers, dates, text or truth values"
        ))
    };
    let partitions = partition_by.iter().map(column).collect::<Result<Vec<_>, String>>()?;
    if !partitions.is_empty() && partitions.len() == fields.len() {
        return Err("partition_by names all its columns: leave one to the files".to_owned());
    }
    Ok(partitions)
}

/// Bytes that are equal for equal addresses, and sort as the values do.
#[derive(Debug)]
pub(crate) struct Addresser {
    columns: Vec<usize>,
    types: Vec<DataType>,
    equality: Equality,
    converter: RowConverter,
}

impl Addresser {
    pub(crate) fn new(shape: &Shape, columns: Vec<usize>, equality: Equality) -> Result<Addresser, String> {
        let types: Vec<_> = columns.iter().map(|c| shape.view.schema.field(*c).data_type().clone()).collect();
        let field = |(column, view): (&usize, &DataType)| {
            let empty = new_empty_array(shape.stored.field(*column).data_type());
            let comparable = columns::comparable(&empty, view, equality).map_err(|error| error.to_string())?;
            Ok(SortField::new(comparable.data_type().clone()))
        };
        let fields = columns.iter().zip(&types).map(field).collect::<Result<Vec<_>, String>>()?;
        let converter = RowConverter::new(fields).map_err(|error| error.to_string())?;
        Ok(Addresser { columns, types, equality, converter })
    }

    /// The columns that the addresses are made of.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The addresses of rows that are given in all stored columns.
    pub(crate) fn of_rows(&self, rows: &RecordBatch) -> Result<Addresses, String> {
        let arrays: Vec<_> = self.columns.iter().map(|column| rows.column(*column).clone()).collect();
        self.of_columns(&arrays, rows.num_rows())
    }

    /// The addresses of rows of which only the columns of the address are given.
    pub(crate) fn of_columns(&self, arrays: &[ArrayRef], rows: usize) -> Result<Addresses, String> {
        if arrays.is_empty() {
            return Ok(Addresses { rows: None, len: rows });
        }
        let comparable = arrays.iter().zip(&self.types).map(|(a, view)| columns::comparable(a, view, self.equality));
        let comparable = comparable.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let converted = self.converter.convert_columns(&comparable).map_err(|error| error.to_string())?;
        Ok(Addresses { rows: Some(converted), len: rows })
    }
}

/// The addresses of some rows.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// `None` where the key has no columns: all rows have the same address.
    rows: Option<Rows>,
    len: usize,
}

impl Addresses {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, row: usize) -> &[u8] {
        self.rows.as_ref().map_or(&[], |rows| rows.row(row).data())
    }
}

/// The schema of files with some columns only, and some more.
pub(crate) fn projected(schema: &Schema, without: &[usize], more: &[Field]) -> SchemaRef {
    let kept = schema.fields().iter().enumerate().filter(|(index, _)| !without.contains(index));
    let mut fields: Vec<Arc<Field>> = kept.map(|(_, field)| field.clone()).collect();
    fields.extend(more.iter().cloned().map(Arc::new));
    Arc::new(Schema::new(fields))
}
