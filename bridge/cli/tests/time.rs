//! `tidegate_now()` through the program: rows leave a view because time passes, and are in no target any more.

use std::thread::sleep;
use std::time::Duration;

use tidegate_duck::{Duck, quote_ident};
use tidegate_testkit::{Catalog, Lake, Value, ViewRows};

use crate::outputs::{Outputs, sum_of_deltas};
use crate::pipeline::{PipelineFolder, Spec};

/// How long rows stay.
const WINDOW: Duration = Duration::from_secs(15);

/// The ids that the mart and the deltas hold of a view.
fn ids(pipeline: &PipelineFolder, view: &str) -> Vec<i64> {
    let mart = Outputs::read(pipeline).mart.remove(view).unwrap();
    let duck = Duck::open_in_memory().unwrap();
    sum_of_deltas(&duck, pipeline, view).assert_equals(&mart.rows, "the sum of the deltas");
    let id = |row: &[Value]| match &row[0] {
        Value::Integer(id) => i64::try_from(*id).unwrap(),
        other => panic!("{other:?} is no id"),
    };
    mart.rows.iter().map(|(row, _)| id(row)).collect()
}

/// Runs once and says how many epochs that made.
fn epochs(pipeline: &PipelineFolder) -> u64 {
    pipeline.catch_up().json()["epochs"].as_u64().unwrap()
}

#[test]
fn rows_leave_when_their_time_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
    lake.execute("CREATE TABLE lake.events (id INTEGER, ts TIMESTAMP, tz TIMESTAMP WITH TIME ZONE)");
    let insert = |id: u32, age: &str| {
        lake.execute(&format!(
            "INSERT INTO lake.events SELECT {id}, make_timestamp(us), make_timestamptz(us) \
             FROM (SELECT epoch_us(now() - INTERVAL '{age}') AS us)"
        ));
    };
    insert(1, "1 hour");
    let mut spec = Spec::new(&lake);
    spec.views = [
        ("recent", "ts > CAST(tidegate_now() AS TIMESTAMP) - INTERVAL 15 seconds"),
        ("zoned", "tidegate_now() - INTERVAL 15 seconds < tz"),
        ("old", "NOT tz > tidegate_now() - INTERVAL 15 seconds"),
    ]
    .map(|(name, condition)| (name.to_owned(), format!("SELECT id, ts FROM lake.events WHERE {condition}")))
    .to_vec();
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    pipeline.command("check", &[]).run().expect(0);

    insert(2, "0 seconds");
    assert_eq!(epochs(&pipeline), 1);
    assert_eq!((ids(&pipeline, "recent"), ids(&pipeline, "zoned"), ids(&pipeline, "old")), (vec![2], vec![2], vec![1]));
    sleep(WINDOW);
    insert(3, "0 seconds");
    assert_eq!(epochs(&pipeline), 1, "rows and time make one epoch");
    assert_eq!((ids(&pipeline, "recent"), ids(&pipeline, "zoned")), (vec![3], vec![3]));
    assert_eq!(ids(&pipeline, "old"), [1, 2]);
    sleep(WINDOW);
    assert_eq!(epochs(&pipeline), 1, "time alone makes an epoch");
    assert_eq!((ids(&pipeline, "recent"), ids(&pipeline, "zoned")), (vec![], vec![]));
    assert_eq!(ids(&pipeline, "old"), [1, 2, 3]);

    // The time of the epoch is the commit time of its changes.
    let duck = Duck::open_in_memory().unwrap();
    let files = pipeline.changes().join("old").join("*.parquet");
    let changes = format!(
        "SELECT count(*) FROM read_parquet('{}') WHERE {} < ts::TIMESTAMPTZ + INTERVAL 15 seconds",
        files.display(),
        quote_ident("_commit_timestamp")
    );
    let early = ViewRows::read(&duck, &changes).unwrap();
    assert_eq!(early.rows.iter().next().map(|(row, _)| row[0].clone()), Some(Value::Integer(0)), "{early:?}");

    let explained = pipeline.command("explain", &["recent"]).run().expect(0).stdout;
    assert!(explained.contains("tidegate_now()"), "{explained}");
}
