//! How is untrusted JSON parsed? Duplicate members are rejected at every level (RFC 7515 section 4, RFC 8725 section
//! 2.4), because two parsers could pick different values.

use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// The maximum nesting of objects and arrays; real tokens have three or four levels.
pub const DEPTH_MAX: usize = 16;

/// Why a text is not an acceptable JSON object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("not JSON, a member twice, or nested deeper than {DEPTH_MAX}: {0}")]
    Text(String),
    #[error("not a JSON object")]
    NotAnObject,
}

/// Parses `bytes` as one JSON object (RFC 8259).
///
/// # Errors
/// `bytes` are not exactly one JSON object in UTF-8, an object at any level has two members of one name, the nesting is
/// deeper than [`DEPTH_MAX`], or a number is out of range.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    Members::parse(bytes).map(|members| members.to_map())
}

/// The members of a parsed JSON object. Texts without escapes borrow from the input: with a heap allocation for each
/// text and each name, parsing took three times as long.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

/// A parsed JSON value.
#[derive(Debug)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Members<'a>),
}

impl<'a> Members<'a> {
    /// Parses `bytes` as one JSON object.
    ///
    /// # Errors
    /// Those of [`object`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = ValueSeed { depth_left: DEPTH_MAX }
            .deserialize(&mut deserializer)
            .and_then(|value| deserializer.end().map(|()| value))
            .map_err(|error| JsonError::Text(error.to_string()))?;
        match value {
            Json::Object(members) => Ok(members),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
                Err(JsonError::NotAnObject)
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    fn to_map(&self) -> Map<String, Value> {
        let members = self.0.iter();
        members
            .map(|(name, value)| (name.to_string(), value.to_value()))
            .collect()
    }

    /// Returns whether two members have the same name.
    fn has_duplicate(&self) -> bool {
        // Compare each pair of the few members of a usual token. A hostile token may have thousands of members.
        const FEW: usize = 16;
        let names = || self.0.iter().map(|(name, _)| &**name);
        if self.0.len() <= FEW {
            return (1..self.0.len()).any(|end| names().take(end).any(|name| name == self.0[end].0));
        }
        let mut seen = BTreeSet::new();
        !names().all(|name| seen.insert(name))
    }
}

impl Json<'_> {
    /// Returns the same value as an owned `Value`.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => Value::Number(value.clone()),
            Self::Text(value) => Value::String(value.to_string()),
            Self::Array(values) => values.iter().map(Self::to_value).collect(),
            Self::Object(members) => Value::Object(members.to_map()),
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }
}

/// Parses one value with at most `depth_left` levels of objects and arrays.
#[derive(Clone, Copy)]
struct ValueSeed {
    depth_left: usize,
}

impl ValueSeed {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Json<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let inner = self.inner()?;
        // Reserve room for the claims of a usual token, but not in inner objects: a hostile token can have thousands of
        // empty objects.
        let room = if self.depth_left == DEPTH_MAX { MEMBERS_USUAL } else { 0 };
        let mut object = Members(Vec::with_capacity(room));
        while let Some(name) = members.next_key_seed(NameSeed)? {
            object.0.push((name, members.next_value_seed(inner)?));
        }
        // The message does not repeat the name: it is untrusted text.
        if object.has_duplicate() {
            return Err(A::Error::custom("a member stands twice"));
        }
        Ok(Json::Object(object))
    }
}

/// The number of claims in most tokens.
const MEMBERS_USUAL: usize = 8;

/// Parses the name of a member.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, accepted: bool) {
        assert_eq!(object(text.as_bytes()).is_ok(), accepted, "{text:.80}");
    }

    #[test]
    fn s023_duplicate_members_are_refused_at_every_level() {
        check(r#"{"a":1,"b":1}"#, true);
        check(r#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#, true);
        check(r#"{"a":1,"a":1}"#, false);
        check(r#"{"a":1,"\u0061":2}"#, false);
        check(r#"{"x":{"a":1,"a":2}}"#, false);
        check(r#"{"x":[[{"a":null,"a":null}]]}"#, false);
    }

    #[test]
    fn s023_duplicate_members_are_refused_however_many_there_are() {
        for count in [2, 15, 16, 17, 40] {
            for (double, accepted) in [(false, true), (true, false)] {
                let last = if double { 0 } else { count - 1 };
                let members: Vec<String> = (0..count - 1)
                    .chain([last])
                    .map(|name| format!("\"{name}\":1"))
                    .collect();
                check(&format!("{{{}}}", members.join(",")), accepted);
            }
        }
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        for bad in [
            "",
            " ",
            "[]",
            "1",
            "null",
            "\"a\"",
            "{}{}",
            "{} x",
            "{",
            "{'a':1}",
            "{\"a\":1,}",
            "\u{feff}{}",
        ] {
            check(bad, false);
        }
        assert!(object(b"{\"a\":\"\xFF\"}").is_err());
        assert!(object(br#"{"a":"\ud800"}"#).is_err());
        check(" {} \r\n", true);
    }

    #[test]
    fn only_text_reads_as_text() {
        let text = br#"{"a":"x","b":"\u0079","c":1,"d":["x"],"e":{"a":"x"},"f":null}"#;
        let members = Members::parse(text).unwrap();
        let texts = ["a", "b", "c", "d", "e", "f"].map(|name| members.get(name).unwrap().as_str());
        assert_eq!(texts, [Some("x"), Some("y"), None, None, None, None]);
        assert!(members.get("g").is_none());
    }

    #[test]
    fn s025_depth_is_bounded_from_both_sides() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        check(&nested(16), true);
        check(&nested(17), false);
        check(&nested(10_000), false);
        check(&"{\"a\":".repeat(10_000), false);
        check(&"[".repeat(1_000_000), false);
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = object(&bytes);
        }

        #[test]
        fn an_object_reads_as_serde_json_reads_it(text in r#"\{("[ab]":([0-9]{1,3}|"[a-z]*"|\[(1,2)?\]|\{"c":null\}))(,"[cde]":true){0,2}\}"#) {
            if let Ok(members) = object(text.as_bytes()) {
                prop_assert_eq!(Value::Object(members), serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
