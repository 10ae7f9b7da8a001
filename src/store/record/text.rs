//! How are types stored that print and parse? As their text; instants as milliseconds since 1970.

use serde::Deserialize;
use serde::Deserializer;
use serde::Serializer;
use serde::de::Visitor;
use std::fmt;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

/// For `#[serde(with = "crate::store::record::text")]`.
///
/// # Errors
/// An error of the serializer.
pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// # Errors
/// The text is not a `T`.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Reader(PhantomData))
}

/// Parses the text in place, so that the texts of a million records are not copied first.
struct Reader<T>(PhantomData<T>);

impl<T: FromStr<Err: Display>> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// A parsed value within an option or a list.
struct ParsedText<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for ParsedText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

/// The same for an optional value.
pub mod optional {
    use crate::store::record::text::ParsedText;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;
    use std::fmt::Display;
    use std::str::FromStr;

    /// # Errors
    /// An error of the serializer.
    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(serializer)
    }

    /// # Errors
    /// The text is not a `T`.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Ok(Option::<ParsedText<T>>::deserialize(deserializer)?.map(|ParsedText(value)| value))
    }
}

/// The same for a list.
pub mod list {
    use crate::store::record::text::ParsedText;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serializer;
    use std::fmt::Display;
    use std::str::FromStr;

    /// # Errors
    /// An error of the serializer.
    pub fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    /// # Errors
    /// A text is not a `T`.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let parsed = Vec::<ParsedText<T>>::deserialize(deserializer)?;
        Ok(parsed.into_iter().map(|ParsedText(value)| value).collect())
    }
}

/// Milliseconds since 1970.
pub mod millis {
    use crate::model::clock::Timestamp;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;

    /// # Errors
    /// An error of the serializer.
    pub fn serialize<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_unix_millis().serialize(serializer)
    }

    /// # Errors
    /// The value is not a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_unix_millis)
    }
}

/// Milliseconds since 1970, or nothing.
pub mod optional_millis {
    use crate::model::clock::Timestamp;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;

    /// # Errors
    /// An error of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Timestamp::as_unix_millis).serialize(serializer)
    }

    /// # Errors
    /// The value is not a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Timestamp::from_unix_millis))
    }
}

/// A digest, as hexadecimal digits.
pub mod digest {
    use crate::model::api_key::KeyDigest;
    use crate::model::api_key::KeyDigestError;
    use crate::store::record::text;
    use serde::Deserializer;
    use serde::Serializer;
    use std::str::FromStr;

    /// # Errors
    /// An error of the serializer.
    pub fn serialize<S: Serializer>(value: &KeyDigest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.to_hex())
    }

    /// # Errors
    /// The text is not 64 lower-case hexadecimal digits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyDigest, D::Error> {
        text::deserialize(deserializer).map(|Hex(digest)| digest)
    }

    struct Hex(KeyDigest);

    impl FromStr for Hex {
        type Err = KeyDigestError;

        fn from_str(text: &str) -> Result<Self, KeyDigestError> {
            KeyDigest::from_hex(text).map(Self)
        }
    }
}
