//! The cases of the suite for sinks.

use futures::FutureExt;
use tidegate_core::{CommitOutcome, Committed, ConnectorError, ErrorKind, RowIdentity};

use super::content::TYPES;
use super::model::{ViewModel, header, header_of};
use super::sink::{Case, Target, full};

/// Every case with its name.
pub(super) const ALL: &[(&str, Case)] = &[
    ("a target that holds nothing", |t| nothing(t).boxed_local()),
    ("whole rows with copies and NULLs", |t| whole_rows(t).boxed_local()),
    ("rows under a key", |t| keyed(t).boxed_local()),
    ("keys of several columns, and of none", |t| odd_keys(t).boxed_local()),
    ("ranges of several epochs", |t| ranges(t).boxed_local()),
    ("epochs without changes", |t| empty_epochs(t).boxed_local()),
    ("several views in one commit", |t| several_views(t).boxed_local()),
    ("a view that comes later", |t| later_view(t).boxed_local()),
    ("views that are not named are left alone", |t| unnamed_views(t).boxed_local()),
    ("replacement of rows and columns", |t| replacement(t).boxed_local()),
    ("a commit after the wrong epoch", |t| conflict(t).boxed_local()),
    ("a stream that fails", |t| failing_stream(t).boxed_local()),
    ("odd names", |t| odd_names(t).boxed_local()),
    ("every type", |t| every_type(t).boxed_local()),
    ("many rows", |t| many_rows(t).boxed_local()),
];

fn pairs(identity: RowIdentity) -> ViewModel {
    ViewModel::new("pairs", &[("k", "INTEGER"), ("v", "VARCHAR")], identity)
}

async fn nothing(target: Target<'_>) {
    let view = pairs(RowIdentity::WholeRow);
    target.open(&[&view], None).await.check(&view).await;
    target.open(&[&view], None).await;
}

async fn whole_rows(target: Target<'_>) {
    let mut view = pairs(RowIdentity::WholeRow);
    let contents = [
        "(1, 'a'), (1, 'a'), (1, 'a'), (NULL, NULL), (NULL, NULL), (2, '')",
        "(1, 'a'), (NULL, NULL), (NULL, NULL), (NULL, NULL), (2, NULL)",
        "(NULL, 'a'), (2, NULL), (2, NULL)",
        "",
        "(1, 'A'), (1, 'a')",
    ];
    for (index, values) in contents.into_iter().enumerate() {
        let epoch = index as u64 + 1;
        let before = (epoch > 1).then(|| header(epoch - 1));
        let mut sink = target.open(&[&view], before.as_ref()).await;
        let delta = view.change_to(values);
        sink.commit(epoch - 1, &header(epoch), vec![view.changes([(header(epoch), delta)])]).await;
        sink.check(&view).await;
        target.open(&[&view], Some(&header(epoch))).await.check(&view).await;
    }
}

async fn keyed(target: Target<'_>) {
    let mut view = pairs(RowIdentity::Key(vec![0]));
    let mut sink = target.open(&[&view], None).await;
    let contents = ["(1, 'a'), (2, 'b'), (NULL, 'n')", "(1, 'A'), (3, 'c'), (NULL, NULL)", "(1, 'A'), (NULL, 'm')", ""];
    for (index, values) in contents.into_iter().enumerate() {
        let epoch = index as u64 + 1;
        let delta = view.change_to(values);
        sink.commit(epoch - 1, &header(epoch), vec![view.changes([(header(epoch), delta)])]).await;
        sink.check(&view).await;
    }
    target.open(&[&view], Some(&header(4))).await.check(&view).await;
}

async fn odd_keys(target: Target<'_>) {
    let columns = [("a", "VARCHAR"), ("b", "DOUBLE"), ("n", "BIGINT")];
    let mut pair = ViewModel::new("pair", &columns, RowIdentity::Key(vec![0, 1]));
    let mut one = ViewModel::new("one", &[("count_star()", "BIGINT")], RowIdentity::Key(Vec::new()));
    let mut sink = target.open(&[&pair, &one], None).await;
    let contents = [
        ("('x', 1.5, 1), ('x', NULL, 2), (NULL, 1.5, 3), (NULL, NULL, 4), ('y', 'nan', 5)", "(0)"),
        ("('x', 1.5, 1), ('x', NULL, 20), (NULL, NULL, 40), ('y', 'nan', 50), ('x', '-0.0', 6)", "(3)"),
        ("('x', 1.5, 1)", "(NULL)"),
    ];
    for (index, (pairs, ones)) in contents.into_iter().enumerate() {
        let epoch = index as u64 + 1;
        let (delta, delta_one) = (pair.change_to(pairs), one.change_to(ones));
        let views = vec![pair.changes([(header(epoch), delta)]), one.changes([(header(epoch), delta_one)])];
        sink.commit(epoch - 1, &header(epoch), views).await;
        sink.check(&pair).await;
        sink.check(&one).await;
    }
}

async fn ranges(target: Target<'_>) {
    let mut whole = pairs(RowIdentity::WholeRow);
    let columns = [("k", "INTEGER"), ("v", "VARCHAR")];
    let mut keyed = ViewModel::new("keyed", &columns, RowIdentity::Key(vec![0]));
    let mut sink = target.open(&[&whole, &keyed], None).await;
    // Rows come and go, and keys change more than once, within one range.
    let whole_contents = ["(1, 'a'), (1, 'a')", "(2, 'b')", "(1, 'a'), (2, 'b'), (2, 'b')", "(1, 'a')"];
    let keyed_contents = ["(1, 'a'), (2, 'b')", "(1, 'b')", "(1, 'c'), (2, 'c')", "(2, 'd')"];
    for range in [1..=3, 4..=8] {
        let after = range.start() - 1;
        let last = header(*range.end());
        let (mut whole_deltas, mut keyed_deltas) = (Vec::new(), Vec::new());
        for epoch in range {
            let index = epoch as usize % 4;
            whole_deltas.push((header(epoch), whole.change_to(whole_contents[index])));
            keyed_deltas.push((header(epoch), keyed.change_to(keyed_contents[index])));
        }
        sink.commit(after, &last, vec![whole.changes(whole_deltas), keyed.changes(keyed_deltas)]).await;
        sink.check(&whole).await;
        sink.check(&keyed).await;
    }
    target.open(&[&whole, &keyed], Some(&header(8))).await;
}

async fn empty_epochs(target: Target<'_>) {
    let mut view = pairs(RowIdentity::WholeRow);
    let mut sink = target.open(&[&view], None).await;
    sink.commit(0, &header(1), vec![view.changes([])]).await;
    sink.check(&view).await;
    let delta = view.change_to("(1, 'a')");
    sink.commit(1, &header(3), vec![view.changes([(header(2), delta)])]).await;
    sink.commit(3, &header(9), vec![view.changes([])]).await;
    sink.check(&view).await;
    target.open(&[&view], Some(&header(9))).await.check(&view).await;
}

async fn several_views(target: Target<'_>) {
    let mut names: Vec<_> =
        ["one", "two", "three"].map(|name| ViewModel::new(name, &[("n", "BIGINT")], RowIdentity::WholeRow)).into();
    let mut sink = target.open(&names.iter().collect::<Vec<_>>(), None).await;
    for epoch in 1..=4 {
        let mut views = Vec::new();
        for (index, view) in names.iter_mut().enumerate() {
            // The third view never changes after the first epoch.
            let delta = (index < 2 || epoch == 1).then(|| view.change_to(&format!("({epoch}), ({index}), ({index})")));
            views.push(view.changes(delta.filter(|delta| !delta.is_empty()).map(|delta| (header(epoch), delta))));
        }
        sink.commit(epoch - 1, &header(epoch), views).await;
        for view in &names {
            sink.check(view).await;
        }
    }
    let mut reopened = target.open(&names.iter().collect::<Vec<_>>(), Some(&header(4))).await;
    for view in &names {
        reopened.check(view).await;
    }
}

async fn later_view(target: Target<'_>) {
    let mut first = pairs(RowIdentity::WholeRow);
    let mut later = ViewModel::new("later", &[("n", "BIGINT")], RowIdentity::WholeRow);
    let mut sink = target.open(&[&first], None).await;
    let delta = first.change_to("(1, 'a')");
    sink.commit(0, &header(1), vec![first.changes([(header(1), delta)])]).await;
    let mut sink = target.open_each(&[&first, &later], &[Some(&header(1)), None]).await;
    let delta = first.change_to("(2, 'b')");
    later.change_to("(7), (7), (NULL)");
    sink.commit(1, &header(2), vec![first.changes([(header(2), delta)]), later.replacement(header(2))]).await;
    sink.check(&first).await;
    sink.check(&later).await;
    target.open(&[&first, &later], Some(&header(2))).await;
}

async fn unnamed_views(target: Target<'_>) {
    let mut kept = pairs(RowIdentity::WholeRow);
    let mut other = ViewModel::new("other", &[("n", "BIGINT")], RowIdentity::WholeRow);
    let mut sink = target.open(&[&kept, &other], None).await;
    let deltas = (kept.change_to("(1, 'a')"), other.change_to("(1)"));
    let views = vec![kept.changes([(header(1), deltas.0)]), other.changes([(header(1), deltas.1)])];
    sink.commit(0, &header(1), views).await;
    let mut sink = target.open(&[&other], Some(&header(1))).await;
    let delta = other.change_to("");
    sink.commit(1, &header(2), vec![other.changes([(header(2), delta)])]).await;
    let mut sink = target.open_each(&[&kept, &other], &[Some(&header(1)), Some(&header(2))]).await;
    sink.check(&kept).await;
    sink.check(&other).await;
}

async fn replacement(target: Target<'_>) {
    let mut view = pairs(RowIdentity::WholeRow);
    let mut sink = target.open(&[&view], None).await;
    let delta = view.change_to("(1, 'a'), (1, 'a'), (2, NULL)");
    sink.commit(0, &header(1), vec![view.changes([(header(1), delta)])]).await;
    // The same columns, other rows.
    view.change_to("(3, 'c'), (3, 'c')");
    sink.commit(1, &header(2), vec![view.replacement(header(2))]).await;
    sink.check(&view).await;
    // Other columns, of which some have other types under old names.
    let mut view =
        ViewModel::new("pairs", &[("v", "BIGINT"), ("w", "DATE"), ("k", "VARCHAR")], RowIdentity::Key(vec![2]));
    let mut sink = target.open(&[&view], Some(&header(2))).await;
    view.change_to("(1, '2024-01-01', 'x'), (NULL, NULL, 'y')");
    sink.commit(2, &header(3), vec![view.replacement(header(3))]).await;
    sink.check(&view).await;
    let delta = view.change_to("(2, '2024-01-01', 'x'), (NULL, NULL, 'z')");
    sink.commit(3, &header(4), vec![view.changes([(header(4), delta)])]).await;
    sink.check(&view).await;
    // Nothing at all.
    view.change_to("");
    sink.commit(4, &header(5), vec![view.replacement(header(5))]).await;
    target.open(&[&view], Some(&header(5))).await.check(&view).await;
}

async fn conflict(target: Target<'_>) {
    let mut view = pairs(RowIdentity::WholeRow);
    let mut sink = target.open(&[&view], None).await;
    let delta = view.change_to("(1, 'a')");
    // Another writer gets there first.
    let mut other = target.open(&[&view], None).await;
    let theirs = header_of(2, 1);
    other.commit(0, &theirs, vec![view.changes([(theirs.clone(), delta.clone())])]).await;
    drop(other);
    let ours = vec![view.changes([(header(1), delta)])];
    let outcome = sink.try_commit(0, &header(1), ours).await.unwrap_or_else(|error| panic!("{}", full(&error)));
    let found = Some(Committed { epoch: theirs.epoch, hash: theirs.hash });
    assert_eq!(outcome, CommitOutcome::Conflict { view: view.info().name.clone(), found });
    drop(sink);
    let mut sink = target.open(&[&view], Some(&theirs)).await;
    sink.check(&view).await;
    // A gap is a conflict as well.
    let mut ahead = view.clone();
    let delta = ahead.change_to("(2, 'b')");
    let gap = vec![ahead.changes([(header(6), delta)])];
    let outcome = sink.try_commit(5, &header(6), gap).await.unwrap_or_else(|error| panic!("{}", full(&error)));
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "a commit after an epoch that is not there");
    target.open(&[&view], Some(&theirs)).await.check(&view).await;
}

async fn failing_stream(target: Target<'_>) {
    let mut view = pairs(RowIdentity::WholeRow);
    let mut second = ViewModel::new("second", &[("n", "BIGINT")], RowIdentity::WholeRow);
    let mut sink = target.open(&[&view, &second], None).await;
    let deltas = (view.change_to("(1, 'a')"), second.change_to("(1)"));
    let views = vec![view.changes([(header(1), deltas.0)]), second.changes([(header(1), deltas.1)])];
    sink.commit(0, &header(1), views).await;
    let (mut ahead, mut second_ahead) = (view.clone(), second.clone());
    let deltas = (ahead.change_to("(1, 'b'), (2, 'c')"), second_ahead.change_to("(1), (2)"));
    let error = || ConnectorError::new(ErrorKind::Retry, "the delta cannot be read");
    let views = vec![
        second_ahead.failing([(header(2), deltas.1.clone())], error()),
        ahead.failing([(header(2), deltas.0.clone())], error()),
    ];
    let failed = sink.try_commit(1, &header(2), views).await;
    assert!(failed.is_err(), "a commit whose stream failed is void");
    drop(sink);
    let mut sink = target.open(&[&view, &second], Some(&header(1))).await;
    sink.check(&view).await;
    sink.check(&second).await;
    let views = vec![ahead.changes([(header(2), deltas.0)]), second_ahead.changes([(header(2), deltas.1)])];
    sink.commit(1, &header(2), views).await;
    sink.check(&ahead).await;
    sink.check(&second_ahead).await;
}

async fn odd_names(target: Target<'_>) {
    let columns = [
        ("Mixed Case", "INTEGER"),
        ("quo\"te's", "VARCHAR"),
        ("select", "DATE"),
        ("ünï.cödé", "BOOLEAN"),
        ("count_star()", "BIGINT"),
    ];
    let mut views: Vec<_> = ["MixedCase", "with space", "quo\"te's", "ünïcödé 🦆", "select", "per.iod", "per%cent"]
        .map(|name| ViewModel::new(name, &columns, RowIdentity::Key(vec![0, 1])))
        .into();
    let mut sink = target.open(&views.iter().collect::<Vec<_>>(), None).await;
    for (epoch, note) in [(1, "one"), (2, "it''s \"two\"")] {
        let mut commits = Vec::new();
        for (index, view) in views.iter_mut().enumerate() {
            let values = format!("({index}, 'key', NULL, true, 1), (NULL, '{note}', '2024-01-01', NULL, {epoch})");
            let delta = view.change_to(&values);
            commits.push(view.changes([(header(epoch), delta)]));
        }
        sink.commit(epoch - 1, &header(epoch), commits).await;
    }
    let mut sink = target.open(&views.iter().collect::<Vec<_>>(), Some(&header(2))).await;
    for view in &views {
        sink.check(view).await;
    }
}

async fn every_type(target: Target<'_>) {
    let names: Vec<_> = (0..TYPES.len()).map(|index| format!("c{index}")).collect();
    let columns: Vec<_> = names.iter().zip(TYPES).map(|(name, (ty, ..))| (name.as_str(), *ty)).collect();
    let mut whole = ViewModel::new("whole", &columns, RowIdentity::WholeRow);
    let keyed_columns: Vec<_> = [("id", "INTEGER")].into_iter().chain(columns).collect();
    let mut keyed = ViewModel::new("keyed", &keyed_columns, RowIdentity::Key(vec![0]));
    let list = |pick: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        TYPES.iter().map(pick).collect::<Vec<_>>().join(", ")
    };
    let (first, second, nulls) = (list(|t| t.1), list(|t| t.2), list(|_| "NULL"));
    let mut sink = target.open(&[&whole, &keyed], None).await;
    let contents = [
        (format!("({first}), ({first}), ({nulls})"), format!("(1, {first}), (2, {nulls}), (3, {second})")),
        (format!("({first}), ({second}), ({nulls}), ({nulls})"), format!("(1, {second}), (2, {first}), (3, {nulls})")),
        (format!("({second})"), format!("(2, {second})")),
        (String::new(), String::new()),
    ];
    for (index, (whole_values, keyed_values)) in contents.iter().enumerate() {
        let epoch = index as u64 + 1;
        let deltas = (whole.change_to(whole_values), keyed.change_to(keyed_values));
        let views = vec![whole.changes([(header(epoch), deltas.0)]), keyed.changes([(header(epoch), deltas.1)])];
        sink.commit(epoch - 1, &header(epoch), views).await;
        sink.check(&whole).await;
        sink.check(&keyed).await;
    }
}

async fn many_rows(target: Target<'_>) {
    let columns = [("id", "BIGINT"), ("text", "VARCHAR")];
    let mut view = ViewModel::new("many", &columns, RowIdentity::Key(vec![0]));
    let values = |modulus: i64| {
        let rows =
            (0..10_000).filter(|id| id % modulus != 0).map(|id| format!("({id}, 'row {}')", id % (modulus * 10)));
        rows.collect::<Vec<_>>().join(", ")
    };
    let mut sink = target.open(&[&view], None).await;
    for (epoch, modulus) in [(1, 7), (2, 5)] {
        let delta = view.change_to(&values(modulus));
        // A delta may come in several batches.
        let (half, rows) = (delta.len() / 2 * 2 / 2, delta.len());
        let half = half - half % 2;
        let part = |offset: usize, length: usize| tidegate_core::DeltaBatch {
            rows: delta.rows.slice(offset, length),
            weights: delta.weights.slice(offset, length),
            change: delta.change[offset..offset + length].to_vec(),
            copies_before: delta.copies_before.slice(offset, length),
        };
        let parts = [(header(epoch), part(0, half)), (header(epoch), part(half, rows - half))];
        sink.commit(epoch - 1, &header(epoch), vec![view.changes(parts)]).await;
        sink.check(&view).await;
    }
}
