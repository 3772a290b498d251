//! `cargo xtask demos`: brings the demos with Docker Compose up, lets them change for a while, compares what they made with a
//! full recompute by DuckDB, and takes them down. It uses projects and ports of its own: demos that somebody looks at go on.

mod compose;
mod script;

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use compose::{Bytes, Project};
use script::Script;

pub use script::Demo;

/// What a demo came to.
struct Outcome {
    demo: Demo,
    /// To build the images; much of it is there from the last time.
    build: Duration,
    /// From `up` until every service was healthy.
    healthy: Duration,
    /// From `up` until everything was removed.
    in_all: Duration,
    images: Bytes,
    volumes: Bytes,
    differences: u64,
}

/// Runs these demos one after the other, all of them if none is named. All run even when one fails.
pub fn run(demos: &[Demo]) -> Result<()> {
    compose::check()?;
    let demos = if demos.is_empty() { Demo::value_variants() } else { demos };
    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    for demo in demos {
        println!("\n== {}\n", demo.name());
        match try_out(*demo) {
            Ok(outcome) => {
                if outcome.differences > 0 {
                    failed.push(demo.name());
                }
                outcomes.push(outcome);
            }
            Err(error) => {
                eprintln!("error: {}: {error:#}", demo.name());
                failed.push(demo.name());
            }
        }
    }
    println!("\n{}", table(&outcomes));
    if !failed.is_empty() {
        bail!("of {} demos these failed: {}", demos.len(), failed.join(", "));
    }
    Ok(())
}

/// Everything from building to removing.
fn try_out(demo: Demo) -> Result<Outcome> {
    let script = demo.script();
    let project = Project::of(demo)?;
    let begin = Instant::now();
    project.build()?;
    let (build, begin) = (begin.elapsed(), Instant::now());
    let played = play(&project, &script, begin);
    if played.is_err() {
        project.show_logs();
    }
    let removed = project.remove();
    let (healthy, images, volumes, differences) = played?;
    removed?;
    Ok(Outcome { demo, build, healthy, in_all: begin.elapsed(), images, volumes, differences })
}

/// From `up` to the comparison.
fn play(project: &Project, script: &Script, begin: Instant) -> Result<(Duration, Bytes, Bytes, u64)> {
    project.up(script.services)?;
    let healthy = begin.elapsed();
    println!("healthy after {:.0} s; the next {} s belong to the demo", healthy.as_secs_f64(), script.time.as_secs());
    thread::sleep(script.time);
    for (service, path) in script.pages {
        project.get(service, path)?;
        println!("the page of {service} answers");
    }
    let mut differences = None;
    for step in script.steps {
        let said = project.step(step)?;
        if let Some(found) = found_differences(&said) {
            differences = Some(differences.unwrap_or(0) + found);
        }
    }
    let differences = differences.context("no step has compared anything")?;
    let volumes = project.volumes()?;
    ensure!(volumes.0 > 0, "Docker says that the volumes of the demo are empty");
    Ok((healthy, project.images()?, volumes, differences))
}

/// What the demos' programs say at the end of a comparison.
fn found_differences(said: &str) -> Option<u64> {
    let numbers = said.lines().filter_map(|line| line.trim().strip_suffix(" differences"));
    numbers.filter_map(|number| number.replace(',', "").parse::<u64>().ok()).reduce(|sum, number| sum + number)
}

/// A line a demo.
fn table(outcomes: &[Outcome]) -> String {
    let titles = ["demo", "build", "healthy", "in all", "images", "volumes", "differences"].map(str::to_owned);
    let mut lines = vec![titles];
    for outcome in outcomes {
        let seconds = |time: Duration| format!("{:.0} s", time.as_secs_f64());
        lines.push([
            outcome.demo.name(),
            seconds(outcome.build),
            seconds(outcome.healthy),
            seconds(outcome.in_all),
            outcome.images.to_string(),
            outcome.volumes.to_string(),
            outcome.differences.to_string(),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        // Writing into a string does not fail.
        let _ = write!(text, "{:<1$}", line[0], width(0));
        for (column, cell) in line.iter().enumerate().skip(1) {
            let _ = write!(text, "  {cell:>0$}", width(column));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_in_what_programs_say() {
        assert_eq!(found_differences("  view  rows\n  a  1\n\n  0 differences\n"), Some(0));
        assert_eq!(found_differences("1,234 differences\n2 differences\n"), Some(1_236));
        assert_eq!(found_differences("differences in the mart\n"), None);
    }

    #[test]
    fn a_line_a_demo() {
        let second = Duration::from_secs(1);
        let outcome = Outcome {
            demo: Demo::TimeTravel,
            build: second,
            healthy: 12 * second,
            in_all: 90 * second,
            images: Bytes(512_000_000),
            volumes: Bytes(3_400_000),
            differences: 0,
        };
        assert_eq!(
            table(&[outcome]),
            "demo         build  healthy  in all  images  volumes  differences\n\
             time-travel    1 s     12 s    90 s  512 MB   3.4 MB            0\n"
        );
    }
}
