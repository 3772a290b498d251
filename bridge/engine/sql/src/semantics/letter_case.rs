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
        // Greek letters with an iota below have one capital.
        '\u{1F80}'..='\u{1F87}' | '\u{1F90}'..='\u{1F97}' | '\u{1FA0}'..='\u{1FA7}' => {
            char::from_u32(u32::from(c) + 8).unwrap_or(c)
        }
        '\u{1FB3}' | '\u{1FC3}' | '\u{1FF3}' => char::from_u32(u32::from(c) + 9).unwrap_or(c),
        c if is_new(c) => c,
        c => single(c, c.to_uppercase()),
    }
}

/// Letters whose other case came with Unicode 16 and 17, which DuckDB does not know.
fn is_new(c: char) -> bool {
    matches!(c,
        '\u{19B}' | '\u{264}' | '\u{1C89}' | '\u{1C8A}' | '\u{A7CB}'..='\u{A7CF}' | '\u{A7D2}'..='\u{A7D5}'
        | '\u{A7DA}'..='\u{A7DC}' | '\u{10D50}'..='\u{10D65}' | '\u{10D70}'..='\u{10D85}'
        | '\u{16EA0}'..='\u{16EB8}' | '\u{16EBB}'..='\u{16ED3}')
}

fn lower_char(c: char) -> char {
    match c {
        c if is_new(c) => c,
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
