//! Column lineage as a picture: from which columns of what a view reads each of its columns is computed.

use std::fmt::Write;

/// A view's columns and where they come from.
pub struct Lineage<'a> {
    pub view: &'a str,
    /// The tables and views that it reads.
    pub reads: &'a [String],
    /// Name, type and origins of each column; an origin is `table.column`.
    pub columns: Vec<(&'a str, &'a str, Vec<String>)>,
}

/// Columns of what is read, by table, in the order in which they are first needed.
fn origins<'a>(lineage: &'a Lineage<'_>) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut tables: Vec<(&str, Vec<&str>)> = lineage.reads.iter().map(|read| (read.as_str(), Vec::new())).collect();
    for origin in lineage.columns.iter().flat_map(|(_, _, origins)| origins) {
        if let Some((table, column)) = split(lineage, origin) {
            let columns = tables.iter_mut().find(|(name, _)| *name == table).map(|(_, columns)| columns);
            if let Some(columns) = columns.filter(|columns| !columns.contains(&column)) {
                columns.push(column);
            }
        }
    }
    tables
}

/// Table and column of an origin; names may have dots in them.
fn split<'a>(lineage: &'a Lineage<'_>, origin: &'a str) -> Option<(&'a str, &'a str)> {
    let of = |table: &'a String| Some((table.as_str(), origin.strip_prefix(table.as_str())?.strip_prefix('.')?));
    lineage.reads.iter().filter_map(of).max_by_key(|(table, _)| table.len())
}

/// As Mermaid draws it (<https://mermaid.js.org/syntax/flowchart.html>).
pub fn mermaid(lineage: &Lineage<'_>) -> String {
    let quoted = |text: &str| format!("\"{}\"", escaped(text).replace('"', "&quot;").replace(['\n', '\r'], " "));
    let tables = origins(lineage);
    let mut text = String::from("flowchart LR\n");
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    for (t, (table, columns)) in tables.iter().enumerate() {
        line(format!("  subgraph t{t}[{}]", quoted(table)));
        for (c, column) in columns.iter().enumerate() {
            line(format!("    t{t}c{c}[{}]", quoted(column)));
        }
        line("  end".to_owned());
    }
    line(format!("  subgraph v[{}]", quoted(lineage.view)));
    for (c, (name, of, _)) in lineage.columns.iter().enumerate() {
        line(format!("    c{c}[{}]", quoted(&format!("{name} {of}"))));
    }
    line("  end".to_owned());
    for (c, (_, _, origins)) in lineage.columns.iter().enumerate() {
        for (t, from) in edges(lineage, &tables, origins) {
            line(format!("  t{t}c{from} --> c{c}"));
        }
    }
    text
}

/// The places of origins: of the table, and of the column in it.
fn edges(lineage: &Lineage<'_>, tables: &[(&str, Vec<&str>)], origins: &[String]) -> Vec<(usize, usize)> {
    let place = |origin: &String| {
        let (table, column) = split(lineage, origin)?;
        let t = tables.iter().position(|(name, _)| *name == table)?;
        Some((t, tables[t].1.iter().position(|name| *name == column)?))
    };
    origins.iter().filter_map(place).collect()
}

const LINE: usize = 22;
const CHAR: usize = 8;
const PAD: usize = 12;
const GAP: usize = 160;

/// As a picture of its own, for light and dark pages.
pub fn svg(lineage: &Lineage<'_>) -> String {
    let tables = origins(lineage);
    let wide = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0) * CHAR + 2 * PAD;
    let left = wide(&mut tables.iter().flat_map(|(table, columns)| {
        std::iter::once(table.chars().count()).chain(columns.iter().map(|column| column.chars().count()))
    }));
    let label = |(name, of, _): &(&str, &str, Vec<String>)| format!("{name} {of}");
    let labels: Vec<String> = lineage.columns.iter().map(label).collect();
    let right = wide(&mut labels.iter().map(|text| text.chars().count()).chain([lineage.view.chars().count()]));
    let tall = |count: usize| (count + 1) * LINE + PAD;
    let left_tall: usize = tables.iter().map(|(_, columns)| tall(columns.len()) + PAD).sum();
    let (width, height) = (left + GAP + right, left_tall.max(tall(labels.len()) + PAD) + PAD);
    let at = left + GAP;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>Column lineage of {}</title>\n\
         <style>svg{{font:13px ui-monospace,monospace;color-scheme:light dark}}rect{{fill:none;stroke:#8a949e}}text{{fill:#1b2733}}\
         .name{{font-weight:bold}}path{{fill:none;stroke:#0b6b75}}\
         @media(prefers-color-scheme:dark){{text{{fill:#dfe6ec}}path{{stroke:#4fb3bf}}}}</style>\n",
        escaped(lineage.view)
    );
    let mut places: Vec<Vec<usize>> = Vec::new();
    let mut y = PAD;
    for (table, columns) in &tables {
        places.push(block(&mut text, 0, y, left, table, columns));
        y += tall(columns.len()) + PAD;
    }
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let ends = block(&mut text, at, PAD, right, lineage.view, &labels);
    for ((_, _, origins), end) in lineage.columns.iter().zip(ends) {
        for (t, c) in edges(lineage, &tables, origins) {
            let (start, middle) = (places[t][c], left + GAP / 2);
            let _ = writeln!(text, "<path d=\"M{left} {start}C{middle} {start} {middle} {end} {at} {end}\"/>");
        }
    }
    text + "</svg>\n"
}

/// A box with a name and lines; answers the height of each line's middle.
fn block(text: &mut String, x: usize, y: usize, width: usize, name: &str, lines: &[&str]) -> Vec<usize> {
    let tall = (lines.len() + 1) * LINE + PAD;
    let inside = x + PAD;
    let _ = writeln!(text, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{tall}\" rx=\"6\"/>");
    let _ = writeln!(text, "<text class=\"name\" x=\"{inside}\" y=\"{}\">{}</text>", y + LINE - 4, escaped(name));
    let middle = |line: usize| y + (line + 1) * LINE + LINE / 2;
    for (index, line) in lines.iter().enumerate() {
        let _ = writeln!(text, "<text x=\"{inside}\" y=\"{}\">{}</text>", middle(index) + 4, escaped(line));
    }
    (0..lines.len()).map(middle).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(reads: &[String]) -> Lineage<'_> {
        let from = |origins: &[&str]| origins.iter().map(|origin| (*origin).to_owned()).collect();
        Lineage {
            view: "a \"view\" <b>",
            reads,
            columns: vec![
                ("region", "VARCHAR", from(&["lake.main.c.region"])),
                ("sum", "DOUBLE", from(&["lake.main.c.x", "lake.main.c.d.y"])),
                ("one", "INTEGER", Vec::new()),
            ],
        }
    }

    #[test]
    fn names_with_dots_belong_to_the_longest_table() {
        let reads = ["lake.main.c".to_owned(), "lake.main.c.d".to_owned()];
        let expected = [
            "flowchart LR",
            "  subgraph t0[\"lake.main.c\"]",
            "    t0c0[\"region\"]",
            "    t0c1[\"x\"]",
            "  end",
            "  subgraph t1[\"lake.main.c.d\"]",
            "    t1c0[\"y\"]",
            "  end",
            "  subgraph v[\"a &quot;view&quot; &lt;b&gt;\"]",
            "    c0[\"region VARCHAR\"]",
            "    c1[\"sum DOUBLE\"]",
            "    c2[\"one INTEGER\"]",
            "  end",
            "  t0c0 --> c0",
            "  t0c1 --> c1",
            "  t1c0 --> c1",
        ];
        assert_eq!(mermaid(&lineage(&reads)).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_picture_has_a_line_for_each_origin() {
        let reads = ["lake.main.c".to_owned(), "lake.main.c.d".to_owned()];
        let picture = svg(&lineage(&reads));
        assert_eq!(picture.matches("<path ").count(), 3);
        assert!(picture.contains("a \"view\" &lt;b&gt;") && !picture.contains("<b>"), "{picture}");
        assert_eq!(picture.matches("<text").count(), 3 + 3 + 3);
    }
}
