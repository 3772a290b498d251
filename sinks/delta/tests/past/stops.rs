//! Stops between the history's commit and that of the view's table, whatever comes after them.

use tidegate_core::{Commit, Committed, Epoch, RowIdentity, Sink, failpoint};
use tidegate_testkit::conformance::model::{ViewModel, header, header_of};

use super::{FOR_EVER, as_of, epochs, next, pairs, told};
use crate::random::{query, reader, rows};
use crate::stops::{another, part_of_another};
use crate::suite::sink;

const STATES: [&str; 3] = ["(1, 'a'), (2, 'b')", "(1, 'c'), (3, 'd')", "(1, 'e'), (3, 'd')"];

/// The commit of epochs 2 and 3 in one.
fn two_epochs(view: &mut ViewModel) -> Commit {
    let deltas: Vec<_> = (2..=3).map(|epoch| (header(epoch), view.change_to(STATES[epoch as usize - 1]))).collect();
    Commit { after: Epoch(1), header: header(3), views: vec![view.changes(deltas)] }
}

/// The history has what epochs 2 and 3 brought, and the view's table has not.
async fn stopped(test: &str, point: &str) -> (tempfile::TempDir, ViewModel) {
    let folder = tempfile::tempdir().unwrap();
    let (mut view, mut target) = (pairs(), sink(folder.path()));
    target.open(&[view.info().clone()]).await.unwrap();
    target.commit(next(&mut view, 1, STATES[0])).await.unwrap();
    let ended = another(test, folder.path()).variable(failpoint::VARIABLE, point).run();
    assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
    (folder, view)
}

/// The other process: commits epochs 2 and 3, and stops.
async fn stops(folder: &std::path::Path) -> ! {
    let (mut view, mut target) = (pairs(), sink(folder));
    view.change_to(STATES[0]);
    target.open(&[view.info().clone()]).await.unwrap();
    let _ = target.commit(two_epochs(&mut view)).await;
    panic!("the failpoint was passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_a_commit_leaves_old_or_new() {
    if let Some(folder) = part_of_another() {
        stops(&folder).await;
    }
    let after = told(&[("a", 1, Some(2)), ("b", 1, Some(2)), ("c", 2, Some(3)), ("d", 2, None), ("e", 3, None)]);
    let before = told(&[("a", 1, None), ("b", 1, None)]);
    for (point, history, done) in [
        ("sink.delta.before_commit", &before, false),
        ("sink.delta.history_committed", &after, false),
        ("sink.delta.committed", &after, true),
    ] {
        let (folder, mut view) = stopped("past::stops::a_stop_in_a_commit_leaves_old_or_new", point).await;
        assert_eq!(epochs(folder.path(), &view), *history, "{point}");
        let mut target = sink(folder.path());
        let found = target.open(&[view.info().clone()]).await.unwrap()[&view.info().name];
        let stands = header(if done { 3 } else { 1 });
        assert_eq!(found, Some(Committed { epoch: stands.epoch, hash: stands.hash }), "{point}");
        let commit = two_epochs(&mut view);
        if !done {
            target.commit(commit).await.unwrap();
        }
        assert_eq!(epochs(folder.path(), &view), after, "{point}");
        rows(&reader(), &query(folder.path(), &view)).assert_equals(&view.multiset(), point);
        target.commit(next(&mut view, 4, "(3, 'd')")).await.unwrap();
        as_of(folder.path(), view.info(), 4).assert_equals(&view.multiset(), point);
    }
}

/// What comes next is another range than the one that stopped, a whole content, or another history's.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_anything_may_come() {
    if let Some(folder) = part_of_another() {
        stops(&folder).await;
    }
    let test = "past::stops::after_a_stop_anything_may_come";
    for case in ["shorter", "longer", "content", "later content", "another history"] {
        let (folder, mut view) = stopped(test, "sink.delta.history_committed").await;
        let mut target = sink(folder.path());
        target.open(&[view.info().clone()]).await.unwrap();
        let expected = match case {
            "shorter" => {
                target.commit(next(&mut view, 2, STATES[1])).await.unwrap();
                told(&[("a", 1, Some(2)), ("b", 1, Some(2)), ("c", 2, None), ("d", 2, None)])
            }
            "longer" => {
                let mut deltas = Vec::new();
                for (epoch, rows) in [(2, STATES[1]), (3, STATES[2]), (4, "(3, 'd')")] {
                    deltas.push((header(epoch), view.change_to(rows)));
                }
                let views = vec![view.changes(deltas)];
                target.commit(Commit { after: Epoch(1), header: header(4), views }).await.unwrap();
                told(&[("a", 1, Some(2)), ("b", 1, Some(2)), ("c", 2, Some(3)), ("d", 2, None), ("e", 3, Some(4))])
            }
            "content" | "later content" => {
                let epoch = if case == "content" { 2 } else { 7 };
                view.change_to("(1, 'a'), (9, 'z')");
                let views = vec![view.replacement(header(epoch))];
                target.commit(Commit { after: Epoch(1), header: header(epoch), views }).await.unwrap();
                told(&[("a", 1, None), ("b", 1, Some(epoch)), ("z", epoch, None)])
            }
            _ => {
                let delta = view.change_to("(2, 'b')");
                let views = vec![view.changes([(header_of(2, 3), delta)])];
                target.commit(Commit { after: Epoch(1), header: header_of(2, 3), views }).await.unwrap();
                told(&[("a", 1, Some(3)), ("b", 1, None)])
            }
        };
        assert_eq!(epochs(folder.path(), &view), expected, "{case}");
        rows(&reader(), &query(folder.path(), &view)).assert_equals(&view.multiset(), case);
    }
}

/// The stop is in the first commit of all, or in the first with a history.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_begins_again_after_a_stop() {
    let cases = ["changes", "content", "switched on", "gone on without it"];
    let plain = || ViewModel::new("pairs", &[("k", "BIGINT"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]));
    // What comes before the stop.
    async fn prepared(folder: &std::path::Path, case: &str, mut view: ViewModel) -> (ViewModel, u64) {
        let mut target = sink(folder);
        target.open(&[view.info().clone()]).await.unwrap();
        match case {
            "switched on" => {
                target.commit(next(&mut view, 1, STATES[0])).await.unwrap();
                (view, 1)
            }
            "gone on without it" => {
                view.set_history(FOR_EVER);
                target.commit(next(&mut view, 1, STATES[0])).await.unwrap();
                view.set_history(None);
                target.commit(next(&mut view, 2, "(1, 'x')")).await.unwrap();
                (view, 2)
            }
            _ => (view, 0),
        }
    }
    // A commit of some epochs, the last of which has the rows.
    async fn commit(folder: &std::path::Path, case: &str, view: &mut ViewModel, after: u64, last: u64) {
        view.set_history(FOR_EVER);
        let mut target = sink(folder);
        target.open(&[view.info().clone()]).await.unwrap();
        let delta = view.change_to(STATES[1]);
        let part = match case {
            "content" => view.replacement(header(last)),
            _ => view.changes([(header(after + 1), delta)]),
        };
        let commit = Commit { after: Epoch(after), header: header(last), views: vec![part] };
        target.commit(commit).await.unwrap();
    }
    const CASE: &str = "TIDEGATE_TEST_CASE";
    if let Some(folder) = part_of_another() {
        let case = std::env::var(CASE).unwrap();
        let (mut view, after) = match case.as_str() {
            "switched on" => (plain(), 1),
            "gone on without it" => (plain(), 2),
            _ => (plain(), 0),
        };
        // What the view has is what the first process has given it.
        view.change_to(match after {
            1 => STATES[0],
            2 => "(1, 'x')",
            _ => "",
        });
        commit(&folder, &case, &mut view, after, after + 3).await;
        panic!("the failpoint was passed");
    }
    for case in cases {
        for last in [1, 3, 5] {
            let folder = tempfile::tempdir().unwrap();
            let (mut view, after) = prepared(folder.path(), case, plain()).await;
            let test = "past::stops::a_history_begins_again_after_a_stop";
            let program = another(test, folder.path()).variable(CASE, case);
            let ended = program.variable(failpoint::VARIABLE, "sink.delta.history_committed").run();
            assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
            commit(folder.path(), case, &mut view, after, after + last).await;
            let what = format!("{case}, {last} epochs");
            let began = match case {
                "changes" => 1,
                // A content that comes later is compared with what the history has already.
                "content" => last.min(3),
                _ => after + last,
            };
            let mut expected = told(&[("c", began, None), ("d", began, None)]);
            if case == "gone on without it" {
                expected.extend(told(&[("a", 1, Some(2)), ("b", 1, Some(2))]));
                expected.sort();
            }
            assert_eq!(epochs(folder.path(), &view), expected, "{what}");
            rows(&reader(), &query(folder.path(), &view)).assert_equals(&view.multiset(), &what);
            let mut target = sink(folder.path());
            target.open(&[view.info().clone()]).await.unwrap();
            target.commit(next(&mut view, after + last + 1, "(3, 'D')")).await.unwrap();
            as_of(folder.path(), view.info(), after + last + 1).assert_equals(&view.multiset(), &what);
        }
    }
}
