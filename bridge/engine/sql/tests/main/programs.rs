//! Programs as a whole: order, identity, keys, plan ids, definitions, stretches.

use arrow::array::{Int64Array, RecordBatch};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::LogicalPlan;
use tidegate_core::{RowIdentity, ViewName, ZSet};
use tidegate_duck::DuckBinder;
use tidegate_engine_sql::{Input, Program, ProgramDefinition, Stretch, StretchError, Unnest, table_references};

use crate::world::{World, definition};

fn identity(world: &World, sql: &str) -> RowIdentity {
    world.plan(sql).unwrap().views()[0].info.identity.clone()
}

#[test]
fn row_identity_is_derived() {
    let world = World::new();
    let cases = [
        ("SELECT * FROM app.customers", RowIdentity::Key(vec![0])),
        ("SELECT name, id AS k FROM app.customers WHERE region IS NULL", RowIdentity::Key(vec![1])),
        ("SELECT name FROM app.customers", RowIdentity::WholeRow),
        ("SELECT id + 1 AS id FROM app.customers", RowIdentity::WholeRow),
        ("SELECT * FROM lake.orders", RowIdentity::WholeRow),
        ("SELECT count(*) AS n, region FROM app.customers GROUP BY region", RowIdentity::Key(vec![1])),
        ("SELECT count(*) AS n FROM app.customers GROUP BY region", RowIdentity::WholeRow),
        ("SELECT count(*) AS n FROM app.customers", RowIdentity::Key(vec![])),
        ("SELECT DISTINCT region FROM app.customers", RowIdentity::WholeRow),
        ("SELECT DISTINCT region, id FROM app.customers", RowIdentity::Key(vec![1])),
        ("SELECT id FROM app.customers UNION ALL SELECT id FROM app.customers", RowIdentity::WholeRow),
        (
            "SELECT a.id AS x, b.id AS y FROM app.customers a JOIN app.customers b ON a.region = b.region",
            RowIdentity::Key(vec![0, 1]),
        ),
        ("SELECT a.name, a.id FROM app.customers a JOIN app.customers b ON a.id + 0 = b.id", RowIdentity::Key(vec![1])),
        ("SELECT o.id, c.id AS c FROM lake.orders o JOIN app.customers c ON o.customer = c.id", RowIdentity::WholeRow),
        ("SELECT c.id, x FROM app.customers c, range(c.id) AS r(x)", RowIdentity::WholeRow),
        (
            "SELECT c.id, x, n FROM app.customers c, range(c.id) WITH ORDINALITY AS r(x, n)",
            RowIdentity::Key(vec![0, 2]),
        ),
        ("SELECT id, c.x FROM app.customers, LATERAL (SELECT upper(name) AS x) c", RowIdentity::Key(vec![0])),
        (
            "SELECT c.id, o.n FROM app.customers c, LATERAL (SELECT count(*) AS n FROM lake.orders o WHERE o.id < c.id) o",
            RowIdentity::Key(vec![0]),
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(identity(&world, sql), expected, "{sql}");
    }
}

/// A list that only makes rows is not repeated in them.
#[test]
fn what_nobody_reads_is_left_out_of_repeated_rows() {
    let world = World::new();
    let program = world.plan("SELECT id, x FROM lake.t, UNNEST(l) AS u(x) WHERE x > i32").unwrap();
    let view = &program.views()[0];
    let mut kept = Vec::new();
    let _ = view.plan.apply(|node| {
        if let LogicalPlan::Extension(extension) = node {
            let unnest = Unnest::of(extension).unwrap();
            let columns = unnest.kept.iter().map(|column| unnest.input.schema().field(*column).name().clone());
            kept.extend(columns);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // Columns 0 and 4 of the table are passed on, and the list, which is column 31, is not.
    assert_eq!(kept, ["#o0", "#o4"], "{}", view.explain_text());
    let expected = "Unnest o31  [whole row; row by row; state: none; cost: the change]";
    assert!(view.explain_text().contains(expected), "{}", view.explain_text());
}

#[test]
fn declared_keys_are_proven_or_checked() {
    let world = World::new();
    let plan = |sql: &str, key: &[&str]| {
        let mut view = definition("v", sql);
        view.key = Some(key.iter().map(|k| (*k).to_owned()).collect());
        Program::plan(world.tables.clone(), vec![view], &DuckBinder)
            .map(|program| (program.views()[0].info.identity.clone(), program.views()[0].check.is_some()))
            .map_err(|errors| errors[0].to_string())
    };
    let grouped = "SELECT region AS r, name AS n, count(*) AS c FROM app.customers GROUP BY ALL";
    assert_eq!(plan(grouped, &["N", "r"]), Ok((RowIdentity::Key(vec![1, 0]), false)));
    assert_eq!(plan(grouped, &["n", "c", "r"]), Ok((RowIdentity::Key(vec![1, 2, 0]), false)));
    assert_eq!(plan(grouped, &["r"]), Ok((RowIdentity::Key(vec![0]), true)));
    assert_eq!(plan("SELECT note, id FROM lake.orders", &["ID"]), Ok((RowIdentity::Key(vec![1]), true)));
    assert!(plan(grouped, &["regio"]).unwrap_err().contains("does not have"));
    assert!(plan(grouped, &[]).unwrap_err().contains("names no column"));
    let unequal = plan("SELECT INTERVAL 1 day AS x, id FROM lake.orders", &["x"]).unwrap_err();
    assert!(unequal.contains("cannot be checked"), "{unequal}");
}

#[test]
fn a_cte_that_nothing_reads_is_no_part_of_the_program() {
    let world = World::new();
    let sql = "WITH first AS (SELECT id FROM app.customers), unread AS (SELECT id FROM First), o AS (SELECT id FROM lake.orders), \
               p AS (SELECT id FROM o) SELECT id FROM P WHERE id IN (WITH unread AS (SELECT 1 FROM o) SELECT id FROM o)";
    let program = world.plan(sql).unwrap();
    assert_eq!(program.tables().iter().map(|table| table.name.to_string()).collect::<Vec<_>>(), ["lake.main.Orders"]);
    let again = Program::from_definition(program.definition().clone()).unwrap();
    assert_eq!(again.views()[0].plan_id, program.views()[0].plan_id);
}

#[test]
fn names_and_types_are_duckdbs() {
    let world = World::new();
    let sql =
        "SELECT Region, count(*), sum(id), avg(id) AS \"The Mean\", id % 2, Region FROM App.Customers GROUP BY ALL";
    let program = world.plan(sql).unwrap();
    let view = &program.views()[0];
    let columns: Vec<(String, String)> = view
        .info
        .schema
        .fields()
        .iter()
        .map(|f| (f.name().clone(), tidegate_core::schema::duckdb_type(f).unwrap().to_owned()))
        .collect();
    let expected = [
        ("region", "VARCHAR"),
        ("count_star()", "BIGINT"),
        ("sum(id)", "HUGEINT"),
        ("The Mean", "DOUBLE"),
        ("(id % 2)", "INTEGER"),
        ("region_1", "VARCHAR"),
    ];
    let lower: Vec<(String, String)> = columns
        .iter()
        .map(|(n, t)| (if n.starts_with("Region") { n.to_lowercase() } else { n.clone() }, t.clone()))
        .collect();
    assert_eq!(lower, expected.map(|(n, t)| (n.to_owned(), t.to_owned())));
    assert_eq!(view.plan.schema().fields().len(), 6);
    assert_eq!(view.plan.schema().field(3).name(), "The Mean");
}

#[test]
fn plan_ids_change_with_what_matters() {
    let world = World::new();
    let id = |world: &World, views: &[(&str, &str)], which: &str| {
        world.plan_all(views).unwrap().view(&ViewName::new(which)).unwrap().plan_id
    };
    let sql = "SELECT note, sum(amount) AS s FROM lake.orders WHERE id > 1 GROUP BY note";
    let base = id(&world, &[("v", sql)], "v");
    assert_eq!(base, id(&World::new(), &[("v", sql)], "v"));
    assert_eq!(
        base,
        id(&world, &[("v", "select NOTE, SUM(Amount) as s from LAKE.main.Orders where orders.ID > 1 group by 1")], "v"),
        "only the spelling differs"
    );
    let others = [
        "SELECT note, sum(amount) AS s FROM lake.orders WHERE id > 2 GROUP BY note",
        "SELECT note, sum(amount) AS S2 FROM lake.orders WHERE id > 1 GROUP BY note",
        "SELECT note, sum(DISTINCT amount) AS s FROM lake.orders WHERE id > 1 GROUP BY note",
        "SELECT note, sum(amount) AS s FROM lake.orders WHERE id >= 1 GROUP BY note",
        "SELECT note, max(amount)::DECIMAL(38,2) AS s FROM lake.orders WHERE id > 1 GROUP BY note",
        "SELECT note, sum(amount) FILTER (WHERE id > 1) AS s FROM lake.orders WHERE id > 1 GROUP BY note",
    ];
    for other in others {
        assert_ne!(base, id(&world, &[("v", other)], "v"), "{other}");
    }
    assert_ne!(base, id(&world, &[("w", sql)], "w"), "the name");
    let mut recreated = World::new();
    recreated.tables.iter_mut().for_each(|t| t.incarnation = 2);
    assert_ne!(base, id(&recreated, &[("v", sql)], "v"), "another table under the name");
    // An upstream counts by name and columns, not by its SQL.
    let reader = ("r", "SELECT n, count(*) AS c FROM up GROUP BY n");
    let first = id(&world, &[("up", "SELECT note AS n FROM lake.orders"), reader], "r");
    assert_eq!(first, id(&world, &[("up", "SELECT note AS n FROM lake.orders WHERE id > 3"), reader], "r"));
    assert_ne!(first, id(&world, &[("up", "SELECT note AS n, id FROM lake.orders"), reader], "r"));
    assert_eq!(base.to_string().parse::<tidegate_engine_sql::PlanId>().unwrap(), base);
}

#[test]
fn plan_ids_change_with_the_functions_of_windows() {
    let world = World::new();
    let calls = [
        "lag(id) OVER (ORDER BY id)",
        "lag(id IGNORE NULLS) OVER (ORDER BY id)",
        "list(id) OVER (ORDER BY id)",
        "list(DISTINCT id) OVER (ORDER BY id)",
        "list(id ORDER BY id) OVER (ORDER BY id)",
        "list(id ORDER BY id DESC) OVER (ORDER BY id)",
        "list(id) FILTER (WHERE id > 1) OVER (ORDER BY id)",
        "list(id) OVER (ORDER BY id ROWS 1 PRECEDING)",
        "list(id) OVER (ORDER BY id RANGE 1 PRECEDING)",
        "list(id) OVER (ORDER BY id RANGE 2 PRECEDING)",
        "quantile_disc(id, 0.3) OVER (ORDER BY id)",
        "quantile_disc(id, 0.4) OVER (ORDER BY id)",
        "string_agg(note) OVER (ORDER BY id)",
        "string_agg(note, ';') OVER (ORDER BY id)",
        "any_value(id) OVER (ORDER BY id)",
    ];
    let id = |call: &&str| {
        world.plan(&format!("SELECT {call} AS x FROM lake.orders")).unwrap().views()[0].plan_id.to_string()
    };
    let ids: std::collections::BTreeSet<String> = calls.iter().map(id).collect();
    assert_eq!(ids.len(), calls.len());
    assert_eq!(id(&"lag(id) OVER (ORDER BY id)"), id(&"lag(id RESPECT NULLS) OVER (ORDER BY id)"), "the default");
}

#[test]
fn plan_ids_stay_the_same_from_build_to_build() {
    let world = World::new();
    let sql = "SELECT c.region, count(*) AS n, sum(o.amount) AS s FROM lake.orders o JOIN app.customers c ON c.id = o.customer GROUP BY c.region";
    let id = world.plan(sql).unwrap().views()[0].plan_id.to_string();
    assert_eq!(id, include_str!("plan_id.txt").trim());
}

#[test]
fn definitions_round_trip_without_duckdb() {
    let world = World::new();
    let views = [("b", "SELECT n + 1 AS n FROM a"), ("a", "SELECT id AS n FROM lake.orders")];
    let program = world.plan_all(&views).unwrap();
    assert_eq!(program.tables().len(), 1, "only tables that are read");
    let json = serde_json::to_string(program.definition()).unwrap();
    let again = Program::from_definition(serde_json::from_str::<ProgramDefinition>(&json).unwrap()).unwrap();
    assert_eq!(again.definition(), program.definition());
    for (a, b) in program.views().iter().zip(again.views()) {
        assert_eq!((a.plan_id, &a.info, &a.inputs), (b.plan_id, &b.info, &b.inputs));
    }
    assert_eq!(program.views()[1].inputs, [Input::View(ViewName::new("a"))]);
}

#[test]
fn one_error_for_each_faulty_view() {
    let world = World::new();
    let views = [
        ("good", "SELECT id FROM lake.orders"),
        ("wrong", "SELECT nothing FROM lake.orders"),
        ("reader", "SELECT * FROM wrong"),
        ("limit", "SELECT id FROM good LIMIT 1"),
    ];
    let errors = world.plan_all(&views).unwrap_err();
    let named: Vec<&str> = errors.iter().map(|e| e.view.as_str()).collect();
    assert_eq!(named, ["wrong", "reader", "limit"]);
    assert!(errors[1].message.contains("reads the view wrong"), "{}", errors[1]);
    let circle = world.plan_all(&[("a", "SELECT * FROM b"), ("b", "SELECT * FROM a")]).unwrap_err();
    assert!(circle.iter().all(|e| e.message.contains("reads itself")));
    let twins = world.plan_all(&[("a", "SELECT 1 AS x"), ("A", "SELECT 2 AS x")]).unwrap_err();
    assert!(twins[0].message.contains("another view has this name"));
}

#[test]
fn references_of_a_query() {
    let names = table_references("SELECT * FROM lake.orders JOIN v ON true, (FROM app.public.customers)").unwrap();
    assert_eq!(names.len(), 3);
}

#[test]
fn stretches_follow_weights_and_report_errors() {
    let world = World::new();
    let program = world.plan("SELECT i8 + i8 AS x FROM lake.t WHERE i8 IS NOT NULL AND id > 0").unwrap();
    let (stretch, _) = Stretch::compile(&program.views()[0].plan).unwrap();
    let rows = &world.rows["lake.main.t"];
    let some = RecordBatch::try_new(rows.schema(), rows.slice(0, 3).columns().to_vec()).unwrap();
    let answer = stretch.apply(&ZSet::new(some, Int64Array::from(vec![5, -2, 3]))).unwrap();
    assert_eq!(answer.weights().values(), &[-2, 3]);
    let error = stretch.apply_rows(rows).unwrap_err();
    assert!(
        matches!(&error, StretchError::Evaluate(m) if m.contains("does not fit into TINYINT") && !m.contains("127")),
        "{error}"
    );
    let wrong = stretch.apply_rows(&world.rows["lake.main.Orders"]).unwrap_err();
    assert!(matches!(wrong, StretchError::Input { .. }));
    // A condition guards the ones after it.
    let guarded = world.plan("SELECT id FROM lake.t WHERE id IN (1, 2) AND CAST(n AS INTEGER) > 0").unwrap();
    let (stretch, _) = Stretch::compile(&guarded.views()[0].plan).unwrap();
    assert_eq!(stretch.apply_rows(rows).unwrap().num_rows(), 1);
}

#[test]
fn explanations_show_identity_and_state() {
    let world = World::new();
    let sql = "SELECT c.region, count(*) AS n, sum(o.amount) AS s, max(o.placed) AS last FROM lake.orders o \
               JOIN app.customers c ON c.id = o.customer WHERE o.note = 'x' GROUP BY c.region HAVING count(*) > 2";
    let program = world.plan(sql).unwrap();
    let text = program.views()[0].explain_text();
    for part in [
        "Scan lake.main.Orders",
        "Scan app.public.customers (id, region)",
        "note = 'x'",
        "Filter (count(*) > 2)",
        "Project region, count(*) AS n, sum(amount) AS s, max(placed) AS last",
        "Join",
        "both sides",
        "Aggregate",
        "sums, ordered values",
        "key (region)",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let json = program.views()[0].explain_json();
    assert!(json["inputs"][0].is_object() && json["operator"].is_string(), "{json}");
}

#[test]
fn what_is_written_in_two_ways_is_one_plan() {
    let world = World::new();
    let id = |sql: &str| world.plan(sql).unwrap().views()[0].plan_id;
    for (a, b) in [
        (
            "SELECT mode() WITHIN GROUP (ORDER BY id DESC) AS m FROM lake.orders",
            "SELECT mode(id ORDER BY id DESC) AS m FROM lake.orders",
        ),
        (
            "SELECT DISTINCT ON ((1)) note, id FROM lake.orders ORDER BY (id) DESC",
            "SELECT DISTINCT ON (note) note, id FROM lake.orders ORDER BY id DESC",
        ),
    ] {
        assert_eq!(id(a), id(b), "{a}");
    }
    // A decimal and a double are the same number, and choose different values.
    let (decimal, double) = ("quantile_disc(id, 0.5)", "quantile_disc(id, 5e-1)");
    let of = |call: &str| id(&format!("SELECT {call} AS q FROM lake.orders"));
    assert_ne!(of(decimal), of(double));
}

#[test]
fn conditions_without_columns_stay_above_totals() {
    let world = World::new();
    for sql in [
        "SELECT count(*) AS n FROM lake.orders HAVING 1 = 2",
        "SELECT n FROM (SELECT count(*) AS n FROM lake.orders) WHERE 1 = 2",
        "SELECT o.id, s.n FROM lake.orders o LEFT JOIN (SELECT count(*) AS n FROM app.customers) s ON o.id = s.n AND 1 = 2",
    ] {
        let text = world.plan(sql).unwrap().views()[0].explain_text();
        let places = (text.find("Filter"), text.find("Aggregate"));
        assert!(places.0.is_some() && places.0 < places.1, "{sql}\n{text}");
    }
}

#[test]
fn medians_of_decimals_stay_decimals() {
    let world = World::new();
    let sql = "SELECT median(h) AS h, median(whole) AS w, median(DISTINCT whole) AS d FROM lake.edges";
    let text = world.plan(sql).unwrap().views()[0].explain_text();
    for call in ["median(cast_decimal_float(h))", "median(whole)", "median(DISTINCT whole)"] {
        assert!(text.contains(call), "{call} in\n{text}");
    }
}

#[test]
fn explain_tells_what_a_value_that_rows_are_compared_with_costs() {
    let world = World::new();
    let explained = |sql: &str| world.plan(sql).unwrap().views()[0].explain_text();
    let text =
        explained("SELECT id FROM lake.orders WHERE amount > (SELECT avg(amount) FROM lake.orders) AND note = 'x'");
    for part in ["Threshold ", "the rows between the old and the new value", "note = 'x'", "at most one row"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let by_id = |op: &str| {
        world.plan(&format!("SELECT note FROM lake.orders WHERE id {op} (SELECT max(id) FROM app.customers)"))
    };
    let ids: Vec<_> = ["<", "<=", ">", ">="].map(|op| by_id(op).unwrap().views()[0].plan_id).into();
    assert!(ids.iter().enumerate().all(|(i, id)| !ids[..i].contains(id)), "each comparison is a plan of its own");
}

#[test]
fn explain_tells_what_windows_cost_and_how_ties_are_broken() {
    let world = World::new();
    let explained = |sql: &str| world.plan(sql).unwrap().views()[0].explain_text();
    let ties = "ties in the order of all columns";
    let text = explained("SELECT id, lag(id) OVER (PARTITION BY note ORDER BY amount DESC) AS l FROM lake.orders");
    for part in ["Window lag(id, 1) OVER (PARTITION BY note ORDER BY amount DESC)", ties, "the touched partitions"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let text = explained("SELECT id, rank() OVER (ORDER BY amount) AS r FROM lake.orders");
    assert!(!text.contains(ties) && text.contains("recomputes all rows"), "{text}");
    let text = explained("SELECT id FROM lake.orders ORDER BY amount LIMIT 3 OFFSET 2");
    for part in ["Top 3 after 2 by amount", ties, "looks at 5 rows"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let text = explained("SELECT DISTINCT ON (note) note, id FROM lake.orders ORDER BY note, id");
    for part in ["Top 1 of each note by note, id", "key (note)"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}
