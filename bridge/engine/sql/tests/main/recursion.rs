//! Recursive queries: what is refused and where, what explain says, and what makes two plans one.

use crate::world::World;

/// What stands between `WITH RECURSIVE r(n) AS (` and `) SELECT n FROM r`, the column, and words of the message.
const REFUSED: &[(&str, u64, &[&str])] = &[
    ("SELECT 1 UNION ALL SELECT max(n) + 1 FROM r", 67, &["recursive term of r", "an aggregate", "outside"]),
    ("SELECT 1 UNION SELECT n + 1 FROM r GROUP BY n", 58, &["GROUP BY sees the rows of one round"]),
    ("SELECT 1 UNION ALL SELECT DISTINCT n + 1 FROM r WHERE n < 4", 71, &["DISTINCT", "one round"]),
    ("SELECT 1 UNION ALL SELECT row_number() OVER (ORDER BY n) FROM r", 87, &["a window function"]),
    ("SELECT 1 UNION ALL (SELECT n + 1 FROM r ORDER BY n LIMIT 1)", 63, &["LIMIT"]),
    ("SELECT 1 UNION ALL SELECT a.n + b.n FROM r a, r b WHERE a.n < 4", 66, &["read twice", "read it once"]),
    (
        "SELECT id FROM lake.orders UNION ALL SELECT id FROM lake.orders WHERE id IN (SELECT n FROM r)",
        116,
        &["IN, EXISTS or a SEMI JOIN", "one round"],
    ),
    (
        "SELECT id FROM lake.orders UNION SELECT id FROM lake.orders WHERE id NOT IN (SELECT n FROM r)",
        116,
        &["NOT IN", "one round"],
    ),
    ("SELECT 1 UNION (SELECT id FROM lake.orders EXCEPT SELECT n FROM r)", 89, &["EXCEPT"]),
    (
        "SELECT 1 UNION ALL SELECT o.id FROM lake.orders o LEFT JOIN r ON r.n = o.id",
        85,
        &["filled with NULLs", "the other way around"],
    ),
    (
        "SELECT 1 UNION ALL SELECT n + 1 FROM r LEFT JOIN lake.orders o ON o.id = n AND o.customer > n",
        62,
        &["LEFT or RIGHT JOIN", "no equality", "inner join"],
    ),
    (
        "SELECT 1 UNION ALL (SELECT n + 1 FROM r WHERE n < 3 UNION ALL SELECT id FROM lake.orders)",
        63,
        &["does not read r", "starts with"],
    ),
    ("SELECT 1 UNION ALL SELECT n + (SELECT max(n) FROM r) FROM r WHERE n < 3", 0, &["read twice"]),
    ("SELECT n FROM r UNION ALL SELECT 1", 39, &["where its recursion starts"]),
    ("SELECT 1 UNION SELECT n FROM r UNION SELECT n + 1 FROM r", 54, &["where its recursion starts", "parentheses"]),
    ("SELECT 1 EXCEPT SELECT n FROM r", 16, &["other than UNION"]),
    ("SELECT n FROM r", 16, &["other than UNION"]),
    ("SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 5", 16, &["ORDER BY or LIMIT in a recursive query"]),
    ("SELECT 1 UNION ALL SELECT n, 2 FROM r", 0, &["number of columns"]),
    ("SELECT 1 UNION ALL SELECT l FROM r, lake.t WHERE r.n < 2", 58, &["INTEGER[] to INTEGER"]),
    (
        "SELECT 1 UNION ALL SELECT n FROM (WITH r AS (SELECT 2 AS n) SELECT n FROM r) t WHERE n < 2",
        16,
        &["another r in the query of r"],
    ),
    (
        "SELECT 1 UNION ALL SELECT n FROM (WITH RECURSIVE q(n) AS (SELECT n FROM r UNION ALL SELECT n + 1 FROM q \
         WHERE n < 9) SELECT n FROM q) t WHERE n < 2",
        97,
        &["another recursion"],
    ),
];

#[test]
fn what_sees_one_round_alone_is_refused() {
    let world = World::new();
    let mut faults = Vec::new();
    for (body, column, words) in REFUSED {
        let sql = format!("WITH RECURSIVE r(n) AS ({body}) SELECT n FROM r");
        match world.plan(&sql) {
            Ok(program) => faults.push(format!("{sql}\n    was planned:\n{}", program.views()[0].explain_text())),
            Err(errors) => {
                let shown = errors[0].to_string();
                let is_there = *column == 0 || errors[0].column == Some(*column);
                if !is_there || !words.iter().all(|word| shown.contains(word)) {
                    faults.push(format!("{sql}\n    {shown}\n    lacks one of {words:?} or column {column}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), REFUSED.len(), faults.join("\n"));
}

#[test]
fn using_key_is_refused() {
    let world = World::new();
    let sql = "WITH RECURSIVE r(n, k) USING KEY (k) AS (SELECT 1, 1 UNION SELECT n + 1, k FROM r WHERE n < 4) SELECT * FROM r";
    let error = world.plan(sql).unwrap_err()[0].clone();
    assert!(error.message.contains("USING KEY cannot be maintained"), "{error}");
    assert_eq!((error.line, error.column), (Some(1), Some(24)));
}

#[test]
fn a_recursion_is_explained_and_has_one_id() {
    let world = World::new();
    let sql = "WITH RECURSIVE r(n) AS (SELECT id FROM lake.orders UNION SELECT o.customer FROM r JOIN lake.orders o \
               ON o.id = r.n) SELECT n FROM r";
    let program = world.plan(sql).unwrap();
    let text = program.views()[0].explain_text();
    for part in ["Recursion r by UNION", "Round r (n)", "Join n = id", "whole row"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let id = |sql: &str| world.plan(sql).unwrap().views()[0].plan_id;
    assert_eq!(id(sql), id(&sql.replace(" UNION ", "\n  UNION\n  ")));
    assert_ne!(id(sql), id(&sql.replace(" UNION ", " UNION ALL ")));
    let plain = "WITH RECURSIVE c AS (SELECT id FROM lake.orders UNION SELECT 7) SELECT * FROM c";
    assert_eq!(id(plain), id(&plain.replace(" RECURSIVE", "")));
}
