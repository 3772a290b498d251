//! Histories: what a view was, told by a model that goes from state to state.

pub mod begins;
mod cuts;
mod dumps;
mod functions;
mod laws;
mod plans;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use tidegate_core::{
    Commit, CommitOutcome, Epoch, EpochHeader, History, Micros, RowIdentity, Sink, ViewCommit, ViewInfo, ZSet,
};
use tidegate_sink_postgres::PostgresSink;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::multiset::{Row, exact_row_of};
use tidegate_testkit::{Multiset, Value, rows};

/// A view, its epochs, and the versions of its rows.
pub struct Past {
    pub view: ViewModel,
    pub history: Option<History>,
    /// The headers of the epochs, and how many rows the view had.
    pub epochs: Vec<(EpochHeader, Multiset)>,
    /// The beginnings of the open versions of each row, the newest last.
    open: BTreeMap<Row, Vec<(u64, Micros)>>,
    /// Versions that ended.
    ended: Multiset,
}

impl Past {
    pub fn new(name: &str, columns: &[(&str, &str)], identity: RowIdentity) -> Past {
        Past {
            view: ViewModel::new(name, columns, identity),
            history: Some(History::default()),
            epochs: Vec::new(),
            open: BTreeMap::new(),
            ended: Multiset::new(),
        }
    }

    /// A view with the key `id`.
    pub fn keyed() -> Past {
        Past::new("v", &[("id", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]))
    }

    /// The view as a sink sees it.
    pub fn info(&self) -> ViewInfo {
        ViewInfo { history: self.history, ..self.view.info().clone() }
    }

    /// The last epoch.
    pub fn last(&self) -> Epoch {
        self.epochs.last().map_or(Epoch::ZERO, |(header, _)| header.epoch)
    }

    /// The header of the next epoch: by the sources' clocks nothing later than the epoch before, unless it is said.
    pub fn next(&self) -> EpochHeader {
        let next = header(self.last().0 + 1);
        let latest_commit = self.epochs.last().and_then(|(last, _)| last.latest_commit);
        EpochHeader { latest_commit: latest_commit.max(next.latest_commit), ..next }
    }

    /// The next epoch with the rows of a VALUES list, and what it changes.
    pub fn becomes(&mut self, values: &str) -> (EpochHeader, tidegate_core::DeltaBatch) {
        let rows = if values.is_empty() {
            RecordBatch::new_empty(self.view.schema().clone())
        } else {
            rows::batch(self.view.schema(), values)
        };
        let header = self.next();
        self.becomes_at(header, &rows)
    }

    /// The same, with rows and a header.
    pub fn becomes_at(&mut self, header: EpochHeader, rows: &RecordBatch) -> (EpochHeader, tidegate_core::DeltaBatch) {
        let delta = self.view.change_to_batch(rows);
        self.epochs.push((header.clone(), self.view.multiset()));
        (header, delta)
    }

    /// Brings the versions to the view's rows at its last epoch: the copies that are too many end, the newest first.
    pub fn note(&mut self, rows: &RecordBatch, at: &EpochHeader) {
        let mut copies: BTreeMap<Row, usize> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            *copies.entry(exact_row_of(rows.columns(), row)).or_default() += 1;
        }
        for (row, begun) in &mut self.open {
            while begun.len() > copies.get(row).copied().unwrap_or(0) {
                let (from, time) = begun.pop().unwrap();
                self.ended.add(version(row, (from, time), Some((at.epoch.0, at.time))), 1);
            }
        }
        for (row, copies) in copies {
            let begun = self.open.entry(row).or_default();
            begun.resize(copies.max(begun.len()), (at.epoch.0, at.time));
        }
    }

    /// All versions.
    pub fn versions(&self) -> Multiset {
        let mut versions = self.ended.clone();
        for (row, begun) in &self.open {
            begun.iter().for_each(|begun| versions.add(version(row, *begun, None), 1));
        }
        versions
    }

    /// The next epochs, one for each VALUES list, as one commit.
    pub fn epochs_of(&mut self, contents: &[&str]) -> ViewCommit {
        let mut deltas = Vec::new();
        for values in contents {
            let (header, delta) = self.becomes(values);
            self.note(&copies(&self.view), &header);
            if !delta.is_empty() {
                deltas.push((header, delta));
            }
        }
        self.part(self.view.changes(deltas))
    }

    /// The rows of a VALUES list as the whole content of the next epoch.
    pub fn whole_of(&mut self, values: &str) -> ViewCommit {
        let (header, _) = self.becomes(values);
        self.note(&copies(&self.view), &header);
        self.part(self.view.replacement(header))
    }

    pub fn part(&self, part: ViewCommit) -> ViewCommit {
        ViewCommit { view: self.info(), ..part }
    }

    pub async fn commit(&self, sink: &mut PostgresSink, after: Epoch, part: ViewCommit) {
        let header = self.epochs.last().unwrap().0.clone();
        let outcome = sink.commit(Commit { after, header, views: vec![part] }).await;
        let outcome = outcome.unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }

    /// Commits epochs, and compares the history.
    pub async fn go(&mut self, sink: &mut PostgresSink, contents: &[&str]) {
        let after = self.last();
        let part = self.epochs_of(contents);
        self.commit(sink, after, part).await;
        self.check(sink).await;
    }

    /// Compares the history, and the present rows.
    pub async fn check(&self, sink: &mut PostgresSink) {
        let what = format!("the history at epoch {}", self.last());
        read(sink, &self.info()).await.assert_equals(&self.versions(), &what);
        crate::random::read(sink, &self.info()).await.assert_equals(&self.view.multiset(), "the present rows");
    }
}

fn version(row: &Row, (from, began): (u64, Micros), end: Option<(u64, Micros)>) -> Row {
    let epoch = |epoch: u64| Value::Integer(epoch.into());
    let time = |time: Micros| Value::Timestamp(time.0, 6);
    let (ended, to) = end.map_or((Value::Null, Value::Null), |(to, ended)| (time(ended), epoch(to)));
    row.iter().cloned().chain([time(began), ended, epoch(from), to]).collect()
}

/// The versions that the sink holds of a view.
pub async fn read(sink: &mut PostgresSink, view: &ViewInfo) -> Multiset {
    let zsets: Vec<ZSet> = sink.read_history(view).await.unwrap().try_collect().await.unwrap();
    let mut versions = Multiset::new();
    for zset in &zsets {
        (0..zset.len()).for_each(|row| versions.add(exact_row_of(zset.rows().columns(), row), 1));
    }
    versions
}

/// The rows of a view, each as often as it is there.
pub fn copies(view: &ViewModel) -> RecordBatch {
    let whole = view.whole();
    let each = whole.weights.values().iter().enumerate();
    let indices: arrow::array::UInt64Array =
        each.flat_map(|(row, n)| std::iter::repeat_n(row as u64, *n as usize)).collect();
    arrow::compute::take_record_batch(&whole.rows, &indices).unwrap()
}
