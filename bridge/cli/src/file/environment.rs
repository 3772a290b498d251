//! `${VAR}` and `${VAR:-default}` in the strings of the pipeline file. `$${` stands for `${`.

/// A variable that is not set and has no default, or a `${` that is not closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The text from `${` on, to find its place.
    pub reference: String,
    pub message: String,
}

/// Puts the values of variables in their places. As in a shell, a default also stands for a
/// variable that is empty.
pub fn substitute(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Unresolved> {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            resolved.push_str(&rest[..at - 1]);
            resolved.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        resolved.push_str(&rest[..at]);
        let unresolved =
            |length: usize, message: String| Unresolved { reference: rest[at..at + length].to_owned(), message };
        let Some(length) = rest[at..].find('}') else {
            return Err(unresolved(
                2,
                "`${` is not closed: write `${NAME}`, or `$${` for the two characters".to_owned(),
            ));
        };
        let inside = &rest[at + 2..at + length];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || !plain || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(unresolved(
                length,
                format!(
                    "`${{{inside}}}` does not name an environment variable: write `${{NAME}}` or `${{NAME:-default}}`"
                ),
            ));
        }
        match (variable(name), default) {
            (Some(value), Some(default)) if value.is_empty() => resolved.push_str(default),
            (Some(value), _) => resolved.push_str(&value),
            (None, Some(default)) => resolved.push_str(default),
            (None, None) => {
                let message =
                    format!("the environment variable {name} is not set: set it, or write `${{{name}:-default}}`");
                return Err(unresolved(length, message));
            }
        }
        rest = &rest[at + length + 1..];
    }
    resolved.push_str(rest);
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<String, Unresolved> {
        substitute(text, &|name| match name {
            "USER_NAME" => Some("ann".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_and_defaults() {
        assert_eq!(resolve("a ${USER_NAME}@${HOST:-localhost}:${EMPTY}").unwrap(), "a ann@localhost:");
        assert_eq!(resolve("${EMPTY:-x}${NOT_SET:-}").unwrap(), "x");
        assert_eq!(resolve("$1 $$ $${USER_NAME} {}").unwrap(), "$1 $$ ${USER_NAME} {}");
    }

    #[test]
    fn values_are_not_looked_at_again() {
        assert_eq!(substitute("${A}", &|_| Some("${B}".to_owned())).unwrap(), "${B}");
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        let missing = resolve("x ${SECRET} y").unwrap_err();
        assert_eq!(missing.reference, "${SECRET");
        assert_eq!(
            missing.message,
            "the environment variable SECRET is not set: set it, or write `${SECRET:-default}`"
        );
        assert!(resolve("${oops").unwrap_err().message.contains("not closed"));
        assert!(resolve("${}").is_err() && resolve("${a b}").is_err() && resolve("${1}").is_err());
    }
}
