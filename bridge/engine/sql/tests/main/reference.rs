//! The page of the reference about SQL: operators, each computed as DuckDB computes it or refused, and the types that come into
//! views. `cargo xtask docs --write` writes it anew.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_core::duckdb_type::arrow_type;
use tidegate_duck::duckdb::Row;

use crate::expressions::check;
use crate::functions::column;
use crate::world::World;

const HEAD: &str = "# SQL

<!-- Written by `cargo xtask docs --write`: change what it is made of. -->

What a view may be made of is told on four pages, which tests write or compare:

- clauses, joins, windows, set operations and the rest: [SQL in views, construct by construct](../sql.md#construct-by-construct), with what an epoch costs
- scalar functions: [Functions](../functions.md)
- aggregates, also with `OVER`: [Aggregates](../aggregates.md)
- operators and types: here

What becomes of a type in each sink is in [Types](../sinks/types.md), what becomes of PostgreSQL's types in [PostgreSQL's types](../postgres-types.md).
";

/// What DuckDB writes between or before values and does not list among its functions.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "`=`, `<>`, `!=`, `<`, `<=`, `>`, `>=`",
        &["i32 = id", "s <> s2", "d != 0", "dt < dt2", "ts <= ts2", "tz > tz", "dec2 >= 1"],
    ),
    ("`IS DISTINCT FROM`, `IS NOT DISTINCT FROM`", &["s IS DISTINCT FROM s2", "i32 IS NOT DISTINCT FROM NULL"]),
    ("`IS NULL`, `IS NOT NULL`", &["s IS NULL", "l IS NOT NULL"]),
    ("`AND`, `OR`, `NOT`", &["b AND i32 = 1", "b OR s IS NULL", "NOT b"]),
    ("`IS TRUE`, `IS FALSE`, `IS UNKNOWN`", &["b IS TRUE", "b IS NOT FALSE", "b IS UNKNOWN"]),
    ("`BETWEEN`", &["i32 BETWEEN 1 AND 3", "dt NOT BETWEEN dt2 AND dt"]),
    ("`IN (…)`", &["i32 IN (1, 2, NULL)", "s NOT IN ('a', 'b')"]),
    ("`LIKE`, `ILIKE`, with `ESCAPE`", &["s LIKE 'a%'", "s NOT ILIKE '%B'", "s LIKE 'a!%' ESCAPE '!'"]),
    ("`SIMILAR TO`, `GLOB`", &["s SIMILAR TO '[a-z]+'", "s GLOB 'a*'"]),
    ("`CASE`", &["CASE WHEN b THEN 1 ELSE 2 END", "CASE i32 WHEN 1 THEN 'one' END"]),
    ("`CAST`, `TRY_CAST`, `::`", &["CAST(i32 AS VARCHAR)", "TRY_CAST(s AS INTEGER)", "dt::TIMESTAMP"]),
    ("`AT TIME ZONE`", &["tz AT TIME ZONE 'Europe/Berlin'", "ts AT TIME ZONE 'UTC'"]),
    ("`EXTRACT`", &["EXTRACT(year FROM dt)", "EXTRACT(hour FROM ts)"]),
    ("`x[i]`, `x[i:j]`, `x.f`", &["l[1]", "l[1:2]", "{'f': i32}.f", "{'f': i32}['f']"]),
    ("`[…]`, `{…}`, `MAP {…}`, `(…, …)`", &["[i32, id]", "{'a': i32, 'b': s}", "MAP {s: i32}", "(i32, s) = (id, s)"]),
    ("`->`, `->>` of JSON", &["j -> 'a'", "j ->> '$.a'"]),
    ("`~`, `!~` of texts", &["s ~ '[a-z]+'", "s !~ '[a-z]+'"]),
];

/// What is said of dates that are out of range; the page says so, too.
const BEYOND: &str = "a date or timestamp is out of range or infinite";

/// Types that need more than their name.
fn example(name: &str) -> String {
    match name {
        "ARRAY" => "INTEGER[3]",
        "LIST" => "INTEGER[]",
        "MAP" => "MAP(VARCHAR, INTEGER)",
        "STRUCT" => "STRUCT(a INTEGER)",
        "UNION" => "UNION(a INTEGER)",
        "ENUM" => "ENUM('a')",
        "DECIMAL" => "DECIMAL(9,2)",
        name => name,
    }
    .to_owned()
}

fn texts(world: &World, query: &str) -> Vec<(String, String)> {
    let mut statement = world.duck.connection().prepare(query).unwrap();
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// The operators that DuckDB lists, each with the types for which it is computed, and why it is refused for others.
fn operators(world: &World, faults: &mut Vec<String>) -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let listed = texts(
        world,
        "SELECT DISTINCT function_name, array_to_string(parameter_types, ';') FROM duckdb_functions() \
         WHERE function_type = 'scalar' AND NOT regexp_matches(function_name, '[a-zA-Z]') ORDER BY ALL",
    );
    let mut found: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for (operator, types) in listed {
        let types: Vec<&str> = types.split(';').collect();
        let Some(arguments) = types.iter().map(|name| column(name)).collect::<Option<Vec<_>>>() else { continue };
        let call = match arguments.as_slice() {
            [one] => format!("{operator} {one}"),
            [left, right] => format!("{left} {operator} {right}"),
            _ => continue,
        };
        let (computed, refused) = found.entry(operator).or_default();
        let mut types = types;
        types.dedup();
        let shown = format!("{}{}", types.join(" and "), if arguments.len() == 1 { " (before a value)" } else { "" });
        match check(world, "t", &call) {
            Ok(()) => computed.push(shown),
            // Here DuckDB answers a date that is none.
            Err(fault) if fault.contains(BEYOND) => computed.push(shown),
            Err(fault) if fault.starts_with("refused: ") => refused.push(shown),
            Err(fault) => faults.push(format!("{call}\n    {fault}")),
        }
    }
    found
}

#[test]
fn the_page_of_sql() {
    let world = World::new();
    let mut faults = Vec::new();
    let code = |text: &str| format!("`{}`", text.replace('|', "\\|"));
    let mut page = format!(
        "{HEAD}\n## Operators\n\nDuckDB's own list, with the types for which a test has compared the values. Other types come to these by casts, as in DuckDB. A date or timestamp that comes out of range stops the pipeline: filter such rows.\n\n| operator | computed for | refused for |\n| --- | --- | --- |\n"
    );
    for (operator, (computed, refused)) in operators(&world, &mut faults) {
        page += &format!("| {} | {} | {} |\n", code(&operator), computed.join(", "), refused.join(", "));
    }
    page +=
        "\nAnd what it does not list, with the examples that were compared:\n\n| form | examples |\n| --- | --- |\n";
    for (form, examples) in OTHERS {
        faults.extend(
            examples.iter().filter_map(|call| Some(format!("{call}\n    {}", check(&world, "t", call).err()?))),
        );
        let examples: Vec<String> = examples.iter().map(|example| code(example)).collect();
        page += &format!("| {form} | {} |\n", examples.join(", "));
    }
    assert!(faults.is_empty(), "{} differ from DuckDB:\n{}", faults.len(), faults.join("\n"));
    page += "\n## Types\n\nDuckDB's own list.\n\n| type | in a view |\n| --- | --- |\n";
    let listed = "SELECT DISTINCT logical_type, '' FROM duckdb_types() WHERE logical_type NOT IN ('NULL', 'TYPE') \
                  UNION ALL VALUES ('JSON', '') ORDER BY 1";
    for (name, _) in texts(&world, listed) {
        let example = example(&name);
        let held = match arrow_type(&example) {
            Ok(held) => format!("yes, as Arrow's {}", code(&held.to_string())),
            Err(error) => format!("no: {}", error.way_out),
        };
        page += &format!("| {} | {held} |\n", code(&example));
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/src/reference/sql.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, page).unwrap();
        return;
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(known == page, "docs/src/reference/sql.md is not what is computed: run `cargo xtask docs --write`");
}
