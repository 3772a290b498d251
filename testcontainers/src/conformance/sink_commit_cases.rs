//! The cases of the suite for sinks about commits: two writers, other histories, interruptions, and
//! what keeps the target in good order.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use tidegate_core::{
    CommitOutcome, Committed, ConnectorError, DeltaBatch, EpochBatch, EpochHeader, ErrorKind, RowIdentity, ViewCommit,
    ViewContent,
};

use super::model::{ViewModel, header, header_of};
use super::sink::{Case, Opened, Target, full};

/// Every case with its name.
pub(super) const ALL: &[(&str, Case)] = &[
    ("two writers", |t| two_writers(t).boxed_local()),
    ("another history", |t| another_history(t).boxed_local()),
    ("a range that is interrupted and comes again", |t| interrupted(t).boxed_local()),
    ("a replacement that is interrupted and comes again", |t| interrupted_replacement(t).boxed_local()),
    ("a commit that is cancelled and comes again", |t| cancelled(t).boxed_local()),
    ("a target that is kept in good order", |t| maintained(t).boxed_local()),
];

fn pairs() -> ViewModel {
    ViewModel::new("pairs", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]))
}

fn numbers() -> ViewModel {
    ViewModel::new("numbers", &[("n", "BIGINT")], RowIdentity::WholeRow)
}

/// One more epoch of a view, as a commit.
fn next(view: &mut ViewModel, header: &EpochHeader, values: &str) -> Vec<ViewCommit> {
    let delta = view.change_to(values);
    vec![view.changes([(header.clone(), delta)])]
}

/// Two pipelines, or one that was started twice: of two that commit after the same epoch one alone
/// gets its way, also when they say the same.
async fn two_writers(target: Target<'_>) {
    let mut held = pairs();
    let mut sink = target.open(&[&held], None).await;
    sink.commit(0, &header(1), next(&mut held, &header(1), "(1, 'a'), (2, 'b')")).await;
    drop(sink);
    let rivals = [(2, header_of(2, 2), "(1, 'theirs')"), (3, header(3), "(1, 'a'), (3, 'c')")];
    let mut last = header(1);
    for (epoch, theirs, their_rows) in rivals {
        let mut first = target.open(&[&held], Some(&last)).await;
        let mut second = target.open(&[&held], Some(&last)).await;
        let (mut ours_held, ours) = (held.clone(), header(epoch));
        let our_commit = next(&mut ours_held, &ours, "(1, 'a'), (3, 'c')");
        first.commit(epoch - 1, &theirs, next(&mut held, &theirs, their_rows)).await;
        match second.try_commit(epoch - 1, &ours, our_commit).await {
            Ok(outcome) => {
                let found = Some(Committed { epoch: theirs.epoch, hash: theirs.hash });
                assert_eq!(outcome, CommitOutcome::Conflict { view: held.info().name.clone(), found });
            }
            Err(error) => assert_ne!(error.kind(), ErrorKind::Bug, "another writer is no bug: {}", full(&error)),
        }
        // Nothing of it is seen by either, nor by one that comes later.
        first.check(&held).await;
        drop(first);
        drop(second);
        last = theirs;
        target.open(&[&held], Some(&last)).await.check(&held).await;
    }
    // The one that lost goes on from what it finds.
    let mut sink = target.open(&[&held], Some(&last)).await;
    sink.commit(3, &header(4), next(&mut held, &header(4), "(4, 'd')")).await;
    sink.check(&held).await;
}

/// Whose epochs a target holds is told by their hash alone, which therefore comes back to the bit,
/// also from epochs without changes. It is the caller who refuses to go on.
async fn another_history(target: Target<'_>) {
    let mut view = pairs();
    let mut sink = target.open(&[&view], None).await;
    sink.commit(0, &header(1), next(&mut view, &header(1), "(1, 'a')")).await;
    for (epoch, history, values) in [(2, 2, Some("(1, 'b')")), (3, 3, None), (4, 255, Some("")), (5, 0, None)] {
        drop(sink);
        let before = match epoch {
            2 => header(1),
            3 => header_of(2, 2),
            4 => header_of(3, 3),
            _ => header_of(255, 4),
        };
        sink = target.open(&[&view], Some(&before)).await;
        let header = header_of(history, epoch);
        let delta = values.map(|values| (header.clone(), view.change_to(values)));
        sink.commit(epoch - 1, &header, vec![view.changes(delta)]).await;
        sink.check(&view).await;
    }
    drop(sink);
    target.open(&[&view], Some(&header_of(0, 5))).await.check(&view).await;
}

/// Commits epochs 2 to 5 of two views so that the stream of one of them ends half-way with an error.
async fn interrupted(target: Target<'_>) {
    let (mut view, mut second) = (pairs(), numbers());
    let mut sink = begin(&target, &mut view, &mut second).await;
    let (mut ahead, mut second_ahead) = (view.clone(), second.clone());
    let range: Vec<_> =
        [(2, "(1, 'b')", "(1), (2)"), (3, "(2, 'c')", "(2)"), (4, "", "(3), (3)"), (5, "(9, 'z')", "(9)")]
            .map(|(epoch, to, second_to)| (header(epoch), ahead.change_to(to), second_ahead.change_to(second_to)))
            .into();
    let pick = |epochs: usize| range[..epochs].iter().map(|(header, delta, _)| (header.clone(), delta.clone()));
    let pick_second = |epochs: usize| range[..epochs].iter().map(|(header, _, delta)| (header.clone(), delta.clone()));
    let error = || ConnectorError::new(ErrorKind::Retry, "the delta cannot be read");
    // Every prefix, and each of the two views first.
    for epochs in 0..range.len() {
        let whole_first = vec![ahead.changes(pick(4)), second_ahead.failing(pick_second(epochs), error())];
        let failing_first = vec![second_ahead.failing(pick_second(epochs), error()), ahead.changes(pick(4))];
        for views in [whole_first, failing_first] {
            let failed = sink.try_commit(1, &header(5), views).await;
            assert!(failed.is_err(), "a commit whose stream failed is void: {failed:?}");
            drop(sink);
            sink = target.open(&[&view, &second], Some(&header(1))).await;
            sink.check(&view).await;
            sink.check(&second).await;
        }
    }
    sink.commit(1, &header(5), vec![ahead.changes(pick(4)), second_ahead.changes(pick_second(4))]).await;
    drop(sink);
    let mut sink = target.open(&[&ahead, &second_ahead], Some(&header(5))).await;
    sink.check(&ahead).await;
    sink.check(&second_ahead).await;
}

/// What a view held stays until the replacement is there as a whole.
async fn interrupted_replacement(target: Target<'_>) {
    let (mut view, mut second) = (pairs(), numbers());
    let mut sink = begin(&target, &mut view, &mut second).await;
    let (mut ahead, mut second_ahead) = (view.clone(), second.clone());
    second_ahead.change_to("(5), (6), (6)");
    let delta = ahead.change_to("(7, 'x'), (8, 'y')");
    let half = part(&second_ahead.whole(), 0, 1);
    let error = Err(ConnectorError::new(ErrorKind::Retry, "the rows cannot be read"));
    let failing = stream::iter([Ok(EpochBatch { header: header(2), batch: half }), error]).boxed();
    let failing = ViewCommit { view: second.info().clone(), content: ViewContent::Replace(failing) };
    let views = vec![ahead.changes([(header(2), delta.clone())]), failing];
    let failed = sink.try_commit(1, &header(2), views).await;
    assert!(failed.is_err(), "a commit whose stream failed is void: {failed:?}");
    drop(sink);
    let mut sink = target.open(&[&view, &second], Some(&header(1))).await;
    sink.check(&view).await;
    sink.check(&second).await;
    let views = vec![ahead.changes([(header(2), delta)]), second_ahead.replacement(header(2))];
    sink.commit(1, &header(2), views).await;
    sink.check(&ahead).await;
    sink.check(&second_ahead).await;
}

/// A program that is asked to end drops its commit at any point: here while it waits for more.
async fn cancelled(target: Target<'_>) {
    let (mut view, mut second) = (pairs(), numbers());
    let mut sink = begin(&target, &mut view, &mut second).await;
    let (mut ahead, mut second_ahead) = (view.clone(), second.clone());
    let (delta, second_delta) = (ahead.change_to("(1, 'b'), (3, 'c')"), second_ahead.change_to("(7), (8)"));
    let (reached, is_reached) = futures::channel::oneshot::channel::<()>();
    let batch = EpochBatch { header: header(2), batch: delta.clone() };
    let endless = stream::iter([Ok(batch)])
        .chain(stream::once(async move {
            let _ = reached.send(());
            futures::future::pending().await
        }))
        .boxed();
    let endless = ViewCommit { view: view.info().clone(), content: ViewContent::Changes(endless) };
    let views = vec![second_ahead.changes([(header(2), second_delta.clone())]), endless];
    let last = header(2);
    tokio::select! {
        ended = sink.try_commit(1, &last, views) => panic!("a commit without its end has ended: {ended:?}"),
        reached = is_reached => reached.expect("the stream is there until it is reached"),
    }
    drop(sink);
    let mut sink = reopen(&target, &[&view, &second], &header(1)).await;
    sink.check(&view).await;
    sink.check(&second).await;
    let views = vec![ahead.changes([(header(2), delta)]), second_ahead.changes([(header(2), second_delta)])];
    sink.commit(1, &header(2), views).await;
    sink.check(&ahead).await;
    sink.check(&second_ahead).await;
    drop(sink);
    target.open(&[&ahead, &second_ahead], Some(&header(2))).await;
}

/// However often it is asked for, and whatever it does, neither rows nor epochs change.
async fn maintained(target: Target<'_>) {
    const EPOCHS: u64 = 24;
    let (mut view, mut second) = (pairs(), numbers());
    let mut sink = target.open(&[&view, &second], None).await;
    // There is nothing yet.
    sink.maintain().await;
    for epoch in 1..=EPOCHS {
        let rows = |text: &dyn Fn(u64) -> String| (0..5 + epoch % 3).map(text).collect::<Vec<_>>().join(", ");
        // The second view stands still for most of the time.
        let delta = view.change_to(&rows(&|n| format!("({}, 'row {}')", n * epoch % 11 * 10 + n, epoch / 4)));
        let second_delta = (epoch % 8 == 1).then(|| second.change_to(&rows(&|n| format!("({})", n / 2 + epoch))));
        let views = vec![
            view.changes([(header(epoch), delta)]),
            second.changes(second_delta.map(|delta| (header(epoch), delta))),
        ];
        sink.commit(epoch - 1, &header(epoch), views).await;
        if epoch % 4 == 0 {
            sink.maintain().await;
            sink.check(&view).await;
            sink.check(&second).await;
        }
        if epoch % 8 == 0 {
            drop(sink);
            sink = target.open(&[&view, &second], Some(&header(epoch))).await;
            // Twice at once: the second time there is nothing left to do.
            sink.maintain().await;
            sink.maintain().await;
        }
    }
    drop(sink);
    let mut sink = target.open(&[&view, &second], Some(&header(EPOCHS))).await;
    sink.check(&view).await;
    sink.check(&second).await;
    second.change_to("(1), (1)");
    let delta = view.change_to("(1, 'last')");
    let last = header(EPOCHS + 1);
    sink.commit(EPOCHS, &last, vec![view.changes([(last.clone(), delta)]), second.replacement(last.clone())]).await;
    sink.maintain().await;
    sink.check(&view).await;
    sink.check(&second).await;
    drop(sink);
    target.open(&[&view, &second], Some(&last)).await.check(&view).await;
}

/// Two views at epoch 1.
async fn begin(target: &Target<'_>, view: &mut ViewModel, second: &mut ViewModel) -> Opened {
    let mut sink = target.open(&[view, second], None).await;
    let deltas = (view.change_to("(1, 'a'), (2, 'b')"), second.change_to("(1), (1)"));
    let views = vec![view.changes([(header(1), deltas.0)]), second.changes([(header(1), deltas.1)])];
    sink.commit(0, &header(1), views).await;
    sink
}

/// Opens a target that a cancelled commit may still hold for a moment, as a caller does: again, while
/// the sink says that this may help.
async fn reopen(target: &Target<'_>, views: &[&ViewModel], expected: &EpochHeader) -> Opened {
    const ATTEMPTS_MAX: u32 = 500;
    for _ in 0..ATTEMPTS_MAX {
        match target.try_open(views, &vec![Some(expected); views.len()]).await {
            Ok(sink) => return sink,
            Err(error) if error.kind() == ErrorKind::Retry => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("open after a cancelled commit: {}", full(&error)),
        }
    }
    panic!("a cancelled commit still holds the target after {ATTEMPTS_MAX} attempts");
}

/// Some entries of a batch.
fn part(batch: &DeltaBatch, offset: usize, length: usize) -> DeltaBatch {
    DeltaBatch {
        rows: batch.rows.slice(offset, length),
        weights: batch.weights.slice(offset, length),
        change: batch.change[offset..offset + length].to_vec(),
        copies_before: batch.copies_before.slice(offset, length),
    }
}
