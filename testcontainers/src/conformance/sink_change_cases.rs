//! The cases of the suite for sinks about what changes: keys, whole contents, rows that return,
//! and columns.

use futures::FutureExt;
use tidegate_core::RowIdentity;

use super::model::{ViewModel, header};
use super::sink::{Case, Target};

/// Every case with its name.
pub(super) const ALL: &[(&str, Case)] = &[
    ("a key that changes", |t| changed_key(t).boxed_local()),
    ("keys that are passed on", |t| passed_keys(t).boxed_local()),
    ("a view that is emptied and filled again", |t| emptied(t).boxed_local()),
    ("a view that is emptied and filled again in one range", |t| emptied_in_one_range(t).boxed_local()),
    ("a row that goes and returns in one range", |t| returning_row(t).boxed_local()),
    ("columns that come, go and get other types", |t| changed_columns(t).boxed_local()),
    ("one view replaced beside one that changes", |t| replaced_beside(t).boxed_local()),
];

const COLUMNS: [(&str, &str); 2] = [("k", "INTEGER"), ("v", "VARCHAR")];

fn whole() -> ViewModel {
    ViewModel::new("whole", &COLUMNS, RowIdentity::WholeRow)
}

fn keyed() -> ViewModel {
    ViewModel::new("keyed", &COLUMNS, RowIdentity::Key(vec![0]))
}

/// Commits a content after the other, each as an epoch of its own, and checks each.
async fn walk(target: &Target<'_>, views: &mut [ViewModel], contents: &[&str]) {
    let mut sink = target.open(&views.iter().collect::<Vec<_>>(), None).await;
    for (index, values) in contents.iter().enumerate() {
        let epoch = index as u64 + 1;
        let mut commits = Vec::new();
        for view in views.iter_mut() {
            let delta = view.change_to(values);
            let delta = (!delta.is_empty()).then_some((header(epoch), delta));
            commits.push(view.changes(delta));
        }
        sink.commit(epoch - 1, &header(epoch), commits).await;
        for view in views.iter() {
            sink.check(view).await;
        }
    }
    drop(sink);
    let last = header(contents.len() as u64);
    let mut reopened = target.open(&views.iter().collect::<Vec<_>>(), Some(&last)).await;
    for view in views.iter() {
        reopened.check(view).await;
    }
}

/// The old key's row goes and the new key's comes in one epoch, in either order.
async fn changed_key(target: Target<'_>) {
    let contents = [
        "(5, 'a'), (7, 'b'), (NULL, 'n')",
        "(9, 'a'), (7, 'b'), (NULL, 'n')",
        "(1, 'a'), (7, 'b'), (NULL, 'n')",
        "(1, 'a'), (NULL, 'b'), (2, 'n')",
        "(1, 'n'), (2, 'b'), (3, 'a')",
    ];
    walk(&target, &mut [keyed()], &contents).await;
}

/// A key that one row gives up is another's in the same epoch.
async fn passed_keys(target: Target<'_>) {
    let contents = [
        "(1, 'a'), (2, 'b'), (3, 'c')",
        "(2, 'a'), (3, 'b'), (4, 'c')",
        "(1, 'a'), (2, 'b'), (3, 'c')",
        "(1, 'c'), (2, 'a'), (3, 'b')",
        "(2, 'c')",
    ];
    walk(&target, &mut [keyed()], &contents).await;
}

const FILLED: &str = "(1, 'a'), (2, 'b'), (3, NULL), (NULL, NULL)";

/// As after a `TRUNCATE`: every row goes in one delta, and others or the same come again.
async fn emptied(target: Target<'_>) {
    let contents = [FILLED, "", FILLED, "", "(4, 'd')", "", "", FILLED];
    walk(&target, &mut [keyed(), whole()], &contents).await;
}

async fn emptied_in_one_range(target: Target<'_>) {
    let ranges: [&[&str]; 4] =
        [&[FILLED, "", FILLED], &["", "(4, 'd'), (1, 'A')"], &["(1, 'a')", "", FILLED, ""], &["(1, 'a')"]];
    walk_ranges(&target, &mut [keyed(), whole()], &ranges).await;
}

/// What stays in the end is what the last epoch says, however often a row went and returned before.
async fn returning_row(target: Target<'_>) {
    let ranges: [&[&str]; 4] = [
        &["(1, 'a'), (2, 'b')", "(2, 'b')", "(1, 'a'), (2, 'b')", "(2, 'b')", "(1, 'a'), (2, 'b')"],
        &["(2, 'b')", "(1, 'a'), (2, 'b')"],
        &["(1, 'a')", "(1, 'a'), (2, 'b')", "(1, 'a')"],
        &["(1, 'x')", "(1, 'a')", "", "(1, 'a')"],
    ];
    walk_ranges(&target, &mut [keyed(), whole()], &ranges).await;
}

/// Commits a range after the other, and checks each; beside the views one with several copies of the rows.
async fn walk_ranges(target: &Target<'_>, views: &mut [ViewModel], ranges: &[&[&str]]) {
    let mut copies = ViewModel::new("copies", &COLUMNS, RowIdentity::WholeRow);
    let all =
        |views: &mut [ViewModel], copies: &ViewModel| views.iter().chain([copies]).cloned().collect::<Vec<ViewModel>>();
    let opened = all(views, &copies);
    let mut sink = target.open(&opened.iter().collect::<Vec<_>>(), None).await;
    let mut epoch = 0;
    for range in ranges {
        let after = epoch;
        let mut deltas = vec![Vec::new(); views.len() + 1];
        for values in *range {
            epoch += 1;
            for (view, deltas) in views.iter_mut().zip(&mut deltas) {
                deltas.push((header(epoch), view.change_to(values)));
            }
            // Another number of copies in every epoch.
            let repeated = vec![*values; if values.is_empty() { 1 } else { epoch as usize % 3 + 1 }].join(", ");
            deltas[views.len()].push((header(epoch), copies.change_to(&repeated)));
        }
        let held = all(views, &copies);
        let commits = held.iter().zip(deltas).map(|(view, deltas)| {
            // An epoch that leaves a view as it was has no batch of it.
            view.changes(deltas.into_iter().filter(|(_, delta)| !delta.is_empty()))
        });
        sink.commit(after, &header(epoch), commits.collect()).await;
        for view in &held {
            sink.check(view).await;
        }
    }
    drop(sink);
    let held = all(views, &copies);
    let mut reopened = target.open(&held.iter().collect::<Vec<_>>(), Some(&header(epoch))).await;
    for view in &held {
        reopened.check(view).await;
    }
}

/// A query that was rewritten: each step replaces the content, and deltas go on from there.
async fn changed_columns(target: Target<'_>) {
    type Step<'a> = (&'a [(&'a str, &'a str)], RowIdentity, [&'a str; 2]);
    let key = |column: usize| RowIdentity::Key(vec![column]);
    let steps: [Step; 6] = [
        (&[("k", "INTEGER"), ("v", "VARCHAR")], key(0), ["(1, 'a'), (2, NULL)", "(1, 'b'), (3, 'c')"]),
        // One more.
        (
            &[("k", "INTEGER"), ("v", "VARCHAR"), ("n", "DECIMAL(9,2)")],
            key(0),
            ["(1, 'b', 1.50), (3, 'c', NULL)", "(1, 'b', 2.50), (4, NULL, 0)"],
        ),
        // One less, from the middle.
        (&[("k", "INTEGER"), ("n", "DECIMAL(9,2)")], key(0), ["(1, 2.50), (4, 0)", "(1, NULL)"]),
        // Other types under the old names.
        (&[("k", "VARCHAR"), ("n", "DOUBLE")], key(0), ["('1', 2.5), ('x', 'nan')", "('1', '-0.0'), ('y', NULL)"]),
        // Another order, and no key any more.
        (&[("n", "DOUBLE"), ("k", "VARCHAR")], RowIdentity::WholeRow, ["(1, 'a'), (1, 'a')", "(1, 'a'), (2, NULL)"]),
        // Nothing in common, under a key again.
        (&[("at", "TIMESTAMP"), ("id", "BIGINT")], key(1), ["('2024-02-29 12:00:00', 1)", "(NULL, 1), (NULL, 2)"]),
    ];
    let mut epoch = 0;
    for (columns, identity, [replaced, changed]) in steps {
        let mut view = ViewModel::new("shape", columns, identity);
        // The sink learns the new columns as it is opened, while the target has the old ones.
        let before = (epoch > 0).then(|| header(epoch));
        let mut sink = target.open(&[&view], before.as_ref()).await;
        view.change_to(replaced);
        sink.commit(epoch, &header(epoch + 1), vec![view.replacement(header(epoch + 1))]).await;
        sink.check(&view).await;
        let delta = view.change_to(changed);
        sink.commit(epoch + 1, &header(epoch + 2), vec![view.changes([(header(epoch + 2), delta)])]).await;
        sink.check(&view).await;
        epoch += 2;
        drop(sink);
        target.open(&[&view], Some(&header(epoch))).await.check(&view).await;
    }
}

async fn replaced_beside(target: Target<'_>) {
    let (mut changing, mut other) = (keyed(), whole());
    let mut sink = target.open(&[&changing, &other], None).await;
    let deltas = (changing.change_to("(1, 'a'), (2, 'b')"), other.change_to("(1, 'a'), (1, 'a')"));
    let views = vec![changing.changes([(header(1), deltas.0)]), other.changes([(header(1), deltas.1)])];
    sink.commit(0, &header(1), views).await;
    drop(sink);
    let mut other = ViewModel::new("whole", &[("v", "DATE"), ("w", "INTEGER")], RowIdentity::WholeRow);
    let mut sink = target.open(&[&changing, &other], Some(&header(1))).await;
    other.change_to("('2024-01-01', 1), ('2024-01-01', 1), (NULL, NULL)");
    let deltas =
        [(2, "(1, 'A')"), (3, "(1, 'A'), (3, 'c')")].map(|(epoch, to)| (header(epoch), changing.change_to(to)));
    sink.commit(1, &header(3), vec![other.replacement(header(3)), changing.changes(deltas)]).await;
    sink.check(&changing).await;
    sink.check(&other).await;
    drop(sink);
    let mut reopened = target.open(&[&changing, &other], Some(&header(3))).await;
    reopened.check(&changing).await;
    reopened.check(&other).await;
}
