//! The reducer, tried on failures that are made up.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::case::Case;
use super::changes::{After, Change, Epoch};
use super::expression::Maker;
use super::reduce::reduce;
use super::schema::{Row, Telling};
use super::sql::sql;
use super::value_type::ValueType;
use super::{case_without_views, query};

fn inserted(case: &Case) -> impl Iterator<Item = &Row> {
    let changes = case.epochs.iter().flat_map(|epoch| &epoch.changes);
    changes.flat_map(|(_, change)| match change {
        Change::Insert(rows) => rows.as_slice(),
        Change::Update(_, row) => std::slice::from_ref(row),
        Change::Delete(_) | Change::Truncate => &[],
    })
}

#[test]
fn a_failing_case_becomes_small() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut case = case_without_views(&mut rng);
    let mut maker = Maker::new(&mut rng, case.tables.iter().map(query::known_table).collect());
    case.views = (0..4).map(|number| (format!("v{number}"), maker.view().sql)).collect();
    let wanted = sql!["count(", sql!["a.k"].expression(ValueType::Integer), ")"].expression(ValueType::BigInt);
    let deep = sql!["coalesce(", wanted, ", 1)"].expression(ValueType::BigInt);
    let filter = sql![" WHERE ", sql!["a.k > 1"].expression(ValueType::Boolean)].clause();
    let inner = sql!["SELECT ", deep, " AS x FROM ", sql!["lake.t0 AS a"].relation(), filter].query();
    case.views.push(("w".to_owned(), sql!["SELECT y.x FROM ", sql!["(", inner, ") AS y"].relation()].query()));
    let row: Row = case.tables[0].columns.iter().map(|_| "'2'".to_owned()).collect();
    case.tables[0].telling = Telling::Lake;
    case.epochs.push(Epoch { changes: vec![(0, Change::Insert(vec![row.clone(), row]))], after: After::Restart });
    case.workers = 2;
    let fails = |case: &Case| {
        let counts = case.views.iter().any(|(_, sql)| sql.text().contains("count(a.k)"));
        counts && inserted(case).any(|row| row.iter().all(|value| value == "'2'"))
    };
    assert!(fails(&case));
    let smallest = reduce(case, 10_000, fails);
    assert!(fails(&smallest), "{smallest}");
    assert_eq!(smallest.views.len(), 1, "{smallest}");
    let text = smallest.views[0].1.text();
    assert!(text.starts_with("SELECT count(a.k) AS x FROM lake.t0") && text.len() < 50, "{smallest}");
    assert_eq!((smallest.tables.len(), smallest.epochs.len(), smallest.workers), (1, 1, 1), "{smallest}");
    assert_eq!(inserted(&smallest).count(), 1, "{smallest}");
    assert_eq!(smallest.epochs[0].changes.len(), 1, "{smallest}");
    assert_eq!(smallest.epochs[0].after, After::Nothing, "{smallest}");
}

#[test]
fn attempts_are_counted() {
    let mut rng = StdRng::seed_from_u64(8);
    let case = case_without_views(&mut rng);
    let mut asked = 0;
    let unchanged = reduce(case.clone(), 5, |_| {
        asked += 1;
        false
    });
    assert_eq!((asked, unchanged.epochs.len()), (5, case.epochs.len()));
}
