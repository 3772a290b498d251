//! The constructs of SQL: what an epoch costs, or why a construct is refused, as the planner says and the book shows.

use std::collections::BTreeSet;

use tidegate_engine_sql::Cost;

use crate::corpus::compare_page;
use crate::world::World;

/// What is expected of a construct.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Change,
    Groups,
    Partitions,
    Compared,
    OtherSide,
    AllRows,
    Refused,
}

use Class::{AllRows, Change, Compared, Groups, OtherSide, Partitions, Refused};

const CONSTRUCTS: &[(&str, &str, Class)] = &[
    (
        "projection, filter, `CASE`, casts, functions",
        "SELECT upper(note) AS n, CASE WHEN id > 1 THEN amount END AS a FROM lake.orders WHERE TRY_CAST(note AS INTEGER) IS NULL",
        Change,
    ),
    ("`FROM` first", "FROM lake.orders", Change),
    ("`*` with `EXCLUDE`", "SELECT * EXCLUDE (note) FROM lake.orders", Change),
    ("`*` with `REPLACE`, `RENAME`, `LIKE`", "SELECT * REPLACE (upper(note) AS note) FROM lake.orders", Change),
    ("`COLUMNS`", "SELECT max(COLUMNS(*)) FROM app.customers", Change),
    (
        "names of the select list in other columns",
        "SELECT amount * 2 AS twice, twice + 1 AS more FROM lake.orders",
        Change,
    ),
    (
        "structs, lists, maps, lambdas",
        "SELECT {'a': id, 'l': list_transform(l, lambda x: x + 1)} AS s, l[1:2] AS few, MAP {id: l} AS m FROM lake.t",
        Change,
    ),
    ("`UNION ALL`", "SELECT id FROM lake.orders UNION ALL SELECT id FROM app.customers", Change),
    ("`UNION`, `INTERSECT`, `EXCEPT`", "SELECT id FROM lake.orders EXCEPT SELECT id FROM app.customers", Change),
    ("`INTERSECT ALL`, `EXCEPT ALL`", "SELECT id FROM lake.orders EXCEPT ALL SELECT id FROM app.customers", Partitions),
    ("`UNION BY NAME`", "SELECT id FROM lake.orders UNION BY NAME SELECT id FROM app.customers", Change),
    (
        "inner join by equality",
        "SELECT o.id, c.name FROM lake.orders o JOIN app.customers c ON o.customer = c.id",
        Change,
    ),
    (
        "join by equality and further conditions",
        "SELECT o.id, c.name FROM lake.orders o JOIN app.customers c ON o.customer = c.id AND o.id < c.id",
        Change,
    ),
    (
        "join by equal NULLs",
        "SELECT a.id FROM lake.orders a JOIN lake.orders b ON a.note IS NOT DISTINCT FROM b.note",
        Change,
    ),
    (
        "join with an equality in each branch of an `OR`",
        "SELECT o.id FROM lake.orders o JOIN app.customers c ON o.customer = c.id AND o.id > 3 OR o.customer = c.id AND c.id < 2",
        Change,
    ),
    (
        "`LEFT`, `RIGHT`, `FULL JOIN`",
        "SELECT o.id, c.name FROM lake.orders o FULL JOIN app.customers c ON o.customer = c.id",
        Change,
    ),
    ("`SEMI`, `ANTI JOIN`", "SELECT o.id FROM lake.orders o ANTI JOIN app.customers c ON o.customer = c.id", Change),
    (
        "join without equality, `CROSS JOIN`",
        "SELECT o.id FROM lake.orders o JOIN app.customers c ON o.id < c.id",
        OtherSide,
    ),
    ("`ASOF JOIN`", "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c ON o.id >= c.id", Change),
    ("`LATERAL`", "SELECT o.id, t.n FROM lake.orders o, LATERAL (SELECT o.id + 1 AS n) t", Change),
    (
        "`IN`, `= ANY` with a subquery",
        "SELECT id FROM lake.orders WHERE customer IN (SELECT id FROM app.customers)",
        Change,
    ),
    (
        "a row in a query, as a condition of `WHERE`",
        "SELECT id FROM lake.orders WHERE (customer, note) IN (SELECT id, name FROM app.customers)",
        Change,
    ),
    (
        "`NOT IN`, `<> ALL` of what cannot be NULL",
        "SELECT id FROM lake.orders WHERE id NOT IN (SELECT id FROM app.customers)",
        Change,
    ),
    (
        "`NOT IN`, `<> ALL` of what can be NULL",
        "SELECT id FROM lake.orders WHERE customer NOT IN (SELECT customer FROM lake.orders WHERE id > 3)",
        OtherSide,
    ),
    (
        "`EXISTS`, also correlated",
        "SELECT id FROM app.customers c WHERE EXISTS (SELECT 1 FROM lake.orders o WHERE o.customer = c.id AND o.id > c.id)",
        Change,
    ),
    (
        "`EXISTS` under `OR`",
        "SELECT id FROM app.customers c WHERE c.id = 1 OR EXISTS (SELECT 1 FROM lake.orders o WHERE o.customer = c.id)",
        Change,
    ),
    (
        "comparison with another `ANY` or `ALL`",
        "SELECT id FROM lake.orders WHERE id > ALL (SELECT id FROM app.customers)",
        Compared,
    ),
    ("scalar subquery", "SELECT id FROM lake.orders WHERE amount > (SELECT avg(amount) FROM lake.orders)", Change),
    (
        "scalar subquery whose value is read",
        "SELECT id, id - (SELECT max(id) FROM app.customers) AS d FROM lake.orders",
        Compared,
    ),
    (
        "scalar subquery of rows that must be one",
        "SELECT id, (SELECT name FROM app.customers WHERE region = 'south') AS n FROM lake.orders",
        AllRows,
    ),
    (
        "scalar subquery, correlated by equalities",
        "SELECT id, (SELECT max(o.id) FROM lake.orders o WHERE o.customer = c.id) AS m FROM app.customers c",
        Change,
    ),
    (
        "scalar subquery, correlated otherwise",
        "SELECT id, (SELECT max(o.id) FROM lake.orders o WHERE o.customer < c.id) AS m FROM app.customers c",
        OtherSide,
    ),
    ("`DISTINCT`", "SELECT DISTINCT note FROM lake.orders", Change),
    (
        "`count`, `sum`, `avg`, `min`, `max`",
        "SELECT note, count(*), sum(amount), avg(amount), min(id), max(id) FROM lake.orders GROUP BY note",
        Change,
    ),
    (
        "the same with `DISTINCT`, `FILTER`, `HAVING`",
        "SELECT note, count(DISTINCT id), sum(id) FILTER (id > 1) FROM lake.orders GROUP BY note HAVING count(*) > 1",
        Change,
    ),
    ("`GROUP BY ALL`", "SELECT note, count(*) FROM lake.orders GROUP BY ALL", Change),
    (
        "all other exact aggregates",
        "SELECT note, median(amount), string_agg(note, ',' ORDER BY id) FROM lake.orders GROUP BY note",
        Groups,
    ),
    ("aggregates that estimate", "SELECT approx_quantile(id, 0.5) FROM lake.orders", Refused),
    (
        "`GROUPING SETS`, `ROLLUP`, `CUBE`",
        "SELECT note, customer, count(*) FROM lake.orders GROUP BY CUBE (note, customer)",
        Change,
    ),
    (
        "window functions",
        "SELECT id, sum(amount) OVER (PARTITION BY note ORDER BY id) AS s FROM lake.orders",
        Partitions,
    ),
    (
        "window functions without `PARTITION BY`",
        "SELECT id, rank() OVER (ORDER BY amount) AS r FROM lake.orders",
        AllRows,
    ),
    (
        "`QUALIFY row_number() <= n`",
        "SELECT id FROM lake.orders QUALIFY row_number() OVER (PARTITION BY note ORDER BY id) <= 2",
        Change,
    ),
    ("`DISTINCT ON`", "SELECT DISTINCT ON (note) note, id FROM lake.orders ORDER BY id", Change),
    ("`ORDER BY` with `LIMIT`", "SELECT id FROM lake.orders ORDER BY amount DESC, id LIMIT 3", Change),
    ("`LIMIT` of one row at most", "SELECT count(*) FROM lake.orders LIMIT 1", Change),
    ("`LIMIT` without `ORDER BY`", "SELECT id FROM lake.orders LIMIT 3", Refused),
    (
        "`ORDER BY` without `LIMIT` at the end of a view, which is left out",
        "SELECT id FROM lake.orders ORDER BY id",
        Change,
    ),
    ("`ORDER BY` without `LIMIT` elsewhere", "SELECT id FROM (SELECT id FROM lake.orders ORDER BY id)", Refused),
    ("`WITH`", "WITH c AS (SELECT * FROM lake.orders) SELECT a.id FROM c a JOIN c b ON a.id = b.customer", Change),
    (
        "`WITH RECURSIVE`",
        "WITH RECURSIVE r AS (SELECT id FROM lake.orders UNION SELECT o.id FROM lake.orders o JOIN r ON o.customer = r.id) SELECT id FROM r",
        Change,
    ),
    ("`UNNEST`", "SELECT unnest(l) AS x FROM lake.t", Change),
    (
        "`PIVOT` with a list",
        "SELECT * FROM (SELECT note, amount FROM lake.orders) PIVOT (sum(amount) FOR note IN ('a', 'b'))",
        Change,
    ),
    (
        "the statement `PIVOT` with a list",
        "PIVOT lake.orders ON note IN ('a', 'b') USING sum(amount) GROUP BY customer",
        Change,
    ),
    ("the statement `UNPIVOT`", "UNPIVOT lake.orders ON id, customer INTO NAME n VALUE v", Change),
    ("`PIVOT` without a list", "SELECT * FROM (PIVOT lake.orders ON note USING sum(amount))", Refused),
    ("`UNPIVOT`", "SELECT * FROM lake.orders UNPIVOT (v FOR n IN (id, customer))", Change),
    ("`VALUES`", "VALUES (1), (2)", Change),
    ("table functions", "SELECT * FROM range(3)", Change),
    (
        "`tidegate_now()` in a comparison",
        "SELECT id FROM lake.orders WHERE placed > CAST(tidegate_now() AS DATE) - 7",
        Change,
    ),
    ("`now()`, `today()`", "SELECT id FROM lake.orders WHERE placed > today() - 7", Refused),
    ("`random()`", "SELECT random() AS r FROM lake.orders", Refused),
    ("keys of nested values", "SELECT l, count(*) FROM lake.t GROUP BY l", Change),
];

fn class(cost: Cost) -> Class {
    match cost {
        Cost::Change => Change,
        Cost::Groups => Groups,
        Cost::Partitions => Partitions,
        Cost::Compared => Compared,
        Cost::OtherSide => OtherSide,
        Cost::AllRows => AllRows,
    }
}

#[test]
fn the_book_has_the_constructs() {
    let world = World::new();
    let mut table = "| construct | for example | an epoch costs |\n| --- | --- | --- |\n".to_owned();
    let mut faults = Vec::new();
    for (construct, sql, expected) in CONSTRUCTS {
        let (costs, found) = match world.plan(sql) {
            Ok(program) => {
                let costs: BTreeSet<Cost> = program.views()[0].costs();
                let texts: Vec<String> = costs.iter().map(ToString::to_string).collect();
                let text = ["the change".to_owned()].into_iter().chain(texts).collect::<Vec<_>>().join("; ");
                // The dearest names the class.
                (text, costs.into_iter().map(class).next_back().unwrap_or(Change))
            }
            Err(errors) => (format!("refused: {}", errors[0].message), Refused),
        };
        if found != *expected {
            faults.push(format!("{construct}: {expected:?} is expected, {found:?} is found ({costs})"));
        }
        table += &format!("| {construct} | `{sql}` | {costs} |\n");
    }
    compare_page("sql.md", "constructs", &table);
    assert!(faults.is_empty(), "change the list in this file where this is meant:\n{}", faults.join("\n"));
}
