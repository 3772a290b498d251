//! The further options of `ATTACH`, as a pipeline file gives them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::quote_literal;

/// The value of an `ATTACH` option.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum AttachValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
}

/// The options as they stand in the parentheses of `ATTACH`. `reserved` are the names that the caller
/// sets itself, each with the reason that the refusal gives.
pub fn attach_options(
    options: &BTreeMap<String, AttachValue>,
    reserved: &[(&str, &str)],
) -> Result<Vec<String>, String> {
    let option = |(key, value): (&String, &AttachValue)| {
        let name = key.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!("attach option `{key}` is not a name"));
        }
        if let Some((_, why)) = reserved.iter().find(|(reserved, _)| *reserved == name) {
            return Err(format!("attach option `{key}` cannot be set: {why}"));
        }
        let value = match value {
            AttachValue::Bool(value) => value.to_string(),
            AttachValue::Integer(value) => value.to_string(),
            AttachValue::Text(value) => quote_literal(value),
        };
        Ok(format!("{name} {value}"))
    };
    options.iter().map(option).collect()
}

/// The values that must not be shown.
pub fn secrets_of_options(options: &BTreeMap<String, AttachValue>) -> Vec<String> {
    let telling = ["password", "secret", "key", "token"];
    let secret = |(key, value): (&String, &AttachValue)| match value {
        AttachValue::Text(text) if telling.iter().any(|word| key.to_ascii_lowercase().contains(word)) => {
            Some(text.clone())
        }
        _ => None,
    };
    options.iter().filter_map(secret).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_quoted_and_reserved_ones_refused_with_the_reason() {
        let options = |pairs: &[(&str, AttachValue)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
        };
        let text = |text: &str| AttachValue::Text(text.to_owned());
        let given = options(&[
            ("META_threads", AttachValue::Integer(2)),
            ("encrypted", AttachValue::Bool(true)),
            ("x", text("it's")),
            ("meta_password", text("hush")),
        ]);
        let reserved = [("type", "it is a DuckLake")];
        let written = attach_options(&given, &reserved).unwrap();
        assert_eq!(written, ["meta_threads 2", "encrypted true", "meta_password 'hush'", "x 'it''s'"]);
        assert_eq!(secrets_of_options(&given), ["hush"]);
        let refusal = attach_options(&options(&[("TYPE", text("x"))]), &reserved).unwrap_err();
        assert_eq!(refusal, "attach option `TYPE` cannot be set: it is a DuckLake");
        assert!(attach_options(&options(&[("a b", text("x"))]), &[]).unwrap_err().contains("is not a name"));
    }
}
