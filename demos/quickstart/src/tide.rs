//! The lake that changes by itself: round after round, day after day, until it is stopped.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::lake::Lake;
use crate::rounds::{NEW_ORDERS, ROUNDS};

/// The time from one change to the next.
const CHANGE_EVERY: Duration = Duration::from_secs(1);

/// Goes on after the last day that has orders. It ends by failing alone.
pub fn run(lake: &Lake) -> Result<()> {
    println!("changing the lake until this is stopped");
    let last = lake.number(&format!(
        "SELECT coalesce(max((o_orderkey - {NEW_ORDERS}) // 1000 + 1), 0)::UBIGINT FROM lake.orders
         WHERE o_orderkey >= {NEW_ORDERS}"
    ))?;
    let mut next = Instant::now();
    for day in last.. {
        for round in ROUNDS {
            lake.change(&(round.sql)(day)).with_context(|| format!("the round `{}`", round.title))?;
            next = Instant::now().max(next + CHANGE_EVERY);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    Ok(())
}
