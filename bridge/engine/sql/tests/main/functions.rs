//! Every scalar function that DuckDB lists: computed as DuckDB does, or refused by name; and the page of the book that
//! says so.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_engine_sql::{AGGREGATES_OF_DUCKDB, Standing};

use crate::expressions::check;
use crate::world::World;

/// A column of `lake.t` for each type that functions ask for.
pub fn column(parameter: &str) -> Option<&'static str> {
    Some(match parameter {
        "BOOLEAN" => "b",
        "TINYINT" => "i8",
        "SMALLINT" => "i16",
        "INTEGER" => "i32",
        "BIGINT" => "i64",
        "UTINYINT" => "u8",
        "USMALLINT" => "u16",
        "UINTEGER" => "u32",
        "UBIGINT" => "u64",
        "HUGEINT" => "h",
        "FLOAT" => "f",
        "DOUBLE" => "d",
        "DECIMAL" => "dec2",
        "VARCHAR" | "ANY" | "T" => "s",
        "DATE" => "dt",
        "TIME" => "tm",
        "TIMESTAMP" => "ts",
        "TIMESTAMP WITH TIME ZONE" => "tz",
        "UUID" => "u",
        "BLOB" => "bl",
        "INTERVAL" => "iv",
        "JSON" => "j",
        "ANY[]" | "T[]" | "INTEGER[]" | "K[]" => "l",
        _ => return None,
    })
}

/// How the arguments of some functions are written, where columns of their types do not do.
const WRITTEN: &[&str] = &[
    "strftime(ts, '%Y-%m-%d %H:%M')",
    "strptime(n, '%d')",
    "try_strptime(s, '%Y')",
    "regexp_matches(s, '[a-z]+')",
    "s ^@ 'a'",
    "coalesce(s = 'a', false)",
    "s GLOB 'a*'",
    "[s, 'a'] && ['a']",
    "(i32, s) IN ((1, 'a'), (NULL, 'b'), (2, NULL))",
    "(i32, s) = (id, s)",
    "(i32, s) < (1, 'b')",
    "i32 ** 2",
    "2 * 3 ** 2",
    "to_days(i32) > INTERVAL 1 DAY",
    "to_days(i32) IN (INTERVAL 1 DAY, INTERVAL 24 HOUR)",
    "to_days(i32) BETWEEN INTERVAL 1 DAY AND INTERVAL 1 MONTH",
    "s ~ '[a-z]+'",
    "s !~ '[a-z]+'",
    "s SIMILAR TO '[a-z]+'",
    "s NOT SIMILAR TO '[a-z]+'",
    "s ~~ '%a%'",
    "s !~~* '%A%'",
    "[s, 'a'] @> ['a']",
    "['a'] <@ [s, 'a']",
    "regexp_replace(s, '[aeiou]', '_', 'g')",
    "regexp_extract(s, '(\\w)(\\w)', 2)",
    "regexp_extract_all(s, '\\w')",
    "regexp_split_to_array(s, ',')",
    "string_split(s, ',')",
    "list_extract(l, 1)",
    "l[1]",
    "[i32, id][2]",
    "list_sort(l, 'DESC')",
    "list_sum(l)",
    "list_contains(l, 2)",
    "len(l)",
    "list_slice(l, 1, 1)",
    "list_concat(l, [i32])",
    "array_to_string(l, '-')",
    "json_extract(j, '$.a')",
    "json_extract_string(j, '$.a')",
    "j -> 'a'",
    "j ->> 'a'",
    "json_array_length(j)",
    "to_json(l)",
    "json_extract(json_object('a', i32), '$.a')",
    "map_extract(map([i32], [s]), 1)",
    "time_bucket(INTERVAL '7 days', dt)",
    "make_date(2020, 1, id + 1)",
    "to_days(id)",
    "date_sub('month', dt, dt2)",
    "age(ts, ts2)",
    "monthname(dt)",
    "dayname(ts)",
    "century(dt)",
    "format('{} and {}', s, i32)",
    "printf('%d-%s', i32, s)",
    "levenshtein(s, s2)",
    "md5(s)",
    "sha256(s)",
    "base64(bl)",
    "hex(s)",
    "reverse(s)",
    "translate(s, 'ab', 'xy')",
    "unicode(s)",
    "chr(65 + id)",
    "pow(id, 2)",
    "id ^ 2",
    "i32 & 3",
    "i32 | 1",
    "1 << id",
    "ln(abs(d) + 1)",
    "exp(id)",
    "sin(d)",
    "gcd(id, 4)",
    "factorial(id)",
    "TRY_CAST(n AS INTEGER)",
    "TRY_CAST(s AS DATE)",
    "json(j) IS NULL",
    "substring(s, 4294967295)",
    "left(s, -4294967297)",
    "year(iv)",
    "round(dec3, 1)",
    "greatest(l, [1])",
    "CASE WHEN list_sum(l) > 2 THEN 'many' ELSE 'few' END",
    "upper(list_extract(string_split(s, ','), 1))",
    "date_trunc('week', strptime('2020-01-01', '%Y-%m-%d'))",
];

/// DuckDB computes them over rows that a filter takes out.
const EAGER: [&str; 1] = ["epoch_ns"];

fn overloads(world: &World) -> Vec<(String, Vec<String>)> {
    let mut statement = world
        .duck
        .connection()
        .prepare(
            "SELECT DISTINCT function_name, array_to_string(parameter_types, ';') FROM duckdb_functions() \
             WHERE function_type = 'scalar' AND regexp_full_match(function_name, '[a-z][a-z0-9_]*') ORDER BY ALL",
        )
        .unwrap();
    let row = |row: &tidegate_duck::duckdb::Row<'_>| {
        let types: String = row.get(1)?;
        let types = types.split(';').filter(|t| !t.is_empty()).map(str::to_owned).collect();
        Ok((row.get(0)?, types))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

#[test]
fn calls_that_duckdb_computes_are_duckdbs() {
    let world = World::new();
    let faults: Vec<String> =
        WRITTEN.iter().filter_map(|call| Some(format!("{call}\n    {}", check(&world, "t", call).err()?))).collect();
    assert!(faults.is_empty(), "{} of {} differ:\n{}", faults.len(), WRITTEN.len(), faults.join("\n"));
}

/// `UPDATE_DOCS=1` writes the page anew.
#[test]
fn every_scalar_function_is_computed_or_refused_by_name() {
    let world = World::new();
    let (mut faults, mut computed) = (Vec::new(), BTreeMap::<String, usize>::new());
    let mut refused = BTreeMap::<String, String>::new();
    for (name, types) in overloads(&world) {
        computed.entry(name.clone()).or_default();
        if EAGER.contains(&name.as_str()) {
            continue;
        }
        let Some(arguments) = types.iter().map(|t| column(t)).collect::<Option<Vec<_>>>() else { continue };
        let call = format!("{name}({})", arguments.join(", "));
        match check(&world, "t", &call) {
            Ok(()) => *computed.entry(name).or_default() += 1,
            Err(fault) if fault.starts_with("refused: ") => {
                refused.insert(name, fault);
            }
            Err(fault) => faults.push(format!("{call}\n    {fault}")),
        }
    }
    let supported = computed.values().filter(|count| **count > 0).count();
    println!("{supported} of {} scalar functions", computed.len());
    for (name, fault) in refused.iter().filter(|(name, _)| computed[*name] == 0) {
        assert!(fault.contains(name.as_str()), "the refusal of {name} does not name it: {fault}");
    }
    assert!(supported >= 380, "only {supported}");
    assert!(faults.is_empty(), "{} differ:\n{}", faults.len(), faults.join("\n"));

    // Some calls need other arguments than columns of the parameters' types; other tests compare them.
    let mut others = WRITTEN.join("\n");
    others += include_str!("names.txt");
    others += include_str!("expressions.txt");
    for (name, types) in overloads(&world) {
        if computed[&name] > 0 {
            continue;
        }
        let written = others.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '('));
        let called = written.filter_map(|part| part.split_once('(')).any(|(called, _)| called == name);
        let plan = world.plan(&format!("SELECT {name}({}) AS v FROM lake.t", vec!["NULL"; types.len()].join(", ")));
        match plan {
            _ if called => *computed.entry(name).or_default() += 1,
            Ok(_) => *computed.entry(name).or_default() += 1,
            Err(errors) => {
                refused.entry(name).or_insert_with(|| format!("refused: {}", errors[0]));
            }
        }
    }
    let page = page(&computed, &refused);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/src/functions.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page).unwrap();
    } else {
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page, "run this test with UPDATE_DOCS=1");
    }
}

fn page(computed: &BTreeMap<String, usize>, refused: &BTreeMap<String, String>) -> String {
    let supported = computed.iter().filter(|(_, count)| **count > 0).map(|(name, _)| format!("`{name}`"));
    let supported: Vec<String> = supported.collect();
    let mut page = format!(
        "# Functions\n\nWhat a view may call, of the scalar functions and aggregates that DuckDB lists. A test goes through all of them,\n\
         compares those for whose arguments it has columns with DuckDB, and writes this page.\n\n\
         Some of the supported ones take some types only; a call that is not supported is refused by name. Lambdas,\n\
         `[x FOR x IN l]`, `struct_pack` and DuckDB's macros of lists are described in [SQL in views](sql.md).\n\n\
         ## Scalar functions\n\n{} of {} are supported:\n\n",
        supported.len(),
        computed.len()
    );
    page += &filled(&supported);
    page += "\nThe others, with what is said of a call of columns, or of NULLs where there is no column of a type. Where that asks for\n\
         other arguments (a lambda, a list of floats), such a call may be supported; it is refused by name if it is not.\n\n| function | why, and the way out |\n| --- | --- |\n";
    for (name, _) in computed.iter().filter(|(_, count)| **count == 0) {
        let said = refused.get(name).map_or("", |fault| fault.split_once(": ").map_or("", |(_, said)| said));
        // The place, and the name where the message begins with it.
        let said = said
            .split_once(", line 1, column ")
            .and_then(|(_, rest)| rest.split_once(": "))
            .map_or(said, |(_, said)| said);
        let said = said.trim_start_matches("view v: ").replace('|', "\\|").replace('\n', " ");
        page += &format!("| `{name}` | {said} |\n");
    }
    page += "\n## Aggregates\n\nWhat each of them keeps is in [Aggregates](aggregates.md). Supported are:\n\n";
    let kept = AGGREGATES_OF_DUCKDB
        .iter()
        .filter(|(_, s)| matches!(s, Standing::Summed | Standing::Sorted | Standing::Recomputed));
    page += &filled(&kept.map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>());
    page += "\nWindow functions, with `OVER`:\n\n";
    let windows = AGGREGATES_OF_DUCKDB.iter().filter(|(_, s)| matches!(s, Standing::Window));
    page += &filled(&windows.map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>());
    page += "\nRefused are:\n\n| aggregate | the way out |\n| --- | --- |\n";
    for (name, standing) in AGGREGATES_OF_DUCKDB {
        if let Standing::Refused(way_out) = standing {
            page += &format!("| `{name}` | {way_out} |\n");
        }
    }
    page
}

/// Names in lines of the book's width.
fn filled(names: &[String]) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for (place, name) in names.iter().enumerate() {
        let last = place + 1 == names.len();
        let length = name.chars().count() + 2;
        if width + length > 120 {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
        }
        lines += name;
        lines += if last { ".\n" } else { "," };
        width += length;
    }
    lines
}
