//! The keys that a configuration type knows, asked of its `Deserialize`: a connector describes its
//! options once, as a struct, and unknown keys can still be met with a near match.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

/// The field names of a struct; none for anything else.
pub fn of<C: DeserializeOwned>() -> &'static [&'static str] {
    match C::deserialize(Probe) {
        Err(Answer(fields)) => fields,
        Ok(_) => &[],
    }
}

struct Probe;

/// The answer travels as the error that ends the deserialisation before it begins.
#[derive(Debug)]
struct Answer(&'static [&'static str]);

impl<'de> Deserializer<'de> for Probe {
    type Error = Answer;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Answer> {
        Err(Answer(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Answer> {
        Err(Answer(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields were asked for, not a value")
    }
}

impl std::error::Error for Answer {}

impl Error for Answer {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Answer(&[])
    }
}

#[cfg(test)]
mod tests {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only its fields are asked for")]
    struct Options {
        data_path: Option<String>,
        #[serde(default)]
        reader: String,
    }

    #[test]
    fn fields_have_their_serialised_names() {
        assert_eq!(super::of::<Options>(), ["data-path", "reader"]);
        assert!(super::of::<String>().is_empty());
    }
}
