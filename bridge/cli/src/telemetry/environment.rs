//! The environment variables of OpenTelemetry that say where telemetry goes
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>). Without an endpoint there is none.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

/// How long a request may take, where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two exports of metrics, where nothing is said.
const INTERVAL: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
        }
    }
}

/// The variables.
pub struct Environment<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    /// A variable; an empty one is none, by the specification.
    fn variable(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    /// A setting of one signal, or of all.
    fn setting(&self, signal: Signal, name: &str) -> Option<String> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{name}", signal.as_str().to_uppercase());
        self.variable(&own).or_else(|| self.variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    /// The URL that a signal is sent to; none where it is not asked for.
    pub fn endpoint(&self, signal: Signal) -> Option<String> {
        let name = signal.as_str();
        let exporter = self.variable(&format!("OTEL_{}_EXPORTER", name.to_uppercase()));
        if self.variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || exporter.is_some_and(|exporter| exporter == "none")
        {
            return None;
        }
        let own = self.variable(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", name.to_uppercase()));
        let of_all = || self.variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        own.or_else(|| of_all().map(|base| format!("{}/v1/{name}", base.trim_end_matches('/'))))
    }

    /// Why a signal cannot be sent as it is asked for. Names the variable, and not an address, which may have a password in it.
    pub fn fault(&self, signal: Signal) -> Option<String> {
        let is_address = |address: String| {
            Url::parse(&address).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        if !self.endpoint(signal).is_none_or(is_address) {
            let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.as_str().to_uppercase());
            let name = self.variable(&own).map_or("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), |_| own);
            return Some(format!("{name} is no address such as http://localhost:4318"));
        }
        let wrong = |name: &str, spoken: &str, value: &String| {
            (value != spoken).then(|| format!("OTEL_EXPORTER_OTLP_{name} is {value}, and this speaks {spoken} alone"))
        };
        let protocol = self.setting(signal, "PROTOCOL");
        let compression = self.setting(signal, "COMPRESSION");
        let protocol = protocol.and_then(|value| wrong("PROTOCOL", "http/protobuf", &value));
        protocol.or_else(|| compression.and_then(|value| wrong("COMPRESSION", "none", &value)))
    }

    /// The headers of each request: `name=value,…`, percent-encoded. What is not of that form is left out, as the
    /// specification has it.
    pub fn headers(&self, signal: Signal) -> Vec<(String, String)> {
        let list = self.setting(signal, "HEADERS").unwrap_or_default();
        let header = |entry: &str| {
            let (name, value) = entry.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            Some((name.trim().to_owned(), value.into_owned())).filter(|(name, _)| !name.is_empty())
        };
        list.split(',').filter_map(header).collect()
    }

    /// How long a request may take.
    pub fn timeout(&self, signal: Signal) -> Duration {
        milliseconds(self.setting(signal, "TIMEOUT")).unwrap_or(TIMEOUT)
    }

    /// The time between two exports of metrics.
    pub fn interval(&self) -> Duration {
        milliseconds(self.variable("OTEL_METRIC_EXPORT_INTERVAL")).unwrap_or(INTERVAL)
    }
}

fn milliseconds(value: Option<String>) -> Option<Duration> {
    value?.trim().parse().ok().filter(|ms| *ms > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(variables: &[(&str, &str)], ask: impl FnOnce(Environment<'_>) -> T) -> T {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        ask(Environment(&value))
    }

    #[test]
    fn nothing_is_sent_unless_it_is_asked_for() {
        let both =
            |environment: Environment<'_>| [Signal::Traces, Signal::Metrics].map(|one| environment.endpoint(one));
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let sent = [Some("http://c:4318/v1/traces".to_owned()), Some("http://c:4318/v1/metrics".to_owned())];
        assert_eq!(with(&[], both), [None, None]);
        assert_eq!(with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], both), [None, None]);
        assert_eq!(with(&[all], both), sent);
        assert_eq!(with(&[all, ("OTEL_SDK_DISABLED", "True")], both), [None, None]);
        assert_eq!(with(&[all, ("OTEL_TRACES_EXPORTER", "none")], both), [None, sent[1].clone()]);
        // The address of one signal is taken as it stands.
        let own = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/x")];
        assert_eq!(with(&own, both), [None, Some("http://m/x".to_owned())]);
    }

    #[test]
    fn headers_and_times() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key = a%20b,,broken, x=y=z "),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "of=traces"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "often"),
        ];
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        with(&variables, |environment| {
            let headers = environment.headers(Signal::Metrics);
            assert_eq!(headers, [header("api-key", "a b"), header("x", "y=z")]);
            assert_eq!(environment.headers(Signal::Traces), [header("of", "traces")]);
            assert_eq!(environment.timeout(Signal::Metrics), Duration::from_millis(1500));
            assert_eq!(environment.interval(), INTERVAL);
        });
    }

    #[test]
    fn what_is_not_spoken_is_named() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let fault = with(&[grpc], |environment| environment.fault(Signal::Traces)).unwrap();
        assert_eq!(fault, "OTEL_EXPORTER_OTLP_PROTOCOL is grpc, and this speaks http/protobuf alone");
        let own = [grpc, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")];
        assert_eq!(with(&own, |environment| environment.fault(Signal::Traces)), None);
        let gzip = [("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
        assert!(with(&gzip, |environment| environment.fault(Signal::Metrics)).unwrap().contains("gzip"));
    }
}
