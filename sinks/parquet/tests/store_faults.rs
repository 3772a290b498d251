//! An S3 server that is slow, fails, and loses answers to what it has done.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{
    Commit, CommitOutcome, ConnectorError, DeltaBatch, Epoch, EpochHeader, ErrorKind, RowIdentity, Sink, ZSet,
};
use tidegate_sink_parquet::{Location, ParquetSink};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::{Multiset, S3, seed};

use crate::suite::{EAGER, SNAPSHOT, options};

/// What happens to a call.
enum Fate {
    Done,
    Refused,
    AnswerLost,
}

/// A store that fails now and then, before or after it did what it was asked.
#[derive(Debug)]
struct Flaky {
    store: Arc<dyn ObjectStore>,
    random: Mutex<StdRng>,
    faults: Mutex<u32>,
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flaky {}", self.store)
    }
}

fn injected() -> Error {
    Error::Generic { store: "flaky", source: "an injected fault".into() }
}

impl Flaky {
    async fn fate(&self) -> Fate {
        let (draw, delay) = {
            let mut random = self.random.lock().unwrap();
            (random.random_range(0..500), random.random_range(0..4))
        };
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if draw < 12 {
            *self.faults.lock().unwrap() += 1;
        }
        match draw {
            0..6 => Fate::Refused,
            6..12 => Fate::AnswerLost,
            _ => Fate::Done,
        }
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fate().await {
            Fate::Refused => Err(injected()),
            Fate::AnswerLost => work.await.and(Err(injected())),
            Fate::Done => work.await,
        }
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.call(self.store.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(&self, at: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.call(self.store.put_multipart_opts(at, opts)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.call(self.store.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.call(self.store.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let refused = self.random.lock().unwrap().random_range(0..100) < 2;
        if refused {
            return futures::stream::iter([Err(injected())]).boxed();
        }
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let refused = self.random.lock().unwrap().random_range(0..100) < 1;
        if refused {
            return self.store.list(prefix).chain(futures::stream::iter([Err(injected())])).boxed();
        }
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call(self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call(self.store.copy_opts(from, to, options)).await
    }
}

/// A fault of the store is worth another attempt, and never taken for a damaged file.
fn is_passing(error: &ConnectorError) -> bool {
    error.kind() == ErrorKind::Retry && error.to_string().contains("an injected fault")
}

struct Pipeline {
    make: Box<dyn Fn() -> ParquetSink>,
    sink: ParquetSink,
    view: ViewModel,
}

impl Pipeline {
    /// What the runtime does: opens again after whatever went wrong, and commits what is not held.
    async fn commit(&mut self, epoch: u64, delta: &DeltaBatch) {
        for _ in 0..60 {
            let views = vec![self.view.changes([(header(epoch), delta.clone())])];
            let commit = Commit { after: Epoch(epoch - 1), header: header(epoch), views };
            match self.sink.commit(commit).await {
                Ok(CommitOutcome::Committed { .. }) => return,
                Ok(CommitOutcome::Conflict { .. }) => {}
                Err(error) => assert!(is_passing(&error), "{error}"),
            }
            if self.reopen().await == Some(header(epoch)) {
                return;
            }
        }
        panic!("epoch {epoch} could not be committed in 60 attempts");
    }

    async fn reopen(&mut self) -> Option<EpochHeader> {
        self.sink = (self.make)();
        loop {
            match self.sink.open(&[self.view.info().clone()]).await {
                Ok(found) => return found[&self.view.info().name].map(|found| header(found.epoch.0)),
                Err(error) => assert!(is_passing(&error), "{error}"),
            }
        }
    }

    async fn check(&mut self) {
        for _ in 0..60 {
            let read = async { self.sink.read(self.view.info()).await?.try_collect::<Vec<ZSet>>().await };
            match read.await {
                Ok(zsets) => {
                    Multiset::of_zsets(&zsets).assert_equals(&self.view.multiset(), "as the sink reads it");
                    return;
                }
                Err(error) => assert!(is_passing(&error), "{error}"),
            }
        }
        panic!("the view could not be read in 60 attempts");
    }
}

async fn run(s3: &S3, prefix: &str, json: &str) {
    let seed = seed::seed(prefix);
    let random = Mutex::new(StdRng::seed_from_u64(seed));
    let flaky = Arc::new(Flaky { store: s3.store(), random, faults: Mutex::new(0) });
    let (store, url, options) = (flaky.clone(), s3.url(prefix), options(json));
    let prefix = Path::from(prefix);
    let make = Box::new(move || {
        let location = Location::Store { store: store.clone(), prefix: prefix.clone(), url: url.clone() };
        ParquetSink::new("changes", location).with_options(options.clone())
    });
    let view = ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]));
    let mut pipeline = Pipeline { sink: make(), make, view };
    pipeline.reopen().await;
    for epoch in 1..=25u64 {
        let values: Vec<_> =
            (0..20).filter(|k| (k + epoch) % 7 != 0).map(|k| format!("({k}, '{}')", k * (epoch / 3))).collect();
        let delta = pipeline.view.change_to(&values.join(", "));
        pipeline.commit(epoch, &delta).await;
        if let Err(error) = pipeline.sink.maintain().await {
            assert!(is_passing(&error), "{error}");
        }
        pipeline.check().await;
    }
    assert_eq!(pipeline.reopen().await, Some(header(25)));
    pipeline.check().await;
    let faults = *flaky.faults.lock().unwrap();
    assert!(faults > 10, "{faults} faults");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_store_lose_and_double_nothing() {
    let s3 = S3::start();
    run(&s3, "faults_of_deltas", EAGER).await;
    run(&s3, "faults_of_snapshots", SNAPSHOT).await;
}
