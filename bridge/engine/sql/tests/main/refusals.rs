//! What cannot be maintained is refused by name, with its place and a way out.

use crate::world::World;

/// SQL, line and column if they are checked, and words of the message.
type Case = (&'static str, Option<(u64, u64)>, &'static [&'static str]);

const REFUSALS: &[Case] = &[
    (
        "SELECT id FROM lake.orders WHERE id IN (SELECT id FROM app.customers ORDER BY id)",
        None,
        &["ORDER BY", "a view is a multiset", "order when you query it"],
    ),
    ("SELECT (id, note) IN (SELECT id, name FROM app.customers) FROM lake.orders", None, &["in this place", "EXISTS"]),
    ("SELECT id FROM lake.orders WHERE (id, note) NOT IN (SELECT id, name FROM app.customers)", None, &["EXISTS"]),
    ("SELECT id FROM lake.orders WHERE (id, note) IN (SELECT id FROM app.customers)", None, &["2 values", "1 columns"]),
    ("SELECT id FROM lake.orders LIMIT 3", None, &["LIMIT", "when you query"]),
    ("SELECT id FROM lake.orders WHERE id IN (1) LIMIT 3", None, &["LIMIT without ORDER BY", "add ORDER BY"]),
    ("SELECT count(*) FROM lake.orders LIMIT 0", None, &["LIMIT without ORDER BY"]),
    ("SELECT count(*) FROM lake.orders LIMIT 1 OFFSET 1", None, &["LIMIT without ORDER BY"]),
    ("SELECT note, count(*) FROM lake.orders GROUP BY note LIMIT 1", None, &["LIMIT without ORDER BY"]),
    ("SELECT (SELECT count(*) FROM app.customers) AS n FROM lake.orders LIMIT 1", None, &["LIMIT without ORDER BY"]),
    ("SELECT count(*) OVER () FROM lake.orders LIMIT 1", None, &["LIMIT without ORDER BY"]),
    ("SELECT unnest(list(id)) FROM lake.orders LIMIT 1", None, &["LIMIT without ORDER BY"]),
    (
        "SELECT a.n FROM (SELECT count(*) AS n FROM lake.orders) a, app.customers LIMIT 1",
        None,
        &["LIMIT without ORDER BY"],
    ),
    ("SELECT id FROM lake.orders ORDER BY id OFFSET 3", None, &["OFFSET without LIMIT"]),
    ("SELECT id FROM lake.orders ORDER BY id LIMIT 1 + 1", None, &["LIMIT or OFFSET", "whole number"]),
    ("SELECT id FROM lake.orders ORDER BY id LIMIT 50%", None, &["cannot be parsed"]),
    ("SELECT id AS x FROM lake.orders ORDER BY x + 1 LIMIT 2", Some((1, 42)), &["not clear what x is", "name"]),
    (
        "(SELECT DISTINCT ON (note) note, id FROM lake.orders) ORDER BY note, id DESC LIMIT 10",
        None,
        &["after a query in parentheses", "leave the parentheses out"],
    ),
    ("(SELECT id FROM lake.orders) FETCH FIRST 2 ROWS ONLY", None, &["after a query in parentheses"]),
    ("SELECT x FROM (SELECT id AS x FROM lake.orders ORDER BY x) t", None, &["ORDER BY has no effect"]),
    (
        "SELECT id FROM lake.orders ORDER BY row_number() OVER (ORDER BY id) LIMIT 1",
        None,
        &["window function in ORDER BY"],
    ),
    ("SELECT row_number() FROM lake.orders", Some((1, 8)), &["row_number is a window function", "OVER"]),
    ("SELECT mad(id) OVER (ORDER BY id) FROM lake.orders", Some((1, 8)), &["window function mad", "the median of abs"]),
    (
        "SELECT lag(id) IGNORE NULLS OVER (ORDER BY id) FROM lake.orders",
        Some((1, 8)),
        &["IGNORE NULLS", "behind lag", "lag(x IGNORE NULLS) OVER"],
    ),
    (
        "SELECT list(id IGNORE NULLS) OVER (ORDER BY id) FROM lake.orders",
        Some((1, 8)),
        &["IGNORE NULLS", "list", "leave it out"],
    ),
    ("SELECT list(id IGNORE NULLS) FROM lake.orders", Some((1, 8)), &["such a clause inside list"]),
    ("SELECT first(id) FILTER (WHERE id > 1) OVER () FROM lake.orders", Some((1, 8)), &["first_value with FILTER"]),
    (
        "SELECT fill(id) OVER (ORDER BY id) FROM lake.orders",
        Some((1, 8)),
        &["function fill", "last_value(x IGNORE NULLS)"],
    ),
    ("SELECT upper(note) OVER () FROM lake.orders", Some((1, 8)), &["function upper", "or an aggregate"]),
    ("SELECT last(DISTINCT id) OVER () FROM lake.orders", Some((1, 8)), &["last_value(DISTINCT …)"]),
    ("SELECT lag(id ORDER BY id) OVER () FROM lake.orders", Some((1, 8)), &["ORDER BY", "lag", "leave it out"]),
    ("SELECT mode(CAST(id AS DOUBLE)) OVER () FROM lake.orders", None, &["mode of DOUBLE", "cast"]),
    (
        "SELECT list(DISTINCT id ORDER BY amount) OVER () FROM lake.orders",
        None,
        &["list(DISTINCT …)", "order by the argument"],
    ),
    ("SELECT lag(id, id) OVER (ORDER BY id) FROM lake.orders", None, &["lag", "whole number"]),
    ("SELECT ntile(0) OVER (ORDER BY id) FROM lake.orders", None, &["ntile", "from 1"]),
    ("SELECT sum(id) OVER (ORDER BY id ROWS id PRECEDING) FROM lake.orders", None, &["frame bound", "whole number"]),
    (
        "SELECT sum(id) OVER (ORDER BY id RANGE BETWEEN -1 PRECEDING AND CURRENT ROW) FROM lake.orders",
        None,
        &["frame bound", "not negative"],
    ),
    (
        "SELECT count(*) OVER (ORDER BY 1 DESC RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM lake.orders",
        None,
        &["RANGE with an offset", "no constant", "order by a column"],
    ),
    (
        "SELECT count(*) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 3 PRECEDING) FROM lake.orders",
        Some((1, 48)),
        &["a frame that ends", "before it begins", "turn its bounds around"],
    ),
    (
        "SELECT sum(id) OVER (ORDER BY id RANGE BETWEEN 2 FOLLOWING AND 1 FOLLOWING) FROM lake.orders",
        None,
        &["before it begins"],
    ),
    (
        "SELECT sum(id) OVER (ORDER BY placed RANGE BETWEEN INTERVAL 1 MONTH PRECEDING AND INTERVAL 30 DAY PRECEDING) FROM lake.orders",
        None,
        &["before it begins"],
    ),
    ("SELECT sum(id) OVER w FROM lake.orders WINDOW v AS (ORDER BY id)", None, &["no window w", "did you mean v"]),
    ("SELECT sum(id) OVER (ORDER BY iv) FROM lake.t", None, &["ORDER BY", "INTERVAL"]),
    (
        "SELECT id, rank() OVER (ORDER BY id) FROM lake.orders GROUP BY ALL",
        None,
        &["GROUP BY ALL with window functions"],
    ),
    (
        "SELECT id FROM lake.orders o WHERE amount > (SELECT amount FROM lake.orders p WHERE p.customer = o.customer)",
        None,
        &["several rows", "aggregate it"],
    ),
    (
        "SELECT id FROM lake.orders o WHERE id > (SELECT entropy(p.id) FROM lake.orders p WHERE p.customer < o.customer)",
        None,
        &["such an aggregate without GROUP BY", "join first"],
    ),
    (
        "SELECT o.id FROM lake.orders o WHERE EXISTS (SELECT 1 FROM app.customers c WHERE c.id = o.id AND EXISTS \
         (SELECT 1 FROM lake.orders p WHERE p.id = c.id AND p.customer = o.customer))",
        None,
        &["further out"],
    ),
    ("SELECT id FROM lake.orders WHERE id > ALL (SELECT id, name FROM app.customers)", None, &["one column", "2"]),
    ("SELECT id FROM lake.orders WHERE id > ANY (SELECT true FROM app.customers)", None, &["BOOLEAN"]),
    ("SELECT id FROM lake.t WHERE 1 = ANY (l)", None, &["ANY or ALL of a list", "list_contains"]),
    ("SELECT sum((SELECT max(id) FROM app.customers)) FROM lake.orders", None, &["subquery in this place"]),
    ("SELECT id FROM lake.t WHERE unnest(l) = 1", None, &["UNNEST in this place", "in FROM"]),
    ("SELECT sum(unnest(l)) FROM lake.t", None, &["UNNEST in this place"]),
    ("SELECT count(*), unnest(l) AS x FROM lake.t GROUP BY x", None, &["UNNEST in this place"]),
    ("SELECT unnest(unnest([[1], [2]]))", None, &["UNNEST in UNNEST", "subquery"]),
    ("SELECT unnest(l, recursive := true) FROM lake.t", Some((1, 8)), &["UNNEST with such an argument"]),
    ("SELECT unnest(i32) FROM lake.t", Some((1, 15)), &["UNNEST takes a list, and this is INTEGER"]),
    ("SELECT unnest(map([1], [2]))", None, &["UNNEST takes a list, and this is MAP", "map_entries"]),
    ("SELECT DISTINCT ON (id) id, unnest(l) FROM lake.t ORDER BY id", None, &["DISTINCT ON with UNNEST", "in FROM"]),
    ("SELECT * FROM lake.t, UNNEST(l, l)", None, &["UNNEST in FROM takes one list"]),
    ("SELECT t.id FROM lake.t t FULL JOIN UNNEST([1]) AS u(x) ON u.x = t.id", None, &["FULL", "UNNEST", "subquery"]),
    ("SELECT * FROM glob('*')", Some((1, 15)), &["the table function glob", "UNNEST"]),
    ("SELECT * FROM read_csv('a.csv', header = true)", None, &["the table function read_csv", "table of a source"]),
    (
        "SELECT t.id, x.id FROM lake.t t SEMI JOIN LATERAL (SELECT id FROM lake.orders o WHERE o.id > t.id) x ON true",
        None,
        &["LATERAL in a RIGHT, FULL, SEMI or ANTI JOIN", "LEFT JOIN"],
    ),
    ("SELECT r FROM lake.t, range(0, id, i32) AS x(r)", None, &["range with the step i32", "not 0"]),
    ("SELECT * FROM range(1, 5, 0)", None, &["range with the step 0"]),
    ("VALUES (1), (2, 3)", None, &["different numbers of columns"]),
    ("SELECT x FROM (VALUES (1), (DATE '2024-01-01')) AS v(x)", None, &["do not go together", "cast"]),
    ("VALUES ((SELECT max(id) FROM lake.orders))", None, &["subquery in this place"]),
    (
        "SELECT t.id, x.s FROM lake.t t, LATERAL (SELECT max(u.ts + t.iv) AS s FROM lake.t u) x",
        None,
        &["each value of iv, which is INTERVAL", "by a key"],
    ),
    (
        "SELECT t.id, x.s FROM lake.t t, LATERAL (SELECT max(d) AS s FROM lake.t u WHERE u.id > t.d * 2) x",
        None,
        &["computes with d, which is DOUBLE", "DECIMAL"],
    ),
    (
        "SELECT t.id, x.s FROM lake.t t, LATERAL (SELECT regr_count(id, id) AS s FROM lake.orders o WHERE o.id > t.id) x",
        None,
        &["such an aggregate without GROUP BY", "join first"],
    ),
    (
        "SELECT t.id, x.id FROM lake.t t RIGHT JOIN (SELECT id FROM lake.orders o WHERE o.id > t.id) x ON true",
        None,
        &["no column id in t"],
    ),
    ("SELECT * FROM lake.orders PIVOT (sum(amount) FOR note IN (ANY))", None, &["PIVOT without a list of values"]),
    ("SELECT * FROM lake.orders PIVOT (sum(amount) FOR placed IN (1.50))", None, &["PIVOT for the value 1.50"]),
    ("SELECT * FROM lake.orders PIVOT (sum(amount), max(id) FOR note IN ('x'))", None, &["has no name", "AS"]),
    ("PIVOT lake.orders ON note USING sum(amount)", None, &["PIVOT without a list of values"]),
    ("SELECT * FROM (PIVOT lake.orders ON note)", None, &["PIVOT without a list of values"]),
    ("SELECT * FROM range(3) PIVOT (sum(range) FOR range IN (1))", None, &["PIVOT of anything but a table"]),
    ("UNPIVOT lake.orders ON COLUMNS(* EXCLUDE (id)) INTO NAME k VALUE v", None, &["UNPIVOT of"]),
    ("SELECT * FROM lake.orders UNPIVOT ((a, b) FOR k IN ((id, customer)))", None, &["UNPIVOT into several columns"]),
    ("SELECT * FROM lake.orders UNPIVOT (v FOR k IN (id, custmer))", None, &["no column custmer", "Customer"]),
    ("SELECT * FROM lake.orders UNPIVOT (v FOR k IN (id, customer)) AS u(a, b)", None, &["new names of columns"]),
    ("SELECT * FROM lake.orders UNPIVOT (v FOR k IN (id, note))", None, &["do not go together"]),
    ("SELECT random() FROM lake.orders", Some((1, 8)), &["random()", "another value each time"]),
    ("SELECT id, now() FROM lake.orders", Some((1, 12)), &["now()", "another value each time"]),
    ("SELECT current_date FROM lake.orders", None, &["current_date"]),
    ("SELECT id FROM lake.orders WHERE placed > today()", None, &["today()"]),
    ("SELECT approx_quantile(id, 0.5) FROM lake.orders", Some((1, 8)), &["approx_quantile", "quantile_cont"]),
    ("SELECT string_agg(note, note) FROM lake.orders", Some((1, 19)), &["separator", "constant"]),
    ("SELECT quantile_cont(id, 1.5) FROM lake.orders", None, &["quantile", "between 0 and 1"]),
    ("SELECT quantile_cont(note, 0.5) FROM lake.orders", None, &["quantile_cont of VARCHAR", "cast"]),
    ("SELECT mode(d) FROM lake.t", None, &["mode of DOUBLE"]),
    ("SELECT arg_min(id, l) FROM lake.t", None, &["arg_min of INTEGER[]"]),
    ("SELECT list(id ORDER BY 1) FROM lake.orders", None, &["ORDER BY 1", "columns"]),
    ("SELECT list(DISTINCT id ORDER BY note) FROM lake.orders", None, &["list(DISTINCT", "order by the argument"]),
    ("SELECT grouping(id), note FROM lake.orders GROUP BY note", None, &["GROUPING", "GROUP BY"]),
    ("SELECT note, sum(id) FROM lake.orders GROUP BY ROLLUP (1)", None, &["position 1"]),
    ("SELECT list(id ORDER BY (1)) FROM lake.orders", None, &["ORDER BY (1)", "columns"]),
    (
        "SELECT quantile_cont(id, 0.25 ORDER BY note DESC) FROM lake.orders",
        None,
        &["quantile_cont with ORDER BY … DESC", "leave the order out"],
    ),
    (
        "SELECT quantile_disc(id, [0.25, 0.5] ORDER BY id DESC) FROM lake.orders",
        None,
        &["quantile_disc with ORDER BY … DESC", "leave the order out"],
    ),
    (
        "SELECT percentile_cont(0.25) WITHIN GROUP (ORDER BY id DESC) FROM lake.orders",
        None,
        &["percentile_cont", "write quantile_cont(x, 1 - p)"],
    ),
    (
        "SELECT percentile_disc(0.25) WITHIN GROUP (ORDER BY id DESC) FROM lake.orders",
        None,
        &["percentile_disc", "leave DESC out"],
    ),
    ("SELECT median(sec) FROM lake.edges", None, &["median of TIMESTAMP_S", "cast"]),
    ("SELECT quantile_cont(sec, 0.5) FROM lake.edges", None, &["quantile_cont of TIMESTAMP_S", "cast"]),
    ("SELECT median(DISTINCT n) FROM lake.edges", None, &["median(DISTINCT …) of BIGINT", "to DOUBLE"]),
    ("SELECT quantile_cont(DISTINCT h, [0.1]) FROM lake.edges", None, &["quantile_cont(DISTINCT …) of HUGEINT"]),
    ("SELECT lenght(note) FROM lake.orders", Some((1, 8)), &["lenght", "did you mean length"]),
    ("SELECT id\nFROM lake.order", Some((2, 6)), &["lake.order", "did you mean lake.Orders?"]),
    ("SELECT id FROM orders", Some((1, 16)), &["no view orders", "lake.Orders"]),
    ("SELECT id FROM nothing", None, &["no table or view nothing"]),
    ("SELECT id,\n  amuont FROM lake.orders", Some((2, 3)), &["no column amuont", "did you mean Amount?"]),
    ("SELECT o.amuont FROM lake.orders o", None, &["no column amuont in o", "Amount"]),
    ("SELECT id FROM lake.orders o JOIN app.customers c ON c.id = o.customer", None, &["more than one table"]),
    ("SELECT id FROM lake.orders WHERE note + 1 > 2", None, &["VARCHAR", "INTEGER", "cast"]),
    ("SELECT id FROM lake.orders WHERE note = id", Some((1, 34)), &["VARCHAR", "INTEGER", "cast"]),
    ("SELECT id FROM lake.orders WHERE id", None, &["a condition is BOOLEAN", "INTEGER", "<> 0"]),
    ("SELECT CAST(tz AS TIME) FROM lake.t", None, &["TIMESTAMP WITH TIME ZONE", "TIME"]),
    ("SELECT tz + 1 FROM lake.t", None, &["TIMESTAMP WITH TIME ZONE", "INTEGER"]),
    ("SELECT iv, count(*) FROM lake.t GROUP BY iv", None, &["GROUP BY", "INTERVAL"]),
    ("SELECT \"#add\"(id, 1) FROM lake.t", None, &["#add", "not one of the functions"]),
    ("SELECT id FROM lake.orders WHERE NOT id = 1 IS NULL = true", None, &["parentheses"]),
    ("SELECT 'a' || id + 1 FROM lake.orders", None, &["parentheses"]),
    (
        "SELECT id, amount + 1 AS amount FROM lake.orders QUALIFY row_number() OVER (ORDER BY id) < 3 AND Amount > 2",
        Some((1, 98)),
        &["Amount is a column and a name"],
    ),
    (
        "WITH c AS (SELECT * FROM lake.orders) SELECT rank() OVER (ORDER BY id) AS note FROM c QUALIFY note = 1",
        None,
        &["note is a column and a name"],
    ),
    (
        "SELECT DISTINCT ON (note) id FROM lake.orders QUALIFY row_number() OVER () = 1",
        None,
        &["DISTINCT ON with QUALIFY", "subquery"],
    ),
    ("SELECT id FROM lake.orders; SELECT 1", None, &["second statement"]),
    ("DELETE FROM lake.orders", None, &["not a query"]),
    ("SELECT id FROM lake.orders WHERE placed = '2024-99-01'", None, &["cannot be read as DATE"]),
    ("SELECT id AS x, amount AS X FROM lake.orders WHERE placed IS NULL AND q.y.z = 1", None, &["q.y.z"]),
    ("SELECT sum(note) FROM lake.orders", None, &["sum of VARCHAR"]),
    (
        "SELECT o.id FROM lake.orders o\nASOF RIGHT JOIN app.customers c ON c.id = o.customer AND o.id >= c.id",
        Some((2, 17)),
        &["ASOF RIGHT JOIN", "write ASOF JOIN or ASOF LEFT JOIN"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF FULL OUTER JOIN app.customers c USING (id)",
        Some((1, 53)),
        &["ASOF FULL JOIN", "write ASOF JOIN or ASOF LEFT JOIN"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF SEMI JOIN app.customers c ON c.id = o.customer AND o.id >= c.id",
        Some((1, 47)),
        &["ASOF SEMI JOIN", "write SEMI JOIN"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF ANTI JOIN app.customers c ON c.id = o.customer AND o.id >= c.id",
        None,
        &["ASOF ANTI JOIN", "write ANTI JOIN"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c\nON c.id = o.customer",
        Some((2, 4)),
        &["ASOF JOIN without an inequality", "a.ts >= b.ts"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c ON c.id = o.customer AND o.id >= 3",
        None,
        &["ASOF JOIN without an inequality"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c ON o.id >= c.id AND\n o.amount < c.id",
        Some((2, 2)),
        &["second inequality in an ASOF JOIN", "in WHERE"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c ON c.id = o.customer AND o.id BETWEEN c.id AND c.id + 9",
        None,
        &["second inequality in an ASOF JOIN"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF LEFT JOIN app.customers c ON o.id >= c.id AND o.note <> c.name",
        Some((1, 83)),
        &["condition on both tables in an ASOF JOIN", "in WHERE"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c ON o.id >= c.id AND o.note IS NOT DISTINCT FROM c.name",
        None,
        &["condition on both tables in an ASOF JOIN"],
    ),
    (
        "SELECT id FROM lake.orders x WHERE EXISTS (SELECT 1 FROM lake.orders o ASOF JOIN app.customers c \
         ON o.id >= c.id AND o.customer = x.customer)",
        None,
        &["reads the row around it", "in this place", "as a join"],
    ),
    ("SELECT o.id FROM lake.orders o ASOF JOIN app.customers c", Some((1, 42)), &["ASOF JOIN without ON or USING"]),
    (
        "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c USING (id, ID)",
        Some((1, 42)),
        &["USING with id written twice"],
    ),
    (
        "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c ON o.note >= c.id",
        None,
        &["VARCHAR", "INTEGER", "cast"],
    ),
    ("SELECT a.id FROM lake.t a ASOF JOIN lake.t b ON a.iv >= b.iv", None, &["ASOF JOIN", "write it in WHERE"]),
    ("SELECT o.id FROM lake.orders o ASOF CROSS JOIN app.customers c", Some((1, 37)), &["cannot be parsed", "JOIN"]),
    (
        "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c MATCH_CONDITION (o.id >= c.id)",
        None,
        &["cannot be parsed", "MATCH_CONDITION"],
    ),
    ("SELECT id, id IS NULL IS NULL FROM lake.orders", None, &["parentheses"]),
    ("SELECT note SIMILAR TO 'a' ESCAPE '!' FROM lake.orders", None, &["SIMILAR TO with ESCAPE"]),
];

#[test]
fn refusals_name_the_construct_the_place_and_the_way_out() {
    let world = World::new();
    let mut faults = Vec::new();
    for (sql, place, words) in REFUSALS {
        let error = match world.plan(sql) {
            Ok(program) => {
                faults.push(format!("{sql}\n    was planned:\n{}", program.views()[0].explain_text()));
                continue;
            }
            Err(errors) => errors.into_iter().next().unwrap(),
        };
        let shown = error.to_string();
        if !words.iter().all(|word| shown.contains(word)) {
            faults.push(format!("{sql}\n    {shown}\n    lacks one of {words:?}"));
        }
        let found = error.line.zip(error.column);
        if place.is_some() && found != *place {
            faults.push(format!("{sql}\n    {shown}\n    at {found:?} instead of {place:?}"));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), REFUSALS.len(), faults.join("\n"));
}
