//! Seeds of random tests: printed always, so that a failure can be run again.

use std::env;
use std::path::Path;

/// The seed of a test, printed always: `TIDEGATE_SEED` when it is a number, a drawn one when it is
/// `random`, and otherwise one made from the test's name, so that a change is tested by the same
/// sequences before and after it.
///
/// # Panics
/// When the variable is neither.
pub fn seed(test: &str) -> u64 {
    let seed = match env::var("TIDEGATE_SEED").as_deref() {
        Ok("random") => rand::random(),
        Ok(_) => number("TIDEGATE_SEED").expect("the variable is set"),
        Err(_) => test.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            // FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/): any mixing of the name would do.
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }),
    };
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

/// Runs random histories, one a seed, each in a folder of its own, and prints what runs it again. Answers how many there were.
///
/// # Panics
/// When a folder cannot be made, or a variable is not as it should be.
pub fn histories(test: &str, default: u64, mut run: impl FnMut(u64, &Path)) -> u64 {
    let (first, number) = (seed(test), sequences(default));
    for history in 0..number {
        let seed = first.wrapping_add(history);
        println!("{test}: TIDEGATE_SEED={seed} TIDEGATE_SEQUENCES=1");
        let folder = tempfile::tempdir().expect("a folder for a history");
        run(seed, folder.path());
    }
    number
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}
