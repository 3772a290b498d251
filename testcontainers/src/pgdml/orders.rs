//! `orders`: a primary key, and a long text that lies outside of the row.

use super::draw::Draw;
use super::{ROWS_MAX, tried};

pub(super) const SETUP: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, customer int, amount numeric(12,2), \
                                note text, placed timestamptz)";

const KEYS: usize = 120;
const COLUMNS: &str = "orders (id, customer, amount, note, placed)";
const TIMES: &[&str] = &[
    "'2024-02-29 12:00:00.123456+00'",
    "'1969-12-31 23:59:59.999999+00'",
    "'2025-03-30 02:30:00+01'",
    "'0001-01-01 00:00:00+00'",
    "'9999-12-31 23:59:59.999999+00'",
    "NULL",
];

fn key(draw: &mut Draw) -> usize {
    1 + draw.below(KEYS)
}

fn row_of(draw: &mut Draw, key: usize) -> String {
    let customer = draw.one_of(&["1", "2", "3", "4", "NULL"]);
    let (amount, note, placed) = (draw.amount(), draw.text(), draw.one_of(TIMES));
    format!("({key}, {customer}, {amount}, {note}, {placed})")
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
            let set = draw.one_of(&[
                "amount = excluded.amount",
                "amount = excluded.amount, placed = orders.placed",
                "note = excluded.note",
                "customer = excluded.customer, note = coalesce(orders.note, excluded.note)",
            ]);
            format!("INSERT INTO {COLUMNS} VALUES {} ON CONFLICT (id) DO UPDATE SET {set}", row(draw))
        }
        _ => tried(&format!("INSERT INTO {COLUMNS} VALUES {}", draw.list(2, row))),
    }
}

/// A change of rows that are there, perhaps with what must come right after it.
pub(super) fn change(draw: &mut Draw) -> Vec<String> {
    let (one, other) = (key(draw), key(draw));
    let some = some(draw);
    match draw.below(100) {
        0..30 => {
            let set = draw.one_of(&[
                "amount = least(amount + 1, 9999999999)",
                "amount = -amount",
                "customer = customer % 4 + 1, placed = NULL",
                "placed = '2024-06-01 00:00:00+00'",
                "amount = amount",
            ]);
            vec![format!("UPDATE orders SET {set} WHERE {some}")]
        }
        30..45 => vec![format!("UPDATE orders SET note = {} WHERE {some}", draw.text())],
        45..55 => {
            let set = draw.one_of(&["note = note || '.'", "note = left(note, 20)", "note = note"]);
            vec![format!("UPDATE orders SET {set} WHERE {some}")]
        }
        55..63 => vec![moved(one, other)],
        63..68 => vec![format!("DELETE FROM orders WHERE id = {other}"), moved(one, other)],
        68..74 => vec![
            // Negative keys are there only in between.
            format!("UPDATE orders SET id = -id WHERE id = {one}"),
            format!("UPDATE orders SET id = {one} WHERE id = {other}"),
            format!("UPDATE orders SET id = {other} WHERE id = -{one}"),
        ],
        74..80 => {
            let again = row_of(draw, one);
            let insert = format!("INSERT INTO {COLUMNS} VALUES {again}");
            vec![format!("DELETE FROM orders WHERE id = {one}"), insert]
        }
        80..84 => vec![
            format!("INSERT INTO {COLUMNS} VALUES {} ON CONFLICT DO NOTHING", row_of(draw, one)),
            format!("UPDATE orders SET customer = 1, note = {} WHERE id = {one}", draw.text()),
            format!("DELETE FROM orders WHERE id = {one}"),
        ],
        84..94 => vec![format!("DELETE FROM orders WHERE id = {one}")],
        _ => vec![format!("DELETE FROM orders WHERE {some}")],
    }
}

fn moved(from: usize, to: usize) -> String {
    format!("UPDATE orders SET id = {to} WHERE id = {from} AND NOT EXISTS (SELECT FROM orders WHERE id = {to})")
}

/// A condition that holds for some rows.
fn some(draw: &mut Draw) -> String {
    match draw.below(10) {
        0..5 => format!("id = {}", key(draw)),
        5..8 => {
            let from = key(draw);
            format!("id BETWEEN {from} AND {}", from + 8)
        }
        8 => format!("id % 7 = {}", draw.below(7)),
        _ => draw
            .one_of(&["customer = 2", "customer IS NULL AND id % 2 = 0", "length(note) > 8192 AND id % 3 = 0"])
            .to_owned(),
    }
}
