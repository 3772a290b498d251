//! Whole views: planned and run here, and run by DuckDB.

use arrow::array::RecordBatch;
use datafusion_common::ScalarValue;

use crate::interpreter::run;
use crate::world::World;

const VIEWS: &[&str] = &[
    "SELECT * FROM lake.orders",
    "SELECT * FROM lake.main.Orders WHERE amount > 5",
    "FROM lake.orders",
    "SELECT ID, \"CUSTOMER\" AS \"Cust omer\" FROM lake.ORDERS o WHERE O.Note = 'x'",
    "SELECT orders.id, lake.orders.amount, lake.main.orders.note FROM lake.orders",
    "SELECT o.*, c.name FROM lake.orders o JOIN app.customers c ON c.id = o.customer",
    "SELECT c.region, count(*) AS orders, sum(o.amount) AS revenue FROM lake.orders o JOIN app.customers c ON c.id = o.customer GROUP BY c.region",
    "SELECT c.region, count(*), sum(o.amount), avg(o.amount), min(o.placed), max(o.note) FROM lake.orders o, app.public.customers c WHERE c.id = o.customer GROUP BY 1",
    "SELECT count(*), count(customer), count(DISTINCT customer), sum(customer), sum(DISTINCT amount), avg(DISTINCT amount) FROM lake.orders",
    "SELECT count(*) FROM lake.orders WHERE id > 100",
    "SELECT sum(amount), min(id) FROM lake.orders WHERE id > 100",
    "SELECT note, count(*) c FROM lake.orders GROUP BY note HAVING count(*) > 1",
    "SELECT note, sum(amount) s FROM lake.orders GROUP BY note HAVING s > 8",
    "SELECT note, count(*) FILTER (WHERE amount > 6), sum(amount) FILTER (WHERE amount < 20) FROM lake.orders GROUP BY ALL",
    "SELECT count(*), max(id) FROM lake.orders LIMIT 5",
    "SELECT * FROM (SELECT count(*) AS a FROM lake.orders) x, (SELECT max(id) AS b FROM app.customers LIMIT 1) y LIMIT 3",
    "SELECT o.id, c.name FROM lake.orders o JOIN app.customers c ON o.customer = c.id AND o.amount > 6 OR c.id = o.customer AND o.customer = c.id AND c.region IS NULL",
    "SELECT DISTINCT note FROM lake.orders",
    "SELECT DISTINCT note, amount > 6 FROM lake.orders",
    "SELECT note FROM lake.orders UNION ALL SELECT name FROM app.customers",
    "SELECT note FROM lake.orders UNION SELECT region FROM app.customers",
    "SELECT id FROM lake.orders UNION ALL SELECT id / 2 FROM app.customers",
    "SELECT id, NULL AS n FROM lake.orders UNION ALL SELECT 7, 'x'",
    "SELECT amount FROM lake.orders UNION ALL SELECT id FROM app.customers UNION ALL SELECT 1.125",
    "WITH big AS (SELECT * FROM lake.orders WHERE amount > 6), named(i, n) AS (SELECT id, name FROM app.customers) SELECT n, count(*) FROM big JOIN named ON i = customer GROUP BY n",
    "SELECT region, sum(total) FROM (SELECT customer, sum(amount) AS total FROM lake.orders GROUP BY customer) x JOIN app.customers ON id = x.customer GROUP BY region",
    "SELECT id, id, count(*), count(*) FROM lake.orders GROUP BY id",
    "SELECT a.id, b.id FROM lake.orders a JOIN lake.orders b ON a.customer = b.customer AND a.id < b.id",
    "SELECT a.id, b.id FROM lake.orders a JOIN lake.orders b ON a.customer IS NOT DISTINCT FROM b.customer",
    "SELECT a.id, b.id FROM lake.orders a JOIN lake.orders b ON a.customer IS NOT DISTINCT FROM b.customer WHERE a.note = b.note",
    "SELECT a.id, c.name FROM lake.orders a, lake.orders b, app.customers c WHERE a.id = c.id AND c.id = b.customer",
    "SELECT a.id, b.id, c.name FROM lake.orders a JOIN lake.orders b USING (customer) JOIN app.customers c ON c.id = a.customer",
    "SELECT customer, a.id FROM lake.orders a JOIN lake.orders b USING (customer)",
    "SELECT a.id FROM lake.orders a JOIN app.customers b ON a.customer + 1 = b.id + 1 AND b.name LIKE 'A%'",
    "SELECT a.id FROM lake.orders a CROSS JOIN app.customers b WHERE a.customer = b.id AND (b.region = 'north' OR a.amount > 10)",
    "SELECT a.id, b.name FROM lake.orders a JOIN app.customers b ON a.customer = b.id WHERE b.id = 1 AND a.amount * 2 > 20.5",
    "SELECT id % 2 = 0 AS even, count(*) FROM lake.orders GROUP BY id % 2 = 0",
    "SELECT id % 2 AS p, count(*) FROM lake.orders GROUP BY p",
    "SELECT id // 2 AS id, count(*) FROM lake.orders GROUP BY id",
    "SELECT date_trunc('month', placed) AS m, sum(amount) AS s FROM lake.orders GROUP BY m",
    "SELECT year(placed) AS y, month(placed) AS m, sum(amount) / count(*) AS mean FROM lake.orders GROUP BY y, m",
    "SELECT sum(id) + 1, sum(id) * 2, sum(amount) * 1.5, max(id) - min(id), avg(id) > 2 FROM lake.orders",
    "SELECT sum(i8), sum(i64), sum(u64), sum(h), sum(dec1), sum(dec4) FROM lake.t WHERE id IN (1, 2, 7, 8)",
    "SELECT sum(i32), avg(i32), min(u), max(u), min(d), max(d), min(s), max(ts), min(b), max(tz), min(bl) FROM lake.t",
    "SELECT d = d2 AS same, count(*) FROM lake.t GROUP BY d = d2",
    "SELECT a.id, b.id FROM lake.t a JOIN lake.t b ON a.d = b.d2",
    "SELECT a.id, b.id FROM lake.t a JOIN lake.t b ON a.i8 = b.u16",
    "SELECT a.id, b.id FROM lake.t a JOIN lake.t b ON a.dt = b.ts2",
    "SELECT 1 AS one, 'x' AS x, NULL::DATE AS d",
    "SELECT id FROM lake.orders WHERE NULL",
    "SELECT id FROM lake.orders WHERE amount > 6 AND note IN ('x', 'y') OR customer IS NULL",
    "SELECT count(*) FROM (SELECT DISTINCT customer, note FROM lake.orders)",
    "SELECT x.s, count(*) FROM (SELECT sum(amount) s FROM lake.orders GROUP BY customer) x GROUP BY x.s",
    "SELECT * EXCLUDE (note) FROM lake.orders",
    "SELECT c.*, o.id AS order_id FROM app.customers c NATURAL JOIN (SELECT customer AS id, id AS x FROM lake.orders) j JOIN lake.orders o ON o.id = j.x",
    "SELECT upper(name), count(*) FROM app.customers GROUP BY upper(name) HAVING count(*) >= 1 AND upper(name) <> 'BOB'",
    "SELECT CASE WHEN amount > 10 THEN 'big' ELSE 'small' END AS size, count(*) FROM lake.orders GROUP BY 1",
    "SELECT l.id FROM lake.orders l WHERE CASE WHEN l.note = 'x' THEN l.amount > 10.25 ELSE false END",
    "SELECT note, min(amount), max(amount) FROM lake.orders WHERE placed BETWEEN '2024-01-01' AND '2024-02-15' GROUP BY note",
    "SELECT o.id FROM (lake.orders o JOIN app.customers c ON o.customer = c.id) WHERE c.region = 'north'",
    "SELECT count(*) FILTER (WHERE id > 3) - count(*) AS d FROM lake.orders",
    "SELECT sum(CASE WHEN note = 'x' THEN amount ELSE 0 END) AS x, sum(amount) AS total FROM lake.orders",
    "SELECT mean(id) FROM lake.orders",
    "SELECT count(NULL), count(1), count('x'), sum(1), min('x'), max(NULL) FROM lake.orders",
    "SELECT note, sum(amount * (1 - 0.05) * (1 + id)), count(*) FROM lake.orders WHERE placed <= DATE '2024-03-01' - INTERVAL '20' DAY GROUP BY note",
    "SELECT sum(amount * 0.1) AS r FROM lake.orders WHERE placed >= DATE '2024-01-01' AND placed < DATE '2024-01-01' + INTERVAL '1' YEAR AND amount BETWEEN 6.5 - 0.5 AND 12",
    "SELECT c.name, o.placed, sum(o.amount) FROM app.customers c, lake.orders o WHERE c.region = 'north' AND c.id = o.customer AND o.placed < DATE '2024-06-01' GROUP BY c.name, o.placed",
    "SELECT a.note, count(*) FROM lake.orders a JOIN lake.orders b ON a.note = b.note AND a.customer IS NOT DISTINCT FROM b.customer WHERE a.amount < b.amount OR a.id = b.id GROUP BY a.note",
    "SELECT DISTINCT x FROM (SELECT d AS x FROM lake.t UNION ALL SELECT d2 FROM lake.t)",
    "SELECT region, count(*) FROM app.customers GROUP BY region, region",
    "SELECT count(DISTINCT x), count(*) FROM (SELECT d AS x FROM lake.t UNION ALL SELECT d2 FROM lake.t)",
    "SELECT count(*) FROM lake.orders HAVING 1 = 2",
    "SELECT count(*) FROM lake.orders HAVING 1 = 1",
    "SELECT count(*) FROM lake.orders HAVING NULL AND count(*) > 1",
    "SELECT * FROM (SELECT count(*) AS n FROM lake.orders) WHERE 1 = 2",
    "SELECT * FROM (SELECT sum(id) AS n FROM lake.orders HAVING count(*) > 1) WHERE 1 = 2 AND n > 0",
    "SELECT note, count(*) FROM lake.orders GROUP BY note HAVING 1 = 2",
    "SELECT note, count(*) FROM lake.orders GROUP BY ROLLUP (note) HAVING 1 = 2",
    "SELECT note, count(*) FROM lake.orders GROUP BY ROLLUP (note) HAVING 1 = 1 AND count(*) > 1",
];

#[test]
fn views_hold_what_duckdb_says() {
    let world = World::new();
    let mut faults = Vec::new();
    for sql in VIEWS {
        let program = match world.plan(sql) {
            Ok(program) => program,
            Err(errors) => {
                faults.push(format!("{sql}\n    refused: {}", errors[0]));
                continue;
            }
        };
        let view = &program.views()[0];
        let ours = run(&view.plan, &world.rows);
        let theirs = match world.duck.query(&format!("SELECT * FROM ({sql}) v")) {
            Ok((_, batches)) => batches,
            Err(error) => {
                faults.push(format!("{sql}\n    DuckDB refuses it: {error}"));
                continue;
            }
        };
        let (ours, theirs) = (multiset(&[ours]), multiset(&theirs));
        if ours != theirs {
            faults.push(format!("{sql}\n    {ours:?}\n    {theirs:?}\n{}", view.explain_text()));
        }
    }
    assert!(faults.is_empty(), "{} of {} differ:\n{}", faults.len(), VIEWS.len(), faults.join("\n"));
}

#[test]
fn views_over_views() {
    let world = World::new();
    let views = [
        ("Top", "SELECT region, total FROM \"BY region\" WHERE total > 6"),
        (
            "by Region",
            "SELECT c.region, sum(amount) AS Total FROM big JOIN app.customers c ON c.id = customer GROUP BY ALL",
        ),
        ("big", "SELECT * FROM lake.orders WHERE amount > 6"),
    ];
    let program = world.plan_all(&views).unwrap();
    let names: Vec<&str> = program.views().iter().map(|v| v.info.name.as_str()).collect();
    assert_eq!(names, ["big", "by Region", "Top"]);
    let mut inputs = world.rows.clone();
    for view in program.views() {
        let rows = run(&view.plan, &inputs);
        inputs.insert(view.info.name.to_string(), rows);
    }
    world.duck.execute("CREATE TEMP VIEW big AS SELECT * FROM lake.orders WHERE amount > 6").unwrap();
    let (_, theirs) = world
        .duck
        .query("SELECT c.region, sum(amount) AS total FROM big JOIN app.customers c ON c.id = customer GROUP BY ALL HAVING total > 6")
        .unwrap();
    assert_eq!(multiset(&[inputs["Top"].clone()]), multiset(&theirs));
}

fn multiset(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|c| value(&ScalarValue::try_from_array(c, row).unwrap()));
            rows.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

/// The two zeros are one value of a key.
fn value(value: &ScalarValue) -> String {
    match value {
        ScalarValue::Float64(Some(v)) => format!("{:?}", v + 0.0).replace("-NaN", "NaN"),
        other => format!("{other:?}"),
    }
}
