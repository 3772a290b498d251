//! `customers`: a key of two columns that is a unique index and not the primary key.

use super::draw::Draw;
use super::{ROWS_MAX, tried};

pub(super) const SETUP: &str = "CREATE TABLE customers (region text NOT NULL, code int NOT NULL, name text, balance numeric(12,2), tags text[]); \
     CREATE UNIQUE INDEX customers_key ON customers (region, code); \
     ALTER TABLE customers REPLICA IDENTITY USING INDEX customers_key";

const CODES: usize = 30;
const COLUMNS: &str = "customers (region, code, name, balance, tags)";
const REGIONS: &[&str] = &["'north'", "'North'", "'südlich der Donau'", "''"];
const TAGS: &[&str] = &[
    "NULL",
    "'{}'",
    "ARRAY['a', 'b']",
    "ARRAY['a', NULL, 'NULL']",
    r#"ARRAY['it''s', 'a "quoted" one', 'with, comma', 'back\slash', '']"#,
    "ARRAY['c', 'd', 'c']",
];

/// A key: its region and its code.
type Key = (&'static str, usize);

fn key(draw: &mut Draw) -> Key {
    (draw.one_of(REGIONS), draw.below(CODES))
}

fn is((region, code): Key) -> String {
    format!("region = {region} AND code = {code}")
}

fn row_of(draw: &mut Draw, (region, code): Key) -> String {
    let name = draw.one_of(&["'Ada'", "'Grace'", "'O''Brien'", "'漢字'", "''", "NULL"]);
    let (balance, tags) = (draw.amount(), draw.one_of(TAGS));
    format!("({region}, {code}, {name}, {balance}, {tags})")
}

fn row(draw: &mut Draw) -> String {
    let key = key(draw);
    row_of(draw, key)
}

/// One row or several, in one of the ways of treating keys that are there.
pub(super) fn insert(draw: &mut Draw) -> String {
    match draw.below(10) {
        0..6 => format!("INSERT INTO {COLUMNS} VALUES {} ON CONFLICT DO NOTHING", draw.list(ROWS_MAX, row)),
        6..9 => {
            // Two rows with one key would be an error here.
            let set = draw.one_of(&["balance = excluded.balance", "name = excluded.name, tags = excluded.tags"]);
            format!("INSERT INTO {COLUMNS} VALUES {} ON CONFLICT (region, code) DO UPDATE SET {set}", row(draw))
        }
        _ => tried(&format!("INSERT INTO {COLUMNS} VALUES {}", draw.list(2, row))),
    }
}

/// A change of rows that are there, perhaps with what must come right after it.
pub(super) fn change(draw: &mut Draw) -> Vec<String> {
    let (one, other) = (key(draw), key(draw));
    let some = some(draw);
    match draw.below(100) {
        0..40 => {
            let set = draw.one_of(&[
                "balance = least(balance + 0.01, 9999999999)",
                "balance = -balance, name = upper(name)",
                "tags = NULL",
                "tags = '{}'",
                "tags = array_append(tags, NULL)",
                "name = name",
            ]);
            // An array of two dimensions takes no single element.
            let fits = if set.contains("array_append") { " AND array_ndims(tags) IS NOT DISTINCT FROM 1" } else { "" };
            vec![format!("UPDATE customers SET {set} WHERE {some}{fits}")]
        }
        40..52 => vec![moved(one, other)],
        52..58 => vec![moved(one, (one.0, other.1))],
        58..64 => vec![format!("DELETE FROM customers WHERE {}", is(other)), moved(one, other)],
        64..71 => vec![
            // Negative codes are there only in between.
            format!("UPDATE customers SET code = -1 WHERE {}", is(one)),
            format!("UPDATE customers SET region = {}, code = {} WHERE {}", one.0, one.1, is(other)),
            format!("UPDATE customers SET region = {}, code = {} WHERE code = -1", other.0, other.1),
        ],
        71..78 => {
            let insert = format!("INSERT INTO {COLUMNS} VALUES {}", row_of(draw, one));
            vec![format!("DELETE FROM customers WHERE {}", is(one)), insert]
        }
        78..92 => vec![format!("DELETE FROM customers WHERE {}", is(one))],
        _ => vec![format!("DELETE FROM customers WHERE {some}")],
    }
}

fn moved(from: Key, to: Key) -> String {
    let free = format!("NOT EXISTS (SELECT FROM customers WHERE {})", is(to));
    format!("UPDATE customers SET region = {}, code = {} WHERE {} AND {free}", to.0, to.1, is(from))
}

/// A condition that holds for some rows.
fn some(draw: &mut Draw) -> String {
    match draw.below(10) {
        0..5 => is(key(draw)),
        5..7 => format!("code = {}", draw.below(CODES)),
        7..9 => format!("region = {} AND code % 4 = {}", draw.one_of(REGIONS), draw.below(4)),
        _ => draw.one_of(&["name IS NULL", "tags = '{}'", "balance < 0"]).to_owned(),
    }
}
