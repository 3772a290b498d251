//! Seeds of random tests: printed always, so that a failure can be run again.

use std::env;

/// The seed of a test: `TIDEGATE_SEED` when it is set, else drawn, and printed in both cases.
///
/// # Panics
/// When the variable is not a number.
pub fn seed(test: &str) -> u64 {
    let seed = number("TIDEGATE_SEED").unwrap_or_else(rand::random);
    println!("{test}: TIDEGATE_SEED={seed}");
    seed
}

/// How many random sequences a test runs: `TIDEGATE_SEQUENCES` when it is set.
///
/// # Panics
/// When the variable is not a number.
pub fn sequences(default: u64) -> u64 {
    number("TIDEGATE_SEQUENCES").unwrap_or(default)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}
