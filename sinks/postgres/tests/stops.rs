//! Stops in the middle of a commit. The test runs itself again as the other process, with its part of the play in
//! variables.

use tidegate_core::{Commit, Committed, Epoch, History, RowIdentity, Sink, ViewCommit, ViewInfo, failpoint};
use tidegate_testkit::PostgresVersion;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::process::Program;

use crate::past::begins::lines;
use crate::random::read;
use crate::suite::{database, shared, sink_to};

/// The database, for the other process.
const URL: &str = "TIDEGATE_TEST_URL";
/// The versions before and after the commit that stops.
const BEFORE: [&str; 2] = ["1 a 1 open", "2 b 1 open"];
const AFTER: [&str; 4] = ["1 a 1 2", "2 b 1 2", "1 c 2 open", "3 b 2 open"];

fn views() -> [ViewModel; 2] {
    let columns = [("id", "INTEGER"), ("v", "VARCHAR")];
    [
        ViewModel::new("whole", &columns, RowIdentity::WholeRow),
        ViewModel::new("keyed", &columns, RowIdentity::Key(vec![0])),
    ]
}

/// The commits of a small history: number 0 makes the views, number 1 changes one and replaces the other.
fn commit(views: &mut [ViewModel; 2], number: u64) -> Commit {
    let epoch = number + 1;
    let contents = ["(1, 'a'), (2, 'b')", "(1, 'c'), (3, 'b')"];
    let deltas: Vec<_> = views.iter_mut().map(|view| view.change_to(contents[number as usize])).collect();
    let [whole, keyed] = views;
    let second = if number == 1 {
        keyed.replacement(header(epoch))
    } else {
        keyed.changes([(header(epoch), deltas[1].clone())])
    };
    let parts = [whole.changes([(header(epoch), deltas[0].clone())]), second];
    let views = parts.into_iter().map(|part| ViewCommit { view: temporal(&part.view), ..part }).collect();
    Commit { after: Epoch(number), header: header(epoch), views }
}

fn temporal(view: &ViewInfo) -> ViewInfo {
    ViewInfo { history: Some(History::default()), ..view.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_stops_happened_or_not() {
    let mut views = views();
    let infos = [temporal(views[0].info()), temporal(views[1].info())];
    if let Ok(url) = std::env::var(URL) {
        commit(&mut views, 0);
        let mut sink = sink_to(&url);
        sink.open(&infos).await.unwrap();
        let _ = sink.commit(commit(&mut views, 1)).await;
        panic!("the failpoint was passed");
    }
    for version in PostgresVersion::ALL {
        let server = shared(version);
        for (point, done) in [("sink.postgres.before_commit", false), ("sink.postgres.committed", true)] {
            let mut views = self::views();
            let name = database(&server);
            let url = server.url(&name);
            let mut target = sink_to(&url);
            target.open(&infos).await.unwrap();
            target.commit(commit(&mut views, 0)).await.unwrap();
            let ended = Program::new(std::env::current_exe().unwrap())
                .arguments(["--exact", "stops::a_commit_that_stops_happened_or_not", "--nocapture", "--test-threads=1"])
                .variable(URL, &url)
                .variable(failpoint::VARIABLE, point)
                .run();
            assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
            let mut target = sink_to(&url);
            let expected = header(if done { 2 } else { 1 });
            for found in target.open(&infos).await.unwrap().into_values() {
                assert_eq!(found, Some(Committed { epoch: expected.epoch, hash: expected.hash }), "{point}");
            }
            let versions = |past: &'static [&'static str]| {
                for table in ["whole_history", "keyed_history"] {
                    assert_eq!(lines(&server, &name, table), past, "{table} at {point}");
                }
            };
            versions(if done { &AFTER } else { &BEFORE });
            let again = commit(&mut views, 1);
            if !done {
                target.commit(again).await.unwrap();
            }
            versions(&AFTER);
            for view in &views {
                read(&mut target, view.info()).await.assert_equals(&view.multiset(), point);
            }
        }
    }
}
