//! Values that stand in a file's path: `/name=value/`, as DuckDB reads them.

/// What stands for NULL in paths that Hive made.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The value of a name, still escaped. A part with two equality signs or a question mark is none; the first of two
/// parts with one name counts.
pub(super) fn value<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let (folders, _file) = path.rsplit_once('/')?;
    folders.split(['/', '\\']).find_map(|part| match part.split_once('=') {
        Some((key, value)) if key == name && !value.contains(['=', '?', '\n']) && !key.contains(['?', '\n']) => {
            Some(value)
        }
        _ => None,
    })
}

/// Whether the value is NULL. An empty one is, unless the column is text.
pub(super) fn is_null(value: &str, is_text: bool) -> bool {
    value.eq_ignore_ascii_case("NULL") || value == NULL || (value.is_empty() && !is_text)
}

/// The value without its percent signs; one that begins no escape stays. `None` if that is not UTF-8.
pub(super) fn unescape(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let code = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_unescaped() {
        let path = "/data/p=a%20b%/q=1=2/r=/p=x/f=1.parquet";
        assert_eq!(value(path, "p").and_then(unescape).as_deref(), Some("a b%"));
        assert_eq!((value(path, "q"), value(path, "r"), value(path, "f")), (None, Some(""), None));
        assert_eq!(value(path, "P"), None);
        assert!(is_null("null", true) && is_null("__HIVE_DEFAULT_PARTITION__", true) && is_null("", false));
        assert!(!is_null("", true));
    }
}
