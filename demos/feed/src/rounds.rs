//! The changes: ten rows a round, and what upkeep of a lake does in between.

/// A change of the lake.
pub struct Round {
    pub title: &'static str,
    /// Whether no row changes by it.
    pub is_upkeep: bool,
    /// DuckDB SQL; `{n}` stands for a number that no round before had.
    sql: &'static str,
}

impl Round {
    /// Its statements; `n` is a number that no round before had.
    pub fn sql(&self, n: u64) -> String {
        self.sql.replace("{n}", &n.to_string())
    }
}

/// What happens, round by round.
pub const ROUNDS: &[Round] = &[
    Round {
        title: "10 orders are placed",
        is_upkeep: false,
        sql: "INSERT INTO lake.orders
              SELECT 1000000000 + {n} * 10 + i, {n} * 97 + i, 'north', 12.50 FROM range(10) t(i)",
    },
    Round {
        title: "10 orders get another amount (update)",
        is_upkeep: false,
        sql: "UPDATE lake.orders SET amount = amount + 1 WHERE id BETWEEN {n} * 1000 AND {n} * 1000 + 9",
    },
    Round {
        title: "10 orders are cancelled (delete)",
        is_upkeep: false,
        sql: "DELETE FROM lake.orders WHERE id BETWEEN {n} * 1000 AND {n} * 1000 + 9",
    },
    Round {
        title: "all three in one transaction",
        is_upkeep: false,
        sql: "BEGIN;
              INSERT INTO lake.orders
              SELECT 1000000000 + {n} * 10 + i, {n} * 97 + i, 'south', 7.25 FROM range(4) t(i);
              UPDATE lake.orders SET amount = amount + 1 WHERE id BETWEEN {n} * 1000 AND {n} * 1000 + 2;
              DELETE FROM lake.orders WHERE id BETWEEN {n} * 1000 + 500 AND {n} * 1000 + 502;
              COMMIT",
    },
    Round {
        title: "ducklake_rewrite_data_files",
        is_upkeep: true,
        sql: "CALL ducklake_rewrite_data_files('lake', 'orders', delete_threshold => 0)",
    },
    Round {
        title: "10 orders get another amount (update)",
        is_upkeep: false,
        sql: "UPDATE lake.orders SET amount = amount + 1 WHERE id BETWEEN {n} * 1000 AND {n} * 1000 + 9",
    },
    Round {
        title: "ducklake_merge_adjacent_files",
        is_upkeep: true,
        sql: "CALL ducklake_flush_inlined_data('lake'); CALL ducklake_merge_adjacent_files('lake')",
    },
    Round {
        title: "10 orders are cancelled (delete)",
        is_upkeep: false,
        sql: "DELETE FROM lake.orders WHERE id BETWEEN {n} * 1000 AND {n} * 1000 + 9",
    },
];
