//! How does serde deserialize sections from the tree?
//!
//! All fields of a section are `Option`: serde reports a missing field by failing the
//! whole map. Required fields are checked when the section is converted to its type.

use crate::config::tree::Emptiness;
use crate::config::tree::NodeId;
use crate::config::tree::Tree;
use crate::config::tree::Value;
use serde::Deserialize;
use serde::de;
use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::IntoDeserializer;
use serde::de::Unexpected;
use serde::de::Visitor;
use serde::forward_to_deserialize_any;
use std::fmt;
use std::marker::PhantomData;

/// A mistake and its node; `None` until a reader knows the node.
#[derive(Debug)]
pub(in crate::config) struct ReadError {
    pub at: Option<NodeId>,
    pub mistake: ReadErrorKind,
}

/// A mistake that serde finds.
#[derive(Debug)]
pub(in crate::config) enum ReadErrorKind {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        known: &'static [&'static str],
    },
    /// Nothing, an empty list or an empty map.
    Empty(Emptiness),
    WrongType {
        found: &'static str,
        expected: String,
    },
    /// The error of a `FromText`: the problem and, after a line break, the hint.
    BadValue(String),
    /// The problem of a value that the error must not show.
    Hidden(String),
    /// The error of a `FromText` for a key that the operator chose.
    BadKey(String),
}

/// Returns the entry of `known` that `word` probably misspells; `None` if none is similar.
pub(in crate::config) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= candidate.len().max(3) / 3 && word.len() < 100)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the known word that `word` is, but for one letter.
pub(in crate::config) fn slip_of<'a>(word: &str, mut known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.find(|candidate| strsim::damerau_levenshtein(word, candidate) == 1)
}

impl fmt::Display for ReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.mistake, out)
    }
}

impl std::error::Error for ReadError {}

impl ReadError {
    fn new(mistake: ReadErrorKind) -> Self {
        Self { at: None, mistake }
    }

    /// Sets the node unless it is set: the innermost node handles the error first.
    fn or_at(mut self, id: NodeId) -> Self {
        self.at.get_or_insert(id);
        self
    }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(ReadErrorKind::BadValue(text.to_string()))
    }

    // Names the kind of the value, never the value: it may be a secret.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Seq => "a list",
            Unexpected::Map | Unexpected::StructVariant => "a map",
            Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "a text",
            _ => "something else",
        };
        Self::new(ReadErrorKind::WrongType {
            found,
            expected: describe_expected(expected),
        })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(ReadErrorKind::Hidden(format!("not {}", describe_expected(expected))))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(ReadErrorKind::UnknownKey {
            key: key.to_owned(),
            known,
        })
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(ReadErrorKind::UnknownWord { known })
    }
}

/// Returns serde's description of a type in the words of YAML.
fn describe_expected(expected: &dyn de::Expected) -> String {
    let text = expected.to_string();
    if text.starts_with("struct ") {
        "a map of keys".to_owned()
    } else if text == "a boolean" {
        "true or false".to_owned()
    } else if text.starts_with("a nonzero") {
        "a whole number over 0".to_owned()
    } else if matches!(text.as_str(), "u32" | "u64" | "usize") {
        "a whole number from 0".to_owned()
    } else if text.starts_with("enum ") || text == "string or map" {
        "a word".to_owned()
    } else if text == "a sequence" {
        "a list".to_owned()
    } else {
        text
    }
}

/// Names of newtypes by which `NodeReader` recognizes [`TypedNode`], [`OneOrMany`], and [`OrKeyword`] and [`TextOrMap`].
const AT: &str = "$at";
const ONE_OR_MANY: &str = "$one_or_many";
const OR_WORD: &str = "$or_word";

/// The serde deserializer of a node.
#[derive(Clone, Copy)]
pub(in crate::config) struct NodeReader<'t> {
    tree: &'t Tree,
    id: NodeId,
}

impl<'t> NodeReader<'t> {
    /// Returns the reader of a value. A value is tested here, not while the file is parsed: an unknown key is told once, as
    /// unknown, whatever stands after it.
    ///
    /// # Errors
    /// The value says nothing.
    pub(in crate::config) fn new(tree: &'t Tree, id: NodeId) -> Result<Self, ReadError> {
        match tree.emptiness(id) {
            Some(emptiness) => Err(ReadError::new(ReadErrorKind::Empty(emptiness)).or_at(id)),
            None => Ok(Self { tree, id }),
        }
    }

    fn items(self, items: &'t [NodeId]) -> Items<'t> {
        Items {
            tree: self.tree,
            items: items.iter(),
        }
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.tree.value(self.id) {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Integer(number) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(self.items(items)),
            Value::Map(entries) => visitor.visit_map(Entries {
                tree: self.tree,
                entries: entries.iter(),
                value: None,
            }),
        }
    }

    /// Parses text from an environment variable as the requested number or boolean.
    fn visit_expanded<'de, V: Visitor<'de>, T: std::str::FromStr>(
        self,
        visitor: V,
        visit_parsed: fn(V, T) -> Result<V::Value, ReadError>,
    ) -> Result<V::Value, ReadError> {
        match self.tree.value(self.id) {
            Value::Text(text) if self.tree.is_expanded(self.id) => match text.parse() {
                Ok(value) => visit_parsed(visitor, value),
                Err(_) => self.visit(visitor),
            },
            _ => self.visit(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for NodeReader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit(visitor).map_err(|error| error.or_at(self.id))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit_expanded(visitor, |visitor, yes: bool| visitor.visit_bool(yes))
            .map_err(|error| error.or_at(self.id))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit_expanded(visitor, |visitor, number: u64| visitor.visit_u64(number))
            .map_err(|error| error.or_at(self.id))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let read = match self.tree.value(self.id) {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => self.visit(visitor),
        };
        read.map_err(|error: ReadError| error.or_at(self.id))
    }

    /// Accepts maps only: serde would also take a list, its items in the order of the fields.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if let Value::List(_) = self.tree.value(self.id) {
            let error: ReadError = de::Error::invalid_type(Unexpected::Seq, &visitor);
            return Err(error.or_at(self.id));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let read = match name {
            AT => visitor.visit_seq(NumberedNode { reader: self, turn: 0 }),
            ONE_OR_MANY => match self.tree.value(self.id) {
                Value::List(items) => visitor.visit_seq(self.items(items)),
                _ => visitor.visit_seq(self.items(std::slice::from_ref(&self.id))),
            },
            OR_WORD => match self.tree.value(self.id) {
                Value::Text(text) => visitor.visit_str(text),
                _ => visitor.visit_newtype_struct(self),
            },
            _ => visitor.visit_newtype_struct(self),
        };
        read.map_err(|error| error.or_at(self.id))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// The elements that [`TypedNode`] reads: the number of a node, then the node itself.
struct NumberedNode<'t> {
    reader: NodeReader<'t>,
    turn: u8,
}

impl<'de> de::SeqAccess<'de> for NumberedNode<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        self.turn += 1;
        match self.turn {
            1 => seed.deserialize(self.reader.id.0.into_deserializer()).map(Some),
            2 => seed.deserialize(self.reader).map(Some),
            _ => Ok(None),
        }
    }
}

/// The items of a list that are not cut.
struct Items<'t> {
    tree: &'t Tree,
    items: std::slice::Iter<'t, NodeId>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let tree = self.tree;
        match self.items.find(|&&id| !tree.is_cut(id)) {
            Some(&id) => seed.deserialize(NodeReader::new(tree, id)?).map(Some),
            None => Ok(None),
        }
    }
}

/// The entries of a map that are not cut.
struct Entries<'t> {
    tree: &'t Tree,
    entries: std::slice::Iter<'t, (String, NodeId)>,
    /// The node of the value whose key was read last.
    value: Option<NodeId>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let tree = self.tree;
        let Some((key, id)) = self.entries.find(|(_, id)| !tree.is_cut(*id)) else {
            return Ok(None);
        };
        self.value = Some(*id);
        seed.deserialize(KeyReader { key, id: *id }).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let id = self.value.take().expect("serde asks for a key before its value");
        seed.deserialize(NodeReader::new(self.tree, id)?)
    }
}

/// The serde deserializer of a key. A mistake in the key is reported at the node of the value.
struct KeyReader<'t> {
    key: &'t str,
    id: NodeId,
}

impl<'de> Deserializer<'de> for KeyReader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor
            .visit_str(self.key)
            .map_err(|error: ReadError| match error.mistake {
                ReadErrorKind::BadValue(text) => ReadError {
                    at: Some(self.id),
                    mistake: ReadErrorKind::BadKey(text),
                },
                mistake => ReadError {
                    at: Some(self.id),
                    mistake,
                },
            })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A value and its node, so that later checks can report the place.
#[derive(Debug)]
pub(in crate::config) struct TypedNode<T> {
    pub value: T,
    pub at: NodeId,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TypedNode<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pair<T> {
            type Value = TypedNode<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a value")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<TypedNode<T>, A::Error> {
                let missing = || de::Error::custom("not a node");
                let at = NodeId(seq.next_element()?.ok_or_else(missing)?);
                let value = seq.next_element()?.ok_or_else(missing)?;
                Ok(TypedNode { value, at })
            }
        }

        deserializer.deserialize_newtype_struct(AT, Pair(PhantomData))
    }
}

/// A list, or a single value that stands for a list of one.
#[derive(Debug)]
pub(in crate::config) struct OneOrMany<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_newtype_struct(ONE_OR_MANY, List(PhantomData))
            .map(Self)
    }
}

/// The visitor of all lists.
struct List<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(items)
    }
}

/// A value, or a word in its place: `audiences: any`, `failed_authentication: off`. `W` is the type of the word.
#[derive(Debug)]
pub(in crate::config) enum OrKeyword<T, W> {
    Keyword(PhantomData<W>),
    Value(T),
}

/// A word that can stand for a whole value.
pub(in crate::config) trait Keyword {
    const KEYWORD: &'static str;
    /// The description of the value that is expected otherwise, for the error.
    const ALTERNATIVE: &'static str;
}

impl<'de, T: Deserialize<'de>, W: Keyword> Deserialize<'de> for OrKeyword<T, W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T, W>(PhantomData<(T, W)>);

        impl<'de, T: Deserialize<'de>, W: Keyword> Visitor<'de> for Either<T, W> {
            type Value = OrKeyword<T, W>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{} or the word `{}`", W::ALTERNATIVE, W::KEYWORD)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == W::KEYWORD {
                    Ok(OrKeyword::Keyword(PhantomData))
                } else {
                    Err(E::custom(format!(
                        "neither {} nor the word `{}`",
                        W::ALTERNATIVE,
                        W::KEYWORD
                    )))
                }
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                T::deserialize(deserializer).map(OrKeyword::Value)
            }
        }

        deserializer.deserialize_newtype_struct(OR_WORD, Either(PhantomData))
    }
}

/// A text, or a map of keys that says more: `10.0.0.5:8080`, `{ address: "10.0.0.5:8080", weight: 3 }`.
#[derive(Debug)]
pub(in crate::config) enum TextOrMap<T, M> {
    Text(T),
    Map(M),
}

impl<'de, T: FromText, M: Deserialize<'de>> Deserialize<'de> for TextOrMap<T, M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T, M>(PhantomData<(T, M)>);

        impl<'de, T: FromText, M: Deserialize<'de>> Visitor<'de> for Either<T, M> {
            type Value = TextOrMap<T, M>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}, or a map of keys", T::DESCRIPTION)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::from_text(text).map(TextOrMap::Text).map_err(E::custom)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                M::deserialize(deserializer).map(TextOrMap::Map)
            }
        }

        deserializer.deserialize_newtype_struct(OR_WORD, Either(PhantomData))
    }
}

/// A map with keys of the operator's choice, in the order of the file.
#[derive(Debug)]
pub(in crate::config) struct NamedEntries<K, V>(pub Vec<(K, TypedNode<V>)>);

impl<'de, K: FromText, V: Deserialize<'de>> Deserialize<'de> for NamedEntries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<K, V>(PhantomData<(K, V)>);

        impl<'de, K: FromText, V: Deserialize<'de>> Visitor<'de> for Map<K, V> {
            type Value = NamedEntries<K, V>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map with a name before each entry")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((ParsedText(key), value)) = map.next_entry::<ParsedText<K>, TypedNode<V>>()? {
                    entries.push((key, value));
                }
                Ok(NamedEntries(entries))
            }
        }

        deserializer.deserialize_map(Map(PhantomData))
    }
}

/// A type that is parsed from a single text of the file.
pub(in crate::config) trait FromText: Sized {
    /// The expected text, for errors: "a duration such as `30s`".
    const DESCRIPTION: &'static str;
    /// A regular expression for the schema. It should match every valid text, and may match some invalid texts.
    const PATTERN: &'static str;
    /// `true` where a number without quotes is valid too.
    const BARE_NUMBERS: bool = false;
    /// `true` where an error may show the text: it is never a secret.
    const MAY_BE_SHOWN: bool = true;

    /// Parses a text.
    ///
    /// # Errors
    /// The problem, without the value itself because it may be a secret, and after a line break the hint.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// The value parsed from a text.
#[derive(Debug, PartialEq)]
pub(in crate::config) struct ParsedText<T>(pub T);

impl<'de, T: FromText> Deserialize<'de> for ParsedText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parse<T>(PhantomData<T>);

        impl<T: FromText> Visitor<'_> for Parse<T> {
            type Value = ParsedText<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(T::DESCRIPTION)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ParsedText<T>, E> {
                T::from_text(text).map(ParsedText).map_err(|problem| {
                    if T::MAY_BE_SHOWN {
                        E::custom(problem)
                    } else {
                        E::invalid_value(Unexpected::Other("hidden"), &self)
                    }
                })
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ParsedText<T>, E> {
                match T::from_text(&number.to_string()) {
                    Ok(value) if T::BARE_NUMBERS => Ok(ParsedText(value)),
                    Err(problem) if T::MAY_BE_SHOWN => Err(E::custom(problem)),
                    Ok(_) | Err(_) => Err(E::invalid_type(Unexpected::Unsigned(number), &self)),
                }
            }
        }

        deserializer.deserialize_any(Parse(PhantomData))
    }
}

/// The value parsed from a text, and its node.
pub(in crate::config) type Text<T> = TypedNode<ParsedText<T>>;

/// A list of values parsed from texts, each with its node, and the node of the list.
pub(in crate::config) type Texts<T> = TypedNode<Vec<Text<T>>>;

impl<T> Text<T> {
    pub(in crate::config) fn get(&self) -> &T {
        &self.value.0
    }

    pub(in crate::config) fn take(self) -> T {
        self.value.0
    }

    pub(in crate::config) fn map<U>(self, change: impl FnOnce(T) -> U) -> Text<U> {
        TypedNode {
            at: self.at,
            value: ParsedText(change(self.value.0)),
        }
    }
}
