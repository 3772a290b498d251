//! What has another value each time it is computed, or only an estimate, is refused by name with a way out.

use tidegate_duck::Duck;

use crate::world::World;

fn refusal(world: &World, sql: &str) -> String {
    match world.plan(sql) {
        Ok(program) => panic!("{sql} was planned:\n{}", program.views()[0].explain_text()),
        Err(errors) => errors[0].message.clone(),
    }
}

/// The functions that DuckDB itself says are not consistent, whatever they are called.
fn inconsistent() -> Vec<String> {
    let duck = Duck::open_in_memory().unwrap();
    let mut statement = duck
        .connection()
        .prepare(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability IN ('VOLATILE', \
             'CONSISTENT_WITHIN_QUERY') ORDER BY ALL",
        )
        .unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_inconsistent_function_of_duckdb_is_refused() {
    let world = World::new();
    let names = inconsistent();
    assert!(names.len() > 20 && names.contains(&"random".to_owned()), "{names:?}");
    for name in names {
        for sql in
            [format!("SELECT id, {name}() AS x FROM lake.t"), format!("SELECT id FROM lake.t WHERE {name}(1) IS NULL")]
        {
            let message = refusal(&world, &sql);
            let told = message.contains(&format!("{name}()")) && message.contains(": ");
            assert!(told && !message.contains("not one of the functions"), "{sql}: {message}");
        }
    }
}

#[test]
fn words_that_are_calls() {
    let world = World::new();
    for (word, advice) in [
        ("current_date", "tidegate_now()"),
        ("current_timestamp", "tidegate_now()"),
        ("current_time", "tidegate_now()"),
        ("localtime", "tidegate_now()"),
        ("localtimestamp", "tidegate_now()"),
        ("now()", "tidegate_now()"),
        ("NOW()", "tidegate_now()"),
        ("today()", "tidegate_now()"),
        ("get_current_timestamp()", "tidegate_now()"),
        ("ago(INTERVAL 1 day)", "tidegate_now()"),
        ("random()", "hash"),
        ("uuid()", "hash"),
        ("current_user", "the session"),
        ("session_user", "the session"),
        ("user", "the session"),
        ("current_role", "the session"),
        ("current_catalog", "the session"),
        ("current_schema()", "the session"),
        ("getenv('HOME')", "the session"),
        ("nextval('s')", "row_number()"),
        ("error('no')", "leave it out"),
    ] {
        for sql in
            [format!("SELECT id, {word} AS x FROM lake.t"), format!("SELECT id FROM lake.t WHERE {word} IS NOT NULL")]
        {
            let message = refusal(&world, &sql);
            let name = word.split('(').next().unwrap_or_default().to_lowercase();
            assert!(message.contains(&format!("{name}()")) && message.contains(advice), "{sql}: {message}");
        }
    }
    // A column of that name is a column.
    world.plan("SELECT user FROM (SELECT id AS user FROM lake.t) q").unwrap();
}

#[test]
fn estimates_are_refused_with_their_exact_counterparts() {
    let world = World::new();
    for (call, counterpart) in [
        ("approx_quantile(id, 0.5)", "quantile_cont"),
        ("approx_top_k(id, 3)", "histogram"),
        ("reservoir_quantile(id, 0.5)", "quantile_cont"),
    ] {
        let name = call.split('(').next().unwrap_or_default();
        for sql in [
            format!("SELECT {call} FROM lake.t"),
            format!("SELECT b, {call} AS x FROM lake.t GROUP BY b HAVING count(*) > 1"),
            format!("SELECT b FROM lake.t GROUP BY b HAVING {call} IS NOT NULL"),
        ] {
            let message = refusal(&world, &sql);
            assert!(message.contains(name) && message.contains(counterpart), "{sql}: {message}");
        }
        let message = refusal(&world, &format!("SELECT id, {call} OVER () AS x FROM lake.t"));
        assert!(message.contains(name), "{call}: {message}");
    }
}
