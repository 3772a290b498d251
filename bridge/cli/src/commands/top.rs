//! `tidegate top`: where a pipeline stands, live, in the terminal. The numbers are those of `tidegate status`.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use axum::http::Method;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Sparkline, Table, Wrap};
use serde_json::Value;
use tidegate_core::ErrorKind;
use tidegate_core::units::size_text;
use tidegate_runtime::read_status;

use crate::assembly::assemble;
use crate::commands::check::named;
use crate::failure::Failure;
use crate::output::{self, Json, grouped};
use crate::serve::socket;

/// How often it is asked.
const INTERVAL: Duration = Duration::from_secs(1);

const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const HEADING: Style = Style::new().add_modifier(Modifier::BOLD).add_modifier(Modifier::UNDERLINED);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);

/// What is shown.
struct Shown {
    status: Value,
    epochs: Value,
}

/// Shows the status until somebody presses `q`.
pub async fn top(path: &Path) -> Result<(), Failure> {
    let assembly = assemble(path)?;
    let state_dir = assembly.config.state_dir;
    if !io::stdout().is_terminal() {
        return Err(Failure::usage(
            "`top` shows itself on a terminal: use `tidegate status`, with --json for programs",
        ));
    }
    let mut shown = ask(&state_dir, path).await?;
    let failed = |error: io::Error| Failure::new(ErrorKind::Retry, format!("the terminal cannot be used: {error}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let ended = loop {
        if let Err(error) = terminal.draw(|frame| draw(frame, &shown)) {
            break Err(failed(error));
        }
        match wants_to_leave(INTERVAL) {
            Ok(true) => break Ok(()),
            Ok(false) => {}
            Err(error) => break Err(failed(error)),
        }
        match ask(&state_dir, path).await {
            Ok(news) => shown = news,
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    ended
}

/// The process that runs the pipeline is asked; where there is none, the state folder tells.
async fn ask(state_dir: &Path, path: &Path) -> Result<Shown, Failure> {
    if let Some(status) = socket::ask(state_dir, Method::GET, "/api/status").await? {
        let epochs = socket::ask(state_dir, Method::GET, "/api/epochs").await?.unwrap_or_default();
        return Ok(Shown { status, epochs });
    }
    let Some(status) = read_status(state_dir)? else {
        let dir = state_dir.display();
        let message = format!("there is no state in {dir} yet: `tidegate run {}` makes it", path.display());
        return Err(Failure::new(ErrorKind::Retry, message));
    };
    Ok(Shown { status: output::value(&status)?, epochs: Value::Null })
}

/// Waits for a key, so long at the most.
fn wants_to_leave(time: Duration) -> io::Result<bool> {
    if !event::poll(time)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else { return Ok(false) };
    let interrupts = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let leaves = interrupts || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
    Ok(key.kind == KeyEventKind::Press && leaves)
}

fn draw(frame: &mut Frame<'_>, shown: &Shown) {
    let status = &shown.status;
    let count = |what| status.entries(what).count() as u16;
    let errors = failures(status);
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(3),
        Constraint::Length(count("sources") + 2),
        Constraint::Min(3),
        Constraint::Length(count("sinks") + 2),
        Constraint::Length(errors.len() as u16 * 2),
        Constraint::Length(1),
    ]);
    let [head, epochs, sources, views, sinks, troubles, foot] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(header(status)), head);
    draw_epochs(frame, epochs, &shown.epochs);
    frame.render_widget(sources_table(status), sources);
    frame.render_widget(views_table(status), views);
    frame.render_widget(sinks_table(status), sinks);
    frame.render_widget(Paragraph::new(errors).wrap(Wrap { trim: true }), troubles);
    frame.render_widget(Paragraph::new("q leaves").style(FAINT), foot);
}

fn header(status: &Value) -> Vec<Line<'static>> {
    let name = Span::styled(status.text("pipeline"), Style::new().add_modifier(Modifier::BOLD));
    let state = match status["phase"]["name"].as_str() {
        Some(phase) => format!("{phase} for {} s", status["phase"].number("since_ms") / 1000),
        None => "not running".to_owned(),
    };
    let style = if status["phase"].is_object() { Style::new() } else { BAD };
    let rates = &status["rates"];
    let second = match rates.is_object() {
        true => format!(
            "{} source rows/s, {} view rows/s, {:.1} epochs/s",
            grouped(rates.number("source_rows_per_s")),
            grouped(rates.number("view_rows_per_s")),
            rates["epochs_per_s"].as_f64().unwrap_or_default(),
        ),
        false => String::new(),
    };
    vec![
        Line::from(vec![
            name,
            Span::raw(format!("  epoch {}  ", grouped(status.number("epoch")))),
            Span::styled(state, style),
            Span::raw(format!("  committed at {}", status.text("committed_at"))),
        ]),
        Line::styled(second, FAINT),
    ]
}

/// The time that each of the last epochs took, without waiting for sources.
fn draw_epochs(frame: &mut Frame<'_>, area: Rect, epochs: &Value) {
    let took = |epoch: &Value| {
        ["log", "step", "commit", "checkpoint"]
            .iter()
            .map(|phase| epoch["phases_ms"][*phase].as_f64().unwrap_or(0.0))
            .sum()
    };
    let took: Vec<f64> = epochs["epochs"].as_array().into_iter().flatten().map(took).collect();
    let last = took.len().saturating_sub(usize::from(area.width));
    let bars: Vec<u64> = took[last..].iter().map(|ms| (ms * 1000.0) as u64).collect();
    let most = took[last..].iter().copied().fold(0.0, f64::max);
    let [title, line] = Layout::vertical([Constraint::Length(1), Constraint::Length(2)]).areas(area);
    let text = match took.last() {
        Some(last) => format!("the last epoch took {last:.1} ms, of those below the slowest {most:.1} ms"),
        None => "no epoch since the process began".to_owned(),
    };
    frame.render_widget(Paragraph::new(text).style(FAINT), title);
    frame.render_widget(Sparkline::default().data(&bars), line);
}

fn table<'a>(heading: [&'static str; 5], rows: Vec<Row<'a>>) -> Table<'a> {
    let widths =
        [Constraint::Fill(2), Constraint::Fill(2), Constraint::Fill(2), Constraint::Fill(1), Constraint::Fill(1)];
    Table::new(rows, widths).header(Row::new(heading).style(HEADING))
}

fn styled(cells: [String; 5], is_well: bool) -> Row<'static> {
    Row::new(cells).style(if is_well { Style::new() } else { BAD })
}

fn sources_table(status: &Value) -> Table<'static> {
    let row = |(name, source): (&String, &Value)| {
        let lag = &source["lag"];
        let lag = [("snapshots", ""), ("bytes", " B"), ("ms", " ms")]
            .into_iter()
            .filter_map(|(unit, sign)| Some((unit, sign, lag[unit].as_u64()?)))
            .map(|(unit, sign, number)| match sign {
                "" => format!("{} {unit}", grouped(number)),
                _ => format!("{}{sign}", grouped(number)),
            });
        let lag = lag.collect::<Vec<_>>().join(", ");
        let state = source.text("state");
        let is_well = state != "failing";
        styled([name.clone(), source["position"].to_string(), lag, source.text("type"), state], is_well)
    };
    table(["source", "position", "behind", "type", "state"], status.entries("sources").map(row).collect())
}

fn views_table(status: &Value) -> Table<'static> {
    let row = |(name, view): (&String, &Value)| {
        let changed = match view["last_epoch"].as_u64() {
            Some(epoch) => format!("{} in epoch {}", grouped(view.number("last_changed_rows")), grouped(epoch)),
            None => String::new(),
        };
        let steps = format!("{} + {} builds", grouped(view.number("incremental_steps")), view.number("full_steps"));
        let state = size_text(view.number("state_bytes"));
        styled([name.clone(), grouped(view.number("rows")), changed, steps, state], true)
    };
    table(["view", "rows", "changed last", "steps", "state"], status.entries("views").map(row).collect())
}

fn sinks_table(status: &Value) -> Table<'static> {
    let row = |(name, sink): (&String, &Value)| {
        let behind = format!("{} epochs, {}", grouped(sink.number("behind")), size_text(sink.number("behind_bytes")));
        let state = sink.text("state");
        let is_well = state == "attached";
        styled([name.clone(), sink["epoch"].to_string(), behind, sink.text("type"), state], is_well)
    };
    table(["sink", "epoch", "behind", "type", "state"], status.entries("sinks").map(row).collect())
}

/// What fails now, in the words of the log.
fn failures(status: &Value) -> Vec<Line<'static>> {
    let of = |what: &'static str| {
        let failing = status.entries(what).filter_map(move |(name, entry)| {
            let kind = what.trim_end_matches('s');
            let error = entry["error"].as_str()?;
            Some(Line::styled(named(kind, name, error), BAD))
        });
        failing.collect::<Vec<_>>()
    };
    [of("sources"), of("sinks")].concat()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn text(shown: &Shown, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, shown)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content().chunks(usize::from(width));
        lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    fn shown() -> Shown {
        let status = json!({
            "pipeline": "shop", "epoch": 1234, "committed_at": "2026-01-01T00:00:00Z", "running": true,
            "phase": { "name": "stepping", "since_ms": 14_200 },
            "rates": { "source_rows_per_s": 120.4, "view_rows_per_s": 3.0, "epochs_per_s": 1.5 },
            "sources": { "app": { "type": "postgres", "position": { "lsn": "0/16B3748" }, "lag": { "bytes": 2048, "ms": 300 }, "state": "ok" } },
            "views": { "revenue": { "rows": 1_000_000, "incremental_steps": 40, "full_steps": 1, "state_bytes": 2048, "last_epoch": 1234, "last_changed_rows": 7 } },
            "sinks": { "mart": { "type": "duckdb", "epoch": 1230, "behind": 4, "behind_bytes": 1024, "state": "failing", "error": "sink mart: the file is held" } },
        });
        let epoch =
            json!({ "phases_ms": { "read": 900.0, "log": 1.0, "step": 2.5, "commit": 20.0, "checkpoint": 0.0 } });
        Shown { status, epochs: json!({ "epochs": [epoch] }) }
    }

    #[test]
    fn everything_is_there() {
        let text = text(&shown(), 120, 24);
        let expected = [
            "shop  epoch 1,234  stepping for 14 s",
            "120 source rows/s, 3 view rows/s, 1.5 epochs/s",
            "the last epoch took 23.5 ms",
            "0/16B3748",
            "2,048 B, 300 ms",
            "1,000,000",
            "7 in epoch 1,234",
            "4 epochs, 1.0 KiB",
            "sink mart: the file is held",
        ];
        for expected in expected {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_pipeline_that_does_not_run_says_so() {
        let mut shown = shown();
        shown.status.as_object_mut().unwrap().retain(|key, _| key != "phase" && key != "rates");
        shown.epochs = Value::Null;
        assert!(text(&shown, 80, 24).contains("not running"));
    }

    #[test]
    fn small_terminals_do_not_matter() {
        for (width, height) in [(20, 5), (1, 1), (80, 3)] {
            text(&shown(), width, height);
        }
    }
}
