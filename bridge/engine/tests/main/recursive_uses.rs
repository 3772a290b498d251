//! What people write recursively, against the oracle: distances, paths, circles, parts lists, trees, series.

use crate::recursion::runs;

/// Over tables with keys that repeat, NULLs, and, of `edges` alone, circles.
const USES: &[(&str, &str)] = &[
    (
        "distances",
        "WITH RECURSIVE r(a, b, hops) AS (SELECT a, b, 1 FROM lake.edges UNION SELECT r.a, e.b, hops + 1 FROM r \
         JOIN lake.edges e ON e.a = r.b WHERE hops < 4) SELECT a, b, min(hops) AS hops FROM r GROUP BY a, b",
    ),
    (
        "cheapest",
        "WITH RECURSIVE r(n, cost) AS (SELECT 0, 0 UNION ALL SELECT p.child, cost + p.amount FROM r \
         JOIN lake.parts p ON p.parent = r.n) SELECT n, min(cost) AS cost, count(*) AS ways FROM r GROUP BY n",
    ),
    (
        "cheapest_among_circles",
        "WITH RECURSIVE r(n, cost, hops) AS (SELECT 1, 0, 0 UNION SELECT e.b, cost + e.a, hops + 1 FROM r \
         JOIN lake.edges e ON e.a = r.n WHERE hops < 5) \
         SELECT n, cost, hops FROM r QUALIFY row_number() OVER (PARTITION BY n ORDER BY cost, hops) = 1",
    ),
    (
        "paths_without_circles",
        "WITH RECURSIVE w(a, b, path) AS (SELECT a, b, [a, b] FROM lake.edges UNION ALL \
         SELECT w.a, e.b, list_append(path, e.b) FROM w JOIN lake.edges e ON e.a = w.b \
         WHERE NOT list_contains(path, e.b) AND len(path) < 5) SELECT a, b, path FROM w",
    ),
    (
        "circles",
        "WITH RECURSIVE w(a, b, path, closed) AS (SELECT a, b, '/' || a || '/' || b || '/', a = b FROM lake.edges \
         UNION SELECT w.a, e.b, path || e.b || '/', contains(path, '/' || e.b || '/') FROM w \
         JOIN lake.edges e ON e.a = w.b WHERE NOT closed AND length(path) < 12) SELECT DISTINCT a, path FROM w WHERE closed",
    ),
    (
        "components",
        "WITH RECURSIVE c(n, m) AS (SELECT id, id FROM lake.nodes UNION SELECT c.n, CASE WHEN e.a = c.m THEN e.b ELSE e.a END \
         FROM c JOIN lake.edges e ON e.a = c.m OR e.b = c.m) SELECT n, min(m) AS component FROM c GROUP BY n",
    ),
    (
        "parts_list",
        "WITH RECURSIVE b(root, part, amount, level) AS (SELECT parent, child, amount, 1 FROM lake.parts UNION ALL \
         SELECT b.root, p.child, b.amount * p.amount, level + 1 FROM b JOIN lake.parts p ON p.parent = b.part) \
         SELECT b.root, n.name, sum(b.amount) AS pieces, sum(b.amount * n.price) AS price, max(level) AS depth FROM b \
         LEFT JOIN lake.nodes n ON n.id = b.part GROUP BY ALL",
    ),
    (
        "shares",
        "WITH RECURSIVE s(n, share) AS (SELECT id, 1.0::DECIMAL(18,6) FROM lake.nodes WHERE id < 2 UNION ALL \
         SELECT p.child, CAST(share * p.amount / 10 AS DECIMAL(18,6)) FROM s JOIN lake.parts p ON p.parent = s.n) \
         SELECT n, sum(share) AS share FROM s GROUP BY n",
    ),
    (
        "tree",
        "WITH RECURSIVE t AS (SELECT id, name, 0 AS level, id AS root FROM lake.nodes WHERE NOT EXISTS \
         (SELECT 1 FROM lake.parts p WHERE p.child = id) UNION ALL SELECT p.child, n.name, t.level + 1, t.root FROM t \
         JOIN lake.parts p ON p.parent = t.id LEFT JOIN lake.nodes n ON n.id = p.child) SELECT * FROM t",
    ),
    (
        "deepest",
        "WITH RECURSIVE t(n, l) AS (SELECT 0, 0 UNION SELECT p.child, l + 1 FROM t JOIN lake.parts p ON p.parent = n) \
         SELECT n, l FROM t QUALIFY l = max(l) OVER (PARTITION BY n)",
    ),
    (
        "days",
        "WITH RECURSIVE d(day) AS (SELECT DATE '2024-02-27' UNION ALL SELECT day + 1 FROM d WHERE day < DATE '2024-03-02') \
         SELECT day, count(n.id) AS n FROM d LEFT JOIN lake.nodes n ON n.id = dayofweek(day) GROUP BY day",
    ),
    (
        "months",
        "WITH RECURSIVE m(first) AS (SELECT DATE '2024-01-01' UNION ALL SELECT first + INTERVAL 1 MONTH FROM m \
         WHERE first < DATE '2024-12-01') SELECT strftime(first, '%Y-%m') AS month, id FROM m, lake.nodes WHERE id = month(first)",
    ),
    (
        "days_of_each",
        "WITH RECURSIVE d(id, day) AS (SELECT id, DATE '2024-01-01' + id FROM lake.nodes UNION ALL SELECT id, day + 2 FROM d \
         WHERE day < DATE '2024-01-09') SELECT day, count(*) AS n FROM d GROUP BY day",
    ),
    (
        "fibonacci",
        "WITH RECURSIVE f(i, a, b) AS (SELECT 1, 0, 1 UNION ALL SELECT i + 1, b, a + b FROM f WHERE i < 20) \
         SELECT f.i, f.a, e.b FROM f JOIN lake.edges e ON e.a = f.i",
    ),
    (
        "words",
        "WITH RECURSIVE w(id, rest, word) AS (SELECT id, name || ',x,' || id || ',', NULL::VARCHAR FROM lake.nodes UNION ALL \
         SELECT id, substr(rest, strpos(rest, ',') + 1), substr(rest, 1, strpos(rest, ',') - 1) FROM w WHERE rest <> '') \
         SELECT id, word FROM w WHERE word IS NOT NULL",
    ),
    (
        "last_of_a_series",
        "WITH RECURSIVE s(n) AS (SELECT id FROM lake.nodes UNION SELECT n + 1 FROM s WHERE n < 10) \
         SELECT n FROM s ORDER BY n DESC LIMIT 3",
    ),
];

#[test]
fn uses_equal_a_recompute() {
    runs(USES, "recursive_uses::uses_equal_a_recompute");
}
