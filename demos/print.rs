//! What every demo shows to people: headings, tables, numbers, queries and how it ended. Each demo
//! includes this file as a module.

use std::process::ExitCode;

use anyhow::Result;
use tidegate_duck::Duck;

/// A heading with a blank line before it.
pub fn heading(text: &str) {
    println!("\n== {text}\n");
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(group.iter().map(|digit| char::from(*digit)));
    }
    text
}

/// Lines of equal length as columns; the first line is the heading. Columns that hold numbers, or times in `ms` and
/// `s`, stand to the right.
pub fn table(lines: &[Vec<String>], indent: usize) {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let numeric = |column: usize| lines.iter().skip(1).all(|line| is_number(&line[column]));
    let shape: Vec<(usize, bool)> = (0..columns).map(|column| (width(column), numeric(column))).collect();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&shape).map(|(cell, (width, numeric))| match numeric {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        println!("{:indent$}{}", "", cells.collect::<Vec<_>>().join("  ").trim_end());
        if number == 0 {
            let rules = shape.iter().map(|(width, _)| "-".repeat(*width));
            println!("{:indent$}{}", "", rules.collect::<Vec<_>>().join("  "));
        }
    }
}

fn is_number(cell: &str) -> bool {
    let number = cell.strip_suffix(" ms").or_else(|| cell.strip_suffix(" s")).unwrap_or(cell);
    number.replace(',', "").parse::<f64>().is_ok()
}

/// A query and its result.
pub fn query(duck: &Duck, sql: &str) -> Result<()> {
    println!("  D {}\n", sql.replace('\n', "\n    "));
    let names: Vec<String> = duck.describe_columns(sql)?.into_iter().map(|(name, _, _)| name).collect();
    let mut statement = duck.connection().prepare(&format!("SELECT COLUMNS(*)::VARCHAR FROM ({sql})"))?;
    let mut rows = statement.query([])?;
    let mut lines = vec![names];
    while let Some(row) = rows.next()? {
        let cell = |column| Ok(row.get::<_, Option<String>>(column)?.unwrap_or_else(|| "NULL".to_owned()));
        lines.push((0..lines[0].len()).map(cell).collect::<Result<_>>()?);
    }
    table(&lines, 4);
    println!();
    Ok(())
}

/// The end of a demo: whether everything was equal where it was compared, or why it came to no end.
pub fn ended(outcome: Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("\nerror: what the bridge wrote differs from a full recompute by DuckDB");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
