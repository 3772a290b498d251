//! Files that were written before the table changed.

use super::World;

/// A type, a wider one, and values of the first.
type Case = (&'static str, &'static str, &'static str);

#[test]
fn columns_are_added_renamed_dropped_and_added_again() {
    let world = World::new();
    world.run(
        "CREATE TABLE lake.t (a INTEGER, b VARCHAR, c INTEGER); \
         INSERT INTO lake.t VALUES (1, 'x', 5), (2, NULL, 6); \
         ALTER TABLE lake.t ADD COLUMN d DATE DEFAULT '2020-01-01'; \
         ALTER TABLE lake.t RENAME COLUMN b TO bb; \
         ALTER TABLE lake.t DROP COLUMN c; \
         ALTER TABLE lake.t ADD COLUMN c INTEGER; \
         ALTER TABLE lake.t ADD COLUMN b VARCHAR DEFAULT 'new'; \
         INSERT INTO lake.t VALUES (3, 'y', '2021-01-01', 7, 'own'); \
         ALTER TABLE lake.t ALTER COLUMN d SET DEFAULT '2030-01-01'",
    );
    assert_eq!(world.check("t").num_rows(), 3);
}

#[test]
fn no_column_of_the_file_is_left() {
    let world = World::new();
    world.run(
        "CREATE TABLE lake.t (a INTEGER); INSERT INTO lake.t SELECT i FROM range(100000) r(i); \
         ALTER TABLE lake.t ADD COLUMN b VARCHAR DEFAULT 'b'; ALTER TABLE lake.t DROP COLUMN a",
    );
    assert_eq!(world.check("t").num_rows(), 100_000);
}

#[test]
fn fields_are_added_renamed_and_dropped() {
    let world = World::new();
    world.run(
        "CREATE TABLE lake.t (id INTEGER, s STRUCT(x INTEGER, y VARCHAR), l STRUCT(p INTEGER)[], \
                              m MAP(VARCHAR, STRUCT(q INTEGER))); \
         INSERT INTO lake.t VALUES (1, {'x': 1, 'y': 'b'}, [{'p': 1}, NULL], MAP {'k': {'q': 1}, 'n': NULL}), \
                                   (2, NULL, NULL, NULL), (3, {'x': NULL, 'y': NULL}, [], MAP {}); \
         ALTER TABLE lake.t ADD COLUMN s.z INTEGER DEFAULT 7; \
         ALTER TABLE lake.t ADD COLUMN l.element.p2 VARCHAR; \
         ALTER TABLE lake.t ADD COLUMN m.value.q2 DATE",
    );
    world.check("t");
    world.run("ALTER TABLE lake.t RENAME COLUMN s.y TO yy; ALTER TABLE lake.t DROP COLUMN s.x");
    world.check("t");
    world.run(
        "INSERT INTO lake.t VALUES (4, {'yy': 'c', 'z': 1}, [{'p': 2, 'p2': 'p'}], MAP {'z': {'q': 1, 'q2': NULL}})",
    );
    // Of the first file's struct nothing is left, but for where it is NULL.
    world.run("ALTER TABLE lake.t DROP COLUMN s.yy");
    assert_eq!(world.check("t").num_rows(), 4);
}

#[test]
fn types_are_widened() {
    let world = World::new();
    let cases: [Case; 24] = [
        ("TINYINT", "BIGINT", "-1, 127, NULL"),
        ("UINTEGER", "BIGINT", "4294967295, NULL"),
        ("UTINYINT", "SMALLINT", "255, NULL"),
        ("INTEGER", "DOUBLE", "2147483647, NULL"),
        ("INTEGER", "FLOAT", "16777217, 2147483647, NULL"),
        ("BIGINT", "DOUBLE", "9007199254740993, NULL"),
        ("BIGINT", "HUGEINT", "9223372036854775807, NULL"),
        ("UBIGINT", "HUGEINT", "18446744073709551615, NULL"),
        ("INTEGER", "DECIMAL(12,2)", "-1234567890, NULL"),
        ("FLOAT", "DOUBLE", "1.1::FLOAT, 'nan'::FLOAT, '-0.0'::FLOAT, NULL"),
        ("DECIMAL(4,1)", "DECIMAL(9,1)", "-999.9, NULL"),
        ("DECIMAL(4,1)", "DECIMAL(38,5)", "-999.9, NULL"),
        ("DECIMAL(4,1)", "DOUBLE", "-999.9, NULL"),
        ("HUGEINT", "DOUBLE", "12345678901234567890123456789, NULL"),
        ("DATE", "TIMESTAMP", "'infinity'::DATE, '-infinity'::DATE, '1969-12-31'::DATE, NULL"),
        ("DATE", "TIMESTAMP WITH TIME ZONE", "'infinity'::DATE, '1969-12-31'::DATE, NULL"),
        ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "'infinity'::TIMESTAMP, '1969-12-31 00:00:01'::TIMESTAMP, NULL"),
        ("TIMESTAMP_S", "TIMESTAMP", "'1969-12-31 00:00:01'::TIMESTAMP_S, NULL"),
        ("TIMESTAMP_S", "TIMESTAMP_MS", "'1969-12-31 00:00:01'::TIMESTAMP_S, NULL"),
        ("TIMESTAMP_MS", "TIMESTAMP_NS", "'1969-12-31 00:00:01.001'::TIMESTAMP_MS, NULL"),
        ("VARCHAR", "JSON", "'{\"a\":  1}', '\"ä\"', NULL"),
        ("INTEGER[]", "BIGINT[]", "[1, NULL], [], NULL"),
        (
            "STRUCT(a INTEGER, b DATE)",
            "STRUCT(a BIGINT, b TIMESTAMP, c INTEGER)",
            "{'a': 1, 'b': DATE '2020-01-01'}, NULL",
        ),
        ("MAP(VARCHAR, FLOAT)", "MAP(VARCHAR, DOUBLE)", "MAP {'a': 1.1::FLOAT}, MAP {}, NULL"),
    ];
    let each = |text: &dyn Fn(usize, &Case) -> String, separator: &str| {
        cases.iter().enumerate().map(|(at, case)| text(at, case)).collect::<Vec<_>>().join(separator)
    };
    // Shorter lists end in NULLs.
    world.run(&format!(
        "CREATE TABLE lake.t ({}); INSERT INTO lake.t SELECT {}; {}; INSERT INTO lake.t (c0) VALUES (NULL)",
        each(&|at, (from, _, _)| format!("c{at} {from}"), ", "),
        each(&|_, (_, _, values)| format!("unnest([{values}])"), ", "),
        each(&|at, (_, to, _)| format!("ALTER TABLE lake.t ALTER COLUMN c{at} SET DATA TYPE {to}"), "; "),
    ));
    assert_eq!(world.check("t").num_rows(), 5);
}

#[test]
fn a_conversion_by_duckdb_keeps_the_order_of_many_rows() {
    let world = World::new();
    world.run(
        "CREATE TABLE lake.t (d DATE, n INTEGER); \
         INSERT INTO lake.t SELECT DATE '2000-01-01' + (i % 9999)::INTEGER, hash(i) % 100000 FROM range(100000) r(i); \
         ALTER TABLE lake.t ALTER COLUMN d SET DATA TYPE TIMESTAMP; \
         ALTER TABLE lake.t ALTER COLUMN n SET DATA TYPE DECIMAL(20,3)",
    );
    assert_eq!(world.check("t").num_rows(), 100_000);
}
