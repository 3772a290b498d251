//! Functions of texts. Positions count characters (code points), from 1.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};

use super::bound::{Bound, Kind};
use super::call::{Answer, Arguments, Kernel, call};
use super::cast::texts;
use super::function::Tried;
use super::letter_case::{lower, upper};
use crate::error::Refusal;
use crate::explain::type_name;

pub(super) fn bind(name: &str, args: Vec<Bound>) -> Tried {
    use DataType::{Boolean, Int64, Utf8};
    let (text, int) = (Utf8, Int64);
    let count = args.len();
    Ok(Ok(match (name, count) {
        ("length" | "char_length" | "character_length", 1) => typed("length", length, args, &[text], int)?,
        ("strlen", 1) => typed("strlen", strlen, args, &[text], int)?,
        ("upper" | "ucase", 1) => typed("upper", |a| map(a, upper), args, &[text], Utf8)?,
        ("lower" | "lcase", 1) => typed("lower", |a| map(a, lower), args, &[text], Utf8)?,
        ("trim" | "ltrim" | "rtrim", 1 | 2) => {
            let (name, kernel): (&'static str, Kernel) = match name {
                "trim" => ("trim", |a| trim(a, true, true)),
                "ltrim" => ("ltrim", |a| trim(a, true, false)),
                _ => ("rtrim", |a| trim(a, false, true)),
            };
            typed(name, kernel, args, &[text.clone(), text][..count], Utf8)?
        }
        ("substring" | "substr", 2 | 3) => {
            typed("substring", substring, args, &[text, int.clone(), int][..count], Utf8)?
        }
        ("left", 2) => typed("left", |a| side(a, true), args, &[text, int], Utf8)?,
        ("right", 2) => typed("right", |a| side(a, false), args, &[text, int], Utf8)?,
        ("replace", 3) => typed("replace", replace, args, &[text.clone(), text.clone(), text], Utf8)?,
        ("#concat", 2) if args.iter().any(Bound::is_null) => Bound::null(),
        ("#concat", 2) => {
            let args = args.into_iter().map(printed).collect::<Result<Vec<_>, _>>()?;
            typed("concat_operator", concat_operator, args, &[text.clone(), text], Utf8)?
        }
        ("concat", 1..) => {
            let args = args.into_iter().map(printed).collect::<Result<Vec<_>, _>>()?;
            typed("concat", concat, args, &vec![text; count], Utf8)?
        }
        ("concat_ws", 2..) => {
            let args = args.into_iter().map(printed).collect::<Result<Vec<_>, _>>()?;
            typed("concat_ws", concat_ws, args, &vec![text; count], Utf8)?
        }
        ("strpos" | "instr" | "position", 2) => typed("strpos", strpos, args, &[text.clone(), text], int)?,
        ("contains", 2) => typed("contains", |a| test(a, |t, p| t.contains(p)), args, &[text.clone(), text], Boolean)?,
        ("starts_with" | "prefix", 2) => {
            typed("starts_with", |a| test(a, |t, p| t.starts_with(p)), args, &[text.clone(), text], Boolean)?
        }
        ("ends_with" | "suffix", 2) => {
            typed("ends_with", |a| test(a, |t, p| t.ends_with(p)), args, &[text.clone(), text], Boolean)?
        }
        ("repeat", 2) => typed("repeat", repeat, args, &[text, int], Utf8)?,
        ("lpad", 3) => typed("lpad", |a| pad(a, true), args, &[text.clone(), int, text], Utf8)?,
        ("rpad", 3) => typed("rpad", |a| pad(a, false), args, &[text.clone(), int, text], Utf8)?,
        ("split_part", 3) => typed("split_part", split_part, args, &[text.clone(), text, int], Utf8)?,
        ("#like", 2 | 3) => like("like", args, |a| like_kernel(a, false))?,
        ("#ilike", 2 | 3) => like("ilike", args, |a| like_kernel(a, true))?,
        (
            "length" | "upper" | "lower" | "trim" | "substring" | "left" | "right" | "replace" | "concat" | "concat_ws",
            _,
        ) => {
            return Err(Refusal::new(format!("{name} does not take {count} arguments")));
        }
        _ => return Ok(Err(args)),
    }))
}

/// A call whose arguments must have these types; integers may be of any width.
fn typed(
    name: &'static str,
    kernel: Kernel,
    args: Vec<Bound>,
    types: &[DataType],
    return_type: DataType,
) -> Result<Bound, Refusal> {
    let mut exprs = Vec::with_capacity(args.len());
    for (arg, expected) in args.into_iter().zip(types) {
        let fits = arg.kind == Kind::Plain
            && match expected {
                DataType::Int64 => arg.data_type.is_integer() || arg.is_null(),
                expected => arg.data_type == *expected || arg.is_null(),
            };
        if !fits {
            return Err(Refusal::new(format!(
                "{} of {} is not supported: cast it to {}",
                name.trim_end_matches("_operator"),
                type_name(&arg.data_type),
                type_name(expected)
            )));
        }
        exprs.push(arg.to(expected)?);
    }
    Ok(call(name, kernel, exprs, return_type))
}

/// The value as VARCHAR, which concatenation makes of everything.
fn printed(value: Bound) -> Result<Bound, Refusal> {
    if value.is_null() || (value.data_type == DataType::Utf8 && value.kind == Kind::Plain) {
        return Ok(value);
    }
    super::cast::cast(value, &DataType::Utf8)
}

fn map(args: &Arguments, f: fn(&str) -> String) -> Answer {
    let text = args.text(0);
    Ok(texts((0..args.rows).map(|row| text.get(row).map(f))))
}

fn length(args: &Arguments) -> Answer {
    let text = args.text(0);
    let count = |t: &str| t.chars().count() as i64;
    Ok(Arc::new((0..args.rows).map(|row| text.get(row).map(count)).collect::<Int64Array>()))
}

fn strlen(args: &Arguments) -> Answer {
    let text = args.text(0);
    Ok(Arc::new((0..args.rows).map(|row| text.get(row).map(|t| t.len() as i64)).collect::<Int64Array>()))
}

fn test(args: &Arguments, f: fn(&str, &str) -> bool) -> Answer {
    let (text, other) = (args.text(0), args.text(1));
    let test = |row| Some(f(text.get(row)?, other.get(row)?));
    Ok(Arc::new((0..args.rows).map(test).collect::<BooleanArray>()))
}

fn trim(args: &Arguments, start: bool, end: bool) -> Answer {
    let text = args.text(0);
    let given = (args.len() == 2).then(|| args.text(1));
    let trimmed = |row| {
        let mut text = text.get(row)?;
        let characters = match &given {
            Some(given) => given.get(row)?,
            None => " ",
        };
        let drop = |c: char| characters.contains(c);
        if start {
            text = text.trim_start_matches(drop);
        }
        if end {
            text = text.trim_end_matches(drop);
        }
        Some(text.to_owned())
    };
    Ok(texts((0..args.rows).map(trimmed)))
}

/// Refuses places and lengths that DuckDB does not take, in rows where all arguments are there.
fn in_range(args: &Arguments, least: i64) -> Result<(), String> {
    let text = args.text(0);
    let numbers: Vec<_> = (1..args.len()).map(|i| args.primitive::<Int64Type>(i)).collect();
    let range = least..=i64::from(u32::MAX);
    for row in (0..args.rows).filter(|row| text.get(*row).is_some()) {
        let values: Option<Vec<i64>> = numbers.iter().map(|n| n.get(row)).collect();
        if values.is_some_and(|values| values.iter().any(|value| !range.contains(value))) {
            return Err("a place or length in a text is more than 4294967295: use a smaller one".to_owned());
        }
    }
    Ok(())
}

/// DuckDB's substring: a negative start counts from the end, a negative length goes backwards.
fn substring(args: &Arguments) -> Answer {
    in_range(args, -i64::from(u32::MAX) - 1)?;
    let (text, start) = (args.text(0), args.primitive::<Int64Type>(1));
    let length = (args.len() == 3).then(|| args.primitive::<Int64Type>(2));
    let cut = |row| {
        let (text, start) = (text.get(row)?, i128::from(start.get(row)?));
        let length = match &length {
            Some(length) => i128::from(length.get(row)?),
            None => i128::from(u32::MAX),
        };
        let size = text.chars().count() as i128;
        let (from, to) = match start {
            0 => (0, length - 1),
            s if s > 0 => (s - 1, s - 1 + length),
            s => (size + s, size + s + length),
        };
        let (from, to) = if length < 0 { (to, from) } else { (from, to) };
        let (from, to) = (from.clamp(0, size), to.clamp(0, size));
        Some(text.chars().skip(from as usize).take((to - from).max(0) as usize).collect())
    };
    Ok(texts((0..args.rows).map(cut)))
}

fn side(args: &Arguments, left: bool) -> Answer {
    if left {
        in_range(args, i64::MIN)?;
    }
    let (text, count) = (args.text(0), args.primitive::<Int64Type>(1));
    let cut = |row| {
        let (text, count) = (text.get(row)?, i128::from(count.get(row)?));
        let size = text.chars().count() as i128;
        let kept = if count < 0 { (size + count).max(0) } else { count.min(size) };
        let skip = if left { 0 } else { size - kept };
        Some(text.chars().skip(skip as usize).take(kept as usize).collect())
    };
    Ok(texts((0..args.rows).map(cut)))
}

fn replace(args: &Arguments) -> Answer {
    let (text, from, to) = (args.text(0), args.text(1), args.text(2));
    let replaced = |row| {
        let (text, from, to) = (text.get(row)?, from.get(row)?, to.get(row)?);
        Some(if from.is_empty() { text.to_owned() } else { text.replace(from, to) })
    };
    Ok(texts((0..args.rows).map(replaced)))
}

fn concat_operator(args: &Arguments) -> Answer {
    let (a, b) = (args.text(0), args.text(1));
    Ok(texts((0..args.rows).map(|row| Some(format!("{}{}", a.get(row)?, b.get(row)?)))))
}

fn concat(args: &Arguments) -> Answer {
    let parts: Vec<_> = (0..args.len()).map(|i| args.text(i)).collect();
    Ok(texts((0..args.rows).map(|row| Some(parts.iter().filter_map(|p| p.get(row)).collect()))))
}

fn concat_ws(args: &Arguments) -> Answer {
    let separator = args.text(0);
    let parts: Vec<_> = (1..args.len()).map(|i| args.text(i)).collect();
    let joined = |row| {
        let present: Vec<&str> = parts.iter().filter_map(|p| p.get(row)).collect();
        Some(present.join(separator.get(row)?))
    };
    Ok(texts((0..args.rows).map(joined)))
}

fn strpos(args: &Arguments) -> Answer {
    let (text, part) = (args.text(0), args.text(1));
    let position = |row| {
        let (text, part) = (text.get(row)?, part.get(row)?);
        Some(text.find(part).map_or(0, |at| text[..at].chars().count() as i64 + 1))
    };
    Ok(Arc::new((0..args.rows).map(position).collect::<Int64Array>()))
}

fn repeat(args: &Arguments) -> Answer {
    let (text, count) = (args.text(0), args.primitive::<Int64Type>(1));
    let mut answer = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        answer.push(match (text.get(row), count.get(row)) {
            (Some(text), Some(count)) => {
                let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
                if text.len().saturating_mul(count) > 1 << 30 {
                    return Err("repeat makes a text of more than 1 GiB: filter such rows".to_owned());
                }
                Some(text.repeat(count))
            }
            _ => None,
        });
    }
    Ok(texts(answer.into_iter()))
}

fn pad(args: &Arguments, left: bool) -> Answer {
    let (text, size, fill) = (args.text(0), args.primitive::<Int64Type>(1), args.text(2));
    let mut answer = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        let (Some(text), Some(size), Some(fill)) = (text.get(row), size.get(row), fill.get(row)) else {
            answer.push(None);
            continue;
        };
        let size = usize::try_from(size.max(0)).unwrap_or(usize::MAX);
        if size > 1 << 28 {
            return Err("padding makes a text of more than 1 GiB: filter such rows".to_owned());
        }
        let length = text.chars().count();
        if size > length && fill.is_empty() {
            return Err("padding with an empty text: give characters to pad with".to_owned());
        }
        let padding = fill.chars().cycle().take(size.saturating_sub(length));
        let kept = text.chars().take(size);
        answer.push(Some(if left { padding.chain(kept).collect() } else { kept.chain(padding).collect() }));
    }
    Ok(texts(answer.into_iter()))
}

fn split_part(args: &Arguments) -> Answer {
    let (text, separator, index) = (args.text(0), args.text(1), args.primitive::<Int64Type>(2));
    let mut answer = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        let (Some(text), Some(separator), Some(index)) = (text.get(row), separator.get(row), index.get(row)) else {
            answer.push(None);
            continue;
        };
        if separator.is_empty() {
            return Err("split_part by an empty separator: use substring".to_owned());
        }
        let parts: Vec<&str> = text.split(separator).collect();
        let count = parts.len() as i64;
        let at = if index < 0 { count.checked_add(index) } else { index.checked_sub(1) };
        let part = at.and_then(|at| usize::try_from(at).ok()).and_then(|at| parts.get(at).copied());
        answer.push(Some(part.unwrap_or("").to_owned()));
    }
    Ok(texts(answer.into_iter()))
}

fn like(name: &'static str, args: Vec<Bound>, kernel: Kernel) -> Result<Bound, Refusal> {
    if let Some(escape) = args.get(2) {
        if escape.as_text().is_none_or(|e| e.chars().count() != 1) {
            return Err(Refusal::new("ESCAPE takes one character"));
        }
        if args[1].as_text().is_none_or(|pattern| !complete(pattern, escape.as_text())) {
            return Err(Refusal::new(
                "a LIKE pattern with ESCAPE is written out and does not end with the escape character",
            ));
        }
        if name == "ilike" {
            return Err(Refusal::new("ILIKE with ESCAPE is not supported: use lower(…) LIKE"));
        }
    }
    let types = vec![DataType::Utf8; args.len()];
    typed(name, kernel, args, &types, DataType::Boolean)
}

fn complete(pattern: &str, escape: Option<&str>) -> bool {
    let escape = escape.and_then(|e| e.chars().next());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        if Some(c) == escape && characters.next().is_none() {
            return false;
        }
    }
    true
}

/// Without ESCAPE no character of a pattern is special but `%` and `_`.
fn like_kernel(args: &Arguments, any_case: bool) -> Answer {
    let (text, pattern) = (args.text(0), args.text(1));
    let escape = if args.len() == 3 { args.text(2).get(0).and_then(|e| e.chars().next()) } else { None };
    let compile = |p: &str| if any_case { Pattern::new(&lower(p), escape) } else { Pattern::new(p, escape) };
    let constant = if pattern.constant { Some(pattern.get(0).map(compile)) } else { None };
    let matches = |row| {
        let text = text.get(row)?;
        let own;
        let pattern = match &constant {
            Some(constant) => constant.as_ref()?,
            None => {
                own = compile(pattern.get(row)?);
                &own
            }
        };
        Some(if any_case { pattern.matches(&lower(text)) } else { pattern.matches(text) })
    };
    Ok(Arc::new((0..args.rows).map(matches).collect::<BooleanArray>()))
}

/// A LIKE pattern: pieces of single characters between the `%`.
struct Pattern(Vec<Vec<Option<char>>>);

impl Pattern {
    fn new(pattern: &str, escape: Option<char>) -> Self {
        let mut pieces = vec![Vec::new()];
        let mut characters = pattern.chars();
        while let Some(c) = characters.next() {
            let piece = match c {
                '%' => {
                    pieces.push(Vec::new());
                    continue;
                }
                '_' => None,
                c if Some(c) == escape => characters.next(),
                c => Some(c),
            };
            if let Some(last) = pieces.last_mut() {
                last.push(piece);
            }
        }
        Pattern(pieces)
    }

    fn matches(&self, text: &str) -> bool {
        let fits = |piece: &[Option<char>], text: &str| -> Option<usize> {
            let mut rest = text.chars();
            for wanted in piece {
                let found = rest.next()?;
                if wanted.is_some_and(|w| w != found) {
                    return None;
                }
            }
            Some(text.len() - rest.as_str().len())
        };
        let (Some(first), rest) = (self.0.first(), &self.0[1..]) else { return text.is_empty() };
        let Some(used) = fits(first, text) else { return false };
        let mut text = &text[used..];
        let Some((last, middle)) = rest.split_last() else { return text.is_empty() };
        for piece in middle {
            let found = text
                .char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .find_map(|at| fits(piece, &text[at..]).map(|used| at + used));
            match found {
                Some(end) => text = &text[end..],
                None => return false,
            }
        }
        let length = text.chars().count();
        if length < last.len() {
            return false;
        }
        let tail: usize =
            text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(length - last.len()).unwrap_or(0);
        fits(last, &text[tail..]).is_some()
    }
}
