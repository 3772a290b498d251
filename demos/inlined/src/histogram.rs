//! How often which time was waited, drawn in text.

use std::fmt::Write;

use tidegate_testkit::bench::percentile;

/// The upper ends of the bars in milliseconds; what took longer is in one more.
const ENDS: [f64; 10] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Characters of the longest bar.
const WIDTH: usize = 50;

/// A heading, and a line a bar.
pub fn draw(title: &str, mut times: Vec<f64>) -> String {
    if times.is_empty() {
        return format!("{title}: nothing yet\n");
    }
    times.sort_by(f64::total_cmp);
    let mut counts = [0; ENDS.len() + 1];
    for time in &times {
        counts[ENDS.partition_point(|end| end < time)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| percentile(&times, share));
    let mut text = format!("{title}\n  p50 {p50:.2} ms   p90 {p90:.2} ms   p99 {p99:.2} ms   of {}\n", times.len());
    for (place, count) in counts.iter().enumerate() {
        let end = ENDS.get(place).map_or_else(|| "        more".to_owned(), |end| format!("to {end:>6} ms"));
        // Writing into a string does not fail. Whatever happened shows.
        let _ = writeln!(text, "  {end} {:<WIDTH$} {count}", "█".repeat((count * WIDTH).div_ceil(most)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_bar() {
        let text = draw("title", vec![0.1, 0.25, 0.3, 500.0]);
        let bars: Vec<(&str, usize)> = text
            .lines()
            .skip(2)
            .map(|line| {
                let (end, _) = line.trim_start().trim_start_matches("to").trim_start().split_once(' ').unwrap();
                (end, line.matches('█').count())
            })
            .collect();
        assert_eq!(bars.len(), ENDS.len() + 1);
        assert_eq!((bars[0], bars[1], bars[2], bars[10]), (("0.25", 50), ("0.5", 25), ("1", 0), ("more", 25)));
        assert!(text.contains("of 4\n"), "{text}");
        assert_eq!(draw("title", Vec::new()), "title: nothing yet\n");
    }
}
