//! Times as people read them. A demo includes this file as a module.

/// A time, in seconds from ten of them on.
pub fn milliseconds(time: f64) -> String {
    match time {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}
