//! `rewind` and `rewind --branch`, as people use them: what the mart and the sum of the deltas hold afterwards, also when the
//! process dies in between.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tidegate_core::failpoint;
use tidegate_duck::{Access, Duck, Options};
use tidegate_testkit::Program;
use tidegate_testkit::seed::seed;

use crate::history::History;
use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec, tidegate};

/// Where the rewinds go back to, and where the pipeline stands before.
const BACK: usize = 1;
const END: usize = 3;

/// What a rewind passes besides its own failpoints.
const PASSED: &[&str] = &[
    "checkpoint.engine_saved",
    "checkpoint.published",
    "checkpoint.forgotten",
    "log.before_append",
    "log.appended",
    "sink.parquet.published",
    "sink.duckdb.before_commit",
    "sink.duckdb.committed",
];

struct Scene {
    history: History,
    spec: Spec,
    pipeline: PipelineFolder,
}

impl Scene {
    /// A pipeline that has followed a lake for some rounds, one run each.
    fn new(folder: &Path, history: History) -> Scene {
        let spec = Spec::new(&history.lake);
        let pipeline = PipelineFolder::create(&folder.join("pipeline"), &spec);
        for round in 0..=END {
            pipeline.run_until(history.rounds[round]).run().expect(0);
        }
        Scene { history, spec, pipeline }
    }

    fn frontier(&self, round: usize) -> String {
        format!("{{\"ducklake:lake\": {{\"snapshot_id\": {}}}}}", self.history.rounds[round])
    }

    fn rewind(&self, arguments: &[&str]) -> Program {
        let frontier = self.frontier(BACK);
        let arguments: Vec<&str> =
            ["--to", frontier.as_str(), "--json"].into_iter().chain(arguments.iter().copied()).collect();
        self.pipeline.command("rewind", &arguments)
    }

    #[track_caller]
    fn assert_at(&self, round: usize, what: &str) {
        let names: Vec<_> = self.spec.views.iter().map(|(name, _)| name.clone()).collect();
        let expected = self.history.views_at(round, &self.spec.views);
        Outputs::read(&self.pipeline).assert_holds(&self.pipeline, &names, &expected, what);
    }

    /// Where the mart says that it stands: every view at the same frontier.
    fn mart_stands_at(&self) -> String {
        let duck =
            Duck::open(&self.pipeline.mart(), &Options { access: Access::ReadOnly, ..Options::default() }).unwrap();
        let sql = "SELECT list(DISTINCT frontier::VARCHAR)::VARCHAR FROM (SELECT view, arg_max(frontier, epoch) AS frontier \
                   FROM _tidegate_epochs GROUP BY view)";
        duck.connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn json(program: Program) -> Value {
    serde_json::from_str(&program.run().expect(0).stdout).unwrap()
}

#[test]
fn views_go_back_and_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(folder.path(), History::create(&folder.path().join("lake"), seed("rewinds"), END));
    let summary = json(scene.rewind(&[]));
    assert!(summary["replays"].as_u64().unwrap() > 0, "{summary}");
    scene.assert_at(BACK, "after the rewind");
    let status = json(scene.pipeline.command("status", &["--json"]));
    assert_eq!(status["replay"]["done"], summary["to"], "{status}");
    scene.pipeline.run_until(scene.history.rounds[END]).run().expect(0);
    scene.assert_at(END, "the log gone through again");
    assert!(json(scene.pipeline.command("status", &["--json"]))["replay"].is_null());
    json(scene.rewind(&["--discard-after"]));
    scene.assert_at(BACK, "back once more");
    scene.pipeline.run_until(scene.history.rounds[END]).run().expect(0);
    scene.assert_at(END, "the lake read again");
    let far = scene.pipeline.command("rewind", &["--epoch", "0"]).run().expect(2);
    assert!(far.stderr.contains("before epoch 1"), "{}", far.stderr);
    let none = scene.pipeline.command("rewind", &[]).run().expect(2);
    assert!(none.stderr.contains("--epoch"), "{}", none.stderr);
}

#[test]
fn a_branch_is_looked_at_beside_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(folder.path(), History::create(&folder.path().join("lake"), seed("branches"), END));
    let before = Outputs::read(&scene.pipeline);
    let out = folder.path().join("look");
    let out = out.to_str().unwrap();
    for name in failpoint::OF_REWINDS.iter().filter(|name| name.starts_with("branch.")) {
        let killed = scene.rewind(&["--branch", "look", "--out", out]).variable(failpoint::VARIABLE, *name).run();
        assert!(killed.aborted(), "{name} was not passed");
        let half = Path::new(out).join("look.toml");
        assert!(!half.exists(), "{name}: a branch without a state is none");
    }
    let made = json(scene.rewind(&["--branch", "look", "--out", out]));
    let file = made["pipeline"].as_str().unwrap().to_owned();
    let branch = |mart: &str| {
        Duck::open(&Path::new(out).join(mart), &Options { access: Access::ReadOnly, ..Options::default() })
    };
    let overall = |duck: &Duck| -> i64 {
        duck.connection().query_row("SELECT n::BIGINT FROM overall", [], |row| row.get(0)).unwrap()
    };
    let orders = |round: usize| scene.history.lake.rows("orders", Some(scene.history.rounds[round])).len();
    assert_eq!(overall(&branch("mart.duckdb").unwrap()), orders(BACK), "as of its point");
    // Another view, over the same past.
    let text = fs::read_to_string(&file).unwrap() + "\n[views.more]\nsql = \"SELECT count(*) AS n FROM lake.orders\"\n";
    fs::write(&file, text).unwrap();
    tidegate(&["run", &file, "--once"]).run().expect(0);
    let duck = branch("mart.duckdb").unwrap();
    assert_eq!(overall(&duck), orders(END), "the end of the log");
    let more: i64 = duck.connection().query_row("SELECT n FROM more", [], |row| row.get(0)).unwrap();
    assert_eq!(more, orders(END));
    drop(duck);
    Outputs::read(&scene.pipeline).assert_equals(&before, "the original");
    let twice = scene.rewind(&["--branch", "look", "--out", out]).run().expect(2);
    assert!(twice.stderr.contains("is there already"), "{}", twice.stderr);
    scene.pipeline.run_until(scene.history.rounds[END]).run().expect(0);
    scene.assert_at(END, "the original goes on");
}

#[test]
fn killed_anywhere_in_a_rewind() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(folder.path(), History::create(&folder.path().join("lake"), seed("killed rewinds"), END));
    let own = failpoint::OF_REWINDS.iter().filter(|name| name.starts_with("rewind."));
    for name in own.chain(PASSED) {
        let killed = scene.rewind(&[]).variable(failpoint::VARIABLE, *name).run();
        assert!(killed.aborted(), "{name} was not passed");
        let stands = scene.mart_stands_at();
        let compact = stands.replace(' ', "");
        let of = |round: usize| compact.contains(&format!(":{}}}", scene.history.rounds[round]));
        assert!(of(BACK) != of(END), "{name}: {stands}");
        scene.rewind(&[]).run().expect(0);
        scene.assert_at(BACK, &format!("{name}: rewound after all"));
        scene.pipeline.run_until(scene.history.rounds[END]).run().expect(0);
        scene.assert_at(END, &format!("{name}: gone on"));
    }
}
