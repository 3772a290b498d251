//! Views are bound by DuckDB itself, over empty tables.

use tidegate_core::schema::columns;
use tidegate_core::{Binder, RowIdentity, TableName, TableSchema, ViewName};
use tidegate_duck::DuckBinder;

fn table(source: &str, schema: &str, name: &str, of: &[(&str, &str, bool)]) -> TableSchema {
    TableSchema {
        name: TableName::new(source, schema, name),
        incarnation: 1,
        columns: columns(of.iter().copied()).unwrap(),
        identity: RowIdentity::WholeRow,
        integral: tidegate_core::Integral::Source,
    }
}

fn tables() -> Vec<TableSchema> {
    vec![
        table(
            "lake",
            "main",
            "Orders",
            &[("id", "BIGINT", false), ("customer_id", "INTEGER", true), ("amount", "DECIMAL(15,2)", true)],
        ),
        table(
            "lake",
            "raw",
            "events",
            &[("happened", "TIMESTAMP WITH TIME ZONE", true), ("order by", "HUGEINT[]", true)],
        ),
        table("app", "public", "customers", &[("id", "INTEGER", false), ("region", "VARCHAR", true)]),
        table("app", "sales", "customers", &[("id", "INTEGER", false)]),
    ]
}

fn describe(views: &[(&str, &str)]) -> Vec<Result<Vec<(String, String)>, String>> {
    let views: Vec<_> = views.iter().map(|(name, sql)| (ViewName::new(*name), (*sql).to_owned())).collect();
    DuckBinder
        .describe(&tables(), &views)
        .into_iter()
        .map(|answer| match answer {
            Ok(columns) => Ok(columns.into_iter().map(|c| (c.name, c.duckdb_type)).collect()),
            Err(error) => Err(error.to_string()),
        })
        .collect()
}

fn pairs(of: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
    Ok(of.iter().map(|(name, duckdb_type)| ((*name).to_owned(), (*duckdb_type).to_owned())).collect())
}

#[test]
fn names_and_types_are_duckdbs() {
    let bound = describe(&[
        (
            "by_region",
            "SELECT c.region, count(*), sum(o.amount), sum(o.id) AS ids, avg(amount)\n\
             FROM lake.orders o JOIN app.customers c ON c.id = o.customer_id GROUP BY ALL",
        ),
        ("again", "SELECT * FROM By_Region WHERE ids / 2 > 1 -- the upstream view\n;"),
        ("three_parts", "SELECT unnest(\"order by\"), date_trunc('day', happened) FROM lake.raw.events"),
        ("other_schema", "FROM app.sales.customers"),
        ("from_public", "FROM app.public.customers SELECT id // 2 AS half, id / 2"),
    ]);
    let by_region = [
        ("region", "VARCHAR"),
        ("count_star()", "BIGINT"),
        ("sum(o.amount)", "DECIMAL(38,2)"),
        ("ids", "HUGEINT"),
        ("avg(amount)", "DOUBLE"),
    ];
    assert_eq!(bound[0], pairs(&by_region));
    assert_eq!(bound[1], pairs(&by_region));
    assert_eq!(
        bound[2],
        pairs(&[("unnest(\"order by\")", "HUGEINT"), ("date_trunc('day', happened)", "TIMESTAMP WITH TIME ZONE")])
    );
    assert_eq!(bound[3], pairs(&[("id", "INTEGER")]));
    assert_eq!(bound[4], pairs(&[("half", "INTEGER"), ("(id / 2)", "DOUBLE")]));
}

#[test]
fn refusals_name_the_place_and_near_matches() {
    let bound = describe(&[
        ("wrong", "SELECT id,\n       amont\nFROM lake.orders"),
        ("reader", "SELECT * FROM wrong"),
        ("fine", "SELECT 1 AS one"),
        ("absent", "SELECT * FROM lake.order"),
    ]);
    let wrong = bound[0].as_ref().unwrap_err();
    assert!(wrong.contains("amont") && wrong.contains("amount") && wrong.contains("LINE 2:"), "{wrong}");
    assert!(bound[1].as_ref().unwrap_err().contains("wrong"));
    assert_eq!(bound[2], pairs(&[("one", "INTEGER")]));
    let absent = bound[3].as_ref().unwrap_err();
    assert!(absent.contains("order") && absent.to_lowercase().contains("did you mean"), "{absent}");
}

#[test]
fn a_view_is_one_query_that_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.csv");
    let copy = format!("SELECT 1; COPY (SELECT 1) TO '{}'; SELECT 2", file.display());
    let read = "SELECT * FROM read_csv('/etc/hostname')";
    let bound = describe(&[("two", &copy), ("file", read), ("ddl", "DROP TABLE lake.orders")]);
    assert!(bound.iter().all(Result::is_err), "{bound:?}");
    assert!(!file.exists());
}
