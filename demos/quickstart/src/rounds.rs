//! The changes: what an order system does in a day, in DuckDB SQL.

use crate::bridge::Run;
use crate::print::grouped;
use crate::times::milliseconds;

/// A change of the lake.
pub struct Round {
    pub title: &'static str,
    pub sql: &'static str,
}

/// What happens, round by round.
pub const ROUNDS: &[Round] = &[
    Round {
        title: "100 orders with 300 lines (two tables, one transaction)",
        sql: "
            BEGIN;
            INSERT INTO lake.orders
                SELECT 9000000 + i, 1 + (i * 271) % 30000, 'O', 1000 + i, DATE '1998-08-03', '3-MEDIUM',
                       'Clerk#000000001', 0, 'new'
                FROM range(100) t(i);
            INSERT INTO lake.lineitem
                SELECT 9000000 + i // 3, 1 + i, 1 + i, 1 + i % 3, 10, 1500 + i, 0.05, 0.02, 'N', 'O',
                       DATE '1998-08-10', DATE '1998-08-12', DATE '1998-08-10' + CAST(i % 9 AS INTEGER),
                       'NONE', if(i % 2 = 0, 'AIR', 'RAIL'), 'new'
                FROM range(300) t(i);
            COMMIT",
    },
    Round {
        title: "another discount on one day's air freight (update)",
        sql: "
            UPDATE lake.lineitem SET l_discount = 0.10
            WHERE l_shipdate = DATE '1998-06-01' AND l_shipmode = 'AIR'",
    },
    Round {
        title: "12 orders are cancelled (deletes, one transaction)",
        sql: "
            BEGIN;
            DELETE FROM lake.lineitem WHERE l_orderkey IN (SELECT 9000000 + i * 8 FROM range(12) t(i));
            DELETE FROM lake.orders WHERE o_orderkey IN (SELECT 9000000 + i * 8 FROM range(12) t(i));
            COMMIT",
    },
    Round {
        title: "customers move to another segment (update)",
        sql: "
            UPDATE lake.customer SET c_mktsegment = 'MACHINERY'
            WHERE c_custkey BETWEEN 501 AND 510 AND c_mktsegment <> 'MACHINERY'",
    },
    Round {
        title: "a customer joins and takes over orders (three tables)",
        sql: "
            BEGIN;
            INSERT INTO lake.customer VALUES (9000001, 'Customer#009000001', 'new', 7, '17-000-000-0000', 100, 'BUILDING', 'new');
            INSERT INTO lake.orders VALUES
                (9100001, 9000001, 'O', 5000, DATE '1998-08-03', '1-URGENT', 'Clerk#000000001', 0, 'new');
            INSERT INTO lake.lineitem VALUES
                (9100001, 1, 1, 1, 5, 5000, 0, 0.02, 'N', 'O', DATE '1998-08-05', DATE '1998-08-06',
                 DATE '1998-08-09', 'NONE', 'AIR', 'new');
            UPDATE lake.orders SET o_custkey = 9000001 WHERE o_custkey = 370;
            COMMIT",
    },
    Round {
        title: "comments that no view reads (update)",
        sql: "UPDATE lake.orders SET o_comment = 'seen' WHERE o_orderkey BETWEEN 9000000 AND 9000099",
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
