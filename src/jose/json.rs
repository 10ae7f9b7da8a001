//! What does a JSON text from outside say? One thing only: duplicate members are refused at every level (RFC 7515
//! section 4, RFC 8725 section 2.4), because two readers would pick different ones.

use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Map;
use serde_json::Value;
use std::fmt;

/// Objects and arrays inside one another; real tokens have three or four.
pub const DEPTH_MAX: usize = 16;

/// Why a text is not a JSON object we read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("not JSON, a member twice, or nested deeper than {DEPTH_MAX}: {0}")]
    Text(String),
    #[error("not a JSON object")]
    NotAnObject,
}

/// Parses `bytes` as one JSON object (RFC 8259) whose objects, at every level, name each member once.
///
/// # Errors
/// Anything else: other JSON values, text after the object, invalid UTF-8, numbers that fit no type, depth.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Unique { depth_left: DEPTH_MAX }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| JsonError::Text(error.to_string()))?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(JsonError::NotAnObject)
        }
    }
}

/// Reads one value that may hold `depth_left` more levels.
#[derive(Clone, Copy)]
struct Unique {
    depth_left: usize,
}

impl Unique {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            // The name is not repeated in the message: it is a stranger's text.
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(object))
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
    fn only_one_object_is_json_for_us() {
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
        fn what_is_read_is_what_serde_json_reads(text in r#"\{("[ab]":([0-9]{1,3}|"[a-z]*"|\[(1,2)?\]|\{"c":null\}))(,"[cde]":true){0,2}\}"#) {
            if let Ok(members) = object(text.as_bytes()) {
                prop_assert_eq!(Value::Object(members), serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
