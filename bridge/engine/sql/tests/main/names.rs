//! The short forms that people write, and nested values: every view of `names.txt` is planned with DuckDB's names and
//! types. What their rows are is compared by the engine's tests.

use tidegate_core::schema::duckdb_type;

use crate::world::World;

const VIEWS: &str = include_str!("names.txt");

#[test]
fn short_forms_have_the_columns_that_duckdb_says() {
    let world = World::new();
    let mut faults = Vec::new();
    let views = VIEWS.lines().filter(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with("=="));
    let mut count = 0;
    for sql in views {
        count += 1;
        let program = match world.plan(sql) {
            Ok(program) => program,
            Err(errors) => {
                faults.push(format!("{sql}\n    refused: {}", errors[0]));
                continue;
            }
        };
        let planned = program.views()[0].info.schema.fields();
        let planned: Vec<(String, String)> =
            planned.iter().map(|f| (f.name().clone(), duckdb_type(f).unwrap_or_default().to_owned())).collect();
        let described = world.duck.describe_columns(sql).unwrap();
        let described: Vec<(String, String)> = described.into_iter().map(|(name, kind, _)| (name, kind)).collect();
        if planned != described {
            faults.push(format!("{sql}\n    {planned:?}\n    {described:?}"));
        }
    }
    assert!(faults.is_empty(), "{} of {count} differ:\n{}", faults.len(), faults.join("\n"));
    assert!(count > 140, "only {count} views");
}

/// DuckDB's own rules for these forms, in its words or in ours.
const REFUSED: &[(&str, &[&str])] = &[
    ("SELECT * EXCLUDE (nothing) FROM lake.orders", &["no column nothing for EXCLUDE"]),
    ("SELECT * REPLACE (1 AS amuont) FROM lake.orders", &["no column amuont for REPLACE", "did you mean Amount"]),
    ("SELECT * EXCLUDE (id, customer, amount, placed, note) FROM lake.orders", &["stands for no column"]),
    ("SELECT * LIKE 'zz%' FROM lake.orders", &["no column has such a name"]),
    ("SELECT COLUMNS('zz') FROM lake.orders", &["no column has such a name"]),
    ("SELECT COLUMNS(['id', 'amuont']) FROM lake.orders", &["no column amuont", "did you mean Amount"]),
    ("SELECT COLUMNS('Id') + COLUMNS('Note') FROM lake.orders", &["several different COLUMNS"]),
    ("SELECT COLUMNS(id) FROM lake.orders", &["COLUMNS", "a pattern"]),
    ("SELECT COLUMNS(lambda c: c = note) FROM lake.orders", &["note in a lambda over names"]),
    ("SELECT note, count(*) FROM lake.orders GROUP BY COLUMNS('Note')", &["COLUMNS in this place"]),
    ("SELECT id FROM lake.orders ORDER BY COLUMNS(*) LIMIT 1", &["COLUMNS in this place"]),
    ("SELECT count(*) FROM lake.orders UNION ALL BY NAME SELECT id FROM lake.orders", &["UNION BY NAME", "AS"]),
    ("SELECT id AS x, x AS id FROM lake.orders UNION ALL BY NAME SELECT id, id AS ID FROM lake.orders", &["id"]),
    ("SELECT max(id) AS m FROM lake.orders WHERE m > 1", &["aggregate"]),
    ("SELECT c AS d, id AS c FROM lake.orders", &["c"]),
    ("SELECT st.nothing FROM lake.nested", &["nothing"]),
    ("SELECT (id, x) FROM lake.nested", &["without names", "{'a': x"]),
    ("SELECT struct_pack(id) FROM lake.nested", &["struct_pack", "a := x"]),
    ("SELECT list_transform(l, lambda e: e + max(id)) FROM lake.nested GROUP BY l", &["max in a lambda", "subquery"]),
    ("SELECT list_transform(l, lambda e: random()) FROM lake.nested", &["random()", "another value each time"]),
    ("SELECT list_transform(l, lambda e: (SELECT 1)) FROM lake.nested", &["in a lambda", "subquery"]),
    ("SELECT list_transform(l, lambda e: from_json('1', '\"TIMETZ\"')) FROM lake.nested", &["from_json in a lambda"]),
    ("SELECT list_transform(l, lambda e, e2, e3: e) FROM lake.nested", &["list_transform"]),
    ("SELECT ((x, y) -> x + 1) FROM lake.nested", &["a lambda stands in a call", "list_transform"]),
    ("SELECT id = 1 AND j ->> 'a' = 'x' FROM lake.nested", &["arrow", "parentheses"]),
    ("SELECT [iv] AS k, count(*) FROM lake.t GROUP BY k", &["GROUP BY", "INTERVAL"]),
    ("SELECT id FROM lake.t ORDER BY [d] LIMIT 1", &["ORDER BY", "DOUBLE"]),
    ("SELECT min(l) FROM lake.nested", &["min of INTEGER[]"]),
];

#[test]
fn what_duckdb_does_not_take_is_refused() {
    let world = World::new();
    let mut faults = Vec::new();
    for (sql, words) in REFUSED {
        match world.plan(sql) {
            Ok(program) => faults.push(format!("{sql}\n    was planned:\n{}", program.views()[0].explain_text())),
            Err(errors) => {
                let shown = errors[0].to_string();
                if !words.iter().all(|word| shown.to_lowercase().contains(&word.to_lowercase())) {
                    faults.push(format!("{sql}\n    {shown}\n    lacks one of {words:?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), REFUSED.len(), faults.join("\n"));
}
