//! What of a page's HTML or Markdown matters to its links: where they lead, and what they can lead to.

/// The attributes of all tags of a page, in their order, as name and value. Scripts, styles and comments have none.
pub fn attributes(html: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let tag = tag(rest);
        take(&rest[1..tag], &mut found);
        let raw = ["script", "style"].into_iter().find(|name| rest[1..].starts_with(name));
        rest = &rest[tag..];
        if let Some(end) = raw.and_then(|name| rest.find(&format!("</{name}"))) {
            rest = &rest[end..];
        }
    }
    found
}

/// How long a tag is, up to its `>`; one may stand within quotes.
fn tag(text: &str) -> usize {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '>' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

fn take(tag: &str, found: &mut Vec<(String, String)>) {
    let mut parts = tag.split('"');
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if let Some(name) = name.strip_suffix('=').and_then(|name| name.split_whitespace().last()) {
            found.push((name.to_owned(), value.replace("&amp;", "&").replace("&#x27;", "'")));
        }
    }
}

/// Where the links of a Markdown text lead: `[words](there)`, but not within code.
pub fn links(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        // Between backticks stands code: every second part.
        let prose: String = line.split('`').step_by(2).collect();
        for part in prose.split("](").skip(1) {
            found.extend(part.split_once(')').map(|(link, _)| link.to_owned()));
        }
    }
    found
}

/// A URL of another place, as far as can be said without asking there: a scheme, a host of letters that hosts have, no blanks.
pub fn is_well_formed(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-.:[]".contains(letter);
    ["http", "https"].contains(&scheme)
        && !host.is_empty()
        && host.chars().all(is_plain)
        && !url.contains(char::is_whitespace)
}

/// A text of a URL with `%20` and the like as what they stand for.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_those_of_tags() {
        let html = "<!-- <a href=\"no\"> --><a class=\"x\" href=\"a?b=1&amp;c\">href=\"no\"</a><script>\"<a href='no'>\"</script><p id=\"1 > 0\">";
        let found = attributes(html);
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, [("class", "x"), ("href", "a?b=1&c"), ("id", "1 > 0")]);
    }

    #[test]
    fn links_are_not_looked_for_in_code() {
        let text = "[a](b.md#c) and `[d](e)`, [`f`](g)\n```sh\n[h](i)\n```\n![j](k.png)\n";
        assert_eq!(links(text), ["b.md#c", "g", "k.png"]);
    }

    #[test]
    fn urls_have_a_host() {
        assert!(is_well_formed("https://a-b.example:80/c?d#e"));
        for wrong in ["https://", "https:///x", "ftp://a", "http://a b", "https://a.b/c d", "a.b"] {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
        assert_eq!(decoded("a%20b%C3%A9%"), "a bé%");
    }
}
