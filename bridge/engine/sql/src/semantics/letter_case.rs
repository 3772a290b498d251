//! Upper and lower case as DuckDB has them: one character for one character, by Unicode's simple
//! mappings, where Rust's full ones may answer several.

/// The text in upper case.
pub(super) fn upper(text: &str) -> String {
    text.chars().map(upper_char).collect()
}

/// The text in lower case.
pub(super) fn lower(text: &str) -> String {
    text.chars().map(lower_char).collect()
}

fn upper_char(c: char) -> char {
    match c {
        'ß' => 'ẞ',
        c => single(c, c.to_uppercase()),
    }
}

fn lower_char(c: char) -> char {
    match c {
        'İ' => 'i',
        c => single(c, c.to_lowercase()),
    }
}

/// The mapping if it is one character.
fn single(c: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(mapped), None) => mapped,
        _ => c,
    }
}
