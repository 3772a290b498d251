//! Plans as explain shows them, kept beside the queries: a change of the planner shows what it changes.
//!
//! Each file of the folder holds queries, each with its plan after `=>`, and a line of dashes between two. To add a
//! query, write it there and run this test with `UPDATE_PLANS=1`, which writes all plans anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tidegate_duck::{DuckBinder, Extension};
use tidegate_engine_sql::Program;

use crate::corpus::Corpus;
use crate::world::{World, definition};

const ARROW: &str = "\n=>\n";
const LINE: &str = "\n--------\n";

#[test]
fn plans_of_views_are_the_known_ones() {
    let world = World::new();
    for name in ["shapes", "joins", "subqueries", "groups", "windows", "first_rows", "sets"] {
        let file = file(name);
        let text = std::fs::read_to_string(&file).unwrap();
        let queries = text.trim_end().split(LINE).map(|part| part.split(ARROW).next().unwrap_or_default().to_owned());
        let plans = queries.map(|query| {
            let program = world.plan(&query).unwrap_or_else(|errors| panic!("{query}\n{errors:#?}"));
            let view = &program.views()[0];
            (query, view.explain_text())
        });
        compare(&file, &plans.collect::<Vec<_>>());
    }
}

/// The queries themselves are in DuckDB's extension.
#[test]
fn plans_of_tpch_are_the_known_ones() {
    let corpus = Corpus::of(Extension::Tpch, "CALL dbgen(sf = 0)", "tpch_queries()");
    let plans = corpus.views.iter().enumerate().map(|(number, view)| {
        let view = vec![definition("v", view)];
        let program = Program::plan(corpus.tables.clone(), view, &DuckBinder).unwrap();
        (format!("q{:02}", number + 1), program.views()[0].explain_text())
    });
    let plans: Vec<_> = plans.collect();
    assert_eq!(plans.len(), 22);
    compare(&file("tpch"), &plans);
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/main/plans").join(format!("{name}.txt"))
}

fn compare(file: &Path, plans: &[(String, String)]) {
    let parts: Vec<String> = plans.iter().map(|(query, plan)| format!("{query}{ARROW}{}", plan.trim_end())).collect();
    let found = parts.join(LINE) + "\n";
    if std::env::var_os("UPDATE_PLANS").is_some() {
        std::fs::write(file, found).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    let kept: Vec<&str> = kept.trim_end().split(LINE).collect();
    let mut faults = String::new();
    for (position, part) in parts.iter().enumerate() {
        let known = kept.get(position).copied().unwrap_or_default();
        if known != part {
            let _ = write!(faults, "\n{}\n{}", plans[position].0, difference(known, part));
        }
    }
    assert!(
        faults.is_empty() && kept.len() == parts.len(),
        "plans differ from those in {}: if they should, run this test with UPDATE_PLANS=1\n{faults}",
        file.display()
    );
}

/// Both texts line by line, with `-` before what is known and `+` before what is found instead.
fn difference(known: &str, found: &str) -> String {
    let (known, found): (Vec<&str>, Vec<&str>) = (known.lines().collect(), found.lines().collect());
    let same = known.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let rest = known.len().min(found.len()) - same;
    let same_end = known.iter().rev().zip(found.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let marked = |mark: &'static str, lines: &[&str]| {
        let lines = lines[same..lines.len() - same_end].iter().map(|line| format!("{mark}{line}\n"));
        lines.collect::<String>()
    };
    marked("- ", &known) + &marked("+ ", &found)
}
