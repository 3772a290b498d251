//! Lines of `COPY … TO STDOUT` in text format.
//!
//! Source: PostgreSQL's manual, COPY, "Text Format": values are separated by tabs, NULL is `\N`, and
//! backslash sequences stand for control characters.

/// Takes a line apart.
#[derive(Debug, Default)]
pub(crate) struct Line {
    unescaped: Vec<u8>,
    /// Where each value is; `None` for NULL.
    fields: Vec<Option<Place>>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Line(usize, usize),
    Unescaped(usize, usize),
}

impl Line {
    /// The values of a line, without its end.
    pub fn values<'a>(&'a mut self, line: &'a [u8]) -> impl Iterator<Item = Option<&'a [u8]>> {
        self.unescaped.clear();
        self.fields.clear();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut start = 0;
        loop {
            let length = line[start..].iter().position(|byte| *byte == b'\t');
            let end = length.map_or(line.len(), |length| start + length);
            let field = &line[start..end];
            self.fields.push(match field {
                b"\\N" => None,
                plain if !plain.contains(&b'\\') => Some(Place::Line(start, end)),
                escaped => {
                    let from = self.unescaped.len();
                    unescape(escaped, &mut self.unescaped);
                    Some(Place::Unescaped(from, self.unescaped.len()))
                }
            });
            if length.is_none() {
                break;
            }
            start = end + 1;
        }
        let unescaped = &self.unescaped;
        self.fields.iter().map(move |field| {
            field.map(|place| match place {
                Place::Line(from, to) => &line[from..to],
                Place::Unescaped(from, to) => &unescaped[from..to],
            })
        })
    }
}

fn unescape(field: &[u8], into: &mut Vec<u8>) {
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            into.push(*byte);
            continue;
        }
        into.push(match bytes.next() {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 11,
            Some(other) => *other,
            None => b'\\',
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(line: &[u8]) -> Vec<Option<Vec<u8>>> {
        Line::default().values(line).map(|value| value.map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn lines_are_taken_apart() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(values(b"1\ta b\t\\N\n"), [text("1"), text("a b"), None]);
        assert_eq!(values(b"\n"), [text("")]);
        assert_eq!(values(b"\t"), [text(""), text("")]);
        assert_eq!(values(b"a\\tb\\\\N\\n\\b\\f\\r\\v\tx"), [text("a\tb\\N\n\u{8}\u{c}\r\u{b}"), text("x")]);
        assert_eq!(values(b"\\\\N\t\\"), [text("\\N"), text("\\")]);
    }

    #[test]
    fn a_line_is_used_again() {
        let mut line = Line::default();
        assert_eq!(line.values(b"a\\\\\tb").count(), 2);
        assert_eq!(line.values(b"c").collect::<Vec<_>>(), [Some(&b"c"[..])]);
    }
}
