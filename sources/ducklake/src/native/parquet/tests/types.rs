//! Every type that a lake's own files hold.

use super::World;

/// Each column with values at its edges; what Parquet cannot hold is not among them.
const FLAT: [(&str, &str); 29] = [
    ("BOOLEAN", "true, false"),
    ("TINYINT", "-128, 127"),
    ("SMALLINT", "-32768, 32767"),
    ("INTEGER", "-2147483648, 2147483647"),
    ("BIGINT", "-9223372036854775808, 9223372036854775807"),
    ("HUGEINT", "12345678901234567890123456789, -1, 0, -99999999999999990000000000000000000000"),
    ("UTINYINT", "0, 255"),
    ("USMALLINT", "0, 65535"),
    ("UINTEGER", "0, 4294967295"),
    ("UBIGINT", "0, 18446744073709551615"),
    ("FLOAT", "'nan', '-0.0', 'inf', '-inf', 1.5, 3.4028235e38"),
    ("DOUBLE", "'nan', '-0.0', 'inf', '-inf', 5e-324, 1.7976931348623157e308"),
    ("DECIMAL(4,1)", "-999.9, 999.9"),
    ("DECIMAL(9,2)", "-9999999.99, 0.01"),
    ("DECIMAL(18,3)", "-999999999999999.999, 0.001"),
    ("DECIMAL(38,10)", "-9999999999999999999999999999.9999999999, 0.0000000001"),
    ("DECIMAL(38,0)", "-99999999999999999999999999999999999999, 1"),
    ("VARCHAR", "'', 'ä''\"\\x00', 'text', chr(128512)"),
    ("BLOB", "''::BLOB, '\\x00\\xFF'::BLOB"),
    (
        "UUID",
        "'00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', \
              '7fffffff-ffff-4fff-8123-456789abcdef', '80000000-0000-0000-0000-000000000001'",
    ),
    ("JSON", "'{\"a\":  1}', 'null', '[1,2]'"),
    ("DATE", "'infinity', '-infinity', '0001-01-01 (BC)', '5881580-07-10', '1969-12-31'"),
    ("TIME", "'00:00:00', '23:59:59.999999', '24:00:00'"),
    ("TIMESTAMP", "'infinity', '-infinity', '290309-12-22 (BC) 00:00:00', '294247-01-10 04:00:54.775806'"),
    ("TIMESTAMP_S", "'1969-12-31 23:59:59', '294247-01-10 04:00:54', '290309-12-22 (BC) 00:00:00'"),
    ("TIMESTAMP_MS", "'infinity', '-infinity', '1969-12-31 23:59:59.999', '290000-01-01 00:00:00.123'"),
    ("TIMESTAMP_NS", "'infinity', '-infinity', '1969-12-31 23:59:59.999999999', '2262-04-11 23:47:16.854775806'"),
    ("TIMESTAMP WITH TIME ZONE", "'infinity', '-infinity', '1969-12-31 23:59:59.999999+00', '2020-01-01 12:00:00+05'"),
    ("INTERVAL", "INTERVAL '14 months 40 days 90061.123456 seconds', INTERVAL '0 days', INTERVAL '2147483647 months'"),
];

#[test]
fn plain_types_at_their_edges() {
    let world = World::new();
    let columns = FLAT.iter().enumerate().map(|(at, (name, _))| format!("c{at} {name}"));
    // Shorter lists end in NULLs.
    let lists = FLAT.iter().map(|(name, values)| {
        let values = values.split(", ").map(|value| format!("CAST({value} AS {name})"));
        format!("unnest([{}, NULL])", values.collect::<Vec<_>>().join(", "))
    });
    let (columns, lists) = (columns.collect::<Vec<_>>().join(", "), lists.collect::<Vec<_>>().join(", "));
    world.run(&format!("CREATE TABLE lake.t ({columns}); INSERT INTO lake.t SELECT {lists}"));
    assert_eq!(world.check("t").num_rows(), 7);
}

#[test]
fn all_types_in_one_file_and_within_each_other() {
    let world = World::new();
    let names: Vec<&str> = FLAT.iter().map(|(name, _)| *name).collect();
    let columns = |wrap: fn(usize, &str) -> String| {
        names.iter().enumerate().map(|(at, name)| wrap(at, name)).collect::<Vec<_>>().join(", ")
    };
    let first = |at: usize| {
        let (name, values) = FLAT[at];
        format!("CAST({} AS {name})", values.split(", ").last().unwrap())
    };
    let struct_type = format!("STRUCT({})", columns(|at, name| format!("f{at} {name}")));
    let values = (0..names.len()).map(|at| format!("f{at} := {}", first(at))).collect::<Vec<_>>().join(", ");
    let nulls = (0..names.len()).map(|at| format!("f{at} := NULL")).collect::<Vec<_>>().join(", ");
    world.run(&format!(
        "CREATE TABLE lake.nested (s {struct_type}, l {struct_type}[], m MAP(INTEGER, {struct_type}), \
                                   ll INTEGER[][], lm MAP(VARCHAR, VARCHAR[])[], id INTEGER); \
         INSERT INTO lake.nested VALUES \
           (struct_pack({values}), [struct_pack({values}), NULL, struct_pack({nulls})], \
            MAP {{1: struct_pack({values}), 2: NULL}}, [[1, NULL], NULL, []], \
            [MAP {{'a': ['x', NULL]}}, NULL, MAP {{}}, MAP {{'b': NULL, 'c': []}}], 1), \
           (NULL, NULL, NULL, NULL, NULL, 2), \
           (struct_pack({nulls}), [], MAP {{}}, [], [], 3); \
         INSERT INTO lake.nested SELECT * REPLACE (id + 10 AS id) FROM lake.nested"
    ));
    assert_eq!(world.check("nested").num_rows(), 6);
}

#[test]
fn many_rows_of_many_row_groups() {
    let world = World::new();
    world.run("CALL lake.set_option('parquet_row_group_size', 4096)");
    for compression in ["snappy", "zstd", "gzip", "brotli", "lz4", "lz4_raw", "uncompressed"] {
        world.run(&format!(
            "CALL lake.set_option('parquet_compression', '{compression}'); \
             CREATE TABLE lake.{compression} AS SELECT i, CASE WHEN i % 7 > 0 THEN 'text ' || i % 100 END AS v, \
               [i, NULL, i * 2] AS l, {{'a': i, 'b': CASE WHEN i % 3 = 0 THEN 'x' END}} AS s, \
               i::HUGEINT AS h, hash(i) AS u FROM range(30000) r(i)"
        ));
        let file = world.open(&world.data_files(compression)[0]);
        assert!(file.groups().len() > 5 && !file.has_snapshot_ids(), "{}", file.groups().len());
        world.check(compression);
    }
}
