//! Random SQL against the oracle: tables, views of all that may be kept, epochs of changes, restarts. A view that
//! the planner refuses must be refused properly; one that it takes must be DuckDB's after every epoch. A failure
//! is made smaller and printed as a test, with the seed it comes from.
//!
//! `TIDEGATE_GENERATOR_SECONDS` says how long to go on, `TIDEGATE_GENERATOR_SEED` where to begin: one case has one
//! seed, the next case the next.

mod aggregate;
mod case;
mod changes;
mod condition;
mod expression;
mod opinion;
mod query;
mod reduce;
mod reducing;
mod relation;
mod schema;
mod sql;
mod tally;
mod value_type;
mod window;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::ViewName;
use tidegate_duck::DuckBinder;
use tidegate_engine::{Program, Shortcuts, ViewDef};
use tidegate_testkit::ViewRows;

use case::{Case, Failure, Setting};
use expression::{Column, Known, Maker};
use opinion::Oracles;
use schema::Table;
use sql::Sql;
use tally::Tally;
use value_type::ValueType;

/// Views of a case.
const VIEWS: usize = 5;

/// How often a view is drawn until there are enough.
const DRAWS: usize = 14;

/// A view with more rows is not taken: it is slow and shows nothing more.
const VIEW_ROWS_MAX: i64 = 2000;

/// How often a failing case is tried smaller.
const ATTEMPTS_MAX: usize = 600;

fn variable(name: &str, default: u64) -> u64 {
    let Ok(text) = env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}"))
}

#[test]
fn random_views_equal_a_recompute_after_every_epoch() {
    let seed = variable("TIDEGATE_GENERATOR_SEED", 1);
    let budget = Duration::from_secs(variable("TIDEGATE_GENERATOR_SECONDS", 120));
    let begin = Instant::now();
    let mut tally = Tally::default();
    let mut reports = Vec::new();
    for seed in seed.. {
        if let Err(report) = try_case(seed, &mut tally) {
            println!("{report}");
            reports.push(report);
        }
        if begin.elapsed() >= budget || reports.len() >= 5 {
            break;
        }
    }
    println!("{tally}");
    assert!(reports.is_empty(), "{} cases fail:\n{}", reports.len(), reports.join("\n"));
    tally.assert_meaningful();
}

/// Makes a case and runs it; answers how it fails.
fn try_case(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut case = case_without_views(&mut rng);
    tally.cases += 1;
    if let Err(failure) = add_views(&mut case, &mut rng, tally) {
        return Err(report(seed, &case, &failure));
    }
    loop {
        let Err(failure) = case.run() else { return Ok(()) };
        let doubt = if failure.is_difference() { opinion::doubt(&case) } else { None };
        let Some((view, reason)) = doubt else { return Err(report(seed, &case, &failure)) };
        println!("seed {seed}: {reason}\n{}", case.views[view].1.text());
        tally.doubtful += 1;
        leave_out(&mut case, view);
        if case.views.is_empty() {
            return Ok(());
        }
    }
}

/// Leaves out a view and those that read it.
fn leave_out(case: &mut Case, view: usize) {
    let mut gone = vec![case.views.remove(view).0];
    while let Some(name) = gone.pop() {
        let word = format!("{name} ");
        while let Some(reader) = case.views.iter().position(|(_, sql)| sql.text().contains(&word)) {
            gone.push(case.views.remove(reader).0);
        }
    }
}

/// The smallest case that fails so, as a test.
fn report(seed: u64, case: &Case, failure: &Failure) -> String {
    let kind = failure.kind();
    let smallest = reduce::reduce(case.clone(), ATTEMPTS_MAX, |candidate| {
        candidate.run().is_err_and(|failure| failure.kind() == kind) && opinion::doubt(candidate).is_none()
    });
    let message = smallest.run().err().map_or_else(|| failure.message.clone(), |failure| failure.message);
    format!(
        "=== seed {seed} fails: {message}\n{smallest}\n\
         to run it again: TIDEGATE_GENERATOR_SEED={seed} TIDEGATE_GENERATOR_SECONDS=0 \
         cargo xtask test -p tidegate-engine -- random_views_equal_a_recompute_after_every_epoch"
    )
}

fn case_without_views(rng: &mut StdRng) -> Case {
    let tables = schema::tables(rng);
    let epochs = changes::epochs(&tables, rng);
    Case { tables, views: Vec::new(), epochs, workers: [1, 1, 2, 4][rng.random_range(0..4)], setting: setting(rng) }
}

/// A half of the cases compute as the program does by default.
fn setting(rng: &mut StdRng) -> Setting {
    if rng.random_bool(0.5) {
        return Setting::default();
    }
    let shortcuts = Shortcuts {
        direct: rng.random_bool(0.5),
        shared: rng.random_bool(0.5),
        groups_as_sides: rng.random_bool(0.5),
        side_by_side: rng.random_bool(0.5),
    };
    let part_rows = rng.random_bool(0.3).then(|| rng.random_range(1..5));
    Setting { shortcuts, part_rows, on_disk: rng.random_bool(0.1) }
}

/// Draws views until there are enough that DuckDB and the planner take.
fn add_views(case: &mut Case, rng: &mut StdRng, tally: &mut Tally) -> Result<(), Failure> {
    let oracles = Oracles::new(&case.contents());
    let mut maker = Maker::new(rng, case.tables.iter().map(query::known_table).collect());
    for _ in 0..DRAWS {
        if case.views.len() == VIEWS {
            break;
        }
        let name = format!("v{}", case.views.len());
        let query = maker.view();
        let text = query.sql.text();
        tally.drawn += 1;
        let answers = match oracles.answers(&name, &text) {
            Ok(answers) => answers,
            Err(error) => {
                tally.discarded(&error.to_string(), &text);
                continue;
            }
        };
        if answers.iter().any(|answer| answer.rows.len() > VIEW_ROWS_MAX) {
            tally.discarded("too many rows", &text);
            continue;
        }
        case.views.push((name.clone(), query.sql));
        if let Some(refusal) = refusal(case)? {
            tally.refused(&refusal, &text);
            case.views.pop();
            continue;
        }
        tally.accepted += 1;
        let known = known_view(&name, &answers, &query.columns);
        if maker.percent(30) {
            // Another view that has the same query in it has something in common with this one.
            maker.known.push(Known { sql: format!("({text})"), ..known.clone() });
        }
        maker.known.push(known);
    }
    Ok(())
}

/// Plans the views; what the planner says against the last of them.
fn refusal(case: &Case) -> Result<Option<String>, Failure> {
    let tables = case.tables.iter().map(Table::schema).collect();
    let define =
        |(name, sql): &(String, Sql)| ViewDef { name: ViewName::from(name.as_str()), sql: sql.text(), key: None };
    let views: Vec<ViewDef> = case.views.iter().map(define).collect();
    let planned = catch_unwind(AssertUnwindSafe(|| Program::plan(tables, views, &DuckBinder)));
    let errors = match planned {
        Ok(Ok(_)) => return Ok(None),
        Ok(Err(errors)) => errors,
        Err(panic) => return Err(Failure::of_panic(panic.as_ref())),
    };
    let last = case.views.last().map(|(name, _)| name.as_str());
    let proper = errors.len() == 1 && last == Some(errors[0].view.as_str()) && is_proper(&errors[0].message);
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    if proper { Ok(Some(errors[0].message.clone())) } else { Err(Failure { message: said.join("; ") }) }
}

/// Whether a refusal is one, and not something that went wrong.
fn is_proper(message: &str) -> bool {
    let improper = ["Internal error", "caused by a bug", "panicked", "Optimizer rule", "DataFusion", "Schema error"];
    !message.is_empty() && !improper.iter().any(|word| message.contains(word))
}

fn known_view(name: &str, answers: &[ViewRows], columns: &[Column]) -> Known {
    let rows = answers.iter().map(|answer| answer.rows.len()).max().unwrap_or(0);
    let described = answers.first().map(|answer| answer.columns.as_slice()).unwrap_or_default();
    let column = |(position, (name, value_type)): (usize, &(String, String))| {
        let drawn = columns.get(position);
        Some(Column {
            sql: name.clone(),
            value_type: ValueType::of_name(value_type)?,
            is_small: drawn.is_some_and(|column| column.is_small),
            is_exact: drawn.is_some_and(|column| column.is_exact),
        })
    };
    let columns = described.iter().enumerate().filter_map(column).collect();
    Known { sql: name.to_owned(), columns, rows: usize::try_from(rows).unwrap_or(1).max(1) }
}
