//! Every operator and function, on every awkward value, against DuckDB: the same type, the same
//! value, and an error where DuckDB has one.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion_common::ScalarValue;
use tidegate_engine_sql::Stretch;

use crate::world::World;

const EXPRESSIONS: &str = include_str!("expressions.txt");

/// Over `lake.edges`: infinite dates and timestamps, and numbers that DOUBLE and FLOAT round in DuckDB's own way.
const EDGES: &[&str] = &[
    "dt + 1",
    "dt - 1",
    "dt - DATE '2020-01-01'",
    "DATE '2020-01-01' - dt",
    "dt - dt",
    "dt + INTERVAL 1 MONTH",
    "dt - INTERVAL '1 month 1 day'",
    "ts + INTERVAL '90 minutes'",
    "ts - INTERVAL 100 YEAR",
    "ts - ts",
    "CAST(dt AS TIMESTAMP)",
    "CAST(ts AS DATE)",
    "dt = ts",
    "dt < ts",
    "CAST(h AS DOUBLE)",
    "CAST(h AS FLOAT)",
    "CAST(whole AS DOUBLE)",
    "CAST(whole AS FLOAT)",
    "CAST(small AS DOUBLE)",
    "CAST(small AS FLOAT)",
    "CAST(large AS DOUBLE)",
    "CAST(large AS FLOAT)",
    "h = CAST(h AS DOUBLE)",
];

#[test]
fn expressions_mean_what_duckdb_says() {
    let world = World::new();
    let mut faults = Vec::new();
    let mut compared = 0;
    for expression in EXPRESSIONS.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("--")) {
        match check(&world, "t", expression) {
            Ok(()) => compared += 1,
            Err(fault) => faults.push(format!("{expression}\n    {fault}")),
        }
    }
    assert!(faults.is_empty(), "{} of {} differ:\n{}", faults.len(), compared + faults.len(), faults.join("\n"));
    assert!(compared >= 300, "only {compared} expressions were compared");
}

#[test]
fn edges_of_types_are_duckdbs() {
    let world = World::new();
    let faults = EDGES.iter().filter_map(|expression| {
        let fault = check(&world, "edges", expression).err()?;
        Some(format!("{expression}\n    {fault}"))
    });
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{} of {} differ:\n{}", faults.len(), EDGES.len(), faults.join("\n"));
}

/// Compares an expression over a table of the lake with DuckDB's.
pub fn check(world: &World, table: &str, expression: &str) -> Result<(), String> {
    let sql = format!("SELECT {expression} AS v FROM lake.{table}");
    let program = world.plan(&sql).map_err(|errors| format!("refused: {}", errors[0]))?;
    let (stretch, _) = Stretch::compile(&program.views()[0].plan).map_err(|e| e.to_string())?;
    let rows = &world.rows[&format!("lake.main.{table}")];
    let ours = stretch.apply_rows(rows).map_err(|e| e.to_string());
    let theirs =
        world.duck.query(&format!("SELECT ({expression}) AS v FROM lake.main.{table}")).map_err(|e| e.to_string());
    if let (Ok(ours), Ok((_, theirs))) = (&ours, &theirs) {
        let theirs = arrow::compute::concat_batches(&theirs[0].schema(), theirs).map_err(|e| e.to_string())?;
        return equal(ours, &theirs, 0);
    }
    for row in 0..rows.num_rows() {
        let ours = stretch.apply_rows(&rows.slice(row, 1)).map_err(|e| e.to_string());
        let sql = format!("SELECT ({expression}) AS v FROM (FROM lake.main.{table} WHERE id = {row})");
        let theirs = world.duck.query(&sql).map_err(|e| e.to_string());
        match (ours, theirs) {
            (Ok(ours), Ok((_, theirs))) => equal(&ours, &theirs[0], row)?,
            (Err(_), Err(_)) => {}
            (Err(error), Ok((_, theirs))) => {
                return Err(format!("row {row}: error {error:?} where DuckDB has {}", text(theirs[0].column(0), 0)));
            }
            (Ok(ours), Err(error)) => {
                return Err(format!("row {row}: {} where DuckDB has the error {error:?}", text(ours.column(0), 0)));
            }
        }
    }
    Ok(())
}

fn equal(ours: &RecordBatch, theirs: &RecordBatch, first: usize) -> Result<(), String> {
    let (a, b) = (ours.column(0), theirs.column(0));
    if a.data_type() != b.data_type() {
        return Err(format!("type {} where DuckDB has {}", a.data_type(), b.data_type()));
    }
    if a.len() != b.len() {
        return Err(format!("{} rows where DuckDB has {}", a.len(), b.len()));
    }
    match (0..a.len()).find(|row| !same(a, b, *row)) {
        Some(row) => Err(format!("row {}: {} where DuckDB has {}", row + first, text(a, row), text(b, row))),
        None => Ok(()),
    }
}

/// Bit by bit, but for the many NaNs.
fn same(a: &ArrayRef, b: &ArrayRef, row: usize) -> bool {
    if a.is_null(row) || b.is_null(row) {
        return a.is_null(row) == b.is_null(row);
    }
    match a.data_type() {
        DataType::Float64 => {
            let (a, b) = (a.as_primitive::<Float64Type>().value(row), b.as_primitive::<Float64Type>().value(row));
            a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
        }
        DataType::Float32 => {
            let (a, b) = (a.as_primitive::<Float32Type>().value(row), b.as_primitive::<Float32Type>().value(row));
            a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
        }
        _ => a.slice(row, 1).to_data() == b.slice(row, 1).to_data(),
    }
}

fn text(array: &ArrayRef, row: usize) -> String {
    format!("{:?}", ScalarValue::try_from_array(array, row).unwrap())
}

/// Every letter of Unicode, alone: our case mappings are DuckDB's.
#[test]
fn letters_change_case_as_in_duckdb() {
    let world = World::new();
    world.duck.execute("CREATE TABLE lake.main.letters AS SELECT i AS id, chr(i::INTEGER) AS c FROM range(1, 1114112) r(i) WHERE i NOT BETWEEN 55296 AND 57343").unwrap();
    let name = tidegate_core::TableName::new("lake", "main", "letters");
    let (columns, batches) = world.duck.query("FROM lake.main.letters").unwrap();
    let mut tables = world.tables.clone();
    tables.push(tidegate_core::TableSchema {
        name,
        incarnation: 1,
        columns,
        identity: tidegate_core::RowIdentity::WholeRow,
        integral: tidegate_core::Integral::Source,
    });
    let sql = "SELECT upper(c) AS u, lower(c) AS l FROM lake.letters";
    let program = tidegate_engine_sql::Program::plan(
        tables,
        vec![crate::world::definition("v", sql)],
        &tidegate_duck::DuckBinder,
    )
    .unwrap();
    let (stretch, _) = Stretch::compile(&program.views()[0].plan).unwrap();
    let mut differ = Vec::new();
    let (_, expected) = world.duck.query("SELECT upper(c) AS u, lower(c) AS l FROM lake.main.letters").unwrap();
    let ours: Vec<RecordBatch> = batches.iter().map(|b| stretch.apply_rows(b).unwrap()).collect();
    let ours = arrow::compute::concat_batches(stretch.output(), &ours).unwrap();
    let theirs = arrow::compute::concat_batches(&expected[0].schema(), &expected).unwrap();
    for column in 0..2 {
        let (a, b) = (ours.column(column).as_string::<i32>(), theirs.column(column).as_string::<i32>());
        for row in 0..a.len() {
            if a.value(row) != b.value(row) {
                differ.push(format!("{} {:?} {:?}", ["upper", "lower"][column], a.value(row), b.value(row)));
            }
        }
    }
    assert!(differ.is_empty(), "{} differ: {:?}", differ.len(), &differ[..differ.len().min(200)]);
}
