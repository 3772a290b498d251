//! What cannot be maintained is refused by name, with its place and a way out.

use crate::world::World;

/// SQL, line and column if they are checked, and words of the message.
type Case = (&'static str, Option<(u64, u64)>, &'static [&'static str]);

const REFUSALS: &[Case] = &[
    ("SELECT id FROM lake.orders ORDER BY id", None, &["ORDER BY", "a view is a multiset", "order when you query it"]),
    ("SELECT id FROM lake.orders LIMIT 3", None, &["LIMIT", "when you query"]),
    ("SELECT id FROM lake.orders WHERE id IN (1) LIMIT 3", None, &["LIMIT without ORDER BY", "add ORDER BY"]),
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
    (
        "SELECT median(id) OVER (ORDER BY id) FROM lake.orders",
        Some((1, 8)),
        &["window function median", "use count, sum"],
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
        "SELECT id FROM lake.orders o WHERE id > (SELECT max(p.id) FROM lake.orders p WHERE p.customer < o.customer)",
        None,
        &["equality", "join first"],
    ),
    (
        "SELECT o.id FROM lake.orders o WHERE EXISTS (SELECT 1 FROM app.customers c WHERE c.id = o.id AND EXISTS \
         (SELECT 1 FROM lake.orders p WHERE p.id = c.id AND p.customer = o.customer))",
        None,
        &["further out"],
    ),
    ("SELECT id FROM lake.orders WHERE id > ALL (SELECT id FROM app.customers)", None, &["IN, EXISTS"]),
    ("SELECT sum((SELECT max(id) FROM app.customers)) FROM lake.orders", None, &["subquery in this place"]),
    (
        "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r WHERE x < 5) SELECT x FROM r",
        None,
        &["WITH RECURSIVE"],
    ),
    ("SELECT unnest([1, 2])", None, &["unnest"]),
    ("SELECT * FROM range(5)", None, &["range", "table"]),
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
    ("SELECT hour(tz) FROM lake.t", None, &["hour of TIMESTAMP WITH TIME ZONE", "time zone"]),
    ("SELECT CAST(tz AS DATE) FROM lake.t", None, &["TIMESTAMP WITH TIME ZONE", "time zone"]),
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
    ("VALUES (1)", None, &["VALUES"]),
    ("SELECT id FROM lake.orders; SELECT 1", None, &["second statement"]),
    ("DELETE FROM lake.orders", None, &["not a query"]),
    ("SELECT id FROM lake.orders WHERE placed = '2024-99-01'", None, &["cannot be read as DATE"]),
    ("SELECT id AS x, amount AS X FROM lake.orders WHERE placed IS NULL AND q.y.z = 1", None, &["q.y.z"]),
    ("SELECT sum(note) FROM lake.orders", None, &["sum of VARCHAR"]),
    ("SELECT o.id FROM lake.orders o ASOF JOIN app.customers c ON c.id = o.customer AND o.id >= c.id", None, &["ASOF"]),
    ("SELECT id, id IS NULL IS NULL FROM lake.orders", None, &["parentheses"]),
    ("SELECT note SIMILAR TO 'a' FROM lake.orders", None, &["regular expression"]),
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
