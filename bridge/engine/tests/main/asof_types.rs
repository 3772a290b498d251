//! ASOF joins over values of every type that has an order, against the oracle.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, table};
use crate::random::change;

/// Each class of equal floats has one number on the right side.
const FLOATS: [(&str, i32); 9] = [
    ("'-0.0'", 0),
    ("0.0", 0),
    ("'nan'", 1),
    ("'-nan'", 1),
    ("'inf'", 2),
    ("'-inf'", 3),
    ("1.5", 4),
    ("-2", 5),
    ("NULL", 6),
];

fn left_float(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..50);
    let key = FLOATS[rng.random_range(0..4)].0;
    format!("({id}, {key}, {})", FLOATS[rng.random_range(0..9)].0)
}

fn right_float(rng: &mut StdRng) -> String {
    let ((key, a), (f, b)) = (FLOATS[rng.random_range(0..4)], FLOATS[rng.random_range(0..9)]);
    format!("({}, {key}, {f})", a * 10 + b)
}

#[test]
fn floats_are_ordered_as_duckdb_orders_them() {
    let columns = [("id", "INTEGER"), ("k", "DOUBLE"), ("f", "DOUBLE")];
    let sides = [table("a", &columns, None), table("b", &columns, None)];
    let views = [
        ("at_or_before", "SELECT a.id, b.id AS bid FROM lake.a ASOF LEFT JOIN lake.b ON a.k = b.k AND a.f >= b.f"),
        ("before", "SELECT a.id, b.id AS bid FROM lake.a ASOF LEFT JOIN lake.b ON a.k = b.k AND a.f > b.f"),
        ("at_or_after", "SELECT a.id, b.id AS bid FROM lake.a ASOF LEFT JOIN lake.b ON a.k = b.k AND a.f <= b.f"),
        ("after", "SELECT a.id, b.id AS bid FROM lake.a ASOF LEFT JOIN lake.b ON a.k = b.k AND a.f < b.f"),
        ("using_f", "SELECT a.id, b.id AS bid FROM lake.a ASOF JOIN lake.b USING (k, f)"),
    ];
    let seed = seed::seed("floats_are_ordered_as_duckdb_orders_them");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut harness = Harness::new(&sides, &views, 1 + (seed % 2) as usize);
    harness.rebuild(RebuildScope::All, &format!("seed {seed}: initial load"));
    for epoch in 0..20 {
        change(&mut harness, &mut rng, &sides[0], left_float);
        change(&mut harness, &mut rng, &sides[1], right_float);
        harness.step(&format!("seed {seed}, epoch {epoch}"));
    }
}

/// Values of types that are not encoded alike, ascending, some of them beginnings of others.
const ORDERED: [(&str, [&str; 6]); 11] = [
    ("BOOLEAN", ["false", "true", "NULL", "NULL", "NULL", "NULL"]),
    ("UTINYINT", ["0", "1", "127", "128", "200", "255"]),
    ("BIGINT", ["-9223372036854775808", "-1", "0", "1", "300", "9223372036854775807"]),
    (
        "UBIGINT",
        ["0", "1", "9223372036854775807", "9223372036854775808", "10000000000000000000", "18446744073709551615"],
    ),
    (
        "HUGEINT",
        [
            "-99999999999999999999999999999999999999",
            "-18446744073709551616",
            "-1",
            "0",
            "18446744073709551616",
            "99999999999999999999999999999999999999",
        ],
    ),
    ("DECIMAL(38,10)", ["-12345678901234567890.5", "-1.5", "0", "0.0000000001", "1.5", "12345678901234567890.5"]),
    ("DATE", ["'-infinity'", "'0001-01-01'", "'1969-12-31'", "'1970-01-01'", "'9999-12-31'", "'infinity'"]),
    ("TIME", ["'00:00:00'", "'00:00:00.000001'", "'10:00:00'", "'12:30:00'", "'23:59:59'", "'23:59:59.999999'"]),
    ("VARCHAR", ["''", "'a'", "'aaaaaaaa'", "'aaaaaaaaa'", "'ab'", "'ünïcode'"]),
    ("BLOB", ["''", "'\\x00'", "'\\x00\\x00'", "'a'", "'aaaaaaaaa'", "'\\xFF'"]),
    (
        "UUID",
        [
            "'00000000-0000-0000-0000-000000000001'",
            "'10000000-0000-0000-0000-000000000000'",
            "'7fffffff-ffff-ffff-ffff-ffffffffffff'",
            "'80000000-0000-0000-0000-000000000000'",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
];

#[test]
fn every_type_is_ordered_as_duckdb_orders_it() {
    for (data_type, values) in ORDERED {
        let columns = [("id", "INTEGER"), ("x", data_type)];
        let sides = [table("a", &columns, None), table("b", &columns, None)];
        let views = ["at_or_before >=", "before >", "at_or_after <=", "after <"].map(|view| {
            let (name, op) = view.split_once(' ').expect("a name and a comparison");
            (name, format!("SELECT a.id, b.id AS bid FROM lake.a ASOF LEFT JOIN lake.b ON a.x {op} b.x"))
        });
        let views: Vec<(&str, &str)> = views.iter().map(|(name, sql)| (*name, sql.as_str())).collect();
        let mut harness = Harness::new(&sides, &views, 1);
        harness.rebuild(RebuildScope::All, data_type);
        let row = |(id, value): (usize, &&str)| format!("({id}, {value})");
        let all: Vec<String> = values.iter().enumerate().map(row).collect();
        harness.feed(&sides[0].name, rows::inserted(&sides[0].columns, &all.join(", ")));
        harness.step(&format!("{data_type}: nothing to meet"));
        for part in [[1, 4], [0, 3], [5, 2]] {
            for row in part {
                harness.feed(&sides[1].name, rows::inserted(&sides[1].columns, &all[row]));
            }
            harness.step(&format!("{data_type}: {part:?}"));
        }
        harness.feed(&sides[1].name, rows::deleted(&sides[1].columns, &format!("{}, {}", all[1], all[4])));
        harness.step(&format!("{data_type}: two are gone"));
    }
}
