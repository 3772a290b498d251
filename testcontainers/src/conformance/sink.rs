//! The suite for sinks: what a target holds is what it was given, whole, once, and under the
//! right epoch.

use std::path::Path;

use futures::TryStreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::BoxStream;
use tempfile::TempDir;
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Epoch, EpochHeader, Removal, Sink, ViewCommit, ViewInfo,
    ViewName, ZSet,
};

use super::model::ViewModel;
use super::{block_on, sink_cases, sink_change_cases, sink_commit_cases, sink_large_case};
use crate::multiset::Multiset;

/// A case of the suite, on a target of its own.
pub(super) type Case = for<'a> fn(Target<'a>) -> LocalBoxFuture<'a, ()>;

/// Rows of the large view.
const LARGE_ROWS: usize = 1_000_000;

/// Runs the suite. `make` connects a sink to the target that belongs to a folder: an empty folder
/// is an empty target, the same folder the same target.
///
/// # Panics
/// When a law is broken; the case is printed before.
pub fn sink(make: impl Fn(&Path) -> Box<dyn Sink>) {
    run(&make, LARGE_ROWS);
}

fn run(make: &dyn Fn(&Path) -> Box<dyn Sink>, large_rows: usize) {
    let cases = [sink_cases::ALL, sink_change_cases::ALL, sink_commit_cases::ALL, sink_large_case::ALL];
    block_on(async {
        for (name, case) in cases.into_iter().flatten() {
            println!("sink conformance: {name}");
            case(Target { large_rows, ..Target::new(make) }).await;
        }
    });
}

/// A target of its own for one case.
pub(super) struct Target<'a> {
    folder: TempDir,
    make: &'a dyn Fn(&Path) -> Box<dyn Sink>,
    large_rows: usize,
}

impl<'a> Target<'a> {
    /// An empty one.
    pub fn new(make: &'a dyn Fn(&Path) -> Box<dyn Sink>) -> Self {
        Target { folder: tempfile::tempdir().expect("a temporary folder"), make, large_rows: LARGE_ROWS }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many rows a large view has.
    pub fn large_rows(&self) -> usize {
        self.large_rows
    }

    /// A new sink on the target that nobody has opened.
    pub fn unopened(&self) -> Opened {
        Opened { sink: (self.make)(self.folder.path()) }
    }

    /// A new sink on the target, opened, as after a restart; checks what it says it holds.
    pub async fn open(&self, views: &[&ViewModel], expected: Option<&EpochHeader>) -> Opened {
        let opened = self.open_each(views, &vec![expected; views.len()]).await;
        assert!(!opened.sink.name().is_empty(), "a sink has a name");
        opened
    }

    /// The same where the views stand at different epochs.
    pub async fn open_each(&self, views: &[&ViewModel], expected: &[Option<&EpochHeader>]) -> Opened {
        let opened = self.try_open(views, expected).await;
        opened.unwrap_or_else(|error| panic!("open: {}", full(&error)))
    }

    /// The same where the sink may refuse.
    pub async fn try_open(
        &self,
        views: &[&ViewModel],
        expected: &[Option<&EpochHeader>],
    ) -> Result<Opened, ConnectorError> {
        let infos: Vec<ViewInfo> = views.iter().map(|view| view.info().clone()).collect();
        self.try_open_infos(&infos, expected).await
    }

    /// The same for views without a model.
    pub async fn open_infos(&self, views: &[ViewInfo], expected: &[Option<&EpochHeader>]) -> Opened {
        let opened = self.try_open_infos(views, expected).await;
        opened.unwrap_or_else(|error| panic!("open: {}", full(&error)))
    }

    async fn try_open_infos(
        &self,
        views: &[ViewInfo],
        expected: &[Option<&EpochHeader>],
    ) -> Result<Opened, ConnectorError> {
        let mut sink = (self.make)(self.folder.path());
        let found = sink.open(views).await?;
        assert_eq!(found.len(), views.len(), "open answers for each view");
        for (view, expected) in views.iter().zip(expected) {
            let expected = expected.map(|header| Committed { epoch: header.epoch, hash: header.hash });
            assert_eq!(found[&view.name], expected, "what the target holds of {}", view.name);
        }
        Ok(Opened { sink })
    }
}

/// A sink that has been opened.
pub(super) struct Opened {
    sink: Box<dyn Sink>,
}

impl Opened {
    /// Commits and expects it to be done.
    pub async fn commit(&mut self, after: u64, header: &EpochHeader, views: Vec<ViewCommit>) {
        let epoch = header.epoch;
        match self.try_commit(after, header, views).await {
            Ok(CommitOutcome::Committed { .. }) => {}
            Ok(CommitOutcome::Conflict { view, found }) => {
                panic!("commit of ({after}, {epoch}] met a conflict in {view}: {found:?}")
            }
            Err(error) => panic!("commit of ({after}, {epoch}]: {}", full(&error)),
        }
    }

    /// Commits, however that ends.
    pub async fn try_commit(
        &mut self,
        after: u64,
        header: &EpochHeader,
        views: Vec<ViewCommit>,
    ) -> Result<CommitOutcome, ConnectorError> {
        self.sink.commit(Commit { after: Epoch(after), header: header.clone(), views }).await
    }

    /// Has the sink keep its target in good order.
    pub async fn maintain(&mut self) {
        self.sink.maintain().await.unwrap_or_else(|error| panic!("maintain: {}", full(&error)));
    }

    /// Takes a view away, and expects an answer.
    pub async fn remove(&mut self, view: &ViewName) -> Removal {
        self.try_remove(view).await.unwrap_or_else(|error| panic!("removal of {view}: {}", full(&error)))
    }

    /// Takes a view away, however that ends.
    pub async fn try_remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        self.sink.remove(view).await
    }

    /// Reads a view back and compares it with the model.
    pub async fn check(&mut self, model: &ViewModel) {
        let columns: Vec<_> = model.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
        let what = format!("rows of {} ({})", model.info().name, columns.join(", "));
        self.read(model.info()).await.assert_equals(&model.multiset(), &what);
    }

    /// The same for several views.
    pub async fn check_each(&mut self, models: &[ViewModel]) {
        for model in models {
            self.check(model).await;
        }
    }

    /// The rows that the target holds, as the sink hands them out.
    pub async fn zsets(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        self.sink.read(view).await
    }

    /// The rows that the target holds.
    pub async fn read(&mut self, view: &ViewInfo) -> Multiset {
        let read = async { self.zsets(view).await?.try_collect::<Vec<ZSet>>().await };
        let zsets = read.await.unwrap_or_else(|error| panic!("read of {}: {}", view.name, full(&error)));
        for zset in &zsets {
            let types = |schema: &arrow::datatypes::Schema| {
                schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>()
            };
            assert_eq!(types(&zset.schema()), types(&view.schema), "columns read of {}", view.name);
        }
        Multiset::of_zsets(&zsets)
    }
}

/// An error with its causes.
pub(super) fn full(error: &ConnectorError) -> String {
    let mut text = format!("{error} ({:?})", error.kind());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::*;
    use crate::memory_sink::MemorySink;

    #[test]
    fn the_sink_in_memory_conforms() {
        let targets: Mutex<BTreeMap<PathBuf, MemorySink>> = Mutex::default();
        // It holds every row for itself, which is no way to hold very many.
        const LARGE_ROWS: usize = 20_000;
        let make = |folder: &Path| -> Box<dyn Sink> {
            let mut targets = targets.lock().unwrap();
            Box::new(targets.entry(folder.to_owned()).or_insert_with(|| MemorySink::new("memory")).clone())
        };
        run(&make, LARGE_ROWS);
    }
}
