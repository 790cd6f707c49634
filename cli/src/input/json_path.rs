//! Finds one field in a JSON text without building the rest: `.tail`, `.order.id`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_error::JsonError;

/// Names of fields, from the outermost object inwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonPath {
    names: Vec<String>,
}

/// Why a text gives no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathFault {
    /// The text is not JSON.
    #[error("not JSON: {0}")]
    NotJson(JsonError),
    /// There is no such field.
    #[error("no field {0}")]
    Missing(JsonPath),
    /// The field holds something that is no key.
    #[error("the field {path} is {found}, neither text nor a number")]
    NoKey {
        /// Which field.
        path: JsonPath,
        /// What it holds.
        found: &'static str,
    },
}

impl JsonPath {
    /// Returns what the field holds: the text of a string, or a number as it is written.
    ///
    /// The last one counts where a field occurs twice, as with most readers of JSON.
    ///
    /// # Errors
    ///
    /// [`PathFault`]; the whole text is checked, not only what comes before the field.
    pub(crate) fn find<'a>(&self, json: &'a [u8]) -> Result<Cow<'a, str>, PathFault> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let found = Step { names: &self.names }
            .deserialize(&mut deserializer)
            .and_then(|found| deserializer.end().map(|()| found))
            .map_err(not_json)?;
        let raw = found.ok_or_else(|| PathFault::Missing(self.clone()))?.get();
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::Deserializer::from_str(raw)
                .deserialize_str(TextVisitor)
                .map_err(not_json),
            Some(b'-' | b'0'..=b'9') => Ok(Cow::Borrowed(raw)),
            other => Err(PathFault::NoKey {
                path: self.clone(),
                found: match other {
                    Some(b'{') => "an object",
                    Some(b'[') => "a list",
                    Some(b'n') => "null",
                    _ => "a truth value",
                },
            }),
        }
    }
}

fn not_json(error: serde_json::Error) -> PathFault {
    PathFault::NotJson(error.into())
}

impl FromStr for JsonPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.strip_prefix('.').map(|names| names.split('.'));
        match names {
            Some(names) if names.clone().all(|name| !name.is_empty()) => Ok(Self {
                names: names.map(str::to_owned).collect(),
            }),
            _ => Err("a field has the form .name or .outer.inner".to_owned()),
        }
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

/// One value on the way to the field.
struct Step<'p> {
    names: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.names.is_empty() {
            <&RawValue as serde::Deserialize>::deserialize(deserializer).map(Some)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

/// Goes on in an object; whatever is no object does not have the field.
impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((name, inner)) = self.names.split_first() else {
            return Ok(None);
        };
        let mut found = None;
        while let Some(is_wanted) = map.next_key_seed(NameIs(name))? {
            if is_wanted {
                found = map.next_value_seed(Step { names: inner })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Compares a name without keeping it.
struct NameIs<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for NameIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

/// A string, borrowed where nothing in it is escaped.
struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
