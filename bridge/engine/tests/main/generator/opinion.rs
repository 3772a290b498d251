//! What DuckDB itself says about a view: whether it has one answer.

use arrow::array::UInt64Array;
use tidegate_core::ViewName;
use tidegate_duck::DuckError;
use tidegate_testkit::{Oracle, TableContents, Tolerance, ViewRows};

use super::case::Case;

/// The tables after every epoch, each time in a DuckDB of its own.
pub struct Oracles {
    oracles: Vec<Oracle>,
}

impl Oracles {
    pub fn new(epochs: &[Vec<TableContents>]) -> Oracles {
        let load = |tables: &Vec<TableContents>| {
            let mut oracle = Oracle::new().expect("DuckDB opens");
            oracle.load(tables).expect("the oracle takes the tables");
            oracle
        };
        Oracles { oracles: epochs.iter().map(load).collect() }
    }

    /// What a view holds after every epoch; it may be read by the next.
    pub fn answers(&self, name: &str, sql: &str) -> Result<Vec<ViewRows>, DuckError> {
        let asked = [(ViewName::from(name), sql.to_owned())];
        self.oracles.iter().map(|oracle| Ok(oracle.views(&asked)?.remove(0))).collect()
    }
}

/// A way to ask DuckDB the same.
#[derive(Clone, Copy)]
struct Way {
    statement: &'static str,
    reversed: bool,
}

const WAYS: &[Way] = &[
    Way { statement: "SET threads = 1", reversed: false },
    Way { statement: "SET threads = 1", reversed: true },
    Way { statement: "PRAGMA disable_optimizer", reversed: false },
    Way { statement: "PRAGMA disable_optimizer", reversed: true },
];

/// A view to which DuckDB has not one answer, and why: it fails, or it says something else when its rows come
/// in another order, or when it does not optimise. DuckDB 1.5.5 optimises `TRY_CAST(x AS SMALLINT) >= 7` to a
/// comparison of x with 7, for one, which is true where the cast is NULL.
pub fn doubt(case: &Case) -> Option<(usize, String)> {
    let views: Vec<(ViewName, String)> =
        case.views.iter().map(|(name, sql)| (ViewName::from(name.as_str()), sql.text())).collect();
    for (number, tables) in case.contents().iter().enumerate() {
        let mut first: Option<Vec<ViewRows>> = None;
        for way in WAYS {
            let found = match ask(tables, &views, *way) {
                Ok(found) => found,
                Err((position, error)) => return Some((position, format!("DuckDB fails at epoch {number}: {error}"))),
            };
            let first = first.get_or_insert_with(|| found.clone());
            for (position, (a, b)) in first.iter().zip(&found).enumerate() {
                if let Some(difference) = b.rows.difference(&a.rows, &Tolerance::exact()) {
                    let (statement, reversed) = (way.statement, way.reversed);
                    let reason =
                        format!("DuckDB has two answers at epoch {number} ({statement}, reversed: {reversed})");
                    return Some((position, format!("{reason}:\n{difference}")));
                }
            }
        }
    }
    None
}

/// What each view holds, or the position of one that DuckDB cannot compute.
fn ask(tables: &[TableContents], views: &[(ViewName, String)], way: Way) -> Result<Vec<ViewRows>, (usize, DuckError)> {
    let mut oracle = Oracle::new().expect("DuckDB opens");
    oracle.set(way.statement).expect("DuckDB has the setting");
    for table in tables {
        let rows = table.batch();
        let order: UInt64Array = (0..rows.num_rows() as u64).rev().collect();
        let rows = if way.reversed {
            arrow::compute::take_record_batch(&rows, &order).expect("every row is there")
        } else {
            rows
        };
        oracle.load_table(table.schema(), rows).expect("the oracle takes the table");
    }
    let mut found = Vec::with_capacity(views.len());
    for (position, view) in views.iter().enumerate() {
        found.extend(oracle.views(std::slice::from_ref(view)).map_err(|error| (position, error))?);
    }
    Ok(found)
}
