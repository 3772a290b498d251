//! Views over `rowid` and `snapshot_id`, by the program: they hold what DuckDB shows, while upkeep moves rows from file to file.

use std::time::Duration;

use tidegate_testkit::{Catalog, Lake, Oracle};

use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, oracle_views};
use crate::recovery::wait;

const VIEWS: &[(&str, &str)] = &[
    ("ids", "SELECT rowid AS id_in_lake, snapshot_id, * FROM lake.orders"),
    ("plain", "SELECT * FROM lake.orders"),
    ("latest", "SELECT customer, max(snapshot_id) AS s, count(*) AS n, sum(RowID) FROM lake.orders GROUP BY customer"),
    ("one_each", "SELECT * FROM lake.orders QUALIFY row_number() OVER (PARTITION BY customer ORDER BY rowid) = 1"),
    ("pairs", "SELECT a.id, b.id AS next FROM lake.orders a JOIN lake.orders b ON a.rowid + 1 = b.rowid"),
    ("same", "SELECT rowid AS r, a.amount, b.note FROM lake.orders a JOIN lake.orders b USING (rowid, customer)"),
    ("renamed", "SELECT x, rowid AS r FROM lake.orders AS o(x) WHERE snapshot_id > 2"),
    ("hidden", "SELECT rowid AS r, h.snapshot_id > 0 AS s, count(*) AS n FROM lake.hidden h GROUP BY ALL"),
    ("over_ids", "SELECT count(*) AS n, max(id_in_lake) AS r FROM ids WHERE customer IS NOT NULL"),
];

struct Scene {
    _folder: tempfile::TempDir,
    lake: Lake,
    spec: Spec,
    pipeline: PipelineFolder,
}

impl Scene {
    /// With the first of the views.
    fn new(reader: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(folder.path(), Catalog::sqlite(folder.path()));
        lake.execute("CREATE TABLE lake.orders (id INTEGER, customer INTEGER, amount INTEGER, note VARCHAR)");
        lake.execute("CREATE TABLE lake.hidden (\"Snapshot_ID\" INTEGER, a INTEGER)");
        lake.execute("INSERT INTO lake.orders SELECT i, i % 5, i * 10, 'n' || i FROM range(40) r(i)");
        lake.execute("INSERT INTO lake.hidden VALUES (1, 1), (1, 2), (-1, 3)");
        let mut spec = Spec::new(&lake);
        spec.source_settings = vec![format!("reader = \"{reader}\"")];
        spec.views = VIEWS.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
        let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
        Scene { _folder: folder, lake, spec, pipeline }
    }

    #[track_caller]
    fn holds(&self, what: &str) {
        let expected = Oracle::new().unwrap().views_over_lake(&self.lake, None, &oracle_views(&self.spec.views));
        let names: Vec<String> = self.spec.views.iter().map(|(name, _)| name.clone()).collect();
        Outputs::read(&self.pipeline).assert_holds(&self.pipeline, &names, &expected, what);
    }
}

/// One after the other: what rows do, and what upkeep does with files.
const CHANGES: &[&str] = &[
    "INSERT INTO lake.orders VALUES (100, 1, 5, 'new'), (101, NULL, 6, NULL)",
    "UPDATE lake.orders SET amount = amount + 1 WHERE customer = 2",
    "CALL ducklake_flush_inlined_data('lake')",
    "DELETE FROM lake.orders WHERE id % 7 = 0",
    "INSERT INTO lake.orders SELECT i, 9, i, 'many' FROM range(200, 230) r(i); UPDATE lake.orders SET note = 'u' WHERE id = 205",
    "CALL ducklake_flush_inlined_data('lake'); CALL ducklake_merge_adjacent_files('lake')",
    "UPDATE lake.orders SET note = 'v' WHERE id IN (206, 100); DELETE FROM lake.orders WHERE id = 207",
    "CALL ducklake_flush_inlined_data('lake'); CALL ducklake_rewrite_data_files('lake', delete_threshold => 0.0); \
     CALL ducklake_merge_adjacent_files('lake'); INSERT INTO lake.orders VALUES (102, 3, 3, 'after')",
];

#[test]
fn views_of_a_pipeline_that_ran_may_begin_to_name_row_ids() {
    let mut scene = Scene::new("native");
    let all = std::mem::take(&mut scene.spec.views);
    scene.spec.views = vec![all[1].clone()];
    scene.pipeline.rewrite(&scene.spec);
    scene.pipeline.catch_up();
    scene.holds("before");
    scene.lake.execute("INSERT INTO lake.orders VALUES (99, 1, 5, 'x')");
    scene.spec.views = all.clone();
    scene.pipeline.rewrite(&scene.spec);
    scene.pipeline.catch_up();
    scene.holds("with all views");
    for changes in CHANGES {
        scene.lake.execute(changes);
        scene.pipeline.catch_up();
        scene.holds(changes);
    }
    // And back again: nobody asks for them, and a merge is no change.
    scene.spec.views = vec![all[1].clone()];
    scene.pipeline.rewrite(&scene.spec);
    let before = scene.pipeline.catch_up().json()["epoch"].clone();
    scene.lake.execute("INSERT INTO lake.orders VALUES (98, 1, 5, 'x'); CALL ducklake_flush_inlined_data('lake')");
    scene.lake.execute("INSERT INTO lake.orders SELECT i, 1, i, 'l' FROM range(300, 330) r(i)");
    scene.lake.execute("CALL ducklake_merge_adjacent_files('lake')");
    let after = scene.pipeline.catch_up().json();
    scene.holds("without row ids");
    assert_eq!(after["epoch"].as_u64(), before.as_u64().map(|epoch| epoch + 1), "{after}");
}

#[test]
fn a_merge_while_the_program_runs_moves_row_ids() {
    let scene = Scene::new("native");
    scene.pipeline.catch_up();
    scene.holds("at the start");
    let running = scene.pipeline.command("run", &[]).start();
    for changes in CHANGES {
        scene.lake.execute(changes);
        let newest = scene.lake.snapshot();
        wait("everything is read and written", Duration::from_millis(20), || {
            let status = scene.pipeline.command("status", &["--json"]).run().expect(0).json();
            status["sources"]["lake"]["position"]["snapshot_id"].as_u64() == Some(newest)
                && status["sinks"].as_object().unwrap().values().all(|sink| sink["behind"] == 0)
        });
        scene.holds(changes);
    }
    running.terminate().expect(0);
    scene.holds("at the end");
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let mut scene = Scene::new("extension");
    let check = |scene: &Scene| {
        scene.pipeline.rewrite(&scene.spec);
        scene.pipeline.command("check", &[]).run().expect(2)
    };
    check(&scene).says(&["rowid", "reader = \"native\"", "pipeline.toml:"]);
    scene.spec.source_settings = vec!["reader = \"native\"".to_owned()];
    let sql = "SELECT id,\n  filename\nFROM lake.orders";
    scene.spec.views = vec![("files".to_owned(), sql.to_owned())];
    check(&scene).says(&["no column filename", "pipeline.toml:"]);
    // A pipeline that runs is given another reader.
    scene.spec.views = vec![("ids".to_owned(), VIEWS[0].1.to_owned())];
    scene.pipeline.rewrite(&scene.spec);
    scene.pipeline.catch_up();
    scene.spec.source_settings = vec!["reader = \"extension\"".to_owned()];
    scene.pipeline.rewrite(&scene.spec);
    scene.lake.execute("INSERT INTO lake.orders VALUES (99, 1, 5, 'x')");
    scene.pipeline.once().run().expect(2).says(&["rowid", "lake.main.orders", "reader = \"native\""]);
}
