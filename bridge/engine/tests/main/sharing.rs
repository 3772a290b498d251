//! What several views compute alike has one circuit: which parts do, who is built when views come and go, and that nobody
//! who reads a view sees a difference.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{DeltaKind, ViewName};
use tidegate_engine::{EngineOptions, RebuildScope, Shortcuts};
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, told};
use crate::random::{customer, order, tables};

/// Both have customers' sums, each under names of its own, and in the first two the join below them.
const BEST: (&str, &str) = (
    "best",
    "SELECT c.region, max(s.total) AS most FROM \
     (SELECT customer, sum(amount) AS total FROM lake.orders WHERE amount > 1 GROUP BY customer) AS s \
     JOIN lake.customers AS c ON c.id = s.customer GROUP BY c.region",
);
const WORST: (&str, &str) = (
    "worst",
    "WITH sums AS (SELECT o.customer AS who, sum(o.amount) AS of_all FROM lake.orders AS o WHERE o.amount > 1 GROUP BY 1) \
     SELECT k.region AS place, min(of_all) AS least FROM sums JOIN lake.customers AS k ON k.id = sums.who GROUP BY ALL",
);
const LARGE: (&str, &str) =
    ("large", "SELECT customer FROM lake.orders WHERE amount > 1 GROUP BY customer HAVING sum(amount) > 5");

fn loaded(views: &[(&str, &str)], is_told: bool) -> Harness {
    let mut schemas = tables(None);
    if is_told {
        schemas = schemas.map(told);
    }
    let mut harness = Harness::new(&schemas, views, 1);
    // Whatever is left out in this run: it is about this.
    harness.create(EngineOptions { shortcuts: Shortcuts::default(), ..EngineOptions::new(1, None) });
    harness.at(0);
    harness.rebuild(RebuildScope::All, "initial load");
    epoch(&mut harness, &mut StdRng::seed_from_u64(seed::seed("sharing")), "first epoch");
    harness
}

fn epoch(harness: &mut Harness, rng: &mut StdRng, what: &str) {
    let [orders, customers] = tables(None);
    let of = |rng: &mut StdRng, row: fn(&mut StdRng) -> String| {
        (0..rng.random_range(1..6)).map(|_| row(rng)).collect::<Vec<_>>().join(", ")
    };
    harness.feed(&orders.name, rows::inserted(&orders.columns, &of(rng, order)));
    harness.feed(&customers.name, rows::inserted(&customers.columns, &of(rng, customer)));
    harness.step(what);
}

/// The parts that have circuits, by the views that read them.
fn parts(harness: &mut Harness) -> Vec<Vec<String>> {
    let program = harness.engine().program().expect("there is a program");
    let readers = program.circuits().iter().map(|circuit| &circuit.readers).filter(|readers| !readers.is_empty());
    readers.map(|readers| readers.iter().map(ToString::to_string).collect()).collect()
}

/// How often each view was built.
fn built(harness: &mut Harness) -> Vec<(String, u64)> {
    harness.engine().stats().into_iter().map(|stats| (stats.view.to_string(), stats.full_steps)).collect()
}

/// The folders of parts.
fn shared_folders(harness: &Harness) -> Vec<String> {
    let folders = std::fs::read_dir(harness.folder.path()).expect("the folder is there").flatten();
    let names = folders.map(|folder| folder.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("shared")).collect()
}

#[test]
fn texts_with_quotes_are_told_apart() {
    let views = [
        ("a", "SELECT customer, count(*) AS n FROM lake.orders WHERE note IN ('a', 'b', 'c') GROUP BY customer"),
        (
            "b",
            "SELECT customer, count(*) AS n FROM lake.orders WHERE note IN ('a\"), Utf8(\"b', 'c') GROUP BY customer",
        ),
    ];
    let mut harness = loaded(&views, false);
    assert_eq!(parts(&mut harness), Vec::<Vec<String>>::new());
}

#[test]
fn views_share_what_is_alike_under_whatever_names() {
    let mut harness = loaded(&[BEST, WORST, LARGE], false);
    // The sums are in the join that two of them share, and in the third one.
    assert_eq!(parts(&mut harness), [vec!["best", "worst", "large"], vec!["best", "worst"]]);
    let mut rng = StdRng::seed_from_u64(seed::seed("sharing"));
    for round in 0..5 {
        epoch(&mut harness, &mut rng, &format!("epoch {round}"));
    }
    let saved = harness.checkpoint();
    harness.resume(&saved, 1);
    epoch(&mut harness, &mut rng, "after a restart");
    assert_eq!(parts(&mut harness).len(), 2);
    let fork = harness.fork(&saved, 1);
    assert_eq!(fork.program().map(|program| program.circuits().len()), Some(5));
}

#[test]
fn other_filters_types_or_inputs_are_not_alike() {
    let views = [
        ("a", "SELECT customer, sum(amount) AS s FROM lake.orders WHERE amount > 1 GROUP BY customer"),
        ("b", "SELECT customer, sum(amount) AS s FROM lake.orders WHERE amount > 2 GROUP BY customer"),
        ("c", "SELECT customer, sum(amount::HUGEINT) AS s FROM lake.orders WHERE amount > 1 GROUP BY customer"),
        ("d", "SELECT customer, sum(id) AS s FROM lake.orders WHERE amount > 1 GROUP BY customer"),
        ("e", "SELECT rating, sum(id) AS s FROM lake.customers WHERE id > 1 GROUP BY rating"),
    ];
    let mut harness = loaded(&views, false);
    assert_eq!(parts(&mut harness), Vec::<Vec<String>>::new());
}

#[test]
fn a_view_that_comes_reads_a_part_that_is_there_and_nobody_else_is_built() {
    for is_told in [false, true] {
        let mut harness = loaded(&[BEST, WORST], is_told);
        let before = built(&mut harness);
        harness.views.push((LARGE.0.into(), LARGE.1.into()));
        let program = harness.program();
        assert_eq!(harness.engine().would_rebuild(&program).unwrap(), [ViewName::from("large")]);
        let deltas = harness.rebuild(RebuildScope::Changed, "another view");
        assert_eq!(deltas.iter().map(|delta| delta.view.as_str()).collect::<Vec<_>>(), ["large"]);
        // What it has in common is inside of a part that goes on as it is.
        assert_eq!(parts(&mut harness), [["best", "worst"]]);
        assert_eq!(built(&mut harness)[..2], before[..]);
        harness.views.push(("again".into(), WORST.1.into()));
        let deltas = harness.rebuild(RebuildScope::Changed, "a view that reads a part");
        assert_eq!(deltas.iter().map(|delta| delta.view.as_str()).collect::<Vec<_>>(), ["again"]);
        assert_eq!(parts(&mut harness), [["best", "worst", "again"]]);
        assert_eq!(built(&mut harness)[..2], before[..]);
        epoch(&mut harness, &mut StdRng::seed_from_u64(seed::seed("sharing")), "an epoch");
    }
}

#[test]
fn a_view_that_goes_on_does_not_give_up_what_it_has() {
    let mut harness = loaded(&[BEST], false);
    harness.views.push((WORST.0.into(), WORST.1.into()));
    let program = harness.program();
    assert_eq!(harness.engine().would_rebuild(&program).unwrap(), [ViewName::from("worst")]);
    harness.rebuild(RebuildScope::Changed, "another view");
    assert_eq!(parts(&mut harness), Vec::<Vec<String>>::new());
    epoch(&mut harness, &mut StdRng::seed_from_u64(seed::seed("sharing")), "two views");
    let deltas = harness.rebuild(RebuildScope::All, "everything anew");
    assert!(deltas.is_empty(), "nothing in the views has changed");
    assert_eq!(parts(&mut harness), [["best", "worst"]]);
}

#[test]
fn a_part_stays_for_its_last_reader_and_goes_with_it() {
    let mut harness = loaded(&[BEST, WORST], false);
    let (before, folders) = (built(&mut harness), shared_folders(&harness));
    assert_eq!(folders.len(), 1);
    let gone = harness.views.remove(0);
    harness.rebuild(RebuildScope::Changed, "one reader goes");
    assert_eq!(parts(&mut harness), [["worst"]]);
    assert_eq!(built(&mut harness)[..], before[1..]);
    assert_eq!(shared_folders(&harness), folders, "the part goes on with its state");
    epoch(&mut harness, &mut StdRng::seed_from_u64(seed::seed("sharing")), "one reader");
    harness.views.push(gone);
    harness.rebuild(RebuildScope::Changed, "it comes back");
    assert_eq!(parts(&mut harness), [["worst", "best"]]);
    harness.views = vec![(LARGE.0.into(), LARGE.1.into())];
    harness.rebuild(RebuildScope::Changed, "both go");
    assert_eq!(parts(&mut harness), Vec::<Vec<String>>::new());
    let saved = harness.checkpoint();
    harness.engine().retain(&[saved]).expect("old state is removed");
    assert_eq!(shared_folders(&harness), Vec::<String>::new());
}

#[test]
fn a_table_that_is_read_anew_reaches_the_readers_of_a_part() {
    for is_told in [false, true] {
        let mut harness = loaded(&[BEST, WORST, LARGE], is_told);
        let [orders, _] = tables(None);
        let mut rng = StdRng::seed_from_u64(seed::seed("sharing"));
        let event = rows::inserted(&orders.columns, &(0..9).map(|_| order(&mut rng)).collect::<Vec<_>>().join(", "));
        let scope = RebuildScope::Tables([orders.name.clone()].into());
        let (read, deltas) = harness.rebuild_after(vec![(orders.name.clone(), event)], scope, "orders anew");
        assert!(read.contains(&orders.name));
        assert!(deltas.iter().all(|delta| delta.kind == DeltaKind::Changes), "only what changed goes on");
        epoch(&mut harness, &mut rng, "an epoch after that");
    }
}

#[test]
fn views_alike_as_a_whole_have_one_circuit_and_their_own_rows() {
    let mut harness = loaded(&[("a", BEST.1), ("b", BEST.1), ("c", "SELECT * FROM a")], false);
    assert_eq!(parts(&mut harness), [["a", "b"]]);
    let mut rng = StdRng::seed_from_u64(seed::seed("sharing"));
    (0..3).for_each(|round| epoch(&mut harness, &mut rng, &format!("epoch {round}")));
}

#[test]
fn a_part_reads_views_and_the_time() {
    let views = [
        ("base", "SELECT customer, amount, id FROM lake.orders WHERE amount IS NOT NULL"),
        (
            "sums",
            "SELECT customer, sum(amount) AS s FROM base WHERE to_timestamp(id) < tidegate_now() GROUP BY customer",
        ),
        (
            "most",
            "SELECT max(s) AS s FROM (SELECT customer, sum(amount) AS s FROM base WHERE to_timestamp(id) < tidegate_now() GROUP BY 1)",
        ),
    ];
    let mut harness = loaded(&views, false);
    assert_eq!(parts(&mut harness), [["sums", "most"]]);
    let mut rng = StdRng::seed_from_u64(seed::seed("sharing"));
    for second in 1..6 {
        harness.at(second * 1_000_000);
        epoch(&mut harness, &mut rng, &format!("second {second}"));
    }
}

/// Bytes of a view's state over some thousand orders that meet next to nobody, and what is computed of them is right.
fn state_of(view: &str, shortcuts: Shortcuts) -> u64 {
    let schemas = tables(None);
    let [orders, customers] = schemas.clone();
    let mut harness = Harness::new(&schemas, &[("one", view)], 1);
    harness.create(EngineOptions { shortcuts, ..EngineOptions::new(1, None) });
    harness.rebuild(RebuildScope::All, "initial load");
    let of = |numbers: std::ops::Range<i64>, rng: &mut StdRng| {
        let row =
            |number: i64| format!("({number}, {}, {}, 1.5, 'n{}')", number % 3000, number, rng.random_range(0..9));
        numbers.map(row).collect::<Vec<_>>().join(", ")
    };
    let mut rng = StdRng::seed_from_u64(seed::seed("sides"));
    let rows = of(0..3000, &mut rng);
    harness.feed(&orders.name, rows::inserted(&orders.columns, &rows));
    harness.step("many orders");
    harness.checkpoint();
    let bytes = harness.engine().stats()[0].state_bytes;
    harness.feed(&orders.name, rows::deleted(&orders.columns, &rows));
    harness.feed(&orders.name, rows::inserted(&orders.columns, &of(500..540, &mut rng)));
    harness.feed(&customers.name, rows::inserted(&customers.columns, &customer(&mut rng)));
    harness.step("others");
    bytes
}

#[test]
fn equal_sides_of_joins_have_one_index() {
    let views = [
        // Both sides of a join of a table with itself.
        "SELECT a.id FROM lake.orders a JOIN lake.orders b ON a.customer = b.customer AND a.amount > b.amount WHERE a.id + b.id < 0",
        // The same by other names and a computed key.
        "WITH renamed AS (SELECT customer + 1 AS who, id AS number, amount AS paid FROM lake.orders) \
         SELECT r.number FROM renamed r JOIN (SELECT id, amount, customer + 1 AS k FROM lake.orders) o \
         ON r.who = o.k AND r.paid > o.amount WHERE r.number + o.id < 0",
        // One side of two joins, with rows of no more than the key.
        "SELECT a.id FROM lake.orders a JOIN lake.customers c ON a.customer = c.id JOIN lake.orders b ON b.customer = c.rating \
         WHERE a.id + b.id < 0",
    ];
    let apart = Shortcuts { shared: false, ..Shortcuts::default() };
    for view in views {
        let (once, twice) = (state_of(view, Shortcuts::default()), state_of(view, apart));
        assert!(once * 10 < twice * 7, "{once} bytes of state, {twice} with an index for each side: {view}");
    }
}
