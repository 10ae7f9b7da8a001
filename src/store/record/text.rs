//! How are values stored whose types print and parse? As their text; instants as milliseconds since 1970.
//!
//! Each module is for `#[serde(with = "…")]` on a field.

use serde::Deserialize;
use serde::Deserializer;
use serde::Serializer;
use serde::de::Visitor;
use std::fmt;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

/// Writes `value` as its text.
///
/// # Errors
/// An error of the serializer.
pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Parses a text.
///
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

/// An optional value, as its text or `null`.
pub mod optional {
    use crate::store::record::text::ParsedText;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;
    use std::fmt::Display;
    use std::str::FromStr;

    /// Writes the text of `value`, or `null`.
    ///
    /// # Errors
    /// An error of the serializer.
    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(serializer)
    }

    /// Parses a text or `null`.
    ///
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

/// A list of values, as their texts.
pub mod list {
    use crate::store::record::text::ParsedText;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serializer;
    use std::fmt::Display;
    use std::str::FromStr;

    /// Writes the text of each value.
    ///
    /// # Errors
    /// An error of the serializer.
    pub fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    /// Parses each text.
    ///
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

/// An instant, as milliseconds since 1970.
pub mod millis {
    use crate::model::clock::Timestamp;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;

    /// Writes milliseconds since 1970.
    ///
    /// # Errors
    /// An error of the serializer.
    pub fn serialize<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_unix_millis().serialize(serializer)
    }

    /// Reads milliseconds since 1970.
    ///
    /// # Errors
    /// The value is not a whole number from 0.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_unix_millis)
    }
}

/// An optional instant, as milliseconds since 1970 or `null`.
pub mod optional_millis {
    use crate::model::clock::Timestamp;
    use serde::Deserialize;
    use serde::Deserializer;
    use serde::Serialize;
    use serde::Serializer;

    /// Writes milliseconds since 1970, or `null`.
    ///
    /// # Errors
    /// An error of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Timestamp::as_unix_millis).serialize(serializer)
    }

    /// Reads milliseconds since 1970, or `null`.
    ///
    /// # Errors
    /// The value is neither `null` nor a whole number from 0.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Timestamp::from_unix_millis))
    }
}

/// A digest, as hexadecimal digits.
pub mod digest {
    use crate::model::api_key::CredentialDigest;
    use crate::model::api_key::KeyDigestError;
    use crate::store::record::text;
    use serde::Deserializer;
    use serde::Serializer;
    use std::str::FromStr;

    /// Writes 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// An error of the serializer.
    pub fn serialize<S: Serializer>(value: &CredentialDigest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.to_hex())
    }

    /// Reads hexadecimal digits.
    ///
    /// # Errors
    /// The text is not 64 lower-case hexadecimal digits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CredentialDigest, D::Error> {
        text::deserialize(deserializer).map(|Hex(digest)| digest)
    }

    struct Hex(CredentialDigest);

    impl FromStr for Hex {
        type Err = KeyDigestError;

        fn from_str(text: &str) -> Result<Self, KeyDigestError> {
            CredentialDigest::from_hex(text).map(Self)
        }
    }
}
