//! Where log lines go: standard error, as text or as JSON, one a line.

use std::fmt;
use std::io::IsTerminal;

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tidegate_runtime::Clock;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The environment variable that says what is logged, for example `tidegate=debug`.
const FILTER: &str = "TIDEGATE_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Begins logging: our own crates from INFO on, the libraries' warnings.
pub fn begin(format: LogFormat) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| {
        // A prefix covers all crates of ours. DBSP warns of open-file limits that are high enough for it; how a
        // replication session ended is told by the source.
        EnvFilter::new("warn,dbsp=error,pgwire_replication=off,tidegate=info")
    });
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => subscriber.event_format(JsonLines).init(),
    }
}

/// One JSON object a line: `timestamp`, `level`, `event` where the event has a name of its own, `message`, `target`, and the
/// event's fields.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), json!(Clock::default().now().to_string()));
        line.insert("level".to_owned(), json!(metadata.level().as_str()));
        // What has no name is called by its place, which the next version has elsewhere.
        if !metadata.name().starts_with("event ") {
            line.insert("event".to_owned(), json!(metadata.name()));
        }
        line.insert("target".to_owned(), json!(metadata.target()));
        let mut line = Fields(line);
        event.record(&mut line);
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

/// Takes in the fields of an event.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }
}
