//! What explain says of each operator: how it follows a change, what it keeps and what an epoch costs.

use serde_json::Value;
use tidegate_engine_sql::Cost;

use crate::world::World;

/// SQL, the costliest operator, its strategy and state, and the cost of an epoch.
const CASES: &[(&str, &str, &str, &str, Cost)] = &[
    ("SELECT id, id + 1 AS x FROM lake.orders WHERE note = 'x'", "Project", "row by row", "none", Cost::Change),
    ("SELECT DISTINCT note FROM lake.orders", "Distinct", "counts are moved", "counts", Cost::Change),
    (
        "SELECT o.id FROM lake.orders o JOIN app.customers c ON c.id = o.customer",
        "Join",
        "changed rows meet the other side",
        "both sides, by the join key",
        Cost::Change,
    ),
    (
        "SELECT o.id, c.name FROM lake.orders o LEFT JOIN app.customers c ON c.id = o.customer",
        "LeftJoin",
        "rows that meet none are padded",
        "counts of the key's values",
        Cost::Change,
    ),
    (
        "SELECT id FROM lake.orders WHERE customer IN (SELECT id FROM app.customers)",
        "SemiJoin",
        "changed rows and keys meet the other side",
        "by the join key",
        Cost::Change,
    ),
    (
        "SELECT o.id FROM lake.orders o JOIN app.customers c ON c.id < o.customer",
        "Join",
        "changed rows meet the other side",
        "each changed row meets the whole other side",
        Cost::OtherSide,
    ),
    ("SELECT note, sum(id) AS s FROM lake.orders GROUP BY note", "Aggregate", "sums are moved", "sums", Cost::Change),
    (
        "SELECT note, max(id) AS m FROM lake.orders GROUP BY note",
        "Aggregate",
        "ordered values are looked up",
        "ordered values",
        Cost::Change,
    ),
    (
        "SELECT note, median(id) AS m, count(*) AS n FROM lake.orders GROUP BY note",
        "Aggregate",
        "touched groups are computed anew",
        "rows of every group",
        Cost::Groups,
    ),
    (
        "SELECT median(id) AS m FROM lake.orders",
        "Aggregate",
        "touched groups are computed anew",
        "rows of every group",
        Cost::AllRows,
    ),
    (
        "SELECT id, rank() OVER (PARTITION BY note ORDER BY id) AS r FROM lake.orders",
        "Window",
        "touched partitions are computed anew",
        "rows and results by partition",
        Cost::Partitions,
    ),
    (
        "SELECT id, rank() OVER (ORDER BY id) AS r FROM lake.orders",
        "Window",
        "touched partitions are computed anew",
        "recomputes all rows",
        Cost::AllRows,
    ),
    (
        "SELECT id FROM lake.orders ORDER BY id LIMIT 3",
        "Top",
        "looked up in the order",
        "all rows in order",
        Cost::Change,
    ),
];

/// The nodes of a tree, the root first.
fn nodes(tree: &Value) -> Vec<&Value> {
    let inputs = tree["inputs"].as_array().into_iter().flatten();
    std::iter::once(tree).chain(inputs.flat_map(nodes)).collect()
}

#[test]
fn every_operator_tells_its_strategy_state_identity_and_cost() {
    let world = World::new();
    for (sql, operator, strategy, state, cost) in CASES {
        let program = world.plan(sql).unwrap_or_else(|errors| panic!("{sql}: {errors:?}"));
        let view = &program.views()[0];
        let (tree, text) = (view.explain_json(), view.explain_text());
        let all = nodes(&tree);
        for node in &all {
            for key in ["operator", "row_identity", "strategy", "state", "cost"] {
                assert!(node[key].as_str().is_some_and(|told| !told.is_empty()), "{key} of {node}");
            }
        }
        let node = all.iter().find(|node| node["operator"] == *operator).unwrap_or_else(|| panic!("{sql}\n{text}"));
        let says = |key: &str, part: &str| node[key].as_str().is_some_and(|told| told.contains(part));
        assert!(says("strategy", strategy) && says("state", state), "{sql}\n{text}");
        assert_eq!(node["cost"], cost.as_str(), "{sql}\n{text}");
        assert_eq!(view.cost(), *cost, "{sql}\n{text}");
        assert!(text.contains(strategy) && text.contains(&format!("cost: {cost}]")), "{sql}\n{text}");
    }
}
