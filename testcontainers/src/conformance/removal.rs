//! The suite for what takes views away: all of a view goes and nothing else, once, and it may come again.

use std::path::Path;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tidegate_core::{ErrorKind, History, Removal, RowIdentity, Sink, ViewName};

use super::block_on;
use super::model::{ViewModel, header};
use super::sink::{Opened, Target, full};

/// How the suite makes what is somebody else's.
pub trait Strangers {
    /// Makes something of a view's name, as a person would who uses the target.
    fn make(&self, folder: &Path, name: &str);

    /// Whether something of that name is there, whoever made it.
    fn is_there(&self, folder: &Path, name: &str) -> bool;
}

type Case = for<'a> fn(Target<'a>, &'a dyn Strangers) -> LocalBoxFuture<'a, ()>;

const CASES: &[(&str, Case)] = &[
    ("a target that holds nothing", |t, _| nothing(t).boxed_local()),
    ("a view without its past", |t, s| one_of_two(t, s, None).boxed_local()),
    ("a view with its past", |t, s| one_of_two(t, s, FOR_EVER).boxed_local()),
    ("a past that was put aside, and one that is kept no more", |t, s| old_pasts(t, s).boxed_local()),
    ("the only view", |t, _| only_view(t).boxed_local()),
    ("odd names", |t, _| odd_names(t).boxed_local()),
    ("what is somebody else's", |t, s| strangers(t, s).boxed_local()),
];

const FOR_EVER: Option<History> = Some(History { retention: None });

/// Runs the suite. `make` is that of [`sink`](super::sink()), `strangers` see the same folder.
///
/// # Panics
/// When a law is broken; the case is printed before.
pub fn removal(make: impl Fn(&Path) -> Box<dyn Sink>, strangers: &dyn Strangers) {
    block_on(async {
        for (name, case) in CASES {
            println!("removal conformance: {name}");
            case(Target::new(&make), strangers).await;
        }
    });
}

fn keyed(name: &str, history: Option<History>) -> ViewModel {
    let columns = [("k", "INTEGER"), ("v", "VARCHAR")];
    ViewModel::new(name, &columns, RowIdentity::Key(vec![0])).with_history(history)
}

fn numbers(name: &str, history: Option<History>) -> ViewModel {
    ViewModel::new(name, &[("n", "BIGINT")], RowIdentity::WholeRow).with_history(history)
}

/// Removes a view, and looks that it is gone for this sink and for another one.
async fn gone(target: &Target<'_>, sink: &mut Opened, view: &ViewModel) {
    let name = &view.info().name;
    assert_eq!(sink.remove(name).await, Removal::Removed, "{name}");
    assert_eq!(sink.remove(name).await, Removal::Nothing, "{name}, again");
    let mut other = target.open(&[view], None).await;
    assert!(other.read(view.info()).await.is_empty(), "rows of {name} are left");
    assert_eq!(other.remove(name).await, Removal::Nothing, "{name}, by another sink");
}

/// The next epoch of each view, in one commit.
async fn step(sink: &mut Opened, epoch: u64, views: &mut [(&mut ViewModel, &str)]) {
    let parts = views.iter_mut().map(|(view, values)| {
        let delta = view.change_to(values);
        view.changes([(header(epoch), delta)])
    });
    let parts = parts.collect();
    sink.commit(epoch - 1, &header(epoch), parts).await;
}

async fn nothing(target: Target<'_>) {
    let view = keyed("pairs", FOR_EVER);
    // Nobody has opened the sink, and the target is not there.
    assert_eq!(target.unopened().remove(&view.info().name).await, Removal::Nothing);
    let mut sink = target.open(&[&view], None).await;
    assert_eq!(sink.remove(&view.info().name).await, Removal::Nothing);
}

/// The other view stays as it is, goes on without a new start of the sink, and so does the one that comes again.
async fn one_of_two(target: Target<'_>, strangers: &dyn Strangers, history: Option<History>) {
    for of_other in [None, FOR_EVER] {
        let name = format!("numbers{}", of_other.map_or(0, |_| 1));
        let (mut view, mut other) = (keyed("pairs", history), numbers(&name, of_other));
        let mut sink = target.open(&[&view, &other], None).await;
        step(&mut sink, 1, &mut [(&mut view, "(1, 'a'), (2, 'b')"), (&mut other, "(1), (1), (2)")]).await;
        step(&mut sink, 2, &mut [(&mut view, "(1, 'A'), (3, 'c')"), (&mut other, "(1), (3)")]).await;
        if history.is_none() {
            // Not part of the view, though another view's past would be called that.
            strangers.make(target.folder(), "pairs_history");
        }
        gone(&target, &mut sink, &view).await;
        assert!(!strangers.is_there(target.folder(), "pairs"), "something of the view is left");
        assert_eq!(strangers.is_there(target.folder(), "pairs_history"), history.is_none(), "pairs_history");
        sink.check(&other).await;
        step(&mut sink, 3, &mut [(&mut other, "(4), (4)")]).await;
        sink.check(&other).await;
        drop(sink);
        let mut sink = target.open_each(&[&view, &other], &[None, Some(&header(3))]).await;
        view.change_to("(1, 'back'), (7, NULL)");
        let other_delta = other.change_to("(5)");
        let parts = vec![view.replacement(header(4)), other.changes([(header(4), other_delta)])];
        sink.commit(3, &header(4), parts).await;
        step(&mut sink, 5, &mut [(&mut view, "(1, 'again')"), (&mut other, "")]).await;
        sink.check(&view).await;
        sink.check(&other).await;
        drop(sink);
        let mut sink = target.open(&[&view, &other], Some(&header(5))).await;
        sink.check(&view).await;
        sink.check(&other).await;
        gone(&target, &mut sink, &view).await;
        gone(&target, &mut sink, &other).await;
        if history.is_none() {
            break;
        }
    }
}

/// A view that got other columns has put its past aside, where it keeps one; another is not `temporal` any more.
async fn old_pasts(target: Target<'_>, strangers: &dyn Strangers) {
    let (mut view, mut plain) = (keyed("pairs", FOR_EVER), keyed("plain", FOR_EVER));
    let mut sink = target.open(&[&view, &plain], None).await;
    step(&mut sink, 1, &mut [(&mut view, "(1, 'a')"), (&mut plain, "(1, 'a')")]).await;
    step(&mut sink, 2, &mut [(&mut view, "(1, 'b')"), (&mut plain, "(2, 'b')")]).await;
    drop(sink);
    plain.set_history(None);
    let mut view = numbers("pairs", view.info().history);
    let mut sink = target.open_each(&[&view, &plain], &[Some(&header(2)), Some(&header(2))]).await;
    view.change_to("(1), (2)");
    let delta = plain.change_to("(3, 'c')");
    sink.commit(2, &header(3), vec![view.replacement(header(3)), plain.changes([(header(3), delta)])]).await;
    step(&mut sink, 4, &mut [(&mut view, "(2)"), (&mut plain, "(3, 'C')")]).await;
    for view in [&view, &plain] {
        gone(&target, &mut sink, view).await;
    }
    for name in ["pairs", "pairs_history", "pairs_history_until_3", "plain", "plain_history"] {
        assert!(!strangers.is_there(target.folder(), name), "{name} is left");
    }
}

/// A view that begins with changes, as the first one of a pipeline does, begins so again.
async fn only_view(target: Target<'_>) {
    let mut view = keyed("pairs", FOR_EVER);
    for round in 0..2 {
        let mut sink = target.open(&[&view], None).await;
        let delta = view.change_to(&format!("(1, 'round {round}'), (2, 'b')"));
        sink.commit(0, &header(3), vec![view.changes([(header(2), delta)])]).await;
        step(&mut sink, 4, &mut [(&mut view, "(1, 'c')")]).await;
        sink.check(&view).await;
        gone(&target, &mut sink, &view).await;
        sink.maintain().await;
        view.change_to("");
        // By a sink that nobody has opened, too.
        let mut sink = target.open(&[&view], None).await;
        step_from_nothing(&mut sink, &mut view).await;
        drop(sink);
        assert_eq!(target.unopened().remove(&view.info().name).await, Removal::Removed);
        view.change_to("");
    }
}

async fn step_from_nothing(sink: &mut Opened, view: &mut ViewModel) {
    let delta = view.change_to("(9, 'z')");
    sink.commit(0, &header(9), vec![view.changes([(header(9), delta)])]).await;
}

async fn odd_names(target: Target<'_>) {
    let names = ["with space", "select", "a\"b'c", "Größe", "a.b"];
    let mut views: Vec<_> = names.iter().map(|name| keyed(name, FOR_EVER)).collect();
    let mut sink = target.open(&views.iter().collect::<Vec<_>>(), None).await;
    let parts: Vec<_> = views
        .iter_mut()
        .map(|view| {
            let delta = view.change_to("(1, 'a')");
            view.changes([(header(1), delta)])
        })
        .collect();
    sink.commit(0, &header(1), parts).await;
    while let Some(view) = views.pop() {
        gone(&target, &mut sink, &view).await;
        sink.check_each(&views).await;
    }
}

/// What the target's bookkeeping does not name is no view of ours.
async fn strangers(target: Target<'_>, strangers: &dyn Strangers) {
    let refused = async |sink: &mut Opened, when: &str| {
        let error = sink.try_remove(&ViewName::new("theirs")).await.expect_err("it is somebody else's");
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{when}: {}", full(&error));
        assert!(error.to_string().contains("theirs"), "{when}: {error}");
        assert!(error.to_string().contains("yourself"), "{when}: {error}");
        assert!(strangers.is_there(target.folder(), "theirs"), "{when}");
    };
    strangers.make(target.folder(), "theirs");
    refused(&mut target.unopened(), "nothing of ours is there").await;
    let mut view = keyed("ours", FOR_EVER);
    let mut sink = target.open(&[&view], None).await;
    step(&mut sink, 1, &mut [(&mut view, "(1, 'a')")]).await;
    refused(&mut sink, "beside a view of ours").await;
    sink.check(&view).await;
    gone(&target, &mut sink, &view).await;
    refused(&mut sink, "after a view of ours").await;
}
