//! `events`: no key, and rows that are equal in everything.

use super::ROWS_MAX;
use super::draw::Draw;

pub(super) const SETUP: &str =
    "CREATE TABLE events (kind text, n int, big text, at date); ALTER TABLE events REPLICA IDENTITY FULL";

/// A deletion by `n` takes one of so many parts of the table, which bounds its growth.
const NUMBERS: usize = 8;
const COLUMNS: &str = "events (kind, n, big, at)";
const LONG_ROWS: usize = 100;

fn row(draw: &mut Draw) -> String {
    let kind = draw.one_of(&["'x'", "'y'", "NULL"]);
    let at = draw.one_of(&["'2024-02-29'", "'1969-12-31'", "NULL"]);
    let big = if draw.chance(70) { "NULL".to_owned() } else { draw.text() };
    format!("({kind}, {}, {big}, {at})", number(draw))
}

fn number(draw: &mut Draw) -> String {
    if draw.chance(5) { "NULL".to_owned() } else { draw.below(NUMBERS).to_string() }
}

/// One row or several, often with equal ones among them, rarely many.
pub(super) fn insert(draw: &mut Draw) -> String {
    match draw.below(20) {
        0..12 => format!("INSERT INTO {COLUMNS} VALUES {}", draw.list(ROWS_MAX, row)),
        12..18 => {
            let row = row(draw);
            let copies = vec![row; 2 + draw.below(2)];
            format!("INSERT INTO {COLUMNS} VALUES {}", copies.join(", "))
        }
        18 => format!("INSERT INTO {COLUMNS} SELECT * FROM events WHERE n = {} LIMIT 5", draw.below(NUMBERS)),
        _ => format!(
            "INSERT INTO {COLUMNS} SELECT 'many', i % {NUMBERS}, NULL, NULL FROM generate_series(1, {LONG_ROWS}) i"
        ),
    }
}

/// A change of rows that are there.
pub(super) fn change(draw: &mut Draw) -> Vec<String> {
    let number = draw.below(NUMBERS);
    let first = "ctid = (SELECT min(ctid) FROM events WHERE";
    vec![match draw.below(100) {
        0..25 => {
            let set = draw.one_of(&["at = '2024-03-01'", "at = NULL", "kind = 'z'", "kind = kind"]);
            let kind = draw.one_of(&["kind = 'x'", "kind = 'y'", "kind IS NULL", "length(big) > 8192"]);
            format!("UPDATE events SET {set} WHERE n = {number} AND {kind}")
        }
        // One of several rows that may be equal.
        25..40 => format!("UPDATE events SET n = {} WHERE {first} n = {number})", draw.below(NUMBERS)),
        40..50 => format!("UPDATE events SET big = {} WHERE {first} n = {number})", draw.text()),
        50..55 => format!("UPDATE events SET kind = 'y' WHERE {first} length(big) > 8192)"),
        55..60 => format!("UPDATE events SET n = n, big = NULL WHERE n = {number} AND big IS NOT NULL"),
        60..75 => format!("DELETE FROM events WHERE {first} n = {number})"),
        75..80 => "DELETE FROM events WHERE n IS NULL".to_owned(),
        80..85 => "DELETE FROM events WHERE kind = 'many'".to_owned(),
        _ => format!("DELETE FROM events WHERE n = {number}"),
    }]
}
