//! Steps happen to a lake.

use std::path::Path;

use tidegate_duck::{Duck, DuckError, quote_literal};

use super::{Dml, Mix, Step};
use crate::lake::{Catalog, Lake};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Done,
    /// DuckLake refused some upkeep or a change of columns, and nothing happened: it has limits of
    /// its own, such as rewriting files whose inlined deletes are older than a column. Where columns or tables
    /// were to change, [`Dml::undo`] must be told.
    Refused,
}

impl Lake {
    /// Takes one step.
    ///
    /// # Panics
    /// When a change of rows is refused, which does not happen but for one fault of DuckLake's own.
    pub fn take(&self, step: &Step) -> Outcome {
        self.take_watched(step, &mut |_| {})
    }

    /// Takes one step; `watch` is called after each of its commits, on the connection that is attached to the lake.
    ///
    /// # Panics
    /// When a change of rows is refused, which does not happen but for one fault of DuckLake's own.
    pub fn take_watched(&self, step: &Step, watch: &mut dyn FnMut(&Duck)) -> Outcome {
        let taken = self.attached(|duck| Ok(take(duck, self.name(), step, watch)));
        self.forget_columns(&step.sql());
        taken.unwrap_or_else(|error| panic!("{}: {error}", step.sql()))
    }

    /// A lake with the generator's tables in it, and the generator.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn generated(dir: &Path, catalog: Catalog, seed: u64, mix: Mix) -> (Lake, Dml) {
        Lake::create(dir, catalog).with_generated(dir, seed, mix)
    }

    /// The same in a lake that is there; `dir` is where files are written that are then added.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn with_generated(self, dir: &Path, seed: u64, mix: Mix) -> (Lake, Dml) {
        let lake = self;
        let mut dml = Dml::new(lake.name(), seed, mix);
        dml.plain_partitions = matches!(lake.catalog(), Catalog::Postgres(_));
        if mix.files > 0 {
            let folder = dir.join("written_elsewhere");
            std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            dml.folder = Some(folder);
        }
        lake.execute(&dml.create_tables());
        (lake, dml)
    }
}

fn take(duck: &Duck, lake: &str, step: &Step, watch: &mut dyn FnMut(&Duck)) -> Outcome {
    let sql = match step {
        Step::Concurrent { second, first } => return concurrent(duck, lake, second, first, watch),
        Step::Forget(seed) => match forget(duck, lake, *seed) {
            Some(sql) => sql,
            None => return Outcome::Done,
        },
        _ => step.sql(),
    };
    match (step, run(duck, &sql)) {
        (_, Ok(())) => {
            watch(duck);
            Outcome::Done
        }
        (Step::Change(_) | Step::RolledBack(_), Err(error)) if is_ducklakes_own(&error) => {
            println!("refused: {sql}: {error}");
            Outcome::Refused
        }
        (Step::Change(_) | Step::RolledBack(_), Err(error)) => panic!("{sql}: {error}"),
        (_, Err(error)) => {
            println!("refused: {sql}: {error}");
            // Some of its statements may have been committed.
            watch(duck);
            Outcome::Refused
        }
    }
}

/// DuckLake now and then mistakes a table of inlined rows for one with older names of columns, when two transactions
/// of one process overlap after a column was renamed; and a flush while a transaction inserts leaves it without
/// any column of such a table (an assertion of its own fails). In PostgreSQL it waits for the locks of other transactions, among them
/// one that the step itself has left open.
pub(crate) fn is_ducklakes_own(error: &DuckError) -> bool {
    let text = error.to_string();
    ["Failed to read inlined data", "Attempted to access index 0 within vector of size 0", "due to lock timeout"]
        .into_iter()
        .any(|own| text.contains(own))
}

fn run(duck: &Duck, sql: &str) -> Result<(), DuckError> {
    duck.execute(sql).inspect_err(|_| {
        // A transaction that failed is still open; without one this is refused, and rightly.
        let _ = duck.execute("ROLLBACK");
    })
}

/// One connection's transaction stays open over the steps of the other. That it then conflicts with them, and is
/// lost, is DuckLake's right.
fn concurrent(duck: &Duck, lake: &str, second: &[String], first: &[Step], watch: &mut dyn FnMut(&Duck)) -> Outcome {
    let other = duck.try_clone().unwrap_or_else(|error| panic!("no second connection: {error}"));
    let opened = format!("BEGIN; {}", second.join("; "));
    if let Err(error) = run(&other, &opened) {
        println!("refused: {opened}: {error}");
    }
    let mut outcome = Outcome::Done;
    for step in first {
        let taken = take(duck, lake, step, watch);
        if matches!(step, Step::Schema(_)) {
            outcome = taken;
        }
    }
    match run(&other, "COMMIT") {
        Ok(()) => watch(duck),
        Err(error) => println!("lost: {opened}: {error}"),
    }
    outcome
}

/// The call that forgets some snapshots; `None` when there are none to forget.
fn forget(duck: &Duck, lake: &str, seed: u64) -> Option<String> {
    let ids = || {
        let sql = format!("SELECT snapshot_id FROM ducklake_snapshots({}) ORDER BY ALL", quote_literal(lake));
        let mut statement = duck.connection().prepare(&sql)?;
        statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<u64>, _>>()
    };
    let ids = ids().unwrap_or_else(|error| panic!("lake {lake}: {error}"));
    let chosen = Dml::forgotten(&ids, seed);
    let versions = chosen.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!("CALL ducklake_expire_snapshots('{lake}', versions => [{versions}])");
    println!("{sql}");
    (!chosen.is_empty()).then_some(sql)
}
