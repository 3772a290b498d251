//! The changes: what an order system does in a day, in DuckDB SQL.

use crate::bridge::Run;
use crate::print::grouped;
use crate::times::milliseconds;

/// A change of the lake.
pub struct Round {
    pub title: &'static str,
    /// The statements on a day; days are numbers from 0 on.
    pub sql: fn(day: u64) -> String,
}

/// The first key of the orders that come, of which a day has a thousand, and of the customers.
pub const NEW_ORDERS: u64 = 9_000_000;
const NEW_CUSTOMERS: u64 = 8_000_000;

/// What happens in a day, round by round.
pub const ROUNDS: &[Round] = &[
    Round {
        title: "100 orders with 300 lines (two tables, one transaction)",
        sql: |day| {
            let first = NEW_ORDERS + day * 1_000;
            format!(
                "BEGIN;
                 INSERT INTO lake.orders
                     SELECT {first} + i, 1 + (i * 271) % 30000, 'O', 1000 + i, DATE '1998-08-03', '3-MEDIUM',
                            'Clerk#000000001', 0, 'new'
                     FROM range(100) t(i);
                 INSERT INTO lake.lineitem
                     SELECT {first} + i // 3, 1 + i, 1 + i, 1 + i % 3, 10, 1500 + i, 0.05, 0.02, 'N', 'O',
                            DATE '1998-08-10', DATE '1998-08-12', DATE '1998-08-10' + CAST(i % 9 AS INTEGER),
                            'NONE', if(i % 2 = 0, 'AIR', 'RAIL'), 'new'
                     FROM range(300) t(i);
                 COMMIT"
            )
        },
    },
    Round {
        title: "another discount on one day's air freight (update)",
        sql: |day| {
            let (discount, before) = (10 - day / 2_000 % 10, day % 2_000);
            format!(
                "UPDATE lake.lineitem SET l_discount = {discount} / 100
                 WHERE l_shipdate = DATE '1998-06-01' - {before} AND l_shipmode = 'AIR'"
            )
        },
    },
    Round {
        title: "12 orders are cancelled (deletes, one transaction)",
        sql: |day| {
            let cancelled = format!("(SELECT {} + i * 8 FROM range(12) t(i))", NEW_ORDERS + day * 1_000);
            format!(
                "BEGIN;
                 DELETE FROM lake.lineitem WHERE l_orderkey IN {cancelled};
                 DELETE FROM lake.orders WHERE o_orderkey IN {cancelled};
                 COMMIT"
            )
        },
    },
    Round {
        title: "customers move to another segment (update)",
        sql: |day| {
            let first = 501 + day * 10 % 5_000;
            let segment = ["MACHINERY", "BUILDING", "HOUSEHOLD", "FURNITURE", "AUTOMOBILE"][(day / 500 % 5) as usize];
            format!(
                "UPDATE lake.customer SET c_mktsegment = '{segment}'
                 WHERE c_custkey BETWEEN {first} AND {first} + 9 AND c_mktsegment <> '{segment}'"
            )
        },
    },
    Round {
        title: "a customer joins and takes over orders (three tables)",
        sql: |day| {
            let (customer, order, other) = (NEW_CUSTOMERS + day, NEW_ORDERS + day * 1_000 + 999, 370 + day % 5_000);
            format!(
                "BEGIN;
                 INSERT INTO lake.customer VALUES
                     ({customer}, 'Customer#{customer:09}', 'new', 7, '17-000-000-0000', 100, 'BUILDING', 'new');
                 INSERT INTO lake.orders VALUES
                     ({order}, {customer}, 'O', 5000, DATE '1998-08-03', '1-URGENT', 'Clerk#000000001', 0, 'new');
                 INSERT INTO lake.lineitem VALUES
                     ({order}, 1, 1, 1, 5, 5000, 0, 0.02, 'N', 'O', DATE '1998-08-05', DATE '1998-08-06',
                      DATE '1998-08-09', 'NONE', 'AIR', 'new');
                 UPDATE lake.orders SET o_custkey = {customer} WHERE o_custkey = {other};
                 COMMIT"
            )
        },
    },
    Round {
        title: "comments that no view reads (update)",
        sql: |day| {
            let first = NEW_ORDERS + day * 1_000;
            format!("UPDATE lake.orders SET o_comment = 'seen' WHERE o_orderkey BETWEEN {first} AND {first} + 99")
        },
    },
];

/// The titles of the table.
pub fn titles() -> Vec<String> {
    ["change", "source rows", "view rows", "step", "whole run", "recompute"].map(str::to_owned).to_vec()
}

/// The line of a round.
pub fn line(round: &Round, run: &Run, recompute_ms: f64) -> Vec<String> {
    vec![
        round.title.to_owned(),
        grouped(run.source_rows),
        grouped(run.view_rows),
        milliseconds(run.step_ms),
        milliseconds(run.elapsed_ms),
        milliseconds(recompute_ms),
    ]
}
