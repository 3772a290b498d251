//! The process dies at every failpoint and at random moments, is started again, and ends with the
//! same mart and the same Parquet deltas (rows, epochs, hashes) as a run that nobody disturbed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::failpoint;
use tidegate_duck::{Duck, Options};
use tidegate_testkit::seed::seed;
use tidegate_testkit::{Finished, Program};

use crate::history::History;
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec};

/// One run of the program in the life of a pipeline.
struct Leg {
    spec: Spec,
    until: u64,
    mart: Mart,
}

/// Whether the mart can be written.
#[derive(Clone, Copy, PartialEq)]
enum Mart {
    Free,
    /// Another program holds the file; the run ends with exit 1 and keeps the deltas.
    Held,
}

/// Load, changes, a view with another SQL, a mart that may be held and what it missed, more workers.
fn legs(history: &History, mart: Mart) -> Vec<Leg> {
    let mut first = Spec::new(&history.lake);
    // Logs are cut at every checkpoint.
    first.settings.push("log_retention = \"0s\"".to_owned());
    first.settings.push("retry_for = \"200ms\"".to_owned());
    let changed = first.clone().view("paid", "SELECT id, day, note FROM lake.orders WHERE qty >= 0");
    let mut more_workers = changed.clone();
    more_workers.workers = 2;
    let leg = |spec: &Spec, round: usize, mart| Leg { spec: spec.clone(), until: history.rounds[round], mart };
    vec![
        leg(&first, 0, Mart::Free),
        leg(&first, 1, Mart::Free),
        leg(&changed, 2, Mart::Free),
        leg(&changed, 3, mart),
        leg(&changed, 4, Mart::Free),
        leg(&more_workers, 5, Mart::Free),
    ]
}

/// Runs a leg, first as `disturb` wants it, then in peace until it ends as it should.
fn run_leg(pipeline: &PipelineFolder, leg: &Leg, what: &str, mut disturb: impl FnMut(Program) -> Option<Finished>) {
    pipeline.rewrite(&leg.spec);
    let held = (leg.mart == Mart::Held)
        .then(|| Duck::open(&pipeline.mart(), &Options::default()).unwrap_or_else(|error| panic!("{what}: {error}")));
    let code = if held.is_some() { 1 } else { 0 };
    let command = pipeline.run_until(leg.until);
    match disturb(command.clone()) {
        Some(finished) if finished.signal().is_none() => finished.expect(code),
        _ => command.run().expect(code),
    };
}

fn reference(history: &History, folder: &Path, mart: Mart) -> Outputs {
    let legs = legs(history, mart);
    let pipeline = PipelineFolder::create(folder, &legs[0].spec);
    for (index, leg) in legs.iter().enumerate() {
        run_leg(&pipeline, leg, &format!("undisturbed run, leg {index}"), |_| None);
    }
    let outputs = Outputs::read(&pipeline);
    let last = legs.last().unwrap();
    let names: Vec<_> = last.spec.views.iter().map(|(name, _)| name.clone()).collect();
    let expected = history.views_at(legs.len() - 1, &last.spec.views);
    outputs.assert_holds(&pipeline, &names, &expected, "undisturbed run");
    outputs
}

/// What must hold after the last leg: the same outputs, and nothing left to do.
fn check_end(pipeline: &PipelineFolder, expected: &Outputs, what: &str) {
    Outputs::read(pipeline).assert_equals(expected, what);
    let leftovers = walk(&pipeline.changes().join("_tidegate/stage"));
    assert!(leftovers.is_empty(), "{what}: half-written files are left: {leftovers:?}");
}

fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { names.extend(walk(&path)) } else { names.push(path.to_string_lossy().into_owned()) }
    }
    names
}

#[test]
fn every_failpoint() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::create(&folder.path().join("lake"), seed("crash at failpoints"), 5);
    let mut peaceful = None;
    for name in failpoint::ALL {
        // Only a sink that is away makes deltas worth keeping. The program tries it for a while
        // before it gives up, so that this is not done for every failpoint.
        let mart = if *name == "delta_log.written" { Mart::Held } else { Mart::Free };
        let held;
        let expected = match mart {
            Mart::Free => {
                &*peaceful.get_or_insert_with(|| reference(&history, &folder.path().join("reference"), Mart::Free))
            }
            Mart::Held => {
                held = reference(&history, &folder.path().join("reference of a held mart"), Mart::Held);
                &held
            }
        };
        let legs = legs(&history, mart);
        let place = folder.path().join("disturbed");
        let pipeline = PipelineFolder::create(&place, &legs[0].spec);
        let mut deaths = 0;
        for (index, leg) in legs.iter().enumerate() {
            // In the leg with a rebuild and changes, the second pass is another place.
            let pass = if index == 2 { 2 } else { 1 };
            run_leg(&pipeline, leg, &format!("failpoint {name}:{pass}, leg {index}"), |program| {
                let finished = program.variable(failpoint::VARIABLE, format!("{name}:{pass}")).run();
                deaths += u32::from(finished.aborted());
                Some(finished)
            });
        }
        assert!(deaths > 0, "failpoint {name} was never passed");
        println!("failpoint {name}: {deaths} deaths");
        check_end(&pipeline, expected, &format!("failpoint {name}"));
        fs::remove_dir_all(place).unwrap();
    }
}

#[test]
fn random_moments() {
    let seed = seed("crash at random moments");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let history = History::create(&folder.path().join("lake"), seed, 5);
    let started = Instant::now();
    let expected = reference(&history, &folder.path().join("reference"), Mart::Free);
    // About as long as one leg takes here; most kills fall into it, some after its end.
    let leg_ms = u64::try_from(started.elapsed().as_millis()).unwrap() / 6;
    let mut kills = 0;
    for life in 0..8 {
        let legs = legs(&history, Mart::Free);
        let pipeline = PipelineFolder::create(&folder.path().join("disturbed"), &legs[0].spec);
        for (index, leg) in legs.iter().enumerate() {
            let what = format!("life {life}, leg {index}");
            run_leg(&pipeline, leg, &what, |program| {
                for _ in 0..2 {
                    let moment = Duration::from_millis(rng.random_range(0..=leg_ms));
                    match program.start().wait_for(moment) {
                        Ok(finished) => return Some(finished),
                        Err(running) => {
                            running.kill();
                            kills += 1;
                        }
                    }
                }
                None
            });
        }
        check_end(&pipeline, &expected, &format!("life {life}"));
        fs::remove_dir_all(folder.path().join("disturbed")).unwrap();
    }
    println!("{kills} kills");
    assert!(kills > 8, "only {kills} kills came before the end of a run");
}
