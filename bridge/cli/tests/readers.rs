//! The program over lakes, with each of the readers.

use std::path::Path;

use tidegate_testkit::dml::Mix;
use tidegate_testkit::seed::seed;
use tidegate_testkit::{Catalog, Lake, Oracle, Postgres};

use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};

/// Steps between two runs, and runs.
const STEPS: [u32; 2] = [4, 4];

fn follow(dir: &Path, catalog: Catalog, reader: &str) -> (Lake, PipelineFolder) {
    let seed = seed("readers of lakes");
    let (lake, mut dml) = Lake::generated(dir, catalog, seed, Mix { expire: 0, schema: 0, ..Mix::default() });
    let mut spec = Spec::new(&lake);
    spec.source_settings = vec![format!("reader = \"{reader}\"")];
    let pipeline = PipelineFolder::create(&dir.join("pipeline"), &spec);
    let names: Vec<String> = spec.views.iter().map(|(name, _)| name.clone()).collect();
    let mut oracle = Oracle::new().unwrap();
    for run in 0..STEPS[1] {
        for _ in 0..STEPS[0] {
            lake.take(&dml.step());
        }
        pipeline.catch_up();
        let expected = oracle.views_over_lake(&lake, None, &oracle_views(&spec.views));
        let what = format!("{}, seed {seed}, run {run}", lake.uri());
        Outputs::read(&pipeline).assert_holds(&pipeline, &names, &expected, &what);
    }
    (lake, pipeline)
}

#[test]
fn lakes_are_followed_without_the_extension() {
    for catalog in [Catalog::duckdb, Catalog::sqlite] {
        let folder = tempfile::tempdir().unwrap();
        let (_, pipeline) = follow(folder.path(), catalog(folder.path()), "native");
        pipeline.command("doctor", &["--install-notify"]).run().expect(2).says(&["catalog in PostgreSQL"]);
    }
}

#[test]
fn lakes_are_followed_by_the_extension() {
    let folder = tempfile::tempdir().unwrap();
    follow(folder.path(), Catalog::sqlite(folder.path()), "extension");
}

#[test]
fn a_catalog_in_postgres_is_made_to_tell_of_commits() {
    let (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let (lake, pipeline) = follow(folder.path(), Catalog::postgres(&server), "native");
    let doctor = |arguments: &[&str]| pipeline.command("doctor", arguments).run().expect(0).stdout;
    assert!(doctor(&[]).contains("--install-notify"));
    assert!(doctor(&["--install-notify"]).contains("has a trigger that tells of every commit"));
    assert!(doctor(&[]).contains("a trigger in the catalog tells of every commit at once"));
    lake.execute("INSERT INTO lake.orders (id) VALUES (1)");
    pipeline.catch_up();
    assert!(doctor(&["--remove-notify"]).contains("has no trigger that tells of commits"));
    lake.execute("INSERT INTO lake.orders (id) VALUES (2)");
    pipeline.command("doctor", &["--install-notify", "--remove-notify"]).run().expect(2).says(&["--remove-notify"]);
}
