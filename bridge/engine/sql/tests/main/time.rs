//! Where `tidegate_now()` may stand, and what is said where it may not.

use tidegate_engine_sql::Input;

use crate::world::World;

#[test]
fn comparisons_read_the_time_of_the_epoch() {
    let world = World::new();
    for sql in [
        "SELECT id FROM lake.t WHERE tz > tidegate_now()",
        "SELECT id FROM lake.t WHERE TIDEGATE_NOW() - INTERVAL 1 hour <= tz",
        "SELECT id FROM lake.t WHERE ts > CAST(tidegate_now() AS TIMESTAMP) - INTERVAL '1 month 2 days'",
        "SELECT id FROM lake.t WHERE ts > (tidegate_now() - INTERVAL 1 month)::TIMESTAMP",
        "SELECT id FROM lake.t WHERE dt >= CAST(tidegate_now() AS DATE) - 7",
        "SELECT id FROM lake.t WHERE ts < tidegate_now() AT TIME ZONE 'Europe/Berlin'",
        "SELECT id FROM lake.t WHERE ts AT TIME ZONE 'Europe/Berlin' < tidegate_now()",
        "SELECT id FROM lake.t WHERE ts > tidegate_now()",
        "SELECT id FROM lake.t WHERE dt > tidegate_now()",
        "SELECT id FROM lake.t WHERE date_trunc('day', tz) = date_trunc('day', tidegate_now())",
        "SELECT id FROM lake.t WHERE year(dt) = year(tidegate_now())",
        "SELECT id FROM lake.t WHERE s <> strftime(tidegate_now(), '%Y c0 ''c1''')",
        "SELECT id FROM lake.t WHERE tz BETWEEN tidegate_now() - INTERVAL 1 day AND tidegate_now()",
        "SELECT b, max(tz) AS last FROM lake.t GROUP BY b HAVING max(tz) < tidegate_now()",
        "SELECT id, tz > tidegate_now() AS ahead FROM lake.t",
        "SELECT id FROM lake.t WHERE id IN (SELECT id FROM lake.t WHERE tz > tidegate_now())",
        "WITH late AS (SELECT id FROM lake.t WHERE tz < tidegate_now()) SELECT count(*) AS n FROM late",
        "SELECT id FROM (SELECT id FROM lake.t WHERE tz < tidegate_now()) q JOIN app.customers c USING (id)",
    ] {
        let program = world.plan(sql).unwrap_or_else(|errors| panic!("{sql}: {errors:?}"));
        let view = &program.views()[0];
        assert!(program.reads_time() && view.inputs.contains(&Input::Clock), "{sql}");
        assert!(view.explain_text().contains("Scan tidegate_now() (now)"), "{sql}\n{}", view.explain_text());
    }
    assert!(!world.plan("SELECT id FROM lake.t").unwrap().reads_time());
}

#[test]
fn other_times_are_other_plans() {
    let world = World::new();
    let id = |side: &str| world.plan(&format!("SELECT id FROM lake.t WHERE tz > {side}")).unwrap().views()[0].plan_id;
    let sides = [
        "tidegate_now()",
        "tidegate_now() - INTERVAL 1 hour",
        "tidegate_now() - INTERVAL 2 hours",
        "tidegate_now() - INTERVAL '1 month'",
        "date_trunc('day', tidegate_now())",
    ];
    for (position, side) in sides.iter().enumerate() {
        assert_eq!(id(side), id(side), "{side}");
        assert!(sides[..position].iter().all(|other| id(other) != id(side)), "{side}");
    }
}

/// SQL and words of the refusal.
const REFUSED: &[(&str, &[&str])] = &[
    ("SELECT id, tidegate_now() AS now FROM lake.t", &["tidegate_now()", "one side of a comparison", "WHERE ts >"]),
    ("SELECT id, tidegate_now() - tz AS age FROM lake.t", &["one side of a comparison"]),
    ("SELECT CASE WHEN b THEN tidegate_now() END AS x FROM lake.t", &["one side of a comparison"]),
    ("SELECT id FROM lake.t WHERE tidegate_now() - tz < INTERVAL 1 hour", &["columns", "alone on the other side"]),
    ("SELECT id FROM lake.t WHERE tz > tidegate_now() - to_hours(id)", &["alone on the other side"]),
    (
        "SELECT id FROM lake.t WHERE tz > greatest(tidegate_now(), (SELECT max(tz) FROM lake.t))",
        &["alone on the other"],
    ),
    ("SELECT id FROM lake.t WHERE tz > tidegate_now(1)", &["no arguments"]),
    ("SELECT id FROM lake.t WHERE tz > greatest(tidegate_now(), now())", &["now()", "another value each time"]),
    ("SELECT id FROM lake.t WHERE iv > age(tidegate_now())", &["today()"]),
    (
        "SELECT a.id FROM lake.t a JOIN lake.t b ON a.id = b.id AND a.tz > tidegate_now()",
        &["condition of a join", "WHERE"],
    ),
    ("SELECT count(*) FILTER (WHERE tz > tidegate_now()) AS n FROM lake.t", &["within count", "in WHERE"]),
    ("SELECT sum(CASE WHEN tz > tidegate_now() THEN 1 END) AS n FROM lake.t", &["within sum", "in WHERE"]),
    ("SELECT id FROM lake.t WHERE tz IN (tidegate_now())", &["one side of a comparison"]),
    ("SELECT * FROM \"#clock\"", &["#clock"]),
];

#[test]
fn elsewhere_it_is_refused() {
    let world = World::new();
    for (sql, words) in REFUSED {
        let message = match world.plan(sql) {
            Ok(program) => panic!("{sql} was planned:\n{}", program.views()[0].explain_text()),
            Err(errors) => errors[0].message.clone(),
        };
        assert!(words.iter().all(|word| message.contains(word)), "{sql}: {message}");
    }
}
