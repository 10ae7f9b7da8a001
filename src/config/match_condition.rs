//! Which header fields and query parameters must a request have, beside host, path and method, to match a route?

use crate::config::check::Checker;
use crate::config::read::FromText;
use crate::config::read::NamedEntries;
use crate::config::read::ParsedText;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::text::mismatch;
use crate::config::tree::NodeId;
use crate::config::tree::printable;
use http::HeaderName;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::de;
use serde::de::Deserializer;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use std::borrow::Cow;
use std::fmt;

/// The conditions of a route: all must hold. Sorted by field, with one condition for each field at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MatchConditions(Box<[MatchCondition]>);

/// The value that one field of a request must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatchCondition {
    pub field: MatchField,
    pub pattern: ValuePattern,
}

/// A part of a request with a name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MatchField {
    Header(HeaderName),
    /// A query parameter by its decoded name.
    Parameter(String),
}

/// The values that meet a condition, compared byte by byte: of a header as it was sent, of a parameter decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValuePattern {
    Exact(String),
    /// Values that begin with this text.
    Prefix(String),
    /// Every value, also an empty one.
    Present,
}

/// The rank of conditions: of two routes that match a request, the one with the greater rank gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Specificity {
    headers: PatternCounts,
    query: PatternCounts,
}

/// The numbers that rank the conditions of one kind, the first that differs first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct PatternCounts {
    conditions: usize,
    exact: usize,
    prefixes: usize,
    prefix_bytes: usize,
}

impl MatchConditions {
    /// Returns the conditions in the order of their fields. Each field has one condition at most.
    pub fn new(mut conditions: Vec<MatchCondition>) -> Self {
        conditions.sort_by(|one, other| one.field.sort_key().cmp(&other.field.sort_key()));
        Self(conditions.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &MatchCondition> {
        self.0.iter()
    }

    /// Returns the headers that the conditions are about.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().filter_map(|condition| match &condition.field {
            MatchField::Header(name) => Some(name),
            MatchField::Parameter(_) => None,
        })
    }

    pub fn specificity(&self) -> Specificity {
        let mut specificity = Specificity::default();
        for MatchCondition { field, pattern } in &self.0 {
            let counts = match field {
                MatchField::Header(_) => &mut specificity.headers,
                MatchField::Parameter(_) => &mut specificity.query,
            };
            counts.conditions += 1;
            match pattern {
                ValuePattern::Exact(_) => counts.exact += 1,
                ValuePattern::Prefix(text) => {
                    counts.prefixes += 1;
                    counts.prefix_bytes += text.len();
                }
                ValuePattern::Present => {}
            }
        }
        specificity
    }

    /// Returns the conditions that a request meets exactly if it meets `self` and `other`; `None` if no request does.
    pub fn joined(&self, other: &Self) -> Option<Self> {
        let mut joined = self.0.to_vec();
        for condition in &other.0 {
            match joined.iter_mut().find(|known| known.field == condition.field) {
                Some(known) => known.pattern = known.pattern.joined(&condition.pattern)?,
                None => joined.push(condition.clone()),
            }
        }
        Some(Self::new(joined))
    }

    /// Returns whether every request that meets `self` meets `other` too.
    pub fn implies(&self, other: &Self) -> bool {
        self.joined(other).as_ref() == Some(self)
    }

    /// Returns the conditions without their values: two that differ in values alone are met by no request together.
    pub(in crate::config) fn shape(&self) -> Vec<(&MatchField, PatternShape)> {
        let shape = |pattern: &ValuePattern| match pattern {
            ValuePattern::Exact(_) => PatternShape::Exact,
            ValuePattern::Prefix(text) => PatternShape::Prefix(text.len()),
            ValuePattern::Present => PatternShape::Present,
        };
        let conditions = self.0.iter();
        conditions
            .map(|condition| (&condition.field, shape(&condition.pattern)))
            .collect()
    }
}

/// A pattern without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::config) enum PatternShape {
    Exact,
    /// The length in bytes.
    Prefix(usize),
    Present,
}

impl MatchField {
    fn sort_key(&self) -> (bool, &str) {
        match self {
            Self::Header(name) => (false, name.as_str()),
            Self::Parameter(name) => (true, name),
        }
    }

    /// Returns the name: of a header in lower case, of a parameter decoded.
    pub fn name(&self) -> &str {
        self.sort_key().1
    }
}

impl ValuePattern {
    /// Returns whether `value` meets the condition.
    pub fn admits(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Present => true,
        }
    }

    /// Returns the pattern of the values that both admit; `None` if there are none.
    fn joined(&self, other: &Self) -> Option<Self> {
        let (narrower, admits) = match (self, other) {
            (Self::Exact(text), other) | (other, Self::Exact(text)) => {
                (Self::Exact(text.clone()), other.admits(text.as_bytes()))
            }
            (Self::Prefix(one), Self::Prefix(two)) => {
                let (longer, shorter) = if one.len() < two.len() { (two, one) } else { (one, two) };
                (Self::Prefix(longer.clone()), longer.starts_with(shorter.as_str()))
            }
            (Self::Prefix(text), Self::Present) | (Self::Present, Self::Prefix(text)) => {
                (Self::Prefix(text.clone()), true)
            }
            (Self::Present, Self::Present) => (Self::Present, true),
        };
        admits.then_some(narrower)
    }
}

impl fmt::Display for MatchField {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(out, "header `{name}`"),
            Self::Parameter(name) => write!(out, "query parameter `{}`", printable(name)),
        }
    }
}

impl fmt::Display for MatchCondition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = &self.field;
        match &self.pattern {
            ValuePattern::Exact(text) => write!(out, "{field} is `{}`", printable(text)),
            ValuePattern::Prefix(text) => write!(out, "{field} begins with `{}`", printable(text)),
            ValuePattern::Present => write!(out, "{field} is present"),
        }
    }
}

/// Writes the conditions with ` and ` between them.
impl fmt::Display for MatchConditions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " and " };
            write!(out, "{separator}{condition}")?;
        }
        Ok(())
    }
}

/// The name of a query parameter, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct ParameterName(String);

impl FromText for ParameterName {
    const DESCRIPTION: &'static str = "the name of a query parameter, such as `version`";
    const PATTERN: &'static str = "[^\\n;]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(mismatch::<Self>());
        }
        if has_escape(text) {
            return Err(format!("{}\nwrite it decoded, without `%`", mismatch::<Self>()));
        }
        if text.contains(';') {
            return Err(format!(
                "{}\nsome servers take `;` for a separator of parameters, so that no such name is certain",
                mismatch::<Self>()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Returns whether `text` has `%` and two hexadecimal digits.
fn has_escape(text: &str) -> bool {
    let is_escape = |part: &[u8]| part[0] == b'%' && part[1..].iter().all(u8::is_ascii_hexdigit);
    text.as_bytes().windows(3).any(is_escape)
}

/// The value of a condition, or the start of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct ValueText(String);

impl FromText for ValueText {
    const DESCRIPTION: &'static str = "a text, or a map with `prefix` or `present`";
    const PATTERN: &'static str = "[^\\n]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty value\n`{ present: true }` asks for any value, also an empty one".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err("a value has no control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// The value that a header or a query parameter must have: a text, or a map.
#[derive(Debug)]
pub(in crate::config) enum Section {
    Exact(ValueText),
    Other(OtherPatterns),
}

/// A pattern of values: one of the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ValuePattern")]
pub(in crate::config) struct OtherPatterns {
    /// The value begins with this text.
    prefix: Option<Text<ValueText>>,
    /// `true`: any value will do, also an empty one.
    present: Option<TypedNode<bool>>,
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMap;

        impl<'de> Visitor<'de> for TextOrMap {
            type Value = Section;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(ValueText::DESCRIPTION)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Section, E> {
                ValueText::from_text(text).map(Section::Exact).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Section, A::Error> {
                OtherPatterns::deserialize(MapAccessDeserializer::new(map)).map(Section::Other)
            }
        }

        deserializer.deserialize_any(TextOrMap)
    }
}

impl JsonSchema for Section {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "value or pattern".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let exact = generator.subschema_for::<ParsedText<ValueText>>();
        let other = generator.subschema_for::<OtherPatterns>();
        json_schema!({ "anyOf": [exact, other] })
    }
}

/// Conditions by name, as they are written.
pub(in crate::config) type Written<K> = NamedEntries<K, Section>;

/// The bound on the conditions of one route: each is looked up in every request to its path.
const CONDITIONS_MAX: usize = 16;

/// Returns the conditions of the `match` section at `at`. `None` where one was rejected: without it, the route would match
/// more.
pub(in crate::config) fn convert(
    headers: Option<Written<HeaderName>>,
    query: Option<Written<ParameterName>>,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> Option<MatchConditions> {
    let mut is_whole = ["headers", "query"].iter().all(|key| is_intact(checker, at, key));
    let headers = headers.map(|written| written.0).unwrap_or_default();
    let headers = headers
        .into_iter()
        .map(|(name, value)| (MatchField::Header(name), value));
    let query = query.map(|written| written.0).unwrap_or_default();
    let query = query
        .into_iter()
        .map(|(name, value)| (MatchField::Parameter(name.0), value));
    let mut conditions: Vec<MatchCondition> = Vec::new();
    for (field, TypedNode { value, at }) in headers.chain(query) {
        // Header names are case-insensitive, so the tree may have one twice.
        if conditions.iter().any(|known| known.field == field) {
            checker.error(at, "duplicate-entry", format!("{field} has a condition already"));
            is_whole = false;
        }
        match pattern(value, &field, at, checker) {
            Some(pattern) => conditions.push(MatchCondition { field, pattern }),
            None => is_whole = false,
        }
    }
    if conditions.len() > CONDITIONS_MAX {
        let problem = format!("{} conditions on headers and query", conditions.len());
        checker.error_with(
            at,
            "too-many-conditions",
            problem,
            format!("at most {CONDITIONS_MAX} fit"),
        );
    }
    is_whole.then(|| MatchConditions::new(conditions))
}

/// Returns whether no entry of the map `key` was rejected.
fn is_intact(checker: &Checker<'_>, at: NodeId, key: &str) -> bool {
    let Some(map) = checker.tree.entry(at, key) else {
        return true;
    };
    !checker.tree.is_cut(map) && !checker.tree.entries(map).any(|(_, entry)| checker.tree.is_cut(entry))
}

fn pattern(section: Section, field: &MatchField, at: NodeId, checker: &mut Checker<'_>) -> Option<ValuePattern> {
    let other = match section {
        Section::Exact(text) => return check_value(&text.0, field, at, checker).then_some(ValuePattern::Exact(text.0)),
        Section::Other(other) => other,
    };
    let hint = "write a text for one value, `{ prefix: a }` for values that begin with it, or `{ present: true }`";
    match other {
        OtherPatterns {
            prefix: Some(prefix),
            present: None,
        } => {
            let (at, text) = (prefix.at, prefix.take().0);
            check_value(&text, field, at, checker).then_some(ValuePattern::Prefix(text))
        }
        OtherPatterns {
            prefix: None,
            present: Some(present),
        } => {
            if !present.value {
                let problem = format!("no condition asks for the absence of {field}");
                let hint = "a route without the condition gets the other requests to the same path";
                checker.error_with(present.at, "bad-value", problem, hint);
            }
            present.value.then_some(ValuePattern::Present)
        }
        OtherPatterns {
            prefix: Some(_),
            present: Some(_),
        } => {
            checker.error_with(at, "two-patterns", "has both `prefix` and `present`", hint);
            None
        }
        OtherPatterns {
            prefix: None,
            present: None,
        } => None,
    }
}

/// Returns whether `field` can have a value with `text`, and reports a text that no header has.
fn check_value(text: &str, field: &MatchField, at: NodeId, checker: &mut Checker<'_>) -> bool {
    let is_possible = match field {
        MatchField::Header(_) => text.trim() == text && text.bytes().all(|byte| (0x20..0x7F).contains(&byte)),
        MatchField::Parameter(_) => true,
    };
    if !is_possible {
        let problem = checker.with_value(at, "no header has this value");
        let hint = "printable ASCII without spaces at its ends";
        checker.error_with(at, "bad-value", problem, hint);
    }
    is_possible
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(name: &str, pattern: ValuePattern) -> MatchCondition {
        MatchCondition {
            field: MatchField::Header(name.parse().unwrap()),
            pattern,
        }
    }

    fn parameter(name: &str, pattern: ValuePattern) -> MatchCondition {
        MatchCondition {
            field: MatchField::Parameter(name.to_owned()),
            pattern,
        }
    }

    fn exact(text: &str) -> ValuePattern {
        ValuePattern::Exact(text.to_owned())
    }

    fn prefix(text: &str) -> ValuePattern {
        ValuePattern::Prefix(text.to_owned())
    }

    fn all(conditions: &[MatchCondition]) -> MatchConditions {
        MatchConditions::new(conditions.to_vec())
    }

    #[test]
    fn more_headers_then_exact_then_longer_prefixes_then_the_query_are_more_specific() {
        use ValuePattern::Present;
        let ascending = [
            all(&[]),
            all(&[parameter("q", Present)]),
            all(&[parameter("q", exact("a"))]),
            all(&[header("a", Present)]),
            all(&[header("a", Present), parameter("q", Present)]),
            all(&[header("a", prefix("v"))]),
            all(&[header("a", prefix("v1"))]),
            all(&[header("a", exact("v"))]),
            all(&[header("a", exact("v")), parameter("q", prefix("x"))]),
            all(&[header("a", Present), header("b", Present)]),
            all(&[header("a", prefix("v")), header("b", Present)]),
            all(&[header("a", exact("v")), header("b", Present)]),
        ];
        for pair in ascending.windows(2) {
            assert!(pair[0].specificity() < pair[1].specificity(), "{pair:?}");
        }
        assert_eq!(
            all(&[header("a", exact("v"))]).specificity(),
            all(&[header("b", exact("other"))]).specificity()
        );
    }

    fn any_conditions() -> impl Strategy<Value = MatchConditions> {
        let pattern = prop_oneof![
            Just(ValuePattern::Present),
            "[ab]{1,2}".prop_map(ValuePattern::Exact),
            "[ab]{1,2}".prop_map(ValuePattern::Prefix),
        ];
        prop::collection::vec(prop::option::of(pattern), 3).prop_map(|patterns| {
            let fields = [
                MatchField::Header("a".parse().unwrap()),
                MatchField::Header("b".parse().unwrap()),
                MatchField::Parameter("q".to_owned()),
            ];
            let conditions = fields.into_iter().zip(patterns);
            let conditions = conditions.filter_map(|(field, pattern)| {
                Some(MatchCondition {
                    field,
                    pattern: pattern?,
                })
            });
            MatchConditions::new(conditions.collect())
        })
    }

    /// Returns whether a request with these values, in the order of the fields above, meets `conditions`.
    fn is_met(conditions: &MatchConditions, values: &[Option<String>]) -> bool {
        conditions.iter().all(|condition| {
            let value = match condition.field.name() {
                "a" => &values[0],
                "b" => &values[1],
                _ => &values[2],
            };
            value
                .as_ref()
                .is_some_and(|value| condition.pattern.admits(value.as_bytes()))
        })
    }

    proptest! {
        #[test]
        fn joined_conditions_are_met_by_the_requests_that_meet_both(
            one in any_conditions(),
            other in any_conditions(),
            values in prop::collection::vec(prop::option::of("[ab]{0,3}"), 3),
        ) {
            let both = is_met(&one, &values) && is_met(&other, &values);
            match one.joined(&other) {
                Some(joined) => {
                    prop_assert_eq!(is_met(&joined, &values), both);
                    prop_assert!(joined.implies(&one) && joined.implies(&other));
                    prop_assert_eq!(other.joined(&one), Some(joined));
                }
                None => prop_assert!(!both),
            }
            if one.implies(&other) && is_met(&one, &values) {
                prop_assert!(is_met(&other, &values));
            }
            if one.shape() == other.shape() && one != other {
                prop_assert_eq!(one.joined(&other), None);
            }
        }
    }
}
