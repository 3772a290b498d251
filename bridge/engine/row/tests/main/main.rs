//! Property tests of rows, their codec and the accumulator. Each prints the seed it fails with;
//! `TIDEGATE_SEED=<seed>` repeats one run, seeds of faults once found are in [`KEPT_SEEDS`].

mod accumulator;
mod archive;
mod arrays;
mod codec;

use rand::SeedableRng;
use rand::rngs::StdRng;

const KEPT_SEEDS: [u64; 4] = [1, 2, 3, 4];

/// Runs `property` with the kept seeds and some fresh ones, and names the seed when it panics.
fn for_each_seed(fresh: usize, property: impl Fn(&mut StdRng) + std::panic::RefUnwindSafe) {
    let seeds: Vec<u64> = match std::env::var("TIDEGATE_SEED") {
        Ok(seed) => vec![seed.parse().expect("TIDEGATE_SEED is a number")],
        Err(_) => KEPT_SEEDS.into_iter().chain((0..fresh).map(|_| rand::random())).collect(),
    };
    for seed in seeds {
        let run = || property(&mut StdRng::seed_from_u64(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("TIDEGATE_SEED={seed} repeats this failure");
            std::panic::resume_unwind(panic);
        }
    }
}
