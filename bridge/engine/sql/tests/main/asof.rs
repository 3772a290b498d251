//! How ASOF joins are planned.

use tidegate_core::RowIdentity;

use crate::world::World;

const LEFT: &str = "SELECT c.id, c.name, o.amount FROM app.customers c ASOF LEFT JOIN lake.orders o \
                    ON c.id = o.customer AND c.name >= o.note AND c.region <> 'x' WHERE c.name <> 'y' AND o.amount > 1";

#[test]
fn explain_tells_what_a_change_costs_and_how_ties_are_broken() {
    let world = World::new();
    let program = world.plan(LEFT).unwrap();
    let (text, info) = (program.views()[0].explain_text(), &program.views()[0].info);
    for part in [
        "LeftAsofJoin id = customer AND name >= note AND (region != 'x'); ties in the order of all columns  [key (id);",
        "state: both sides, by the join key and in order; a changed right row meets the left rows up to the next right row",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert_eq!(info.identity, RowIdentity::Key(vec![0]));
    let text = world.plan("SELECT o.id FROM lake.orders o ASOF JOIN app.customers c ON o.id < c.id").unwrap();
    let text = text.views()[0].explain_text();
    for part in ["AsofJoin id < id; ties", "[whole row;", "state: both sides, in order;"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

/// Conditions in WHERE go below the join on the left side, and stay above it on the right one: they do not choose
/// which row is met. In ON those on the right side do.
#[test]
fn conditions_stand_where_they_mean_what_they_say() {
    let world = World::new();
    let explained = |sql: &str| world.plan(sql).unwrap().views()[0].explain_text();
    let text = explained(LEFT);
    let join = text.find("LeftAsofJoin").unwrap();
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in\n{text}"));
    assert!(at("Filter (name != 'y')") > join, "{text}");
    assert!(at("> 1.00)") < join, "{text}");
    let text = explained(
        "SELECT o.id FROM lake.orders o ASOF JOIN app.customers c ON o.id >= c.id AND c.name = 'x' AND o.note = 'y'",
    );
    let join = text.find("AsofJoin").unwrap();
    assert!(text.find("Filter (name = 'x')") > Some(join) && text.find("Filter (note = 'y')") > Some(join), "{text}");
}

#[test]
fn plan_ids_tell_asof_joins_apart() {
    let world = World::new();
    let id = |join: &str| {
        let sql = format!("SELECT o.id, c.name FROM lake.orders o {join}");
        world.plan(&sql).unwrap_or_else(|errors| panic!("{sql}: {errors:?}")).views()[0].plan_id
    };
    let joins = [
        "ASOF JOIN app.customers c ON o.customer = c.id AND o.id >= c.id",
        "ASOF JOIN app.customers c ON o.customer = c.id AND o.id > c.id",
        "ASOF JOIN app.customers c ON o.customer = c.id AND o.id <= c.id",
        "ASOF LEFT JOIN app.customers c ON o.customer = c.id AND o.id >= c.id",
        "ASOF LEFT JOIN app.customers c ON o.customer = c.id AND o.id >= c.id AND o.id > 2",
        "ASOF JOIN app.customers c ON o.id >= c.id",
        "JOIN app.customers c ON o.customer = c.id AND o.id >= c.id",
    ];
    for (place, join) in joins.iter().enumerate() {
        assert!(joins[..place].iter().all(|other| id(other) != id(join)), "{join}");
    }
    let turned = "asof inner join app.customers c ON c.id <= o.id AND c.id = o.customer";
    assert_eq!(id(joins[0]), id(turned), "only the spelling differs");
    let using = "SELECT b.id FROM app.customers a ASOF JOIN app.customers b USING (id)";
    let on = "SELECT b.id FROM app.customers a ASOF JOIN app.customers b ON a.id >= b.id";
    let id = |sql: &str| world.plan(sql).unwrap().views()[0].plan_id;
    assert_eq!(id(using), id(on));
}

#[test]
fn the_words_are_names_elsewhere() {
    let world = World::new();
    for sql in [
        "SELECT global.id FROM lake.orders global JOIN app.customers c ON c.id = global.customer",
        "SELECT id AS asof FROM lake.orders",
        "SELECT o.id FROM lake.orders o -- ASOF\nJOIN app.customers USING (id)",
        "SELECT o.id FROM lake.orders AS \"asof\" JOIN lake.orders o ON o.id = \"asof\".id",
        "SELECT a.id FROM app.customers a JOIN app.customers b USING (id, ID)",
    ] {
        let text = world.plan(sql).unwrap_or_else(|errors| panic!("{sql}: {errors:?}")).views()[0].explain_text();
        assert!(!text.contains("Asof"), "{sql}\n{text}");
    }
}
