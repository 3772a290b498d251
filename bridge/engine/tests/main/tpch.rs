//! The 22 queries of TPC-H, as DuckDB's extension has them, kept up to date while orders come and go
//! and customers, parts and suppliers change (TPC-H specification 3.0.1, refresh functions 1 and 2).
//!
//! `TIDEGATE_TPCH_SF` sets another scale factor than 0.01, `TIDEGATE_TPCH_ROUNDS` another number of rounds than 20.
//! Above 0.1 each query runs for itself.

use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_engine::Engine;
use tidegate_testkit::tpch::{self, TABLES, Tpch};
use tidegate_testkit::{ViewRows, seed};

use crate::harness::Harness;

/// Changes in the model, each round; `{n}` is the round and `{k}` a number from 0 to 999. What goes is
/// in `gone_<table>`, what comes in `come_<table>`.
const ROUND: &str = "
    CREATE OR REPLACE TEMP TABLE fresh AS SELECT * FROM orders WHERE o_orderkey % 1000 = {k};
    CREATE OR REPLACE TEMP TABLE come_orders AS SELECT * REPLACE (o_orderkey + 10000000 * {n} AS o_orderkey) FROM fresh;
    CREATE OR REPLACE TEMP TABLE come_lineitem AS SELECT l.* REPLACE (l_orderkey + 10000000 * {n} AS l_orderkey,
        CAST(l_shipdate - (l_linenumber * 7)::INTEGER AS DATE) AS l_shipdate)
        FROM lineitem l WHERE l_orderkey IN (SELECT o_orderkey FROM fresh);
    CREATE OR REPLACE TEMP TABLE gone_orders AS SELECT * FROM orders WHERE o_orderkey % 1000 = (({k} + 7) * 31) % 1000;
    CREATE OR REPLACE TEMP TABLE gone_lineitem AS SELECT * FROM lineitem
        WHERE l_orderkey IN (SELECT o_orderkey FROM gone_orders);
    CREATE OR REPLACE TEMP TABLE gone_customer AS SELECT * FROM customer WHERE c_custkey % 200 = {k} % 200;
    CREATE OR REPLACE TEMP TABLE come_customer AS SELECT * REPLACE ((c_acctbal * -1 + {n})::DECIMAL(15,2) AS c_acctbal,
        ((c_nationkey + {n}) % 25)::INTEGER AS c_nationkey,
        CASE WHEN {k} % 2 = 0 THEN 'BUILDING' ELSE c_mktsegment END AS c_mktsegment) FROM gone_customer;
    CREATE OR REPLACE TEMP TABLE gone_part AS SELECT * FROM part WHERE p_partkey % 200 = {k} % 200;
    CREATE OR REPLACE TEMP TABLE come_part AS SELECT * REPLACE ((p_size % 50 + 1)::INTEGER AS p_size,
        CASE WHEN {n} % 3 = 0 THEN 'Brand#23' ELSE p_brand END AS p_brand,
        CASE WHEN {n} % 2 = 0 THEN 'MED BOX' ELSE p_container END AS p_container) FROM gone_part;
    CREATE OR REPLACE TEMP TABLE gone_supplier AS SELECT * FROM supplier WHERE s_suppkey % 20 = {k} % 20;
    CREATE OR REPLACE TEMP TABLE come_supplier AS SELECT * REPLACE (((s_nationkey + {n}) % 25)::INTEGER AS s_nationkey,
        (s_acctbal + {n})::DECIMAL(15,2) AS s_acctbal) FROM gone_supplier;
    CREATE OR REPLACE TEMP TABLE gone_partsupp AS SELECT * FROM partsupp WHERE ps_partkey % 200 = {k} % 200;
    CREATE OR REPLACE TEMP TABLE come_partsupp AS SELECT * REPLACE ((ps_availqty % 9999 + {n})::BIGINT AS ps_availqty)
        FROM gone_partsupp;
";
/// The tables that change, and the column by which their rows go: all with the same value of it, or none.
const CHANGED: [(&str, &str); 6] = [
    ("orders", "o_orderkey"),
    ("lineitem", "l_orderkey"),
    ("customer", "c_custkey"),
    ("part", "p_partkey"),
    ("supplier", "s_suppkey"),
    ("partsupp", "ps_partkey"),
];

pub fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn the_queries_of_tpch_follow_refreshes() {
    let scale = setting("TIDEGATE_TPCH_SF", 0.01);
    let numbers: Vec<usize> = (1..=22).collect();
    // Small tables feed all views at once; of large ones, the states of all would not fit side by side.
    for numbers in numbers.chunks(if scale > 0.1 { 1 } else { 22 }) {
        follow_refreshes(numbers, scale);
    }
}

fn follow_refreshes(numbers: &[usize], scale: f64) {
    let begin = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed::seed("tpch"));
    let tpch = Tpch::generate(scale, None);
    let duck = tpch.duck();
    let tables = TABLES.map(str::to_owned);
    let queries: Vec<String> = tpch.queries().iter().map(|query| tpch::view(query, &tables)).collect();
    let names: Vec<String> = numbers.iter().map(|number| format!("q{number:02}")).collect();
    let queries: Vec<&String> = numbers.iter().map(|number| &queries[number - 1]).collect();
    let views: Vec<(&str, &str)> = names.iter().zip(&queries).map(|(n, q)| (n.as_str(), q.as_str())).collect();
    let expected = || {
        let read = |query: &&String| ViewRows::read(duck, query).expect("the model answers");
        queries.iter().map(read).collect::<Vec<_>>()
    };
    let mut harness = Harness::new(tpch.schemas(), &views, 2);
    let load = |engine: &mut Engine| {
        for name in TABLES {
            tpch.contents(name, |table, event| engine.load(table, event).expect("the event is taken"));
        }
    };
    harness.load_against(load, expected());
    for (name, is_threshold) in [("q11", true), ("q15", false), ("q22", true)] {
        let program = harness.program();
        let Some(view) = program.view(&name.into()) else { continue };
        let text = view.explain_text();
        assert_eq!(text.contains("Threshold"), is_threshold, "{name}: an equality is a join by the value\n{text}");
    }
    println!("{names:?}: loaded after {:.1?}", begin.elapsed());
    for round in 1..=setting("TIDEGATE_TPCH_ROUNDS", 20) {
        let k: u32 = rng.random_range(0..1000);
        let script = ROUND.replace("{n}", &u32::to_string(&round)).replace("{k}", &k.to_string());
        duck.execute(&script).expect("the round is made");
        for (name, key) in CHANGED {
            let schema = tpch.schema(name);
            for (table, weight) in [("gone", -1), ("come", 1)] {
                if let Some(event) = tpch::rows(duck, &format!("FROM {table}_{name}"), schema, weight) {
                    harness.engine().feed(&schema.name, event).expect("the event is taken");
                }
            }
            duck.execute(&format!(
                "DELETE FROM {name} WHERE {key} IN (SELECT {key} FROM gone_{name}); INSERT INTO {name} FROM come_{name}"
            ))
            .expect("the model follows");
        }
        harness.step_against(expected(), &format!("round {round}, {k}"));
    }
    println!("{names:?}: done after {:.1?}", begin.elapsed());
}
