//! The short forms that people write, and nested values, against the oracle after random changes. The views are those
//! of the planner's tests.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::TableSchema;
use tidegate_engine::RebuildScope;
use tidegate_testkit::seed;

use crate::harness::{Harness, table};
use crate::random::{change, maybe};

const VIEWS: &str = include_str!("../../sql/tests/main/names.txt");

/// The views of a section, called by their place in it.
fn section(name: &str) -> Vec<(String, String)> {
    let heading = format!("== {name}");
    let lines = VIEWS.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("=="));
    let views = lines.filter(|line| !line.is_empty()).enumerate();
    views.map(|(place, sql)| (format!("v{place}"), sql.replace("app.", "lake."))).collect()
}

fn tables() -> [TableSchema; 3] {
    let orders = [
        ("Id", "INTEGER"),
        ("Customer", "INTEGER"),
        ("Amount", "DECIMAL(9,2)"),
        ("Placed", "DATE"),
        ("Note", "VARCHAR"),
    ];
    let customers = [("id", "INTEGER"), ("name", "VARCHAR"), ("region", "VARCHAR")];
    let nested = [
        ("id", "INTEGER"),
        ("st", "STRUCT(x INTEGER, \"y z\" VARCHAR)"),
        ("l", "INTEGER[]"),
        ("m", "MAP(VARCHAR, INTEGER)"),
        ("j", "JSON"),
        ("ls", "STRUCT(a INTEGER, b INTEGER[])[]"),
        ("x", "INTEGER"),
        ("l2", "BIGINT[]"),
    ];
    [table("orders", &orders, None), table("customers", &customers, None), table("nested", &nested, None)]
}

fn chosen(rng: &mut StdRng, values: &[&str]) -> String {
    let value = values[rng.random_range(0..values.len())].to_owned();
    maybe(rng, value)
}

fn order(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..9);
    let customer = chosen(rng, &["1", "2", "3", "9"]);
    let amount = chosen(rng, &["10.50", "5.00", "7.75", "20.25", "-1.00"]);
    let placed = chosen(rng, &["'2024-01-05'", "'2024-02-01'"]);
    let note = chosen(rng, &["'x'", "'y'", "''", "'a longer note, past inline'"]);
    format!("({id}, {customer}, {amount}, {placed}, {note})")
}

fn customer(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..6);
    let (name, region) = (chosen(rng, &["'Ann'", "'Bob'"]), chosen(rng, &["'north'", "'south'"]));
    format!("({id}, {name}, {region})")
}

fn nested(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..7);
    let st = chosen(
        rng,
        &["{'x': 1, 'y z': 'k'}", "{'x': NULL, 'y z': NULL}", "{'x': -5, 'y z': ''}", "{'x': 1, 'y z': NULL}"],
    );
    let lists = ["[1, 2, 3]", "[]", "[NULL]", "[3]", "[1]", "[1, NULL]"];
    let (l, l2) = (chosen(rng, &lists), chosen(rng, &lists));
    let m = chosen(rng, &["MAP {'a': 1, 'b': 2}", "MAP {}", "MAP {'b': 2, 'a': 1}", "MAP {'a': NULL}"]);
    let j = chosen(rng, &["'{\"a\": [1, {\"b\": 2}], \"c\": \"x\"}'", "'[]'", "'{\"a\": null}'", "'7'"]);
    let ls = chosen(rng, &["[{'a': 1, 'b': [1]}]", "[]", "[NULL, {'a': NULL, 'b': NULL}]", "[{'a': 2, 'b': [2, 3]}]"]);
    let x = chosen(rng, &["10", "3", "-1"]);
    format!("({id}, {st}, {l}, {m}, {j}, {ls}, {x}, {l2})")
}

fn run(name: &str, epochs: usize) {
    let seed = seed::seed(name);
    let views = section(name);
    assert!(views.len() > 8, "{name} has {} views", views.len());
    let views: Vec<(&str, &str)> = views.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
    let mut rng = StdRng::seed_from_u64(seed);
    let schemas = tables();
    let workers = rng.random_range(1..3);
    let mut harness = Harness::new(&schemas, &views, workers);
    harness.rebuild(RebuildScope::All, &format!("{name}, seed {seed}: initial load"));
    let [orders, customers, nest] = schemas;
    for epoch in 0..epochs {
        change(&mut harness, &mut rng, &orders, order);
        change(&mut harness, &mut rng, &customers, customer);
        change(&mut harness, &mut rng, &nest, nested);
        harness.step(&format!("{name}, seed {seed}, epoch {epoch}"));
        if epoch == epochs / 2 {
            let saved = harness.checkpoint();
            harness.resume(&saved, workers);
            harness.check(&format!("{name}, seed {seed}, epoch {epoch}: resumed"));
        }
    }
}

#[test]
fn stars_stand_for_the_columns_that_duckdb_takes() {
    run("stars", 12);
}

#[test]
fn columns_of_using_and_natural_are_one() {
    run("joins", 12);
}

#[test]
fn unions_meet_by_name() {
    run("by_name", 12);
}

#[test]
fn names_of_the_select_list_mean_what_duckdb_says() {
    run("aliases", 12);
}

#[test]
fn nested_values_are_made_and_read() {
    run("values", 12);
}

#[test]
fn nested_values_are_keys() {
    run("keys", 20);
}

#[test]
fn short_forms_know_the_columns_of_every_kind_of_table() {
    run("mixed", 6);
}
