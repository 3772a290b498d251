//! What views read and write, as data sets with their columns. Views are not kept between tables and targets for others to
//! read: what a view reads of another view is what that reads.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Schema;
use tidegate_core::{TableName, ViewName, schema};
use tidegate_engine::Program;
use tidegate_engine_sql::Input;

use crate::assembly::Assembly;
use crate::file::AllDatasets;
use crate::lineage::lineage;
use crate::registry::Datasets;

/// The name of a data set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dataset {
    pub namespace: String,
    pub name: String,
}

impl Dataset {
    fn of(datasets: &Datasets, table: &str) -> Dataset {
        Dataset { namespace: datasets.namespace.clone(), name: datasets.name(table) }
    }
}

/// A column's name and its DuckDB type.
pub type Column = (String, String);

/// What the program says of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The tables that it is computed from, with their columns.
    pub inputs: BTreeMap<Dataset, Vec<Column>>,
    pub columns: Vec<Column>,
    /// The columns of tables that each column is computed from.
    pub origins: Vec<BTreeSet<(Dataset, String)>>,
}

/// Which sinks take which views, and what others call their tables.
pub struct Targets {
    all: AllDatasets,
    /// The views of each sink; `None`: all.
    sinks: Vec<(String, Option<Vec<ViewName>>)>,
}

impl Targets {
    /// As a pipeline file says.
    pub fn of(assembly: &Assembly) -> Targets {
        let sinks = assembly.connectors.sinks.iter();
        let sinks = sinks.map(|slot| (slot.sink.name().to_owned(), slot.views.clone())).collect();
        Targets::new(assembly.datasets.clone(), sinks)
    }

    pub fn new(all: AllDatasets, sinks: Vec<(String, Option<Vec<ViewName>>)>) -> Targets {
        Targets { all, sinks }
    }

    /// The data sets that a view is written to.
    pub fn of_view(&self, view: &ViewName) -> Vec<Dataset> {
        let takes = |views: &Option<Vec<ViewName>>| views.as_ref().is_none_or(|views| views.contains(view));
        let takers = self.sinks.iter().filter(|(_, views)| takes(views));
        let datasets = takers.filter_map(|(sink, _)| self.all.sinks.get(sink));
        datasets.map(|datasets| Dataset::of(datasets, view.as_str())).collect()
    }

    fn table(&self, table: &TableName) -> Option<Dataset> {
        let datasets = self.all.sources.get(&table.source)?;
        Some(Dataset::of(datasets, &format!("{}.{}", table.schema, table.table)))
    }
}

/// What a program says of its views.
pub fn views(program: &Program, targets: &Targets) -> BTreeMap<ViewName, View> {
    let tables = program.tables().iter();
    let tables: BTreeMap<&TableName, &Schema> = tables.map(|table| (&table.name, &*table.columns)).collect();
    let mut found: BTreeMap<ViewName, View> = BTreeMap::new();
    // Those that are read come before those that read them.
    for view in program.views() {
        let mut inputs = BTreeMap::new();
        for input in &view.inputs {
            match input {
                Input::Table(name) => {
                    let columns = tables.get(name).map(|schema| columns(schema)).unwrap_or_default();
                    inputs.extend(targets.table(name).map(|dataset| (dataset, columns)));
                }
                Input::View(name) => inputs.extend(found.get(name).map(|read| read.inputs.clone()).unwrap_or_default()),
                Input::Clock => {}
            }
        }
        let origins = lineage(&view.plan).into_iter().map(|origins| {
            let of_tables = origins.into_iter().flat_map(|origin| match &origin.input {
                Input::Table(name) => {
                    targets.table(name).map(|dataset| (dataset, origin.column)).into_iter().collect::<BTreeSet<_>>()
                }
                Input::View(name) => {
                    let at = |read: &View| read.columns.iter().position(|(column, _)| *column == origin.column);
                    let read = found.get(name).and_then(|read| read.origins.get(at(read)?).cloned());
                    read.unwrap_or_default()
                }
                Input::Clock => BTreeSet::new(),
            });
            of_tables.collect()
        });
        let origins = origins.collect();
        let columns = columns(&view.info.schema);
        found.insert(view.info.name.clone(), View { inputs, columns, origins });
    }
    found
}

fn columns(schema: &Schema) -> Vec<Column> {
    let of = |field: &arrow::datatypes::FieldRef| {
        (field.name().clone(), schema::duckdb_type(field).unwrap_or("UNKNOWN").to_owned())
    };
    schema.fields().iter().map(of).collect()
}
