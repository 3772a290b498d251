//! From the catalog to DuckDB's types.

use super::super::*;

fn row(oid: u32, name: &str, schema: &str, kind: char) -> TypeRow {
    TypeRow {
        oid,
        name: name.to_owned(),
        schema: schema.to_owned(),
        kind,
        category: 'U',
        element: 0,
        is_array: false,
        base: 0,
        base_modifier: -1,
        base_dimensions: 0,
        attributes: Vec::new(),
    }
}

fn built_in(name: &str) -> TypeRow {
    row(1, name, "pg_catalog", 'b')
}

fn array_of(oid: u32, element: u32) -> TypeRow {
    TypeRow { element, is_array: true, category: 'A', ..row(oid, "_x", "pg_catalog", 'b') }
}

fn composite(oid: u32, attributes: &[(&str, u32, i32, i32)]) -> TypeRow {
    let attributes = attributes.iter().map(|&(name, type_oid, modifier, dimensions)| Attribute {
        name: name.to_owned(),
        type_oid,
        modifier,
        dimensions,
    });
    TypeRow { attributes: attributes.collect(), ..row(oid, "row", "app", 'c') }
}

fn resolve(
    rows: impl IntoIterator<Item = TypeRow>,
    oid: u32,
    modifier: i32,
    dimensions: i32,
) -> Result<String, String> {
    resolve_with(&Policy::default(), rows, oid, modifier, dimensions)
}

fn resolve_with(
    policy: &Policy,
    rows: impl IntoIterator<Item = TypeRow>,
    oid: u32,
    modifier: i32,
    dimensions: i32,
) -> Result<String, String> {
    let resolved = TypeCatalog::from_iter(rows).resolve(oid, modifier, dimensions, policy);
    resolved.map(|pg_type| pg_type.duckdb_type()).map_err(|error| error.to_string())
}

fn numeric_modifier(precision: i32, scale: i32) -> i32 {
    (precision << 16 | scale & 0x7ff) + 4
}

#[test]
fn built_in_types() {
    let cases = [
        ("bool", "BOOLEAN"),
        ("int2", "SMALLINT"),
        ("int4", "INTEGER"),
        ("int8", "BIGINT"),
        ("oid", "UINTEGER"),
        ("xid", "UINTEGER"),
        ("cid", "UINTEGER"),
        ("xid8", "UBIGINT"),
        ("float4", "FLOAT"),
        ("float8", "DOUBLE"),
        ("numeric", "VARCHAR"),
        ("money", "DECIMAL(19,2)"),
        ("date", "DATE"),
        ("time", "TIME"),
        ("timetz", "VARCHAR"),
        ("timestamp", "TIMESTAMP"),
        ("timestamptz", "TIMESTAMP WITH TIME ZONE"),
        ("interval", "INTERVAL"),
        ("uuid", "UUID"),
        ("json", "JSON"),
        ("jsonb", "JSON"),
        ("bytea", "BLOB"),
    ];
    for (name, duckdb_type) in cases {
        assert_eq!(resolve([built_in(name)], 1, -1, 0).as_deref(), Ok(duckdb_type), "{name}");
    }
    let as_written = "xml text varchar bpchar name char inet cidr macaddr macaddr8 bit varbit tsvector tsquery point line \
                      lseg box path polygon circle pg_lsn regclass regtype tid int2vector oidvector pg_snapshot jsonpath";
    for name in as_written.split_whitespace() {
        assert_eq!(resolve([built_in(name)], 1, -1, 0).as_deref(), Ok("VARCHAR"), "{name}");
    }
}

#[test]
fn types_of_others() {
    for (name, kind) in [("citext", 'b'), ("vector", 'b'), ("mood", 'e'), ("span", 'r'), ("spans", 'm'), ("int4", 'b')]
    {
        assert_eq!(resolve([row(1, name, "app", kind)], 1, -1, 0).as_deref(), Ok("VARCHAR"), "{name}");
    }
    assert_eq!(resolve([row(1, "hstore", "public", 'b')], 1, -1, 0).as_deref(), Ok("MAP(VARCHAR, VARCHAR)"));
}

#[test]
fn numerics() {
    let cases = [
        ((10, 2), "DECIMAL(10,2)"),
        ((38, 0), "DECIMAL(38,0)"),
        ((38, 38), "DECIMAL(38,38)"),
        ((39, 0), "VARCHAR"),
        ((1000, 1000), "VARCHAR"),
        ((3, -2), "DECIMAL(5,0)"),
        ((38, -1), "VARCHAR"),
        ((3, -1000), "VARCHAR"),
        ((2, 4), "DECIMAL(4,4)"),
        ((2, 39), "VARCHAR"),
    ];
    for ((precision, scale), duckdb_type) in cases {
        let modifier = numeric_modifier(precision, scale);
        assert_eq!(resolve([built_in("numeric")], 1, modifier, 0).as_deref(), Ok(duckdb_type), "{precision}, {scale}");
    }
    for (numeric, duckdb_type) in [
        (NumericAs::Varchar, "VARCHAR"),
        (NumericAs::Double, "DOUBLE"),
        (NumericAs::Decimal { precision: 38, scale: 9 }, "DECIMAL(38,9)"),
    ] {
        let policy = Policy { numeric, ..Policy::default() };
        for modifier in [-1, numeric_modifier(50, 2)] {
            let resolved = resolve_with(&policy, [built_in("numeric")], 1, modifier, 0);
            assert_eq!(resolved.as_deref(), Ok(duckdb_type));
        }
        let bounded = resolve_with(&policy, [built_in("numeric")], 1, numeric_modifier(4, 1), 0);
        assert_eq!(bounded.as_deref(), Ok("DECIMAL(4,1)"));
    }
}

#[test]
fn policies_that_cannot_be() {
    for (precision, scale) in [(0, 0), (39, 0), (5, 6)] {
        let policy = Policy { numeric: NumericAs::Decimal { precision, scale }, ..Policy::default() };
        let error = resolve_with(&policy, [built_in("numeric")], 1, -1, 0).unwrap_err();
        assert!(error.starts_with("the PostgreSQL type numeric is not supported: numeric = "), "{error}");
    }
    let policy = Policy { money_digits: 20, ..Policy::default() };
    let error = resolve_with(&policy, [built_in("money")], 1, -1, 0).unwrap_err();
    assert!(error.ends_with("money_digits must be 19 or less"), "{error}");
}

#[test]
fn policies_are_read_from_text() {
    let numeric = |text: &str| serde_json::from_value::<NumericAs>(serde_json::Value::from(text));
    assert_eq!(numeric("varchar").unwrap(), NumericAs::Varchar);
    assert_eq!(numeric("double").unwrap(), NumericAs::Double);
    assert_eq!(numeric("decimal(38,9)").unwrap(), NumericAs::Decimal { precision: 38, scale: 9 });
    assert_eq!(numeric(" DECIMAL ( 1, 0 ) ").unwrap(), NumericAs::Decimal { precision: 1, scale: 0 });
    for text in ["", "text", "decimal", "decimal(39,0)", "decimal(5,6)", "decimal(5)", "decimal(5,-1)", "decimal(5,1"] {
        let error = numeric(text).unwrap_err().to_string();
        assert!(error.contains("write \"varchar\", \"double\" or \"decimal(precision,scale)\""), "{error}");
    }
    let on = |text: &str| serde_json::from_value::<OnUnrepresentable>(serde_json::Value::from(text)).ok();
    assert_eq!((on("error"), on("null")), (Some(OnUnrepresentable::Error), Some(OnUnrepresentable::Null)));
    assert_eq!(on("ignore"), None);
}

#[test]
fn arrays() {
    let rows = || [array_of(10, 1), built_in("int4")];
    assert_eq!(resolve(rows(), 10, -1, 0).as_deref(), Ok("INTEGER[]"));
    assert_eq!(resolve(rows(), 10, -1, 1).as_deref(), Ok("INTEGER[]"));
    assert_eq!(resolve(rows(), 10, -1, 3).as_deref(), Ok("INTEGER[][][]"));
    assert_eq!(resolve(rows(), 10, -1, 99).as_deref(), Ok("INTEGER[][][][][][]"));
    let numerics = [array_of(10, 1), built_in("numeric")];
    assert_eq!(resolve(numerics, 10, numeric_modifier(8, 3), 2).as_deref(), Ok("DECIMAL(8,3)[][]"));
    assert_eq!(resolve([array_of(10, 1), built_in("box")], 10, -1, 1).as_deref(), Ok("VARCHAR"));
}

#[test]
fn domains() {
    let domain = |oid, base, base_modifier, base_dimensions| TypeRow {
        base,
        base_modifier,
        base_dimensions,
        ..row(oid, "domain", "app", 'd')
    };
    let rows = || {
        [
            built_in("numeric"),
            array_of(2, 1),
            domain(10, 1, numeric_modifier(6, 2), 0),
            domain(11, 10, -1, 0),
            domain(12, 2, numeric_modifier(6, 2), 2),
            array_of(13, 10),
            array_of(14, 12),
        ]
    };
    let cases = [
        (10, 0, "DECIMAL(6,2)"),
        (11, 0, "DECIMAL(6,2)"),
        (12, 0, "DECIMAL(6,2)[][]"),
        (13, 2, "DECIMAL(6,2)[][]"),
        (14, 1, "DECIMAL(6,2)[][][]"),
    ];
    for (oid, dimensions, duckdb_type) in cases {
        assert_eq!(resolve(rows(), oid, -1, dimensions).as_deref(), Ok(duckdb_type), "{oid}");
    }
}

#[test]
fn composites() {
    let rows = |attributes: &[(&str, u32, i32, i32)]| {
        [
            built_in("numeric"),
            array_of(2, 1),
            composite(10, attributes),
            composite(11, &[("a", 10, -1, 0), ("b", 2, -1, 1)]),
        ]
    };
    let plain = rows(&[("a", 1, numeric_modifier(3, 1), 0), ("Ab_1", 2, -1, 2)]);
    assert_eq!(resolve(plain, 10, -1, 0).as_deref(), Ok("STRUCT(a DECIMAL(3,1), Ab_1 VARCHAR[][])"));
    let quoted = rows(&[
        ("select", 1, -1, 0),
        ("Name", 1, -1, 0),
        ("a b", 1, -1, 0),
        ("1a", 1, -1, 0),
        ("x\"y", 1, -1, 0),
        ("é", 1, -1, 0),
    ]);
    assert_eq!(
        resolve(quoted, 10, -1, 0).as_deref(),
        Ok(r#"STRUCT("select" VARCHAR, "Name" VARCHAR, "a b" VARCHAR, "1a" VARCHAR, "x""y" VARCHAR, "é" VARCHAR)"#)
    );
    assert_eq!(resolve(rows(&[("x", 1, -1, 0)]), 11, -1, 0).as_deref(), Ok("STRUCT(a STRUCT(x VARCHAR), b VARCHAR[])"));
    assert_eq!(resolve(rows(&[]), 10, -1, 0).as_deref(), Ok("VARCHAR"));
    assert_eq!(resolve(rows(&[("x", 1, -1, 0), ("X", 1, -1, 0)]), 10, -1, 0).as_deref(), Ok("VARCHAR"));
}

#[test]
fn refusals() {
    let unknown = resolve([], 4711, -1, 0).unwrap_err();
    assert!(unknown.contains("with oid 4711"), "{unknown}");
    let pseudo = resolve([row(1, "record", "pg_catalog", 'p')], 1, -1, 0).unwrap_err();
    assert!(pseudo.contains("type record") && pseudo.contains("publication's column list"), "{pseudo}");
    let nested = resolve([array_of(2, 1), row(1, "odd", "app", 'p')], 2, -1, 1).unwrap_err();
    assert!(nested.contains("app.odd"), "{nested}");
    let endless = resolve([composite(1, &[("a", 1, -1, 0)])], 1, -1, 0).unwrap_err();
    assert!(endless.contains("app.row") && endless.contains("64 deep"), "{endless}");
}

#[test]
fn the_query_has_the_columns_in_order() {
    let mut rest = &TYPES_SQL[TYPES_SQL.rfind("\nSELECT\n").unwrap()..];
    for (column, _) in TypeRow::COLUMNS {
        let alias = format!(" AS {column}");
        let at = rest.find(&alias).unwrap_or_else(|| panic!("{column} is missing or out of order"));
        rest = &rest[at + alias.len()..];
    }
    let attributes = Attribute::zip(vec!["a".into(), "b".into()], vec![1, 2], vec![-1, 8], vec![0, 1]);
    assert_eq!(attributes[1], Attribute { name: "b".into(), type_oid: 2, modifier: 8, dimensions: 1 });
    assert_eq!(attributes.len(), 2);
}
