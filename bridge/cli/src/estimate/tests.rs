//! The model by itself: what keeps state, where numbers come from, and what the flags say over them.

use std::time::Duration;

use tidegate_core::schema::columns;
use tidegate_core::{ColumnStatistics, Integral, RowIdentity, TableName, TableSchema, TableStatistics, ViewName};
use tidegate_duck::DuckBinder;
use tidegate_engine::{Program, ViewDef};
use tidegate_runtime::KnownTables;

use super::relation::Width;
use super::trace::Trace;
use super::{COEFFICIENTS, ERROR, Estimate, Flags, Settings, estimate, facts};

const ORDERS: f64 = 1_000_000.0;
const CUSTOMERS: f64 = 50_000.0;

fn program(views: &[(&str, &str)]) -> Program {
    let table = |source: &str, name: &str, of: &[(&str, &str, bool)], identity, integral| TableSchema {
        name: TableName::new(source, "main", name),
        incarnation: 1,
        columns: columns(of.iter().copied()).unwrap(),
        identity,
        integral,
    };
    let orders = [("id", "BIGINT", true), ("customer", "BIGINT", true), ("status", "VARCHAR", true)];
    let customers = [("id", "BIGINT", false), ("region", "VARCHAR", true)];
    let tables = vec![
        table("lake", "orders", &orders, RowIdentity::WholeRow, Integral::Source),
        table("app", "customers", &customers, RowIdentity::Key(vec![0]), Integral::Engine),
    ];
    let view = |(name, sql): &(&str, &str)| ViewDef { name: ViewName::new(*name), sql: (*sql).to_owned(), key: None };
    Program::plan(tables, views.iter().map(view).collect(), &DuckBinder).unwrap().sharing(None).unwrap()
}

/// A million orders of 50,000 customers; what the database has counted of these is not known.
fn known() -> KnownTables {
    let column = |name: &str, bytes, distinct| ColumnStatistics { name: name.to_owned(), bytes, distinct };
    let orders = TableStatistics {
        rows: Some(ORDERS as u64),
        changes_per_day: Some(86_400.0),
        columns: vec![
            column("id", None, Some(ORDERS)),
            column("customer", None, Some(CUSTOMERS)),
            column("status", Some(5.0), None),
        ],
    };
    let mut known = KnownTables::default();
    known.tables.insert(TableName::new("lake", "main", "orders"), orders);
    known.commits_per_day.insert("lake".to_owned(), 864.0);
    known
}

fn settings() -> Settings {
    let (day, interval) = (Duration::from_secs(86_400), Duration::from_millis(200));
    Settings { memory_limit: None, log_retention: 7 * day, epoch_interval: interval, sinks: 1 }
}

fn flags(rows: &[&str], more: impl FnOnce(&mut Flags)) -> Flags {
    let mut flags = Flags { rows: rows.iter().map(|text| (*text).to_owned()).collect(), ..Flags::default() };
    more(&mut flags);
    flags
}

fn of(sql: &str, flags: &Flags) -> Estimate {
    let program = program(&[("v", sql)]);
    estimate(&program, &facts(&program, &known(), flags).unwrap(), &settings())
}

fn bytes(traces: &[Trace]) -> f64 {
    traces.iter().map(|trace| trace.state_bytes(&COEFFICIENTS)).sum()
}

#[track_caller]
fn about(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= wanted * 1e-9, "{found} is not {wanted}");
}

#[test]
fn filters_and_projections_keep_the_rows_of_the_view_alone() {
    let found = of("SELECT id FROM lake.orders WHERE customer = 7", &Flags::default());
    about(found.views["v"].rows, ORDERS / CUSTOMERS);
    about(found.views["v"].state_bytes, bytes(&[Trace::flat(ORDERS / CUSTOMERS, Width::numbers(1.0))]));
    assert!(found.assumptions[0].contains("a filter keeps 0.002 % of its rows"), "{:?}", found.assumptions);
    let found = of("SELECT id FROM lake.orders WHERE customer = 7", &flags(&[], |f| f.filter.push("v=0.5".to_owned())));
    assert_eq!((found.views["v"].rows, found.assumptions.len()), (ORDERS / 2.0, 0));
}

#[test]
fn a_join_keeps_both_sides_by_its_key() {
    let said = flags(&["app.customers=50000"], |_| ());
    let found = of("SELECT o.id, c.region FROM lake.orders o JOIN app.customers c ON c.id = o.customer", &said);
    let (one, region) = (Width::numbers(1.0), Width { numbers: 0.0, text: 16.0 });
    let orders = Trace { rows: ORDERS, keys: CUSTOMERS, key: one, value: one };
    let customers = Trace::one_each(CUSTOMERS, one, region);
    about(found.views["v"].rows, ORDERS);
    about(found.views["v"].state_bytes, bytes(&[orders, customers, Trace::flat(ORDERS, one.plus(region))]));
    // The engine keeps the table itself besides, since a database tells only what changes.
    about(found.tables["app.main.customers"].state_bytes, bytes(&[customers]));
    about(found.total.state_bytes, found.views["v"].state_bytes + bytes(&[customers]));
    assert!(
        found.assumptions.iter().any(|text| text.contains("a text has 16 bytes in region")),
        "{:?}",
        found.assumptions
    );
}

#[test]
fn groups_are_counted_by_statistics_or_assumed_and_said() {
    let sql = "SELECT customer, count(*) AS n FROM lake.orders GROUP BY customer";
    let found = of(sql, &Flags::default());
    let (one, two) = (Width::numbers(1.0), Width::numbers(2.0));
    let sums = Trace::one_each(CUSTOMERS, one, one);
    about(found.views["v"].state_bytes, bytes(&[sums, sums, Trace::flat(CUSTOMERS, two)]));
    assert_eq!(found.assumptions, [""; 0]);

    let sql = "SELECT status, count(*) AS n FROM lake.orders GROUP BY status";
    let found = of(sql, &Flags::default());
    about(found.views["v"].rows, ORDERS / 10.0);
    assert!(found.assumptions[0].contains("--groups v=N says better"), "{:?}", found.assumptions);
    let said = of(sql, &flags(&[], |flags| flags.groups.push("V=4".to_owned())));
    assert_eq!((said.views["v"].rows, said.assumptions.len()), (4.0, 0));
}

#[test]
fn least_and_greatest_values_keep_all_values() {
    let sums = of("SELECT customer, count(*) AS n FROM lake.orders GROUP BY customer", &Flags::default());
    let ends = of("SELECT customer, max(id) AS n FROM lake.orders GROUP BY customer", &Flags::default());
    assert!(ends.total.state_bytes > sums.total.state_bytes + ORDERS * COEFFICIENTS.number_bytes);
    assert!(ends.total.load_ms > sums.total.load_ms && ends.total.epoch_1000_ms > sums.total.epoch_1000_ms);
}

#[test]
fn the_log_has_rows_and_records() {
    let found = of("SELECT id FROM lake.orders", &Flags::default());
    let Estimate { tables, total, .. } = found;
    // Two numbers, five letters with their end, and a weight; 864 epochs of a hundred rows.
    let rows = 86_400.0 * (8.0 + 8.0 + 4.0 + 5.0 + 8.0);
    let by = &COEFFICIENTS;
    let records = 864.0 * (by.log_record_bytes + by.log_table_bytes + 3.0 * by.log_column_bytes);
    about(total.log_bytes_per_day.unwrap(), rows + records);
    about(total.log_bytes.unwrap(), 7.0 * (rows + records));
    assert_eq!((total.epochs_per_day, total.epoch_changes), (Some(864.0), Some(100.0)));
    about(tables["lake.main.orders"].log_bytes_per_day.unwrap(), rows + records);
    // More commits than epochs are possible are put together.
    let busy = flags(&[], |flags| {
        flags.changes.push("lake.orders=1e9/day".to_owned());
        flags.commits.push("lake=1_000_000/day".to_owned());
    });
    assert_eq!(of("SELECT id FROM lake.orders", &busy).total.epochs_per_day, Some(432_000.0));
}

#[test]
fn what_is_not_known_is_asked_for_or_told() {
    let program = program(&[("v", "SELECT region FROM app.customers")]);
    let missing = facts(&program, &known(), &Flags::default()).unwrap_err();
    assert_eq!(
        missing.messages(),
        ["table app.main.customers: its source does not know how many rows it has: run ANALYZE there, or say it with \
          --rows app.main.customers=N"]
    );
    let facts = facts(&program, &known(), &flags(&["APP.Customers=1000"], |_| ())).unwrap();
    let found = estimate(&program, &facts, &settings());
    assert_eq!((found.total.log_bytes, found.total.epoch_ms), (None, None));
    assert!(found.assumptions.iter().any(|text| text.contains("--changes app.main.customers=N/day")));
    // An update is one row of the log, and to the view one that goes and one that comes.
    let changes = facts.relations(10.0).into_values().map(|relation| relation.changes);
    assert_eq!(changes.collect::<Vec<_>>(), [20.0]);
}

#[test]
fn faults_of_the_flags_are_told_all_at_once() {
    let program = program(&[("totals", "SELECT count(*) AS n FROM lake.orders")]);
    let wrong = flags(&["lake.ordres=5", "totals=many"], |flags| {
        flags.changes.push("totals=5/day".to_owned());
        flags.changes.push("lake.orders=5".to_owned());
        flags.groups.push("total=5".to_owned());
        flags.filter.push("totals=2".to_owned());
        flags.commits.push("lak=5/day".to_owned());
    });
    let failure = facts(&program, &known(), &wrong).unwrap_err();
    assert_eq!(
        failure.messages(),
        [
            "--rows lake.ordres=5: the pipeline reads no table or view `lake.ordres`; did you mean `lake.orders`?",
            "--rows totals=many: write --rows NAME=1000000",
            "--changes totals=5/day: the pipeline reads no table `totals`",
            "--changes lake.orders=5: write --changes NAME=50000/day",
            "--commits lak=5/day: the pipeline reads no source `lak`; did you mean `lake`?",
            "--groups total=5: the pipeline reads no view `total`; did you mean `totals`?",
            "--filter totals=2: write --filter NAME=0.1",
        ]
    );
}

#[test]
fn a_limit_of_memory_costs_time() {
    let program = program(&[("v", "SELECT * FROM lake.orders"), ("w", "SELECT id FROM v WHERE customer = 1")]);
    let facts = facts(&program, &known(), &flags(&["lake.orders=1e9", "w=10"], |_| ())).unwrap();
    let free = estimate(&program, &facts, &settings());
    let limit = 4 << 30;
    let limited = estimate(&program, &facts, &Settings { memory_limit: Some(limit), ..settings() });
    assert_eq!(limited.total.memory_bytes, limit as f64);
    about(limited.total.memory_unlimited_bytes, free.total.memory_bytes);
    assert!(limited.total.load_ms > free.total.load_ms && limited.total.state_bytes == free.total.state_bytes);
    assert_eq!(free.views["w"].rows, 10.0);
}

/// A load of `cargo xtask bench load` or `large`, as docs/performance.md tells it: seconds, MiB of memory, bytes of state a row.
struct Published {
    sql: &'static str,
    orders: f64,
    flags: &'static [(&'static str, &'static str)],
    memory_limit: Option<u64>,
    seconds: f64,
    memory_mib: f64,
    state_bytes_row: f64,
}

const PUBLISHED: &[Published] = &[
    Published {
        sql: "SELECT id, customer, amount FROM lake.orders WHERE status = 'returned' AND amount < 400",
        orders: 1e7,
        flags: &[("filter", "v=0.1")],
        memory_limit: None,
        seconds: 0.75,
        memory_mib: 380.0,
        state_bytes_row: 2.0,
    },
    Published {
        sql: "SELECT customer, count(*) AS n, sum(amount) AS total FROM lake.orders GROUP BY customer",
        orders: 1e7,
        flags: &[],
        memory_limit: None,
        seconds: 3.3,
        memory_mib: 742.0,
        state_bytes_row: 5.0,
    },
    Published {
        sql: "SELECT c.region, o.status, count(*) AS n, sum(o.amount) AS total FROM lake.orders o \
              JOIN lake.customers c ON c.id = o.customer GROUP BY c.region, o.status",
        orders: 1e7,
        flags: &[("groups", "v=400")],
        memory_limit: None,
        seconds: 8.6,
        memory_mib: 1638.0,
        state_bytes_row: 15.0,
    },
    Published {
        sql: "SELECT o.id, c.region, o.status, o.amount FROM lake.orders o JOIN lake.customers c ON c.id = o.customer",
        orders: 1e8,
        flags: &[],
        memory_limit: Some(4 << 30),
        seconds: 247.0,
        memory_mib: 3738.0,
        state_bytes_row: 53.0,
    },
];

/// Milliseconds of an epoch of 1,000 changed rows of TPC-H at scale factor 1, for queries 6, 1 and 12. These stand for them: the same
/// operators, over filters that keep two, 98 and half a percent of the lines.
const EPOCHS: &[(&str, &str, f64)] = &[
    ("SELECT sum(amount) AS total FROM lake.orders WHERE amount < 5", "v=0.02", 0.82),
    (
        "SELECT status, sum(amount) AS total, count(*) AS n FROM lake.orders WHERE amount < 900 GROUP BY status",
        "v=0.98",
        1.3,
    ),
    (
        "SELECT o.status, count(*) AS n FROM lake.orders o JOIN lake.customers c ON c.id = o.customer WHERE o.amount < 3 \
         GROUP BY o.status",
        "v=0.005",
        1.1,
    ),
];

/// The tables of `cargo xtask bench load`.
fn published(sql: &str, orders: f64) -> (Program, KnownTables) {
    let table = |name: &str, of: &[(&str, &str, bool)]| TableSchema {
        name: TableName::new("lake", "main", name),
        incarnation: 1,
        columns: columns(of.iter().copied()).unwrap(),
        identity: RowIdentity::WholeRow,
        integral: Integral::Source,
    };
    let of_orders = [
        ("id", "BIGINT", true),
        ("customer", "BIGINT", true),
        ("status", "VARCHAR", true),
        ("amount", "DECIMAL(12,2)", true),
    ];
    let tables =
        vec![table("orders", &of_orders), table("customers", &[("id", "BIGINT", true), ("region", "VARCHAR", true)])];
    let view = ViewDef { name: ViewName::new("v"), sql: sql.to_owned(), key: None };
    let program = Program::plan(tables, vec![view], &DuckBinder).unwrap().sharing(None).unwrap();
    let column = |name: &str, bytes, distinct| ColumnStatistics { name: name.to_owned(), bytes, distinct };
    let customers = orders / 10.0;
    let of_orders = vec![
        column("id", None, Some(orders)),
        column("customer", None, Some(customers)),
        column("status", Some(5.0), Some(4.0)),
    ];
    let of_customers = vec![column("id", None, Some(customers)), column("region", Some(9.0), Some(100.0))];
    let mut known = KnownTables::default();
    for (name, rows, changes, columns) in
        [("orders", orders, 1e6, of_orders), ("customers", customers, 0.0, of_customers)]
    {
        let table = TableStatistics { rows: Some(rows as u64), changes_per_day: Some(changes), columns };
        known.tables.insert(TableName::new("lake", "main", name), table);
    }
    (program, known)
}

#[track_caller]
fn within(what: &str, found: f64, told: f64, factor: f64) {
    let off = (found / told).max(told / found);
    println!("{what}: {found:.2} estimated, {told:.2} published, a factor of {off:.2}");
    assert!(off <= factor, "{what}: {found} estimated, {told} published");
}

#[test]
fn published_loads_and_epochs_are_within_the_error() {
    for case in PUBLISHED {
        let (program, known) = published(case.sql, case.orders);
        let mut flags = Flags::default();
        for (flag, text) in case.flags {
            let of = if *flag == "filter" { &mut flags.filter } else { &mut flags.groups };
            of.push((*text).to_owned());
        }
        let facts = facts(&program, &known, &flags).unwrap();
        let found = estimate(&program, &facts, &Settings { memory_limit: case.memory_limit, ..settings() }).total;
        within(&format!("seconds of {}", case.sql), found.load_ms / 1e3, case.seconds, ERROR.times);
        within(&format!("memory of {}", case.sql), found.memory_bytes / 1_048_576.0, case.memory_mib, ERROR.bytes);
        within(&format!("state of {}", case.sql), found.state_bytes / case.orders, case.state_bytes_row, ERROR.bytes);
    }
    for (sql, filter, ms) in EPOCHS {
        let (program, known) = published(sql, 6e6);
        let facts = facts(&program, &known, &flags(&[], |flags| flags.filter.push((*filter).to_owned()))).unwrap();
        within(
            &format!("an epoch of {sql}"),
            estimate(&program, &facts, &settings()).total.epoch_1000_ms,
            *ms,
            ERROR.times,
        );
    }
}
