//! The suite for what a target keeps of the past: intervals are half-open, never empty and without gaps, and the rows
//! as of every epoch are those that the view had.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{ErrorKind, History, RowIdentity, Sink, ViewCommit, ViewInfo};

use super::block_on;
use super::model::{ViewModel, header};
use super::sink::{Opened, Target, full};
use crate::multiset::{Multiset, Row, row_of};
use crate::seed;

/// A row of a table `<view>_history`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The view's columns.
    pub row: Row,
    /// The first epoch with the row, and the first one without it.
    pub epochs: (u64, Option<u64>),
    /// The times of these epochs, in microseconds since 1970.
    pub times: (i64, Option<i64>),
}

impl Version {
    /// The versions in batches with the columns of a history table: those of the view, then `valid_from`, `valid_to`,
    /// `_valid_from_epoch` and `_valid_to_epoch`.
    ///
    /// # Panics
    /// When the columns are others, or a version has no beginning.
    pub fn of_batches<'a>(view: &ViewInfo, batches: impl IntoIterator<Item = &'a RecordBatch>) -> Vec<Version> {
        let names = view.schema.fields().iter().map(|field| field.name().as_str());
        let names: Vec<_> = names.chain(["valid_from", "valid_to", "_valid_from_epoch", "_valid_to_epoch"]).collect();
        let mut versions = Vec::new();
        for batch in batches {
            let schema = batch.schema();
            let found: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(found, names, "columns of the history of {}", view.name);
            let (columns, bounds) = batch.columns().split_at(names.len() - 4);
            let time = |column: usize, row| {
                let array = bounds[column].as_primitive::<TimestampMicrosecondType>();
                array.is_valid(row).then(|| array.value(row))
            };
            let epoch = |column: usize, row| {
                let array = bounds[column].as_primitive::<Int64Type>();
                array.is_valid(row).then(|| array.value(row) as u64)
            };
            versions.extend((0..batch.num_rows()).map(|row| Version {
                row: row_of(columns, row),
                epochs: (epoch(2, row).expect("a version begins with an epoch"), epoch(3, row)),
                times: (time(0, row).expect("a version begins at a time"), time(1, row)),
            }));
        }
        versions
    }

    fn holds_at(&self, epoch: u64) -> bool {
        self.epochs.0 <= epoch && self.epochs.1.is_none_or(|end| end > epoch)
    }
}

/// How the suite sees what a target keeps.
pub trait HistoryReader {
    /// The rows of the table `<view>_history`.
    fn versions(&self, folder: &Path, view: &ViewInfo) -> Vec<Version>;

    /// The rows as of each of these epochs by the target's own function; `None` where it has none, and what the target
    /// says where it refuses to answer.
    fn as_of(&self, folder: &Path, view: &ViewInfo, epochs: &[u64]) -> Option<Vec<Result<Multiset, String>>>;

    /// The same as of times, in microseconds since 1970.
    fn as_of_times(&self, folder: &Path, view: &ViewInfo, micros: &[i64]) -> Option<Vec<Result<Multiset, String>>>;
}

type Case = for<'a> fn(Target<'a>, &'a dyn HistoryReader) -> LocalBoxFuture<'a, ()>;

const CASES: &[(&str, Case)] = &[
    ("a delete closes the version", |t, r| a_delete(t, r).boxed_local()),
    ("a key change closes the old key", |t, r| a_key_change(t, r).boxed_local()),
    ("copies without a key", |t, r| copies(t, r).boxed_local()),
    ("versions within one commit", |t, r| within_a_commit(t, r).boxed_local()),
    ("a content that is compared", |t, r| compared(t, r).boxed_local()),
    ("history that is switched on, off and on", |t, r| switched(t, r).boxed_local()),
    ("other columns", |t, r| other_columns(t, r).boxed_local()),
    ("retention", |t, r| retention(t, r).boxed_local()),
    ("names that are taken", |t, _| taken_names(t).boxed_local()),
    ("random histories", |t, r| random(t, r).boxed_local()),
];

/// Runs the suite. `make` is that of [`sink`](super::sink()), `reader` sees the same folder.
///
/// # Panics
/// When a law is broken; the case is printed before.
pub fn history(make: impl Fn(&Path) -> Box<dyn Sink>, reader: &dyn HistoryReader) {
    block_on(async {
        for (name, case) in CASES {
            println!("history conformance: {name}");
            case(Target::new(&make), reader).await;
        }
    });
}

const FOR_EVER: Option<History> = Some(History { retention: None });
const COLUMNS: [(&str, &str); 3] = [("k", "INTEGER"), ("v", "VARCHAR"), ("x", "DOUBLE")];

/// A view, its rows at the end of each epoch, and from which epoch on its target keeps them.
struct Told {
    view: ViewModel,
    past: Vec<Multiset>,
    since: u64,
}

impl Told {
    fn new(name: &str, identity: RowIdentity) -> Told {
        let view = ViewModel::new(name, &COLUMNS, identity).with_history(FOR_EVER);
        Told { view, past: vec![Multiset::new()], since: 1 }
    }

    fn keyed(name: &str) -> Told {
        Told::new(name, RowIdentity::Key(vec![0]))
    }

    fn epoch(&self) -> u64 {
        self.past.len() as u64 - 1
    }

    fn note(&mut self) {
        self.past.push(self.view.multiset());
    }

    /// The next epochs, one a list of rows, in one commit.
    fn changes(&mut self, contents: &[&str]) -> ViewCommit {
        let mut deltas = Vec::new();
        for content in contents {
            let delta = self.view.change_to(content);
            self.note();
            if !delta.is_empty() {
                deltas.push((header(self.epoch()), delta));
            }
        }
        self.view.changes(deltas)
    }

    /// The next epoch, as a whole content.
    fn replacement(&mut self, content: &str) -> ViewCommit {
        self.view.change_to(content);
        self.note();
        self.view.replacement(header(self.epoch()))
    }

    async fn commit(&mut self, sink: &mut Opened, contents: &[&str]) {
        let after = self.epoch();
        let commit = self.changes(contents);
        sink.commit(after, &header(self.epoch()), vec![commit]).await;
    }

    async fn replace(&mut self, sink: &mut Opened, content: &str) {
        let after = self.epoch();
        let commit = self.replacement(content);
        sink.commit(after, &header(self.epoch()), vec![commit]).await;
    }

    /// Checks every law, and answers the versions in order.
    fn check(&self, target: &Target<'_>, reader: &dyn HistoryReader) -> Vec<Version> {
        let info = self.view.info();
        let mut versions = reader.versions(target.folder(), info);
        versions.sort();
        let mut last_end = BTreeMap::new();
        for version in &versions {
            check_bounds(version, self.since);
            let (from, to) = version.epochs;
            assert!(to.unwrap_or(from) <= self.epoch(), "of the future: {version:?}");
            if let RowIdentity::Key(key) = &info.identity {
                let key: Row = key.iter().map(|column| version.row[*column].clone()).collect();
                last_end.entry(key).or_insert_with(Vec::new).push(version.epochs);
            }
        }
        for (key, mut epochs) in last_end {
            epochs.sort();
            for pair in epochs.windows(2) {
                let end = pair[0].1.unwrap_or_else(|| panic!("two versions of {key:?} are open"));
                assert!(end <= pair[1].0, "versions of {key:?} overlap: {epochs:?}");
            }
        }
        let held = |holds: &dyn Fn(&Version) -> bool| {
            let mut rows = Multiset::new();
            versions.iter().filter(|version| holds(version)).for_each(|version| rows.add(version.row.clone(), 1));
            rows
        };
        held(&|v| v.epochs.1.is_none()).assert_equals(&self.view.multiset(), "the open versions");
        let epochs: Vec<u64> = (self.since..=self.epoch()).collect();
        let times: Vec<i64> = epochs.iter().map(|epoch| header(*epoch).time.0).collect();
        let by_epoch = reader.as_of(target.folder(), info, &epochs);
        let by_time = reader.as_of_times(target.folder(), info, &times);
        for (index, epoch) in epochs.iter().enumerate() {
            let (expected, what) = (&self.past[*epoch as usize], format!("{} as of epoch {epoch}", info.name));
            held(&|v| v.holds_at(*epoch)).assert_equals(expected, &what);
            for (asked, by) in [(&by_epoch, "epoch"), (&by_time, "time")] {
                if let Some(answers) = asked {
                    let rows = answers[index].as_ref().unwrap_or_else(|error| panic!("{what}, asked by {by}: {error}"));
                    rows.assert_equals(expected, &format!("{what}, asked by {by}"));
                }
            }
        }
        if self.since > 1 {
            let early = self.since - 1;
            let answers = [
                reader.as_of(target.folder(), info, &[early]),
                reader.as_of_times(target.folder(), info, &[header(early).time.0]),
            ];
            for answer in answers.into_iter().flatten().flatten() {
                let said = answer.err().unwrap_or_else(|| panic!("{} as of epoch {early}: an answer", info.name));
                assert!(said.contains("history"), "{said}");
            }
        }
        versions
    }
}

/// Intervals are never empty, and their times are those of their epochs. What was closed before the history
/// began anew may have any time.
fn check_bounds(version: &Version, since: u64) {
    let (from, to) = version.epochs;
    assert!(to.is_none_or(|to| to > from), "no epoch is in it: {version:?}");
    assert!(version.times.1.is_none_or(|to| to > version.times.0), "no time is in it: {version:?}");
    assert_eq!(to.is_none(), version.times.1.is_none(), "half open: {version:?}");
    assert_eq!(version.times.0, header(from).time.0, "the time of its first epoch: {version:?}");
    if let Some(to) = to.filter(|to| *to >= since) {
        assert_eq!(version.times.1, Some(header(to).time.0), "the time of its end: {version:?}");
    }
}

/// The epochs of the versions whose second column is a text.
fn epochs_of(versions: &[Version], text: &str) -> Vec<(u64, Option<u64>)> {
    let is_it = |version: &&Version| version.row[1] == crate::Value::Text(text.to_owned());
    let mut epochs: Vec<_> = versions.iter().filter(is_it).map(|version| version.epochs).collect();
    epochs.sort();
    epochs
}

/// A fault found elsewhere: a delete that leaves a version open.
async fn a_delete(target: Target<'_>, reader: &dyn HistoryReader) {
    for mut told in [Told::keyed("keyed"), Told::new("whole", RowIdentity::WholeRow)] {
        let mut sink = target.open(&[&told.view], None).await;
        told.commit(&mut sink, &["(1, 'a', 1), (2, 'b', 2), (NULL, NULL, NULL)"]).await;
        told.check(&target, reader);
        told.commit(&mut sink, &["(2, 'b', 2), (NULL, NULL, NULL)"]).await;
        let versions = told.check(&target, reader);
        assert_eq!(epochs_of(&versions, "a"), [(1, Some(2))]);
        told.commit(&mut sink, &[""]).await;
        told.commit(&mut sink, &["(1, 'a', 1)"]).await;
        let versions = told.check(&target, reader);
        assert_eq!(epochs_of(&versions, "a"), [(1, Some(2)), (4, None)]);
        assert_eq!(epochs_of(&versions, "b"), [(1, Some(3))]);
        assert_eq!(versions.len(), 4);
    }
}

/// A fault found elsewhere: a row that gets another key, and leaves the old one open.
async fn a_key_change(target: Target<'_>, reader: &dyn HistoryReader) {
    let mut told = Told::keyed("keyed");
    let mut sink = target.open(&[&told.view], None).await;
    told.commit(&mut sink, &["(1, 'a', 1), (2, 'b', 2)"]).await;
    told.commit(&mut sink, &["(3, 'a', 1), (2, 'b', 2)"]).await;
    // Two rows exchange their keys.
    told.commit(&mut sink, &["(2, 'a', 1), (3, 'b', 2)"]).await;
    let versions = told.check(&target, reader);
    assert_eq!(epochs_of(&versions, "a"), [(1, Some(2)), (2, Some(3)), (3, None)]);
    assert_eq!(epochs_of(&versions, "b"), [(1, Some(3)), (3, None)]);
}

/// One version a copy; of equal ones the newest ends first.
async fn copies(target: Target<'_>, reader: &dyn HistoryReader) {
    let mut told = Told::new("whole", RowIdentity::WholeRow);
    let mut sink = target.open(&[&told.view], None).await;
    told.commit(&mut sink, &["(1, 'a', NULL), (1, 'a', NULL)"]).await;
    told.commit(&mut sink, &["(1, 'a', NULL), (1, 'a', NULL), (1, 'a', NULL), (2, 'b', 'nan')"]).await;
    told.commit(&mut sink, &["(1, 'a', NULL), (2, 'b', 'nan'), (2, 'b', 'nan')"]).await;
    let versions = told.check(&target, reader);
    assert_eq!(epochs_of(&versions, "a"), [(1, None), (1, Some(3)), (2, Some(3))]);
    assert_eq!(epochs_of(&versions, "b"), [(2, None), (3, None)]);
    told.commit(&mut sink, &["(1, 'a', NULL), (1, 'a', NULL), (2, 'b', 'nan')", "(1, 'a', NULL)"]).await;
    let versions = told.check(&target, reader);
    assert_eq!(epochs_of(&versions, "a"), [(1, None), (1, Some(3)), (2, Some(3)), (4, Some(5))]);
    assert_eq!(epochs_of(&versions, "b"), [(2, Some(5)), (3, Some(4))]);
}

async fn within_a_commit(target: Target<'_>, reader: &dyn HistoryReader) {
    for mut told in [Told::keyed("keyed"), Told::new("whole", RowIdentity::WholeRow)] {
        let mut sink = target.open(&[&told.view], None).await;
        told.commit(&mut sink, &["(1, 'a', 1)", "(1, 'b', 1), (2, 'b', 1)", "(1, 'c', 1)", "(1, 'c', 1)"]).await;
        let versions = told.check(&target, reader);
        assert_eq!(epochs_of(&versions, "b"), [(2, Some(3)), (2, Some(3))]);
        assert_eq!(epochs_of(&versions, "c"), [(3, None)]);
        told.commit(&mut sink, &["", "(1, 'c', 1)", "(1, 'c', 1), (3, 'd', '-0.0')", "(3, 'd', 0.0)"]).await;
        let versions = told.check(&target, reader);
        assert_eq!(epochs_of(&versions, "c"), [(3, Some(5)), (6, Some(8))]);
        // Nothing at all.
        let after = told.epoch();
        told.note();
        sink.commit(after, &header(told.epoch()), vec![told.view.changes([])]).await;
        assert_eq!(told.check(&target, reader), versions);
    }
}

async fn compared(target: Target<'_>, reader: &dyn HistoryReader) {
    for mut told in [Told::keyed("keyed"), Told::new("whole", RowIdentity::WholeRow)] {
        let mut sink = target.open(&[&told.view], None).await;
        told.replace(&mut sink, "(1, 'a', 1), (2, 'b', 'nan'), (3, 'c', NULL)").await;
        told.replace(&mut sink, "(1, 'a', 1), (2, 'b', 'nan'), (3, 'd', NULL), (4, 'e', 1)").await;
        let versions = told.check(&target, reader);
        assert_eq!(epochs_of(&versions, "a"), [(1, None)], "what is still there stays open");
        assert_eq!(epochs_of(&versions, "b"), [(1, None)], "what is still there stays open");
        assert_eq!(epochs_of(&versions, "c"), [(1, Some(2))]);
        told.commit(&mut sink, &["(4, 'e', 1)"]).await;
        drop(sink);
        let last = header(told.epoch());
        let mut sink = target.open(&[&told.view], Some(&last)).await;
        told.replace(&mut sink, "").await;
        assert_eq!(epochs_of(&told.check(&target, reader), "e"), [(2, Some(4))]);
    }
    let mut told = Told::new("copies", RowIdentity::WholeRow);
    let mut sink = target.open(&[&told.view], None).await;
    told.commit(&mut sink, &["(1, 'a', 1)", "(1, 'a', 1), (1, 'a', 1), (1, 'a', 1)"]).await;
    told.replace(&mut sink, "(1, 'a', 1), (1, 'a', 1)").await;
    assert_eq!(epochs_of(&told.check(&target, reader), "a"), [(1, None), (2, None), (2, Some(3))]);
}

async fn switched(target: Target<'_>, reader: &dyn HistoryReader) {
    for mut told in [Told::keyed("keyed"), Told::new("whole", RowIdentity::WholeRow)] {
        told.view.set_history(None);
        let mut sink = target.open(&[&told.view], None).await;
        told.commit(&mut sink, &["(1, 'a', 1), (2, 'b', 2)", "(1, 'a', 1), (2, 'c', 2)"]).await;
        told.view.set_history(FOR_EVER);
        told.commit(&mut sink, &["(1, 'd', 1), (2, 'c', 2)"]).await;
        told.since = 3;
        let versions = told.check(&target, reader);
        assert_eq!(epochs_of(&versions, "c"), [(3, None)], "what came before is not known");
        told.commit(&mut sink, &["(1, 'd', 1)"]).await;
        told.commit(&mut sink, &["(1, 'd', 1), (2, 'c', 2)"]).await;
        told.check(&target, reader);
        told.view.set_history(None);
        told.commit(&mut sink, &["(2, 'c', 2)"]).await;
        told.commit(&mut sink, &["(1, 'd', 1), (2, 'c', 2)"]).await;
        told.view.set_history(FOR_EVER);
        let last = header(told.epoch());
        let mut sink = target.open(&[&told.view], Some(&last)).await;
        told.commit(&mut sink, &["(1, 'd', 1), (2, 'e', 2)"]).await;
        told.since = told.epoch();
        let versions = told.check(&target, reader);
        for version in &versions {
            assert!(!(6..=7).any(|epoch| version.holds_at(epoch)), "nobody knows that it was there: {version:?}");
        }
        told.commit(&mut sink, &["(2, 'e', 2)"]).await;
        assert_eq!(epochs_of(&told.check(&target, reader), "d").last(), Some(&(8, Some(9))));
    }
}

async fn other_columns(target: Target<'_>, reader: &dyn HistoryReader) {
    let mut told = Told::keyed("keyed");
    let mut sink = target.open(&[&told.view], None).await;
    told.commit(&mut sink, &["(1, 'a', 1), (2, 'b', 2)", "(1, 'c', 1), (2, 'b', 2)"]).await;
    told.check(&target, reader);
    let columns = [("k", "BIGINT"), ("w", "VARCHAR")];
    told.view = ViewModel::new("keyed", &columns, RowIdentity::Key(vec![0])).with_history(FOR_EVER);
    told.replace(&mut sink, "(1, 'c'), (3, 'd')").await;
    told.since = told.epoch();
    assert_eq!(told.check(&target, reader).len(), 2);
    told.commit(&mut sink, &["(1, 'e')"]).await;
    told.check(&target, reader);
    drop(sink);
    let last = header(told.epoch());
    let mut sink = target.open(&[&told.view], Some(&last)).await;
    told.commit(&mut sink, &["(1, 'f'), (2, 'f')"]).await;
    told.check(&target, reader);
}

/// What ended long ago may go. The rows at the horizon and after it stay.
async fn retention(target: Target<'_>, reader: &dyn HistoryReader) {
    const KEPT: u64 = 6;
    let kept = Some(History { retention: Some(Duration::from_micros(KEPT)) });
    for mut told in [Told::keyed("keyed"), Told::new("whole", RowIdentity::WholeRow)] {
        told.view.set_history(kept);
        let mut sink = target.open(&[&told.view], None).await;
        for epoch in 1..=18_u64 {
            let rows = format!("(0, 'stays', NULL), (1, 'each {epoch}', NULL), (2, 'some {}', NULL)", epoch / 4);
            told.commit(&mut sink, &[rows.as_str()]).await;
            if epoch % 6 == 0 {
                sink.maintain().await;
                drop(sink);
                sink = target.open(&[&told.view], Some(&header(epoch))).await;
            }
        }
        sink.maintain().await;
        let versions = reader.versions(target.folder(), told.view.info());
        assert_eq!(epochs_of(&versions, "stays"), [(1, None)], "what is open stays, however old it is");
        // How much is gone is the target's policy; the laws hold for what it still answers for.
        told.since = told.epoch() - KEPT;
        let all: Vec<u64> = (1..told.since).collect();
        if let Some(answers) = reader.as_of(target.folder(), told.view.info(), &all) {
            told.since -= answers.iter().rev().take_while(|answer| answer.is_ok()).count() as u64;
            assert!(told.since > 1, "nothing was removed");
            told.check(&target, reader);
        }
    }
}

/// Views that would stand where a history stands, or have its columns.
async fn taken_names(target: Target<'_>) {
    let simple = |name: &str| ViewModel::new(name, &[("k", "INTEGER")], RowIdentity::WholeRow);
    let temporal = |name: &str| simple(name).with_history(FOR_EVER);
    let column =
        |column: &str| ViewModel::new("v", &[(column, "INTEGER")], RowIdentity::WholeRow).with_history(FOR_EVER);
    let cases = [
        (vec![column("valid_from")], "valid_from"),
        (vec![column("Valid_To")], "Valid_To"),
        (vec![column("_valid_from_epoch")], "_valid_from_epoch"),
        (vec![column("_valid_to_epoch")], "_valid_to_epoch"),
        (vec![temporal("v"), simple("V_history")], "_history"),
        (vec![temporal("v"), simple("_tidegate_time")], "_tidegate_time"),
        (vec![temporal("v"), simple("_tidegate_history")], "_tidegate_history"),
    ];
    for (mut views, named) in cases {
        let refused = match target.try_open(&views.iter().collect::<Vec<_>>(), &vec![None; views.len()]).await {
            Err(error) => error,
            Ok(mut sink) => {
                let parts = views.iter_mut().map(|view| {
                    let delta = view.change_to("(1)");
                    view.changes([(header(1), delta)])
                });
                let parts = parts.collect();
                sink.try_commit(0, &header(1), parts).await.expect_err("the names clash")
            }
        };
        assert_eq!(refused.kind(), ErrorKind::Reconfigure, "{}", full(&refused));
        assert!(refused.to_string().to_lowercase().contains(&named.to_lowercase()), "{refused}");
    }
    // Without a history these are columns like others.
    let mut view = ViewModel::new("v", &[("valid_from", "INTEGER")], RowIdentity::WholeRow);
    let mut sink = target.open(&[&view], None).await;
    let delta = view.change_to("(1)");
    sink.commit(0, &header(1), vec![view.changes([(header(1), delta)])]).await;
    sink.check(&view).await;
}

/// Random changes of two views, in ranges of several epochs, with whole contents and restarts in between.
async fn random(target: Target<'_>, reader: &dyn HistoryReader) {
    let first = seed::seed("history");
    for sequence in 0..seed::sequences(2) {
        let seed = first.wrapping_add(sequence);
        println!("history: TIDEGATE_SEED={seed} TIDEGATE_SEQUENCES=1");
        let mut random = StdRng::seed_from_u64(seed);
        let mut views = [
            Told::keyed(&format!("Keyed {sequence} \"view\"")),
            Told::new(&format!("epoch{sequence}"), RowIdentity::WholeRow),
        ];
        let mut sink = target.open(&[&views[0].view, &views[1].view], None).await;
        for _ in 0..7 {
            let (after, length) = (views[0].epoch(), random.random_range(1..=4));
            let is_replaced = random.random_range(0..6) == 0;
            let mut parts = Vec::new();
            for told in &mut views {
                let keyed = matches!(told.view.info().identity, RowIdentity::Key(_));
                let contents: Vec<String> = (0..length).map(|_| content(&mut random, keyed)).collect();
                let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
                parts.push(if is_replaced { told.replacement(contents[0]) } else { told.changes(&contents) });
            }
            sink.commit(after, &header(views[0].epoch()), parts).await;
            if random.random_range(0..4) == 0 {
                drop(sink);
                let last = header(views[0].epoch());
                sink = target.open(&[&views[0].view, &views[1].view], Some(&last)).await;
            }
        }
        for told in &views {
            sink.check(&told.view).await;
            told.check(&target, reader);
        }
    }
}

/// Rows with few different values, so that many of them are equal.
fn content(random: &mut StdRng, keyed: bool) -> String {
    // One row is always there, so that the first epoch has one.
    let mut rows = vec!["(9, 'stays', '-0.0')".to_owned()];
    for key in 0..5 {
        let copies = if keyed { random.random_range(0..=1) } else { random.random_range(0..=3) };
        for _ in 0..copies {
            let key = if key == 0 { "NULL".to_owned() } else { key.to_string() };
            let text = ["NULL", "'a'", "''"][random.random_range(0..3)];
            let number = ["NULL", "'nan'", "'-0.0'", "0.0", "1.5"][random.random_range(0..5)];
            rows.push(format!("({key}, {text}, {number})"));
        }
    }
    rows.join(", ")
}
