//! The engine by SQL against the same circuit typed by hand in DBSP: two aggregates around a join; and what one row takes
//! in a join of three tables with a group by; what several views take that do not read each other; and what they take
//! that compute a part alike.
//!
//! A circuit by hand starts from typed tuples and ends in typed tuples; the engine starts from
//! Arrow batches and ends in Arrow batches, so its figure includes both conversions.

mod by_hand;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use tidegate_core::{RowIdentity, TableEvent, TableName, TableSchema, ViewName, ZSet, duckdb_type};
use tidegate_duck::DuckBinder;
use tidegate_engine::{Engine, EngineOptions, Program, RebuildScope, Shortcuts, ViewDef};
use tidegate_testkit::bench::{Report, median, timed};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: i64 = 2_000_000;
const LOAD_BATCH: i64 = 250_000;
const STEPS: i64 = 21;
const SQL: &str = "SELECT d.region, sum(t.events) AS events, sum(t.amount) AS amount FROM \
    (SELECT user_id, count(*) AS events, sum(amount) AS amount FROM lake.events GROUP BY user_id) t \
    JOIN lake.users d ON d.id = t.user_id GROUP BY d.region";

/// The engine may take so many times as long as the circuit by hand that answers the same, types included.
const RATIO: f64 = 1.3;
/// Several views at once may take this share of what they take one after the other.
const SIDE_BY_SIDE: f64 = 0.8;
const VIEWS: usize = 4;
/// What several views compute alike may take this share of what it takes in each of them.
const SHARED: f64 = 0.8;
/// Milliseconds that one row may take in a join of three tables with a group by.
const ONE_ROW_MS: f64 = 0.5;
const REGIONS: i64 = 100;
const JOINS: &str = "SELECT r.zone, count(*) AS events, sum(e.amount) AS amount FROM lake.events e \
    JOIN lake.users u ON u.id = e.user_id JOIN lake.regions r ON r.id = u.region GROUP BY r.zone";

fn user_of(event: i64) -> i64 {
    event.wrapping_mul(2_654_435_761).rem_euclid(EVENTS / 10)
}

/// Events `from..to` as columns: id, user, amount.
fn events(from: i64, to: i64) -> [Vec<i64>; 3] {
    [(from..to).collect(), (from..to).map(user_of).collect(), (from..to).map(|id| id % 1000).collect()]
}

fn users() -> [Vec<i64>; 2] {
    [(0..EVENTS / 10).collect(), (0..EVENTS / 10).map(|id| id % 100).collect()]
}

fn schema(name: &str, columns: &[&str]) -> TableSchema {
    let fields: Vec<_> =
        columns.iter().map(|column| duckdb_type::field(*column, "BIGINT", true).expect("BIGINT travels")).collect();
    TableSchema {
        name: TableName::new("lake", "main", name),
        incarnation: 1,
        columns: Arc::new(Schema::new(fields)),
        identity: RowIdentity::WholeRow,
        integral: tidegate_core::Integral::Source,
    }
}

fn batch<const N: usize>(schema: &SchemaRef, columns: [Vec<i64>; N]) -> TableEvent {
    let columns = columns.into_iter().map(|column| Arc::new(Int64Array::from(column)) as _).collect();
    TableEvent::Rows(ZSet::uniform(RecordBatch::try_new(Arc::clone(schema), columns).expect("the columns fit"), 1))
}

fn changed_rows(engine: &mut Engine) -> usize {
    let deltas = engine.step().expect("the engine steps");
    deltas.iter().flat_map(|delta| &delta.batches).map(tidegate_core::DeltaBatch::len).sum()
}

fn main() -> std::process::ExitCode {
    let mut report = Report::new("engine", &[("dbsp", "0.349.0"), ("datafusion", "53.1"), ("arrow", "58")]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (events_table, users_table) =
        (schema("events", &["id", "user_id", "amount"]), schema("users", &["id", "region"]));
    let view = ViewDef { name: ViewName::from("per_region"), sql: SQL.to_owned(), key: None };
    let tables = vec![events_table.clone(), users_table.clone()];
    let program = Program::plan(tables, vec![view], &DuckBinder).expect("the view is planned");
    let options = EngineOptions::new(1, None);
    let mut engine = Engine::create(folder.path(), options).expect("the engine starts");
    engine.begin_rebuild(program, RebuildScope::All).expect("the load begins");
    let mut by_hand = by_hand::as_in_sql();
    let mut plain = by_hand::of_plain_integers();

    let load = |circuit: &mut by_hand::Circuit| {
        for from in (0..EVENTS).step_by(LOAD_BATCH as usize) {
            circuit.feed(from, from + LOAD_BATCH);
            circuit.step();
        }
    };
    let (plain_load, _) = timed(|| load(&mut plain));
    let (load_by_hand, _) = timed(|| load(&mut by_hand));
    let (engine_load, _) = timed(|| {
        engine.load(&users_table.name, batch(&users_table.columns, users())).expect("users load");
        for from in (0..EVENTS).step_by(LOAD_BATCH as usize) {
            let event = batch(&events_table.columns, events(from, from + LOAD_BATCH));
            engine.load(&events_table.name, event).expect("events load");
        }
        engine.finish_rebuild().expect("the load ends");
    });
    let figures = |by_hand: f64, plain: f64, engine: f64| {
        let ratios = [("ratio", engine / by_hand), ("ratio_to_plain", engine / plain)];
        [("by_hand_ms", by_hand), ("plain_ms", plain), ("engine_ms", engine), ratios[0], ratios[1]]
    };
    report.measure(format!("load of {EVENTS} rows"), &figures(load_by_hand, plain_load, engine_load));
    report.gate("load, engine / by hand", engine_load / load_by_hand, RATIO);

    for delta in [1, 100, 1_000, 10_000] {
        let (mut hand_ms, mut plain_ms, mut sql_ms) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..STEPS {
            let from = EVENTS + delta * 1_000 + step * delta;
            let stepped = |circuit: &mut by_hand::Circuit| {
                timed(|| {
                    circuit.feed(from, from + delta);
                    circuit.step()
                })
            };
            let (milliseconds, plain_rows) = stepped(&mut plain);
            plain_ms.push(milliseconds);
            let (milliseconds, hand_rows) = stepped(&mut by_hand);
            hand_ms.push(milliseconds);
            let (milliseconds, sql_rows) = timed(|| {
                let event = batch(&events_table.columns, events(from, from + delta));
                engine.feed(&events_table.name, event).expect("events are fed");
                changed_rows(&mut engine)
            });
            sql_ms.push(milliseconds);
            assert_eq!([plain_rows, hand_rows], [sql_rows; 2], "all circuits change the same rows");
        }
        let (hand_ms, plain_ms, sql_ms) = (median(hand_ms), median(plain_ms), median(sql_ms));
        report.measure(format!("step of {delta} rows"), &figures(hand_ms, plain_ms, sql_ms));
        report.gate(format!("step of {delta} rows, engine / by hand"), sql_ms / hand_ms, RATIO);
    }
    drop((engine, by_hand, plain));
    joins(&mut report);
    side_by_side(&mut report);
    alike(&mut report);
    report.finish()
}

/// An engine with views, loaded with users and events.
fn with_views(folder: &Path, views: &[String], shortcuts: Shortcuts) -> Engine {
    let tables = [schema("events", &["id", "user_id", "amount"]), schema("users", &["id", "region"])];
    let view = |(n, sql): (usize, &String)| {
        let name = ViewName::from(format!("v{n}").as_str());
        ViewDef { name, sql: sql.clone(), key: None }
    };
    let views = views.iter().enumerate().map(view).collect();
    let program = Program::plan(tables.to_vec(), views, &DuckBinder).expect("they are planned");
    let options = EngineOptions { shortcuts, ..EngineOptions::new(1, None) };
    let mut engine = Engine::create(folder, options).expect("the engine starts");
    engine.begin_rebuild(program, RebuildScope::All).expect("the load begins");
    let [events_table, users_table] = &tables;
    engine.load(&users_table.name, batch(&users_table.columns, users())).expect("users load");
    engine.load(&events_table.name, batch(&events_table.columns, events(0, LOAD_BATCH))).expect("events load");
    engine.finish_rebuild().expect("the load ends");
    engine
}

/// Milliseconds of an epoch of so many rows in each of two engines.
fn compared(engines: &mut [Engine; 2], delta: i64) -> [f64; 2] {
    let table = schema("events", &["id", "user_id", "amount"]);
    let mut took = [Vec::new(), Vec::new()];
    for step in 0..STEPS {
        let from = EVENTS + delta * 1_000 + step * delta;
        for (engine, took) in engines.iter_mut().zip(&mut took) {
            let event = batch(&table.columns, events(from, from + delta));
            let (ms, _) = timed(|| {
                engine.feed(&table.name, event).expect("events are fed");
                changed_rows(engine)
            });
            took.push(ms);
        }
    }
    took.map(median)
}

/// Views that do not read each other and have nothing in common, one and several of them.
fn side_by_side(report: &mut Report) {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let views: Vec<String> =
        (0..VIEWS).map(|n| SQL.replace("GROUP BY user_id", &format!("WHERE amount >= {n} GROUP BY user_id"))).collect();
    let mut engines = [
        with_views(folders[0].path(), &views[..1], Shortcuts::default()),
        with_views(folders[1].path(), &views, Shortcuts::default()),
    ];
    for delta in [1, 1_000, 10_000] {
        let [one, several] = compared(&mut engines, delta);
        let share = several / (VIEWS as f64 * one);
        let figures = [("one_ms", one), ("several_ms", several), ("share", share)];
        report.measure(format!("{VIEWS} views, step of {delta} rows"), &figures);
        if delta == 10_000 {
            report.gate(format!("{VIEWS} views / one after the other, step of {delta} rows"), share, SIDE_BY_SIDE);
        }
    }
}

/// Views that have a part in common, which has one circuit, against each computing it.
fn alike(report: &mut Report) {
    let over = |part: &str, column: &str| -> Vec<String> {
        (0..VIEWS).map(|n| format!("SELECT region, sum({column} + {n}) AS total FROM {part} GROUP BY region")).collect()
    };
    let joined = "lake.events e JOIN lake.users u ON u.id = e.user_id";
    let grouped = "(SELECT user_id, sum(amount) AS amount FROM lake.events GROUP BY user_id) t JOIN lake.users u ON u.id = t.user_id";
    for (name, views) in [("a join", over(joined, "e.amount")), ("a group by and a join", over(grouped, "t.amount"))] {
        for count in [2, VIEWS] {
            let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
            let apart = Shortcuts { shared: false, ..Shortcuts::default() };
            let mut engines = [
                with_views(folders[0].path(), &views[..count], Shortcuts::default()),
                with_views(folders[1].path(), &views[..count], apart),
            ];
            let state = |engine: &mut Engine| {
                engine.checkpoint().expect("the state is saved");
                engine.stats().iter().map(|stats| stats.state_bytes).sum::<u64>() as f64 / 1_048_576.0
            };
            let [shared_mib, apart_mib] = engines.each_mut().map(state);
            for delta in [1, 1_000, 10_000] {
                let [shared, apart] = compared(&mut engines, delta);
                let figures =
                    [("shared_ms", shared), ("apart_ms", apart), ("shared_mib", shared_mib), ("apart_mib", apart_mib)];
                report.measure(format!("{name} of {count} views, step of {delta} rows"), &figures);
                if count == VIEWS && delta == 10_000 {
                    report.gate(format!("{name}, shared by {count} views / apart"), shared / apart, SHARED);
                }
            }
        }
    }
}

/// One row at a time in a join of three tables with a group by.
fn joins(report: &mut Report) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tables = [
        schema("events", &["id", "user_id", "amount"]),
        schema("users", &["id", "region"]),
        schema("regions", &["id", "zone"]),
    ];
    let view = ViewDef { name: ViewName::from("per_zone"), sql: JOINS.to_owned(), key: None };
    let program = Program::plan(tables.to_vec(), vec![view], &DuckBinder).expect("the view is planned");
    let options = EngineOptions::new(1, None);
    let mut engine = Engine::create(folder.path(), options).expect("the engine starts");
    let [events_table, users_table, regions_table] = &tables;
    engine.begin_rebuild(program, RebuildScope::All).expect("the load begins");
    let regions = [(0..REGIONS).collect(), (0..REGIONS).map(|id| id % 10).collect()];
    engine.load(&regions_table.name, batch(&regions_table.columns, regions)).expect("regions load");
    engine.load(&users_table.name, batch(&users_table.columns, users())).expect("users load");
    for from in (0..EVENTS).step_by(LOAD_BATCH as usize) {
        let event = batch(&events_table.columns, events(from, from + LOAD_BATCH));
        engine.load(&events_table.name, event).expect("events load");
    }
    engine.finish_rebuild().expect("the load ends");
    let steps = (0..10 * STEPS).map(|step| {
        let event = batch(&events_table.columns, events(EVENTS + step, EVENTS + step + 1));
        let (ms, changed) = timed(|| {
            engine.feed(&events_table.name, event).expect("the event is fed");
            changed_rows(&mut engine)
        });
        assert_eq!(changed, 2, "one group changes");
        ms
    });
    let one_row = median(steps.collect());
    report.measure("one row, join of three and group by", &[("engine_ms", one_row)]);
    report.gate("one row, join of three and group by, ms", one_row, ONE_ROW_MS);
}
