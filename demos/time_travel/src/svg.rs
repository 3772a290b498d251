//! A cast as an animated SVG: no scripts and no fonts of its own, light or dark as the reader has it. Where nothing is
//! animated it shows the end.
//!
//! The session is text that grows downwards, so that a frame is what was there by then, moved up by the lines that do
//! not fit: each block of text has its moment, and the whole has its moves. Other sessions than those, with cursors
//! that jump, are refused.

use std::fmt::Write;

use anyhow::{Result, bail};

use crate::cast::Cast;

/// Size of a character's cell, of the letters, and of the border, in pixels.
const CELL: (f64, f64) = (7.8, 18.0);
const LETTERS: u32 = 13;
const BORDER: f64 = 14.0;

/// How a character looks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Bold,
    Faint,
}

/// A character, when it came, and how it looks.
#[derive(Debug, Clone, Copy)]
struct Glyph {
    letter: char,
    at: f64,
    style: Style,
}

/// Draws a cast.
pub fn render(cast: &Cast) -> Result<String> {
    let (columns, rows) = cast.size;
    let lines = lines(cast)?;
    let all = cast.now.max(0.01);
    let percent = |at: f64| format!("{:.2}%", 100.0 * at / all);
    let (mut style, mut body) = (String::new(), String::new());
    for (row, line) in lines.iter().enumerate() {
        draw(line, row, &percent, &mut style, &mut body);
    }
    // What is at the bottom at a moment decides how far everything has moved up.
    let moved = |row: usize| (row + 1).saturating_sub(rows) as f64 * CELL.1;
    let mut moves: Vec<(String, f64)> = Vec::new();
    for (row, line) in lines.iter().enumerate().filter(|(row, line)| moved(*row) > 0.0 && !line.is_empty()) {
        let at = percent(line.iter().map(|glyph| glyph.at).fold(f64::INFINITY, f64::min));
        match moves.last_mut() {
            Some((last, up)) if *last == at => *up = moved(row),
            _ => moves.push((at, moved(row))),
        }
    }
    style.push_str("@keyframes up{0%{transform:none}");
    for (at, up) in &moves {
        let _ = write!(style, "{at}{{transform:translateY(-{up}px)}}");
    }
    style.push('}');
    let end = moves.last().map_or(0.0, |(_, up)| *up);
    let (inner_width, inner_height) = (columns as f64 * CELL.0, rows as f64 * CELL.1);
    let (width, height) = (inner_width + 2.0 * BORDER, inner_height + 2.0 * BORDER);
    let title = escaped(&cast.title);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         role=\"img\" aria-label=\"{title}\"><title>{title}</title>\n<style>\
         svg{{--paper:#fbfbfa;--ink:#24292f;--bold:#0b4f9e;--faint:#5f6b76;--line:#d0d7de}}\
         @media(prefers-color-scheme:dark){{svg{{--paper:#15191e;--ink:#d5dae0;--bold:#8fc7ff;--faint:#94a0ad;--line:#39424c}}}}\
         text{{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:{LETTERS}px;fill:var(--ink)}}\
         .b{{fill:var(--bold);font-weight:600}}.f{{fill:var(--faint);font-style:italic}}\
         .p{{fill:var(--paper)}}.c{{fill:var(--faint)}}\
         g{{animation:{all:.2}s step-end infinite}}.k{{opacity:0}}#u{{animation-name:up;transform:translateY(-{end}px)}}\n\
         @media(prefers-reduced-motion:reduce){{g{{animation:none!important}}}}\n{style}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" class=\"p\" stroke=\"var(--line)\"/>\n\
         <svg x=\"{BORDER}\" y=\"{BORDER}\" width=\"{inner_width:.1}\" height=\"{inner_height:.1}\"><g id=\"u\">\n{body}</g></svg></svg>\n"
    ))
}

/// Draws a line: what came at its first moment and later. Keys that follow one another are uncovered one by one.
fn draw(line: &[Glyph], row: usize, percent: &dyn Fn(f64) -> String, style: &mut String, body: &mut String) {
    let (Some(first), Some(last)) = (line.first(), line.last()) else { return };
    let y = row as f64 * CELL.1;
    let _ = write!(style, "@keyframes l{row}{{0%{{opacity:0}}{}{{opacity:1}}}}", percent(first.at));
    let _ = write!(body, "<g style=\"animation-name:l{row}\">");
    let mut column = 0;
    for run in line.chunk_by(|left, right| left.style == right.style) {
        let text: String = run.iter().map(|glyph| glyph.letter).collect();
        let blank = text.chars().take_while(|letter| *letter == ' ').count();
        let shown = text.trim();
        if !shown.is_empty() {
            let class = match run[0].style {
                Style::Plain => "",
                Style::Bold => " class=\"b\"",
                Style::Faint => " class=\"f\"",
            };
            let x = (column + blank) as f64 * CELL.0;
            let length = shown.chars().count() as f64 * CELL.0;
            let text = escaped(shown).replace(' ', "\u{a0}");
            let _ = write!(
                body,
                "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\"{class}>{text}</text>",
                y + 13.5
            );
        }
        column += run.len();
    }
    body.push_str("</g>");
    let typed = line.iter().filter(|glyph| glyph.at > first.at).count();
    if typed > 0 {
        let from = line.len() - typed;
        let (x, width) = (from as f64 * CELL.0, typed as f64 * CELL.0);
        // Keys come at equal intervals.
        let (start, end) = (first.at, last.at);
        let _ = write!(
            style,
            "@keyframes k{row}{{0%{{opacity:0}}{}{{opacity:1;transform:none;animation-timing-function:steps({typed})}}\
             {}{{opacity:0;transform:translateX({width:.1}px)}}}}",
            percent(start),
            percent(end),
        );
        let _ = write!(
            body,
            "<g class=\"k\" style=\"animation-name:k{row}\"><rect class=\"p\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" \
             height=\"{}\"/><rect class=\"c\" x=\"{x:.1}\" y=\"{y}\" width=\"{}\" height=\"{}\"/></g>",
            CELL.1, CELL.0, CELL.1
        );
    }
    body.push('\n');
}

/// The lines of all that was written, broken where the terminal is.
fn lines(cast: &Cast) -> Result<Vec<Vec<Glyph>>> {
    let mut lines = vec![Vec::new()];
    let mut style = Style::Plain;
    for (at, written) in &cast.events {
        let mut rest = written.as_str();
        while let Some(letter) = rest.chars().next() {
            if let Some((code, after)) = rest.strip_prefix("\u{1b}[").and_then(|rest| rest.split_once('m')) {
                style = match code {
                    "0" => Style::Plain,
                    "1" => Style::Bold,
                    "2" => Style::Faint,
                    _ => bail!("the cast has a control sequence that is not drawn: ESC [ {code} m"),
                };
                rest = after;
                continue;
            }
            if let Some(after) = rest.strip_prefix("\r\n") {
                lines.push(Vec::new());
                rest = after;
                continue;
            }
            if letter.is_control() {
                bail!("the cast has a control character that is not drawn: {letter:?}");
            }
            if lines.last().is_some_and(|line| line.len() == cast.size.0) {
                lines.push(Vec::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push(Glyph { letter, at: *at, style });
            }
            rest = &rest[letter.len_utf8()..];
        }
    }
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    Ok(lines)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast() -> Cast {
        let mut cast = Cast::new("a < b", (10, 3));
        cast.typed("$ ", "ls");
        cast.print("one & two\nthree\nfour\n");
        cast.pause(1.0);
        cast
    }

    #[test]
    fn text_comes_in_its_time_and_moves_up() {
        let mut cast = cast();
        let at = cast.events.last().unwrap().0;
        cast.now = 4.0 * at;
        let svg = render(&cast).unwrap();
        for part in ["aria-label=\"a &lt; b\"", ">one\u{a0}&amp;\u{a0}two</text>", "class=\"b\">ls</text>", "steps(2)"]
        {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        // Four lines in three rows: one move, when the last three lines come.
        assert!(svg.contains("@keyframes up{0%{transform:none}25.00%{transform:translateY(-18px)}}"), "{svg}");
    }

    #[test]
    fn long_lines_are_broken_and_jumping_cursors_are_refused() {
        let mut long = cast();
        long.print("0123456789ab\n");
        let svg = render(&long).unwrap();
        assert!(svg.contains(">0123456789</text>") && svg.contains(">ab</text>"), "{svg}");
        let mut jumps = cast();
        jumps.print("\u{1b}[2J");
        assert!(render(&jumps).unwrap_err().to_string().contains("control"));
    }
}
