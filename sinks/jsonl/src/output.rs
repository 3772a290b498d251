//! Where lines go: a file, or a stream that takes no line back.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::blocking::blocking;
use crate::error::JsonlSinkError;
use crate::file::Locked;

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// A writer that belongs to one sink.
pub(crate) type Stream = Box<dyn Write + Send>;

/// Lines of one commit on their way out.
pub(crate) struct Output {
    pub(crate) text: String,
    /// `None` only while it is being written to; for good when the writing was cancelled.
    place: Option<Place>,
}

/// What lines are appended to.
pub(crate) enum Place {
    File(Locked),
    Stream(Stream),
}

impl Output {
    pub(crate) fn new(place: Place) -> Self {
        Output { text: String::new(), place: Some(place) }
    }

    /// Makes ready for the first line: a file ends with its last commit.
    pub(crate) async fn begin(&mut self) -> Result<(), JsonlSinkError> {
        match &mut self.place {
            Some(Place::File(file)) => file.cut(),
            _ => Ok(()),
        }
    }

    /// Writes what is gathered, if it is much.
    pub(crate) async fn write_some(&mut self) -> Result<(), JsonlSinkError> {
        if self.text.len() < WRITE_BYTES { Ok(()) } else { self.work(|_| Ok(())).await }
    }

    /// Writes all that is gathered, and makes it durable where it can be.
    pub(crate) async fn settle(&mut self) -> Result<(), JsonlSinkError> {
        self.work(|place| match place {
            Place::File(file) => file.sync(),
            Place::Stream(stream) => stream.flush().map_err(|error| JsonlSinkError::stream(&error)),
        })
        .await
    }

    /// The place, without what is gathered.
    pub(crate) fn into_place(self) -> Option<Place> {
        self.place
    }

    async fn work(
        &mut self,
        then: impl FnOnce(&mut Place) -> Result<(), JsonlSinkError> + Send + 'static,
    ) -> Result<(), JsonlSinkError> {
        let Some(mut place) = self.place.take() else { return Err(JsonlSinkError::StdoutClosed) };
        let text = std::mem::take(&mut self.text);
        let (place, done) = blocking(move || {
            let written = match &mut place {
                Place::File(file) => file.write(&text),
                Place::Stream(stream) => stream.write_all(text.as_bytes()).map_err(|e| JsonlSinkError::stream(&e)),
            };
            let done = written.and_then(|()| then(&mut place));
            (place, done)
        })
        .await;
        self.place = Some(place);
        done
    }
}

static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Standard output, for one sink alone: lines of two would mix.
pub(crate) struct Stdout(io::Stdout);

impl Stdout {
    pub(crate) fn take() -> Result<Stdout, JsonlSinkError> {
        if IS_TAKEN.swap(true, Ordering::SeqCst) { Err(JsonlSinkError::StdoutTaken) } else { Ok(Stdout(io::stdout())) }
    }
}

impl Drop for Stdout {
    fn drop(&mut self) {
        IS_TAKEN.store(false, Ordering::SeqCst);
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
