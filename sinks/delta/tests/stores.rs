//! Object stores that count, fail or let somebody else in between.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What is done to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Put { path: String, bytes: u64 },
    Get { path: String, bytes: u64 },
    List,
}

/// What a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Done,
    /// It fails without having been done.
    Lost,
    /// It is done, and the answer is lost.
    Unanswered,
}

type Oracle = Box<dyn Fn(&Call) -> Fate + Send + Sync>;
type Guest = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// A store with somebody at the door.
pub struct Watched {
    inner: Arc<dyn ObjectStore>,
    pub calls: Mutex<Vec<Call>>,
    fate: Mutex<Oracle>,
    /// Comes before the first entry is put into a log.
    guest: Mutex<Option<Guest>>,
}

impl Watched {
    pub fn new(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        let fate: Oracle = Box::new(|_| Fate::Done);
        Arc::new(Watched { inner, calls: Mutex::default(), fate: Mutex::new(fate), guest: Mutex::default() })
    }

    pub fn decide(&self, fate: impl Fn(&Call) -> Fate + Send + Sync + 'static) {
        *self.fate.lock().unwrap() = Box::new(fate);
    }

    pub fn invite(&self, guest: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static) {
        *self.guest.lock().unwrap() = Some(Box::new(guest));
    }

    /// What was done since the last time.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn note(&self, call: Call) -> Result<bool> {
        let fate = (self.fate.lock().unwrap())(&call);
        self.calls.lock().unwrap().push(call);
        match fate {
            Fate::Done => Ok(true),
            Fate::Unanswered => Ok(false),
            Fate::Lost => Err(lost()),
        }
    }
}

fn lost() -> Error {
    Error::Generic { store: "watched", source: "the connection was lost".into() }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({:?})", self.inner)
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if location.as_ref().contains("_delta_log/") {
            let guest = self.guest.lock().unwrap().take();
            if let Some(guest) = guest {
                guest().await;
            }
        }
        let call = Call::Put { path: location.to_string(), bytes: payload.content_length() as u64 };
        let answered = self.note(call)?;
        let result = self.inner.put_opts(location, payload, opts).await?;
        if answered { Ok(result) } else { Err(lost()) }
    }

    async fn put_multipart_opts(&self, location: &Path, o: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, o).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let result = self.inner.get_opts(location, options).await;
        let bytes = result.as_ref().map_or(0, |found| found.range.end - found.range.start);
        self.note(Call::Get { path: location.to_string(), bytes })?;
        result
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        self.note(Call::Get { path: location.to_string(), bytes })?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.note(Call::List) {
            Ok(_) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.note(Call::List) {
            Ok(_) => self.inner.list_with_offset(prefix, offset),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
