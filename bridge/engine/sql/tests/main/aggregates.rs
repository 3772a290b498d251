//! Every aggregate that DuckDB has is maintained or refused by name, and the book says which.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::array::AsArray;
use tidegate_engine_sql::{AGGREGATES_OF_DUCKDB, Standing};

use crate::world::World;

#[test]
fn the_list_is_that_of_duckdb() {
    let world = World::new();
    let names = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'";
    let (_, batches) = world.duck.query(names).unwrap();
    let of_duckdb: BTreeSet<String> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let listed: BTreeSet<String> = AGGREGATES_OF_DUCKDB.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed.len(), AGGREGATES_OF_DUCKDB.len(), "a name is listed once");
    assert_eq!(listed, of_duckdb, "listed here (left), DuckDB's (right)");
}

#[test]
fn each_is_planned_or_refused_by_name() {
    let world = World::new();
    let arguments = ["id", "b", "id, i32", "s", "id, 0.5"];
    for (name, standing) in AGGREGATES_OF_DUCKDB {
        let plans = arguments.map(|arguments| world.plan(&format!("SELECT {name}({arguments}) AS x FROM lake.t")));
        match standing {
            Standing::Summed | Standing::Sorted | Standing::Recomputed => {
                let planned = plans.iter().find_map(|plan| plan.as_ref().ok());
                let explained = planned.unwrap_or_else(|| panic!("{name}: {plans:#?}")).views()[0].explain_text();
                let state = match standing {
                    Standing::Summed => "state: sums",
                    Standing::Sorted => "state: ordered values",
                    _ => "state: rows of every group",
                };
                assert!(explained.contains(state), "{name} is kept in another way:\n{explained}");
            }
            Standing::Refused(_) | Standing::Window => {
                for plan in plans {
                    let errors = plan.expect_err(name);
                    let shown = errors[0].to_string();
                    let way_out = if let Standing::Refused(way_out) = standing { way_out } else { "OVER" };
                    assert!(shown.contains(name) && shown.contains(way_out), "{shown}");
                }
            }
        }
    }
}

/// `UPDATE_DOCS=1` writes the table anew.
#[test]
fn the_book_has_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/src/aggregates.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (start, end) = ("<!-- table -->\n", "<!-- end of table -->");
    let (before, rest) = page.split_once(start).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let table = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{start}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(found, table, "run this test with UPDATE_DOCS=1");
    }
}

fn table() -> String {
    let mut table = "\n| aggregate | kept as |\n| --- | --- |\n".to_owned();
    for (name, standing) in AGGREGATES_OF_DUCKDB {
        let kept = match standing {
            Standing::Summed => "sums".to_owned(),
            Standing::Sorted => "the values in order".to_owned(),
            Standing::Recomputed => "the rows of every group".to_owned(),
            Standing::Refused(way_out) => format!("refused: {way_out}"),
            Standing::Window => continue,
        };
        table += &format!("| `{name}` | {kept} |\n");
    }
    table + "\n"
}
