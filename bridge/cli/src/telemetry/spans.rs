//! One trace an epoch: a span `epoch` from the first thing that was done for it to the last, and a child for each of them. They
//! are made when an epoch is over, with the times that the loop has told, and wait in the exporter's queue, which is bounded:
//! the loop never waits for a collector.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{Span, SpanBuilder, TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tidegate_core::Epoch;
use tidegate_runtime::{Observer, Progress, Stretch};

use super::epochs::{Did, Done, Epochs, Finished, Part};

/// Listens to a pipeline and makes spans of what it does.
pub struct Spans {
    pipeline: String,
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    epochs: Mutex<Epochs>,
    made: AtomicU64,
    /// Spans that the collector has taken.
    taken: Arc<AtomicU64>,
}

impl Spans {
    /// Spans of a pipeline, for an exporter.
    pub fn new(pipeline: &str, resource: Resource, exporter: opentelemetry_otlp::SpanExporter) -> Spans {
        let taken = Arc::new(AtomicU64::new(0));
        let exporter = Counted { exporter, taken: Arc::clone(&taken) };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer("tidegate");
        let pipeline = pipeline.to_owned();
        Spans { pipeline, provider, tracer, epochs: Mutex::default(), made: AtomicU64::new(0), taken }
    }

    /// Ends every span and waits so long for the collector to take them. Answers how many it did not take in this run.
    /// Blocks.
    pub fn finish(&self, patience: Duration) -> u64 {
        let rest = self.epochs.lock().unwrap_or_else(PoisonError::into_inner).close();
        self.make(rest);
        // What did not arrive is counted below.
        let _ = self.provider.shutdown_with_timeout(patience);
        self.made.load(Ordering::Relaxed).saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    fn make(&self, finished: Vec<Finished>) {
        for finished in finished {
            let wall = Wall::now();
            match finished {
                Finished::Epoch(done) => self.epoch(&wall, &done),
                Finished::Late(epoch, part) => self.part(&wall, &Context::new(), Some(epoch), &part),
            }
        }
    }

    fn epoch(&self, wall: &Wall, done: &Done) {
        let began = done.parts.iter().map(|part| part.time.began).min();
        let ended = done.parts.iter().map(|part| part.time.ended).max();
        let Some((began, ended)) = began.zip(ended) else { return };
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut attributes = vec![
            KeyValue::new("tidegate.pipeline", self.pipeline.clone()),
            KeyValue::new("tidegate.epoch", number(done.epoch.0)),
            KeyValue::new("tidegate.source_rows", number(done.source_rows)),
            KeyValue::new("tidegate.view_rows", number(done.view_rows.values().sum())),
        ];
        let of_view = |(view, rows): (&tidegate_core::ViewName, &u64)| {
            KeyValue::new(format!("tidegate.view_rows.{view}"), number(*rows))
        };
        attributes.extend(done.view_rows.iter().map(of_view));
        let builder = SpanBuilder::from_name("epoch").with_start_time(wall.at(began)).with_attributes(attributes);
        let mut span = builder.start_with_context(&self.tracer, &Context::new());
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        for part in &done.parts {
            self.part(wall, &context, None, part);
        }
        self.end(&mut span, wall.at(ended));
    }

    /// A piece of work; one that stands alone says of which epoch it is.
    fn part(&self, wall: &Wall, parent: &Context, alone: Option<Epoch>, part: &Part) {
        let (name, of) = match &part.did {
            Did::Read(source) => ("read", Some(KeyValue::new("tidegate.source", source.clone()))),
            Did::Log => ("log", None),
            Did::Step => ("step", None),
            Did::Commit(sink) => ("commit", Some(KeyValue::new("tidegate.sink", sink.clone()))),
            Did::Checkpoint => ("checkpoint", None),
        };
        let alone = alone.map(|epoch| {
            let epoch = i64::try_from(epoch.0).unwrap_or(i64::MAX);
            [KeyValue::new("tidegate.pipeline", self.pipeline.clone()), KeyValue::new("tidegate.epoch", epoch)]
        });
        let Stretch { began, ended } = part.time;
        let builder = SpanBuilder::from_name(name).with_start_time(wall.at(began));
        let builder = builder.with_attributes(alone.into_iter().flatten().chain(of));
        let mut span = builder.start_with_context(&self.tracer, parent);
        self.end(&mut span, wall.at(ended));
    }

    fn end(&self, span: &mut impl Span, at: SystemTime) {
        if span.span_context().is_sampled() {
            self.made.fetch_add(1, Ordering::Relaxed);
        }
        span.end_with_timestamp(at);
    }
}

impl Observer for Spans {
    fn notify(&self, event: Progress<'_>) {
        let finished = self.epochs.lock().unwrap_or_else(PoisonError::into_inner).take(event, Instant::now());
        self.make(finished);
    }
}

/// The wall clock's time of other instants: one look at it for a trace, so that a clock that is set cannot tear that.
struct Wall {
    time: SystemTime,
    instant: Instant,
}

impl Wall {
    fn now() -> Wall {
        Wall { time: SystemTime::now(), instant: Instant::now() }
    }

    fn at(&self, instant: Instant) -> SystemTime {
        match instant.checked_duration_since(self.instant) {
            Some(later) => self.time + later,
            None => self.time - self.instant.duration_since(instant),
        }
    }
}

/// Counts what the collector takes.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    taken: Arc<AtomicU64>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        self.exporter.export(batch).await?;
        self.taken.fetch_add(spans, Ordering::Relaxed);
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
