//! The 22 queries of TPC-H, as DuckDB's extension has them, kept up to date while orders come and go
//! and customers, parts and suppliers change (TPC-H specification 3.0.1, refresh functions 1 and 2).
//!
//! `TIDEGATE_TPCH_SF` sets another scale factor than 0.01, `TIDEGATE_TPCH_ROUNDS` another number of rounds than 20.

use arrow::array::AsArray;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{TableEvent, TableName, TableSchema, ZSet};
use tidegate_duck::{Duck, Extension};
use tidegate_engine::RebuildScope;
use tidegate_testkit::seed;

use crate::harness::{Harness, table};

const TABLES: [&str; 8] = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

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
/// The tables that change.
const CHANGED: [&str; 6] = ["orders", "lineitem", "customer", "part", "supplier", "partsupp"];

pub fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

pub fn rows(duck: &Duck, query: &str, schema: &TableSchema, weight: i64) -> Option<TableEvent> {
    let (_, batches) = duck.query(query).expect("the model answers");
    let batch = arrow::compute::concat_batches(&batches.first()?.schema(), &batches).expect("rows of one query");
    let batch = batch.with_schema(schema.columns.clone()).expect("rows of one table");
    (batch.num_rows() > 0).then(|| TableEvent::Rows(ZSet::uniform(batch, weight)))
}

/// A query as a view over the tables of the lake. A view is a multiset, so that an order without a limit is
/// left out.
pub fn view(query: &str, tables: &[String]) -> String {
    let query = query.trim().trim_end_matches(';');
    let query = match query.rfind("ORDER BY") {
        Some(at) if !query[at..].contains("LIMIT") => &query[..at],
        _ => query,
    };
    let tables: Vec<String> = tables.iter().map(|name| format!("{name} AS (SELECT * FROM lake.{name})")).collect();
    let tables = tables.join(", ");
    match query.strip_prefix("WITH") {
        Some(rest) => format!("WITH {tables}, {rest}"),
        None => format!("WITH {tables} {query}"),
    }
}

#[test]
fn the_queries_of_tpch_follow_refreshes() {
    let mut rng = StdRng::seed_from_u64(seed::seed("tpch"));
    let duck = Duck::open_in_memory().expect("DuckDB opens");
    duck.load(Extension::Tpch).expect("the extension is there");
    duck.execute(&format!("CALL dbgen(sf = {})", setting("TIDEGATE_TPCH_SF", 0.01))).expect("the tables are made");
    let schemas = TABLES.map(|name| {
        let columns = duck.describe_columns(&format!("FROM {name}")).expect("the table is there");
        let columns: Vec<_> = columns.iter().map(|(name, kind, _)| (name.as_str(), kind.as_str())).collect();
        table(name, &columns, None)
    });
    let (_, queries) = duck.query("SELECT query FROM tpch_queries() ORDER BY query_nr").expect("there are queries");
    let texts = queries.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
    let queries: Vec<String> = texts.map(|query| view(query, &TABLES.map(str::to_owned))).collect();
    assert_eq!(queries.len(), 22);
    let names: Vec<String> = (1..=22).map(|number| format!("q{number:02}")).collect();
    let views: Vec<(&str, &str)> = names.iter().zip(&queries).map(|(n, q)| (n.as_str(), q.as_str())).collect();
    let mut harness = Harness::new(&schemas, &views, 2);
    let schema = |name: &str| schemas.iter().find(|schema| schema.name == TableName::new("lake", "main", name));
    let schema = |name: &str| schema(name).expect("the table is known");
    for name in TABLES {
        let event = rows(&duck, &format!("FROM {name}"), schema(name), 1).expect("no table is empty");
        harness.tables.get_mut(&schema(name).name).expect("the table is known").apply(&event);
    }
    harness.rebuild(RebuildScope::All, "initial load");
    for (name, is_threshold) in [("q11", true), ("q15", false), ("q22", true)] {
        let program = harness.program();
        let text = program.view(&name.into()).expect("the view is planned").explain_text();
        assert_eq!(text.contains("Threshold"), is_threshold, "{name}: an equality is a join by the value\n{text}");
    }
    for round in 1..=setting("TIDEGATE_TPCH_ROUNDS", 20) {
        let k: u32 = rng.random_range(0..1000);
        let script = ROUND.replace("{n}", &u32::to_string(&round)).replace("{k}", &k.to_string());
        duck.execute(&script).expect("the round is made");
        for name in CHANGED {
            for (table, weight) in [("gone", -1), ("come", 1)] {
                if let Some(event) = rows(&duck, &format!("FROM {table}_{name}"), schema(name), weight) {
                    harness.feed(&schema(name).name, event);
                }
            }
            duck.execute(&format!(
                "CREATE OR REPLACE TABLE {name} AS (FROM {name} EXCEPT ALL FROM gone_{name}) UNION ALL FROM come_{name}"
            ))
            .expect("the model follows");
        }
        harness.step(&format!("round {round}, {k}"));
    }
}
